//! What every store must do, and a store that fails on demand.
//!
//! A store passes when [`registry_store`] and [`session_store`] return. Both take a function that makes a new, empty
//! place each time it is called; what it returns opens a store at that place, first new and later again with what was
//! committed there. The earlier store is dropped before a place is opened again.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use portreeve_types::{
    ClientId, IdentityId, IdentityName, KeyHash, Kind, LifecycleState, Qos, TopicFilter, TopicName, UnixMillis,
};
use uuid::Uuid;

use crate::{
    CHANGES_PER_IDENTITY_MAX, ChangeRow, CredentialRow, IdentityRow, MemoryRegistry, MemorySessions, MessageId,
    MessageRow, OWN_CHANGES_PER_IDENTITY_MAX, QueueRow, RegistryContents, RegistryOp, RegistryStore, SessionContents,
    SessionId, SessionOp, SessionRow, SessionStore, StoreError, StoredSession, SubscriptionRow, WillRow,
    codec::{Encode, read_ops},
};

/// Small seeded generator (SplitMix64): the same seed gives the same operations on every machine.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn done<T>(result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("the store failed: {error}"))
}

fn topic(number: u64) -> TopicName {
    TopicName::new(&format!("devices/d{number}/state")).unwrap_or_else(|error| panic!("{error}"))
}

fn filter(number: u64) -> TopicFilter {
    TopicFilter::new(&format!("devices/d{number}/#")).unwrap_or_else(|error| panic!("{error}"))
}

/// An identity with this number and name.
#[must_use]
pub fn identity(number: u128, name: &str) -> IdentityRow {
    IdentityRow {
        id: IdentityId(Uuid::from_u128(number)),
        name: name.parse::<IdentityName>().unwrap_or_else(|error| panic!("{error}")),
        kind: Kind::Device,
        group: "pumps".into(),
        owner: "plant 7".into(),
        location: "hall Ä".into(),
        model: "p-1".into(),
        firmware: "1.2.3".into(),
        notes: String::new(),
        state: LifecycleState::Active,
        state_reason: "commissioned".into(),
        created: UnixMillis(1),
        changed: UnixMillis(2),
        last_seen: None,
    }
}

/// A credential of that identity.
#[must_use]
pub fn credential(key: u8, owner: u128) -> CredentialRow {
    CredentialRow {
        key: KeyHash([key; 32]),
        identity: IdentityId(Uuid::from_u128(owner)),
        serial: vec![0, key, 255],
        issuer: 1,
        not_before: UnixMillis(10),
        not_after: UnixMillis(20),
        issued: UnixMillis(11),
        revoked: None,
        used: None,
    }
}

/// A message body that differs by number.
#[must_use]
pub fn message(number: u64) -> Arc<MessageRow> {
    Arc::new(MessageRow {
        topic: topic(number),
        publisher: number.is_multiple_of(2).then(|| IdentityId(Uuid::from_u128(u128::from(number)))),
        qos: Qos::AtLeastOnce,
        retain: number.is_multiple_of(3),
        forwarded: Arc::from(&b"\x01\x01"[..]),
        payload: number.to_be_bytes().repeat(usize::from(number.to_be_bytes()[7])).into(),
        expires: number.is_multiple_of(5).then_some(UnixMillis(number)),
        received: UnixMillis(number),
    })
}

/// A session that differs by number.
#[must_use]
pub fn session(number: u64) -> SessionRow {
    SessionRow {
        identity: IdentityId(Uuid::from_u128(u128::from(number))),
        client_id: ClientId::new(&format!("c{number}")).unwrap_or_else(|| panic!("a valid client id")),
        v5: number.is_multiple_of(2),
        expiry_s: u32::MAX,
        connected: number.is_multiple_of(3),
        disconnected_at: None,
        sent_below: 0,
        peer: Some(([192, 0, 2, 1].into(), "mqtt".into())),
        created: UnixMillis(number),
    }
}

/// An entry that refers to this message.
#[must_use]
pub fn queued(message: u64) -> QueueRow {
    QueueRow {
        message: MessageId(message),
        qos: Qos::ExactlyOnce,
        retain: false,
        subscription_ids: vec![1, 268_435_455],
        released: false,
    }
}

fn subscription(number: u64) -> SubscriptionRow {
    SubscriptionRow { filter: filter(number), options: 2, subscription_id: Some(7) }
}

