//! Security events of devices and gateways themselves: one form, and a number by which a missing one or an old one shows.
//!
//! A device publishes them on `devices/<name>/security`, as a JSON object (CSA-MSU-05, CSA-SOP-03):
//!
//! | field | what |
//! | --- | --- |
//! | `seq` | the number of the event, one more than that of the one before |
//! | `epoch` | begins the numbers anew when it grows, as a boot counter does; 0 where it is not said |
//! | `kind` | a word, such as `tamper_switch` |
//! | `severity` | `info`, `warning` or `error`; `warning` where it is not said |
//! | `at_ms` | the device's own time, milliseconds of the Unix epoch |
//! | `detail` | a text |

use hashbrown::HashMap;
use parking_lot::Mutex;
use portreeve_events::{Datum, Event, Kind as EventKind, Severity};
use portreeve_store::{RegistryOp, StoreError};
use portreeve_types::{Bucket, IdentityId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{Hub, Now, broker::Session};

/// Longest event.
const EVENT_BYTES_MAX: usize = 4096;
/// Longest kind, and what it is made of.
const KIND_CHARS_MAX: usize = 64;
/// Events of one device that are recorded at once, and how long it takes until one more is.
const EVENTS_BURST: u64 = 20;
const EVENT_EVERY_S: u64 = 10;
/// Devices whose place one commit writes; the rest is for the next second.
const WRITTEN_AT_ONCE: usize = 256;

/// What a device says.
#[derive(Debug, Deserialize)]
struct SecurityEvent {
    seq: u64,
    #[serde(default)]
    epoch: u64,
    kind: String,
    severity: Option<Severity>,
    at_ms: Option<UnixMillis>,
    #[serde(default)]
    detail: String,
}

impl SecurityEvent {
    fn read(payload: &[u8]) -> Option<Self> {
        if payload.len() > EVENT_BYTES_MAX {
            return None;
        }
        let event: Self = serde_json::from_slice(payload).ok()?;
        let is_word = |kind: &str| {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            !kind.is_empty() && kind.len() <= KIND_CHARS_MAX && kind.bytes().all(plain)
        };
        is_word(&event.kind).then_some(event)
    }
}

/// The last event of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    epoch: u64,
    seq: u64,
}

/// How an event follows the one before.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    /// As it should, or it is the first that is known.
    Next,
    /// Those from this number on are missing.
    Gap(u64),
    /// It was here before, or should have been: this number was due.
    Old(u64),
}

impl Place {
    fn order(before: Option<Self>, now: Self) -> Order {
        let Some(before) = before else { return Order::Next };
        let due = before.seq.saturating_add(1);
        match now.epoch.cmp(&before.epoch) {
            std::cmp::Ordering::Greater => Order::Next,
            std::cmp::Ordering::Less => Order::Old(due),
            std::cmp::Ordering::Equal if now.seq == due => Order::Next,
            std::cmp::Ordering::Equal if now.seq > due => Order::Gap(due),
            std::cmp::Ordering::Equal => Order::Old(due),
        }
    }
}

/// Where each device's numbers are. One entry for an identity at most.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    known: Mutex<HashMap<IdentityId, Known>>,
}

#[derive(Debug)]
struct Known {
    place: Option<Place>,
    is_written: bool,
    rate: Bucket,
}

fn document_of(id: IdentityId) -> String {
    format!("security/{id}")
}

impl Hub {
    /// Takes note of a device's security event. Nobody waits for the disk here.
    pub(crate) fn take_security_event(&self, session: &Session, payload: &[u8], now: Now) {
        let Some(said) = SecurityEvent::read(payload) else {
            let why = format_args!("a security event that is no such JSON object of at most {EVENT_BYTES_MAX} bytes");
            return self.emit_for(session, EventKind::ReportRefused, why);
        };
        let place = Place { epoch: said.epoch, seq: said.seq };
        let Some(order) = self.follow(session.key.identity, place, now) else {
            let why = format_args!("it reports security events more often than once in {EVENT_EVERY_S} s");
            return self.emit_for(session, EventKind::ReportRefused, why);
        };
        let name = session.name.as_str();
        let severity = said.severity.unwrap_or(Severity::Warning).as_str();
        let device_at_ms = said.at_ms.map_or(String::new(), |at| at.0.to_string());
        let data = [
            ("reported", Datum::Plain(&said.kind)),
            ("severity", Datum::Plain(&severity)),
            ("seq", Datum::Plain(&said.seq)),
            ("epoch", Datum::Plain(&said.epoch)),
            ("device_at_ms", Datum::Plain(&device_at_ms)),
        ];
        let detail = format_args!("{}", said.detail);
        self.tell(&Event::new(EventKind::SecurityReported, detail).about(name).with(&data));
        let (kind, due) = match order {
            Order::Next => return self.watch_sequence(name, said.epoch, said.seq, said.at_ms),
            Order::Gap(due) => (EventKind::SecurityGap, due),
            Order::Old(due) => (EventKind::SecurityReplayed, due),
        };
        self.watch_order(name, due, said.seq);
        let data = [("expected", Datum::Plain(&due)), ("seq", Datum::Plain(&said.seq))];
        let detail = format_args!("{}", said.kind);
        self.tell(&Event::new(kind, detail).about(name).with(&data));
    }

