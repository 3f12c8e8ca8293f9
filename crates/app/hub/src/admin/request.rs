//! Every request that an operator can make, what it needs of a role, and which need a second person.

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_assurance::evidence::hub::HubSubject;
use portreeve_config::Role;
use portreeve_policy::PolicySource;
use portreeve_respond::Sha256;
use portreeve_types::{IdentityName, Kind, LifecycleState, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    Fields, GroupSettings, IssuingCa, RecordDraft, RecordFilter,
    inventory::{ListFile, Page},
    ledger::Erasure,
    sbom::Release,
};

/// A request. The wire form is this, as JSON, tagged by `do`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AdminRequest {
    /// Ready? What listens, how full are the limits.
    Status,
    /// Registers an identity; with `bundle` also makes a key and certificate for it.
    DeviceAdd {
        /// Its name.
        name: IdentityName,
        /// What it is.
        kind: Kind,
        /// What is known of it.
        #[serde(default)]
        fields: Fields,
        /// Whether to make a bundle.
        #[serde(default)]
        bundle: bool,
        /// Days the bundle's certificate is valid; the default and the cap are 365.
        #[serde(default)]
        days: Option<u32>,
    },
    /// Makes a one-time enrolment code.
    DeviceCode {
        /// For whom.
        name: IdentityName,
        /// Seconds it is valid; without it `enrolment.code_valid_s`.
        #[serde(default)]
        valid_s: Option<u64>,
    },
    /// Changes descriptive fields.
    DeviceEdit {
        /// Whose.
        name: IdentityName,
        /// The new values.
        fields: Fields,
    },
    /// Identities, by name, a page at a time.
    DeviceList {
        /// Which, and behind whom.
        #[serde(default)]
        page: Page,
    },
    /// The same, as they are written to files.
    DeviceExport {
        /// Which, and behind whom.
        #[serde(default)]
        page: Page,
    },
    /// Registers and edits what a file says, all of it or nothing.
    DeviceImport {
        /// The file.
        file: ListFile,
        /// Whether it may change those that are registered already.
        #[serde(default)]
        update: bool,
        /// Only says what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// One identity with its certificates and sessions.
    DeviceShow {
        /// Whose.
        name: IdentityName,
    },
    /// What changed of an identity, when, by whom and why.
    DeviceHistory {
        /// Whose.
        name: IdentityName,
    },
    /// Moves an identity along its life.
    DeviceState {
        /// Whose.
        name: IdentityName,
        /// The new state.
        to: LifecycleState,
        /// Why.
        #[serde(default)]
        reason: String,
        /// Only says what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// Confines a device and has it told to wipe itself.
    DeviceWipe {
        /// Which.
        name: IdentityName,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// States what became of a retired device; a second person has to state the same.
    DeviceDispose {
        /// Which.
        name: IdentityName,
        /// What became of it.
        statement: String,
    },
    /// Attaches an SBOM to a firmware version, in place of the one before.
    SbomAdd {
        /// To which.
        release: Release,
        /// CycloneDX in JSON, kept byte for byte.
        text: String,
        /// Only checks it.
        #[serde(default)]
        dry_run: bool,
    },
    /// All SBOMs.
    SbomList,
    /// One SBOM with its components.
    SbomShow {
        /// Of which firmware version.
        release: Release,
    },
    /// One SBOM as it was attached.
    SbomExport {
        /// Of which firmware version.
        release: Release,
    },
    /// Removes an SBOM.
    SbomRemove {
        /// Of which firmware version.
        release: Release,
        /// Only says what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// Which firmware holds a component, and which devices run it.
    SbomFind {
        /// A name, with or without a version, or a package URL.
        query: String,
    },
    /// By which rules certificates are issued.
    EnrolmentRules,
    /// All enrolment groups.
    EnrolmentGroups,
    /// Trusts a maker to vouch for its devices.
    EnrolmentGroupAdd {
        /// The group.
        settings: Box<GroupSettings>,
    },
    /// Replaces what a maker has revoked.
    EnrolmentGroupCrls {
        /// Which group.
        name: IdentityName,
        /// The lists, PEM.
        crls_pem: String,
    },
    /// Takes a newer edition of a group's allow-list.
    EnrolmentGroupList {
        /// Which group.
        name: IdentityName,
        /// The list, a JWS.
        document: String,
    },
    /// Trusts a maker no more; the devices that it brought stay.
    EnrolmentGroupRemove {
        /// Which group.
        name: IdentityName,
    },
    /// What waits for a second person.
    ApprovalList,
    /// Consents to what waits, or refuses it.
    ApprovalAnswer {
        /// Which.
        number: u64,
        /// Whether it may be.
        granted: bool,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Compiles policies without applying them.
    PolicyCheck {
        /// File names and texts.
        sources: Vec<Source>,
    },
    /// Replaces the applied policies.
    PolicyApply {
        /// File names and texts; none restores the built-in policy alone.
        sources: Vec<Source>,
        /// Only says what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// The policy in force.
    PolicyShow,
    /// Runs a file of expected decisions.
    PolicyTest {
        /// Name of the test file.
        file: String,
        /// Its text.
        tests: String,
        /// Policies to test instead of the applied ones.
        #[serde(default)]
        sources: Option<Vec<Source>>,
    },
    /// Why a decision falls as it does.
    PolicyExplain {
        /// Who.
        identity: IdentityName,
        /// `connect`, `publish`, `subscribe` or `receive`.
        action: String,
        /// Topic or filter.
        #[serde(default)]
        topic: String,
    },
    /// Whether detection learns, what it follows, and what is open.
    DetectStatus,
    /// What was found, the newest first.
    FindingList {
        /// Only what is not over.
        #[serde(default)]
        open: bool,
        /// How many.
        count: usize,
    },
    /// One finding and the numbers behind it.
    FindingShow {
        /// Its identifier.
        id: String,
    },
    /// Takes other thresholds, lists and switches of detection.
    DetectApply {
        /// Name of the file.
        file: String,
        /// Its text, TOML.
        text: String,
        /// Only checks it.
        #[serde(default)]
        dry_run: bool,
    },
    /// Ends learning: what was learnt is what is usual.
    DetectFreeze,
    /// Learns again, on top of what was learnt.
    DetectThaw,
    /// Forgets what was learnt of an identity, and learns it anew.
    DetectRelearn {
        /// Which.
        name: IdentityName,
    },
    /// Injects what every detector must find, marked, and says whether it was found; a test goes through every channel.
    Canary,
    /// Takes other rules of what is done upon findings.
    ResponseApply {
        /// Name of the file.
        file: String,
        /// Its text, TOML; an empty one has no rules.
        text: String,
        /// Only checks it.
        #[serde(default)]
        dry_run: bool,
    },
    /// The rules in force, and how much of the brake is used.
    ResponseShow,
    /// What stands by rules.
    ResponseList,
    /// Ends what stands by a rule before its time.
    ResponseLift {
        /// Its number.
        id: u64,
        /// Why.
        reason: String,
    },
    /// Cases, the newest first.
    CaseList {
        /// Also those that are closed.
        #[serde(default)]
        closed: bool,
    },
    /// Reads a case, which its custody log tells.
    CaseShow {
        /// Which.
        number: u64,
    },
    /// Writes a note into a case.
    CaseNote {
        /// Which.
        number: u64,
        /// The note.
        text: String,
    },
    /// Takes a case on.
    CaseAcknowledge {
        /// Which.
        number: u64,
    },
    /// Closes a case.
    CaseClose {
        /// Which.
        number: u64,
        /// Why.
        reason: String,
    },
    /// Opens a closed case again.
    CaseReopen {
        /// Which.
        number: u64,
        /// Why.
        reason: String,
    },
    /// Notes that evidence of a case was given to somebody.
    CaseHandOver {
        /// Which.
        number: u64,
        /// To whom.
        to: String,
        /// Of an export's manifest; without it, of the case as it is.
        #[serde(default)]
        sha256: Option<Sha256>,
    },
    /// Takes a case out, with its entries of the ledger.
    CaseExport {
        /// Which.
        number: u64,
        /// Why.
        reason: String,
    },
    /// Puts a record that somebody vouches with before whoever may approve it.
    AttestAdd {
        /// What is vouched for.
        draft: Box<RecordDraft>,
    },
    /// Records by which people vouch, by number.
    AttestList {
        /// Which.
        #[serde(default)]
        filter: RecordFilter,
    },
    /// One record with its answers.
    AttestShow {
        /// Which.
        number: u64,
    },
    /// Approves somebody else's record, or rejects it.
    AttestReview {
        /// Which.
        number: u64,
        /// Whether it is to count.
        approve: bool,
        /// What the reviewer says of it; may be empty.
        #[serde(default)]
        remark: String,
    },
    /// Withdraws a record at once.
    AttestExpire {
        /// Which.
        number: u64,
        /// Why.
        reason: String,
        /// Only says what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// What counts or is overdue, as facts for an audit: `taken_ms`, and `records`, an array of
    /// [`Attestation`](portreeve_assurance::Attestation).
    AttestExport,
    /// Takes other channels, contacts and routes of alerts.
    AlertApply {
        /// Name of the file.
        file: String,
        /// Its text, TOML.
        text: String,
        /// Only checks it.
        #[serde(default)]
        dry_run: bool,
    },
    /// The settings of alerts that are applied.
    AlertShow,
    /// Open alerts.
    AlertList {
        /// Also those that somebody has taken on, and tests.
        #[serde(default)]
        all: bool,
    },
    /// Takes an alert on.
    AlertAck {
        /// Its number.
        id: u64,
    },
    /// Sends a test through every channel.
    AlertTest,
    /// How the deliveries of the newest test stand.
    AlertTimings {
        /// Of those since then, Unix time in milliseconds.
        since: UnixMillis,
    },
    /// Deliveries that were given up.
    AlertDead,
    /// Tries one of these again.
    AlertResend {
        /// Its number.
        id: u64,
    },
    /// Channels of alerts, and how they do.
    AlertChannels,
    /// The CAs, and where their keys are.
    CaShow,
    /// Has issuing CAs followed by others now.
    CaRotate {
        /// Which; without it, both.
        #[serde(default)]
        ca: Option<IssuingCa>,
        /// Only says what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// Makes another root and announces it to devices.
    RootRotate {
        /// Uses the one that is announced, without waiting for its time.
        #[serde(default)]
        at_once: bool,
        /// Only says what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// Has another key sign what devices are to trust.
    TrustRotate {
        /// Only says what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// Withdraws an issuing CA.
    CaRevoke {
        /// As `ca show` calls it.
        name: String,
        /// For the log.
        reason: String,
        /// Whether its devices have to enrol anew; else those whose keys are registered may renew.
        #[serde(default)]
        enrol_anew: bool,
        /// Only says what would happen.
        #[serde(default)]
        dry_run: bool,
    },
    /// Makes key and request for an issuing CA that is to follow.
    CaRequest {
        /// Which.
        ca: IssuingCa,
    },
    /// Takes what the root has signed upon such a request.
    CaImport {
        /// The certificate, PEM.
        certificate_pem: String,
        /// Only checks it.
        #[serde(default)]
        dry_run: bool,
    },
    /// Reads configuration, certificates and policy again.
    Reload,
    /// The key that the audit ledger is signed with.
    LedgerKey,
    /// Entries of the audit ledger with what proves them, as far as whole files go.
    LedgerRead {
        /// A number of the first file; without it, the last entries.
        #[serde(default)]
        from: Option<u64>,
        /// Most files of 256 entries.
        bundles: u64,
    },
    /// Checks a part of the audit ledger.
    LedgerCheck {
        /// The entry to begin with.
        from: u64,
    },
    /// What the hub says of itself to an auditor, as evidence of one kind.
    AuditFacts {
        /// Of what.
        about: HubSubject,
    },
    /// Quarantines a test device, measures what that does, and releases it.
    QuarantineRehearse {
        /// Which.
        name: IdentityName,
    },
    /// Deletes what opens personal values of the audit ledger.
    LedgerErase {
        /// Which.
        what: Erasure,
        /// Only says how many.
        #[serde(default)]
        dry_run: bool,
    },
}

/// A policy file, by value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub file: String,
    /// Its text.
    pub text: String,
}

impl From<Source> for PolicySource {
    fn from(source: Source) -> Self {
        Self { file: source.file, text: source.text }
    }
}

/// What a request needs of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Looks, changes nothing.
    Read,
    /// Runs the fleet: registers, disables, quarantines.
    Operate,
    /// Handles keys and certificates: issues, revokes.
    Keys,
    /// Decides who may do what.
    Govern,
    /// Reads what everybody did.
    Audit,
    /// Reads what was found against somebody, and what is done about it.
    Review,
    /// Judges what others vouch for.
    Approve,
}

/// Requests that share threads. Those of one lane never wait for those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// It may wait for a private key, which a token or TPM makes available when it likes.
    Keys,
    /// It ends somebody's access, or moves an identity along its life.
    State,
    /// It looks through much, at the word of whoever may look.
    Search,
    /// All else.
    Other,
}

impl AdminRequest {
    pub(super) fn need(&self) -> Need {
        match self {
            Self::DeviceList { .. } | Self::DeviceExport { .. } => Need::Read,
            Self::DeviceImport { .. } => Need::Operate,
            Self::Status | Self::DeviceShow { .. } => Need::Read,
            Self::DeviceHistory { .. } | Self::PolicyCheck { .. } => Need::Read,
            Self::EnrolmentRules | Self::EnrolmentGroups | Self::ApprovalList => Need::Read,
            Self::EnrolmentGroupAdd { .. } | Self::EnrolmentGroupRemove { .. } => Need::Keys,
            Self::EnrolmentGroupCrls { .. } | Self::EnrolmentGroupList { .. } => Need::Keys,
            // What waits knows what it needs beyond that.
            Self::ApprovalAnswer { .. } | Self::DeviceWipe { .. } | Self::DeviceDispose { .. } => Need::Operate,
            Self::SbomAdd { .. } | Self::SbomRemove { .. } => Need::Operate,
            Self::SbomList | Self::SbomShow { .. } | Self::SbomExport { .. } | Self::SbomFind { .. } => Need::Read,
            Self::DetectStatus | Self::FindingList { .. } | Self::FindingShow { .. } => Need::Read,
            Self::Canary | Self::AlertTest | Self::AlertAck { .. } | Self::AlertResend { .. } => Need::Operate,
            Self::AlertList { .. } | Self::AlertTimings { .. } | Self::AlertDead | Self::AlertChannels => Need::Read,
            // Who is told decides what is known; the address of a webhook may be a secret.
            Self::AlertApply { .. } | Self::AlertShow => Need::Govern,
            // Who could blind the detectors decides who may do what.
            Self::DetectApply { .. } | Self::DetectFreeze | Self::DetectThaw => Need::Govern,
            Self::DetectRelearn { .. } => Need::Govern,
            // Who could have rules cut devices off, or have none do it, decides who may do what.
            Self::ResponseApply { .. } => Need::Govern,
            Self::ResponseShow | Self::ResponseList | Self::CaseList { .. } | Self::CaseShow { .. } => Need::Review,
            Self::ResponseLift { .. } | Self::CaseNote { .. } | Self::CaseAcknowledge { .. } => Need::Operate,
            Self::CaseClose { .. } | Self::CaseReopen { .. } => Need::Operate,
            Self::CaseHandOver { .. } | Self::CaseExport { .. } => Need::Operate,
            Self::AttestAdd { .. } | Self::AttestExpire { .. } => Need::Operate,
            Self::AttestReview { .. } => Need::Approve,
            Self::AttestList { .. } | Self::AttestShow { .. } | Self::AttestExport => Need::Read,
            Self::CaShow => Need::Read,
            Self::CaRequest { .. } | Self::CaImport { .. } | Self::CaRotate { .. } => Need::Keys,
            Self::RootRotate { .. } | Self::TrustRotate { .. } | Self::CaRevoke { .. } => Need::Keys,
            Self::PolicyShow | Self::PolicyTest { .. } | Self::PolicyExplain { .. } => Need::Read,
            Self::DeviceAdd { bundle: true, .. } | Self::DeviceCode { .. } => Need::Keys,
            Self::DeviceState { to: LifecycleState::Revoked | LifecycleState::Retired, .. } => Need::Keys,
            Self::DeviceAdd { .. } | Self::DeviceEdit { .. } | Self::DeviceState { .. } => Need::Operate,
            Self::PolicyApply { .. } | Self::Reload => Need::Govern,
            Self::LedgerKey | Self::LedgerCheck { .. } => Need::Read,
            Self::LedgerRead { .. } | Self::AuditFacts { .. } => Need::Audit,
            Self::QuarantineRehearse { .. } => Need::Operate,
            Self::LedgerErase { .. } => Need::Govern,
        }
    }
}

impl AdminRequest {
    /// Which threads do it.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self {
            Self::DeviceAdd { bundle: true, .. }
            | Self::CaShow
            | Self::AuditFacts { about: HubSubject::Pki }
            | Self::CaRotate { .. }
            | Self::RootRotate { .. }
            | Self::TrustRotate { .. }
            | Self::CaRequest { .. }
            | Self::CaImport { .. }
            | Self::ApprovalAnswer { .. }
            | Self::Reload => Lane::Keys,
            // The withdrawal of a CA takes effect before it asks for a key.
            Self::CaRevoke { .. }
            | Self::DeviceState { .. }
            | Self::DeviceWipe { .. }
            | Self::QuarantineRehearse { .. }
            | Self::EnrolmentGroupCrls { .. }
            | Self::EnrolmentGroupRemove { .. } => Lane::State,
            Self::DeviceList { .. }
            | Self::DeviceExport { .. }
            | Self::SbomShow { .. }
            | Self::SbomExport { .. }
            | Self::SbomFind { .. }
            | Self::AuditFacts { .. }
            | Self::PolicyCheck { .. }
            | Self::PolicyTest { .. } => Lane::Search,
            _ => Lane::Other,
        }
    }

    /// Whether it changes which CA issues certificates, or extends to whom and on whose word: one person alone may not do that
    /// where `admin.two_persons` says so (CSA-SCN-08, CSA-CRD-03). To withdraw trust must not wait for anybody.
    pub(super) fn is_of_ca(&self) -> bool {
        matches!(
            self,
            Self::EnrolmentGroupAdd { .. }
                | Self::CaRotate { dry_run: false, .. }
                | Self::RootRotate { dry_run: false, .. }
                | Self::TrustRotate { dry_run: false }
                | Self::CaImport { dry_run: false, .. }
        )
    }

    /// Whether it only says what would happen.
    fn is_dry_run(&self) -> bool {
        matches!(
            self,
            Self::DeviceState { dry_run: true, .. }
                | Self::DeviceImport { dry_run: true, .. }
                | Self::SbomAdd { dry_run: true, .. }
                | Self::SbomRemove { dry_run: true, .. }
                | Self::PolicyApply { dry_run: true, .. }
                | Self::DetectApply { dry_run: true, .. }
                | Self::ResponseApply { dry_run: true, .. }
                | Self::AlertApply { dry_run: true, .. }
                | Self::AttestExpire { dry_run: true, .. }
                | Self::CaRotate { dry_run: true, .. }
                | Self::RootRotate { dry_run: true, .. }
                | Self::TrustRotate { dry_run: true }
                | Self::CaRevoke { dry_run: true, .. }
                | Self::CaImport { dry_run: true, .. }
                | Self::LedgerErase { dry_run: true, .. }
        )
    }

    /// The identity that it is about.
    fn identity(&self) -> Option<&IdentityName> {
        match self {
            Self::DeviceAdd { name, .. }
            | Self::DeviceCode { name, .. }
            | Self::DeviceEdit { name, .. }
            | Self::DeviceShow { name }
            | Self::DeviceHistory { name }
            | Self::DeviceState { name, .. }
            | Self::DeviceWipe { name, .. }
            | Self::DeviceDispose { name, .. }
            | Self::QuarantineRehearse { name }
            | Self::DetectRelearn { name } => Some(name),
            _ => None,
        }
    }

    /// What the ledger says of it.
    pub(crate) fn note(&self) -> RequestNote {
        // A struct of plain values always has a JSON form.
        let json = serde_json::to_vec(self).unwrap_or_default();
        let reason = match self {
            Self::DeviceState { reason, .. }
            | Self::DeviceWipe { reason, .. }
            | Self::ApprovalAnswer { reason, .. }
            | Self::ResponseLift { reason, .. }
            | Self::CaseClose { reason, .. }
            | Self::CaseReopen { reason, .. }
            | Self::CaseExport { reason, .. }
            | Self::AttestExpire { reason, .. }
            | Self::CaRevoke { reason, .. } => reason.clone(),
            Self::AttestReview { remark, .. } => remark.clone(),
            Self::DeviceDispose { statement, .. } => statement.clone(),
            _ => String::new(),
        };
        let subject = match self {
            Self::DeviceState { to, .. } => to.as_str().to_owned(),
            Self::ApprovalAnswer { number, granted, .. } => {
                format!("{number} {}", if *granted { "granted" } else { "refused" })
            }
            Self::CaRevoke { name, .. } => name.clone(),
            Self::ResponseLift { id, .. } => format!("measure {id}"),
            Self::CaseNote { number, .. }
            | Self::CaseAcknowledge { number }
            | Self::CaseClose { number, .. }
            | Self::CaseReopen { number, .. }
            | Self::CaseHandOver { number, .. }
            | Self::CaseExport { number, .. } => format!("case {number}"),
            Self::AttestAdd { draft } => {
                let RecordDraft { requirement, check, document, .. } = &**draft;
                format!("{check} of {requirement}, document {}", document.sha256)
            }
            Self::AttestReview { number, approve, .. } => {
                format!("record {number} {}", if *approve { "approved" } else { "rejected" })
            }
            Self::AttestExpire { number, .. } => format!("record {number}"),
            Self::AuditFacts { about } => about.name().to_owned(),
            Self::AlertAck { id } | Self::AlertResend { id } => id.to_string(),
            Self::EnrolmentGroupCrls { name, .. }
            | Self::EnrolmentGroupList { name, .. }
            | Self::EnrolmentGroupRemove { name } => name.to_string(),
            Self::SbomAdd { release, .. } | Self::SbomRemove { release, .. } => release.to_string(),
            Self::LedgerErase { what: Erasure::Before(at), .. } => format!("before {}", at.0),
            _ => self.subject(),
        };
        // Of a short value that is to be erased, a hash would tell whoever guesses it.
        let hashed = if matches!(self, Self::LedgerErase { .. }) { None } else { Some(digest(&SHA256, &json)) };
        RequestNote {
            request: tag_of(&json),
            identity: self.identity().cloned(),
            subject,
            reason,
            sha256: hashed.map(hex::encode).unwrap_or_default(),
            changes: !matches!(self.need(), Need::Read | Need::Audit | Need::Review) && !self.is_dry_run(),
        }
    }

    /// What it is about, for whoever has to consent.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::EnrolmentGroupAdd { settings } => settings.name.to_string(),
            Self::DeviceDispose { name, .. } | Self::DeviceState { name, .. } => name.to_string(),
            Self::CaRotate { ca, .. } => ca.map_or("devices, hub", IssuingCa::as_str).to_owned(),
            Self::RootRotate { .. } => "root".into(),
            Self::TrustRotate { .. } => "trust".into(),
            _ => String::new(),
        }
    }

    /// What it does, for whoever has to consent.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::EnrolmentGroupAdd { settings } => format!("add an enrolment group: {settings}"),
            Self::DeviceDispose { statement, .. } => format!("disposal: {statement}"),
            Self::DeviceState { to, reason, .. } => format!("move it to {}: {reason}", to.as_str()),
            Self::CaRotate { .. } => "have issuing CAs followed by others".into(),
            Self::RootRotate { at_once: false, .. } => "make another root, and announce it to devices".into(),
            Self::RootRotate { at_once: true, .. } => "use the announced root now".into(),
            Self::TrustRotate { .. } => "have another key sign what devices are to trust".into(),
            Self::CaImport { certificate_pem, .. } => {
                let certificate = pem::parse(certificate_pem).map(pem::Pem::into_contents).unwrap_or_default();
                let hash = hex::encode(digest(&SHA256, &certificate));
                format!("take what a root has signed, or another root, into use: SHA-256 {hash}")
            }
            _ => String::new(),
        }
    }
}

