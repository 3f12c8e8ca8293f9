//! What finding the receivers of a topic costs, against the number of subscriptions.

use std::{cell::RefCell, rc::Rc};

use portreeve_types::Qos;

use crate::{
    Workload,
    paths::{Client, PUBLISHER, READER, hub_for_many},
};

const OPERATIONS: u32 = 100;
const SIZES: [(usize, &str); 3] = [(10, "10"), (10_000, "10,000"), (100_000, "100,000")];
const FILTERS_PER_PACKET: usize = 250;

pub(crate) fn workloads() -> Vec<Workload> {
    SIZES.into_iter().flat_map(|(count, words)| of_hub(count, words)).collect()
}

/// Filters of three kinds in turn, for topics of the same number: `devices/N/state` is matched by the `N`th only.
fn filter(number: usize) -> String {
    match number % 3 {
        0 => format!("devices/{number}/state"),
        1 => format!("devices/{number}/+"),
        _ => format!("devices/{number}/#"),
    }
}

/// A PUBLISH whose receivers have to be found anew, because a subscription to its topic came and went.
fn of_hub(count: usize, words: &str) -> Vec<Workload> {
    let bench = hub_for_many();
    let application = bench.application(READER);
    let mut holder = Client::open(&bench, &application, "holder");
    let numbers: Vec<usize> = (0..count).collect();
    for numbers in numbers.chunks(FILTERS_PER_PACKET) {
        let filters: Vec<String> = numbers.iter().map(|&number| filter(number)).collect();
        holder.subscribe(&bench, &filters, Qos::AtMostOnce);
    }
    let publisher = Client::open(&bench, &application, PUBLISHER);
    let other = Client::open(&bench, &application, "other");
    let parts = Rc::new(RefCell::new((bench, publisher, other, holder)));
    let row = |kind: &str, number: usize| {
        let parts = Rc::clone(&parts);
        let topic = format!("devices/{number}/state");
        Workload::new(format!("route anew, {words} subscriptions, {kind}"), OPERATIONS, move || {
            let (bench, publisher, other, holder) = &mut *parts.borrow_mut();
            let packet = Client::publish_packet(&topic, 64, Qos::AtMostOnce, 0);
            for _ in 0..OPERATIONS {
                other.subscribe(bench, std::slice::from_ref(&topic), Qos::AtMostOnce);
                other.unsubscribe(bench, &topic);
                bench.now.mono_ms += 1;
                publisher.measured_receive(bench, &packet);
                assert_eq!(holder.take(bench).len(), 1);
            }
        })
    };
    // The middle of the range, so that neither end of a table is special.
    let middle = count / 6 * 3;
    vec![row("exact", middle), row("with +", middle + 1), row("with #", middle + 2)]
}