fn will(number: u64) -> Arc<WillRow> {
    Arc::new(WillRow {
        topic: topic(number),
        qos: Qos::AtLeastOnce,
        retain: true,
        forwarded: Arc::from([]),
        payload: Arc::from(&b"gone"[..]),
        expiry_s: Some(60),
        delay_s: 5,
        due: None,
    })
}

/// Operations on few keys, so that they meet: any order is legal, also one that no hub would choose.
#[must_use]
pub fn random_ops(rng: &mut Rng, count: usize) -> Vec<SessionOp> {
    (0..count).map(|_| random_op(rng)).collect()
}

fn random_op(rng: &mut Rng) -> SessionOp {
    let (session, seq, id) = (SessionId(1 + rng.below(4)), rng.below(5), MessageId(1 + rng.below(6)));
    let packet_id = if rng.one_in(2) { 1 } else { u16::MAX };
    match rng.below(18) {
        0..=2 => SessionOp::PutMessage { id, row: message(id.0 + rng.below(2)) },
        3 => SessionOp::DeleteMessage { id },
        4 | 5 => SessionOp::PutSession { id: session, row: self::session(session.0 + rng.below(2)) },
        6 => SessionOp::DeleteSession { id: session },
        7 => SessionOp::PutSubscription { session, row: subscription(seq) },
        8 => SessionOp::DeleteSubscription { session, filter: filter(seq) },
        9..=11 => SessionOp::Enqueue { session, seq, row: queued(id.0) },
        12 => SessionOp::Release { session, seq },
        13 => SessionOp::Dequeue { session, seq },
        14 if rng.one_in(2) => SessionOp::PutInbound { session, packet_id, message: id },
        14 => SessionOp::DeleteInbound { session, packet_id },
        15 => SessionOp::PutWill { session, row: will(seq) },
        16 if rng.one_in(2) => SessionOp::DeleteWill { session },
        16 => SessionOp::DeleteRetained { topic: topic(seq) },
        _ => SessionOp::PutRetained { topic: topic(seq), message: id },
    }
}

/// Operations as the log of the embedded store holds them: their number, four bytes, then one behind another.
#[must_use]
pub fn encode_ops(ops: &[SessionOp]) -> Vec<u8> {
    let count = u32::try_from(ops.len()).unwrap_or_else(|error| panic!("{error}"));
    let mut bytes = count.to_be_bytes().to_vec();
    ops.iter().for_each(|op| op.write(&mut bytes));
    bytes
}

/// Reads what [`encode_ops`] made.
///
/// # Errors
/// Why it is nothing that it makes.
pub fn decode_ops(bytes: &[u8]) -> Result<Vec<SessionOp>, String> {
    let (count, bytes) = bytes.split_first_chunk().ok_or("no number of operations")?;
    let mut ops = Vec::new();
    read_ops(bytes, u32::from_be_bytes(*count), &mut ops).map_err(|bad| bad.to_string())?;
    Ok(ops)
}

/// Compares everything but the counters, which a store may round up.
pub fn assert_same(found: &SessionContents, model: &SessionContents, context: &str) {
    assert_eq!(found.sessions, model.sessions, "sessions, {context}");
    assert_eq!(found.retained, model.retained, "retained, {context}");
    assert_eq!(found.messages, model.messages, "messages, {context}");
    assert!(found.next_message >= model.next_message, "message ids would be used again, {context}");
    assert!(found.next_session >= model.next_session, "session ids would be used again, {context}");
}

/// Runs every registry case.
pub fn registry_store<S: RegistryStore, O: FnMut() -> S>(mut place: impl FnMut() -> O) {
    registry_is_visible_after_reopening(place());
    registry_commits_all_or_nothing(place());
    names_and_keys_are_unique(place());
    a_spent_key_is_never_certified_again(place());
    an_identity_goes_with_its_name_and_its_changes(place());
    changes_are_kept_in_order_and_within_their_bound(place());
    documents_are_read_one_by_one(place());
    registry_equals_the_model(place());
}