/// What the ledger says of a request.
#[derive(Debug)]
pub(crate) struct RequestNote {
    /// The word of its wire form.
    pub(crate) request: String,
    pub(crate) identity: Option<IdentityName>,
    pub(crate) subject: String,
    pub(crate) reason: String,
    /// Of its wire form.
    pub(crate) sha256: String,
    /// Whether it changes anything.
    pub(crate) changes: bool,
}

/// The word that a request's JSON form begins with.
fn tag_of(json: &[u8]) -> String {
    let word = json.strip_prefix(br#"{"do":""#).unwrap_or_default().split(|byte| *byte == b'"').next();
    String::from_utf8_lossy(word.unwrap_or_default()).into_owned()
}

/// Role × need (CSA-SCN-07, CSA-SCN-08). The default row is all ✘. Where keys are kept apart, administrators have nothing to do
/// with them (CSA-CRD-03). What everybody did is for auditors, who do nothing themselves (CSA-SCN-09) but judge what others vouch for.
pub(super) fn permits(role: Role, need: Need, keys_apart: bool) -> bool {
    match role {
        _ if need == Need::Audit => role == Role::Auditor,
        Role::Administrator => need != Need::Keys || !keys_apart,
        Role::Operator => matches!(need, Need::Read | Need::Operate | Need::Review | Need::Approve),
        Role::KeyManager => matches!(need, Need::Read | Need::Operate | Need::Keys | Need::Review | Need::Approve),
        Role::Auditor => matches!(need, Need::Read | Need::Review | Need::Approve),
        Role::ReleaseSigner | Role::Viewer => need == Need::Read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CSA-SCN-07, CSA-SCN-08: the whole table, so that a change of it shows in a diff.
    #[test]
    fn role_by_need() {
        let row = |role: Role, keys_apart| {
            let cells = [Need::Read, Need::Operate, Need::Keys, Need::Govern, Need::Audit, Need::Review, Need::Approve];
            let cells = cells.map(|need| if permits(role, need, keys_apart) { '✔' } else { '✘' });
            format!("{role} {}", cells.iter().collect::<String>())
        };
        let table = |keys_apart| Role::ALL.iter().map(|&role| row(role, keys_apart)).collect::<Vec<_>>();
        let expected = [
            "administrator ✔✔✔✔✘✔✔",
            "operator ✔✔✘✘✘✔✔",
            "key-manager ✔✔✔✘✘✔✔",
            "release-signer ✔✘✘✘✘✘✘",
            "auditor ✔✘✘✘✔✔✔",
            "viewer ✔✘✘✘✘✘✘",
        ];
        assert_eq!(table(false), expected);
        // CSA-CRD-03.
        let apart = table(true);
        assert_eq!((apart[0].as_str(), &apart[1..]), ("administrator ✔✔✘✔✘✔✔", &expected.map(String::from)[1..]));
    }

    /// CSA-CLS-13: what changes something is told from what does not, and every request has its name.
    #[test]
    fn the_ledger_knows_what_a_request_is() {
        let note = AdminRequest::Status.note();
        assert!(note.request == "status" && !note.changes);
        let revoke = |dry_run| AdminRequest::DeviceState {
            name: "lamp-1".parse().unwrap(),
            to: LifecycleState::Revoked,
            reason: "stolen".into(),
            dry_run,
        };
        let note = revoke(false).note();
        assert_eq!(
            (note.request.as_str(), note.subject.as_str(), note.reason.as_str()),
            ("device-state", "revoked", "stolen")
        );
        assert!(note.changes && note.identity.is_some() && note.sha256.len() == 64);
        assert!(!revoke(true).note().changes);
        let erase = |dry_run| AdminRequest::LedgerErase { what: Erasure::Value("alice".into()), dry_run };
        let note = erase(false).note();
        assert!(note.changes && note.sha256.is_empty() && note.subject.is_empty(), "nothing of what is erased");
        assert!(!erase(true).note().changes && !AdminRequest::LedgerRead { from: None, bundles: 1 }.note().changes);
        assert_ne!(note.sha256, revoke(true).note().sha256);
    }

    /// CSA-CRD-03: what extends trust is for two, what ends it for whoever sees the need, and a look is for anybody.
    #[test]
    fn trust_is_extended_by_two_and_withdrawn_by_one() {
        let rotate = |dry_run| AdminRequest::CaRotate { ca: None, dry_run };
        let root = |dry_run| AdminRequest::RootRotate { at_once: true, dry_run };
        let trust = |dry_run| AdminRequest::TrustRotate { dry_run };
        let import = |dry_run| AdminRequest::CaImport { certificate_pem: String::new(), dry_run };
        for request in [rotate, root, trust, import] as [fn(bool) -> AdminRequest; 4] {
            assert!(request(false).is_of_ca() && !request(true).is_of_ca(), "{:?}", request(false));
        }
        let revoke = AdminRequest::CaRevoke {
            name: "devices".into(),
            reason: "stolen".into(),
            enrol_anew: true,
            dry_run: false,
        };
        assert!(!revoke.is_of_ca());
        assert_eq!(revoke.lane(), Lane::State);
        assert!(matches!(revoke.need(), Need::Keys));
    }
}
