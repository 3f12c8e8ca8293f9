//! What a certificate is good for and how long, by the kind of its owner; when it is renewed, and by whom it may be.

use std::{fmt, time::Duration};

use portreeve_types::{Kind, UnixMillis};

use crate::{
    DEVICE_LIFETIME_MAX, HUB_LIFETIME_MAX, PkiError,
    authority::{Purpose, SERIAL_BYTES, check_lifetime},
};

/// Lifetime of a client's certificate that renews by itself, unless the operator wants it shorter or longer.
pub const LEAF_LIFETIME_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Lifetime of the hub's certificate, unless the operator wants it shorter or longer.
pub const HUB_LIFETIME_DEFAULT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A device, gateway or application of the registry: it connects and never serves.
    Client(Kind),
    /// The hub's own listeners: it serves and never connects.
    Hub,
}

/// The terms on which certificates of one role are issued. Every certificate of a client names the registry's opaque
/// identifier and nothing else: no personal and no place data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    role: Role,
    lifetime: Duration,
}

impl Profile {
    /// The profile of a role, with the default lifetime.
    #[must_use]
    pub fn new(role: Role) -> Self {
        let lifetime = match role {
            Role::Client(_) => LEAF_LIFETIME_DEFAULT,
            Role::Hub => HUB_LIFETIME_DEFAULT,
        };
        Self { role, lifetime }
    }

    /// The same with another lifetime.
    ///
    /// # Errors
    /// [`PkiError::Lifetime`] outside 1 s to [`Self::lifetime_max`].
    pub fn with_lifetime(self, lifetime: Duration) -> Result<Self, PkiError> {
        check_lifetime(lifetime, self.lifetime_max())?;
        Ok(Self { lifetime, ..self })
    }

    /// Whom it is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// How long its certificates live.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// How long they may live at most: a year for clients (CSA-CRD-09).
    #[must_use]
    pub fn lifetime_max(&self) -> Duration {
        match self.role {
            Role::Client(_) => DEVICE_LIFETIME_MAX,
            Role::Hub => HUB_LIFETIME_MAX,
        }
    }

    /// What the issuing CA has to be for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        match self.role {
            Role::Client(_) => Purpose::Client,
            Role::Hub => Purpose::Server,
        }
    }
}

/// When a certificate is to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalWindow {
    /// Earlier than this, a renewal is refused: half of the life.
    pub opens: UnixMillis,
    /// When its owner asks for the next: two thirds of the life, a twentieth of it more or less.
    pub renew_at: UnixMillis,
    /// The end of the certificate.
    pub closes: UnixMillis,
}

impl RenewalWindow {
    /// The window of a certificate that was received at `from` and lives until `until`. `entropy`, any 64 random bits,
    /// decides when inside the jitter: a fleet that was enrolled in one minute does not come back in one (IOTSF-2.4.7.25).
    #[must_use]
    pub fn new(from: UnixMillis, until: UnixMillis, entropy: u64) -> Self {
        let life_ms = until.0.saturating_sub(from.0);
        let jitter_ms = (u128::from(life_ms / 10) * u128::from(entropy)) >> 64;
        let earliest_ms = life_ms / 3 * 2 - life_ms / 20;
        // The product above is below life_ms / 10, so it fits.
        let jitter_ms = u64::try_from(jitter_ms).unwrap_or(0);
        Self {
            opens: UnixMillis(from.0 + life_ms / 2),
            renew_at: UnixMillis(from.0 + earliest_ms + jitter_ms),
            closes: until,
        }
    }
}

/// How many certificates an identity had before this one.
///
/// The registry is where the counter lives: it decides. The certificate repeats it, in the last four bytes of its
/// serial number, because a decision must survive a registry that was restored from an old copy: a certificate that is
/// ahead of the registry proves that the registry went back. The serial number is signed, shown by every tool, and
/// needs no extension of our own; 126 random bits remain in it, and 20 bytes are what RFC 5280 §4.1.2.2 allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

impl Generation {
    /// The generation of a serial number as issued by profile; `None` for one from before there were profiles.
    #[must_use]
    pub fn of_serial(serial: &[u8]) -> Option<Self> {
        let counter = serial.get(SERIAL_BYTES..)?;
        Some(Self(u32::from_be_bytes(counter.try_into().ok()?)))
    }

    /// The next one. After four thousand million renewals it stays where it is.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    pub(crate) fn append_to(self, serial: &mut Vec<u8>) {
        serial.extend(self.0.to_be_bytes());
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known when a renewal is asked for with a certificate that is otherwise in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalFacts {
    /// The generation of the certificate that was presented.
    pub presented: Generation,
    /// The newest generation that was issued to this identity.
    pub newest: Generation,
    /// Whether somebody has connected with a certificate of the newest generation.
    pub newest_seen: bool,
    /// Whether the request is for the very key that the newest certificate certifies.
    pub asks_for_newest_key: bool,
}

/// What to do about a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalDecision {
    /// Issue a certificate of this generation.
    Issue(Generation),
    /// Send the newest certificate once more: the answer to the first request was lost on its way.
    Repeat,
    /// This generation was renewed before: two hold the same identity. A finding.
    Clone,
    /// The certificate is ahead of the registry, which must have been set back. A finding; nothing is issued.
    RegistryBehind,
}

