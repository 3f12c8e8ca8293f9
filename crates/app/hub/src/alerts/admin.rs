//! What operators ask of alerts.

use portreeve_alert::{
    Alert, AlertId, AlertSettings, CANARY_INTERVAL, Channel, DeadLetter, DeliveryId, DeskError, Notice,
    Outcome as Sent, Timing,
};
use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_store::RegistryOp;
use portreeve_types::UnixMillis;
use serde_json::{Value, json};

use super::{SETTINGS, State, parse, self_watch::test_since};
use crate::{Actor, AdminError, Hub, Outcome};

impl From<DeskError> for AdminError {
    fn from(error: DeskError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl Hub {
    /// Takes other settings into use; everything that is wrong with them has line and column.
    pub(crate) fn alert_apply(
        &self,
        file: &str,
        text: &str,
        dry_run: bool,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        let settings = parse(file, text).map_err(AdminError::Invalid)?;
        let told = json!({
            "applied": !dry_run,
            "channels": settings.channels().len(),
            "contacts": settings.contacts().len(),
            "after_restart": self.out_of_reach(&settings),
            "overdue_contacts": settings.overdue_contacts(now).map(|contact| contact.name.as_str()).collect::<Vec<_>>(),
        });
        if dry_run {
            return Ok(told);
        }
        let mut state = self.alerts.state.lock();
        let put = RegistryOp::PutDocument { name: SETTINGS.into(), bytes: text.as_bytes().to_vec() };
        self.registry.put_blobs(&[put])?;
        state.desk.apply(settings, now);
        text.clone_into(&mut state.text);
        state.self_watch.restart(now);
        let State { couriers, desk, .. } = &mut *state;
        couriers.retain(|name, courier| desk.settings().channel(name).is_some_and(|channel| courier.serves(channel)));
        state.save(&self.registry, 0);
        *self.alerts.summary.lock() = state.summary();
        Ok(told)
    }

    /// The channels that the process, confined as it is, cannot use before it is started again.
    fn out_of_reach(&self, settings: &AlertSettings) -> Vec<String> {
        let far = |channel: &&Channel| !self.reaches(channel);
        settings.channels().iter().filter(far).map(|channel| channel.name.to_string()).collect()
    }

    fn reaches(&self, channel: &Channel) -> bool {
        self.alerts.reach.get().is_none_or(|reach| reach(&channel.kind))
    }

    /// The settings as they were applied. A webhook's address in them may be a secret.
    pub(crate) fn alert_show(&self) -> Value {
        json!({ "settings": self.alerts.state.lock().text })
    }

    /// Open alerts, the oldest first; with `all`, also those that somebody has taken on, and tests.
    pub(crate) fn alert_list(&self, all: bool) -> Value {
        let state = self.alerts.state.lock();
        let wanted = |alert: &&Alert| all || (alert.acknowledged.is_none() && !alert.canary);
        let alerts: Vec<&Alert> = state.desk.open().filter(wanted).collect();
        json!({ "reach_somebody": state.desk.settings().reach_somebody(), "alerts": alerts })
    }

    /// Somebody takes an alert on.
    pub(crate) fn alert_ack(&self, actor: &Actor, id: u64, now: UnixMillis) -> Result<Value, AdminError> {
        let mut state = self.alerts.state.lock();
        state.desk.acknowledge(AlertId(id), &actor.name, now)?;
        self.keep(&mut state);
        drop(state);
        let data = [("alert", Datum::Plain(&id))];
        self.tell(&Event::new(EventKind::AlertAcknowledged, format_args!("")).by(&actor.name).with(&data));
        Ok(json!({ "acknowledged": id }))
    }

    /// Sends a test through every channel. How it went [`Self::alert_timings`] knows.
    pub(crate) fn alert_test(&self, now: UnixMillis) -> Result<Value, AdminError> {
        let mut state = self.alerts.state.lock();
        if !state.desk.settings().reach_somebody() {
            return Err(AdminError::Refused("alerts reach nobody: portreeve alert apply FILE".into()));
        }
        let id = state.desk.canary(now)?;
        self.keep(&mut state);
        Ok(json!({ "alert": id, "since_ms": now }))
    }

    /// How the deliveries of the newest test since then stand.
    pub(crate) fn alert_timings(&self, since: UnixMillis) -> Value {
        let state = self.alerts.state.lock();
        let id = test_since(&state, since);
        let timings = id.map(|id| state.desk.timings(id).unwrap_or_default());
        let is_done = timings
            .as_ref()
            .is_some_and(|timings| !timings.iter().any(|timing| matches!(timing.outcome, Sent::Waiting { .. })));
        let rows: Vec<Value> = timings.iter().flatten().map(timing_json).collect();
        json!({ "alert": id, "done": is_done, "deliveries": rows })
    }

    /// What was given up, the oldest first.
    pub(crate) fn alert_dead(&self) -> Value {
        let state = self.alerts.state.lock();
        let letters: Vec<Value> = state.desk.dead_letters().map(letter_json).collect();
        json!({ "dropped": state.desk.dead_letters_dropped(), "letters": letters })
    }

    /// Queues what was given up again.
    pub(crate) fn alert_resend(&self, id: u64, now: UnixMillis) -> Result<Value, AdminError> {
        let mut state = self.alerts.state.lock();
        state.desk.resend(DeliveryId(id), now)?;
        self.keep(&mut state);
        Ok(json!({ "queued": id }))
    }

    /// Each channel: what it is, where it goes, and how it does.
    pub(crate) fn alert_channels(&self) -> Value {
        let state = self.alerts.state.lock();
        let row = |channel: &Channel| {
            let lane = state.desk.channels().find(|(name, ..)| **name == channel.name);
            let (waiting, failures) = lane.map_or((0, 0), |(_, waiting, failures)| (waiting, failures));
            let at = match &channel.kind {
                portreeve_alert::ChannelKind::Mqtt(topic) => topic.to_string(),
                kind => kind.server().map(ToString::to_string).unwrap_or_default(),
            };
            let word = match (self.reaches(channel), failures) {
                (false, _) => "after a restart",
                (true, 0) => "ok",
                (true, _) => "failing",
            };
            json!({
                "name": channel.name, "kind": channel.kind.as_str(), "at": at, "state": word,
                "waiting": waiting, "failures": failures,
            })
        };
        state.desk.settings().channels().iter().map(row).collect()
    }

    /// For `status`.
    pub(crate) fn alert_status(&self) -> Value {
        let summary = self.alert_summary();
        json!({
            "reach_somebody": summary.reach_somebody,
            "open": summary.open,
            "waiting": summary.channels.iter().map(|channel| channel.waiting).sum::<u64>(),
            "failing": summary.channels.iter().filter(|channel| channel.failures > 0).map(|channel| &channel.name).collect::<Vec<_>>(),
            "dead_letters": summary.dead_letters,
            "unsaved": summary.unsaved,
        })
    }

    /// Has every detector find what it must find; the test that this sends through every channel is timed from here on.
    pub(crate) fn canary(&self, actor: &Actor, now: UnixMillis) -> Result<Outcome, AdminError> {
        let tested_at = self.alerts.state.lock().desk.tested_at();
        if tested_at.is_some_and(|at| now.since(at) < CANARY_INTERVAL) {
            return Err(DeskError::TooSoon.into());
        }
        let rehearsed = self.inject(&actor.name, now);
        let told: Vec<Value> = rehearsed
            .iter()
            .map(|(detector, found)| json!({ "detector": detector.as_str(), "found": found }))
            .collect();
        let failed = rehearsed.iter().any(|(_, found)| !found);
        let reach = self.alert_summary().reach_somebody;
        let result = json!({ "detectors": told, "since_ms": now, "reach_somebody": reach });
        Ok(Outcome { result, failed })
    }

    fn keep(&self, state: &mut State) {
        state.save(&self.registry, 0);
        *self.alerts.summary.lock() = state.summary();
    }
}

fn timing_json(timing: &Timing) -> Value {
    let Timing { channel, contact, outcome } = timing;
    match outcome {
        Sent::Delivered(after) => {
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            json!({ "channel": channel, "contact": contact, "state": "delivered", "after_ms": after_ms })
        }
        Sent::Waiting { attempts, why } => {
            json!({ "channel": channel, "contact": contact, "state": "waiting", "attempts": attempts, "why": why })
        }
        Sent::Failed(why) => json!({ "channel": channel, "contact": contact, "state": "failed", "why": why }),
    }
}

fn letter_json(letter: &DeadLetter) -> Value {
    let what = match letter.notice() {
        Notice::Alert { alert, .. } => format!("{} {}", alert.kind, alert.subject),
        Notice::Digest(digest) => format!("digest of {}", digest.total()),
    };
    json!({
        "delivery": letter.id(), "channel": letter.channel(), "contact": letter.contact(), "what": what,
        "severity": letter.notice().severity(), "given_up_ms": letter.at, "why": letter.why,
    })
}