    /// How an event follows the one before; `None` if the device says too much. One from before moves nothing.
    fn follow(&self, id: IdentityId, place: Place, now: Now) -> Option<Order> {
        let mut known = self.sequences.known.lock();
        let known = known.entry(id).or_insert_with(|| Known {
            place: self.stored_place(id),
            is_written: true,
            rate: Bucket::new(1, EVENTS_BURST * EVENT_EVERY_S, now.mono_ms),
        });
        if !known.rate.take(EVENT_EVERY_S, now.mono_ms) {
            return None;
        }
        let order = Place::order(known.place, place);
        if !matches!(order, Order::Old(_)) {
            known.place = Some(place);
            known.is_written = false;
        }
        Some(order)
    }

    fn stored_place(&self, id: IdentityId) -> Option<Place> {
        let bytes = self.registry.document(&document_of(id)).ok().flatten()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Writes down where devices' numbers are.
    ///
    /// # Errors
    /// The store's; it is tried again.
    pub(crate) fn flush_sequences(&self, at_most: usize) -> Result<(), StoreError> {
        let changed: Vec<(IdentityId, Place)> = {
            let known = self.sequences.known.lock();
            let changed = known.iter().filter(|(_, known)| !known.is_written);
            changed.filter_map(|(id, known)| Some((*id, known.place?))).take(at_most).collect()
        };
        if changed.is_empty() {
            return Ok(());
        }
        let put = |(id, place): &(IdentityId, Place)| RegistryOp::PutDocument {
            name: document_of(*id),
            // A struct of plain values always has a JSON form.
            bytes: serde_json::to_vec(place).unwrap_or_default(),
        };
        self.registry.put_blobs(&changed.iter().map(put).collect::<Vec<_>>())?;
        let mut known = self.sequences.known.lock();
        for (id, place) in changed {
            if let Some(known) = known.get_mut(&id) {
                known.is_written = known.place == Some(place);
            }
        }
        Ok(())
    }

    /// The same, some of them, for the clock.
    pub(crate) fn flush_some_sequences(&self) {
        if let Err(error) = self.flush_sequences(WRITTEN_AT_ONCE) {
            tracing::warn!(%error, "where devices' security events are could not be written; it is tried again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_what_is_missing_and_what_is_old() {
        let place = |epoch, seq| Place { epoch, seq };
        let after = |now| Place::order(Some(place(3, 10)), now);
        assert_eq!(Place::order(None, place(0, 77)), Order::Next);
        assert_eq!(after(place(3, 11)), Order::Next);
        assert_eq!(after(place(3, 14)), Order::Gap(11));
        assert_eq!(after(place(3, 10)), Order::Old(11));
        assert_eq!(after(place(3, 0)), Order::Old(11));
        assert_eq!(after(place(4, 0)), Order::Next);
        assert_eq!(after(place(2, 11)), Order::Old(11));
        assert_eq!(Place::order(Some(place(0, u64::MAX)), place(0, u64::MAX)), Order::Next, "no number follows it");
    }

    #[test]
    fn only_its_form_is_taken() {
        let read = |text: &str| SecurityEvent::read(text.as_bytes());
        let full = read(r#"{"seq":7,"epoch":2,"kind":"tamper_switch","severity":"error","at_ms":5,"detail":"open"}"#);
        assert!(full.is_some_and(|event| event.seq == 7 && event.epoch == 2));
        assert!(read(r#"{"seq":7,"kind":"boot","more":{"of":"its own"}}"#).is_some());
        let long = format!(r#"{{"seq":7,"kind":"boot","detail":"{}"}}"#, "x".repeat(EVENT_BYTES_MAX));
        let kind = format!(r#"{{"seq":7,"kind":"{}"}}"#, "x".repeat(KIND_CHARS_MAX + 1));
        let bad = [
            "",
            "[]",
            "{}",
            r#"{"seq":7}"#,
            r#"{"seq":-1,"kind":"boot"}"#,
            r#"{"seq":7,"kind":""}"#,
            &long,
            &kind,
            r#"{"seq":7,"kind":"Boot\n"}"#,
            r#"{"seq":7,"kind":"boot","severity":"terrible"}"#,
        ];
        for text in bad {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
