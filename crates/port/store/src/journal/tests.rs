use std::{
    sync::atomic::AtomicUsize,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    MemorySessions, MessageId, SessionContents, SessionId,
    conformance::{FailingSessions, Fault, Rng, assert_same, message, random_ops, session},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Remembers each batch that was committed.
#[derive(Default)]
struct Recorder(Mutex<Vec<Vec<SessionOp>>>);

impl SessionStore for Recorder {
    fn load(&self) -> Result<SessionContents, StoreError> {
        let model = MemorySessions::default();
        self.0.lock().iter().try_for_each(|batch| model.commit(batch))?;
        model.load()
    }

    fn commit(&self, ops: &[SessionOp]) -> Result<(), StoreError> {
        self.0.lock().push(ops.to_vec());
        Ok(())
    }
}

type Store = Arc<FailingSessions<Recorder>>;

fn limits() -> JournalLimits {
    JournalLimits { pending_bytes_max: 1 << 20, pending_ops_max: 1000, batch_ops_max: 100, spacing_us: 0, retry_ms: 1 }
}

fn start_with(limits: JournalLimits) -> (Store, Journal) {
    let store = Arc::new(FailingSessions::new(Recorder::default()));
    let journal = Journal::start(store.clone(), limits, Box::new(|_| {})).unwrap();
    (store, journal)
}

fn numbered(number: u64) -> Vec<SessionOp> {
    vec![SessionOp::PutMessage { id: MessageId(number), row: message(number) }]
}

fn committed(store: &Store) -> Vec<SessionOp> {
    store.inner().0.lock().concat()
}

/// Makes the committer wait inside the store with one batch.
fn occupy(store: &Store, journal: &Journal) {
    store.hold();
    let attempts = store.attempts();
    journal.submit(&mut numbered(0));
    store.wait_for_attempts(attempts + 1);
}

#[test]
fn tickets_ascend_and_nothing_returns_the_last_one() {
    let (store, journal) = start_with(limits());
    assert_eq!(journal.submit(&mut Vec::new()), Ticket::default());
    let mut ops = numbered(1);
    ops.reserve(50);
    let first = journal.submit(&mut ops);
    assert!(ops.is_empty() && ops.capacity() >= 50, "the buffer is given back");
    let second = journal.submit(&mut numbered(2));
    assert!(first < second);
    assert_eq!(journal.submit(&mut Vec::new()), second);
    assert!(journal.flush(PATIENCE));
    assert_eq!(journal.durable(), second);
    assert_eq!(committed(&store), [numbered(1), numbered(2)].concat());
}

#[test]
fn nothing_is_durable_before_the_store_says_so() {
    let (store, journal) = start_with(limits());
    occupy(&store, &journal);
    assert_eq!(journal.durable(), Ticket::default());
    assert!(!journal.flush(Duration::ZERO));
    store.resume();
    assert!(journal.flush(PATIENCE));
    assert_eq!(journal.durable(), journal.submit(&mut Vec::new()));
}

#[test]
fn submissions_share_a_commit_but_are_never_split() {
    let (store, journal) = start_with(limits());
    occupy(&store, &journal);
    let mut number = 0;
    for size in [30, 30, 30, 30, 250, 1, 99, 1] {
        let mut ops: Vec<_> = (0..size).flat_map(|index| numbered(number + index)).collect();
        number += size;
        journal.submit(&mut ops);
    }
    store.resume();
    assert!(journal.flush(PATIENCE));
    let sizes: Vec<_> = store.inner().0.lock().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 90, 30, 250, 100, 1]);
}

#[test]
fn a_full_disk_refuses_new_work_keeps_the_order_and_recovers() {
    let (store, journal) = start_with(limits());
    store.fail(Some(Fault::Full));
    journal.submit(&mut numbered(1));
    store.wait_for_attempts(2);
    assert_eq!(journal.health(), Health::Full);
    assert!(!journal.accepts_work());
    journal.submit(&mut numbered(2));
    store.wait_for_attempts(store.attempts() + 2);
    assert_eq!((journal.durable(), committed(&store)), (Ticket::default(), vec![]));
    store.fail(None);
    assert!(journal.flush(PATIENCE));
    assert_eq!(journal.health(), Health::Ok);
    assert!(journal.accepts_work());
    assert_eq!(committed(&store), [numbered(1), numbered(2)].concat());
    assert!(journal.stats().failures >= 2);
}

#[test]
fn a_damaged_store_is_said_in_words() {
    let (store, journal) = start_with(limits());
    store.fail(Some(Fault::Corrupt));
    journal.submit(&mut numbered(1));
    store.wait_for_attempts(2);
    assert!(matches!(journal.health(), Health::Failed(message) if message.contains("Restore the data directory")));
    assert!(!journal.accepts_work());
    assert!(!journal.stop(), "what could not be committed is admitted");
}

#[test]
fn a_backlog_refuses_new_work_until_it_is_gone() {
    let few = JournalLimits { pending_ops_max: 3, ..limits() };
    let bytes = JournalLimits { pending_bytes_max: 3 * size_bytes(&numbered(0)[0]), ..limits() };
    for limits in [few, bytes] {
        let (store, journal) = start_with(limits);
        occupy(&store, &journal);
        journal.submit(&mut numbered(0));
        journal.submit(&mut numbered(0));
        assert!(journal.accepts_work(), "at the limit");
        let over = journal.submit(&mut numbered(0));
        assert!(!journal.accepts_work(), "above it");
        assert_eq!(journal.health(), Health::Backlogged);
        assert_eq!(journal.stats().pending_ops, 4);
        store.resume();
        assert!(journal.flush(PATIENCE));
        assert!(journal.accepts_work());
        assert_eq!(journal.durable(), over);
        assert_eq!((journal.stats().pending_ops, journal.stats().pending_bytes), (0, 0));
    }
}

