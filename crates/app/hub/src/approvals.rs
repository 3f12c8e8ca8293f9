//! What waits for a second person's consent: certificates that a rule demands it for, and requests that one operator
//! alone may not make.
//!
//! Whoever asked cannot consent. Each matter is bound to exactly what was asked: the identity and its key, or the whole
//! request; what waits, and what was said of it, survives a restart (CSA-CRD-08, CSA-CRD-11).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use portreeve_events::{Event, Kind as EventKind};
use portreeve_store::{RegistryOp, StoreError};
use portreeve_types::{IdentityId, IdentityName, KeyHash, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Actor, AdminError, AdminRequest, Hub, Outcome, admin::RequestNote, registry::By};

/// Where they lie among the registry's blobs; behind it stands the number.
const PREFIX: &str = "approval/";
/// The first number that was never given out. None is used again: what somebody saw under a number is what they consent to.
const NEXT_BLOB: &str = "approvals/next";
/// Operators' requests that may wait: they have room of their own, which no device can take.
const REQUESTS_MAX: usize = 100;
/// Of what rules ask for, so many may wait: they take no operator's room.
const REQUESTS_OF_RULES_MAX: usize = 50;
/// Answers to devices that are kept until they are used or their time is over, for each that may wait.
const ANSWERED_FACTOR: usize = 4;
/// How long a device's question is kept before another key of the same identity may take its place: an operator is to find
/// under a number what was seen there.
const QUESTION_KEPT: Duration = Duration::from_secs(600);
/// What the names of the hub's own parts begin with. No user is called that.
const RULES: &str = "the hub: ";
/// Longest reason that is kept, characters.
const REASON_CHARS_MAX: usize = 256;

/// Something that somebody has to consent to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Approval {
    matter: Matter,
    /// An operator, or the address that a device asked from.
    asked_by: String,
    asked: UnixMillis,
    expires: UnixMillis,
    answer: Option<Answer>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
enum Matter {
    /// A certificate of this identity for this key.
    Certificate { identity: IdentityId, name: IdentityName, key: KeyHash, proof: String },
    /// What an operator asked for.
    Request { request: Box<AdminRequest> },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answer {
    granted: bool,
    by: String,
    at: UnixMillis,
    reason: String,
}

/// Where the question of a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    Granted,
    Refused,
    Waiting,
    /// The same, and the question was put just now.
    Asked,
    /// Another key's question waits, and has to for so many seconds before this one can take its place.
    Early(u32),
    /// As many questions wait as may.
    Full,
}

/// What somebody wants a certificate for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) identity: IdentityId,
    pub(crate) name: &'a IdentityName,
    pub(crate) key: KeyHash,
    /// How it showed to be entitled.
    pub(crate) proof: &'a str,
    /// Where from.
    pub(crate) asked_by: &'a str,
}

/// All approvals, by number.
#[derive(Debug, Default)]
pub(crate) struct Approvals {
    all: Mutex<Book>,
    /// Devices' questions that wait, for who must not wait for the lock.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Book {
    entries: BTreeMap<u64, Approval>,
    /// The first number that was never given out.
    next: u64,
}

impl Approvals {
    /// Those that were stored. One that cannot be read is void: whoever needs it asks again.
    pub(crate) fn resume(blobs: &[(String, Vec<u8>)]) -> Self {
        let stored = blobs.iter().filter_map(|(name, bytes)| {
            let number = name.strip_prefix(PREFIX)?;
            let read = number.parse().ok().zip(serde_json::from_slice(bytes).ok());
            if read.is_none() {
                tracing::warn!(number, "a stored approval cannot be read and is void");
            }
            read
        });
        let entries: BTreeMap<u64, Approval> = stored.collect();
        let next = blobs.iter().find(|(name, _)| name == NEXT_BLOB);
        let next = next.and_then(|(_, bytes)| bytes.as_slice().try_into().ok()).map_or(1, u64::from_be_bytes);
        let next = entries.last_key_value().map_or(next, |(number, _)| next.max(number + 1));
        let approvals = Self { all: Mutex::new(Book { entries, next }), waiting: AtomicUsize::new(0) };
        approvals.count(&approvals.all.lock());
        approvals
    }

    /// Devices' questions that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    fn count(&self, book: &Book) {
        self.waiting.store(book.entries.values().filter(|approval| approval.is_waiting_device()).count(), Relaxed);
    }
}

fn blob_name(number: u64) -> String {
    format!("{PREFIX}{number:010}")
}

