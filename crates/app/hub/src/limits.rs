//! Every bound, how much of it is used, and the counters that several parts share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use serde::Serialize;

use crate::Hub;

/// One row of the limits table.
#[derive(Clone, Debug, Serialize)]
pub struct LimitUse {
    /// The key below `limits.`; metrics are `portreeve_<name>_limit` and `portreeve_<name>_used`.
    pub name: &'static str,
    /// The bound.
    pub limit: u64,
    /// Totals: in use now. Bounds on one session: the fullest session's. Bounds on one packet: the largest so far.
    pub used: u64,
}

/// The largest of each that was accepted since the start.
#[derive(Debug, Default)]
pub(crate) struct Watermarks {
    pub(crate) packet_bytes: AtomicU64,
    pub(crate) connect_bytes: AtomicU64,
    pub(crate) topic_levels: AtomicU64,
    pub(crate) topic_bytes: AtomicU64,
    pub(crate) client_id_bytes: AtomicU64,
    pub(crate) user_properties: AtomicU64,
    pub(crate) filters_per_packet: AtomicU64,
    pub(crate) retained_message_bytes: AtomicU64,
    pub(crate) device_retained_messages: AtomicU64,
    pub(crate) device_retained_bytes: AtomicU64,
    pub(crate) application_retained_messages: AtomicU64,
    pub(crate) application_retained_bytes: AtomicU64,
    pub(crate) device_messages_burst: AtomicU64,
    pub(crate) device_messages_per_s: AtomicU64,
    pub(crate) application_messages_per_s: AtomicU64,
    pub(crate) connection_age_s: AtomicU64,
    pub(crate) device_bytes_per_s: AtomicU64,
    pub(crate) application_messages_burst: AtomicU64,
    pub(crate) application_bytes_per_s: AtomicU64,
}

/// Raises a high-water mark.
pub(crate) fn mark(mark: &AtomicU64, value: usize) {
    let value = value as u64;
    if mark.load(Relaxed) < value {
        mark.fetch_max(value, Relaxed);
    }
}

/// What the listeners count before a connection belongs to anybody.
#[derive(Debug, Default)]
pub struct Admissions {
    /// Open connections, handshakes included.
    pub connections: AtomicUsize,
    /// Connections whose TLS handshake is not finished.
    pub half_open: AtomicUsize,
    /// Half-open connections of the source that has most.
    pub half_open_per_source: AtomicUsize,
    /// Most connections that one source began within a second.
    pub connections_per_source_per_s: AtomicU64,
    /// The longest handshake so far, begun seconds included.
    pub handshake_s: AtomicU64,
    /// Connections that the most active source has begun beyond its average.
    pub connections_per_source: AtomicU64,
    /// Handshakes begun in the current second.
    pub handshakes_this_s: AtomicU64,
    /// Sessions begun, or given a place, in the current second.
    pub connects_this_s: AtomicU64,
    /// Clients that were told when to come again and did not come yet.
    pub connects_waiting: AtomicUsize,
    /// Until when newcomers are told to come again, as a [`crate::Now::mono_ms`].
    pub connects_busy_until_ms: AtomicU64,
    /// Completed handshakes since the start.
    pub handshakes_done: AtomicU64,
    /// Failed handshakes since the start.
    pub handshakes_failed: AtomicU64,
    /// The longest provisioning session so far.
    pub provisioning_session_s: AtomicU64,
    /// Most requests for a certificate in one such session.
    pub provisioning_requests: AtomicU64,
    /// Most packets of a client in one.
    pub provisioning_packets: AtomicU64,
    /// Most bytes of a client in one.
    pub provisioning_bytes: AtomicU64,
}