fn registry_is_visible_after_reopening<S: RegistryStore>(mut open: impl FnMut() -> S) {
    assert_eq!(done(open().load()), RegistryContents::default());
    let (row, key) = (identity(1, "lamp-1"), credential(1, 1));
    let blob = |name: &str, byte| RegistryOp::PutBlob { name: name.into(), bytes: vec![byte; 100_000] };
    let ops =
        [RegistryOp::PutIdentity(row.clone()), RegistryOp::PutCredential(key.clone()), blob("a", 1), blob("b", 2)];
    done(open().commit(&ops));
    let kept = done(open().load());
    assert_eq!((kept.identities, kept.credentials), (vec![row.clone()], vec![key.clone()]));
    assert_eq!(kept.blobs, [("a".to_owned(), vec![1; 100_000]), ("b".to_owned(), vec![2; 100_000])]);

    let row = IdentityRow { state: LifecycleState::Revoked, last_seen: Some(UnixMillis(9)), ..row };
    let key = CredentialRow { revoked: Some(UnixMillis(9)), ..key };
    let ops = [
        RegistryOp::PutIdentity(row.clone()),
        RegistryOp::PutCredential(key.clone()),
        blob("b", 3),
        RegistryOp::DeleteBlob { name: "a".into() },
        RegistryOp::DeleteBlob { name: "never was".into() },
    ];
    done(open().commit(&ops));
    let kept = done(open().load());
    assert_eq!((kept.identities, kept.credentials), (vec![row], vec![key]));
    assert_eq!(kept.blobs, [("b".to_owned(), vec![3; 100_000])]);
}

fn assert_conflict(result: &Result<(), StoreError>, what: &str) {
    assert!(matches!(result, Err(StoreError::Conflict(_))), "{what}: {result:?}");
}

fn registry_commits_all_or_nothing<S: RegistryStore>(mut open: impl FnMut() -> S) {
    let store = open();
    done(store.commit(&[RegistryOp::PutIdentity(identity(1, "a"))]));
    let before = done(store.load());
    let ops = [
        RegistryOp::PutBlob { name: "policy".into(), bytes: vec![1] },
        RegistryOp::PutIdentity(identity(2, "b")),
        RegistryOp::PutIdentity(identity(3, "a")),
    ];
    assert_conflict(&store.commit(&ops), "a name given twice");
    assert_eq!(done(store.load()), before);
    drop(store);
    assert_eq!(done(open().load()), before);
}

fn names_and_keys_are_unique<S: RegistryStore>(mut open: impl FnMut() -> S) {
    let store = open();
    let put = |id, name: &str| store.commit(&[RegistryOp::PutIdentity(identity(id, name))]);
    done(put(1, "a"));
    assert_conflict(&put(2, "a"), "a name of another");
    done(put(1, "b"));
    done(put(2, "a"));
    assert_conflict(&put(1, "a"), "renamed to another's name");
    let both = [RegistryOp::PutIdentity(identity(3, "c")), RegistryOp::PutIdentity(identity(4, "c"))];
    assert_conflict(&store.commit(&both), "one name twice in one commit");

    done(store.commit(&[RegistryOp::PutCredential(credential(9, 1))]));
    done(store.commit(&[RegistryOp::PutCredential(credential(9, 1))]));
    assert_conflict(&store.commit(&[RegistryOp::PutCredential(credential(9, 2))]), "a key of another");
}

fn a_spent_key_is_never_certified_again<S: RegistryStore>(mut open: impl FnMut() -> S) {
    let store = open();
    let put = |key, owner| RegistryOp::PutCredential(credential(key, owner));
    let spend = |key| RegistryOp::SpendKey { key: credential(key, 1).key };
    done(store.commit(&[put(1, 1), put(2, 1), spend(1), spend(3)]));
    assert_conflict(&store.commit(&[put(1, 1)]), "also by whom it was");
    assert_conflict(&store.commit(&[put(4, 1), spend(4), put(4, 1)]), "in one commit");
    drop(store);
    let kept = done(open().load());
    assert_eq!(kept.credentials, [credential(2, 1)]);
    assert_eq!(kept.spent, [1, 3].map(|key| credential(key, 1).key.into()));
    assert_conflict(&open().commit(&[put(3, 2)]), "after a restart");
}