/// Decides about a renewal (issue "clones": the renewal of an already renewed generation is a finding).
///
/// One retry is told from a clone by the key: who never got the answer asks again with the same new key, which a clone
/// does not hold, and nobody has used the answer yet.
#[must_use]
pub fn decide_renewal(facts: RenewalFacts) -> RenewalDecision {
    if facts.presented > facts.newest {
        return RenewalDecision::RegistryBehind;
    }
    if facts.presented == facts.newest {
        return RenewalDecision::Issue(facts.newest.next());
    }
    let answer_was_lost = facts.presented.next() == facts.newest && facts.asks_for_newest_key && !facts.newest_seen;
    if answer_was_lost { RenewalDecision::Repeat } else { RenewalDecision::Clone }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decision_table() {
        use RenewalDecision::{Clone, Issue, RegistryBehind, Repeat};
        // presented, newest, newest seen, same key as the newest
        for (presented, newest, newest_seen, asks_for_newest_key, expected) in [
            (0, 0, true, false, Issue(Generation(1))),
            (0, 0, false, false, Issue(Generation(1))),
            (4, 4, true, true, Issue(Generation(5))),
            (3, 4, false, true, Repeat),
            (3, 4, true, true, Clone),
            (3, 4, false, false, Clone),
            (3, 4, true, false, Clone),
            (2, 4, false, true, Clone),
            (0, 4, true, false, Clone),
            (5, 4, true, false, RegistryBehind),
            (5, 4, false, true, RegistryBehind),
            (u32::MAX, u32::MAX, true, false, Issue(Generation(u32::MAX))),
        ] {
            let (presented, newest) = (Generation(presented), Generation(newest));
            let facts = RenewalFacts { presented, newest, newest_seen, asks_for_newest_key };
            assert_eq!(decide_renewal(facts), expected, "{facts:?}");
        }
    }

    /// Whatever happens, two different keys never both follow one generation.
    #[test]
    fn one_generation_has_one_successor() {
        for presented in 0..4 {
            for newest in presented + 1..5 {
                for newest_seen in [false, true] {
                    let (presented, newest) = (Generation(presented), Generation(newest));
                    let facts = RenewalFacts { presented, newest, newest_seen, asks_for_newest_key: false };
                    assert_eq!(decide_renewal(facts), RenewalDecision::Clone, "{facts:?}");
                }
            }
        }
    }

    #[test]
    fn renewal_is_at_two_thirds_of_life_with_jitter() {
        let (from, until) = (UnixMillis(1_000_000), UnixMillis(1_000_000 + 60_000));
        let at = |entropy| RenewalWindow::new(from, until, entropy);
        assert_eq!(
            at(0),
            RenewalWindow { opens: UnixMillis(1_030_000), renew_at: UnixMillis(1_037_000), closes: until }
        );
        assert_eq!(at(u64::MAX).renew_at, UnixMillis(1_042_999));
        assert_eq!(at(1 << 63).renew_at, UnixMillis(1_040_000));
    }

    #[test]
    fn a_window_has_its_parts_in_order_whatever_the_times() {
        for (from, until) in [(0, 0), (0, 1), (5, 4), (7, 27), (0, u64::MAX), (u64::MAX, u64::MAX)] {
            for entropy in [0, 1, u64::MAX / 2, u64::MAX] {
                let window = RenewalWindow::new(UnixMillis(from), UnixMillis(until), entropy);
                let in_order = window.renew_at <= window.closes || from >= until;
                assert!(in_order && window.opens.0 >= from, "{from} {until} {window:?}");
            }
        }
    }

    #[test]
    fn lifetimes_are_capped_by_role() {
        let device = Profile::new(Role::Client(Kind::Device));
        assert_eq!(device.lifetime(), Duration::from_secs(604_800));
        assert!(device.with_lifetime(DEVICE_LIFETIME_MAX).is_ok());
        let too_long = DEVICE_LIFETIME_MAX + Duration::from_secs(1);
        assert!(matches!(device.with_lifetime(too_long), Err(PkiError::Lifetime { .. })));
        assert!(matches!(device.with_lifetime(Duration::ZERO), Err(PkiError::Lifetime { .. })));
        assert!(matches!(Profile::new(Role::Hub).with_lifetime(DEVICE_LIFETIME_MAX), Err(PkiError::Lifetime { .. })));
    }

    #[test]
    fn generations_are_read_from_serial_numbers_of_twenty_bytes_only() {
        let mut serial = vec![0x40; SERIAL_BYTES];
        assert_eq!(Generation::of_serial(&serial), None);
        Generation(0x0102_0304).append_to(&mut serial);
        assert_eq!(Generation::of_serial(&serial), Some(Generation(0x0102_0304)));
        assert_eq!(Generation::of_serial(&serial[1..]), None);
        serial.push(0);
        assert_eq!(Generation::of_serial(&serial), None);
        assert_eq!(Generation::of_serial(&[]), None);
    }
}
