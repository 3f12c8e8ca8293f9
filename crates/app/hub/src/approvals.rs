//! What waits for a second person's consent: certificates that a rule demands it for, and requests that one operator
//! alone may not make.
//!
//! Whoever asked cannot consent. Each matter is bound to exactly what was asked: the identity and its key, or the whole
//! request; what waits, and what was said of it, survives a restart (CSA-CRD-08).

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use portreeve_events::Kind as EventKind;
use portreeve_store::{RegistryOp, StoreError};
use portreeve_types::{IdentityId, IdentityName, KeyHash, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Actor, AdminError, AdminRequest, Hub, Outcome};

/// Where they lie among the registry's blobs; behind it stands the number.
const PREFIX: &str = "approval/";
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

/// All approvals, by number. Numbers ascend and are not used again while one that was given before them is kept.
#[derive(Debug, Default)]
pub(crate) struct Approvals(Mutex<BTreeMap<u64, Approval>>);

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
        Self(Mutex::new(stored.collect()))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
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
    fn is_for(&self, wish: &Wish<'_>) -> bool {
        matches!(&self.matter, Matter::Certificate { identity, key, .. } if *identity == wish.identity && *key == wish.key)
    }

    /// Another key of the same identity that nobody has consented to yet: the device asks for the newest.
    fn is_overtaken_by(&self, wish: &Wish<'_>) -> bool {
        let same = matches!(&self.matter, Matter::Certificate { identity, .. } if *identity == wish.identity);
        same && self.answer.is_none() && !self.is_for(wish)
    }

    fn to_json(&self, number: u64) -> Value {
        let (subject, what) = match &self.matter {
            Matter::Certificate { name, key, proof, .. } => {
                (name.to_string(), format!("certificate for key {key}, shown: {proof}"))
            }
            Matter::Request { request } => (request.subject(), request.title().to_owned()),
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
        let mut all = self.approvals.0.lock();
        if let Some(found) = all.values().find(|approval| approval.is_for(wish) && now < approval.expires) {
            return Ok(match &found.answer {
                None => Consent::Waiting,
                Some(Answer { granted: true, .. }) => Consent::Granted,
                Some(_) => Consent::Refused,
            });
        }
        let overtaken: Vec<u64> =
            all.iter().filter(|(_, approval)| approval.is_overtaken_by(wish)).map(|(number, _)| *number).collect();
        let matter = Matter::Certificate {
            identity: wish.identity,
            name: wish.name.clone(),
            key: wish.key,
            proof: wish.proof.to_owned(),
        };
        let asked = self.ask(&mut all, matter, wish.asked_by, &overtaken, now)?;
        Ok(if asked.is_some() { Consent::Waiting } else { Consent::Full })
    }

    /// The certificate was issued.
    pub(crate) fn consent_used(&self, wish: &Wish<'_>) {
        let mut all = self.approvals.0.lock();
        let Some(number) = all.iter().find(|(_, approval)| approval.is_for(wish)).map(|(number, _)| *number) else {
            return;
        };
        // If it stays, it permits the same certificate once more, and goes when its time is over.
        if self.registry.put_blobs(&[delete(&number)]).is_ok() {
            all.remove(&number);
        }
    }

    /// Keeps an operator's request until somebody else consents.
    pub(crate) fn ask_for_second(
        &self,
        actor: &Actor,
        request: AdminRequest,
        now: UnixMillis,
    ) -> Result<Outcome, AdminError> {
        let matter = Matter::Request { request: Box::new(request) };
        let asked = self.ask(&mut self.approvals.0.lock(), matter, &actor.name, &[], now)?;
        let number = asked.ok_or_else(|| AdminError::Refused("too many requests wait for approval already".into()))?;
        Ok(Outcome::waiting(number))
    }

    /// Puts a question, in place of those that are `overtaken`. `None` when as many wait as may.
    fn ask(
        &self,
        all: &mut BTreeMap<u64, Approval>,
        matter: Matter,
        asked_by: &str,
        overtaken: &[u64],
        now: UnixMillis,
    ) -> Result<Option<u64>, StoreError> {
        let config = self.config();
        let over = all.iter().filter(|(_, approval)| now >= approval.expires).map(|(number, _)| *number);
        let gone: Vec<u64> = over.chain(overtaken.iter().copied()).collect();
        if all.len() - gone.len() >= config.limits.approvals_waiting {
            let detail = format_args!("{} matters wait for approval", all.len());
            self.emit(EventKind::LimitReached, None, None, None, detail);
            return Ok(None);
        }
        let number = all.last_key_value().map_or(1, |(number, _)| number + 1);
        let expires = now.plus(Duration::from_secs(config.admin.approval_valid_s));
        let approval = Approval { matter, asked_by: asked_by.to_owned(), asked: now, expires, answer: None };
        let mut ops: Vec<RegistryOp> = gone.iter().map(delete).collect();
        ops.push(put(number, &approval));
        self.registry.put_blobs(&ops)?;
        gone.iter().for_each(|number| drop(all.remove(number)));
        let told = approval.to_json(number);
        all.insert(number, approval);
        let detail = format_args!("{number}: {}, by {asked_by}", told["what"].as_str().unwrap_or_default());
        self.emit(EventKind::ApprovalAsked, told["subject"].as_str(), None, None, detail);
        Ok(Some(number))
    }

    /// Everything that waits or was answered and is not used up, oldest first.
    pub(crate) fn approvals(&self, now: UnixMillis) -> Outcome {
        let all = self.approvals.0.lock();
        let open = all.iter().filter(|(_, approval)| now < approval.expires);
        Outcome::ok(open.map(|(number, approval)| approval.to_json(*number)).collect())
    }

    /// An operator consents or does not. A request that is consented to is done at once.
    pub(crate) fn answer_approval(
        &self,
        actor: &Actor,
        number: u64,
        granted: bool,
        reason: &str,
        now: UnixMillis,
    ) -> Result<Outcome, AdminError> {
        let mut all = self.approvals.0.lock();
        let found = all.get(&number).filter(|approval| now < approval.expires && approval.answer.is_none());
        let missing = || {
            AdminError::Refused(format!("nothing waits under the number {number}; `portreeve approval list` shows all"))
        };
        let mut approval = found.cloned().ok_or_else(missing)?;
        if granted && approval.asked_by == actor.name {
            return Err(AdminError::Refused(format!("{} asked for this; somebody else has to consent", actor.name)));
        }
        if let Matter::Request { request } = &approval.matter {
            self.expect_permission(actor, request)?;
        }
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
        approval.answer = Some(Answer { granted, by: actor.name.clone(), at: now, reason });
        let told = approval.to_json(number);
        let op = match &approval.matter {
            // The device hears of it when it comes again.
            Matter::Certificate { .. } => put(number, &approval),
            Matter::Request { .. } => delete(&number),
        };
        self.registry.put_blobs(&[op])?;
        let Approval { matter, asked_by, .. } = approval.clone();
        match &matter {
            Matter::Certificate { .. } => drop(all.insert(number, approval)),
            Matter::Request { .. } => drop(all.remove(&number)),
        }
        drop(all);
        let verdict = if granted { "granted" } else { "refused" };
        let detail = format_args!("{number}: {verdict} by {}", actor.name);
        self.emit(EventKind::ApprovalAnswered, told["subject"].as_str(), None, None, detail);
        match matter {
            Matter::Request { request } if granted => {
                let both = Actor { name: format!("{asked_by} and {}", actor.name), role: actor.role };
                self.perform(&both, *request, now)
            }
            _ => Ok(Outcome::ok(told)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portreeve_config::{Config, Role};
    use portreeve_types::Kind;

    use super::*;
    use crate::{GroupSettings, IssuingCa, ProofSettings};

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

    fn add(name: &str) -> AdminRequest {
        let key = portreeve_pki::generate_key().unwrap().public;
        let signers_pem = pem::encode(&pem::Pem::new("PUBLIC KEY", key.spki_der()));
        let proof = ProofSettings::List { signers_pem, list: None };
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
        let late = office.hub.answer_approval(&bob, asked, true, "", office.later(HOUR_S + 1));
        assert!(matches!(late, Err(AdminError::Refused(_))));
        assert_eq!(office.hub.approvals(office.later(HOUR_S + 1)).result, json!([]));
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
        assert_eq!(ask(&wish(identity, 1), office.now), Consent::Waiting);
        assert_eq!(ask(&wish(identity, 2), office.now), Consent::Waiting, "in place of the first");
        assert_eq!(office.hub.approvals.len(), 1);
        let other = IdentityId(uuid::Uuid::from_u128(2));
        assert_eq!(ask(&wish(other, 3), office.now), Consent::Waiting);
        let third = IdentityId(uuid::Uuid::from_u128(3));
        assert_eq!(ask(&wish(third, 4), office.now), Consent::Full);
        assert!(matches!(office.ask("alice", Role::KeyManager, add("pumps")), Err(AdminError::Refused(_))));
        assert_eq!(ask(&wish(third, 4), office.later(HOUR_S + 1)), Consent::Waiting);
        assert_eq!(office.hub.approvals.len(), 1);
    }
}
