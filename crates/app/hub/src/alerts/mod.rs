//! Alerts in the hub: what is found or breaks is told to people (CSA-BCN-01).
//!
//! [`Alerts`] holds the desk, which knows who is to be told of what, and a thread for each channel that sends. What is to be told
//! waits in an inbox for [`Hub::tend_alerts`], which a thread of its own calls: whoever has something to tell waits for nobody.
//!
//! *Invariants*
//! - What the desk has decided is on the disk before it is sent, so that a restart repeats it under the same key; where the disk
//!   takes nothing, it is sent all the same, and said.
//! - A channel that hangs holds up itself alone.
//! - A rehearsal raises nothing but the one alert that is marked as a test.

mod admin;
mod courier;
mod facts;
mod inbox;
mod meters;
mod self_watch;

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        mpsc::{Receiver, Sender, channel},
    },
};

use parking_lot::Mutex;
use portreeve_alert::{
    AlertSettings, ChannelKind, Delivery, DeliveryId, Desk, Failure, Line, Notice, Raised, Why, Word,
};
use portreeve_detect::Detector;
use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_store::{RegistryOp, RegistryStore};
use portreeve_types::UnixMillis;

use crate::{Hub, Now, Registry};

use courier::Courier;
pub(crate) use inbox::alerts_by_itself;
use inbox::{Inbox, Said};
pub use meters::{AlertLatency, AlertSummary, ChannelSummary};
use self_watch::SelfWatch;

/// The settings that are applied, among the registry's documents: they have to be known before all else is read.
const SETTINGS: &str = "watch/alerts.toml";
/// The desk's records, among the registry's blobs.
const PREFIX: &str = "alerts/";
/// Damaged records that are let go at a start; with more the desk begins anew.
const DAMAGED_MAX: usize = 8;
/// How long after a failed commit the next is tried if there is nothing new, milliseconds.
const RETRY_MS: u64 = 1000;

/// Whether the process, confined as it is, can reach a channel's server and read its files.
pub type Reach = Box<dyn Fn(&ChannelKind) -> bool + Send + Sync>;

/// What came of a delivery.
type Report = (DeliveryId, Result<(), Failure>);

/// The desk, its couriers, and what waits for them.
pub(crate) struct Alerts {
    inbox: Mutex<Inbox>,
    state: Mutex<State>,
    /// For whoever looks while the disk is waited for.
    summary: Mutex<AlertSummary>,
    reach: OnceLock<Reach>,
    latency: AlertLatency,
}

struct State {
    desk: Desk,
    /// The settings as they were applied; empty if there are none.
    text: String,
    couriers: BTreeMap<Word, Courier>,
    reports: (Sender<Report>, Receiver<Report>),
    unsaved: Unsaved,
    self_watch: SelfWatch,
    /// The time of the last turn.
    turned: UnixMillis,
}

/// Changes of the desk that are not on the disk yet.
#[derive(Debug, Default)]
struct Unsaved {
    ops: BTreeMap<String, Option<Vec<u8>>>,
    failed_ms: Option<u64>,
}

impl std::fmt::Debug for Alerts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alerts").field("summary", &*self.summary.lock()).finish_non_exhaustive()
    }
}

/// What routes may name: the detectors' words, and the events that are alerts by themselves.
fn kinds() -> Vec<&'static str> {
    let detectors = Detector::ALL.iter().map(|detector| detector.as_str());
    let events = EventKind::ALL.iter().filter(|kind| alerts_by_itself(**kind).is_some()).map(|kind| kind.as_str());
    detectors.chain(events).chain(self_watch::KINDS).collect()
}

/// The settings in a text, or everything that is wrong with them.
pub(crate) fn parse(file: &str, text: &str) -> Result<AlertSettings, String> {
    AlertSettings::parse(file, text, &kinds()).map_err(|error| error.to_string())
}

/// The settings that are applied in a store that is not open.
pub(crate) fn stored_settings(data: &std::path::Path) -> Option<AlertSettings> {
    let bytes = portreeve_store::RedbStore::document(data, SETTINGS).ok().flatten()?;
    parse("the applied settings", &String::from_utf8_lossy(&bytes)).ok()
}

impl Alerts {
    /// The desk as it was. What cannot be read is left out, and said: a hub that tells less is still a hub.
    pub(crate) fn resume(store: &dyn RegistryStore, blobs: &[(String, Vec<u8>)], now: UnixMillis) -> Self {
        let text = match store.document(SETTINGS) {
            Ok(bytes) => bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "the settings of alerts cannot be read; nobody is told");
                String::new()
            }
        };
        let settings = if text.is_empty() { Ok(AlertSettings::nobody()) } else { parse("alerts", &text) };
        let settings = settings.unwrap_or_else(|error| {
            tracing::error!(error, "the applied settings of alerts are not good any more; nobody is told");
            AlertSettings::nobody()
        });
        let (desk, unsaved) = restore(settings, blobs, now);
        let state = State {
            desk,
            text,
            couriers: BTreeMap::new(),
            reports: channel(),
            unsaved,
            self_watch: SelfWatch::new(now),
            turned: now,
        };
        let summary = state.summary();
        Self {
            inbox: Mutex::default(),
            state: Mutex::new(state),
            summary: Mutex::new(summary),
            reach: OnceLock::new(),
            latency: AlertLatency::default(),
        }
    }
}