fn put(number: u64, approval: &Approval) -> RegistryOp {
    // A map of plain values always has a JSON form.
    RegistryOp::PutBlob { name: blob_name(number), bytes: serde_json::to_vec(approval).unwrap_or_default() }
}

fn delete(number: &u64) -> RegistryOp {
    RegistryOp::DeleteBlob { name: blob_name(*number) }
}

impl Approval {
    fn is_request(&self) -> bool {
        matches!(self.matter, Matter::Request { .. })
    }

    /// Whether it was no person who asked: nobody has consented yet, and two have to.
    fn is_of_rule(&self) -> bool {
        self.asked_by.starts_with(RULES)
    }

    fn is_request_for(&self, wanted: &RequestNote) -> bool {
        matches!(&self.matter, Matter::Request { request } if request.note().sha256 == wanted.sha256)
    }

    fn is_waiting_device(&self) -> bool {
        !self.is_request() && self.answer.is_none()
    }

    fn is_for(&self, wish: &Wish<'_>) -> bool {
        matches!(&self.matter, Matter::Certificate { identity, key, .. } if *identity == wish.identity && *key == wish.key)
    }

    fn is_under(&self, of: &IdentityName, by: KeyHash) -> bool {
        matches!(&self.matter, Matter::Certificate { name, key, .. } if name == of && *key == by)
    }

    fn is_refused(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| !answer.granted)
    }

    /// Who is to get a certificate, if that is what it is about.
    fn identity(&self) -> Option<IdentityId> {
        match self.matter {
            Matter::Certificate { identity, .. } => Some(identity),
            Matter::Request { .. } => None,
        }
    }

    /// Another key of the same identity that nobody has consented to yet: the device asks for the newest.
    fn is_overtaken_by(&self, wish: &Wish<'_>) -> bool {
        let same = matches!(&self.matter, Matter::Certificate { identity, .. } if *identity == wish.identity);
        same && self.answer.is_none() && !self.is_for(wish)
    }

    /// Seconds for which no other question takes its place. One from a time when the clock was ahead is not kept.
    fn kept_for_s(&self, now: UnixMillis) -> u32 {
        let until = self.asked.plus(QUESTION_KEPT).min(self.expires);
        if now < self.asked {
            0
        } else {
            u32::try_from(until.since(now).as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
        }
    }

    fn to_json(&self, number: u64) -> Value {
        let (subject, what) = match &self.matter {
            Matter::Certificate { name, key, proof, .. } => {
                (name.to_string(), format!("certificate for key {key}, shown: {proof}"))
            }
            Matter::Request { request } => (request.subject(), request.title()),
        };
        let state = self.answer.as_ref().map_or("waiting", |answer| if answer.granted { "granted" } else { "refused" });
        json!({
            "number": number,
            "subject": subject,
            "what": what,
            "asked_by": self.asked_by,
            "asked_ms": self.asked.0,
            "expires_ms": self.expires.0,
            "state": state,
            "answered_by": self.answer.as_ref().map(|answer| &answer.by),
            "answered_ms": self.answer.as_ref().map(|answer| answer.at.0),
            "reason": self.answer.as_ref().map(|answer| &answer.reason),
        })
    }
}

impl Hub {
    /// Whether somebody has consented to this certificate; if nobody was asked yet, the question is put.
    pub(crate) fn consent_to(&self, wish: &Wish<'_>, now: UnixMillis) -> Result<Consent, StoreError> {
        let mut book = self.approvals.all.lock();
        if let Some(found) = book.entries.values().find(|approval| approval.is_for(wish) && now < approval.expires) {
            return Ok(match &found.answer {
                None => Consent::Waiting,
                Some(Answer { granted: true, .. }) => Consent::Granted,
                Some(_) => Consent::Refused,
            });
        }
        let overtaken = book.entries.iter().filter(|(_, approval)| approval.is_overtaken_by(wish));
        let overtaken: Vec<(u64, u32)> = overtaken.map(|(number, it)| (*number, it.kept_for_s(now))).collect();
        if let Some((_, wait_s)) = overtaken.iter().find(|(_, wait_s)| *wait_s > 0) {
            return Ok(Consent::Early(*wait_s));
        }
        let overtaken = overtaken.into_iter().map(|(number, _)| number).collect();
        let matter = Matter::Certificate {
            identity: wish.identity,
            name: wish.name.clone(),
            key: wish.key,
            proof: wish.proof.to_owned(),
        };
        let asked = self.ask(&mut book, matter, wish.asked_by, overtaken, now)?;
        Ok(if asked.is_some() { Consent::Asked } else { Consent::Full })
    }

