//! An outage is over, and thousands of devices come back (IOTSF-2.4.7.25). Everything happens in virtual time: what is
//! printed and asserted holds on any machine.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test that records what it found")]

mod common;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use common::{Bench, Client, Got, connect, resume};
use portreeve_hub::DeviceIdentity;
use portreeve_mqtt::{Connect, Reason, Version};
use portreeve_types::{Backoff, Qos};

const DEVICES: usize = 1250;
const CLIENTS_PER_DEVICE: usize = 4;
const FLEET: usize = DEVICES * CLIENTS_PER_DEVICE;
const CONNECTS_PER_S: u32 = 125;
/// What the whole fleet takes at this rate.
const QUEUE_MS: u64 = FLEET as u64 * 1000 / CONNECTS_PER_S as u64;
const BACKOFF: Backoff = Backoff { shortest: Duration::from_secs(1), longest: Duration::from_secs(60) };
/// How often an established session is looked at.
const BEAT_MS: u64 = 100;
/// How often one device begins a session, to no purpose.
const LOOP_MS: u64 = 20;

struct Returning {
    identity: usize,
    client_id: String,
    version: Version,
    failures: u32,
    /// Attempts that a hub that was there refused.
    refusals: usize,
    /// Since the hub was there.
    waited_ms: Option<u64>,
    session: Option<Client>,
}

/// What may happen next; at one moment in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// An established session has its messages passed.
    Beat,
    Attempt(usize),
    /// Somebody connects and goes, over and over.
    Loop,
}

struct Herd {
    bench: Bench,
    identities: Vec<DeviceIdentity>,
    fleet: Vec<Returning>,
    events: BinaryHeap<Reverse<(u64, Next)>>,
    now_ms: u64,
    /// When the hub is there again.
    back_ms: u64,
    /// Sessions begun in each second since then.
    begun: BTreeMap<u64, usize>,
    beats: usize,
    looped: usize,
    seed: u64,
}

#[derive(Debug)]
struct Waits {
    p50_ms: u64,
    p99_ms: u64,
    max_ms: u64,
}

impl Herd {
    /// The hub, and the fleet outside. One in `v311_every` clients speaks MQTT 3.1.1, which cannot be told when to come.
    fn new(back_ms: u64, v311_every: usize) -> Self {
        let bench = Bench::with(|config| config.limits.connects_per_s = CONNECTS_PER_S);
        let names: Vec<_> = (0..DEVICES).map(|n| format!("d{n}")).collect();
        let identities = names.iter().map(|name| bench.device(name)).collect();
        let client = |index: usize| Returning {
            identity: index % DEVICES,
            client_id: format!("{}:{}", names[index % DEVICES], index / DEVICES),
            version: if (index + 1).is_multiple_of(v311_every) { Version::V311 } else { Version::V5 },
            failures: 1,
            refusals: 0,
            waited_ms: None,
            session: None,
        };
        let fleet = (0..FLEET).map(client).collect();
        let (events, begun) = (BinaryHeap::new(), BTreeMap::new());
        Self { bench, identities, fleet, events, now_ms: 0, back_ms, begun, beats: 0, looped: 0, seed: 7 }
    }

    fn random(&mut self) -> u64 {
        // SplitMix64.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn at(&mut self, in_ms: u64, next: Next) {
        self.events.push(Reverse((self.now_ms + in_ms, next)));
    }

    fn pause_ms(&mut self, index: usize) -> u64 {
        let random = self.random();
        u64::try_from(BACKOFF.pause(self.fleet[index].failures, random).as_millis()).unwrap()
    }