/// The desk of these records, without those that are damaged; and the changes that let those go.
fn restore(settings: AlertSettings, blobs: &[(String, Vec<u8>)], now: UnixMillis) -> (Desk, Unsaved) {
    let mut records: BTreeMap<&str, &[u8]> =
        blobs.iter().filter_map(|(name, bytes)| Some((name.strip_prefix(PREFIX)?, bytes.as_slice()))).collect();
    let mut unsaved = Unsaved::default();
    for attempt in 0..=DAMAGED_MAX {
        let given = records.iter().map(|(key, value)| (*key, *value));
        let error = match Desk::restore(settings.clone(), given, entropy(), now) {
            Ok(desk) => return (desk, unsaved),
            Err(error) => error,
        };
        tracing::error!(%error, "it is let go");
        let damaged: Vec<&str> = match records.remove_entry(error.key.as_str()) {
            Some((key, _)) if attempt + 1 < DAMAGED_MAX => vec![key],
            _ => std::mem::take(&mut records).into_keys().collect(),
        };
        unsaved.ops.extend(damaged.into_iter().map(|key| (key.to_owned(), None)));
    }
    (Desk::new(settings, entropy()), unsaved)
}

/// Half of a random identifier is random enough for what tells deliveries apart.
fn entropy() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1 ^ uuid::Uuid::new_v4().as_u64_pair().0
}

impl Unsaved {
    /// Takes what the desk changed, and writes all that is not on the disk.
    fn commit(&mut self, desk: &mut Desk, mono_ms: u64, write: impl FnOnce(&[RegistryOp]) -> Result<(), String>) {
        let changes = desk.take_changes();
        let is_new = !changes.is_empty();
        self.ops.extend(changes.into_iter().map(|change| (change.key, change.value)));
        let rests = self.failed_ms.is_some_and(|failed_ms| mono_ms.saturating_sub(failed_ms) < RETRY_MS);
        if self.ops.is_empty() || (rests && !is_new) {
            return;
        }
        let ops: Vec<RegistryOp> = self.ops.iter().map(|(key, value)| op(key, value.as_deref())).collect();
        match write(&ops) {
            Ok(()) => *self = Self::default(),
            Err(error) => {
                if self.failed_ms.is_none() {
                    tracing::error!(error, "alerts cannot be kept: they are sent, and forgotten if the hub ends now");
                }
                self.failed_ms = Some(mono_ms);
            }
        }
    }
}

fn op(key: &str, value: Option<&[u8]>) -> RegistryOp {
    let name = format!("{PREFIX}{key}");
    match value {
        Some(bytes) => RegistryOp::PutBlob { name, bytes: bytes.to_vec() },
        None => RegistryOp::DeleteBlob { name },
    }
}

impl State {
    fn save(&mut self, registry: &Registry, mono_ms: u64) {
        let write = |ops: &[RegistryOp]| registry.put_blobs(ops).map_err(|error| error.to_string());
        self.unsaved.commit(&mut self.desk, mono_ms, write);
    }

    fn summary(&self) -> AlertSummary {
        let channels = self.desk.channels().map(|(name, waiting, failures)| ChannelSummary {
            name: name.as_str().to_owned(),
            waiting: waiting as u64,
            failures: failures.into(),
        });
        AlertSummary {
            open: self.desk.open().count() as u64,
            reach_somebody: self.desk.settings().reach_somebody(),
            dead_letters: self.desk.dead_letters().count() as u64,
            dead_letters_dropped: self.desk.dead_letters_dropped(),
            unsaved: self.unsaved.ops.len() as u64,
            channels: channels.collect(),
        }
    }

    /// Puts what was said before the desk.
    fn take(&mut self, said: Vec<(Said, UnixMillis)>, now: UnixMillis) {
        for (said, at) in said {
            match said {
                Said::Raise(occurrence) => {
                    let words = format!("{occurrence}");
                    let raised = self.desk.raise(occurrence, at.min(now));
                    if !self.desk.settings().reach_somebody() && matches!(raised, Raised::Opened(_)) {
                        tracing::warn!(alert = words, "an alert that reaches nobody: portreeve alert apply FILE");
                    }
                }
                Said::Over { kind, subject } => {
                    let same = |alert: &&portreeve_alert::Alert| {
                        alert.kind.as_str() == kind && subject.as_ref().is_none_or(|subject| alert.subject == *subject)
                    };
                    let over: Vec<_> = self.desk.open().filter(same).map(|alert| alert.id).collect();
                    over.into_iter().for_each(|id| _ = self.desk.close(id));
                }
                // One so soon after another is refused where it is asked for.
                Said::Test if self.desk.settings().reach_somebody() => _ = self.desk.canary(at.min(now)),
                Said::Test => {}
            }
        }
    }
}

