//! The conformance suite on both stores, folding against the model, and the byte form of rows.

use std::sync::Arc;

use proptest::prelude::*;

use crate::{
    ChangeRow, CredentialRow, IdentityRow, MemoryRegistry, MemorySessions, MessageId, MessageRow, QueueRow, RedbStore,
    SessionId, SessionOp, SessionRow, SessionStore, SubscriptionRow, WillRow,
    codec::Encode,
    conformance::{self, Rng, decode_ops, encode_ops, message, queued, random_ops, session},
    fold::fold,
};

const CACHE_BYTES: usize = 1 << 20;

#[test]
fn the_model_conforms() {
    conformance::registry_store(|| {
        let store = Arc::new(MemoryRegistry::default());
        move || Arc::clone(&store)
    });
    conformance::session_store(|| {
        let store = Arc::new(MemorySessions::default());
        move || Arc::clone(&store)
    });
}

#[test]
fn the_embedded_registry_conforms() {
    conformance::registry_store(|| {
        let dir = tempfile::tempdir().unwrap();
        move || RedbStore::open(dir.path(), CACHE_BYTES).unwrap().registry
    });
}

#[test]
fn the_embedded_session_store_conforms() {
    conformance::session_store(|| {
        let dir = tempfile::tempdir().unwrap();
        move || RedbStore::open(dir.path(), CACHE_BYTES).unwrap().sessions
    });
}

/// Applies what `fold` left to the model, spelling the released enqueues out.
fn commit_folded(model: &MemorySessions, ops: &[SessionOp]) {
    for folded in fold(ops) {
        model.commit(std::slice::from_ref(folded.op)).unwrap();
        if let (SessionOp::Enqueue { session, seq, .. }, true) = (folded.op, folded.released) {
            model.commit(&[SessionOp::Release { session: *session, seq: *seq }]).unwrap();
        }
    }
}

#[test]
fn what_came_and_went_within_a_batch_is_not_written() {
    let (id, session, seq) = (MessageId(7), SessionId(1), 3);
    let ops = [
        SessionOp::PutMessage { id, row: message(7) },
        SessionOp::Enqueue { session, seq, row: queued(7) },
        SessionOp::Release { session, seq },
        SessionOp::Dequeue { session, seq },
        SessionOp::DeleteMessage { id },
    ];
    let left: Vec<_> = fold(&ops).into_iter().map(|folded| folded.op.clone()).collect();
    assert_eq!(left, ops[3..], "only the removals are left, and they find nothing");
    let released = fold(&ops[..3]);
    assert_eq!((released.len(), released[1].released), (2, true));
}

#[test]
fn what_came_and_went_never_reaches_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path(), CACHE_BYTES).unwrap().sessions;
    let length = || std::fs::metadata(dir.path().join("sessions.redb")).unwrap().len();
    store.commit(&[SessionOp::PutSession { id: SessionId(1), row: session(1) }]).unwrap();
    store.load().unwrap();
    let before = length();
    for number in 0..500 {
        store.commit(&[SessionOp::PutMessage { id: MessageId(number), row: message(255) }]).unwrap();
    }
    for number in 0..500 {
        store.commit(&[SessionOp::DeleteMessage { id: MessageId(number) }]).unwrap();
    }
    let kept = store.load().unwrap();
    assert!(kept.messages.is_empty() && kept.next_message >= 500, "{kept:?}");
    assert!(length() <= before + (1 << 20), "the tree grew from {before} to {} bytes", length());
}

