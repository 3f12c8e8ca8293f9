//! What is counted by source, caller, zone and across the hub.

use crate::{
    Notice, Observation,
    clock::Clock,
    detectors::{
        api_misuse::{self, Caller},
        auth_failures, beaconing, config_out_of_window, connection_rate, half_open, keep_alive_abuse, known_bad,
        malformed_packets,
        mass_loss::{self, Place},
        reconnect_storm, watch_full,
    },
    device::Loss,
    episode::{Desk, Episodes},
    finding::{OpenEpisode, Subject},
    settings::RuleBook,
    stats::{Meter, Rhythm, Window},
    table::{Place as Found, Table},
    watch::World,
};
use portreeve_types::{UnixMillis, source_of};
use std::{net::IpAddr, sync::Arc};

/// A source that was idle for this long is forgotten without a word.
const IDLE_MS: u64 = 30 * 60 * 1000;
/// Rows of each table that one tick looks at.
const TICK_ROWS_MAX: usize = 1_024;

/// What is remembered of one source.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) episodes: Episodes,
    pub(crate) used_ms: u64,
    pub(crate) auth_failed: Window,
    pub(crate) connects: Window,
    pub(crate) half_open: Window,
    pub(crate) long_keep_alive: Window,
    pub(crate) malformed: Window,
    pub(crate) refused: Rhythm,
}

impl Source {
    /// A source that did more in the last time matters more than the noise around it.
    fn interest(&self, clock_ms: u64) -> Option<u64> {
        if !self.episodes.is_empty() {
            return None;
        }
        let windows = [&self.auth_failed, &self.connects, &self.half_open, &self.long_keep_alive, &self.malformed];
        let counts: usize = windows.iter().map(|window| window.len()).sum();
        let is_idle = clock_ms.saturating_sub(self.used_ms) > IDLE_MS;
        let counts = if is_idle { 0 } else { counts.min(0xff) as u64 };
        Some(counts << 48 | self.used_ms & 0xffff_ffff_ffff)
    }
}

/// What is remembered of the hub as a whole.
#[derive(Debug, Default)]
pub(crate) struct HubState {
    pub(crate) episodes: Episodes,
    pub(crate) auth_failed: Window,
    pub(crate) half_open: Window,
    pub(crate) connects: Meter,
}

#[derive(Debug)]
pub(crate) struct Site {
    clock: Clock,
    book: Arc<RuleBook>,
    sources: Table<IpAddr, Source>,
    pub(crate) callers: Table<Arc<str>, Caller>,
    zones: Table<Arc<str>, Place>,
    radios: Table<Arc<str>, Place>,
    pub(crate) hub: HubState,
}

/// Whether a place is a zone or a radio.
#[derive(Clone, Copy)]
enum Kind {
    Zone,
    Radio,
}

impl Site {
    pub(crate) fn new(book: &Arc<RuleBook>) -> Self {
        let general = &book.hub.settings.general;
        let places = || Table::new(general.zones_max as usize);
        Self {
            clock: Clock::default(),
            book: Arc::clone(book),
            sources: Table::new(general.sources_max as usize),
            callers: Table::new(general.callers_max as usize),
            zones: places(),
            radios: places(),
            hub: HubState::default(),
        }
    }

    /// Takes other thresholds. The bounds of tables stay until the next start.
    pub(crate) fn configure(&mut self, book: &Arc<RuleBook>) {
        self.book = Arc::clone(book);
    }

    /// Whether a source's own episode tells of a failure to authenticate, so that nobody else's need.
    pub(crate) fn tells_of(&mut self, source: IpAddr, world: &World, now: UnixMillis, out: &mut Vec<Notice>) -> bool {
        let clock_ms = self.clock.advance(now);
        let Some(row) = self.sources.row(&source_of(source)) else { return false };
        let desk = world.desk(&self.book.hub, clock_ms, now, out);
        desk.goes_on(&mut row.episodes, crate::Detector::AuthFailures)
    }

    /// An identity's episode tells of the failures from this source: they are not counted again.
    pub(crate) fn forgive(&mut self, source: Option<IpAddr>) {
        self.hub.auth_failed.clear();
        if let Some(row) = source.and_then(|source| self.sources.row(&source_of(source))) {
            row.auth_failed.clear();
        }
    }

    pub(crate) fn auth_failed(
        &mut self,
        source: Option<IpAddr>,
        door: &str,
        world: &World,
        now: UnixMillis,
        out: &mut Vec<Notice>,
    ) {
        let told = source.and_then(|source| {
            self.with_source(source, world, now, out, |row, desk, address| {
                known_bad::judge_source(row, desk, address);
                beaconing::judge_source(row, desk, address);
                auth_failures::judge_source(row, desk, address, door)
            })
        });
        if told == Some(true) {
            self.hub.auth_failed.clear();
            return;
        }
        let mut desk = world.desk(&self.book.hub, self.clock.advance(now), now, out);
        auth_failures::judge_hub(&mut self.hub, &mut desk);
    }

