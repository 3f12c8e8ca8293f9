//! From what the hub does to what detectors observe.

use portreeve_detect::{Ending, Observation};
use portreeve_events::{Event, Kind};
use portreeve_store::IdentityRow;
use portreeve_types::UnixMillis;

use crate::{
    Hub, Now,
    broker::{Session, Traffic},
};

/// Requests that change how the hub or the fleet is set up, for which there may be windows (CSA-SCN-05). What an incident asks for
/// (a revocation, an approval, a case) has no hours.
const CONFIGURING: &[&str] = &[
    "policy-apply",
    "reload",
    "detect-apply",
    "detect-freeze",
    "detect-thaw",
    "alert-apply",
    "response-apply",
    "enrolment-group-add",
    "enrolment-group-crls",
    "enrolment-group-list",
    "enrolment-group-remove",
    "device-edit",
    "device-import",
    "sbom-add",
    "sbom-remove",
    "ca-rotate",
    "ca-import",
    "root-rotate",
    "trust-rotate",
];

impl Hub {
    /// Observes an event.
    pub(crate) fn watch_event(&self, event: &Event<'_>, now: UnixMillis) {
        let Event { kind, identity, source, actor, .. } = *event;
        let observation = match kind {
            Kind::HandshakeRefused => Observation::AuthFailed { identity: None, source, door: "tls" },
            Kind::IdentityRefused | Kind::ConnectRefused => Observation::AuthFailed { identity, source, door: "mqtt" },
            // Whose name is given here is a stranger's word: it is not held against whoever has that name.
            Kind::EnrolmentRefused | Kind::KeyReuseRefused if actor.is_none() => {
                Observation::AuthFailed { identity: None, source, door: "enrolment" }
            }
            Kind::PublishDenied | Kind::SubscribeDenied | Kind::WillDenied => {
                let Some(identity) = identity else { return };
                Observation::Denied { identity, what: kind.as_str() }
            }
            Kind::HandshakeTimeout | Kind::AdmissionRefused => {
                let Some(source) = source else { return };
                Observation::HalfOpen { source }
            }
            Kind::ProtocolViolation => Observation::Malformed { identity, source },
            Kind::TwoPlaces | Kind::CloneSuspected => {
                let Some(identity) = identity else { return };
                Observation::Duplicate { identity, is_certain: kind == Kind::CloneSuspected }
            }
            Kind::AdminRead | Kind::AdminRequested | Kind::AdminDenied => {
                let Some(caller) = actor else { return };
                return self.watch_call(caller, &request_of(event), kind, now);
            }
            _ => return,
        };
        self.watcher.observe(&observation, now);
    }

    fn watch_call(&self, caller: &str, request: &str, kind: Kind, now: UnixMillis) {
        let is_refused = kind == Kind::AdminDenied;
        self.watcher.observe(&Observation::AdminCall { caller, request, is_refused }, now);
        if kind == Kind::AdminRequested && CONFIGURING.contains(&request) {
            self.watcher.observe(&Observation::ConfigChanged { actor: caller, what: request }, now);
        }
    }

    /// Observes what a connection published to a topic.
    pub(crate) fn watch_traffic(&self, session: &Session, topic: &str, traffic: &Traffic, now: Now) {
        let observation = Observation::Traffic {
            identity: session.name.as_str(),
            topic,
            messages: traffic.messages,
            bytes: traffic.bytes,
            largest_bytes: u32::try_from(traffic.largest_bytes).unwrap_or(u32::MAX),
            window_ms: traffic.window_ms(now.mono_ms),
        };
        self.watcher.observe(&observation, self.wall_clock());
    }

    /// Observes that a client connected.
    pub(crate) fn watch_connected(&self, session: &Session, keep_alive_s: u16) {
        self.note_place(session.key.identity, session.peer.load().address);
        let row = self.registry.row(session.key.identity);
        let text = |of: fn(&IdentityRow) -> &str| row.as_deref().map(of).filter(|text| !text.is_empty());
        let observation = Observation::Connected {
            identity: session.name.as_str(),
            group: text(|row| &row.group),
            zone: text(|row| &row.location),
            radio: None,
            source: session.peer.load().address,
            client_id: session.key.client_id.as_str(),
            keep_alive_s,
        };
        self.watcher.observe(&observation, self.wall_clock());
    }

    /// Observes that a client said no more than that it is there.
    pub(crate) fn watch_heartbeat(&self, session: &Session) {
        self.watcher.observe(&Observation::Heartbeat { identity: session.name.as_str() }, self.wall_clock());
    }

    /// Observes the end of a connection.
    pub(crate) fn watch_ended(&self, session: &Session, how: Ending) {
        self.note_place(session.key.identity, session.peer.load().address);
        let observation = Observation::Disconnected { identity: session.name.as_str(), how };
        self.watcher.observe(&observation, self.wall_clock());
    }

    /// Observes that a device runs another firmware than before, as it says.
    pub(crate) fn watch_firmware(&self, identity: &str, before: &str, after: &str) {
        if before != after && !before.is_empty() && !after.is_empty() {
            self.watcher.observe(&Observation::Firmware { identity, before, after }, self.wall_clock());
        }
    }

    /// Observes the number of a device's security event. Numbers go on through epochs.
    pub(crate) fn watch_sequence(&self, identity: &str, epoch: u64, seq: u64, device_time: Option<UnixMillis>) {
        let seq = (epoch << 32) | (seq & u64::from(u32::MAX));
        let observation = Observation::Sequence { identity, channel: "security", seq, device_time };
        self.watcher.observe(&observation, self.wall_clock());
    }

    /// Observes that a device's security event is not the one that was due.
    pub(crate) fn watch_order(&self, identity: &str, expected: u64, seq: u64) {
        let observation = Observation::OutOfOrder { identity, channel: "security", expected, seq };
        self.watcher.observe(&observation, self.wall_clock());
    }

    /// Observes what a device says of its own state.
    pub(crate) fn watch_vitals(&self, identity: &str, battery_percent: Option<f64>, numbers: &[(&str, f64)]) {
        self.watcher.observe(&Observation::Vitals { identity, battery_percent, numbers }, self.wall_clock());
    }

    /// Nobody follows an identity that is no more.
    pub(crate) fn unwatch(&self, row: &IdentityRow) {
        self.watcher.watch.forget(row.name.as_str());
    }
}

/// Which request an event is about.
fn request_of(event: &Event<'_>) -> String {
    let request = event.data.iter().find(|(name, _)| *name == "request");
    request.map(|(_, request)| request.to_string()).unwrap_or_default()
}