#[test]
fn the_hub_is_told_after_each_commit_and_may_submit_from_there() {
    let store = Arc::new(Recorder::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (sender, receiver) = std::sync::mpsc::channel::<Arc<Journal>>();
    let told = Arc::clone(&seen);
    let on_progress = move |progress: &Progress| {
        told.lock().push((progress.durable, progress.health.clone()));
        if progress.durable == Ticket(1) {
            receiver.recv().unwrap().submit(&mut numbered(2));
        }
    };
    let journal = Arc::new(Journal::start(store.clone(), limits(), Box::new(on_progress)).unwrap());
    journal.submit(&mut numbered(1));
    sender.send(Arc::clone(&journal)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while seen.lock().len() < 2 && Instant::now() < deadline {
        thread::yield_now();
    }
    assert_eq!(*seen.lock(), [(Ticket(1), Health::Ok), (Ticket(2), Health::Ok)]);
    assert_eq!(store.0.lock().concat(), [numbered(1), numbered(2)].concat());
}

#[test]
fn the_last_owner_may_be_the_callback() {
    let (sender, receiver) = std::sync::mpsc::channel::<Journal>();
    let (ended, end) = std::sync::mpsc::channel();
    let on_progress = move |_: &Progress| {
        drop(receiver.recv().unwrap());
        ended.send(()).unwrap();
    };
    let journal = Journal::start(Arc::new(Recorder::default()), limits(), Box::new(on_progress)).unwrap();
    journal.submit(&mut numbered(1));
    sender.send(journal).unwrap();
    end.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn stopping_commits_what_is_pending() {
    let (store, journal) = start_with(limits());
    occupy(&store, &journal);
    for number in 1..500 {
        journal.submit(&mut numbered(number));
    }
    store.resume();
    assert!(journal.stop());
    assert_eq!(committed(&store).len(), 500);
}

/// A stream through faults of every kind: what reached the store is the stream, in order, without gap or repetition
/// save for batches that were committed although the store reported an error.
#[test]
fn faults_never_reorder_or_lose() {
    for seed in 0..20 {
        let (store, journal) = start_with(limits());
        let (mut rng, model) = (Rng(seed), MemorySessions::default());
        for _ in 0..60 {
            let count = 1 + rng.below(20);
            let mut ops = random_ops(&mut rng, usize::try_from(count).unwrap());
            model.commit(&ops).unwrap();
            let fault = [None, None, Some(Fault::Full), Some(Fault::Lost), Some(Fault::Landed)];
            store.fail(fault[usize::try_from(rng.below(5)).unwrap()]);
            journal.submit(&mut ops);
        }
        store.fail(None);
        assert!(journal.flush(PATIENCE), "seed {seed}");
        assert_same(&store.load().unwrap(), &model.load().unwrap(), &format!("seed {seed}"));
    }
}

#[test]
fn no_wake_up_is_lost_among_many_threads() {
    let (store, journal) = start_with(limits());
    let flushes = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (journal, flushes) = (&journal, &flushes);
            scope.spawn(move || {
                for number in 0..300 {
                    let id = SessionId(thread * 1000 + number);
                    let ticket = journal.submit(&mut vec![SessionOp::PutSession { id, row: session(number) }]);
                    if number % 7 == 0 {
                        assert!(journal.flush(PATIENCE), "a wake-up was lost");
                        assert!(journal.durable() >= ticket);
                        flushes.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(journal.stop());
    assert_eq!(flushes.into_inner(), 4 * 43);
    let stored = store.load().unwrap().sessions;
    assert_eq!(stored.len(), 1200);
}

fn submit_all(journal: &Journal, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        journal.submit(&mut numbered(number));
    }
}

/// What comes soon behind a shared commit shares the next, however quick the disk is.
#[test]
fn those_who_submit_together_share_commits() {
    const HOUR_US: u64 = 3_600_000_000;
    let (store, journal) = start_with(JournalLimits { spacing_us: HOUR_US, ..limits() });
    for number in 0..3 {
        journal.submit(&mut numbered(number));
        assert!(journal.flush(PATIENCE), "who is alone does not wait for company");
    }
    occupy(&store, &journal);
    submit_all(&journal, 10..20);
    store.resume();
    assert!(journal.flush(PATIENCE));
    submit_all(&journal, 20..60);
    assert!(journal.stop(), "an end waits for nobody");
    let batches: Vec<usize> = store.inner().0.lock().iter().map(Vec::len).collect();
    assert_eq!(batches, [1, 1, 1, 1, 10, 40]);
}

/// A full batch has nobody to wait for.
#[test]
fn a_full_batch_is_not_kept_waiting() {
    let (store, journal) = start_with(JournalLimits { spacing_us: 3_600_000_000, batch_ops_max: 10, ..limits() });
    occupy(&store, &journal);
    submit_all(&journal, 1..=20);
    store.resume();
    // The first ten, since the second ten stand behind them; those wait for more.
    while store.inner().0.lock().len() < 2 {
        std::thread::yield_now();
    }
    submit_all(&journal, 21..=30);
    while store.inner().0.lock().len() < 3 {
        std::thread::yield_now();
    }
    assert!(journal.stop());
    let batches: Vec<usize> = store.inner().0.lock().iter().map(Vec::len).collect();
    assert_eq!(batches, [1, 10, 10, 10]);
}
