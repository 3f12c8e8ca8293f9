//! `/metrics`, `/livez` and `/readyz`, for programs on this machine. No label names a device.

use std::{fmt, net::SocketAddr, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use hyper::{Method, StatusCode, header};
use portreeve_events::Kind as EventKind;
use portreeve_hub::{ChannelSummary, Hub};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    Pulse, StartError,
    exchange::{Answer, content, converse, error, json as json_answer, rest_after},
};

/// Scrapers and probes at once.
const CONNECTIONS_MAX: usize = 32;
/// Longest conversation.
const LIFETIME: Duration = Duration::from_secs(300);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The loopback listener.
#[derive(Debug)]
pub(crate) struct MetricsDoor {
    hub: Arc<Hub>,
    pulse: Arc<Pulse>,
    listener: TcpListener,
    address: SocketAddr,
}

impl MetricsDoor {
    pub(crate) fn open(hub: Arc<Hub>, pulse: Arc<Pulse>) -> Result<Self, StartError> {
        let address = hub.config().metrics.listen;
        let failed = |source| StartError::Listen { key: "metrics.listen", address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { hub, pulse, listener, address })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn serve(&self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    rest_after(&error).await;
                    continue;
                }
            };
            let (hub, pulse) = (Arc::clone(&self.hub), Arc::clone(&self.pulse));
            tokio::spawn(async move {
                converse(stream, LIFETIME, |request| {
                    std::future::ready(answer(&hub, &pulse, request.method(), request.uri().path()))
                })
                .await;
                drop(place);
            });
        }
    }
}

