//! The way to the hub that is examined: what it says of itself, what is asked of it, and what its files show.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use portreeve_assurance::{
    Attestation, HubPart, Scope, Sha256,
    evidence::{
        Seen,
        hub::{CeilingAnswer, CeilingFinding, HubListeners, HubSubject, LedgerProof, PolicyCeiling},
    },
};
use portreeve_hub::AdminRequest;
use portreeve_ledger::VerifierKey;
use portreeve_policy::PolicySet;
use portreeve_prover::{Answer, Finding, Prover};
use portreeve_tls::certificates_from_pem;
use portreeve_types::{IdentityName, UnixMillis};
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::data;
use crate::{admin::Administration, cli::Global, failure::Failure, ledger::verified, output::cell, policy};

/// How long the alerts of a self-test are awaited.
const SELF_TEST_WAIT: Duration = Duration::from_secs(60);
/// How often it is looked whether they have arrived.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A hub.
pub(in crate::audit) struct HubLink {
    admin: Administration,
    data: PathBuf,
    ledger_key: Option<VerifierKey>,
    ceiling: Option<Ceiling>,
    /// What it says of its listeners, if some of them are looked at.
    listeners: Option<HubListeners>,
}

/// Policies that its policy has to stay within.
struct Ceiling {
    set: PolicySet,
    sha256: String,
}

/// What a running hub says of its listeners.
pub(super) fn listeners_if_running(global: &Global) -> Result<Option<HubListeners>, Failure> {
    let request = AdminRequest::AuditFacts { about: HubSubject::Listeners };
    let told = Administration::new(global)?.if_running(&request)?;
    told.map(|told| listeners(&told.result)).transpose()
}

fn listeners(told: &Value) -> Result<HubListeners, Failure> {
    serde_json::from_value(data(told))
        .map_err(|error| Failure::Unreachable(format!("what the hub says of its listeners cannot be read: {error}")))
}

impl HubLink {
    /// The hub of a scope, if it declares one. Whatever it needs is read here, so that what is wrong is told before anything is looked at.
    pub(in crate::audit) fn open(global: &Global, scope: &Scope, base: &Path) -> Result<Option<Arc<Self>>, Failure> {
        let Some(part) = &scope.hub else { return Ok(None) };
        let data = part.data.as_ref().map_or_else(|| global.data.clone(), |data| base.join(data));
        let global = Global { data: data.clone(), ..global.clone() };
        let admin = Administration::new(&global)?;
        let has_doors =
            scope.endpoints.iter().any(|endpoint| endpoint.of_hub) || scope.hosts.iter().any(|it| it.of_hub);
        let told =
            has_doors.then(|| admin.live(&AdminRequest::AuditFacts { about: HubSubject::Listeners })).transpose()?;
        Ok(Some(Arc::new(Self {
            listeners: told.map(|told| listeners(&told.result)).transpose()?,
            ceiling: ceiling(part, base)?,
            ledger_key: part.ledger_key.as_deref().map(key).transpose()?,
            admin,
            data,
        })))
    }

    /// What it says of its listeners, if some of them are looked at.
    pub(in crate::audit) fn listeners(&self) -> Option<&HubListeners> {
        self.listeners.as_ref()
    }