    /// What else concerns a source or a caller.
    pub(crate) fn observe(
        &mut self,
        observation: &Observation<'_>,
        world: &World,
        now: UnixMillis,
        out: &mut Vec<Notice>,
    ) {
        match *observation {
            Observation::Connected { zone, radio, source, keep_alive_s, .. } => {
                self.with_source(source, world, now, out, |row, desk, address| {
                    connection_rate::judge(row, desk, address);
                    keep_alive_abuse::judge_source(row, desk, address, keep_alive_s);
                });
                let mut desk = world.desk(&self.book.hub, self.clock.advance(now), now, out);
                reconnect_storm::judge_hub(&mut self.hub, &mut desk);
                for (kind, name) in [(Kind::Zone, zone), (Kind::Radio, radio)] {
                    name.and_then(|name| self.place(kind, name, world, now, out))
                        .map(Place::joined)
                        .unwrap_or_default();
                }
            }
            Observation::HalfOpen { source } => {
                let told = self.with_source(source, world, now, out, |row, desk, address| {
                    known_bad::judge_source(row, desk, address);
                    half_open::judge_source(row, desk, address)
                });
                if told == Some(true) {
                    self.hub.half_open.clear();
                    return;
                }
                let mut desk = world.desk(&self.book.hub, self.clock.advance(now), now, out);
                half_open::judge_hub(&mut self.hub, &mut desk);
            }
            Observation::Malformed { identity: None, source: Some(source) } => {
                self.with_source(source, world, now, out, malformed_packets::judge_source);
            }
            Observation::AdminCall { caller, request, is_refused } => {
                self.with_caller(caller, world, now, out, |row, desk, subject| {
                    api_misuse::judge(row, desk, request, is_refused, subject);
                });
            }
            Observation::ConfigChanged { actor, what } => {
                self.with_caller(actor, world, now, out, |row, desk, subject| {
                    config_out_of_window::judge(row, desk, what, subject);
                });
            }
            _ => {}
        }
    }

    /// A session of a device ended. If it was lost, that may be the loss of a whole zone or, if not, of a radio.
    pub(crate) fn left(&mut self, left: &Loss, is_loss: bool, world: &World, now: UnixMillis, out: &mut Vec<Notice>) {
        for (kind, name) in [(Kind::Zone, &left.zone), (Kind::Radio, &left.radio)] {
            if let Some(place) = name.as_ref().and_then(|name| self.place(kind, name, world, now, out)) {
                place.left();
            }
        }
        if is_loss {
            self.lost(left, world, now, out);
        }
    }

    /// A device was lost.
    pub(crate) fn lost(&mut self, loss: &Loss, world: &World, now: UnixMillis, out: &mut Vec<Notice>) {
        for (kind, name) in [(Kind::Zone, &loss.zone), (Kind::Radio, &loss.radio)] {
            let Some(name) = name else { continue };
            let clock_ms = self.clock.advance(now);
            let (places, subject): (_, fn(Arc<str>) -> Subject) = match kind {
                Kind::Zone => (&mut self.zones, Subject::Zone),
                Kind::Radio => (&mut self.radios, Subject::Radio),
            };
            let Some(place) = places.row(name) else { continue };
            let mut desk = world.desk(&self.book.hub, clock_ms, now, out);
            if mass_loss::judge(place, &mut desk, loss, || subject(Arc::clone(name))) {
                return;
            }
        }
    }

    /// Ends episodes that are over; the zones and radios that are lost.
    pub(crate) fn tick(&mut self, world: &World, now: UnixMillis, out: &mut Vec<Notice>) -> Vec<Arc<str>> {
        let clock_ms = self.clock.advance(now);
        let mut desk = world.desk(&self.book.hub, clock_ms, now, out);
        desk.expire(&mut self.hub.episodes, || Subject::Hub);
        self.sources.walk(TICK_ROWS_MAX, |address, row| {
            desk.expire(&mut row.episodes, || Subject::Source(*address));
        });
        self.callers.walk(TICK_ROWS_MAX, |name, row| {
            desk.expire(&mut row.episodes, || Subject::Caller(Arc::clone(name)));
        });
        self.zones.walk(TICK_ROWS_MAX, |name, row| {
            desk.expire(&mut row.episodes, || Subject::Zone(Arc::clone(name)));
        });
        self.radios.walk(TICK_ROWS_MAX, |name, row| {
            desk.expire(&mut row.episodes, || Subject::Radio(Arc::clone(name)));
        });
        let is_lost = |row: &Place| desk.has_open(&row.episodes, crate::Detector::MassLoss);
        let places = self.zones.rows().chain(self.radios.rows());
        places.filter(|(_, row)| is_lost(row)).map(|(name, _)| Arc::clone(name)).collect()
    }