fn an_identity_goes_with_its_name_and_its_changes<S: RegistryStore>(mut open: impl FnMut() -> S) {
    let (one, other) = (identity(1, "a"), identity(2, "b"));
    let change = ChangeRow {
        at: UnixMillis(1),
        actor: "root".into(),
        field: "name".into(),
        before: String::new(),
        after: "a".into(),
        reason: String::new(),
    };
    let note = |row: &IdentityRow| RegistryOp::Note { identity: row.id, change: change.clone() };
    let delete = |row: &IdentityRow| RegistryOp::DeleteIdentity { id: row.id };
    let put = |row: &IdentityRow| RegistryOp::PutIdentity(row.clone());
    done(open().commit(&[put(&one), put(&other), note(&one), note(&other), delete(&one), delete(&identity(3, "c"))]));
    let store = open();
    assert_eq!(done(store.load()).identities, std::slice::from_ref(&other));
    assert_eq!((done(store.history(one.id)), done(store.history(other.id))), (vec![], vec![change.clone()]));
    done(store.commit(&[put(&identity(4, "a"))]));
}

fn changes_are_kept_in_order_and_within_their_bound<S: RegistryStore>(mut open: impl FnMut() -> S) {
    let change = |number: usize| ChangeRow {
        at: UnixMillis(number as u64),
        actor: "root".into(),
        field: "group".into(),
        before: String::new(),
        after: number.to_string(),
        reason: "a test".into(),
    };
    let (one, other) = (identity(1, "a").id, identity(2, "b").id);
    let note = |identity, number| RegistryOp::Note { identity, change: change(number) };
    let store = open();
    assert_eq!(done(store.history(one)), []);
    done(store.commit(&[note(one, 0), note(other, 0), note(one, 1)]));
    let refused = [note(one, 9), RegistryOp::PutIdentity(identity(3, "c")), RegistryOp::PutIdentity(identity(4, "c"))];
    assert_conflict(&store.commit(&refused), "with a change");
    drop(store);
    let store = open();
    assert_eq!(done(store.history(one)), [change(0), change(1)]);
    for number in 2..CHANGES_PER_IDENTITY_MAX + 3 {
        done(store.commit(&[note(one, number)]));
    }
    let kept = done(store.history(one));
    assert_eq!((kept.len(), &kept[0]), (CHANGES_PER_IDENTITY_MAX, &change(3)));
    assert_eq!(kept.last(), Some(&change(CHANGES_PER_IDENTITY_MAX + 2)));
    assert_eq!(done(store.history(other)), [change(0)]);
    // What an identity says of itself takes the place of nothing else, and stands where it belongs.
    let own = |number| RegistryOp::NoteOwn { identity: other, change: change(number) };
    for number in 1..OWN_CHANGES_PER_IDENTITY_MAX + 3 {
        done(store.commit(&[own(number)]));
    }
    done(store.commit(&[note(other, 999), own(1000)]));
    let kept = done(store.history(other));
    assert_eq!(kept.len(), OWN_CHANGES_PER_IDENTITY_MAX + 2);
    assert_eq!((&kept[0], &kept[1]), (&change(0), &change(4)));
    assert_eq!(kept[OWN_CHANGES_PER_IDENTITY_MAX..], [change(999), change(1000)]);
}

fn documents_are_read_one_by_one<S: RegistryStore>(mut open: impl FnMut() -> S) {
    let put = |name: &str, byte| RegistryOp::PutDocument { name: name.into(), bytes: vec![byte; 5_000_000] };
    let delete = |name: &str| RegistryOp::DeleteDocument { name: name.into() };
    let store = open();
    assert_eq!(done(store.document("a")), None);
    done(store.commit(&[put("a", 1), put("b", 2), delete("never was")]));
    let refused = [delete("a"), RegistryOp::PutIdentity(identity(1, "c")), RegistryOp::PutIdentity(identity(2, "c"))];
    assert_conflict(&store.commit(&refused), "with a document");
    drop(store);
    let store = open();
    assert_eq!(done(store.load()), RegistryContents::default(), "a start reads none");
    assert_eq!(done(store.document("a")), Some(vec![1; 5_000_000]));
    done(store.commit(&[put("b", 3), delete("a"), RegistryOp::PutBlob { name: "a".into(), bytes: vec![9] }]));
    drop(store);
    let store = open();
    assert_eq!((done(store.document("a")), done(store.document("b"))), (None, Some(vec![3; 5_000_000])));
}