    /// Whether an operator has refused this key a certificate under this name, whichever identity it was to be.
    pub(crate) fn was_refused(&self, name: &IdentityName, key: KeyHash, now: UnixMillis) -> bool {
        let book = self.approvals.all.lock();
        let mut refused = book.entries.values().filter(|approval| approval.is_refused() && now < approval.expires);
        refused.any(|approval| approval.is_under(name, key))
    }

    /// Removes devices that their makers vouched for and that have no certificate, when nobody is asked about them any more,
    /// nor has consented.
    pub(crate) fn withdraw_late_newcomers(&self, now: UnixMillis) {
        let mut late = self.registry.late_newcomers(now);
        if late.is_empty() {
            return;
        }
        let open: BTreeSet<IdentityId> = {
            let book = self.approvals.all.lock();
            let open = book.entries.values().filter(|approval| now < approval.expires && !approval.is_refused());
            open.filter_map(Approval::identity).collect()
        };
        late.retain(|id| !open.contains(id));
        self.withdraw_newcomers(&late, By { actor: "the hub", reason: "it got no certificate", at: now });
    }

    fn withdraw_newcomers(&self, ids: &[IdentityId], by: By<'_>) {
        match self.registry.withdraw(ids, by) {
            Ok(gone) => gone.iter().for_each(|row| self.tell_change(by.actor, row, "withdrawn, it got no certificate")),
            Err(error) => tracing::warn!(%error, "devices without a certificate were not removed; it is tried again"),
        }
    }

    /// Whether a further device's question would find room.
    pub(crate) fn has_room_for_a_question(&self) -> bool {
        self.approvals.waiting() < self.config().limits.approvals_waiting
    }

    /// The certificate was issued.
    pub(crate) fn consent_used(&self, wish: &Wish<'_>) {
        let mut book = self.approvals.all.lock();
        let found = book.entries.iter().find(|(_, approval)| approval.is_for(wish));
        let Some(number) = found.map(|(number, _)| *number) else { return };
        // If it stays, it permits the same certificate once more, and goes when its time is over.
        if self.registry.put_blobs(&[delete(&number)]).is_ok() {
            book.entries.remove(&number);
        }
        self.approvals.count(&book);
    }

    /// Keeps an operator's request until somebody else consents.
    pub(crate) fn ask_for_second(
        &self,
        actor: &Actor,
        request: AdminRequest,
        now: UnixMillis,
    ) -> Result<Outcome, AdminError> {
        actor.expect_to_be_known()?;
        let matter = Matter::Request { request: Box::new(request) };
        let asked = self.ask(&mut self.approvals.all.lock(), matter, &actor.name, BTreeSet::new(), now)?;
        let number = asked.ok_or_else(|| AdminError::Refused("too many requests wait for approval already".into()))?;
        Ok(Outcome::waiting(number))
    }

    /// Puts a request of the hub's own before two persons; one that waits already is not put again.
    pub(crate) fn ask_for_two(&self, part: &str, request: AdminRequest, now: UnixMillis) -> Result<(), AdminError> {
        let mut book = self.approvals.all.lock();
        let note = request.note();
        if book.entries.values().any(|approval| approval.is_request_for(&note) && now < approval.expires) {
            return Ok(());
        }
        let matter = Matter::Request { request: Box::new(request) };
        let asked = self.ask(&mut book, matter, part, BTreeSet::new(), now)?;
        asked
            .map(drop)
            .ok_or_else(|| AdminError::Refused("too many requests of rules wait for approval already".into()))
    }

    /// The first person's consent to what no person asked for makes it a request of his, which waits for another. Whether it was that.
    fn consent_first(&self, actor: &Actor, number: u64, now: UnixMillis) -> Result<bool, AdminError> {
        let mut book = self.approvals.all.lock();
        let found = book.entries.get(&number).filter(|approval| now < approval.expires && approval.is_of_rule());
        let Some((approval, Matter::Request { request })) = found.map(|approval| (approval, &approval.matter)) else {
            return Ok(false);
        };
        actor.expect_to_be_known()?;
        self.expect_permission(actor, request)?;
        let adopted = Approval { asked_by: actor.name.clone(), ..approval.clone() };
        self.registry.put_blobs(&[put(number, &adopted)])?;
        book.entries.insert(number, adopted);
        Ok(true)
    }

