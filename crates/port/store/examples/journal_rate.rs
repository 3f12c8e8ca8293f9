//! Prints how many messages a second become durable, by the number of messages in a submission, and how long a restart
//! takes to read them.
//!
//! `cargo run --release -p portreeve-store --example journal_rate [DIR]`

#![allow(clippy::print_stdout, reason = "the figures are its purpose")]

use std::{
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use portreeve_store::{
    Journal, JournalLimits, MessageId, MessageRow, QueueRow, RedbStore, SessionId, SessionOp, SessionRow, SessionStore,
};
use portreeve_types::{ClientId, IdentityId, Qos, TopicName, UnixMillis};

const CACHE_BYTES: usize = 64 << 20;
const SESSIONS: u64 = 100;
const RUN: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("journal-rate-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let outcome = measure(&dir);
    std::fs::remove_dir_all(&dir)?;
    outcome
}

fn measure(dir: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(RedbStore::open(dir, CACHE_BYTES)?.sessions);
    let mut next = store.load()?.next_message;
    store.commit(&(0..SESSIONS).filter_map(session).collect::<Vec<_>>())?;
    println!("messages a batch   stored/s   passing/s   (a stored message is a body and a queue entry; a passing one");
    println!("                                          is also acknowledged and deleted within its batch)");
    for batch in [1, 4, 16, 64, 256, 1024, 4096] {
        let stored = rate(&store, batch, false, &mut next)?;
        let passing = rate(&store, batch, true, &mut next)?;
        println!("{batch:>16} {stored:>10} {passing:>11}");
    }
    drop(store);
    restart(dir)
}

fn restart(dir: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let store = RedbStore::open(dir, CACHE_BYTES)?.sessions;
    let opened_ms = started.elapsed().as_millis();
    let messages = store.load()?.messages.len();
    println!("restart with {messages} messages: {opened_ms} ms to verify, {} ms in all", started.elapsed().as_millis());
    Ok(())
}

fn session(number: u64) -> Option<SessionOp> {
    let row = SessionRow {
        identity: IdentityId(uuid::Uuid::nil()),
        client_id: ClientId::new(&format!("lamp-{number}"))?,
        v5: true,
        expiry_s: u32::MAX,
        connected: true,
        disconnected_at: None,
        sent_below: 0,
        peer: Some(([192, 0, 2, 1].into(), "mqtt".into())),
        created: UnixMillis(0),
    };
    Some(SessionOp::PutSession { id: SessionId(number), row })
}

/// Durable messages a second when each submission waits for the one before.
fn rate(
    store: &Arc<impl SessionStore + 'static>,
    batch: u64,
    passing: bool,
    next: &mut u64,
) -> Result<u64, Box<dyn Error>> {
    let journal = Journal::start(store.clone(), JournalLimits::default(), Box::new(|_| {}))?;
    let row = Arc::new(MessageRow {
        topic: TopicName::new("devices/lamp-1/telemetry/temperature")?,
        publisher: None,
        qos: Qos::AtLeastOnce,
        retain: false,
        forwarded: Arc::from([]),
        payload: Arc::from([7; 200]),
        expires: None,
        received: UnixMillis(0),
    });
    let (mut ops, mut messages, started) = (Vec::new(), 0, Instant::now());
    while started.elapsed() < RUN {
        for _ in 0..batch {
            push_message(&mut ops, *next, &row, passing);
            *next += 1;
        }
        journal.submit(&mut ops);
        if !journal.flush(Duration::from_secs(60)) {
            return Err("the store does not keep up".into());
        }
        messages += batch;
    }
    Ok(messages * 1000 / u64::try_from(started.elapsed().as_millis())?)
}

fn push_message(ops: &mut Vec<SessionOp>, number: u64, row: &Arc<MessageRow>, passing: bool) {
    let (id, session) = (MessageId(number), SessionId(number % SESSIONS));
    let entry =
        QueueRow { message: id, qos: Qos::AtLeastOnce, retain: false, subscription_ids: Vec::new(), released: false };
    ops.push(SessionOp::PutMessage { id, row: Arc::clone(row) });
    ops.push(SessionOp::Enqueue { session, seq: number, row: entry });
    if passing {
        ops.push(SessionOp::Dequeue { session, seq: number });
        ops.push(SessionOp::DeleteMessage { id });
    }
}
