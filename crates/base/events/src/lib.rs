//! The one schema of security events: what happened, how grave it is, whose doing it was, whom it befalls, and why.
//!
//! [`Kind`] is the table of all kinds, [`Event`] one that happens, [`Entry`] what the ledger keeps of it. [`Events`] counts each
//! (metrics read the counts), logs each with structured fields, and bounds the log: a flood of one kind cannot fill the disk nor
//! hide the first of its kind.
//!
//! *Invariants*
//! - The peer never sees an event's detail: it gets a code, the log gets the reason.
//! - Every event is counted, also when its log line is suppressed.
//! - Personal values (operators' names, addresses) are in an entry only as salted commitments: who deletes the [`Opening`] has
//!   deleted the value, and the entry still proves.

mod entry;
mod kind;
mod log;
mod personal;
mod reference;

use std::{fmt, net::IpAddr};

pub use entry::{DETAIL_CHARS_MAX, Entry, Participant, THE_HUB};
pub use kind::{Kind, Party, Recording, Severity};
pub use log::{Events, LOG_LINES_PER_KIND_PER_S};
pub use personal::{Commitment, Named, Opening, VALUE_BYTES_MAX};
pub use reference::reference_markdown;

/// One value that an event carries beside who, where from and why.
#[derive(Clone, Copy)]
pub enum Datum<'a> {
    /// To be read by whoever reads the ledger.
    Plain(&'a dyn fmt::Display),
    /// A person's: in the ledger it is a commitment.
    Personal(&'a dyn fmt::Display),
}

impl fmt::Display for Datum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(value) | Self::Personal(value) => value.fmt(f),
        }
    }
}

impl fmt::Debug for Datum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One event. Borrowed: building it costs nothing until somebody keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// What happened.
    pub kind: Kind,
    /// The operator whose request it was, or the part of the hub that did it.
    pub actor: Option<&'a str>,
    /// The identity that did it or that it befalls, by registry name.
    pub identity: Option<&'a str>,
    /// The MQTT client identifier.
    pub client_id: Option<&'a str>,
    /// Where from.
    pub source: Option<IpAddr>,
    /// Why, precisely. Never sent to the peer; names no person and no address.
    pub detail: fmt::Arguments<'a>,
    /// What the kind says that it may carry.
    pub data: &'a [(&'static str, Datum<'a>)],
}

impl<'a> Event<'a> {
    /// An event of which nothing more is known.
    #[must_use]
    pub fn new(kind: Kind, detail: fmt::Arguments<'a>) -> Self {
        Self { kind, actor: None, identity: None, client_id: None, source: None, detail, data: &[] }
    }

    /// Whose request it was.
    #[must_use]
    pub fn by(self, actor: &'a str) -> Self {
        Self { actor: Some(actor), ..self }
    }

    /// Which identity.
    #[must_use]
    pub fn about(self, identity: &'a str) -> Self {
        Self { identity: Some(identity), ..self }
    }

    /// Where from.
    #[must_use]
    pub fn from(self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    /// What else is known, by names that the kind declares.
    #[must_use]
    pub fn with(self, data: &'a [(&'static str, Datum<'a>)]) -> Self {
        debug_assert!(data.iter().all(|(name, _)| self.kind.data().contains(name)), "{data:?} of {:?}", self.kind);
        Self { data, ..self }
    }
}
