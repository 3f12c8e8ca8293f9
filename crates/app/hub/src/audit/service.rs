//! Queues, counters and listeners (CSA-OPA-10, IOTSF-2.4.7.25).

use std::{net::SocketAddr, sync::atomic::Ordering::Relaxed};

use portreeve_assurance::evidence::{
    Seen,
    hub::{ClientCertificates, HubListener, HubListeners, HubMetrics, HubQueue, LimitFacts, Protocol},
    tls::Version,
};
use portreeve_types::UnixMillis;

use crate::{CutLatency, Hub};

/// Limits in one answer.
const LIMITS_MAX: usize = 64;
/// The versions that `portreeve_tls` speaks on every port.
const VERSIONS: [Version; 2] = [Version::Tls12, Version::Tls13];

impl Hub {
    pub(super) fn queue_facts(&self) -> HubQueue {
        let config = self.config();
        let used = |name: &str| self.limits_table().iter().find(|row| row.name == name).map_or(0, |row| row.used);
        HubQueue {
            session_messages_max: config.limits.queue_messages_per_session as u64,
            session_bytes_max: config.limits.queue_bytes_per_session as u64,
            total_bytes_max: config.limits.queue_bytes_total as u64,
            session_expiry_max_s: config.mqtt.session_expiry_max_s.into(),
            session_expiry_v311_s: config.mqtt.session_expiry_v311_s.into(),
            message_expiry_max_s: config.mqtt.message_expiry_max_s.into(),
            overflow: config.mqtt.queue_overflow.to_string(),
            fullest_messages: used("queue_messages_per_session"),
            used_bytes: self.gauges.queue_bytes() as u64,
            dropped: self.counters.queue_dropped.load(Relaxed),
        }
    }

    pub(super) fn metrics_facts(&self, now: UnixMillis) -> HubMetrics {
        let counters = &self.counters;
        let full = self.limits_table().into_iter().filter(|row| row.used.saturating_mul(2) > row.limit);
        let limit = |row: crate::LimitUse| LimitFacts { name: row.name.to_owned(), limit: row.limit, used: row.used };
        HubMetrics {
            uptime_s: now.since(self.started).as_secs(),
            accepts_work: self.accepts_work(),
            received: counters.messages_received.load(Relaxed),
            delivered: counters.messages_sent.load(Relaxed),
            dropped: counters.queue_dropped.load(Relaxed),
            expired: counters.messages_expired.load(Relaxed),
            last_commit_us: self.journal.stats().last_commit_us,
            late_cuts: self.cuts.buckets().nth(CutLatency::BOUNDS_MS.len()).map_or(0, |(_, count)| count),
            fullest: full.map(limit).take(LIMITS_MAX).collect(),
            availability_ppht: Seen::Unknown("the hub knows of no time in which it did not run".into()),
            delivery_us: Seen::Unknown("the hub does not time deliveries".into()),
        }
    }

    pub(super) fn listener_facts(&self) -> HubListeners {
        let config = self.config();
        HubListeners {
            listeners: self.listeners.lock().iter().filter_map(|(name, at)| listener(name, at)).collect(),
            packet_bytes_max: u32::try_from(config.limits.packet_bytes).unwrap_or(u32::MAX),
            receive_maximum: config.mqtt.receive_max,
            topic_alias_maximum: config.mqtt.topic_alias_max,
            anchors_pem: self.authority.load().trust_pem(),
        }
    }
}

/// One that listens on TCP.
fn listener(name: &str, at: &str) -> Option<HubListener> {
    let address: SocketAddr = at.parse().ok()?;
    let (protocol, client_certificates) = match name {
        "mqtt" => (Protocol::Mqtts, ClientCertificates::Required),
        "mqtt_provisioning" => (Protocol::Mqtts, ClientCertificates::Optional),
        "device_https" => (Protocol::Https, ClientCertificates::Optional),
        _ => (Protocol::Http, ClientCertificates::None),
    };
    let versions = if protocol == Protocol::Http { Vec::new() } else { VERSIONS.to_vec() };
    Some(HubListener {
        name: name.to_owned(),
        address: address.ip().to_string(),
        port: address.port(),
        protocol,
        versions,
        client_certificates,
    })
}