/// The hub's own rate, over windows of a second. A turn looks at it once and is charged once, so that messages share no
/// memory: exact for turns that follow each other, and exceeded by at most what the turns that run meanwhile bring in.
#[derive(Debug, Default)]
pub(crate) struct RateWindow {
    second: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// What one turn may take of the hub's rate, and what it took.
#[derive(Debug)]
pub(crate) struct RateShare {
    messages_left: u64,
    bytes_left: u64,
    messages: u64,
    bytes: u64,
}

impl RateShare {
    /// Whether one more message is within the rates. Those that are refused count as well.
    pub(crate) fn admit(&mut self, bytes: u64) -> bool {
        self.messages += 1;
        self.bytes += bytes;
        self.messages <= self.messages_left && self.bytes <= self.bytes_left
    }
}

impl RateWindow {
    /// What is left of this second.
    pub(crate) fn share(&self, mono_ms: u64, messages_max: u64, bytes_max: u64) -> RateShare {
        let second = mono_ms / 1000;
        // A thread that read the clock earlier does not turn it back.
        if self.second.load(Relaxed) < second && self.second.fetch_max(second, Relaxed) < second {
            self.messages.store(0, Relaxed);
            self.bytes.store(0, Relaxed);
        }
        let (messages, bytes) = self.now();
        RateShare {
            messages_left: messages_max.saturating_sub(messages),
            bytes_left: bytes_max.saturating_sub(bytes),
            messages: 0,
            bytes: 0,
        }
    }

    /// Counts what a turn took.
    pub(crate) fn charge(&self, share: &RateShare) {
        if share.messages > 0 {
            self.messages.fetch_add(share.messages, Relaxed);
            self.bytes.fetch_add(share.bytes, Relaxed);
        }
    }

