//! Administration: who may make which request, and what it does.

mod request;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_config::Role;
use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_mqtt::Reason;
use portreeve_pki::{DEVICE_LIFETIME_DEFAULT, Generation, Issued, PkiError, Profile, Role as CertificateRole};
use portreeve_policy::{Action, Context, PolicySource, PolicyTests, Subject};
use portreeve_store::{ChangeRow, CredentialRow, IdentityRow, StoreError};
use portreeve_types::{IdentityId, IdentityName, Kind, LifecycleState, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use request::RequestNote;
pub use request::{AdminRequest, Lane, Source};

use request::{Need, permits};

use crate::{Close, Fields, Hub, Registry, RegistryError, broker::Session, registry::By, withdrawal::Wanted};

/// Who asks.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Local user name, or how else the peer was identified.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

impl Actor {
    /// Who works on the data directory of a hub that does not run.
    pub const OFFLINE: &'static str = "offline";

    /// Whether somebody can be one of two persons: with the hub stopped, everybody has the same name.
    ///
    /// # Errors
    /// [`AdminError::Refused`].
    pub(crate) fn expect_to_be_known(&self) -> Result<(), AdminError> {
        if self.name != Self::OFFLINE {
            return Ok(());
        }
        Err(AdminError::Refused("this needs two persons, and the hub has to run to tell them apart".into()))
    }

    fn at(&self, now: UnixMillis) -> By<'_> {
        By { actor: &self.name, reason: "", at: now }
    }
}

/// How the shell re-reads its configuration; returns what changed, in words.
pub type Reloader = Box<dyn Fn(&Hub) -> Result<Vec<String>, String> + Send + Sync>;

/// Which role the shell gives to an operator of this name now; `None`: none any more.
pub type RoleOf = Box<dyn Fn(&Hub, &str) -> Option<Role> + Send + Sync>;

/// What `device add --out` writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bundle {
    /// `ca.pem`: what the client trusts.
    pub ca_pem: String,
    /// `cert.pem`: leaf and issuing CA.
    pub cert_pem: String,
    /// `key.pem`: PKCS #8, private.
    pub key_pem: String,
    /// `trust.jws`: the roots and the hub's keys, present and next (ISVS-4.1.6).
    pub trust_jws: String,
}

/// The answer to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The result.
    pub result: Value,
    /// Whether a check that the request ran has failed (exit status 1).
    #[serde(default)]
    pub failed: bool,
}

impl Outcome {
    pub(crate) fn ok(result: Value) -> Self {
        Self { result, failed: false }
    }

    /// Nothing is done before somebody else consents.
    pub(crate) fn waiting(number: u64) -> Self {
        Self::ok(json!({ "waits_for_approval": number }))
    }
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// What was given cannot be used (exit status 2).
    #[error("{0}")]
    Invalid(String),
    /// Policy or state refuse it (exit status 4).
    #[error("{0}")]
    Refused(String),
    /// The actor's role does not permit it (exit status 4).
    #[error("{actor} has the role {role}, which does not permit this")]
    Role {
        /// Who asked.
        actor: String,
        /// Its role.
        role: &'static str,
    },
    /// The public key is somebody's already (exit status 4); nothing was registered.
    #[error("{}", RegistryError::KeyKnown)]
    KeyKnown,
    /// The store could not keep it (exit status 4); nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AdminError {
    /// The contract's exit status.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Invalid(_) => 2,
            _ => 4,
        }
    }
}