impl Hub {
    /// Takes what is to be told before the desk, and has sent what is due. The shell calls this about ten times a second, from the
    /// thread that tends detection, after it.
    pub fn tend_alerts(&self, now: Now) {
        self.inject_when_due(now.wall);
        let said = self.alerts.inbox.lock().drain();
        let mut state = self.alerts.state.lock();
        if now.wall < state.turned {
            state.desk.clamp(now.wall);
        }
        state.turned = now.wall;
        let mut told = self.take_reports(&mut state, now.wall);
        state.take(said, now.wall);
        self.look_at_contacts(&mut state, now.wall);
        self.look_at_canary(&mut state, now.wall);
        let due = state.desk.poll(now.wall);
        state.save(&self.registry, now.mono_ms);
        told.extend(due.iter().filter_map(escalated));
        for delivery in due {
            self.send(&mut state, delivery, now.wall);
        }
        *self.alerts.summary.lock() = state.summary();
        drop(state);
        told.iter().for_each(|told| self.tell_told(told));
    }

    /// What the couriers say: done, or not.
    fn take_reports(&self, state: &mut State, now: UnixMillis) -> Vec<Told> {
        let mut told = Vec::new();
        let ended = state.couriers.values_mut().filter_map(Courier::lost);
        let reports: Vec<Report> = state.reports.1.try_iter().chain(ended).collect();
        for (id, outcome) in reports {
            for courier in state.couriers.values_mut() {
                courier.done(id);
            }
            // One that was given up meanwhile is nobody's any more.
            match outcome {
                Ok(()) => {
                    let Ok(delivered) = state.desk.delivered(id, now) else { continue };
                    self.alerts.latency.observe(delivered.after);
                    let alert = delivered.alert.map(|alert| alert.to_string()).unwrap_or_default();
                    let after_ms = u64::try_from(delivered.after.as_millis()).unwrap_or(u64::MAX);
                    told.push(Told {
                        kind: EventKind::AlertSent,
                        alert,
                        channel: delivered.channel,
                        after_ms,
                        why: String::new(),
                    });
                }
                Err(failure) => {
                    let Some((channel, alert)) = state.desk.destination(id) else { continue };
                    let alert = alert.map(|alert| alert.to_string()).unwrap_or_default();
                    _ = state.desk.failed(id, &failure, now);
                    let why = failure.why().to_string();
                    told.push(Told { kind: EventKind::AlertFailed, alert, channel, after_ms: 0, why });
                }
            }
        }
        told
    }

    fn send(&self, state: &mut State, delivery: Delivery, now: UnixMillis) {
        let Some(channel) = state.desk.settings().channel(&delivery.channel).cloned() else { return };
        let (id, reports) = (delivery.id, state.reports.0.clone());
        if let ChannelKind::Mqtt(topic) = &channel.kind {
            let text = portreeve_alert::render_json(&delivery, &self.own_name());
            let sent = self.publish_alert(topic, text.as_bytes(), now);
            _ = reports.send((id, sent.map_err(|why| Failure::Transient(Line::new(why)))));
            return;
        }
        let name = channel.name.clone();
        if state.couriers.get(&name).is_none_or(|courier| !courier.serves(&channel)) {
            match Courier::start(channel, self.own_name(), reports.clone()) {
                Ok(courier) => _ = state.couriers.insert(name.clone(), courier),
                Err(error) => {
                    let why = Line::new(&format!("its thread cannot start: {error}"));
                    _ = reports.send((id, Err(Failure::Transient(why))));
                    return;
                }
            }
        }
        if let Some(courier) = state.couriers.get_mut(&name) {
            courier.hand_over(delivery, &reports);
        }
    }