    fn now(&self) -> (u64, u64) {
        (self.messages.load(Relaxed), self.bytes.load(Relaxed))
    }
}

impl Hub {
    /// Every bound with what is in use of it.
    #[must_use]
    pub fn limits_table(&self) -> Vec<LimitUse> {
        let config = self.config();
        let l = &config.limits;
        let fullest = self.fullest_sessions();
        let (messages_now, bytes_now) = self.rate.now();
        let high = |mark: &AtomicU64| mark.load(Relaxed);
        let admissions = &self.admissions;
        let journal = self.journal.stats();
        let sboms = self.sboms.fill();
        let (retained_messages, retained_bytes) = {
            let retained = self.retained.read();
            (retained.len() as u64, retained.bytes() as u64)
        };
        let row = |name, limit: u64, used: u64| LimitUse { name, limit, used };
        vec![
            row("packet_bytes", l.packet_bytes as u64, high(&self.limits.packet_bytes)),
            row("connect_bytes", l.connect_bytes as u64, high(&self.limits.connect_bytes)),
            row("topic_levels", l.topic_levels as u64, high(&self.limits.topic_levels)),
            row("topic_bytes", l.topic_bytes as u64, high(&self.limits.topic_bytes)),
            row("client_id_bytes", l.client_id_bytes as u64, high(&self.limits.client_id_bytes)),
            row("user_properties", l.user_properties as u64, high(&self.limits.user_properties)),
            row("filters_per_packet", l.filters_per_packet as u64, high(&self.limits.filters_per_packet)),
            row("subscriptions_per_session", l.subscriptions_per_session as u64, fullest.subscriptions),
            row("subscriptions_total", l.subscriptions_total as u64, self.gauges.subscriptions.load(Relaxed) as u64),
            row("inflight_per_session", l.inflight_per_session.into(), fullest.in_flight),
            row("queue_messages_per_session", l.queue_messages_per_session as u64, fullest.messages),
            row("queue_bytes_per_session", l.queue_bytes_per_session as u64, fullest.bytes),
            row("queue_bytes_total", l.queue_bytes_total as u64, self.gauges.queue_bytes() as u64),
            row("retained_messages", l.retained_messages as u64, retained_messages),
            row("retained_bytes", l.retained_bytes as u64, retained_bytes),
            row("retained_message_bytes", l.retained_message_bytes as u64, high(&self.limits.retained_message_bytes)),
            row(
                "device_retained_messages",
                l.device_retained_messages as u64,
                high(&self.limits.device_retained_messages),
            ),
            row("device_retained_bytes", l.device_retained_bytes as u64, high(&self.limits.device_retained_bytes)),
            row(
                "application_retained_messages",
                l.application_retained_messages as u64,
                high(&self.limits.application_retained_messages),
            ),
            row(
                "application_retained_bytes",
                l.application_retained_bytes as u64,
                high(&self.limits.application_retained_bytes),
            ),
            row("sessions_total", l.sessions_total as u64, fullest.sessions),
            row("sessions_per_device", l.sessions_per_device as u64, fullest.of_device),
            row("sessions_per_application", l.sessions_per_application as u64, fullest.of_application),
            row("connections_total", l.connections_total as u64, admissions.connections.load(Relaxed) as u64),
            row("half_open_connections", l.half_open_connections as u64, admissions.half_open.load(Relaxed) as u64),
            row(
                "half_open_per_source",
                l.half_open_per_source as u64,
                admissions.half_open_per_source.load(Relaxed) as u64,
            ),
            row("connection_age_max_s", l.connection_age_max_s, high(&self.limits.connection_age_s)),
            row("handshake_deadline_s", l.handshake_deadline_s, high(&admissions.handshake_s)),
            row(
                "connections_per_source_per_s",
                l.connections_per_source_per_s.into(),
                high(&admissions.connections_per_source_per_s),
            ),
            row("device_messages_per_s", l.device_messages_per_s.into(), high(&self.limits.device_messages_per_s)),
            row(
                "application_messages_per_s",
                l.application_messages_per_s.into(),
                high(&self.limits.application_messages_per_s),
            ),
            row(
                "connections_per_source_burst",
                l.connections_per_source_burst.into(),
                high(&admissions.connections_per_source),
            ),
            row("device_messages_burst", l.device_messages_burst.into(), high(&self.limits.device_messages_burst)),
            row("device_bytes_per_s", l.device_bytes_per_s, high(&self.limits.device_bytes_per_s)),
            row(
                "application_messages_burst",
                l.application_messages_burst.into(),
                high(&self.limits.application_messages_burst),
            ),
            row("application_bytes_per_s", l.application_bytes_per_s, high(&self.limits.application_bytes_per_s)),
            row("handshakes_per_s", l.handshakes_per_s.into(), admissions.handshakes_this_s.load(Relaxed)),
            row("connects_per_s", l.connects_per_s.into(), admissions.connects_this_s.load(Relaxed)),
            row("connects_waiting", l.connects_waiting as u64, admissions.connects_waiting.load(Relaxed) as u64),
            row(
                "enrolment_failures_per_source_per_min",
                l.enrolment_failures_per_source_per_min.into(),
                self.enrolment.failures_of_the_worst(),
            ),
            row("provisioning_session_s", l.provisioning_session_s, high(&admissions.provisioning_session_s)),
            row("provisioning_requests", l.provisioning_requests.into(), high(&admissions.provisioning_requests)),
            row("provisioning_packets", l.provisioning_packets.into(), high(&admissions.provisioning_packets)),
            row("provisioning_bytes", l.provisioning_bytes, high(&admissions.provisioning_bytes)),
            row("certificates_per_s", l.certificates_per_s.into(), self.enrolment.certificates_in_use()),
            row("approvals_waiting", l.approvals_waiting as u64, self.approvals.waiting() as u64),
            row(
                "identities_pending_per_group",
                l.identities_pending_per_group as u64,
                self.registry.pending_of_the_fullest_group() as u64,
            ),
            row("sbom_bytes", l.sbom_bytes as u64, sboms.largest_bytes as u64),
            row("sboms", l.sboms as u64, sboms.sboms as u64),
            row("sbom_bytes_total", l.sbom_bytes_total as u64, sboms.bytes as u64),
            row("ocsp_answers_per_s", l.ocsp_answers_per_s.into(), self.publication.answers_in_use()),
            row("messages_per_s", l.messages_per_s.into(), messages_now),
            row("bytes_per_s", l.bytes_per_s, bytes_now),
            row("journal_pending_bytes", l.journal_pending_bytes as u64, journal.pending_bytes),
        ]
    }