    pub(crate) fn open_episodes(&self, into: &mut Vec<OpenEpisode>) {
        let clock_ms = self.clock.elapsed_ms();
        into.extend(self.hub.episodes.open(clock_ms, &Subject::Hub));
        for (address, row) in self.sources.rows() {
            into.extend(row.episodes.open(clock_ms, &Subject::Source(*address)));
        }
        for (name, row) in self.callers.rows() {
            into.extend(row.episodes.open(clock_ms, &Subject::Caller(Arc::clone(name))));
        }
        for (name, row) in self.zones.rows() {
            into.extend(row.episodes.open(clock_ms, &Subject::Zone(Arc::clone(name))));
        }
        for (name, row) in self.radios.rows() {
            into.extend(row.episodes.open(clock_ms, &Subject::Radio(Arc::clone(name))));
        }
    }

    pub(crate) fn sources(&self) -> usize {
        self.sources.len()
    }

    /// `None` if there is no room for the source.
    fn with_source<T>(
        &mut self,
        source: IpAddr,
        world: &World,
        now: UnixMillis,
        out: &mut Vec<Notice>,
        judge: impl FnOnce(&mut Source, &mut Desk<'_>, IpAddr) -> T,
    ) -> Option<T> {
        let clock_ms = self.clock.advance(now);
        let address = source_of(source);
        let mut desk = world.desk(&self.book.hub, clock_ms, now, out);
        let found = self.sources.place(&address, || (address, Source::default()), |row| row.interest(clock_ms));
        let used_ms = |interest: u64| interest & 0xffff_ffff_ffff;
        if is_crowded(&found, clock_ms, used_ms) {
            watch_full::judge(&mut self.hub.episodes, &mut desk, "sources", self.book.hub.settings.general.sources_max);
        }
        let (Found::Held(row) | Found::Instead(row, _)) = found else { return None };
        row.used_ms = clock_ms;
        Some(judge(row, &mut desk, address))
    }

    fn with_caller(
        &mut self,
        name: &str,
        world: &World,
        now: UnixMillis,
        out: &mut Vec<Notice>,
        judge: impl FnOnce(&mut Caller, &mut Desk<'_>, &dyn Fn() -> Subject),
    ) {
        let clock_ms = self.clock.advance(now);
        let general = &self.book.hub.settings.general;
        let mut desk = world.desk(&self.book.hub, clock_ms, now, out);
        let learns_until_ms = clock_ms + u64::from(general.new_device_learn_s) * 1000;
        let make = || (name.into(), Caller { learns_until_ms, ..Caller::default() });
        let found = self.callers.place(name, make, Caller::interest);
        if is_crowded(&found, clock_ms, |used_ms| used_ms) {
            watch_full::judge(&mut self.hub.episodes, &mut desk, "callers", general.callers_max);
        }
        let (Found::Held(row) | Found::Instead(row, _)) = found else { return };
        row.used_ms = clock_ms;
        desk.is_learning |= clock_ms < row.learns_until_ms;
        judge(row, &mut desk, &|| Subject::Caller(name.into()));
    }

    fn place(
        &mut self,
        kind: Kind,
        name: &str,
        world: &World,
        now: UnixMillis,
        out: &mut Vec<Notice>,
    ) -> Option<&mut Place> {
        let clock_ms = self.clock.advance(now);
        let general = &self.book.hub.settings.general;
        let (places, what) = match kind {
            Kind::Zone => (&mut self.zones, "zones"),
            Kind::Radio => (&mut self.radios, "radios"),
        };
        let found = places.place(name, || (name.into(), Place::default()), Place::interest);
        if is_crowded(&found, clock_ms, |interest| interest & !(1 << 63)) {
            let mut desk = world.desk(&self.book.hub, clock_ms, now, out);
            watch_full::judge(&mut self.hub.episodes, &mut desk, what, general.zones_max);
        }
        let (Found::Held(place) | Found::Instead(place, _)) = found else { return None };
        place.used_ms = clock_ms;
        Some(place)
    }
}

/// Whether somebody had to go, or stay outside, about whom there was something to remember.
pub(crate) fn is_crowded<R>(found: &Found<'_, R>, clock_ms: u64, used_ms: impl Fn(u64) -> u64) -> bool {
    match found {
        Found::Held(_) => false,
        Found::Instead(_, interest) => clock_ms.saturating_sub(used_ms(*interest)) < IDLE_MS,
        Found::Full => true,
    }
}
