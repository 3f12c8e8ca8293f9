//! Events that peers can repeat at will: the first of a kind and subject is an entry, its repetitions are counted.

use std::{fmt::Write as _, net::IpAddr};

use hashbrown::HashMap;
use portreeve_events::{Event, Kind};
use portreeve_types::UnixMillis;

/// How long repetitions are counted before they are an entry, at first and at most, milliseconds.
const WINDOW_MIN_MS: u64 = 60_000;
const WINDOW_MAX_MS: u64 = 3_600_000;
/// Kinds and identities whose repetitions are counted apart. Beyond, those of a kind are counted together.
pub(crate) const SUBJECTS_MAX: usize = 32_768;
/// The same for sources of one kind: anybody can have many of them.
pub(crate) const SOURCES_PER_KIND_MAX: u32 = 256;

/// What was repeated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeated {
    pub(super) kind: Kind,
    pub(super) identity: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) source: Option<IpAddr>,
    /// How often after the entry before.
    pub(super) count: u64,
    pub(super) first: UnixMillis,
    pub(super) last: UnixMillis,
}

#[derive(Debug)]
struct Window {
    /// Without the one that is an entry already.
    repeated: Repeated,
    length_ms: u64,
    ends_ms: u64,
}

/// What comes again within its window. Bounded by [`SUBJECTS_MAX`] and one for each kind.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    windows: HashMap<String, Window>,
    sources: HashMap<Kind, u32>,
    /// So that counting allocates nothing.
    key: String,
}

impl Repeats {
    /// Whether this one is to be an entry. If not, it is counted. `mono_ms` is a clock that only goes forward.
    pub(super) fn is_entry(&mut self, event: &Event<'_>, at: UnixMillis, mono_ms: u64) -> bool {
        self.name(event.kind, event.identity, event.actor, event.source);
        if self.count(at) {
            return false;
        }
        let by_source = event.identity.is_none() && event.actor.is_none() && event.source.is_some();
        let sources = self.sources.get(&event.kind).copied().unwrap_or_default();
        let is_full = self.windows.len() >= SUBJECTS_MAX || (by_source && sources >= SOURCES_PER_KIND_MAX);
        if is_full {
            self.name(event.kind, None, None, None);
            if self.count(at) {
                return false;
            }
        } else if by_source {
            self.sources.insert(event.kind, sources + 1);
        }
        let repeated = Repeated {
            kind: event.kind,
            identity: event.identity.filter(|_| !is_full).map(ToOwned::to_owned),
            actor: event.actor.filter(|_| !is_full).map(ToOwned::to_owned),
            source: event.source.filter(|_| !is_full && by_source),
            count: 0,
            first: at,
            last: at,
        };
        let window = Window { repeated, length_ms: WINDOW_MIN_MS, ends_ms: mono_ms + WINDOW_MIN_MS };
        self.windows.insert(self.key.clone(), window);
        true
    }

    fn count(&mut self, at: UnixMillis) -> bool {
        let Some(window) = self.windows.get_mut(&self.key) else { return false };
        let repeated = &mut window.repeated;
        if repeated.count == 0 {
            repeated.first = at;
        }
        repeated.count += 1;
        repeated.last = at;
        true
    }

    /// The key of a kind and its subject.
    fn name(&mut self, kind: Kind, identity: Option<&str>, actor: Option<&str>, source: Option<IpAddr>) {
        self.key.clear();
        // Writing to a string cannot fail. A slash is in no name.
        let _ = match (identity, actor, source) {
            (None, None, None) => write!(self.key, "{}", kind as usize),
            (None, None, Some(source)) => write!(self.key, "{}//{}", kind as usize, network_of(source)),
            (identity, actor, _) => {
                write!(self.key, "{}/{}/{}", kind as usize, identity.unwrap_or_default(), actor.unwrap_or_default())
            }
        };
    }

    /// What was repeated in windows that are over; with `all`, in all. A window in which something was is followed by a longer one.
    pub(super) fn due(&mut self, mono_ms: u64, all: bool) -> Vec<Repeated> {
        let mut due = Vec::new();
        let sources = &mut self.sources;
        self.windows.retain(|_, window| {
            if window.ends_ms > mono_ms && !all {
                return true;
            }
            let Repeated { kind, identity, actor, source, count, first, last } = &mut window.repeated;
            if *count == 0 {
                if source.is_some() {
                    sources.entry(*kind).and_modify(|sources| *sources = sources.saturating_sub(1));
                }
                return false;
            }
            let (identity, actor, source) = (identity.clone(), actor.clone(), *source);
            let count = std::mem::take(count);
            due.push(Repeated { kind: *kind, identity, actor, source, count, first: *first, last: *last });
            window.length_ms = (window.length_ms * 2).min(WINDOW_MAX_MS);
            window.ends_ms = mono_ms + window.length_ms;
            true
        });
        due
    }
}