fn registry_equals_the_model<S: RegistryStore>(mut open: impl FnMut() -> S) {
    for seed in 0..20 {
        let (mut rng, mut store, model) = (Rng(seed), open(), MemoryRegistry::default());
        done(model.commit(&replay(&done(store.load()))));
        for round in 0..10 {
            let ops: Vec<_> = (0..1 + rng.below(4)).map(|_| random_registry_op(&mut rng)).collect();
            let (found, expected) = (store.commit(&ops), model.commit(&ops));
            assert_eq!(found.is_ok(), expected.is_ok(), "seed {seed} round {round}: {found:?}, not {expected:?}");
            if rng.one_in(4) {
                drop(store);
                store = open();
            }
            assert_eq!(done(store.load()), done(model.load()), "seed {seed} round {round}");
        }
    }
}

fn replay(contents: &RegistryContents) -> Vec<RegistryOp> {
    let identities = contents.identities.iter().cloned().map(RegistryOp::PutIdentity);
    let credentials = contents.credentials.iter().cloned().map(RegistryOp::PutCredential);
    let blobs = contents.blobs.iter().cloned().map(|(name, bytes)| RegistryOp::PutBlob { name, bytes });
    identities.chain(credentials).chain(blobs).collect()
}

fn random_registry_op(rng: &mut Rng) -> RegistryOp {
    let (id, word) =
        (u128::from(rng.below(4)), ["a", "b", "c", "d", "e"][usize::from(rng.bits().to_be_bytes()[0] % 5)]);
    match rng.below(4) {
        0 if rng.one_in(4) => RegistryOp::DeleteIdentity { id: identity(id, word).id },
        0 | 1 => RegistryOp::PutIdentity(identity(id, word)),
        2 => RegistryOp::PutCredential(credential(rng.bits().to_be_bytes()[0] % 6, id)),
        _ if rng.one_in(2) => RegistryOp::DeleteBlob { name: word.into() },
        _ => RegistryOp::PutBlob { name: word.into(), bytes: rng.bits().to_be_bytes().to_vec() },
    }
}

/// Runs every session case.
pub fn session_store<S: SessionStore, O: FnMut() -> S>(mut place: impl FnMut() -> O) {
    every_row_is_visible_after_reopening(place());
    deleting_a_session_takes_what_is_its_own(place());
    ids_are_never_given_out_again(place());
    orphans_are_collected(place());
    a_commit_may_be_repeated(place());
    sessions_equal_the_model(&mut place);
}

fn whole_session(id: u64) -> Vec<SessionOp> {
    let session = SessionId(id);
    vec![
        SessionOp::PutMessage { id: MessageId(id), row: message(id) },
        SessionOp::PutSession { id: session, row: self::session(id) },
        SessionOp::PutSubscription { session, row: subscription(1) },
        SessionOp::PutSubscription { session, row: subscription(2) },
        SessionOp::Enqueue { session, seq: u64::MAX, row: queued(id) },
        SessionOp::Enqueue { session, seq: 0, row: queued(id) },
        SessionOp::PutInbound { session, packet_id: 1, message: MessageId(id) },
        SessionOp::PutInbound { session, packet_id: u16::MAX, message: MessageId(id) },
        SessionOp::PutWill { session, row: will(id) },
    ]
}

fn stored_session(id: u64) -> StoredSession {
    StoredSession {
        id: SessionId(id),
        row: session(id),
        subscriptions: vec![subscription(1), subscription(2)],
        queue: vec![(0, queued(id)), (u64::MAX, queued(id))],
        inbound: vec![(1, MessageId(id)), (u16::MAX, MessageId(id))],
        will: Some(WillRow::clone(&will(id))),
    }
}

