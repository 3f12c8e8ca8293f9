//! What the ledger keeps of an event: one line of JSON.

use std::{collections::BTreeMap, fmt::Write as _};

use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Commitment, Datum, Event, Named, Party, Severity};

/// Longest detail of an entry, and longest value of its data; more is cut off.
pub const DETAIL_CHARS_MAX: usize = 1024;
const VERSION: u8 = 1;
/// What the hub calls itself where an operator's name would stand.
pub const THE_HUB: &str = "the hub";

/// Whose doing it was, or whom it befell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Participant {
    /// What it is.
    pub role: Party,
    /// Who, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Named>,
}

/// One entry (CSA-MSU-05: initiator, receiver, time, data and kind).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    v: u8,
    /// When; of repetitions, the last.
    pub at_ms: UnixMillis,
    /// Which kind of event, by its name: a newer hub may know more.
    pub kind: String,
    /// How grave.
    pub severity: Severity,
    /// Whose doing.
    pub initiator: Participant,
    /// Whom it befell.
    pub receiver: Participant,
    /// The MQTT client identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Named>,
    /// Where from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Named>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What the kind's description names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, Named>,
    /// How many such events it stands for, where that is not one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// When the first of several was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<UnixMillis>,
}

impl Entry {
    /// The entry of an event. `seal` commits to a personal value, and keeps what opens it.
    pub fn new(event: &Event<'_>, at: UnixMillis, mut seal: impl FnMut(&str) -> Commitment) -> Self {
        let mut personal = |value: &str| Named::Personal { sha256: seal(value) };
        let name_of = |party: Party, personal: &mut dyn FnMut(&str) -> Named| match party {
            Party::Operator => event.actor.map(personal),
            Party::Identity => event.identity.map(|name| Named::Plain(name.to_owned())),
            Party::Stranger | Party::Hub => None,
        };
        let mut participant = |role| match event.actor.filter(|actor| role == Party::Operator && is_hub(actor)) {
            Some(part) => Participant { role: Party::Hub, name: Some(Named::Plain(part.to_owned())) },
            None => Participant { role, name: name_of(role, &mut personal) },
        };
        let (initiator, receiver) = (participant(event.kind.initiator()), participant(event.kind.receiver()));
        let mut data: BTreeMap<_, _> =
            event.data.iter().map(|(name, datum)| ((*name).to_owned(), value_of(datum, &mut personal))).collect();
        // What there is nothing to say of is not said.
        data.retain(|_, value| !matches!(value, Named::Plain(text) if text.is_empty()));
        // What neither initiator nor receiver tells.
        let is_told = [event.kind.initiator(), event.kind.receiver()].contains(&Party::Identity);
        if let Some(identity) = event.identity.filter(|_| !is_told) {
            data.insert("identity".into(), Named::Plain(identity.to_owned()));
        }
        let is_told = [event.kind.initiator(), event.kind.receiver()].contains(&Party::Operator);
        if let Some(actor) = event.actor.filter(|_| !is_told) {
            data.insert("actor".into(), personal(actor));
        }
        // A device's client identifier is its name and what it puts behind it; an application's can be anybody's.
        let is_own = |id: &&str| event.identity.is_some_and(|name| id.starts_with(name));
        let client_id = event.client_id.map(|id| match Some(id).filter(is_own) {
            Some(own) => Named::Plain(own.to_owned()),
            None => personal(id),
        });
        Self {
            v: VERSION,
            at_ms: at,
            kind: event.kind.as_str().to_owned(),
            severity: event.kind.severity(),
            initiator,
            receiver,
            client_id,
            source: event.source.map(|source| personal(&source.to_string())),
            detail: bounded(&event.detail),
            data,
            count: None,
            first_ms: None,
        }
    }

    /// The same for so many events, of which the first was then.
    #[must_use]
    pub fn repeated(self, count: u64, first: UnixMillis) -> Self {
        Self { count: Some(count), first_ms: Some(first), ..self }
    }