    /// Until everybody is back.
    fn run(&mut self) {
        let app = self.bench.application("app");
        let mut publisher = self.bench.connect(&app, connect("established"));
        publisher.subscribed(&self.bench, "established", Qos::AtMostOnce);
        let looper = self.bench.device("looper");
        self.at(0, Next::Beat);
        let back_ms = self.back_ms;
        self.at(back_ms, Next::Loop);
        let mut out = FLEET;
        while out > 0 {
            let Reverse((at_ms, next)) = self.events.pop().unwrap();
            self.bench.advance(Duration::from_millis(at_ms - self.now_ms));
            self.now_ms = at_ms;
            match next {
                Next::Beat => {
                    let got = publisher.publish(&self.bench, "established", b"x", Qos::AtMostOnce);
                    assert!(matches!(&got[..], [Got::Publish { .. }]), "after {at_ms} ms: {got:?}");
                    self.beats += 1;
                    self.at(BEAT_MS, Next::Beat);
                }
                Next::Attempt(index) if at_ms < back_ms => {
                    self.fleet[index].failures += 1;
                    let pause_ms = self.pause_ms(index);
                    self.at(pause_ms, Next::Attempt(index));
                }
                Next::Attempt(index) => out -= usize::from(self.attempt(index)),
                Next::Loop => {
                    let (client, got) = self.bench.try_connect(&looper, connect("looper"));
                    self.looped += usize::from(is_let_in(&got));
                    client.lose(&self.bench);
                    self.at(LOOP_MS, Next::Loop);
                }
            }
        }
        println!("sessions begun in each second: {:?}", self.begun.values().collect::<Vec<_>>());
        println!("messages of an established session meanwhile: {}; sessions of a looper: {}", self.beats, self.looped);
    }

    /// Whether it was let in; if not, it comes again when it was told, or after a pause of its own.
    fn attempt(&mut self, index: usize) -> bool {
        let client = &self.fleet[index];
        let request = match client.version {
            Version::V5 => resume(&client.client_id),
            Version::V311 => Connect { keep_alive_s: 60, ..Connect::new(Version::V311, &client.client_id) },
        };
        let (session, got) = self.bench.try_connect(&self.identities[client.identity], request);
        let since_ms = self.now_ms - self.back_ms;
        let client = &mut self.fleet[index];
        if is_let_in(&got) {
            client.waited_ms = Some(since_ms);
            client.session = Some(session);
            *self.begun.entry(since_ms / 1000).or_default() += 1;
            return true;
        }
        client.failures += 1;
        client.refusals += 1;
        let told_ms = session.retry_after_ms;
        let expected = if client.version == Version::V5 { Reason::SERVER_BUSY } else { Reason::SERVER_UNAVAILABLE };
        assert!(matches!(got[..], [Got::ConnAck { reason, .. }] if reason == expected), "{got:?}");
        assert_eq!(told_ms.is_some(), client.version == Version::V5);
        let pause_ms = told_ms.unwrap_or_else(|| self.pause_ms(index));
        self.at(pause_ms, Next::Attempt(index));
        false
    }

    fn waits(&self, version: Version) -> Waits {
        let clients = self.fleet.iter().filter(|client| client.version == version);
        let mut waits: Vec<u64> = clients.map(|client| client.waited_ms.unwrap()).collect();
        waits.sort_unstable();
        let at = |percent| waits[(waits.len() - 1) * percent / 100];
        let found = Waits { p50_ms: at(50), p99_ms: at(99), max_ms: at(100) };
        println!("{} clients, {version:?}, back at {CONNECTS_PER_S} a second: {found:?}", waits.len());
        found
    }

    /// What holds however they come.
    fn assert_order(&self) {
        let limit = usize::try_from(CONNECTS_PER_S).unwrap();
        let most = *self.begun.values().max().unwrap();
        assert!(most <= 2 * limit, "{most} in one second: more than its budget and what was left of the one before");
        let mut told = self.fleet.iter().filter(|client| client.version == Version::V5);
        assert!(told.all(|client| client.refusals <= 1), "who came when told was put off again");
        assert!(self.fleet.iter().any(|client| client.refusals == 1), "nobody was put off: the test is too small");
        let online =
            self.fleet.iter().filter(|client| client.session.as_ref().is_some_and(|session| !session.is_over()));
        assert_eq!(online.count(), FLEET);
        assert!(self.beats as u64 > self.now_ms / BEAT_MS, "the established session was looked at all the while");
    }
}

