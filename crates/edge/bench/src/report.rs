//! What came out, for programs and for people.

use std::fmt::Write as _;

use rustls::CommonState;
use serde::Serialize;

use crate::{Histogram, Integrity, Scenario};

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What kind of load.
    pub scenario: Scenario,
    /// `HOST:PORT`.
    pub broker: String,
    /// `3.1.1` or `5.0`.
    pub mqtt: &'static str,
    /// What the first connection negotiated.
    pub tls: Option<Negotiated>,
    /// Delivery guarantee.
    pub qos: u8,
    /// Length of each payload.
    pub payload_bytes: usize,
    /// Clients in all.
    pub clients: usize,
    /// Publishers among them.
    pub publishers: u32,
    /// Deliveries of each message.
    pub receivers_each: u32,
    /// Nobody received: what is called delivered below was acknowledged.
    pub publish_only: bool,
    /// The rate asked for; none is as much as the broker took.
    pub rate_per_s: Option<u64>,
    /// The measured time.
    pub measured_s: f64,
    /// Messages sent in it.
    pub sent: u64,
    /// Deliveries in it.
    pub delivered: u64,
    /// Deliveries per second.
    pub delivered_per_s: f64,
    /// Connections that became ready in it.
    pub connected: u64,
    /// Per second.
    pub connected_per_s: f64,
    /// Messages due in the whole run that could not be sent before its end.
    pub unsent: u64,
    /// Connections that failed or were lost in the whole run.
    pub connections_failed: u64,
    /// Why the first of them.
    pub first_failure: Option<String>,
    /// Over the whole run, warm-up included.
    pub integrity: Integrity,
    /// From due to delivered.
    pub message_latency: Option<Latency>,
    /// From the beginning of TCP to CONNACK, or SUBACK where the client subscribes.
    pub connect_latency: Option<Latency>,
    /// What the broker's process used in the measured time.
    pub process: Option<ProcessCost>,
    /// What this process used in it.
    pub generator: ProcessCost,
    /// Whether losses count as failure.
    #[serde(skip)]
    pub(crate) loss_is_ok: bool,
}

/// Algorithms of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Negotiated {
    /// Such as `TLSv1_3`.
    pub version: String,
    /// Cipher suite.
    pub suite: String,
    /// Key agreement.
    pub group: String,
}

impl Negotiated {
    pub(crate) fn of(tls: &CommonState) -> Self {
        let text = |value: Option<String>| value.unwrap_or_else(|| "?".into());
        Self {
            version: text(tls.protocol_version().map(|version| format!("{version:?}"))),
            suite: text(tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()))),
            group: text(tls.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()))),
        }
    }
}

/// Percentiles, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 99 of 100 are not above.
    pub p99_us: f64,
    /// 999 of 1000 are not above.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Latency {
    /// `None` if nothing was measured.
    #[must_use]
    pub fn of(histogram: &Histogram) -> Option<Self> {
        let us = |ns: u64| ns as f64 / 1000.0;
        (histogram.total() > 0).then(|| Self {
            count: histogram.total(),
            mean_us: us(histogram.mean_ns()),
            p50_us: us(histogram.per_mille_ns(500)),
            p99_us: us(histogram.per_mille_ns(990)),
            p999_us: us(histogram.per_mille_ns(999)),
            max_us: us(histogram.max_ns()),
        })
    }
}

/// What a process used in the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ProcessCost {
    /// Which.
    pub pid: u32,
    /// In user mode, seconds.
    pub user_s: f64,
    /// In the kernel, seconds.
    pub system_s: f64,
    /// CPU seconds per million deliveries.
    pub cpu_s_per_million_delivered: Option<f64>,
    /// CPU microseconds per connection made.
    pub cpu_us_per_connection: Option<f64>,
    /// CPU microseconds per session and second: what doing nothing costs.
    pub cpu_us_per_session_second: Option<f64>,
    /// Context switches per delivery.
    pub switches_per_delivery: Option<f64>,
    /// Resident before the first connection, bytes.
    pub resident_before_bytes: u64,
    /// Resident in the end, bytes.
    pub resident_bytes: u64,
    /// Growth per session, bytes.
    pub resident_bytes_per_session: Option<f64>,
}