    /// As it stands in the ledger.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of plain values always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What an entry of the ledger says.
    ///
    /// # Errors
    /// It is not of this form.
    pub fn from_bytes(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }
}

/// Whether an actor is the hub itself, or a part of it. No user is called that: user names have no spaces.
fn is_hub(actor: &str) -> bool {
    actor == THE_HUB || actor.strip_prefix(THE_HUB).is_some_and(|part| part.starts_with(": "))
}

fn value_of(datum: &Datum<'_>, personal: &mut dyn FnMut(&str) -> Named) -> Named {
    match datum {
        Datum::Plain(value) => Named::Plain(bounded(value)),
        Datum::Personal(value) => personal(&value.to_string()),
    }
}

/// The beginning of a text that can be as long as it likes.
fn bounded(text: &dyn std::fmt::Display) -> String {
    struct Bounded(String, usize);
    impl std::fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            for c in text.chars() {
                self.1 = self.1.checked_sub(1).ok_or(std::fmt::Error)?;
                self.0.push(c);
            }
            Ok(())
        }
    }
    let mut kept = Bounded(String::new(), DETAIL_CHARS_MAX);
    // An error says that there was more.
    let _ = write!(kept, "{text}");
    kept.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Opening};

    fn entry(event: &Event<'_>) -> (Entry, Vec<Opening>) {
        let mut openings = Vec::new();
        let made = Entry::new(event, UnixMillis(7), |value| {
            let salt = [u8::try_from(openings.len()).unwrap(); 16];
            openings.push(Opening::new(value, salt));
            openings[openings.len() - 1].sha256.clone()
        });
        (made, openings)
    }

    /// CSA-MSU-05: initiator, receiver, time, data and kind are in every entry, whatever the kind.
    #[test]
    fn every_kind_has_all_that_an_entry_needs() {
        for &kind in Kind::ALL {
            let data: Vec<_> = kind.data().iter().map(|name| (*name, Datum::Plain(&"value"))).collect();
            let event = Event::new(kind, format_args!("why")).by("alice").about("lamp-1").with(&data);
            let event = Event { client_id: Some("lamp-1:a"), ..event.from([192, 0, 2, 1].into()) };
            let (made, openings) = entry(&event);
            assert_eq!((made.initiator.role, made.receiver.role), (kind.initiator(), kind.receiver()));
            let text = String::from_utf8(made.to_bytes()).unwrap();
            assert!(!text.contains("alice") && !text.contains("192.0.2.1"), "{text}");
            assert!(text.contains("lamp-1") && text.contains(kind.as_str()), "{text}");
            let values: Vec<_> = openings.iter().map(|opening| opening.value.as_str()).collect();
            assert!(values.contains(&"alice") && values.contains(&"192.0.2.1"), "{values:?}");
            assert_eq!(Entry::from_bytes(text.as_bytes()).unwrap(), made);
        }
    }

    #[test]
    fn what_the_hub_does_by_itself_is_its_own() {
        let by = |actor| entry(&Event::new(Kind::IdentityChanged, format_args!("")).by(actor)).0.initiator;
        for actor in ["the hub", "the hub: enrolment"] {
            let hub = Participant { role: Party::Hub, name: Some(Named::Plain(actor.into())) };
            assert_eq!(by(actor), hub);
        }
        assert!(["hub", "the hubris"].map(by).iter().all(|initiator| initiator.role == Party::Operator));
    }

    #[test]
    fn what_peers_can_make_long_is_cut_off() {
        let long = "ü\n".repeat(100_000);
        let (made, _) = entry(&Event::new(Kind::ProtocolViolation, format_args!("{long}")));
        assert_eq!(made.detail.chars().count(), DETAIL_CHARS_MAX);
        assert!(!made.to_bytes().contains(&b'\n'), "one line, whatever is in it");
        let other = Event { client_id: Some("somebody"), ..Event::new(Kind::SessionStarted, format_args!("")) };
        assert!(matches!(entry(&other.about("app")).0.client_id, Some(Named::Personal { .. })));
    }
}