fn is_let_in(got: &[Got]) -> bool {
    matches!(got[0], Got::ConnAck { reason: Reason::SUCCESS, .. })
}

/// Half a minute without the hub: pauses with full jitter have spread the fleet, and the hub spreads the rest.
#[test]
fn after_an_outage_everybody_is_back_within_a_bound() {
    let mut herd = Herd::new(30_000, 10);
    for index in 0..FLEET {
        let pause_ms = herd.pause_ms(index);
        herd.at(pause_ms, Next::Attempt(index));
    }
    herd.run();
    herd.assert_order();
    // The last of them comes after the longest pause; then what the fleet takes at the budget, at most.
    let bound_ms = 60_000 + QUEUE_MS;
    let told = herd.waits(Version::V5);
    assert!(told.p50_ms <= QUEUE_MS && told.p99_ms <= 60_000 && told.max_ms <= bound_ms, "{told:?}");
    // Who is not told comes once more too early, perhaps, and pauses once more.
    let untold = herd.waits(Version::V311);
    assert!(untold.p99_ms <= bound_ms && untold.max_ms <= bound_ms + 60_000, "{untold:?}");
}

/// The power is back, and with it everybody in the same millisecond: the worst case. Nobody has learned to pause yet.
#[test]
fn who_comes_at_the_same_moment_comes_back_one_by_one() {
    let mut herd = Herd::new(0, usize::MAX);
    for index in 0..FLEET {
        herd.at(0, Next::Attempt(index));
    }
    herd.run();
    herd.assert_order();
    let waits = herd.waits(Version::V5);
    // A looper gets a place behind all others, each time.
    assert!(waits.max_ms <= QUEUE_MS, "{waits:?}");
    assert!(waits.p50_ms.abs_diff(waits.max_ms / 2) <= 1000, "the spread is even: {waits:?}");
    let seconds: Vec<_> = herd.begun.values().copied().collect();
    let (_, middle) = seconds.split_first().unwrap();
    let (_, middle) = middle.split_last().unwrap();
    let limit = usize::try_from(CONNECTS_PER_S).unwrap();
    assert!(middle.iter().all(|begun| (limit * 9 / 10..=limit).contains(begun)), "{seconds:?}");
}

/// Request Problem Information and Maximum Packet Size bound what a client hears [MQTT-3.1.2-24], [MQTT-3.2.2-19],
/// [MQTT-3.2.2-20]; a session that stands is not touched by any of it.
#[test]
fn a_client_hears_as_much_as_it_wants() {
    let bench = Bench::with(|config| config.limits.connects_per_s = 1);
    let app = bench.application("app");
    let mut established = bench.connect(&app, connect("established"));
    let mut delays = Vec::new();
    let mut ask = |adjust: fn(&mut Connect<'_>)| {
        let id = format!("c{}", delays.len());
        let mut request = connect(&id);
        adjust(&mut request);
        let (client, got) = bench.try_connect(&app, request);
        assert!(client.is_over());
        delays.push(client.retry_after_ms);
        got
    };
    let busy = [Got::ConnAck { present: false, reason: Reason::SERVER_BUSY }];
    assert_eq!(ask(|_| {}), busy);
    assert_eq!(ask(|request| request.request_problem_information = false), busy);
    assert_eq!(ask(|request| request.maximum_packet_bytes = Some(5)), busy);
    assert_eq!(ask(|request| request.maximum_packet_bytes = Some(4)), []);
    assert_eq!(delays, [Some(1000), None, None, None]);
    established.subscribed(&bench, "t", Qos::AtMostOnce);
    assert_eq!(common::payloads(&established.publish(&bench, "t", b"on", Qos::AtMostOnce)), ["on"]);
    let rows = bench.hub.limits_table();
    let used = |name| rows.iter().find(|row| row.name == name).map(|row| row.used);
    assert_eq!((used("connects_per_s"), used("connects_waiting")), (Some(1), Some(4)));
}