    /// Puts a question; those that are over, and those that it takes the place of, go. `None` when as many wait as may.
    fn ask(
        &self,
        book: &mut Book,
        matter: Matter,
        asked_by: &str,
        overtaken: BTreeSet<u64>,
        now: UnixMillis,
    ) -> Result<Option<u64>, StoreError> {
        let config = self.config();
        let over = book.entries.iter().filter(|(_, approval)| now >= approval.expires).map(|(number, _)| *number);
        let gone: BTreeSet<u64> = over.chain(overtaken).collect();
        let expires = now.plus(Duration::from_secs(config.admin.approval_valid_s));
        let approval = Approval { matter, asked_by: asked_by.to_owned(), asked: now, expires, answer: None };
        let mut ops: Vec<RegistryOp> = gone.iter().map(delete).collect();
        let left = || book.entries.iter().filter(|(number, _)| !gone.contains(number)).map(|(_, approval)| approval);
        let is_full = if approval.is_request() {
            let of_rules = approval.is_of_rule();
            let max = if of_rules { REQUESTS_OF_RULES_MAX } else { REQUESTS_MAX };
            left().filter(|other| other.is_request() && other.is_of_rule() == of_rules).count() >= max
        } else {
            let max = config.limits.approvals_waiting;
            left().filter(|approval| approval.is_waiting_device()).count() >= max
                || left().filter(|approval| !approval.is_request()).count() >= max.saturating_mul(ANSWERED_FACTOR)
        };
        let number = book.next;
        if !is_full {
            ops.push(put(number, &approval));
            ops.push(RegistryOp::PutBlob { name: NEXT_BLOB.into(), bytes: (number + 1).to_be_bytes().to_vec() });
        }
        self.registry.put_blobs(&ops)?;
        gone.iter().for_each(|number| drop(book.entries.remove(number)));
        let told = approval.to_json(number);
        if !is_full {
            book.next = number + 1;
            book.entries.insert(number, approval);
        }
        self.approvals.count(book);
        if is_full {
            let detail = format_args!("{} matters wait for approval", book.entries.len());
            self.emit(EventKind::LimitReached, None, None, None, detail);
            return Ok(None);
        }
        let detail = format_args!("{number}: {}", told["what"].as_str().unwrap_or_default());
        let event = Event::new(EventKind::ApprovalAsked, detail).by(asked_by);
        self.tell(&Event { identity: told["subject"].as_str(), ..event });
        Ok(Some(number))
    }

    /// Everything that waits or was answered and is not used up, oldest first.
    pub(crate) fn approvals(&self, now: UnixMillis) -> Outcome {
        let book = self.approvals.all.lock();
        let open = book.entries.iter().filter(|(_, approval)| now < approval.expires);
        Outcome::ok(open.map(|(number, approval)| approval.to_json(*number)).collect())
    }

    /// An operator consents or does not. A request that is consented to is done at once; if it cannot be, it waits on.
    pub(crate) fn answer_approval(
        &self,
        actor: &Actor,
        number: u64,
        granted: bool,
        reason: &str,
        now: UnixMillis,
    ) -> Result<Outcome, AdminError> {
        if granted && self.consent_first(actor, number, now)? {
            let detail = format_args!("{number}: granted by the first of two");
            self.tell(&Event::new(EventKind::ApprovalAnswered, detail).by(&actor.name));
            return Ok(Outcome::waiting(number));
        }
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
        let approval =
            self.take_answer(actor, number, Answer { granted, by: actor.name.clone(), at: now, reason }, now)?;
        let told = approval.to_json(number);
        let done = match &approval.matter {
            Matter::Request { request } if granted => self.perform_for_two(&approval.asked_by, actor, request, now),
            Matter::Request { .. } | Matter::Certificate { .. } => Ok(Outcome::ok(told.clone())),
        };
        self.keep_answer(number, &approval, done.is_ok())?;
        let outcome = done?;
        if !granted {
            // A newcomer that is not let in leaves no identity behind. The answer stays, for it to hear.
            let refused = approval.identity();
            self.withdraw_newcomers(
                refused.as_slice(),
                By { actor: &actor.name, reason: "consent was refused", at: now },
            );
        }
        let verdict = if granted { "granted" } else { "refused" };
        let detail = format_args!("{number}: {verdict}");
        let event = Event::new(EventKind::ApprovalAnswered, detail).by(&actor.name);
        self.tell(&Event { identity: told["subject"].as_str(), ..event });
        Ok(outcome)
    }