fn answer(hub: &Arc<Hub>, pulse: &Pulse, method: &Method, path: &str) -> Answer {
    if method != Method::GET && method != Method::HEAD {
        let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    match path {
        "/metrics" => match render(hub) {
            Ok(text) => content(StatusCode::OK, OPEN_METRICS, text),
            Err(fmt::Error) => error(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"),
        },
        "/livez" => verdict("alive", &stopped_clock(pulse)),
        "/readyz" => verdict("ready", &unready(hub, pulse)),
        _ => error(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz"),
    }
}

fn stopped_clock(pulse: &Pulse) -> Vec<String> {
    if pulse.is_alive() { vec![] } else { vec!["the hub's clock stands still".to_owned()] }
}

fn unready(hub: &Hub, pulse: &Pulse) -> Vec<String> {
    let mut reasons = stopped_clock(pulse);
    if pulse.is_stopping() {
        reasons.push("the hub is stopping".to_owned());
    }
    if !hub.accepts_work() {
        reasons.push(format!("the store takes no work: {}", hub.store_health()));
    }
    if let Some(trouble) = hub.ledger().trouble {
        reasons.push(format!("the ledger cannot be written or signed: {trouble}"));
    }
    reasons
}

fn verdict(word: &str, reasons: &[String]) -> Answer {
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_answer(status, &json!({ word: reasons.is_empty(), "reasons": reasons }))
}

/// Everything that is counted, in the OpenMetrics text format.
fn render(hub: &Arc<Hub>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures(Arc::clone(hub))));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Reads the hub's own counters at each scrape, so that the message path knows nothing of metrics.
#[derive(Debug)]
struct Figures(Arc<Hub>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.counters(&mut encoder)?;
        self.events(&mut encoder)?;
        self.limits(&mut encoder)?;
        self.gauges(&mut encoder)
    }
}

impl Figures {
    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut result = Ok(());
        self.0.counters().each(|name, help, value| {
            if result.is_ok() {
                result = counter(encoder, &format!("portreeve_{name}"), help.trim(), value);
            }
        });
        result?;
        let admissions = self.0.admissions();
        counter(encoder, "portreeve_handshakes", "TLS handshakes completed", admissions.handshakes_done.load(Relaxed))?;
        let failed = admissions.handshakes_failed.load(Relaxed);
        counter(encoder, "portreeve_handshakes_failed", "TLS handshakes that failed", failed)?;
        let journal = self.0.journal().stats();
        counter(encoder, "portreeve_journal_commits", "Commits of the session store", journal.commits)?;
        counter(encoder, "portreeve_journal_failures", "Commits that failed", journal.failures)?;
        counter(encoder, "portreeve_journal_entries", "Entries written to the session store", journal.ops)?;
        let unrecorded = self.0.ledger().unrecorded;
        counter(encoder, "portreeve_ledger_unrecorded", "Events that were counted and have no entry", unrecorded)
    }

    fn events(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "portreeve_events",
            "Security and operation events by kind",
            None,
            MetricType::Counter,
        )?;
        EventKind::ALL.iter().try_for_each(|kind| {
            let labels = [("kind", kind.as_str())];
            ConstCounter::new(self.0.events().count(*kind)).encode(family.encode_family(&labels)?)
        })
    }

    /// Every bound beside what is used of it.
    fn limits(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.0.limits_table().iter().try_for_each(|row| {
            let name = row.name;
            gauge(encoder, &format!("portreeve_{name}_limit"), &format!("The bound limits.{name}"), row.limit)?;
            gauge(encoder, &format!("portreeve_{name}_used"), &format!("What is used of limits.{name}"), row.used)
        })
    }

    /// From an operator's `revoke`, `disable` or `quarantine` to the end of each connection.
    fn cuts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let buckets: Vec<(f64, u64)> = self.0.cuts().buckets().collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let help = "From a change of state to the end of each connection that it ends";
        let mut metric =
            encoder.encode_descriptor("portreeve_cut", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(self.0.cuts().sum().as_secs_f64(), count, &buckets, None)
    }

    /// What rules have done, and what people have to do.
    fn responses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let used = self.0.responses();
        let mut family = encoder.encode_descriptor(
            "portreeve_response_measures",
            "Measures of response rules that stand, by action",
            None,
            MetricType::Gauge,
        )?;
        let measures = [("throttle", used.throttled), ("block-source", used.blocked), ("quarantine", used.quarantined)];
        for (action, count) in measures {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(family.encode_family(&[("action", action)])?)?;
        }
        let brake = "Identities and sources that the brake of response rules counts within the hour";
        gauge(encoder, "portreeve_response_brake_used", brake, used.brake_used)?;
        gauge(encoder, "portreeve_response_rules", "Response rules in force", used.rules)?;
        let dry = "Response rules that only say what they would do";
        gauge(encoder, "portreeve_response_rules_dry_run", dry, used.dry_run)?;
        gauge(encoder, "portreeve_cases_open", "Cases that are not closed", used.cases_open)
    }

    /// Who is told of what is found, and how soon. Channels have the operator's own names.
    fn alerts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let alerts = self.0.alert_summary();
        gauge(encoder, "portreeve_alerts_open", "Open alerts", alerts.open)?;
        gauge(
            encoder,
            "portreeve_alerts_reach_somebody",
            "1 if alerts have channels",
            u64::from(alerts.reach_somebody),
        )?;
        gauge(encoder, "portreeve_alert_dead_letters", "Deliveries that were given up", alerts.dead_letters)?;
        let help = "Deliveries that were given up and made room for others";
        counter(encoder, "portreeve_alert_dead_letters_dropped", help, alerts.dead_letters_dropped)?;
        gauge(encoder, "portreeve_alert_unsaved_records", "Records that are not on the disk yet", alerts.unsaved)?;
        let mut by_channel = |name: &str, help: &str, of: fn(&ChannelSummary) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            alerts.channels.iter().try_for_each(|channel| {
                let value = i64::try_from(of(channel)).unwrap_or(i64::MAX);
                let labels = [("channel", channel.name.as_str())];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)
            })
        };
        by_channel("portreeve_alert_deliveries_waiting", "Deliveries that wait", |channel| channel.waiting)?;
        by_channel("portreeve_alert_channel_failures", "Failures in a row", |channel| channel.failures)?;
        let latency = self.0.alert_latency();
        let buckets: Vec<(f64, u64)> = latency.buckets().collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let help = "From what calls for a delivery to its end";
        let mut metric =
            encoder.encode_descriptor("portreeve_alert_delivery", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(latency.sum().as_secs_f64(), count, &buckets, None)
    }

    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let hub = &self.0;
        let journal = hub.journal().stats();
        gauge(encoder, "portreeve_clients_connected", "Clients connected", hub.gauges().online.load(Relaxed) as u64)?;
        gauge(
            encoder,
            "portreeve_identities",
            "Registered devices, gateways and applications",
            hub.registry().len() as u64,
        )?;
        let postures = hub.postures();
        gauge(
            encoder,
            "portreeve_identities_outdated",
            "Active identities whose firmware is below their group's minimum, or not known",
            postures.outdated.load(Relaxed),
        )?;
        gauge(
            encoder,
            "portreeve_identities_silent",
            "Active identities that were not heard of for longer than their group's heartbeat",
            postures.silent.load(Relaxed),
        )?;
        self.cuts(encoder)?;
        self.responses(encoder)?;
        self.alerts(encoder)?;
        let ledger = hub.ledger();
        gauge(encoder, "portreeve_ledger_entries", "Entries of the ledger", ledger.entries)?;
        gauge(encoder, "portreeve_ledger_sealed_entries", "Entries that a signed head covers", ledger.sealed)?;
        gauge(encoder, "portreeve_ledger_pending_entries", "Entries waiting for the disk", ledger.pending as u64)?;
        gauge(encoder, "portreeve_ledger_ok", "1 if it is written and signed", u64::from(ledger.trouble.is_none()))?;
        gauge(encoder, "portreeve_ready", "1 if new work is accepted", u64::from(hub.accepts_work()))?;
        gauge(encoder, "portreeve_journal_pending_entries", "Entries waiting for the disk", journal.pending_ops)?;
        gauge(encoder, "portreeve_journal_commit_microseconds", "Duration of the last commit", journal.last_commit_us)?;
        gauge(encoder, "process_start_time_seconds", "When the hub was started, Unix time", hub.started().seconds())
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    // The format knows signed integers; no bound is near the end of them.
    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}