fn text() -> impl Strategy<Value = String> {
    ".{0,20}"
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

fn identities() -> impl Strategy<Value = IdentityRow> {
    let texts = proptest::collection::vec(text(), 7);
    let words = (0..3usize, 0..6usize);
    ("[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}", any::<u128>(), texts, words, any::<(u64, u64, Option<u64>)>()).prop_map(
        |(name, id, texts, (kind, state), (created, changed, seen))| {
            let kinds = ["device", "gateway", "application"];
            let states = ["pending", "active", "quarantined", "disabled", "revoked", "retired"];
            let [group, owner, location, model, firmware, notes, state_reason] = texts.try_into().unwrap();
            let base = conformance::identity(id, &name);
            IdentityRow {
                kind: kinds[kind].parse().unwrap(),
                state: states[state].parse().unwrap(),
                created: portreeve_types::UnixMillis(created),
                changed: portreeve_types::UnixMillis(changed),
                last_seen: seen.map(portreeve_types::UnixMillis),
                group,
                owner,
                location,
                model,
                firmware,
                notes,
                state_reason,
                ..base
            }
        },
    )
}

fn messages() -> impl Strategy<Value = MessageRow> {
    (bytes(), bytes(), "[^\u{0}+#]{1,30}", any::<u64>(), any::<Option<u64>>()).prop_map(
        |(forwarded, payload, topic, number, expires)| MessageRow {
            topic: topic.parse().unwrap(),
            forwarded: forwarded.into(),
            payload: payload.into(),
            expires: expires.map(portreeve_types::UnixMillis),
            qos: portreeve_types::Qos::from_bits((number % 3) as u8).unwrap(),
            ..MessageRow::clone(&message(number >> 8))
        },
    )
}

fn queue_rows() -> impl Strategy<Value = QueueRow> {
    (any::<u64>(), 0..3u8, any::<(bool, bool)>(), proptest::collection::vec(any::<u32>(), 0..5)).prop_map(
        |(id, qos, (retain, released), subscription_ids)| QueueRow {
            message: MessageId(id),
            qos: portreeve_types::Qos::from_bits(qos).unwrap(),
            retain,
            released,
            subscription_ids,
        },
    )
}

/// Encodes, decodes, and refuses every shorter or longer form.
fn check_byte_form<T: Encode + PartialEq + std::fmt::Debug>(row: &T, ends_open: bool) {
    let mut bytes = Vec::new();
    row.encode(&mut bytes);
    assert_eq!(&T::decode(&bytes).unwrap(), row);
    let cut = (0..bytes.len()).filter(|&length| T::decode(&bytes[..length]).is_ok_and(|short| &short == row));
    assert_eq!(cut.count(), 0, "a cut row was taken for the whole");
    bytes.push(0x80);
    assert!(T::decode(&bytes).is_err(), "bytes behind the end were accepted");
    bytes.pop();
    if !ends_open {
        let cut = (0..bytes.len()).filter(|&length| T::decode(&bytes[..length]).is_ok());
        assert_eq!(cut.count(), 0, "a cut row was accepted");
    }
    bytes[0] = 2;
    assert!(T::decode(&bytes).is_err(), "an unknown version was accepted");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn folding_changes_nothing_that_can_be_seen(seed: u64, before in 0..40usize, batch in 1..60usize) {
        let mut rng = Rng(seed);
        let (plain, folded) = (MemorySessions::default(), MemorySessions::default());
        let base = random_ops(&mut rng, before);
        plain.commit(&base).unwrap();
        folded.commit(&base).unwrap();
        let ops = random_ops(&mut rng, batch);
        plain.commit(&ops).unwrap();
        commit_folded(&folded, &ops);
        let (plain, folded) = (plain.load().unwrap(), folded.load().unwrap());
        prop_assert_eq!(plain.sessions, folded.sessions);
        prop_assert_eq!(plain.messages, folded.messages);
        prop_assert_eq!(plain.retained, folded.retained);
    }

    #[test]
    fn rows_have_one_byte_form(identity in identities(), message in messages(), queue in queue_rows(), number: u64) {
        check_byte_form(&identity, false);
        check_byte_form(&message, false);
        // The subscription identifiers reach to the end of the row.
        check_byte_form(&queue, true);
        check_byte_form(&session(number), false);
        let revoked = (number % 2 == 0).then_some(portreeve_types::UnixMillis(number));
        let credential = conformance::credential(number.to_be_bytes()[7], 3);
        check_byte_form(&CredentialRow { revoked, used: revoked, ..credential }, false);
        let text = || number.to_string();
        let (at, actor, field, before) = (portreeve_types::UnixMillis(number), text(), text(), String::new());
        check_byte_form(&ChangeRow { at, actor, field, before, after: text(), reason: identity.notes.clone() }, false);
        let subscription_id = (number % 2 == 0).then_some(u32::MAX);
        let filter = "$share/g/a/+/#".parse().unwrap();
        check_byte_form(&SubscriptionRow { filter, options: number.to_be_bytes()[0], subscription_id }, false);
        let due = revoked;
        let (topic, forwarded, payload) = (message.topic.clone(), message.forwarded.clone(), message.payload.clone());
        let (qos, retain, expiry_s) = (message.qos, message.retain, subscription_id);
        check_byte_form(&WillRow { topic, qos, retain, forwarded, payload, expiry_s, delay_s: 7, due }, false);
    }

    #[test]
    fn operations_have_one_byte_form(seed: u64, count in 0..40usize, cut: u64, damages in 1..6usize) {
        let mut rng = Rng(seed);
        let ops = random_ops(&mut rng, count);
        let bytes = encode_ops(&ops);
        prop_assert_eq!(decode_ops(&bytes), Ok(ops));
        let cut = usize::try_from(cut % bytes.len() as u64).unwrap();
        prop_assert!(decode_ops(&bytes[..cut]).is_err());
        let mut damaged = bytes.clone();
        for _ in 0..damages {
            let at = usize::try_from(rng.below(damaged.len() as u64)).unwrap();
            damaged[at] ^= 1 << rng.below(8);
        }
        if let Ok(other) = decode_ops(&damaged) {
            prop_assert_eq!(encode_ops(&other), damaged);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in bytes()) {
        let mut bytes = bytes;
        bytes.insert(0, 1);
        let _ = (IdentityRow::decode(&bytes), ChangeRow::decode(&bytes), CredentialRow::decode(&bytes), MessageRow::decode(&bytes));
        let _ = (SessionRow::decode(&bytes), SubscriptionRow::decode(&bytes), WillRow::decode(&bytes));
        // What is accepted is the one byte form of what was read.
        if let Ok(row) = QueueRow::decode(&bytes) {
            let mut again = Vec::new();
            row.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }
}