    /// Does what one has asked for and another consented to, if both may at this moment (CSA-CRD-03).
    fn perform_for_two(
        &self,
        asked_by: &str,
        actor: &Actor,
        request: &AdminRequest,
        now: UnixMillis,
    ) -> Result<Outcome, AdminError> {
        self.expect_still_permitted(asked_by, request)?;
        let both = Actor { name: format!("{asked_by} and {}", actor.name), role: actor.role };
        self.recorded(&both, &request.note(), || self.perform(&both, request.clone(), now))
    }

    /// Notes an answer in memory, so that nobody gives another meanwhile.
    fn take_answer(&self, actor: &Actor, number: u64, answer: Answer, now: UnixMillis) -> Result<Approval, AdminError> {
        let mut book = self.approvals.all.lock();
        let found =
            book.entries.get_mut(&number).filter(|approval| now < approval.expires && approval.answer.is_none());
        let missing = || {
            AdminError::Refused(format!("nothing waits under the number {number}; `portreeve approval list` shows all"))
        };
        let approval = found.ok_or_else(missing)?;
        if answer.granted {
            actor.expect_to_be_known()?;
            if approval.asked_by == actor.name {
                return Err(AdminError::Refused(format!(
                    "{} asked for this; somebody else has to consent",
                    actor.name
                )));
            }
        }
        match &approval.matter {
            Matter::Certificate { .. } => self.expect_key_manager(actor)?,
            Matter::Request { request } => self.expect_permission(actor, request)?,
        }
        approval.answer = Some(answer);
        let approval = approval.clone();
        self.approvals.count(&book);
        Ok(approval)
    }