    /// What it says that clients are to trust.
    pub(in crate::audit) fn anchors(&self) -> Vec<CertificateDer<'static>> {
        let pem = self.listeners.as_ref().map(|listeners| listeners.anchors_pem.as_bytes()).unwrap_or_default();
        certificates_from_pem("the hub's anchors", pem).unwrap_or_default()
    }

    /// The records that the hub keeps: those that are approved, overdue ones too.
    pub(in crate::audit) fn records(&self) -> Result<Vec<Attestation>, Failure> {
        let told = self.admin.request(AdminRequest::AttestExport)?;
        serde_json::from_value(told.result["records"].clone())
            .map_err(|error| Failure::Unreachable(format!("the hub's records cannot be read: {error}")))
    }

    /// What it says of itself, as kind and data.
    pub(super) async fn facts(self: &Arc<Self>, about: HubSubject) -> Result<Value, String> {
        self.ask(AdminRequest::AuditFacts { about }).await
    }

    /// Quarantines a device and releases it.
    pub(super) async fn rehearse(self: &Arc<Self>, device: &str) -> Result<Value, String> {
        let name: IdentityName = device.parse().map_err(|error| format!("{device}: {error}"))?;
        self.ask(AdminRequest::QuarantineRehearse { name }).await
    }

    /// Has it test its detectors and alerts, and waits until all are told or the time is over.
    pub(super) async fn self_test(self: &Arc<Self>) -> Result<(), String> {
        let hub = Arc::clone(self);
        let work = move || {
            let told = hub.admin.live(&AdminRequest::Canary)?.result;
            let since = UnixMillis(told["since_ms"].as_u64().unwrap_or_default());
            let started = Instant::now();
            while told["reach_somebody"] == true && started.elapsed() < SELF_TEST_WAIT {
                if hub.admin.live(&AdminRequest::AlertTimings { since })?.result["done"] == true {
                    break;
                }
                thread::sleep(LOOK_EVERY);
            }
            Ok(())
        };
        aside(work).await
    }

    async fn ask(self: &Arc<Self>, request: AdminRequest) -> Result<Value, String> {
        let hub = Arc::clone(self);
        aside(move || Ok(hub.admin.request(request)?.result)).await
    }

    /// What its ledger's files show to whoever may read them; nothing, if this user may not.
    pub(super) async fn ledger(self: &Arc<Self>) -> Result<Option<LedgerProof>, String> {
        let hub = Arc::clone(self);
        let work = move || {
            let is_key_declared = hub.ledger_key.is_some();
            let proof = verified(&hub.data, hub.ledger_key.as_ref())?;
            Ok(proof.map(|found| match found {
                Ok(ledger) => LedgerProof {
                    entries: ledger.size,
                    first_kept: ledger.first_kept,
                    root: ledger.root,
                    damage: None,
                    is_key_declared,
                },
                Err(damage) => LedgerProof { damage: Some(damage), is_key_declared, ..LedgerProof::default() },
            }))
        };
        aside(work).await
    }

    /// Whether its policy stays within the ceiling that was declared, if one was.
    pub(super) async fn within_ceiling(self: &Arc<Self>) -> Result<Option<PolicyCeiling>, String> {
        let Some(ceiling) = &self.ceiling else { return Ok(None) };
        let shown = self.ask(AdminRequest::PolicyShow).await?;
        let candidate =
            policy::compile(policy::shown_sources(&shown)).map_err(|failure| failure.message().to_owned())?;
        let (prover, findings) = match Prover::find().await {
            Some(prover) => (Seen::Known(prover.version().to_owned()), prover.compare(&candidate, &ceiling.set).await),
            None => (Seen::Unknown("there is no cvc5 here".into()), Vec::new()),
        };
        Ok(Some(PolicyCeiling {
            policy_sha256: cell(&shown["sha256"]),
            ceiling_sha256: ceiling.sha256.clone(),
            prover,
            findings: findings.into_iter().map(finding).collect(),
        }))
    }
}

fn finding(found: Finding) -> CeilingFinding {
    let answer = match found.answer {
        Answer::Within => Seen::Known(CeilingAnswer::Within),
        Answer::Beyond(example) => Seen::Known(CeilingAnswer::Beyond(example)),
        Answer::Unknown(why) => Seen::Unknown(why),
    };
    CeilingFinding { action: found.action, answer }
}

fn ceiling(part: &HubPart, base: &Path) -> Result<Option<Ceiling>, Failure> {
    if part.ceiling.is_empty() {
        return Ok(None);
    }
    let paths: Vec<PathBuf> = part.ceiling.iter().map(|path| base.join(path)).collect();
    let sources = policy::read_all(&paths)?;
    let texts: Vec<&str> = sources.iter().map(|source| source.text.as_str()).collect();
    let sha256 = Sha256::of(texts.concat().as_bytes()).to_string();
    Ok(Some(Ceiling { set: policy::compile(sources)?, sha256 }))
}

fn key(text: &str) -> Result<VerifierKey, Failure> {
    text.trim().parse().map_err(|error| Failure::Usage(format!("hub.ledger_key: {error}")))
}

/// Work that waits, where nobody else waits for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, String> {
    spawn_blocking(work).await.map_err(|error| error.to_string())?.map_err(|failure| failure.message().to_owned())
}