    /// The name under which the hub speaks.
    fn own_name(&self) -> String {
        let named = self.config().hub.names.first().cloned();
        named.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().to_lowercase())
    }

    fn tell_told(&self, told: &Told) {
        let Told { kind, alert, channel, after_ms, why } = told;
        let all =
            [("alert", Datum::Plain(alert)), ("channel", Datum::Plain(channel)), ("after_ms", Datum::Plain(after_ms))];
        let data = &all[..kind.data().len()];
        self.tell(&Event::new(*kind, format_args!("{why}")).with(data));
    }

    /// What the shell knows of how the process is confined. Without it every channel can be reached.
    pub fn set_alert_reach(&self, reach: Reach) {
        // A second call would be a bug of the shell; the first stands.
        let _ = self.alerts.reach.set(reach);
    }

    /// How alerts stand, for metrics.
    #[must_use]
    pub fn alert_summary(&self) -> AlertSummary {
        self.alerts.summary.lock().clone()
    }

    /// How long it took from what called for a delivery to its end.
    #[must_use]
    pub fn alert_latency(&self) -> &AlertLatency {
        &self.alerts.latency
    }

    /// Keeps what is to be told, for the next start to send.
    pub(crate) fn keep_alerts(&self) {
        let now = self.wall_clock();
        let said = self.alerts.inbox.lock().drain();
        let mut state = self.alerts.state.lock();
        _ = self.take_reports(&mut state, now);
        state.take(said, now);
        state.unsaved.failed_ms = None;
        state.save(&self.registry, 0);
    }
}

/// What is to be an event once nobody waits.
struct Told {
    kind: EventKind,
    alert: String,
    channel: Word,
    after_ms: u64,
    why: String,
}

/// Whoever was on call did not answer, and this is for the next.
fn escalated(delivery: &Delivery) -> Option<Told> {
    let Notice::Alert { why: Why::Escalated, alert } = &delivery.notice else { return None };
    let (kind, channel) = (EventKind::AlertEscalated, delivery.channel.clone());
    let why = format!("to {}", delivery.contact);
    (delivery.attempt == 1).then(|| Told { kind, alert: alert.id.to_string(), channel, after_ms: 0, why })
}

#[cfg(test)]
mod tests {
    use portreeve_alert::{Occurrence, Severity};

    use super::*;

    fn raise(desk: &mut Desk, subject: &str) {
        desk.raise(Occurrence::new("store_full".parse().unwrap(), Severity::High, subject, ""), UnixMillis(1));
    }

    fn names(ops: &[RegistryOp]) -> Vec<String> {
        let name = |op: &RegistryOp| match op {
            RegistryOp::PutBlob { name, .. } | RegistryOp::DeleteBlob { name } => name.clone(),
            _ => unreachable!("records are blobs"),
        };
        ops.iter().map(name).collect()
    }

    /// A disk that takes nothing stops no alert, and what it did not take is written with the next that it does.
    #[test]
    fn what_could_not_be_written_is_kept_and_tried_again() {
        let (mut desk, mut unsaved) = (Desk::new(AlertSettings::nobody(), 7), Unsaved::default());
        raise(&mut desk, "a");
        let mut tries = 0;
        let mut fail = |unsaved: &mut Unsaved, desk: &mut Desk, mono_ms| {
            unsaved.commit(desk, mono_ms, |_| {
                tries += 1;
                Err("no space left".to_owned())
            });
        };
        fail(&mut unsaved, &mut desk, 1000);
        fail(&mut unsaved, &mut desk, 1500);
        fail(&mut unsaved, &mut desk, 2000);
        raise(&mut desk, "b");
        fail(&mut unsaved, &mut desk, 2100);
        assert_eq!(tries, 3, "without anything new once in {RETRY_MS} ms");
        assert!(desk.open().count() == 2 && !unsaved.ops.is_empty());
        let mut written = Vec::new();
        unsaved.commit(&mut desk, 3200, |ops| {
            written = names(ops);
            Ok(())
        });
        assert_eq!(written, ["alerts/alert/0", "alerts/alert/1", "alerts/desk", "alerts/kind/store_full"]);
        unsaved.commit(&mut desk, 9000, |_| unreachable!("nothing is left"));
    }

    /// A damaged record costs itself, and many cost the past, but never the start.
    #[test]
    fn damaged_records_are_let_go() {
        let mut desk = Desk::new(AlertSettings::nobody(), 7);
        raise(&mut desk, "a");
        raise(&mut desk, "b");
        let mut blobs: Vec<(String, Vec<u8>)> = desk
            .take_changes()
            .into_iter()
            .filter_map(|change| Some((format!("{PREFIX}{}", change.key), change.value?)))
            .collect();
        blobs.push(("finding/1".into(), b"of others".to_vec()));
        let restored = |blobs: &[(String, Vec<u8>)]| {
            let (desk, unsaved) = restore(AlertSettings::nobody(), blobs, UnixMillis(5));
            (desk.open().count(), unsaved.ops.len())
        };
        assert_eq!(restored(&blobs), (2, 0));
        let alert = blobs.iter_mut().find(|(name, _)| name == "alerts/alert/0").unwrap();
        alert.1.truncate(5);
        assert_eq!(restored(&blobs), (1, 1));
        blobs.extend((0..20).map(|number| (format!("{PREFIX}nonsense/{number}"), Vec::new())));
        let (open, gone) = restored(&blobs);
        assert!(open == 0 && gone >= 20, "{open} {gone}");
    }
}