    /// Stores an answer, which a device hears when it comes again. A request is over with it. What was not done waits on.
    fn keep_answer(&self, number: u64, approval: &Approval, is_done: bool) -> Result<(), StoreError> {
        let mut book = self.approvals.all.lock();
        let op = if approval.is_request() { delete(&number) } else { put(number, approval) };
        let kept = if is_done { self.registry.put_blobs(&[op]) } else { Ok(()) };
        if !is_done || kept.is_err() {
            book.entries.entry(number).and_modify(|approval| approval.answer = None);
        } else if approval.is_request() {
            book.entries.remove(&number);
        }
        self.approvals.count(&book);
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portreeve_config::{Config, Role};
    use portreeve_types::Kind;

    use super::*;
    use crate::{
        GroupSettings, IssuingCa, ProofSettings,
        registry::{Newcomer, Voucher},
    };

    const HOUR_S: u64 = 3600;

    struct Office {
        _data: tempfile::TempDir,
        hub: Arc<Hub>,
        now: UnixMillis,
    }

    impl Office {
        fn new(configure: impl FnOnce(&mut Config)) -> Self {
            let data = tempfile::tempdir().unwrap();
            let mut config = Config::default();
            config.admin.two_persons = true;
            config.admin.approval_valid_s = HOUR_S;
            config.admin.operators = operators(&[("alice", Role::KeyManager)]);
            configure(&mut config);
            let now = std::time::SystemTime::now().into();
            let hub = Hub::open(&data.path().join("hub"), config, now).unwrap();
            Self { _data: data, hub, now }
        }

        fn ask(&self, name: &str, role: Role, request: AdminRequest) -> Result<Value, AdminError> {
            self.hub.administer(&Actor { name: name.into(), role }, request).map(|outcome| outcome.result)
        }

        fn answer(&self, name: &str, role: Role, number: u64, granted: bool) -> Result<Value, AdminError> {
            self.ask(name, role, AdminRequest::ApprovalAnswer { number, granted, reason: "seen".into() })
        }

        fn groups(&self) -> usize {
            self.ask("anybody", Role::Viewer, AdminRequest::EnrolmentGroups).unwrap().as_array().unwrap().len()
        }

        fn later(&self, seconds: u64) -> UnixMillis {
            self.now.plus(Duration::from_secs(seconds))
        }
    }

    fn operators(roles: &[(&str, Role)]) -> std::collections::BTreeMap<String, Role> {
        roles.iter().map(|(name, role)| ((*name).to_owned(), *role)).collect()
    }

    fn add(name: &str) -> AdminRequest {
        let key = portreeve_pki::generate_key().unwrap().public;
        let signers_pem = pem::encode(&pem::Pem::new("PUBLIC KEY", key.spki_der()));
        let proof = ProofSettings::List { signers_pem, list: None, tpm: false };
        let (name, names, group) = (name.parse().unwrap(), "{serial}".to_owned(), String::new());
        let settings = GroupSettings { name, names, kind: Kind::Device, group, approval: false, proof };
        AdminRequest::EnrolmentGroupAdd { settings: settings.into() }
    }

    fn number(result: &Value) -> u64 {
        result["waits_for_approval"].as_u64().unwrap()
    }

    /// CSA-SCN-08, CSA-CRD-03: one person asks, another one of a role that might have asked consents.
    #[test]
    fn an_operation_on_cas_needs_two_persons() {
        let office = Office::new(|_| {});
        assert!(matches!(office.ask("olga", Role::Operator, add("pumps")), Err(AdminError::Role { .. })));
        let asked = number(&office.ask("alice", Role::KeyManager, add("pumps")).unwrap());
        assert_eq!(office.groups(), 0, "nothing is done yet");
        assert!(matches!(office.answer("alice", Role::Administrator, asked, true), Err(AdminError::Refused(_))));
        assert!(matches!(office.answer("olga", Role::Operator, asked, true), Err(AdminError::Role { .. })));
        assert!(matches!(office.answer("vera", Role::Viewer, asked, true), Err(AdminError::Role { .. })));
        assert_eq!(office.groups(), 0);
        let _ = office.answer("bob", Role::KeyManager, asked, true).unwrap();
        assert_eq!(office.groups(), 1);
        assert!(matches!(office.answer("carol", Role::KeyManager, asked, true), Err(AdminError::Refused(_))), "once");

        let refused = number(&office.ask("alice", Role::KeyManager, add("lamps")).unwrap());
        let _ = office.answer("bob", Role::KeyManager, refused, false).unwrap();
        assert!(matches!(office.answer("carol", Role::KeyManager, refused, true), Err(AdminError::Refused(_))));
        // Whoever asked may take it back.
        let withdrawn = number(&office.ask("alice", Role::KeyManager, add("lamps")).unwrap());
        let _ = office.answer("alice", Role::KeyManager, withdrawn, false).unwrap();
        assert_eq!(office.groups(), 1);
    }

    /// CSA-CRD-03: whoever lost the role meanwhile has asked in vain, until somebody gives it back.
    #[test]
    fn the_first_persons_role_is_looked_at_again() {
        let office = Office::new(|_| {});
        let reload = |roles: &[(&str, Role)]| {
            let mut config = (**office.hub.config()).clone();
            config.admin.operators = operators(roles);
            office.hub.reconfigure(config, office.now).unwrap();
        };
        let asked = number(&office.ask("alice", Role::KeyManager, add("pumps")).unwrap());
        for (roles, why) in [
            (&[][..], "has no role"),
            (&[("bob", Role::KeyManager)], "has no role"),
            (&[("alice", Role::Operator)], "as operator"),
        ] {
            reload(roles);
            let refused = office.answer("bob", Role::KeyManager, asked, true);
            assert!(matches!(&refused, Err(AdminError::Refused(said)) if said.contains(why)), "{refused:?}");
            assert_eq!(office.groups(), 0);
        }
        assert_eq!(office.hub.events().count(EventKind::ApprovalAnswered), 0);
        reload(&[("alice", Role::Administrator)]);
        let _ = office.answer("bob", Role::KeyManager, asked, true).unwrap();
        assert_eq!(office.groups(), 1);
        // What is refused needs nobody's role but the second's.
        let asked = number(&office.ask("alice", Role::KeyManager, add("lamps")).unwrap());
        reload(&[]);
        let _ = office.answer("bob", Role::KeyManager, asked, false).unwrap();
        // The shell's word on roles is the one that counts.
        office.hub.set_role_of(Box::new(|_, name| (name == "carol").then_some(Role::Administrator)));
        let asked = number(&office.ask("carol", Role::KeyManager, add("lamps")).unwrap());
        let _ = office.answer("bob", Role::KeyManager, asked, true).unwrap();
        assert_eq!(office.groups(), 2);
    }

    /// CSA-CRD-03, CSA-CRD-07: another CA issues when two key managers want it so; looking at what would happen takes one.
    #[test]
    fn a_ca_is_replaced_by_two_persons() {
        let office = Office::new(|config| config.admin.keys_apart = true);
        let rotate = |dry_run| AdminRequest::CaRotate { ca: Some(IssuingCa::Devices), dry_run };
        let issuing = || office.hub.authority.load().name_of(portreeve_pki::CaRole::Devices).to_string();
        for role in [Role::Administrator, Role::Operator, Role::Auditor, Role::Viewer, Role::ReleaseSigner] {
            for dry_run in [false, true] {
                assert!(matches!(office.ask("eve", role, rotate(dry_run)), Err(AdminError::Role { .. })), "{role:?}");
            }
            let request = AdminRequest::CaRequest { ca: IssuingCa::Hub };
            assert!(matches!(office.ask("eve", role, request), Err(AdminError::Role { .. })), "{role:?}");
        }
        let told = office.ask("alice", Role::KeyManager, rotate(true)).unwrap();
        assert_eq!(told, json!({ "names": ["devices-2"], "dry_run": true }));
        let asked = number(&office.ask("alice", Role::KeyManager, rotate(false)).unwrap());
        assert!(matches!(office.answer("alice", Role::KeyManager, asked, true), Err(AdminError::Refused(_))));
        assert_eq!(issuing(), "devices");
        let import = AdminRequest::CaImport { certificate_pem: String::new(), dry_run: false };
        assert!(office.ask("alice", Role::KeyManager, import).unwrap()["waits_for_approval"].is_u64());
        let done = office.answer("bob", Role::KeyManager, asked, true).unwrap();
        assert_eq!((&done["names"][0], issuing()), (&json!("devices-2"), "devices-2".to_owned()));
    }

    #[test]
    fn what_nobody_consents_to_in_time_is_void() {
        let office = Office::new(|_| {});
        let bob = Actor { name: "bob".into(), role: Role::KeyManager };
        let asked = number(&office.ask("alice", Role::KeyManager, add("pumps")).unwrap());
        let late = office.hub.answer_approval(&bob, asked, true, "", office.later(2 * HOUR_S));
        assert!(matches!(late, Err(AdminError::Refused(_))));
        assert_eq!(office.hub.approvals(office.later(2 * HOUR_S)).result, json!([]));
        assert_eq!(office.groups(), 0);
    }

    /// As many wait as may; what is over makes room, and a device's newer wish takes the place of its older one.
    #[test]
    fn what_waits_is_bounded() {
        let office = Office::new(|config| config.limits.approvals_waiting = 2);
        let name: IdentityName = "lamp".parse().unwrap();
        let identity = IdentityId(uuid::Uuid::from_u128(1));
        let wish = |identity, byte| Wish { identity, name: &name, key: KeyHash([byte; 32]), proof: "", asked_by: "" };
        let ask = |wish: &Wish<'_>, now| office.hub.consent_to(wish, now).unwrap();
        assert_eq!(ask(&wish(identity, 1), office.now), Consent::Asked);
        assert_eq!(ask(&wish(identity, 1), office.now), Consent::Waiting);
        // What an operator saw under a number stays for a time, and costs nothing meanwhile.
        let told = office.hub.events().count(EventKind::ApprovalAsked);
        assert_eq!(ask(&wish(identity, 2), office.now), Consent::Early(600));
        assert_eq!(ask(&wish(identity, 3), office.later(599)), Consent::Early(1));
        assert_eq!(office.hub.events().count(EventKind::ApprovalAsked), told);
        assert_eq!(ask(&wish(identity, 2), office.later(600)), Consent::Asked, "in place of the first");
        assert_eq!(office.hub.approvals.all.lock().entries.len(), 1);
        let other = IdentityId(uuid::Uuid::from_u128(2));
        assert_eq!(ask(&wish(other, 3), office.now), Consent::Asked);
        assert_eq!(ask(&wish(identity, 4), office.now), Consent::Asked, "one that was asked when the clock was ahead");
        let third = IdentityId(uuid::Uuid::from_u128(3));
        assert_eq!(ask(&wish(third, 4), office.now), Consent::Full);
        // Operators have room that devices cannot take, and their numbers are never used again.
        let first = number(&office.ask("alice", Role::KeyManager, add("pumps")).unwrap());
        let _ = office.answer("alice", Role::KeyManager, first, false).unwrap();
        let second = number(&office.ask("alice", Role::KeyManager, add("pumps")).unwrap());
        assert!(second > first);
        for _ in 1..REQUESTS_MAX {
            let _ = office.ask("alice", Role::KeyManager, add("pumps")).unwrap();
        }
        assert!(matches!(office.ask("alice", Role::KeyManager, add("pumps")), Err(AdminError::Refused(_))));
        assert_eq!(ask(&wish(third, 4), office.later(HOUR_S + 1)), Consent::Asked);
        // One that is over and overtaken at once goes once.
        assert_eq!(ask(&wish(third, 5), office.later(2 * HOUR_S + 2)), Consent::Asked);
        assert_eq!(office.hub.approvals.all.lock().entries.len(), 1);
    }

    /// A device that waits without hope leaves nothing behind: refused it goes at once and hears that when it comes again,
    /// and forgotten it goes with the question.
    #[test]
    fn newcomers_of_whom_nothing_comes_go() {
        let office = Office::new(|_| {});
        let registry = &office.hub.registry;
        let by = |at| By { actor: "enrolment", reason: "", at };
        let come = |name: &str, byte: u8| {
            let voucher = Voucher { group: "pumps".parse().unwrap(), serial: name.into(), key: KeyHash([byte; 32]) };
            let (name, kind, group) = (name.parse().unwrap(), Kind::Device, String::new());
            let admitted = registry.admit(&Newcomer { name, kind, group, voucher }, 10, by(office.now)).unwrap();
            let wish = Wish {
                identity: admitted.id,
                name: &admitted.name,
                key: KeyHash([byte; 32]),
                proof: "",
                asked_by: "192.0.2.1",
            };
            assert_eq!(office.hub.consent_to(&wish, office.now).unwrap(), Consent::Asked);
            admitted.name
        };
        let [refused, granted, late] =
            [("refused", 1), ("granted", 2), ("late", 3)].map(|(name, byte)| come(name, byte));
        let is_there = |name: &IdentityName| registry.find(name).is_ok();
        let _ = office.answer("bob", Role::KeyManager, 1, false).unwrap();
        assert!(!is_there(&refused));
        let was_refused = |byte, at| office.hub.was_refused(&refused, KeyHash([byte; 32]), at);
        assert!(was_refused(1, office.now) && !was_refused(2, office.now), "that key, and no other");
        assert!(!was_refused(1, office.later(HOUR_S)), "for as long as answers are kept");

        let _ = office.answer("bob", Role::KeyManager, 2, true).unwrap();
        office.hub.withdraw_late_newcomers(office.later(HOUR_S - 1));
        assert!(is_there(&granted) && is_there(&late), "somebody may still be asked");
        office.hub.withdraw_late_newcomers(office.later(HOUR_S));
        assert!(!is_there(&granted) && !is_there(&late));
        assert_eq!(office.hub.events().count(EventKind::IdentityChanged), 3);
    }

    /// What cannot be done is not used up, and what is asked for can be seen.
    #[test]
    fn a_request_that_fails_waits_on_and_says_what_it_is() {
        let office = Office::new(|_| {});
        let [first, second] = [(); 2].map(|()| number(&office.ask("alice", Role::KeyManager, add("pumps")).unwrap()));
        let told = office.hub.approvals(office.now).result;
        let [one, other] = [0, 1].map(|row| told[row]["what"].as_str().unwrap().to_owned());
        assert!(
            one.contains("SHA-256") && one.contains("{serial}") && one != other,
            "each has a key of its own: {one}"
        );
        let _ = office.answer("bob", Role::KeyManager, first, true).unwrap();
        assert!(
            matches!(office.answer("bob", Role::KeyManager, second, true), Err(AdminError::Refused(_))),
            "is there"
        );
        let _ = office
            .ask("bob", Role::KeyManager, AdminRequest::EnrolmentGroupRemove { name: "pumps".parse().unwrap() })
            .unwrap();
        assert_eq!(office.groups(), 0, "trust is withdrawn by one person");
        let _ = office.answer("bob", Role::KeyManager, second, true).unwrap();
        assert_eq!(office.groups(), 1);
    }

    /// With the hub stopped everybody is the same person.
    #[test]
    fn nobody_is_two_persons_offline() {
        let office = Office::new(|_| {});
        assert!(matches!(office.ask(Actor::OFFLINE, Role::Administrator, add("pumps")), Err(AdminError::Refused(_))));
        let asked = number(&office.ask("alice", Role::KeyManager, add("pumps")).unwrap());
        let granted = office.answer(Actor::OFFLINE, Role::Administrator, asked, true);
        assert!(matches!(granted, Err(AdminError::Refused(_))));
        assert_eq!(office.groups(), 0);
    }
}