fn every_row_is_visible_after_reopening<S: SessionStore>(mut open: impl FnMut() -> S) {
    let empty = done(open().load());
    assert!(empty.sessions.is_empty() && empty.messages.is_empty() && empty.retained.is_empty());
    assert_eq!((empty.next_message, empty.next_session, empty.orphans_dropped), (1, 1, 0));

    let mut ops = whole_session(1);
    ops.push(SessionOp::PutRetained { topic: topic(1), message: MessageId(1) });
    done(open().commit(&ops));
    let kept = done(open().load());
    assert_eq!(kept.sessions, [stored_session(1)]);
    assert_eq!(kept.retained, [(topic(1), MessageId(1))]);
    assert_eq!(kept.messages, [(MessageId(1), message(1))].into());
    assert_eq!(kept.orphans_dropped, 0);

    let session = SessionId(1);
    let ops = [
        SessionOp::DeleteSubscription { session, filter: filter(1) },
        SessionOp::Release { session, seq: u64::MAX },
        SessionOp::Release { session, seq: 77 },
        SessionOp::Dequeue { session, seq: 0 },
        SessionOp::DeleteInbound { session, packet_id: 1 },
        SessionOp::DeleteWill { session },
        SessionOp::DeleteRetained { topic: topic(1) },
        SessionOp::PutSession { id: session, row: self::session(9) },
    ];
    done(open().commit(&ops));
    let kept = done(open().load());
    let expected = StoredSession {
        id: session,
        row: self::session(9),
        subscriptions: vec![subscription(2)],
        queue: vec![(u64::MAX, QueueRow { released: true, ..queued(1) })],
        inbound: vec![(u16::MAX, MessageId(1))],
        will: None,
    };
    assert_eq!((kept.sessions, kept.retained), (vec![expected], vec![]));
    assert_eq!(kept.messages.len(), 1, "a released entry still counts as a reference while its body is there");
}

fn deleting_a_session_takes_what_is_its_own<S: SessionStore>(mut open: impl FnMut() -> S) {
    let ids = [1, 2, 3, u64::MAX - 1];
    done(open().commit(&ids.map(whole_session).concat()));
    let ops = [2, u64::MAX - 1].map(|id| SessionOp::DeleteSession { id: SessionId(id) });
    let mut ops = ops.to_vec();
    ops.push(SessionOp::PutRetained { topic: topic(2), message: MessageId(2) });
    done(open().commit(&ops));
    let kept = done(open().load());
    assert_eq!(kept.sessions, [stored_session(1), stored_session(3)]);
    assert!(kept.messages.contains_key(&MessageId(2)), "bodies stay as long as something refers to them");
    assert_eq!(kept.orphans_dropped, 1, "the body that only the deleted queue referred to");

    done(open().commit(&[SessionOp::PutSession { id: SessionId(2), row: session(2) }]));
    let again = &done(open().load()).sessions[1];
    assert!(again.subscriptions.is_empty() && again.queue.is_empty() && again.inbound.is_empty());
    assert_eq!(again.will, None);
}

fn ids_are_never_given_out_again<S: SessionStore>(mut open: impl FnMut() -> S) {
    let (id, session) = (MessageId(41), SessionId(5));
    let put = SessionOp::PutMessage { id, row: message(1) };
    let both = [put.clone(), SessionOp::PutSession { id: session, row: self::session(1) }];
    done(open().commit(&both));
    done(open().commit(&[SessionOp::DeleteMessage { id }, SessionOp::DeleteSession { id: session }]));
    let kept = done(open().load());
    assert!(kept.next_message > 41 && kept.next_session > 5, "deleted rows count");

    let id = MessageId(kept.next_message + 1_000_000);
    let passing = [SessionOp::PutMessage { id, row: message(1) }, SessionOp::DeleteMessage { id }];
    done(open().commit(&passing));
    assert!(done(open().load()).next_message > id.0, "also when they come and go within one commit");
    assert_eq!(done(open().load()).next_session, kept.next_session, "a restart alone uses none up");
}

fn orphans_are_collected<S: SessionStore>(mut open: impl FnMut() -> S) {
    let session = SessionId(1);
    let stray = SessionId(2);
    let ops = [
        SessionOp::PutMessage { id: MessageId(1), row: message(1) },
        SessionOp::PutMessage { id: MessageId(2), row: message(2) },
        SessionOp::PutSession { id: session, row: self::session(1) },
        SessionOp::Enqueue { session, seq: 1, row: queued(1) },
        SessionOp::Enqueue { session, seq: 2, row: queued(99) },
        SessionOp::Enqueue { session, seq: 3, row: QueueRow { released: true, ..queued(99) } },
        SessionOp::PutRetained { topic: topic(1), message: MessageId(98) },
        SessionOp::PutSubscription { session: stray, row: subscription(1) },
        SessionOp::Enqueue { session: stray, seq: 1, row: queued(1) },
        SessionOp::PutInbound { session: stray, packet_id: 1, message: MessageId(1) },
        SessionOp::PutInbound { session, packet_id: 9, message: MessageId(97) },
        SessionOp::PutWill { session: stray, row: will(1) },
    ];
    done(open().commit(&ops));
    let kept = done(open().load());
    assert_eq!(
        kept.orphans_dropped, 8,
        "body 2, entry 2, the retained slot, a held publish without its body, and four rows without a session"
    );
    assert_eq!(kept.messages.keys().collect::<Vec<_>>(), [&MessageId(1)]);
    let sequences: Vec<_> = kept.sessions[0].queue.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(sequences, [1, 3], "a released entry needs no body");
    assert!(kept.retained.is_empty());
    let again = done(open().load());
    assert_eq!(again, SessionContents { orphans_dropped: 0, ..kept }, "the first load deleted them");
}