/// One host has as many IPv6 addresses of its network as it likes.
fn network_of(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixMillis = UnixMillis(1_000_000);

    fn denied(identity: &str) -> Event<'_> {
        Event::new(Kind::PublishDenied, format_args!("")).about(identity)
    }

    fn refused(source: IpAddr) -> Event<'static> {
        Event::new(Kind::HandshakeRefused, format_args!("")).from(source)
    }

    #[test]
    fn the_first_is_an_entry_and_the_rest_a_number() {
        let mut repeats = Repeats::default();
        let entries = (0..1000).filter(|n| repeats.is_entry(&denied("a"), UnixMillis(T.0 + n), 0)).count();
        assert_eq!(entries, 1);
        assert!(repeats.is_entry(&denied("b"), T, 0) && repeats.is_entry(&refused([10, 0, 0, 1].into()), T, 0));
        assert!(repeats.due(WINDOW_MIN_MS - 1, false).is_empty());
        let due = repeats.due(WINDOW_MIN_MS, false);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].count, due[0].identity.as_deref()), (999, Some("a")));
        assert_eq!((due[0].first, due[0].last), (UnixMillis(T.0 + 1), UnixMillis(T.0 + 999)));
        // Those that stopped are forgotten: the next is an entry again.
        assert!(repeats.is_entry(&denied("b"), T, WINDOW_MIN_MS));
        assert!(!repeats.is_entry(&denied("a"), T, WINDOW_MIN_MS));
    }

    /// Who goes on for a day is some thirty entries, not one a minute.
    #[test]
    fn what_does_not_stop_is_told_ever_more_rarely() {
        let mut repeats = Repeats::default();
        let (mut entries, mut counted) = (0, 0);
        for second in 0..86_400 {
            entries += u64::from(repeats.is_entry(&denied("a"), T, second * 1000));
            let due = repeats.due(second * 1000, false);
            entries += due.len() as u64;
            counted += due.iter().map(|repeated| repeated.count).sum::<u64>();
        }
        counted += repeats.due(86_400_000, true).iter().map(|repeated| repeated.count).sum::<u64>();
        assert!(entries < 32, "{entries}");
        assert_eq!(counted + 1, 86_400, "and none is forgotten");
    }

    /// A million failures from as many addresses are a few hundred entries, and hide neither an identity nor another kind.
    #[test]
    fn a_flood_from_everywhere_is_bounded() {
        let mut repeats = Repeats::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let entries = (0..1_000_000).filter(|n| repeats.is_entry(&refused(address(*n)), T, 0)).count();
        assert_eq!(entries, SOURCES_PER_KIND_MAX as usize + 1);
        assert!(repeats.is_entry(&denied("a"), T, 0));
        let due = repeats.due(WINDOW_MIN_MS, false);
        assert_eq!(due.iter().map(|repeated| repeated.count).sum::<u64>() + entries as u64, 1_000_000);
        assert_eq!(due.len(), 1, "all others came once");
        // Two operators are two subjects.
        let asks = |actor| Event::new(Kind::AdminDenied, format_args!("")).by(actor);
        assert!(["alice", "bob"].iter().all(|actor| repeats.is_entry(&asks(actor), T, 0)));
        assert!(!repeats.is_entry(&asks("bob"), T, 0));
        let same = |n: u16| IpAddr::from([0x2001, 0xdb8, 1, 2, n, n, n, n]);
        assert_eq!(
            (0..1000).filter(|n| repeats.is_entry(&refused(same(*n)), T, WINDOW_MIN_MS)).count(),
            1,
            "one network"
        );
        // Identities are bounded too, whoever registered them.
        let names: Vec<_> = (0..SUBJECTS_MAX + 10).map(|n| format!("d{n}")).collect();
        let entries = names.iter().filter(|name| repeats.is_entry(&denied(name), T, WINDOW_MIN_MS)).count();
        assert!(entries <= SUBJECTS_MAX + 1 && repeats.windows.len() <= SUBJECTS_MAX + Kind::ALL.len());
        // When it is over, there is room again.
        assert!(repeats.due(u64::MAX / 2, false).len() <= Kind::ALL.len());
        let _ = repeats.due(u64::MAX, false);
        assert!(repeats.windows.is_empty() && repeats.sources.values().all(|sources| *sources == 0));
    }
}