impl From<RegistryError> for AdminError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(error) => Self::Store(error),
            RegistryError::KeyKnown => Self::KeyKnown,
            RegistryError::Field(_) => Self::Invalid(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl From<PkiError> for AdminError {
    fn from(error: PkiError) -> Self {
        Self::Refused(format!("no certificate was issued: {error}"))
    }
}

impl Hub {
    /// Does what an operator asks, if its role permits.
    ///
    /// # Errors
    /// [`AdminError`], whose text is for the operator.
    pub fn administer(&self, actor: &Actor, request: AdminRequest) -> Result<Outcome, AdminError> {
        self.authorize(actor, request.need())?;
        let note = request.note();
        self.recorded(actor, &note, || self.administer_recorded(actor, request))
    }

    fn administer_recorded(&self, actor: &Actor, request: AdminRequest) -> Result<Outcome, AdminError> {
        let now = self.wall_clock();
        if let AdminRequest::DeviceDispose { name, statement } = &request {
            self.expect_disposable(name, statement)?;
            return self.ask_for_second(actor, request, now);
        }
        if self.config().admin.two_persons && request.is_of_ca() {
            return self.ask_for_second(actor, request, now);
        }
        self.perform(actor, request, now)
    }

    /// Does something that is in the ledger before it begins (CSA-CLS-13, CSA-SCN-05), and says there what came of it before
    /// anybody is told. A look is only counted.
    pub(crate) fn recorded(
        &self,
        actor: &Actor,
        note: &RequestNote,
        work: impl FnOnce() -> Result<Outcome, AdminError>,
    ) -> Result<Outcome, AdminError> {
        let RequestNote { request, identity, subject, reason, sha256, changes } = note;
        let of = |event: Event<'_>| match identity {
            Some(name) => self.record(&event.by(&actor.name).about(name.as_str())),
            None => self.record(&event.by(&actor.name)),
        };
        if !changes {
            let data = [("request", Datum::Plain(request))];
            self.tell(&Event::new(EventKind::AdminRead, format_args!("")).by(&actor.name).with(&data));
            return work();
        }
        let data = [
            ("request", Datum::Plain(request)),
            ("subject", Datum::Plain(subject)),
            ("reason", Datum::Plain(reason)),
            ("request_sha256", Datum::Plain(sha256)),
        ];
        let number = of(Event::new(EventKind::AdminRequested, format_args!("")).with(&data))
            .map_err(|error| AdminError::Refused(error.to_string()))?;
        let outcome = work();
        let data = [
            ("request", Datum::Plain(request)),
            ("subject", Datum::Plain(subject)),
            ("requested_as", Datum::Plain(&number)),
        ];
        let said = match &outcome {
            Ok(_) => of(Event::new(EventKind::AdminDone, format_args!("")).with(&data)),
            // What is wrong with a request may quote personal values; that it failed is what matters here.
            Err(error) => {
                let status = error.exit_status();
                of(Event::new(EventKind::AdminFailed, format_args!("status {status}")).with(&data))
            }
        };
        if let Err(error) = said {
            // It is done, and that it was asked for is on the disk: what came of it is in the log alone.
            tracing::error!(%error, request, number, "what came of a request is not in the ledger");
        }
        outcome
    }

    /// Whether somebody's role permits a request.
    ///
    /// # Errors
    /// [`AdminError::Role`].
    pub(crate) fn expect_permission(&self, actor: &Actor, request: &AdminRequest) -> Result<(), AdminError> {
        self.authorize(actor, request.need())
    }

    /// Whether somebody who asked for this earlier may still do so: the configuration may be another since.
    ///
    /// # Errors
    /// [`AdminError::Refused`].
    pub(crate) fn expect_still_permitted(&self, name: &str, request: &AdminRequest) -> Result<(), AdminError> {
        let role = match self.role_of.get() {
            Some(role_of) => role_of(self, name),
            None => self.config().admin.operators.get(name).copied(),
        };
        let Some(role) = role else {
            let text = format!("`{name}` asked for this and has no role any more; somebody who may has to ask anew");
            return Err(AdminError::Refused(text));
        };
        self.expect_permission(&Actor { name: name.to_owned(), role }, request).map_err(|_| {
            let text =
                format!("`{name}` asked for this and, as {role}, may not any more; somebody who may has to ask anew");
            AdminError::Refused(text)
        })
    }

    /// Whether somebody may handle keys and certificates.
    ///
    /// # Errors
    /// [`AdminError::Role`].
    pub(crate) fn expect_key_manager(&self, actor: &Actor) -> Result<(), AdminError> {
        self.authorize(actor, Need::Keys)
    }

    /// Does what somebody may ask for, and where two have to, both have.
    pub(crate) fn perform(&self, actor: &Actor, request: AdminRequest, now: UnixMillis) -> Result<Outcome, AdminError> {
        match request {
            AdminRequest::Status => Ok(Outcome::ok(self.status(now))),
            AdminRequest::DeviceAdd { name, kind, fields, bundle, days } => {
                self.device_add(actor, &name, kind, &fields, bundle.then_some(days), now)
            }
            AdminRequest::DeviceCode { name, valid_s } => self.device_code(actor, &name, valid_s, now),
            AdminRequest::DeviceEdit { name, fields } => {
                let row = self.registry.edit(&name, &fields, actor.at(now))?;
                self.identity_changed(&actor.name, &row, "fields changed");
                Ok(Outcome::ok(identity_json(self, &row)))
            }
            AdminRequest::DeviceList { page } => self.device_list(&page, now).map(Outcome::ok),
            AdminRequest::DeviceExport { page } => self.device_export(&page, now).map(Outcome::ok),
            AdminRequest::DeviceImport { file, update, dry_run } => {
                self.device_import(actor, &file, update, dry_run, now).map(Outcome::ok)
            }
            AdminRequest::DeviceShow { name } => self.device_show(&name),
            AdminRequest::DeviceHistory { name } => self.device_history(&name),
            AdminRequest::DeviceState { name, to, reason, dry_run } => {
                self.device_state(actor, &name, to, &reason, dry_run, now)
            }
            AdminRequest::DeviceWipe { name, reason } => self.wipe(actor, &name, &reason, now).map(Outcome::ok),
            AdminRequest::DeviceDispose { name, statement } => {
                self.dispose(actor, &name, &statement, now).map(Outcome::ok)
            }
            AdminRequest::SbomAdd { release, text, dry_run } => {
                self.sbom_add(actor, &release, &text, dry_run, now).map(Outcome::ok)
            }
            AdminRequest::SbomList => Ok(Outcome::ok(self.sbom_list())),
            AdminRequest::SbomShow { release } => self.sbom_show(&release).map(Outcome::ok),
            AdminRequest::SbomExport { release } => self.sbom_export(&release).map(Outcome::ok),
            AdminRequest::SbomRemove { release, dry_run } => {
                self.sbom_remove(actor, &release, dry_run).map(Outcome::ok)
            }
            AdminRequest::SbomFind { query } => self.sbom_find(&query).map(Outcome::ok),
            AdminRequest::EnrolmentRules => Ok(Outcome::ok(self.enrolment_rules())),
            AdminRequest::EnrolmentGroups => Ok(Outcome::ok(self.groups())),
            AdminRequest::EnrolmentGroupAdd { settings } => self.group_add(actor, *settings, now).map(Outcome::ok),
            AdminRequest::EnrolmentGroupCrls { name, crls_pem } => {
                self.group_crls(actor, &name, crls_pem, now).map(Outcome::ok)
            }
            AdminRequest::EnrolmentGroupList { name, document } => {
                self.group_list(actor, &name, &document, now).map(Outcome::ok)
            }
            AdminRequest::EnrolmentGroupRemove { name } => self.group_remove(actor, &name).map(Outcome::ok),
            AdminRequest::ApprovalList => Ok(self.approvals(now)),
            AdminRequest::ApprovalAnswer { number, granted, reason } => {
                self.answer_approval(actor, number, granted, &reason, now)
            }
            AdminRequest::PolicyCheck { sources } => {
                let set = self.compile(&into_sources(sources))?;
                Ok(Outcome::ok(policy_summary(&set)))
            }
            AdminRequest::PolicyApply { sources, dry_run } => self.policy_apply(actor, sources, dry_run),
            AdminRequest::PolicyShow => Ok(Outcome::ok(self.policy_show())),
            AdminRequest::PolicyTest { file, tests, sources } => self.policy_test(&file, &tests, sources, now),
            AdminRequest::PolicyExplain { identity, action, topic } => {
                self.policy_explain(&identity, &action, &topic, now)
            }
            AdminRequest::DetectStatus => Ok(Outcome::ok(self.detect_status())),
            AdminRequest::FindingList { open, count } => Ok(Outcome::ok(self.findings(open, count))),
            AdminRequest::FindingShow { id } => self.finding(&id).map(Outcome::ok),
            AdminRequest::DetectApply { file, text, dry_run } => {
                self.detect_apply(&file, &text, dry_run).map(Outcome::ok)
            }
            AdminRequest::DetectFreeze => self.detect_freeze(true).map(Outcome::ok),
            AdminRequest::DetectThaw => self.detect_freeze(false).map(Outcome::ok),
            AdminRequest::DetectRelearn { name } => self.detect_relearn(&name).map(Outcome::ok),
            AdminRequest::ResponseApply { file, text, dry_run } => {
                self.response_apply(&file, text, dry_run).map(Outcome::ok)
            }
            AdminRequest::ResponseShow => Ok(Outcome::ok(self.response_show())),
            AdminRequest::ResponseList => Ok(Outcome::ok(self.response_list())),
            AdminRequest::ResponseLift { id, reason } => self.response_lift(actor, id, &reason).map(Outcome::ok),
            AdminRequest::CaseList { closed } => Ok(Outcome::ok(self.case_list(closed))),
            AdminRequest::CaseShow { number } => self.case_show(actor, number).map(Outcome::ok),
            AdminRequest::CaseNote { number, text } => self.case_note(actor, number, &text).map(Outcome::ok),
            AdminRequest::CaseAcknowledge { number } => self.case_acknowledge(actor, number).map(Outcome::ok),
            AdminRequest::CaseClose { number, reason } => self.case_close(actor, number, &reason).map(Outcome::ok),
            AdminRequest::CaseReopen { number, reason } => self.case_reopen(actor, number, &reason).map(Outcome::ok),
            AdminRequest::CaseHandOver { number, to, sha256 } => {
                self.case_hand_over(actor, number, &to, sha256).map(Outcome::ok)
            }
            AdminRequest::CaseExport { number, reason } => self.case_export(actor, number, &reason).map(Outcome::ok),
            AdminRequest::AttestAdd { draft } => self.attest_add(actor, *draft, now).map(Outcome::ok),
            AdminRequest::AttestList { filter } => Ok(Outcome::ok(self.attest_list(&filter, now))),
            AdminRequest::AttestShow { number } => self.attest_show(number, now).map(Outcome::ok),
            AdminRequest::AttestReview { number, approve, remark } => {
                self.attest_review(actor, number, approve, &remark, now).map(Outcome::ok)
            }
            AdminRequest::AttestExpire { number, reason, dry_run } => {
                self.attest_expire(actor, number, &reason, dry_run, now).map(Outcome::ok)
            }
            AdminRequest::AttestExport => Ok(Outcome::ok(self.attest_export(now))),
            AdminRequest::Canary => self.canary(actor, now),
            AdminRequest::AlertApply { file, text, dry_run } => {
                self.alert_apply(&file, &text, dry_run, now).map(Outcome::ok)
            }
            AdminRequest::AlertShow => Ok(Outcome::ok(self.alert_show())),
            AdminRequest::AlertList { all } => Ok(Outcome::ok(self.alert_list(all))),
            AdminRequest::AlertAck { id } => self.alert_ack(actor, id, now).map(Outcome::ok),
            AdminRequest::AlertTest => self.alert_test(now).map(Outcome::ok),
            AdminRequest::AlertTimings { since } => Ok(Outcome::ok(self.alert_timings(since))),
            AdminRequest::AlertDead => Ok(Outcome::ok(self.alert_dead())),
            AdminRequest::AlertResend { id } => self.alert_resend(id, now).map(Outcome::ok),
            AdminRequest::AlertChannels => Ok(Outcome::ok(self.alert_channels())),
            AdminRequest::CaShow => self.ca_show().map(Outcome::ok),
            AdminRequest::CaRotate { ca, dry_run } => self.ca_rotate(actor, ca, dry_run, now).map(Outcome::ok),
            AdminRequest::RootRotate { at_once, dry_run } => {
                self.root_rotate(actor, at_once, dry_run, now).map(Outcome::ok)
            }
            AdminRequest::TrustRotate { dry_run } => self.trust_rotate(actor, dry_run, now).map(Outcome::ok),
            AdminRequest::CaRevoke { name, reason, enrol_anew, dry_run } => {
                let wanted = Wanted { name: &name, reason: &reason, enrol_anew, dry_run };
                self.ca_revoke(actor, &wanted, now).map(Outcome::ok)
            }
            AdminRequest::CaRequest { ca } => self.ca_request(ca).map(Outcome::ok),
            AdminRequest::CaImport { certificate_pem, dry_run } => {
                self.ca_import(actor, &certificate_pem, dry_run, now).map(Outcome::ok)
            }
            AdminRequest::Reload => self.reload(actor),
            AdminRequest::LedgerKey => self.ledger_key(),
            AdminRequest::LedgerRead { from, bundles } => self.ledger_read(actor, from, bundles),
            AdminRequest::LedgerCheck { from } => self.ledger_check(from),
            AdminRequest::AuditFacts { about } => self.audit_facts(actor, about, now),
            AdminRequest::QuarantineRehearse { name } => self.quarantine_rehearse(actor, &name, now),
            AdminRequest::LedgerErase { what, dry_run } => self.ledger_erase(actor, &what, dry_run),
        }
    }

    /// Whether this actor may import lists and attach SBOMs: whether a request that is large enough for one is worth reading.
    ///
    /// # Errors
    /// [`AdminError::Role`].
    pub fn authorize_import(&self, actor: &Actor) -> Result<(), AdminError> {
        self.authorize(actor, Need::Operate)
    }

    fn authorize(&self, actor: &Actor, need: Need) -> Result<(), AdminError> {
        if permits(actor.role, need, self.config().admin.keys_apart) || self.audits_alone(actor, need) {
            return Ok(());
        }
        self.tell(&Event::new(EventKind::AdminDenied, format_args!("{need:?}")).by(&actor.name));
        Err(AdminError::Role { actor: actor.name.clone(), role: actor.role.as_str() })
    }

    /// As long as nobody is made an auditor, whoever runs the hub is the only one who can look at its ledger.
    fn audits_alone(&self, actor: &Actor, need: Need) -> bool {
        let operators = &self.config().admin.operators;
        // Administrators whom the configuration does not name are the hub's own user and root.
        let is_owner = actor.role == Role::Administrator && !operators.contains_key(&actor.name);
        need == Need::Audit && is_owner && operators.values().all(|role| *role != Role::Auditor)
    }

    fn reload(&self, actor: &Actor) -> Result<Outcome, AdminError> {
        let Some(reloader) = self.reloader.get() else {
            return Err(AdminError::Refused("the hub does not run; what is on disk is read at its next start".into()));
        };
        match reloader(self) {
            Ok(notes) => {
                let detail = notes.join("; ");
                self.tell(&Event::new(EventKind::Reloaded, format_args!("{detail}")).by(&actor.name));
                Ok(Outcome::ok(json!({ "reloaded": true, "notes": notes })))
            }
            Err(error) => {
                self.tell(&Event::new(EventKind::ReloadFailed, format_args!("{error}")).by(&actor.name));
                Err(AdminError::Invalid(error))
            }
        }
    }

    pub(crate) fn identity_changed(&self, actor: &str, row: &IdentityRow, what: &str) {
        let sessions = self.renew_decisions(row.id);
        self.reauthorize(&sessions, self.wall_clock());
        self.tell_change(actor, row, what);
    }

    /// What was decided about an identity is decided again. Returns its sessions.
    pub(crate) fn renew_decisions(&self, id: IdentityId) -> Vec<Arc<Session>> {
        let sessions = self.sessions.lock().by_identity.get(&id).cloned().unwrap_or_default();
        sessions.iter().for_each(|session| self.raise_epoch(session));
        sessions
    }

    pub(crate) fn tell_change(&self, actor: &str, row: &IdentityRow, what: &str) {
        let detail = format_args!("{what}");
        let event = Event::new(EventKind::IdentityChanged, detail);
        let data = [("after_sha256", Datum::Plain(&hash_of(row)))];
        self.tell(&event.by(actor).about(row.name.as_str()).with(&data));
    }

    /// `bundle` is `Some(days)` where a key and certificate are to be made.
    fn device_add(
        &self,
        actor: &Actor,
        name: &IdentityName,
        kind: Kind,
        fields: &Fields,
        bundle: Option<Option<u32>>,
        now: UnixMillis,
    ) -> Result<Outcome, AdminError> {
        // First, for it has a commit of its own.
        let trust = bundle.map(|_| self.trust_bundle(now)).transpose()?.unwrap_or_default();
        let trust_jws = String::from_utf8_lossy(&trust);
        // Identity and certificate in one commit: a name without a certificate would be of no use to anybody.
        let mut made = None;
        let row = self.registry.add(name, kind, fields, actor.at(now), |row| {
            let Some(days) = bundle else { return Ok(None) };
            let (issued, bundle) = self.issue_bundle(row, days, &trust_jws, now)?;
            made = Some((hex::encode(&issued.serial), bundle));
            Ok::<_, AdminError>(Some(issued))
        });
        let row = row.inspect_err(|error| {
            if matches!(error, AdminError::KeyKnown) {
                let detail = format_args!("asked for by an operator");
                let event = Event::new(EventKind::KeyReuseRefused, detail);
                self.tell(&event.by(&actor.name).about(name.as_str()));
            }
        })?;
        self.identity_changed(&actor.name, &row, "registered");
        // Told once it is registered: before that nobody could connect with it.
        let bundle = made.map(|(serial, bundle)| {
            let data = [("serial", Datum::Plain(&serial))];
            let detail = format_args!("in a bundle");
            let event = Event::new(EventKind::CertificateIssued, detail).about(name.as_str());
            self.tell(&event.by(&actor.name).with(&data));
            bundle
        });
        let mut result = identity_json(self, &row);
        result["bundle"] = json!(bundle);
        Ok(Outcome::ok(result))
    }

    fn issue_bundle(
        &self,
        row: &IdentityRow,
        days: Option<u32>,
        trust_jws: &str,
        now: UnixMillis,
    ) -> Result<(Issued, Bundle), AdminError> {
        let lifetime = days.map_or(DEVICE_LIFETIME_DEFAULT, |days| Duration::from_secs(u64::from(days) * 86_400));
        let key = portreeve_pki::generate_key()?;
        let profile = Profile::new(CertificateRole::Client(row.kind)).with_lifetime(lifetime)?;
        let issued = self.device_ca(&self.authority.load())?.issue_client(
            &profile,
            row.id,
            Generation::default(),
            &key.public,
            now,
        )?;
        let bundle = Bundle {
            ca_pem: self.authority.load().trust_pem(),
            cert_pem: issued.chain_pem.clone(),
            key_pem: key.pkcs8_pem.to_string(),
            trust_jws: trust_jws.to_owned(),
        };
        Ok((issued, bundle))
    }

    fn device_code(
        &self,
        actor: &Actor,
        name: &IdentityName,
        valid_s: Option<u64>,
        now: UnixMillis,
    ) -> Result<Outcome, AdminError> {
        let made = self.make_code(actor, name, valid_s, now)?;
        let root = digest(&SHA256, self.authority.load().root_certificate());
        Ok(Outcome::ok(json!({
            "name": name.as_str(),
            "code": made.text.as_str(),
            "expires_ms": made.expires.0,
            "ca_sha256": hex::encode(root),
        })))
    }

    fn device_show(&self, name: &IdentityName) -> Result<Outcome, AdminError> {
        let row = self.registry.find(name)?;
        let mut result = identity_json(self, &row);
        result["silent"] = json!(self.is_silent(&row, self.wall_clock()));
        result["composition"] = self.composition(&row)?;
        result["certificates"] = self.registry.credentials(row.id).iter().map(|row| credential_json(row)).collect();
        let sessions = self.sessions.lock().by_identity.get(&row.id).cloned().unwrap_or_default();
        result["sessions"] = sessions
            .iter()
            .map(|session| {
                let outgoing = session.outgoing.lock();
                json!({
                    "client_id": session.key.client_id.as_str(),
                    "connected": outgoing.is_online(),
                    "address": session.peer.load().address.to_string(),
                    "transport": session.peer.load().transport,
                    "subscriptions": outgoing.subscriptions.values().map(|s| s.filter.as_str()).collect::<Vec<_>>(),
                    "queued_messages": outgoing.outbound.len(),
                    "queued_bytes": outgoing.outbound.bytes(),
                    "expiry_s": outgoing.expiry_s,
                })
            })
            .collect();
        Ok(Outcome::ok(result))
    }

    fn device_history(&self, name: &IdentityName) -> Result<Outcome, AdminError> {
        let changes = self.registry.history(&self.registry.find(name)?)?;
        Ok(Outcome::ok(changes.iter().map(change_json).collect()))
    }

    fn device_state(
        &self,
        actor: &Actor,
        name: &IdentityName,
        to: LifecycleState,
        reason: &str,
        dry_run: bool,
        now: UnixMillis,
    ) -> Result<Outcome, AdminError> {
        let row = self.registry.find(name)?;
        let sessions = self.sessions.lock().by_identity.get(&row.id).map_or(0, Vec::len);
        if dry_run {
            if !Registry::may_become(row.state, to) {
                return Err(RegistryError::Transition { name: name.clone(), from: row.state, to }.into());
            }
            let from = row.state.as_str();
            return Ok(Outcome::ok(
                json!({ "name": name.as_str(), "from": from, "to": to.as_str(), "sessions": sessions, "dry_run": true }),
            ));
        }
        let by = By { reason, ..actor.at(now) };
        // Where a rule's quarantine stands, the person's takes its place.
        if to == LifecycleState::Quarantined && row.state == to && self.overtake_quarantine(row.id, by) {
            return Ok(Outcome::ok(identity_json(self, &row)));
        }
        let (row, cut) = self.move_identity(name, to, by)?;
        let mut result = identity_json(self, &row);
        result["connections_closed"] = json!(cut);
        Ok(Outcome::ok(result))
    }

    /// Moves an identity along its life and cuts it off where its new state says so (CSA-MSU-01, CSA-CRD-11). Returns how many
    /// connections ended.
    pub(crate) fn move_identity(
        &self,
        name: &IdentityName,
        to: LifecycleState,
        by: By<'_>,
    ) -> Result<(Arc<IdentityRow>, usize), RegistryError> {
        let asked = Some(Instant::now());
        let row = self.registry.set_state(name, to, by)?;
        let sessions = self.renew_decisions(row.id);
        self.tell_change(by.actor, &row, to.as_str());
        self.overtake_quarantine(row.id, by);
        let cut = if to == LifecycleState::Active {
            0
        } else {
            let close = Close { reason: Reason::ADMINISTRATIVE_ACTION, why: to.as_str(), asked };
            let forget = matches!(to, LifecycleState::Revoked | LifecycleState::Retired);
            if forget {
                self.unwatch(&row);
            }
            self.cut(row.id, close, forget)
        };
        // Behind the cut, whose reason is the better one to hear.
        self.reauthorize(&sessions, by.at);
        if to != LifecycleState::Quarantined {
            self.withdraw_wipe(name, by.at);
        }
        Ok((row, cut))
    }

    fn policy_apply(&self, actor: &Actor, sources: Vec<Source>, dry_run: bool) -> Result<Outcome, AdminError> {
        let sources = into_sources(sources);
        let mut summary = policy_summary(&self.compile(&sources)?);
        if !dry_run {
            summary["subscriptions_ended"] = json!(self.apply_policy(&actor.name, &sources)?);
        }
        summary["dry_run"] = json!(dry_run);
        Ok(Outcome::ok(summary))
    }

    fn policy_show(&self) -> Value {
        let policy = self.policy();
        let files: Vec<_> = policy.sources().iter().map(|s| json!({ "file": s.file, "text": s.text })).collect();
        let sha256 = crate::policies::hash_of(policy.sources());
        json!({ "policies": policy.len(), "sha256": sha256, "files": files })
    }

    fn policy_test(
        &self,
        file: &str,
        tests: &str,
        sources: Option<Vec<Source>>,
        now: UnixMillis,
    ) -> Result<Outcome, AdminError> {
        let set = match sources {
            Some(sources) => self.compile(&into_sources(sources))?,
            None => (*self.policy()).clone(),
        };
        let tests = PolicyTests::parse(file, tests)
            .map_err(|problems| AdminError::Invalid(crate::policies::join(&problems)))?;
        // What a pending one will be allowed is the question, once it has its certificate.
        let in_service = |state| if state == LifecycleState::Pending { LifecycleState::Active } else { state };
        let subject = |row: &IdentityRow| Subject { state: in_service(row.state), ..self.subject(row) };
        let lookup = |name: &IdentityName| self.registry.find(name).ok().map(|row| subject(&row));
        let report = tests.run(&set, lookup, now);
        Ok(Outcome { failed: report.failed > 0, result: json!(report) })
    }

    fn policy_explain(
        &self,
        identity: &IdentityName,
        action: &str,
        topic: &str,
        now: UnixMillis,
    ) -> Result<Outcome, AdminError> {
        let row = self.registry.find(identity)?;
        let action: Action = action.parse().map_err(|error| AdminError::Invalid(format!("{action}: {error}")))?;
        let resource = match action {
            Action::Subscribe => portreeve_types::TopicFilter::new(topic).map(|filter| filter.plain().to_owned()),
            Action::Publish | Action::Receive => portreeve_types::TopicName::check(topic).map(|()| topic.to_owned()),
            Action::Connect => Ok(String::new()),
        };
        let resource = resource.map_err(|error| AdminError::Invalid(format!("`{topic}`: {error}")))?;
        let context =
            Context { now, source: None, transport: "mqtt", client_id: identity.as_str(), qos: None, retain: false };
        let explanation = self.policy().explain(&self.subject(&row), action, &resource, &context);
        Ok(Outcome::ok(json!({ "text": explanation.to_string(), "explanation": explanation })))
    }

    fn status(&self, now: UnixMillis) -> Value {
        let journal = self.journal.stats();
        json!({
            "ready": self.accepts_work(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": now.since(self.started).as_secs(),
            "data": self.data.display().to_string(),
            "listeners": self.listeners.lock().iter().map(|(name, at)| json!({ "name": name, "address": at })).collect::<Vec<_>>(),
            "clients_connected": self.gauges.online.load(Relaxed),
            "identities": self.registry.len(),
            "policies": self.policy().len(),
            "ledger": self.ledger().to_json(),
            "responses": self.responses_json(),
            "store": { "health": self.store_health(), "commits": journal.commits, "last_commit_us": journal.last_commit_us },
            "alerts": self.alert_status(),
            "limits": self.limits_table(),
        })
    }
}

fn into_sources(sources: Vec<Source>) -> Vec<PolicySource> {
    sources.into_iter().map(PolicySource::from).collect()
}

fn policy_summary(set: &portreeve_policy::PolicySet) -> Value {
    let warnings: Vec<_> = set.warnings().iter().map(ToString::to_string).collect();
    json!({ "policies": set.len(), "files": set.sources().iter().map(|s| &s.file).collect::<Vec<_>>(), "warnings": warnings })
}

/// The hash of what operators decide about an identity: two entries with the same one say that it is as it was.
fn hash_of(row: &IdentityRow) -> String {
    let IdentityRow { id, name, kind, group, owner, location, model, firmware, notes, state, .. } = row;
    let decided = json!([id, name, kind.as_str(), group, owner, location, model, firmware, notes, state.as_str()]);
    hex::encode(digest(&SHA256, decided.to_string().as_bytes()))
}

pub(crate) fn identity_json(hub: &Hub, row: &IdentityRow) -> Value {
    json!({
        "id": row.id.to_string(),
        "name": row.name.as_str(),
        "kind": row.kind.as_str(),
        "group": row.group,
        "owner": row.owner,
        "location": row.location,
        "model": row.model,
        "firmware": row.firmware,
        "posture": hub.posture_of(row).as_str(),
        "notes": row.notes,
        "state": row.state.as_str(),
        "state_reason": row.state_reason,
        "created_ms": row.created.0,
        "changed_ms": row.changed.0,
        "last_seen_ms": hub.registry.last_seen(row).map(|at| at.0),
    })
}

fn credential_json(row: &CredentialRow) -> Value {
    json!({
        "key": row.key.to_string(),
        "serial": hex::encode(&row.serial),
        "issued_ms": row.issued.0,
        "not_after_ms": row.not_after.0,
        "revoked_ms": row.revoked.map(|at| at.0),
        "used_ms": row.used.map(|at| at.0),
    })
}

fn change_json(row: &ChangeRow) -> Value {
    json!({
        "at_ms": row.at.0,
        "actor": row.actor,
        "field": row.field,
        "before": row.before,
        "after": row.after,
        "reason": row.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revoked_and_retired_are_for_ever() {
        use LifecycleState::{Active, Disabled, Pending, Quarantined, Retired, Revoked};
        for to in [Pending, Active, Quarantined, Disabled, Revoked] {
            assert!(!Registry::may_become(Retired, to));
        }
        assert!(Registry::may_become(Revoked, Retired));
        assert!(!Registry::may_become(Revoked, Active));
        assert!(Registry::may_become(Disabled, Active));
    }
}
