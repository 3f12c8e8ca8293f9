//! The kinds of events: one table, which the reference page, logs, metrics, the ledger and detectors read.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Normal operation worth recording.
    Info,
    /// Somebody was refused or cut off, or should be looked at.
    Warning,
    /// The hub cannot do its work as it should.
    Error,
}

impl Severity {
    /// The word in entries and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Whose doing an event is, or whom it befalls (CSA-MSU-05).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// Who administers the hub.
    Operator,
    /// A registered device, gateway or application.
    Identity,
    /// Somebody of whom no more than the address is known.
    Stranger,
    /// The hub itself.
    Hub,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::Identity => "identity",
            Self::Stranger => "stranger",
            Self::Hub => "hub",
        })
    }
}

/// How an event comes into the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// Each is an entry.
    Each,
    /// Peers can cause as many as they like: the first of a kind and subject is an entry at once, and its repetitions are one
    /// entry with their number.
    Repeats,
}

macro_rules! kinds {
    ($($name:ident = $word:literal, $severity:ident, $initiator:ident => $receiver:ident, $recording:ident,
        [$($requirement:literal),*], [$($data:literal),*], $doc:literal;)+) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Kind { $(#[doc = $doc] $name),+ }

        impl Kind {
            /// Every kind, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name in logs, metrics and entries.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }

            /// How grave it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),+ }
            }

            /// Whose doing it is.
            #[must_use]
            pub const fn initiator(self) -> Party {
                match self { $(Self::$name => Party::$initiator),+ }
            }

            /// Whom it befalls.
            #[must_use]
            pub const fn receiver(self) -> Party {
                match self { $(Self::$name => Party::$receiver),+ }
            }

            /// How it comes into the ledger.
            #[must_use]
            pub const fn recording(self) -> Recording {
                match self { $(Self::$name => Recording::$recording),+ }
            }

            /// Rows of the catalogue that it is recorded for.
            #[must_use]
            pub const fn requirements(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($requirement),*]),+ }
            }

            /// The names of what it may carry beyond who, where from and why.
            #[must_use]
            pub const fn data(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($data),*]),+ }
            }

            /// One sentence for the reference.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => $doc),+ }
            }
        }
    };
}

