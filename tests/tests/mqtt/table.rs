//! How a table of hostile packets is read and checked.

use portreeve_mqtt::Version;
use portreeve_tests::{Client, V4, V5, unique};

use crate::hub;

/// What is to come back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// These packets, and the end of the connection.
    End(&'static str),
    /// These packets, and the connection lives.
    Live(&'static str),
}

/// The end without a word.
pub(crate) const SILENCE: Then = Then::End("");
/// Nothing, and the connection lives.
pub(crate) const IGNORED: Then = Then::Live("");
/// DISCONNECT malformed packet.
pub(crate) const MALFORMED: Then = Then::End("e0 | 81");
/// DISCONNECT protocol error.
pub(crate) const PROTOCOL: Then = Then::End("e0 | 82");

/// What is sent, and what is to come back.
pub(crate) type Row = (&'static str, Then);

/// Sends each row's packets on a connection of its own after a good CONNECT. Every row is tried; all failures are shown.
pub(crate) fn check(version: Version, rows: &[Row]) {
    run(rows, |sent| {
        let mut client = Client::connect(hub(), version, &unique("hostile"));
        client.say(sent);
        client
    });
}

/// As [`check`], with the rows as the first packets of their connections.
pub(crate) fn check_first(rows: &[Row]) {
    run(rows, |sent| {
        let mut client = Client::new(hub().dial(hub().app()), V5);
        client.say(sent);
        client
    });
}

fn run(rows: &[Row], open: impl Fn(&str) -> Client + Sync) {
    // Most of a row is waiting.
    const AT_A_TIME: usize = 8;
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            while let Some((sent, then)) = rows.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                if let Err(why) = quietly(|| expect(&mut open(sent), *then)) {
                    failures.push(format!("{sent}\n    expected {then:?}: {why}"));
                }
            }
            failures
        };
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("rows do not panic here")).collect()
    });
    assert!(failures.is_empty(), "{} of {} rows:\n  {}", failures.len(), rows.len(), failures.join("\n  "));
}

fn expect(client: &mut Client, then: Then) {
    match then {
        Then::End(heard) => {
            client.hear(heard);
            client.closed();
        }
        Then::Live(heard) => {
            client.hear(heard);
            client.alive();
        }
    }
}

/// A failed expectation as a text.
fn quietly(check: impl FnOnce()) -> Result<(), String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

/// A session is there again after a whole table.
pub(crate) fn hub_is_well() {
    for version in [V4, V5] {
        Client::connect(hub(), version, &unique("well")).alive();
    }
}