fn a_commit_may_be_repeated<S: SessionStore>(mut open: impl FnMut() -> S) {
    let (store, model) = (open(), MemorySessions::default());
    for seed in 0..20 {
        let ops = random_ops(&mut Rng(1_000 + seed), 30);
        done(store.commit(&ops));
        done(store.commit(&ops));
        done(model.commit(&ops));
    }
    assert_same(&done(store.load()), &done(model.load()), "each commit twice");
}

fn sessions_equal_the_model<S: SessionStore, O: FnMut() -> S>(place: &mut impl FnMut() -> O) {
    for seed in 0..24 {
        let (mut rng, mut open, model) = (Rng(seed), place(), MemorySessions::default());
        let mut store = open();
        for round in 0..12 {
            let count = if rng.one_in(4) { 60 } else { 6 };
            let ops = random_ops(&mut rng, count);
            done(store.commit(&ops));
            done(model.commit(&ops));
            if rng.one_in(3) {
                drop(store);
                store = open();
                assert_same(&done(store.load()), &done(model.load()), &format!("seed {seed} round {round}"));
            }
        }
        assert_same(&done(store.load()), &done(model.load()), &format!("seed {seed}"));
    }
}

/// How a [`FailingSessions`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No space is left; nothing is stored.
    Full,
    /// An I/O error; nothing is stored.
    Lost,
    /// An I/O error, although everything was stored.
    Landed,
    /// The file is damaged.
    Corrupt,
}

#[derive(Default)]
struct Switches {
    fault: Option<Fault>,
    held: bool,
    attempts: u64,
}

/// A session store that fails and stalls on demand.
pub struct FailingSessions<S> {
    inner: S,
    switches: Mutex<Switches>,
    changed: Condvar,
}

impl<S> FailingSessions<S> {
    /// Passes everything to `inner` until told otherwise.
    pub fn new(inner: S) -> Self {
        Self { inner, switches: Mutex::default(), changed: Condvar::new() }
    }

    /// The store that is wrapped.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Every commit fails like this from now on; `None` heals.
    pub fn fail(&self, fault: Option<Fault>) {
        self.switches.lock().fault = fault;
    }

    /// Commits wait inside the store until [`Self::resume`].
    pub fn hold(&self) {
        self.switches.lock().held = true;
    }

    /// Lets commits go on.
    pub fn resume(&self) {
        self.switches.lock().held = false;
        self.changed.notify_all();
    }

    /// Waits until `count` commits in all were attempted.
    pub fn wait_for_attempts(&self, count: u64) {
        let mut switches = self.switches.lock();
        while switches.attempts < count {
            self.changed.wait(&mut switches);
        }
    }

    /// How many commits were attempted.
    pub fn attempts(&self) -> u64 {
        self.switches.lock().attempts
    }

    fn enter(&self) -> Option<Fault> {
        let mut switches = self.switches.lock();
        switches.attempts += 1;
        self.changed.notify_all();
        while switches.held {
            self.changed.wait(&mut switches);
        }
        switches.fault
    }
}

impl<S: SessionStore> SessionStore for FailingSessions<S> {
    fn load(&self) -> Result<SessionContents, StoreError> {
        self.inner.load()
    }

    fn commit(&self, ops: &[SessionOp]) -> Result<(), StoreError> {
        let file = "sessions".into();
        let io = |file| StoreError::Io { file, source: std::io::Error::other("injected") };
        match self.enter() {
            None => self.inner.commit(ops),
            Some(Fault::Full) => Err(StoreError::Full { file }),
            Some(Fault::Lost) => Err(io(file)),
            Some(Fault::Landed) => self.inner.commit(ops).and(Err(io(file))),
            Some(Fault::Corrupt) => Err(StoreError::Corrupt { file, detail: "injected".into() }),
        }
    }
}