kinds! {
    HubStarted = "hub_started", Info, Hub => Hub, Each, [], [],
        "The hub serves.";
    HubStopping = "hub_stopping", Info, Hub => Hub, Each, [], [],
        "The hub drains its clients and stops.";
    Reloaded = "reloaded", Info, Operator => Hub, Each, ["CSA-SCN-05"], ["after_sha256"],
        "Configuration, certificates and policy were read again.";
    ReloadFailed = "reload_failed", Error, Operator => Hub, Each, ["CSA-SCN-05"], [],
        "A reload was refused; what ran before still runs.";
    HandshakeRefused = "handshake_refused", Warning, Stranger => Hub, Repeats, ["CSA-CLS-08", "CSA-MSU-04", "IOTSF-2.4.7.5"], [],
        "A TLS handshake failed: no certificate, a foreign, expired, revoked or unknown one.";
    HandshakeTimeout = "handshake_timeout", Warning, Stranger => Hub, Repeats, ["CSA-COM-04"], [],
        "A peer did not finish its handshake in time.";
    AdmissionRefused = "admission_refused", Warning, Stranger => Hub, Repeats, ["CSA-COM-04"], [],
        "A connection was dropped by a rate or a cap before its handshake.";
    IdentityRefused = "identity_refused", Warning, Identity => Hub, Repeats, ["CSA-CLS-08", "CSA-MSU-04", "IIITA-N4"], [],
        "A certificate verified, but the registry does not admit its identity.";
    ConnectRefused = "connect_refused", Warning, Identity => Hub, Repeats, ["CSA-CLS-08", "CSA-MSU-04"], [],
        "CONNECT was refused: client id, policy, limit or a feature not offered.";
    ConnectDeferred = "connect_deferred", Info, Identity => Hub, Repeats, [], [],
        "A client was told to come again later: too many connect at once.";
    SessionStarted = "session_started", Info, Identity => Hub, Repeats, ["CSA-MSU-05"], [],
        "A client connected.";
    SessionEnded = "session_ended", Info, Identity => Hub, Repeats, ["CSA-MSU-05"], [],
        "A client's connection ended.";
    SessionTakenOver = "session_taken_over", Info, Identity => Hub, Repeats, ["CSA-MSU-05"], [],
        "A newer connection with the same identity and client id took the session.";
    SessionCut = "session_cut", Warning, Hub => Identity, Each, ["CSA-MSU-01"], [],
        "The hub ended a session: revoked, disabled, expired or no longer allowed.";
    ProtocolViolation = "protocol_violation", Warning, Identity => Hub, Repeats, ["CSA-MSU-02"], [],
        "A packet broke the specification; its connection was closed.";
    PublishDenied = "publish_denied", Warning, Identity => Hub, Repeats, ["CSA-MSU-02"], [],
        "Policy refused a publication.";
    SubscribeDenied = "subscribe_denied", Warning, Identity => Hub, Repeats, ["CSA-MSU-02"], [],
        "Policy refused a subscription.";
    WillDenied = "will_denied", Warning, Identity => Hub, Repeats, ["CSA-MSU-02"], [],
        "Policy refused a will.";
    SubscriptionWithdrawn = "subscription_withdrawn", Warning, Hub => Identity, Repeats, [], [],
        "A policy or identity change ended a subscription.";
    LimitReached = "limit_reached", Warning, Hub => Hub, Repeats, ["CSA-OPA-04"], [],
        "A bound was reached and its stated decision was taken.";
    RateExceeded = "rate_exceeded", Warning, Identity => Hub, Repeats, ["CSA-OPA-04"], [],
        "A client sent more than its rate.";
    KeepAliveExpired = "keep_alive_expired", Info, Identity => Hub, Repeats, [], [],
        "A client was silent for one and a half keep-alive periods.";
    SlowConsumer = "slow_consumer", Warning, Identity => Hub, Repeats, [], [],
        "A client did not read its socket in time and was disconnected.";
    IdentityChanged = "identity_changed", Info, Operator => Identity, Each, ["CSA-CLS-13", "CSA-SCN-05", "IIITA-N4"], ["change", "after_sha256"],
        "An operator registered or changed an identity.";
    IdentityReported = "identity_reported", Info, Identity => Hub, Repeats, ["CSA-SNT-10"], [],
        "A device says which firmware it runs, or what it is made of.";
    IdentityUnused = "identity_unused", Warning, Hub => Identity, Each, ["IIITA-N8"], [],
        "An identity was not used for long; it is disabled if that goes on.";
    InventoryImported = "inventory_imported", Info, Operator => Hub, Each, ["CSA-CLS-13"], ["file_sha256"],
        "An operator imported a list of identities.";
    IdentityImported = "identity_imported", Info, Operator => Identity, Each, ["CSA-CLS-13"], ["after_sha256"],
        "An import registered or changed an identity.";
    FirmwareOutdated = "firmware_outdated", Warning, Hub => Identity, Repeats, ["CSA-SNT-10"], [],
        "A device runs firmware below its group's minimum, or nobody knows which.";
    HeartbeatMissed = "heartbeat_missed", Warning, Hub => Identity, Repeats, ["CSA-SNT-10"], [],
        "A device was not heard of for longer than its group's heartbeat.";
    CertificateIssued = "certificate_issued", Info, Hub => Identity, Each, ["IIITA-N4"], ["serial"],
        "A certificate was issued.";
    HubCertificateRenewed = "hub_certificate_renewed", Info, Hub => Hub, Each, [], [],
        "The hub's listeners show a new certificate.";
    HubCertificateFailed = "hub_certificate_failed", Error, Hub => Hub, Each, [], [],
        "The hub's certificate could not be renewed; it is tried again.";
    KeysUnresponsive = "keys_unresponsive", Error, Hub => Hub, Each, [], [],
        "The token, TPM or disk that holds the CA's keys has not answered for a minute.";
    CaRotated = "ca_rotated", Info, Operator => Hub, Each, ["CSA-CLS-13"], [],
        "Another issuing CA issues from now on; its predecessor's certificates are good until they end.";
    CaRotationDue = "ca_rotation_due", Warning, Hub => Hub, Each, [], [],
        "An issuing CA is to be followed by another, and somebody has to see to it.";
    CaRotationFailed = "ca_rotation_failed", Error, Hub => Hub, Each, [], [],
        "An issuing CA that is due was not followed by another; it is tried again.";
    CaWithdrawn = "ca_withdrawn", Warning, Operator => Hub, Each, ["CSA-CLS-13"], [],
        "An operator withdrew an issuing CA: its certificates admit nobody any more.";
    RootAnnounced = "root_announced", Warning, Operator => Hub, Each, ["CSA-CLS-13"], [],
        "Another root was announced to devices; it certifies after an overlap.";
    RootListDue = "root_list_due", Warning, Hub => Hub, Each, [], [],
        "The list of what a root has withdrawn is due, and the root's key is needed for it.";
    TrustKeyChanged = "trust_key_changed", Warning, Operator => Hub, Each, ["CSA-CLS-13"], [],
        "Another key signs what devices are to trust.";
    CodeIssued = "code_issued", Info, Operator => Identity, Each, ["CSA-CLS-13"], [],
        "An operator made a one-time enrolment code.";
    EnrolmentGroupChanged = "enrolment_group_changed", Info, Operator => Hub, Each, ["CSA-CLS-13", "CSA-SCN-05"], [],
        "An operator changed who may vouch for devices.";
    ApprovalAsked = "approval_asked", Info, Operator => Hub, Each, ["CSA-CRD-03"], [],
        "Something waits for a second person's consent.";
    ApprovalAnswered = "approval_answered", Info, Operator => Hub, Each, ["CSA-CRD-03"], [],
        "An operator consented to something that waited, or refused it.";
    ReportRefused = "report_refused", Warning, Identity => Hub, Repeats, [], [],
        "A device reported something about itself that cannot be understood.";
    SbomChanged = "sbom_changed", Info, Operator => Hub, Each, ["CSA-ACT-01"], ["sha256"],
        "An operator attached, replaced or removed the SBOM of a firmware version.";
    SbomDiffers = "sbom_differs", Warning, Identity => Hub, Repeats, ["CSA-ACT-01"], [],
        "A device reports libraries that the SBOM of its firmware does not have.";
    EnrolmentRefused = "enrolment_refused", Warning, Stranger => Hub, Repeats, ["CSA-CLS-08"], [],
        "A certificate was asked for without entitlement, or for something that is not certified.";
    CloneSuspected = "clone_suspected", Warning, Identity => Hub, Repeats, [], ["other_source"],
        "A certificate that has been renewed before was used or renewed again: two seem to hold one identity.";
    TwoPlaces = "two_places", Warning, Identity => Hub, Repeats, [], ["other_source"],
        "A device connected while it was connected from another address.";
    KeyReuseRefused = "key_reuse_refused", Warning, Stranger => Hub, Repeats, ["CSA-CLS-08"], [],
        "A certificate was asked for a key that the registry already knows.";
    PolicyApplied = "policy_applied", Info, Operator => Hub, Each, ["CSA-SCN-05"], ["after_sha256"],
        "A policy took effect.";
    AdminDenied = "admin_denied", Warning, Operator => Hub, Repeats, ["CSA-MSU-04", "CSA-CLS-07"], [],
        "A local user asked for what its role does not permit.";
    StoreFull = "store_full", Error, Hub => Hub, Each, [], [],
        "The disk is full: what needs it is refused, the rest goes on.";
    StoreFailed = "store_failed", Error, Hub => Hub, Each, [], [],
        "The store cannot write.";
    StoreRecovered = "store_recovered", Info, Hub => Hub, Each, [], [],
        "The store writes again.";
    AdminRequested = "admin_requested", Info, Operator => Hub, Each, ["CSA-CLS-13", "CSA-SCN-05"], ["request", "subject", "reason", "request_sha256"],
        "An operator asked for a change; it had not begun yet.";
    AdminDone = "admin_done", Info, Operator => Hub, Each, ["CSA-CLS-13"], ["request", "subject", "requested_as"],
        "A change that an operator asked for was made.";
    AdminFailed = "admin_failed", Warning, Operator => Hub, Each, ["CSA-CLS-13"], ["request", "subject", "requested_as"],
        "A change that an operator asked for was not made.";
    AdminRead = "admin_read", Info, Operator => Hub, Repeats, ["CSA-CLS-07"], ["request"],
        "An operator looked at something.";
    LedgerOpened = "ledger_opened", Info, Hub => Hub, Each, ["CSA-SOP-03"], ["entries", "unsealed"],
        "The hub goes on with its ledger.";
    LedgerRead = "ledger_read", Info, Operator => Hub, Each, ["CSA-SCN-09", "CSA-IMT-01"], [],
        "An auditor read the ledger.";
    LedgerTampered = "ledger_tampered", Error, Hub => Hub, Each, ["CSA-SCN-09", "CSA-IMT-01"], [],
        "What the ledger's files hold is not what was signed.";
    LedgerTruncated = "ledger_truncated", Warning, Operator => Hub, Each, ["CSA-IMT-01"], ["first_kept"],
        "Old entries are let go under a signature that keeps their root.";
    LedgerFailed = "ledger_failed", Error, Hub => Hub, Each, ["CSA-IMT-01"], [],
        "The ledger cannot be written or signed: administration is refused, other events are only counted.";
    LedgerRecovered = "ledger_recovered", Info, Hub => Hub, Each, ["CSA-IMT-01"], ["unrecorded", "kinds"],
        "The ledger is written again; so many events were counted meanwhile and have no entry.";
    PersonalDataErased = "personal_data_erased", Info, Operator => Hub, Each, [], ["values"],
        "What opens entries' personal values was deleted.";
    WitnessRefused = "witness_refused", Error, Stranger => Hub, Each, ["CSA-IMT-01"], [],
        "A witness knows another history of this ledger than the hub.";
    WitnessSilent = "witness_silent", Warning, Hub => Hub, Each, ["CSA-IMT-01"], [],
        "No witness has cosigned the ledger for long.";
    WitnessedFork = "witnessed_fork", Error, Stranger => Hub, Repeats, ["CSA-IMT-01"], [],
        "A ledger that this hub is a witness of has signed two heads that exclude each other.";
    SecurityReported = "security_reported", Warning, Identity => Hub, Each, ["CSA-MSU-05", "CSA-SOP-03"], ["reported", "severity", "seq", "epoch", "device_at_ms"],
        "A device or gateway reports a security event of its own.";
    SecurityGap = "security_gap", Warning, Identity => Hub, Repeats, ["CSA-MSU-05", "CSA-SOP-03"], ["expected", "seq"],
        "A device's security events do not follow each other: some are missing.";
    SecurityReplayed = "security_replayed", Warning, Identity => Hub, Repeats, ["CSA-MSU-05", "CSA-SOP-03"], ["expected", "seq"],
        "A device's security event came again, or one from before.";
    FindingOpened = "finding_opened", Warning, Hub => Hub, Each, ["CSA-MSU-02", "CSA-MSU-03", "IIITA-N6"], ["finding", "what", "subject", "numbers", "canary"],
        "A detector found something.";
    FindingClosed = "finding_closed", Info, Hub => Hub, Each, ["CSA-MSU-02"], ["finding", "what", "subject", "count"],
        "What a detector found is over.";
    AlertSent = "alert_sent", Info, Hub => Operator, Each, ["CSA-BCN-01"], ["alert", "channel", "after_ms"],
        "An alert was delivered.";
    AlertFailed = "alert_failed", Error, Hub => Operator, Each, ["CSA-BCN-01"], ["alert", "channel"],
        "An alert could not be delivered over a channel.";
    AlertAcknowledged = "alert_acknowledged", Info, Operator => Hub, Each, ["CSA-BCN-01"], ["alert"],
        "Somebody takes care of an alert.";
    AlertEscalated = "alert_escalated", Warning, Hub => Operator, Each, ["CSA-BCN-01"], ["alert"],
        "Nobody took care of an alert in time; the next is told.";
    ResponseTaken = "response_taken", Warning, Hub => Identity, Each, ["IIITA-N6", "CSA-SNT-03", "CSA-OPA-04"], ["measure", "action", "finding", "rule", "until_ms"],
        "A rule had the hub act upon a finding.";
    ResponseWouldBe = "response_would_be", Info, Hub => Identity, Each, ["IIITA-N6"], ["action", "finding", "rule"],
        "A rule in dry-run mode would have had the hub act upon a finding.";
    ResponseWithheld = "response_withheld", Error, Hub => Identity, Each, ["IIITA-N6"], ["action", "finding", "rule"],
        "The brake or an exemption kept a rule from acting.";
    ResponseLifted = "response_lifted", Info, Operator => Identity, Each, ["IIITA-N6"], ["measure"],
        "What the hub did upon a finding was taken back, or is over.";
    CaseChanged = "case_changed", Info, Operator => Hub, Each, ["CSA-IMT-02", "CSA-MSU-03"], ["case", "change", "sha256", "custody_sha256"],
        "A case was opened, noted in, handed on, exported or closed.";
    AttestationChanged = "attestation_changed", Info, Operator => Hub, Each, ["CSA-GVN-03", "CSA-PRV-05"], ["record", "change", "sha256"],
        "A record that people vouch with was proposed, approved, rejected, superseded or withdrawn.";
    AttestationOverdue = "attestation_overdue", Warning, Hub => Operator, Each, ["CSA-GVN-03", "CSA-PRV-05"], ["record", "sha256"],
        "A record that people vouch with has to be renewed: its row is not decided any more.";
    CanaryInjected = "canary_injected", Info, Operator => Hub, Each, ["CSA-SNT-10"], [],
        "Synthetic events were injected to see whether they are noticed.";
    ClockJumped = "clock_jumped", Warning, Hub => Hub, Each, [], ["by_ms"],
        "The hub's clock was set to another time.";
}

impl Kind {
    /// The kind of this name.
    #[must_use]
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| Kind::find(kind.as_str()) == Some(*kind)));
    }

    /// What strangers and clients do can be repeated at will; what operators do is recorded one by one (CSA-CLS-13).
    #[test]
    fn no_peer_fills_the_ledger() {
        for &kind in Kind::ALL {
            let is_peers = matches!(kind.initiator(), Party::Identity | Party::Stranger);
            // A hub asks its witnesses itself, and what devices report has a rate of its own.
            let is_bounded = matches!(kind, Kind::WitnessRefused | Kind::SecurityReported);
            assert_eq!(is_peers && !is_bounded, is_peers && kind.recording() == Recording::Repeats, "{kind:?}");
        }
    }
}
