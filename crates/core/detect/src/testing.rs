//! A watch on a clock that the test moves.

use crate::{Closing, DetectSettings, Detector, Finding, Notice, Observation, Watch};
use portreeve_types::UnixMillis;
use std::net::{IpAddr, Ipv4Addr};

/// 2026-11-02T12:00:00Z, a Monday.
const START: UnixMillis = UnixMillis(1_793_620_800_000);
/// Time passes in steps of at most this.
const STEP_MS: u64 = 60_000;

pub(crate) struct Bench {
    pub(crate) watch: Watch,
    now: UnixMillis,
    out: Vec<Notice>,
}

impl Bench {
    pub(crate) fn learning() -> Self {
        Self::of_learning(&DetectSettings::default())
    }

    fn of_learning(settings: &DetectSettings) -> Self {
        Self { watch: Watch::new(settings).unwrap(), now: START, out: Vec::new() }
    }

    pub(crate) fn of(settings: &DetectSettings) -> Self {
        let bench = Self::of_learning(settings);
        bench.watch.freeze();
        bench
    }

    pub(crate) fn frozen() -> Self {
        Self::of(&DetectSettings::default())
    }

    /// Ends learning, of those too whose own learning time is not over.
    pub(crate) fn freeze(&mut self) {
        self.watch.freeze();
        self.watch.end_learning();
    }

    pub(crate) fn see(&mut self, observation: &Observation<'_>) {
        self.watch.observe(observation, self.now, &mut self.out);
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        let until = self.now.0 + seconds * 1000;
        while self.now.0 < until {
            self.now.0 = until.min(self.now.0 + STEP_MS);
            self.watch.tick(self.now, &mut self.out);
        }
    }

    pub(crate) fn jump(&mut self, by_ms: i64) {
        self.now.0 = self.now.0.saturating_add_signed(by_ms);
    }

    pub(crate) fn set(&mut self, now: UnixMillis) {
        self.now = now;
    }

    pub(crate) fn opened(&self) -> Vec<&Finding> {
        self.out
            .iter()
            .filter_map(|notice| if let Notice::Opened(finding) = notice { Some(finding) } else { None })
            .collect()
    }

    pub(crate) fn opened_of(&self, kind: Detector) -> Vec<&Finding> {
        self.opened().into_iter().filter(|finding| finding.kind == kind).collect()
    }

    pub(crate) fn closed(&self) -> Vec<&Closing> {
        self.out
            .iter()
            .filter_map(|notice| if let Notice::Closed(closing) = notice { Some(closing) } else { None })
            .collect()
    }
}

/// A rehearsal finds exactly one, marked, and touches nothing; one of a detector that is switched off finds none.
pub(crate) fn canary(kind: Detector) {
    let bench = Bench::learning();
    let before = (bench.watch.save(), bench.watch.usage());
    for _ in 0..2 {
        let found = bench.watch.rehearse(kind, START);
        assert_eq!(found.len(), 1, "{kind:?}: {found:?}");
        assert!(found[0].canary && found[0].opened == START && found[0].requirements == kind.row().requirements);
    }
    assert_eq!((bench.watch.save(), bench.watch.usage()), before);
    assert!(bench.watch.open_episodes().is_empty());
    let off = DetectSettings { off: [kind].into(), ..DetectSettings::default() };
    assert!(Bench::of(&off).watch.rehearse(kind, START).is_empty());
}

pub(crate) fn ip(host: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + host))
}

pub(crate) fn connect(identity: &str, source: IpAddr) -> Observation<'_> {
    connect_with(identity, source, 60)
}

pub(crate) fn connect_with(identity: &str, source: IpAddr, keep_alive_s: u16) -> Observation<'_> {
    let (group, zone, radio, client_id) = (None, None, None, identity);
    Observation::Connected { identity, group, zone, radio, source, client_id, keep_alive_s }
}

pub(crate) fn publish<'a>(identity: &'a str, topic: &'a str, messages: u64, largest_bytes: u32) -> Observation<'a> {
    let bytes = messages * u64::from(largest_bytes);
    Observation::Traffic { identity, topic, messages, bytes, largest_bytes, window_ms: 10_000 }
}