impl Report {
    /// Whether everything sent arrived once and in order, and every connection held.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let Integrity { lost, out_of_order, duplicates, foreign: _ } = self.integrity;
        let repeats = if self.qos == 1 { 0 } else { duplicates };
        (lost == 0 || self.loss_is_ok) && out_of_order == 0 && repeats == 0 && self.connections_failed == 0
    }

    /// What was violated, in words; empty if nothing was.
    #[must_use]
    pub fn complaint(&self) -> String {
        let Integrity { lost, out_of_order, duplicates, .. } = self.integrity;
        let mut complaint = String::new();
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                let comma = if complaint.is_empty() { "" } else { ", " };
                let _ = write!(complaint, "{comma}{count} {what}");
            }
        };
        say(if self.loss_is_ok { 0 } else { lost }, "deliveries lost");
        say(out_of_order, "out of order");
        say(if self.qos == 1 { 0 } else { duplicates }, "delivered twice");
        say(self.connections_failed, "connections failed");
        if let Some(first) = &self.first_failure {
            let _ = write!(complaint, " (first: {first})");
        }
        if lost > 0 && self.qos == 0 && !self.loss_is_ok {
            complaint.push_str("; a broker may drop QoS 0 messages under overload: --window bounds what is on its way, --allow-loss accepts it");
        }
        complaint
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut rows: Vec<(&str, String)> = Vec::new();
        let tls = self.tls.as_ref().map(|tls| format!("{} {} {}", tls.version, tls.suite, tls.group));
        rows.push((
            "scenario",
            format!("{:?}, {} clients at {}", self.scenario, self.clients, self.broker).to_lowercase(),
        ));
        rows.push(("protocol", format!("MQTT {}, {}", self.mqtt, tls.unwrap_or_else(|| "no connection".into()))));
        match self.scenario {
            Scenario::Connect => {
                rows.push((
                    "connections",
                    format!("{} in {:.1} s: {:.0}/s", self.connected, self.measured_s, self.connected_per_s),
                ));
            }
            Scenario::Idle => rows.push(("sessions", format!("{} for {:.1} s", self.clients, self.measured_s))),
            _ => self.traffic(&mut rows),
        }
        if let Some(latency) = &self.connect_latency {
            rows.push(("connect", percentiles(latency)));
        }
        if let Some(process) = &self.process {
            rows.push(("broker", cost(process)));
        }
        rows.push(("generator", cost(&self.generator)));
        let complaint = self.complaint();
        rows.push(("verdict", if complaint.is_empty() { "nothing lost, all in order".into() } else { complaint }));
        rows.iter().fold(String::new(), |mut table, (name, value)| {
            let _ = writeln!(table, "{name:<12} {value}");
            table
        })
    }

    fn traffic(&self, rows: &mut Vec<(&str, String)>) {
        let pace = self.rate_per_s.map_or_else(|| "as many as it takes".into(), |rate| format!("{rate}/s"));
        rows.push(("messages", format!("QoS {}, {} bytes, {pace}", self.qos, self.payload_bytes)));
        let delivered = format!("{} of {} sent", self.delivered, self.sent * u64::from(self.receivers_each));
        let end = if self.publish_only { "acknowledged" } else { "delivered" };
        rows.push((end, format!("{delivered} in {:.1} s: {:.0}/s", self.measured_s, self.delivered_per_s)));
        if self.unsent > 0 {
            rows.push(("behind", format!("{} messages were due and could not be sent", self.unsent)));
        }
        if let Some(latency) = &self.message_latency {
            let closed = if self.rate_per_s.is_none() { " (closed loop: mostly queues)" } else { "" };
            rows.push(("latency", format!("{}{closed}", percentiles(latency))));
        }
        let Integrity { lost, out_of_order, duplicates, foreign } = self.integrity;
        let sums = format!("lost {lost}, out of order {out_of_order}, twice {duplicates}, foreign {foreign}");
        rows.push(("integrity", sums));
    }
}

fn percentiles(latency: &Latency) -> String {
    let Latency { p50_us, p99_us, p999_us, max_us, .. } = latency;
    format!("p50 {p50_us:.0} µs, p99 {p99_us:.0} µs, p99.9 {p999_us:.0} µs, max {max_us:.0} µs")
}

fn cost(process: &ProcessCost) -> String {
    let mut text = format!("CPU {:.2} s user, {:.2} s system", process.user_s, process.system_s);
    let mut say = |value: Option<f64>, unit: &str| {
        if let Some(value) = value {
            let _ = write!(text, "; {value:.2} {unit}");
        }
    };
    say(process.cpu_s_per_million_delivered, "s per million delivered");
    say(process.switches_per_delivery, "context switches per delivery");
    say(process.cpu_us_per_connection, "µs per connection");
    say(process.cpu_us_per_session_second, "µs per session and second");
    say(process.resident_bytes_per_session, "bytes per session");
    let _ = write!(text, "; {:.1} MiB resident", process.resident_bytes as f64 / 1_048_576.0);
    text
}