    fn fullest_sessions(&self) -> Fullest {
        let (sessions, mut fullest) = {
            let table = self.sessions.lock();
            let mut fullest = Fullest { sessions: table.by_id.len() as u64, ..Fullest::default() };
            for (id, held) in &table.by_identity {
                // Everybody who connects waits for this lock: nearly all need no look into the registry.
                if held.len() as u64 <= fullest.of_device.min(fullest.of_application) {
                    continue;
                }
                let device = self.registry.row(*id).is_some_and(|row| row.kind == portreeve_types::Kind::Device);
                let slot = if device { &mut fullest.of_device } else { &mut fullest.of_application };
                *slot = (*slot).max(held.len() as u64);
            }
            (table.by_id.values().map(Arc::clone).collect::<Vec<_>>(), fullest)
        };
        for session in sessions {
            let outgoing = session.outgoing.lock();
            fullest.subscriptions = fullest.subscriptions.max(outgoing.subscriptions.len() as u64);
            fullest.in_flight = fullest.in_flight.max(outgoing.outbound.in_flight() as u64);
            fullest.messages = fullest.messages.max(outgoing.outbound.len() as u64);
            fullest.bytes = fullest.bytes.max(outgoing.outbound.bytes() as u64);
        }
        fullest
    }
}

#[derive(Default)]
struct Fullest {
    sessions: u64,
    of_device: u64,
    of_application: u64,
    subscriptions: u64,
    in_flight: u64,
    messages: u64,
    bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `config explain` promises a pair of metrics for each of these keys; this is where they come from.
    #[test]
    fn every_metered_key_has_a_row() {
        let data = tempfile::tempdir().unwrap();
        let hub = Hub::open(
            &data.path().join("hub"),
            portreeve_config::Config::default(),
            std::time::SystemTime::now().into(),
        )
        .unwrap();
        let mut rows: Vec<String> = hub.limits_table().iter().map(|row| format!("portreeve_{}", row.name)).collect();
        let mut keys: Vec<String> =
            portreeve_config::keys().iter().filter_map(|key| key.metric).map(String::from).collect();
        rows.sort();
        keys.sort();
        assert_eq!(rows, keys);
    }

    /// CSA-COM-04: globally.
    #[test]
    fn the_hubs_rate_is_a_window_of_a_second() {
        let window = RateWindow::default();
        let turn = |mono_ms, bytes: &[u64]| {
            let mut share = window.share(mono_ms, 4, 100);
            let admitted = bytes.iter().filter(|&&bytes| share.admit(bytes)).count();
            window.charge(&share);
            admitted
        };
        // However the messages come in turns, those of a second are counted exactly.
        assert_eq!((turn(0, &[1]), turn(0, &[1, 1]), turn(999, &[1, 1, 1]), turn(999, &[1])), (1, 2, 1, 0));
        assert_eq!((turn(1000, &[1]), turn(1000, &[100]), turn(1001, &[50])), (1, 0, 0));
        // A turn that began in the second before neither opens that again nor a new one.
        assert_eq!((turn(2000, &[1, 1, 1, 1]), turn(1999, &[1]), turn(2000, &[1])), (4, 0, 0));
    }

    /// What [`RateWindow`] promises of turns at the same time: each admits no more than was left when it began.
    #[test]
    fn turns_at_the_same_time_exceed_the_rate_by_no_more_than_themselves() {
        let window = RateWindow::default();
        let (mut one, mut other) = (window.share(0, 4, 100), window.share(0, 4, 100));
        assert_eq!((0..10).filter(|_| one.admit(1)).count(), 4);
        assert_eq!((0..10).filter(|_| other.admit(1)).count(), 4);
        window.charge(&one);
        window.charge(&other);
        assert!(!window.share(0, 4, 100).admit(1));
        assert_eq!(window.now(), (20, 20));
    }
}
