//! The operations whose instructions and allocations `bench/instructions` counts under callgrind. By itself it only
//! runs them, which shows that they still work: `cargo run --release -p portreeve-hub --example instructions -- codec`.
//!
//! A harness of our own rather than gungraun (once iai-callgrind): that needs a second program of exactly its library's
//! version, built by `cargo install` on every machine; it starts one valgrind for each benchmark, with the set-up
//! under instrumentation, many times slower, unless `unsafe` client requests switch it on; and it keeps its baselines
//! in the target directory. Here one process makes a whole group ready at nearly native speed, and only then the
//! runner has it instrumented: a hundred thousand subscriptions and ten thousand policies take seconds.
//!
//! *Invariants*
//! - Only what runs inside [`measured_operations`] counts; the runner names that function to callgrind.
//! - No disk, no clock and no other thread inside it: sessions are clean and time is an argument.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a measuring tool: it stops at the first surprise"
)]

mod codec;
#[path = "../../tests/common/mod.rs"]
mod common;
mod decisions;
mod paths;
mod routes;

use std::{hint::black_box, io::Write, path::PathBuf, thread, time::Duration};

/// One row of the table.
struct Workload {
    name: String,
    /// How many operations one run is.
    operations: u32,
    run: Box<dyn FnMut()>,
}

impl Workload {
    fn new(name: impl Into<String>, operations: u32, run: impl FnMut() + 'static) -> Self {
        Self { name: name.into(), operations, run: Box::new(run) }
    }
}

/// The part of a run that counts; a run may call it several times.
#[inline(never)]
fn measured_operations(operations: &mut dyn FnMut()) {
    operations();
    // Otherwise the call above could become a jump out of this function, and nothing would be counted.
    black_box(());
}

/// The runner has callgrind write down and forget all counts whenever this is called.
#[inline(never)]
fn finished_workload(workload: &Workload) {
    println!("{}\t{}", workload.operations, workload.name);
    std::io::stdout().flush().unwrap();
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let group = arguments.next().unwrap_or_default();
    let mut workloads = match group.as_str() {
        "codec" => codec::workloads(),
        "decisions" => decisions::workloads(),
        "routes" => routes::workloads(),
        "paths" => paths::workloads(),
        _ => panic!("usage: instructions codec|decisions|routes|paths [FILE_TO_WAIT_FOR]"),
    };
    // The first run grows queues, tables and buffers to their sizes.
    workloads.iter_mut().for_each(|workload| (workload.run)());
    if let Some(start) = arguments.next() {
        wait_for(&PathBuf::from(start));
    }
    for workload in &mut workloads {
        (workload.run)();
        finished_workload(workload);
    }
}

/// Waits until the runner has switched instrumentation on. Awake, for valgrind hears nothing while its program sleeps.
fn wait_for(start: &std::path::Path) {
    println!("ready");
    std::io::stdout().flush().unwrap();
    while !start.exists() {
        thread::sleep(Duration::from_millis(1));
    }
}
