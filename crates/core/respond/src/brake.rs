//! The brake: how many distinct identities rules touched within an hour.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use portreeve_types::IdentityId;

use crate::Source;

/// The hour that the brake looks back, milliseconds.
pub const BRAKE_WINDOW_MS: u64 = 3_600_000;
/// Most identities, or sources, that are counted in one class. Rules touch no more within an hour, whatever share of the fleet that is.
pub const BRAKE_ENTRIES_MAX: usize = 10_000;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Throttled, disconnected, or behind a blocked source.
    Interrupt,
    /// Quarantined.
    Confine,
    /// A blocked source that nobody is known behind.
    Stranger,
}

impl Class {
    pub(crate) const ALL: [Self; 3] = [Self::Interrupt, Self::Confine, Self::Stranger];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Confine => "confine",
            Self::Stranger => "stranger",
        }
    }
}

/// Who is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Touched {
    Identity(IdentityId),
    Source(Source),
}

impl fmt::Display for Touched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(id) => id.fmt(f),
            Self::Source(source) => source.fmt(f),
        }
    }
}

impl FromStr for Touched {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let identity = uuid::Uuid::parse_str(text).ok().map(|id| Self::Identity(IdentityId(id)));
        let read = identity.or_else(|| text.parse().ok().map(Self::Source));
        read.filter(|touched| touched.to_string() == text).ok_or_else(|| "neither an identity nor a source".to_owned())
    }
}

/// Who was touched within the last hour, and when last, by the running clock.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    touched_ms: BTreeMap<Class, BTreeMap<Touched, u64>>,
    /// Nobody is let go of before.
    due_ms: u64,
}

impl Brake {
    /// Counts `touched`, all or none of them: none if that would be more than `allowed` within the hour. Who is counted already
    /// costs nothing, but stays counted for another hour. Nothing is ever given back, so that lifting opens no way round.
    pub(crate) fn admit(&mut self, class: Class, touched: &BTreeSet<Touched>, allowed: u64, running_ms: u64) -> bool {
        let counted = self.touched_ms.entry(class).or_default();
        let new = touched.iter().filter(|who| !counted.contains_key(who)).count();
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX).min(BRAKE_ENTRIES_MAX);
        if new > 0 && counted.len() + new > allowed {
            return false;
        }
        counted.extend(touched.iter().map(|who| (*who, running_ms)));
        true
    }

    /// Lets go of those that were last touched an hour ago, and returns them.
    pub(crate) fn forget(&mut self, running_ms: u64) -> Vec<(Class, Touched)> {
        if running_ms < self.due_ms {
            return Vec::new();
        }
        let is_over = |at_ms: u64| running_ms.saturating_sub(at_ms) >= BRAKE_WINDOW_MS;
        let over: Vec<_> =
            self.iter().filter(|(.., at_ms)| is_over(*at_ms)).map(|(class, who, _)| (class, who)).collect();
        for (class, who) in &over {
            self.touched_ms.entry(*class).or_default().remove(who);
        }
        // Who is touched from now on goes later than any of these.
        let oldest_ms = self.iter().map(|(.., at_ms)| at_ms).min().unwrap_or(running_ms);
        self.due_ms = oldest_ms.saturating_add(BRAKE_WINDOW_MS);
        over
    }

    /// Takes one up that was stored.
    ///
    /// # Errors
    /// When there are too many of its class.
    pub(crate) fn restore(&mut self, class: Class, touched: Touched, at_ms: u64) -> Result<(), String> {
        let counted = self.touched_ms.entry(class).or_default();
        if counted.len() >= BRAKE_ENTRIES_MAX {
            return Err(format!("more than {BRAKE_ENTRIES_MAX} of one class"));
        }
        counted.insert(touched, at_ms);
        self.due_ms = 0;
        Ok(())
    }

    /// How many are counted within the hour.
    pub(crate) fn used(&self) -> usize {
        self.touched_ms.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Class, Touched, u64)> {
        self.touched_ms.iter().flat_map(|(class, counted)| counted.iter().map(|(who, at_ms)| (*class, *who, *at_ms)))
    }
}
