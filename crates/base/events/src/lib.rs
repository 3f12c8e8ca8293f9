//! The one schema of security events: what happened, how grave it is, who was involved and why.
//!
//! [`Events`] is where every event goes. It counts each (metrics read the counts), logs each with structured fields,
//! and bounds the log: a flood of one kind cannot fill the disk nor hide the first of its kind.
//!
//! *Invariants*
//! - The peer never sees an event's detail: it gets a code, the log gets the reason.
//! - Every event is counted, also when its log line is suppressed.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Normal operation worth recording.
    Info,
    /// Somebody was refused or cut off.
    Warning,
    /// The hub cannot do its work as it should.
    Error,
}

macro_rules! kinds {
    ($($name:ident = $word:literal $severity:ident $doc:literal),+ $(,)?) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Kind { $(#[doc = $doc] $name),+ }

        impl Kind {
            /// Every kind, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name in logs and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }

            /// How grave it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),+ }
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
    HubStarted = "hub_started" Info "The hub serves.",
    HubStopping = "hub_stopping" Info "The hub drains its clients and stops.",
    Reloaded = "reloaded" Info "Configuration, certificates and policy were read again.",
    ReloadFailed = "reload_failed" Error "A reload was refused; what ran before still runs.",
    HandshakeRefused = "handshake_refused" Warning "A TLS handshake failed: no certificate, a foreign, expired, revoked or unknown one.",
    HandshakeTimeout = "handshake_timeout" Warning "A peer did not finish its handshake in time.",
    AdmissionRefused = "admission_refused" Warning "A connection was dropped by a rate or a cap before its handshake.",
    IdentityRefused = "identity_refused" Warning "A certificate verified, but the registry does not admit its identity.",
    ConnectRefused = "connect_refused" Warning "CONNECT was refused: client id, policy, limit or a feature not offered.",
    ConnectDeferred = "connect_deferred" Info "A client was told to come again later: too many connect at once.",
    SessionStarted = "session_started" Info "A client connected.",
    SessionEnded = "session_ended" Info "A client's connection ended.",
    SessionTakenOver = "session_taken_over" Info "A newer connection with the same identity and client id took the session.",
    SessionCut = "session_cut" Warning "The hub ended a session: revoked, disabled, expired or no longer allowed.",
    ProtocolViolation = "protocol_violation" Warning "A packet broke the specification; its connection was closed.",
    PublishDenied = "publish_denied" Warning "Policy refused a publication.",
    SubscribeDenied = "subscribe_denied" Warning "Policy refused a subscription.",
    WillDenied = "will_denied" Warning "Policy refused a will.",
    SubscriptionWithdrawn = "subscription_withdrawn" Warning "A policy or identity change ended a subscription.",
    LimitReached = "limit_reached" Warning "A bound was reached and its stated decision was taken.",
    RateExceeded = "rate_exceeded" Warning "A client sent more than its rate.",
    KeepAliveExpired = "keep_alive_expired" Info "A client was silent for one and a half keep-alive periods.",
    SlowConsumer = "slow_consumer" Warning "A client did not read its socket in time and was disconnected.",
    IdentityChanged = "identity_changed" Info "An operator registered or changed an identity.",
    IdentityUnused = "identity_unused" Warning "An identity was not used for long; it is disabled if that goes on.",
    InventoryImported = "inventory_imported" Info "An operator imported a list of identities.",
    IdentityImported = "identity_imported" Info "An import registered or changed an identity.",
    FirmwareOutdated = "firmware_outdated" Warning "A device runs firmware below its group's minimum, or nobody knows which.",
    HeartbeatMissed = "heartbeat_missed" Warning "A device was not heard of for longer than its group's heartbeat.",
    CertificateIssued = "certificate_issued" Info "A certificate was issued.",
    HubCertificateRenewed = "hub_certificate_renewed" Info "The hub's listeners show a new certificate.",
    HubCertificateFailed = "hub_certificate_failed" Error "The hub's certificate could not be renewed; it is tried again.",
    KeysUnresponsive = "keys_unresponsive" Error "The token, TPM or disk that holds the CA's keys has not answered for a minute.",
    CaRotated = "ca_rotated" Info "Another issuing CA issues from now on; its predecessor's certificates are good until they end.",
    CaRotationDue = "ca_rotation_due" Warning "An issuing CA is to be followed by another, and somebody has to see to it.",
    CaRotationFailed = "ca_rotation_failed" Error "An issuing CA that is due was not followed by another; it is tried again.",
    CodeIssued = "code_issued" Info "An operator made a one-time enrolment code.",
    EnrolmentGroupChanged = "enrolment_group_changed" Info "An operator changed who may vouch for devices.",
    ApprovalAsked = "approval_asked" Info "Something waits for a second person's consent.",
    ApprovalAnswered = "approval_answered" Info "An operator consented to something that waited, or refused it.",
    ReportRefused = "report_refused" Warning "A device reported something about itself that cannot be understood.",
    SbomChanged = "sbom_changed" Info "An operator attached, replaced or removed the SBOM of a firmware version.",
    SbomDiffers = "sbom_differs" Warning "A device reports libraries that the SBOM of its firmware does not have.",
    EnrolmentRefused = "enrolment_refused" Warning "A certificate was asked for without entitlement, or for something that is not certified.",
    CloneSuspected = "clone_suspected" Warning "A certificate that has been renewed before was used or renewed again: two seem to hold one identity.",
    TwoPlaces = "two_places" Warning "A device connected while it was connected from another address.",
    KeyReuseRefused = "key_reuse_refused" Warning "A certificate was asked for a key that the registry already knows.",
    PolicyApplied = "policy_applied" Info "A policy took effect.",
    AdminDenied = "admin_denied" Warning "A local user asked for what its role does not permit.",
    StoreFull = "store_full" Error "The disk is full: what needs it is refused, the rest goes on.",
    StoreFailed = "store_failed" Error "The store cannot write.",
    StoreRecovered = "store_recovered" Info "The store writes again.",
}

/// One event. Borrowed: building it costs nothing until somebody keeps it.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What happened.
    pub kind: Kind,
    /// Whose doing, by registry name.
    pub identity: Option<&'a str>,
    /// The MQTT client identifier.
    pub client_id: Option<&'a str>,
    /// Where from.
    pub source: Option<IpAddr>,
    /// Why, precisely. Never sent to the peer.
    pub detail: fmt::Arguments<'a>,
}

/// Log lines of one kind in one second; what is beyond is counted and told in one line of the next second.
pub const LOG_LINES_PER_KIND_PER_S: u32 = 20;

/// Where events go.
#[derive(Debug)]
pub struct Events {
    counts: Vec<AtomicU64>,
    windows: Mutex<Vec<Window>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    second: u64,
    lines: u32,
    suppressed: u64,
}

impl Default for Events {
    fn default() -> Self {
        let counts = Kind::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        Self { counts, windows: Mutex::new(vec![Window::default(); Kind::ALL.len()]) }
    }
}

impl Events {
    /// Counts and logs an event. `now_s` is any clock's whole seconds.
    pub fn emit(&self, now_s: u64, event: &Event<'_>) {
        let index = event.kind as usize;
        self.counts[index].fetch_add(1, Relaxed);
        let Some(suppressed) = self.admit(index, now_s) else { return };
        if suppressed > 0 {
            tracing::warn!(
                event = event.kind.as_str(),
                suppressed,
                "more events of this kind were counted, not logged"
            );
        }
        log(event);
    }

    /// How often a kind occurred since the start.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize].load(Relaxed)
    }

    /// `None` if this second's lines are used up, else how many were suppressed in the window before.
    fn admit(&self, index: usize, now_s: u64) -> Option<u64> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = &mut windows[index];
        let mut told = 0;
        if window.second != now_s {
            told = window.suppressed;
            *window = Window { second: now_s, lines: 0, suppressed: 0 };
        }
        if window.lines >= LOG_LINES_PER_KIND_PER_S {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(told)
    }
}

fn log(event: &Event<'_>) {
    let Event { kind, identity, client_id, source, detail } = event;
    let source = source.map(tracing::field::display);
    macro_rules! write {
        ($level:ident) => {
            tracing::$level!(event = kind.as_str(), identity, client_id, source, "{detail}")
        };
    }
    match kind.severity() {
        Severity::Info => write!(info),
        Severity::Warning => write!(warn),
        Severity::Error => write!(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event<'static> {
        Event { kind: Kind::PublishDenied, identity: None, client_id: None, source: None, detail: format_args!("x") }
    }

    #[test]
    fn a_flood_is_counted_whole_and_logged_in_part() {
        let events = Events::default();
        let index = Kind::PublishDenied as usize;
        let logged = (0..1000).filter(|_| events.admit(index, 1).is_some()).count();
        assert_eq!(logged, LOG_LINES_PER_KIND_PER_S as usize);
        assert_eq!(events.admit(index, 2), Some(1000 - u64::from(LOG_LINES_PER_KIND_PER_S)));
        events.emit(2, &event());
        assert_eq!(events.count(Kind::PublishDenied), 1);
    }

    #[test]
    fn a_flood_of_one_kind_does_not_hide_the_first_of_another() {
        let events = Events::default();
        (0..1000).for_each(|_| _ = events.admit(Kind::PublishDenied as usize, 1));
        assert_eq!(events.admit(Kind::WillDenied as usize, 1), Some(0));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
    }
}
