//! The watch: shards of identities, and the site.

use crate::{
    DetectSettings, Detector, Finding, Notice, Observation, SettingsError,
    clock::Clock,
    detectors::{self, heartbeat_lost, watch_full},
    device::{Device, Learnt, Loss, identity},
    episode::{Counted, Desk},
    finding::{OpenEpisode, Subject},
    hash::hash_of,
    observation::Ending,
    rehearsal,
    saved::{self, LoadError, Saved, SavedDevice},
    settings::{RuleBook, Rules},
    site::{Site, is_crowded},
    stats::Meter,
    table::{Place, Table},
};
use portreeve_types::UnixMillis;
use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

/// Locks that identities are spread over.
const SHARDS: usize = 16;
/// Identities of a shard that one tick looks at: 16,384 in all.
const TICK_IDENTITIES_MAX: usize = 1_024;
/// Between two steps of a rehearsal the watch ticks at least this often.
const REHEARSAL_TICK_MS: u64 = 5 * 60 * 1000;

/// Watches everything that is observed and says what is wrong.
///
/// It may be used from several threads: identities are spread over locks, and what concerns sources, callers, zones and the
/// hub is behind one more; no two are held at once.
#[derive(Debug)]
pub struct Watch {
    world: World,
    shards: Box<[Mutex<Shard>]>,
    site: Mutex<Site>,
    canary: Mutex<Option<Box<Watch>>>,
}

/// What all parts of a watch share.
#[derive(Debug)]
pub(crate) struct World {
    is_frozen: AtomicBool,
    numbers: Arc<AtomicU32>,
    is_canary: bool,
}

impl World {
    pub(crate) fn desk<'a>(
        &'a self,
        rules: &'a Rules,
        clock_ms: u64,
        now: UnixMillis,
        out: &'a mut Vec<Notice>,
    ) -> Desk<'a> {
        let is_learning = !self.is_frozen.load(Relaxed);
        Desk { rules, is_learning, clock_ms, now, numbers: &self.numbers, is_canary: self.is_canary, out }
    }
}

#[derive(Debug)]
struct Shard {
    clock: Clock,
    book: Arc<RuleBook>,
    devices: Table<Arc<str>, Box<Device>>,
    /// Names of places, shared by the devices that are there.
    places: HashSet<Arc<str>>,
    is_crowded: bool,
}

/// How much a watch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Identities that are followed.
    pub identities: usize,
    /// Sources that are followed.
    pub sources: usize,
}

impl Watch {
    /// A watch that learns.
    ///
    /// # Errors
    /// Settings that are out of range.
    pub fn new(settings: &DetectSettings) -> Result<Self, SettingsError> {
        let canary = Self::with(&rehearsal::settings(settings), 1, &Arc::default(), true)?;
        let watch = Self::with(settings, SHARDS, &canary.world.numbers, false)?;
        *lock(&watch.canary) = Some(Box::new(canary));
        Ok(watch)
    }

    fn with(
        settings: &DetectSettings,
        shards: usize,
        numbers: &Arc<AtomicU32>,
        is_canary: bool,
    ) -> Result<Self, SettingsError> {
        let book = Arc::new(RuleBook::new(settings)?);
        let shard = |_| Mutex::new(Shard::new(&book, shards));
        Ok(Self {
            world: World { is_frozen: AtomicBool::new(is_canary), numbers: Arc::clone(numbers), is_canary },
            shards: (0..shards).map(shard).collect(),
            site: Mutex::new(Site::new(&book)),
            canary: Mutex::default(),
        })
    }

    /// Takes other thresholds, lists and switches. What was learnt and counted stays; the bounds of tables change at the next start.
    ///
    /// # Errors
    /// Settings that are out of range; then nothing changes.
    pub fn configure(&self, settings: &DetectSettings) -> Result<(), SettingsError> {
        let book = Arc::new(RuleBook::new(settings)?);
        let canary = Self::with(&rehearsal::settings(settings), 1, &self.world.numbers, true)?;
        self.shards.iter().for_each(|shard| lock(shard).book = Arc::clone(&book));
        lock(&self.site).configure(&book);
        *lock(&self.canary) = Some(Box::new(canary));
        Ok(())
    }

    /// Judges one observation. What there is to say is appended to `out`.
    pub fn observe(&self, observation: &Observation<'_>, now: UnixMillis, out: &mut Vec<Notice>) {
        if let Observation::AuthFailed { identity, source, door } = *observation {
            return self.auth_failed(identity, source, door, now, out);
        }
        let mut left = None;
        if let Some(identity) = observation.identity() {
            let mut shard = self.shard(identity);
            left = shard.observe(identity, observation, &self.world, now, out);
            self.tell_if_crowded(shard, now, out);
        }
        match *observation {
            Observation::Disconnected { how, .. } => {
                if let Some(left) = left {
                    lock(&self.site).left(&left, how == Ending::Lost, &self.world, now, out);
                }
            }
            Observation::Connected { .. }
            | Observation::HalfOpen { .. }
            | Observation::Malformed { identity: None, .. }
            | Observation::AdminCall { .. }
            | Observation::ConfigChanged { .. } => lock(&self.site).observe(observation, &self.world, now, out),
            _ => {}
        }
    }

    /// The same in a world of its own: findings are marked, and nothing real is touched. A hub that watches itself sends some
    /// of these through everything that observations and findings pass.
    pub fn observe_canary(&self, observation: &Observation<'_>, now: UnixMillis, out: &mut Vec<Notice>) {
        if let Some(canary) = &*lock(&self.canary) {
            canary.observe(observation, now, out);
        }
    }

    /// What a detector finds when it is given what it must find, at the thresholds that are set. Nothing if it is switched off;
    /// anything else but one marked finding means that it does not work.
    #[must_use]
    pub fn rehearse(&self, kind: Detector, now: UnixMillis) -> Vec<Finding> {
        let settings = rehearsal::settings(&self.settings());
        let Ok(stage) = Self::with(&settings, 1, &self.world.numbers, true) else { return Vec::new() };
        let script = detectors::rehearsal(kind, &settings);
        let (mut out, mut at_ms) = (Vec::new(), 0);
        let ends = [(script.ends_ms(), None)];
        let steps = script.steps.iter().map(|(step_ms, observation)| (*step_ms, Some(observation)));
        for (step_ms, observation) in steps.chain(ends) {
            while at_ms < step_ms {
                at_ms = step_ms.min(at_ms + REHEARSAL_TICK_MS);
                stage.tick(UnixMillis(at_ms), &mut out);
            }
            if let Some(observation) = observation {
                stage.observe(observation, UnixMillis(at_ms), &mut out);
            }
        }
        let opened = out.into_iter().filter_map(|notice| match notice {
            Notice::Opened(finding) if finding.kind == kind => Some(Finding { opened: now, ..finding }),
            _ => None,
        });
        opened.collect()
    }

    /// Time passes: finds silence, ends episodes. To be called about every second; a part of all identities is looked at in turn.
    pub fn tick(&self, now: UnixMillis, out: &mut Vec<Notice>) {
        let places_lost = lock(&self.site).tick(&self.world, now, out);
        let mut losses = Vec::new();
        for shard in &*self.shards {
            lock(shard).tick(&self.world, now, &places_lost, &mut losses, out);
        }
        if !losses.is_empty() {
            let mut site = lock(&self.site);
            losses.iter().for_each(|loss| site.lost(loss, &self.world, now, out));
        }
    }

    /// From now on what was learnt is what is usual. Baselines do not move any more, except those of identities that are new, for
    /// as long as the settings say.
    pub fn freeze(&self) {
        self.world.is_frozen.store(true, Relaxed);
    }

    /// Learns again, from everybody, on top of what was learnt.
    pub fn thaw(&self) {
        self.world.is_frozen.store(false, Relaxed);
    }

    /// Whether baselines are frozen.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.world.is_frozen.load(Relaxed)
    }

    /// Forgets what was learnt of an identity and learns it for as long as a new one. False if it is not followed.
    pub fn relearn(&self, identity: &str) -> bool {
        self.shard(identity).relearn(identity)
    }

    #[cfg(test)]
    pub(crate) fn end_learning(&self) {
        for shard in &*self.shards {
            lock(shard).devices.walk(usize::MAX, |_, device| device.learns_until_ms = 0);
        }
    }

    /// Forgets an identity: it was retired or deleted.
    pub fn forget(&self, identity: &str) {
        self.shard(identity).devices.remove(identity);
    }

    /// The episodes that are open, in no particular order.
    #[must_use]
    pub fn open_episodes(&self) -> Vec<OpenEpisode> {
        let mut open = Vec::new();
        lock(&self.site).open_episodes(&mut open);
        for shard in &*self.shards {
            let shard = lock(shard);
            let clock_ms = shard.clock.elapsed_ms();
            for (name, device) in shard.devices.rows() {
                open.extend(device.episodes.open(clock_ms, &Subject::Identity(Arc::clone(name))));
            }
        }
        open
    }

    /// How much it holds.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let identities = self.shards.iter().map(|shard| lock(shard).devices.len()).sum();
        Usage { identities, sources: lock(&self.site).sources() }
    }

    /// What was learnt, to be kept over a restart: about 400 bytes for each identity. Counts and open episodes are not kept.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut saved = Saved { is_frozen: self.is_frozen(), ..Saved::default() };
        {
            let site = lock(&self.site);
            saved.hub = site.hub.connects.learnt;
            saved.callers = site.callers.rows().map(|(name, row)| (Arc::clone(name), row.calls.learnt)).collect();
        }
        for shard in &*self.shards {
            let shard = lock(shard);
            let clock_ms = shard.clock.elapsed_ms();
            saved.devices.extend(shard.devices.rows().map(|(name, device)| SavedDevice {
                name: Arc::clone(name),
                learns_ms: device.learns_until_ms.saturating_sub(clock_ms),
                learnt: device.learnt.clone(),
            }));
        }
        saved::write(&saved)
    }

    /// Takes what was saved. To be called before anything is observed.
    ///
    /// # Errors
    /// Bytes that are damaged, of another version or beyond a bound; then nothing is taken.
    pub fn load(&self, bytes: &[u8]) -> Result<(), LoadError> {
        let saved = saved::read(bytes)?;
        self.world.is_frozen.store(saved.is_frozen, Relaxed);
        {
            let mut site = lock(&self.site);
            site.hub.connects = Meter::of(saved.hub);
            for (name, learnt) in saved.callers {
                let make = || {
                    let calls = Meter::of(learnt);
                    (Arc::clone(&name), detectors::api_misuse::Caller { calls, ..Default::default() })
                };
                site.callers.place(&*name, make, |_| None);
            }
        }
        for device in saved.devices {
            self.shard(&device.name).take(device);
        }
        Ok(())
    }

    fn auth_failed(
        &self,
        identity: Option<&str>,
        source: Option<IpAddr>,
        door: &str,
        now: UnixMillis,
        out: &mut Vec<Notice>,
    ) {
        if source.is_some_and(|source| lock(&self.site).tells_of(source, &self.world, now, out)) {
            return;
        }
        if let Some(identity) = identity {
            let mut shard = self.shard(identity);
            let counted = shard.auth_failed(identity, door, &self.world, now, out);
            self.tell_if_crowded(shard, now, out);
            match counted {
                Counted::Told => return,
                Counted::Opened => return lock(&self.site).forgive(source),
                Counted::NotYet => {}
            }
        }
        lock(&self.site).auth_failed(source, door, &self.world, now, out);
    }

    fn tell_if_crowded(&self, mut shard: MutexGuard<'_, Shard>, now: UnixMillis, out: &mut Vec<Notice>) {
        let is_crowded = std::mem::take(&mut shard.is_crowded);
        let (book, clock_ms) = (Arc::clone(&shard.book), shard.clock.elapsed_ms());
        drop(shard);
        if is_crowded {
            let mut desk = self.world.desk(&book.hub, clock_ms, now, out);
            let hub = &mut lock(&self.site).hub;
            watch_full::judge(&mut hub.episodes, &mut desk, "identities", book.hub.settings.general.identities_max);
        }
    }

    fn settings(&self) -> DetectSettings {
        lock(&self.shards[0]).book.hub.settings.clone()
    }

    fn shard(&self, identity: &str) -> MutexGuard<'_, Shard> {
        // The high bits: the low ones may find rows within the shard.
        let at = (hash_of(identity) >> 32) as usize % self.shards.len();
        lock(&self.shards[at])
    }
}

impl Shard {
    fn new(book: &Arc<RuleBook>, shards: usize) -> Self {
        let identities_max = book.hub.settings.general.identities_max as usize;
        // Names do not spread quite evenly.
        let share = if shards == 1 { identities_max } else { identities_max / shards * 9 / 8 + 64 };
        Self {
            clock: Clock::default(),
            book: Arc::clone(book),
            devices: Table::new(share),
            places: HashSet::new(),
            is_crowded: false,
        }
    }

    /// What the identity leaves, if its session ended.
    fn observe(
        &mut self,
        identity: &str,
        observation: &Observation<'_>,
        world: &World,
        now: UnixMillis,
        out: &mut Vec<Notice>,
    ) -> Option<Loss> {
        let settled = match *observation {
            Observation::Connected { group, zone, radio, .. } => {
                Some((group.map_or(0, hash_of), zone.map(|name| self.place(name)), radio.map(|name| self.place(name))))
            }
            _ => None,
        };
        self.with_device(identity, world, now, out, |device, desk, book| {
            if let Some((group, zone, radio)) = settled {
                (device.group, device.zone, device.radio) = (group, zone, radio);
                desk.rules = book.of(group);
            }
            device.observe(observation, desk);
            matches!(observation, Observation::Disconnected { .. }).then(|| device.loss())
        })?
    }

    fn auth_failed(
        &mut self,
        identity: &str,
        door: &str,
        world: &World,
        now: UnixMillis,
        out: &mut Vec<Notice>,
    ) -> Counted {
        let counted = self.with_device(identity, world, now, out, |device, desk, _| device.auth_failed(desk, door));
        counted.unwrap_or(Counted::NotYet)
    }

    /// `None` if there is no room for the identity.
    fn with_device<'a, T>(
        &'a mut self,
        identity: &str,
        world: &'a World,
        now: UnixMillis,
        out: &'a mut Vec<Notice>,
        judge: impl FnOnce(&mut Device, &mut Desk<'a>, &'a RuleBook) -> T,
    ) -> Option<T> {
        let clock_ms = self.clock.advance(now);
        let book = &*self.book;
        let learns_until_ms = clock_ms + u64::from(book.hub.settings.general.new_device_learn_s) * 1000;
        let make = || {
            let device = Device::new(identity, learns_until_ms, Learnt::default());
            (Arc::clone(&device.name), Box::new(device))
        };
        let found = self.devices.place(identity, make, |device| device.interest());
        self.is_crowded |= is_crowded(&found, clock_ms, |interest| interest & !(1 << 63));
        let (Place::Held(device) | Place::Instead(device, _)) = found else { return None };
        device.used_ms = clock_ms;
        let mut desk = world.desk(book.of(device.group), clock_ms, now, out);
        desk.is_learning |= clock_ms < device.learns_until_ms;
        Some(judge(device, &mut desk, book))
    }

    fn tick(
        &mut self,
        world: &World,
        now: UnixMillis,
        places_lost: &[Arc<str>],
        losses: &mut Vec<Loss>,
        out: &mut Vec<Notice>,
    ) {
        let clock_ms = self.clock.advance(now);
        let (book, steady_since_ms) = (&self.book, self.clock.steady_since_ms());
        self.devices.walk(TICK_IDENTITIES_MAX, |name, device| {
            let mut desk = world.desk(book.of(device.group), clock_ms, now, out);
            desk.is_learning |= clock_ms < device.learns_until_ms;
            desk.expire(&mut device.episodes, identity(name));
            losses.extend(heartbeat_lost::judge_silence(device, &mut desk, steady_since_ms, places_lost));
        });
    }

    fn relearn(&mut self, identity: &str) -> bool {
        let learn_ms = u64::from(self.book.hub.settings.general.new_device_learn_s) * 1000;
        let Some(device) = self.devices.row(identity) else { return false };
        device.learnt = Learnt { has_connected: device.learnt.has_connected, ..Learnt::default() };
        device.learns_until_ms = self.clock.elapsed_ms() + learn_ms;
        true
    }

    fn take(&mut self, saved: SavedDevice) {
        let clock_ms = self.clock.elapsed_ms();
        let make = || {
            let mut device = Device::new(&saved.name, clock_ms.saturating_add(saved.learns_ms), saved.learnt);
            // Silence is counted from now on.
            (device.heard_ms, device.used_ms) = (u64::from(device.learnt.has_connected) * clock_ms, clock_ms);
            (Arc::clone(&device.name), Box::new(device))
        };
        self.devices.place(&*saved.name, make, |_| None);
    }

    /// The shared name of a place. Beyond the bound names are not shared, which costs memory and nothing else.
    fn place(&mut self, name: &str) -> Arc<str> {
        if let Some(place) = self.places.get(name) {
            return Arc::clone(place);
        }
        let place: Arc<str> = name.into();
        if self.places.len() < self.book.hub.settings.general.zones_max as usize {
            self.places.insert(Arc::clone(&place));
        }
        place
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, connect, ip, publish};
    use proptest::prelude::*;

    /// Failures, each of another name from another source: bounded memory, and the first finding of somebody else. (The example
    /// `watch` does it with a million.)
    #[test]
    fn a_flood_of_failures_neither_fills_memory_nor_hides_the_first_finding() {
        let mut settings = DetectSettings::default();
        settings.general.identities_max = 2_000;
        settings.general.sources_max = 1_000;
        let mut bench = Bench::of(&settings);
        bench.see(&connect("lamp", ip(0x00ff_0000)));
        let flood = |bench: &mut Bench, from: u32| {
            for at in from..from + 100_000 {
                let name = format!("n{at}");
                let door = "enrolment";
                bench.see(&Observation::AuthFailed { identity: Some(&name), source: Some(ip(at)), door });
            }
        };
        let failed = Observation::AuthFailed { identity: Some("lamp"), source: Some(ip(0x00ff_0001)), door: "mqtt" };
        flood(&mut bench, 0);
        (0..4).for_each(|_| bench.see(&failed));
        flood(&mut bench, 100_000);
        let before = bench.opened().len();
        bench.see(&failed);
        let found = &bench.opened()[before..];
        assert_eq!(found.len(), 1, "the fifth, with a hundred thousand between");
        assert_eq!(found[0].subject, Subject::Identity("lamp".into()));
        let usage = bench.watch.usage();
        assert!(usage.identities <= 2_000 * 9 / 8 + 64 * SHARDS && usage.sources <= 1_000, "{usage:?}");
        // The hub's failures and the full tables: nothing else.
        assert_eq!(before, 2, "{:?}", bench.opened());
    }

    /// A source that does it again and again is told of although a flood of others goes on.
    #[test]
    fn a_source_in_a_flood_of_sources_is_told_of() {
        let mut settings = DetectSettings::default();
        settings.general.sources_max = 100;
        let mut bench = Bench::of(&settings);
        for at in 0..20_000 {
            bench.see(&Observation::AuthFailed { identity: None, source: Some(ip(at + 10)), door: "mqtt" });
            if at % 10 == 0 {
                bench.see(&Observation::AuthFailed { identity: None, source: Some(ip(1)), door: "mqtt" });
            }
        }
        let subjects: Vec<_> = bench.opened().iter().map(|finding| finding.subject.clone()).collect();
        assert!(subjects.contains(&Subject::Source(ip(1))), "{subjects:?}");
    }

    #[test]
    fn who_has_an_open_episode_is_not_forgotten() {
        let mut settings = DetectSettings::default();
        settings.general.identities_max = 16;
        let mut bench = Bench::of(&settings);
        bench.see(&Observation::Duplicate { identity: "cloned", is_certain: true });
        let names: Vec<String> = (0..10_000).map(|at| format!("n{at}")).collect();
        names.iter().for_each(|name| bench.see(&publish(name, "t", 1, 1)));
        bench.see(&Observation::Duplicate { identity: "cloned", is_certain: true });
        assert_eq!(bench.opened_of(Detector::DuplicateIdentity).len(), 1);
        assert_eq!(bench.opened_of(Detector::WatchFull).len(), 1);
    }

    #[test]
    fn groups_have_their_own_thresholds_and_reloads_apply() {
        let mut settings = DetectSettings::default();
        let limits = crate::PolicyDenials { denials: 2, window_s: 600 };
        let strict = crate::Overrides { policy_denials: Some(limits), ..crate::Overrides::default() };
        settings.groups.insert("locks".to_owned(), strict);
        let mut bench = Bench::of(&settings);
        let joined = |identity, group| Observation::Connected {
            identity,
            group,
            zone: None,
            radio: None,
            source: ip(1),
            client_id: identity,
            keep_alive_s: 60,
        };
        bench.see(&joined("door", Some("locks")));
        bench.see(&joined("lamp", Some("lamps")));
        for identity in ["door", "lamp"] {
            (0..3).for_each(|_| bench.see(&Observation::Denied { identity, what: "x" }));
        }
        assert_eq!(bench.opened().len(), 1);
        settings.off = [Detector::PolicyDenials].into();
        bench.watch.configure(&settings).unwrap();
        (0..100).for_each(|_| bench.see(&Observation::Denied { identity: "lamp", what: "x" }));
        assert_eq!(bench.opened().len(), 1);
        settings.general.quiet_s = 0;
        assert!(bench.watch.configure(&settings).is_err());
    }

    /// Canary observations come out marked, and the real identity of that name knows nothing of them.
    #[test]
    fn canaries_touch_nothing_real() {
        let mut bench = Bench::frozen();
        bench.see(&connect("lamp", ip(1)));
        let before = bench.watch.save();
        let mut out = Vec::new();
        for _ in 0..10 {
            let failed = Observation::AuthFailed { identity: Some("lamp"), source: Some(ip(1)), door: "mqtt" };
            bench.watch.observe_canary(&failed, UnixMillis(5), &mut out);
        }
        assert!(matches!(&out[..], [Notice::Opened(finding)] if finding.canary));
        assert!(bench.watch.open_episodes().is_empty() && bench.watch.save() == before);
    }

    #[test]
    fn open_episodes_tell_how_often() {
        let mut bench = Bench::frozen();
        (0..50).for_each(|_| bench.see(&Observation::Duplicate { identity: "lamp", is_certain: true }));
        bench.pass(10);
        let open = bench.watch.open_episodes();
        assert!(matches!(&open[..], [one] if one.count == 50 && one.quiet_ms == 10_000), "{open:?}");
        assert_eq!(open[0].id, bench.opened()[0].id);
        bench.watch.forget("lamp");
        assert!(bench.watch.open_episodes().is_empty());
    }

    #[test]
    fn several_threads_find_what_one_does() {
        let bench = Bench::frozen();
        let found: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4_u32)
                .map(|thread| {
                    let watch = &bench.watch;
                    scope.spawn(move || {
                        let mut out = Vec::new();
                        for at in 0..1000_u64 {
                            let name = format!("d{}", at % 100);
                            let source = Some(ip(thread));
                            let denied = Observation::Denied { identity: &name, what: "x" };
                            watch.observe(&denied, UnixMillis(1_000_000 + at), &mut out);
                            let malformed = Observation::Malformed { identity: None, source };
                            watch.observe(&malformed, UnixMillis(1_000_000 + at), &mut out);
                        }
                        out.len()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // Forty refusals of each name, and four sources.
        assert_eq!(found, 100 + 4);
    }

    fn observation() -> impl Strategy<Value = Observation<'static>> {
        let name = || prop::sample::select(vec!["a", "b", "c", "", "ä"]);
        let source = || any::<u32>().prop_map(|bits| ip(bits % 1000));
        let ending = prop::sample::select(vec![Ending::Clean, Ending::Lost, Ending::Cut]);
        prop_oneof![
            (prop::option::of(name()), prop::option::of(source()))
                .prop_map(|(identity, source)| Observation::AuthFailed { identity, source, door: "x" }),
            (name(), prop::option::of(name()), source(), any::<u16>()).prop_map(
                |(identity, zone, source, keep_alive_s)| {
                    let (group, radio, client_id) = (zone, zone, identity);
                    Observation::Connected { identity, group, zone, radio, source, client_id, keep_alive_s }
                }
            ),
            (name(), ending).prop_map(|(identity, how)| Observation::Disconnected { identity, how }),
            source().prop_map(|source| Observation::HalfOpen { source }),
            (name(), name(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u64>()).prop_map(
                |(identity, topic, messages, bytes, largest_bytes, window_ms)| Observation::Traffic {
                    identity,
                    topic,
                    messages,
                    bytes,
                    largest_bytes,
                    window_ms
                }
            ),
            (name(), name(), any::<u64>(), prop::option::of(any::<u64>())).prop_map(
                |(identity, channel, seq, time)| {
                    Observation::Sequence { identity, channel, seq, device_time: time.map(UnixMillis) }
                }
            ),
            (name(), name(), any::<u64>(), any::<u64>()).prop_map(|(identity, channel, expected, seq)| {
                Observation::OutOfOrder { identity, channel, expected, seq }
            }),
            (name(), name(), name()).prop_map(|(identity, before, after)| Observation::Firmware {
                identity,
                before,
                after
            }),
            (name(), prop::option::of(any::<f64>()), any::<f64>()).prop_map(|(identity, battery_percent, figure)| {
                let numbers = vec![("x", figure)].leak();
                Observation::Vitals { identity, battery_percent, numbers }
            }),
            (name(), any::<bool>()).prop_map(|(caller, is_refused)| Observation::AdminCall {
                caller,
                request: "x",
                is_refused
            }),
        ]
    }

    proptest! {
        /// Whatever is observed, whenever: no panic, and what was learnt can be saved and loaded.
        #[test]
        fn anything_may_be_observed_at_any_time(
            steps in prop::collection::vec((observation(), prop_oneof![0..100_000_u64, any::<u64>()]), 0..200),
        ) {
            let watch = Watch::new(&DetectSettings::default()).unwrap();
            let (mut out, mut now) = (Vec::new(), 0_u64);
            for (at, (observation, step)) in steps.iter().enumerate() {
                now = now.wrapping_add(*step);
                watch.observe(observation, UnixMillis(now), &mut out);
                watch.tick(UnixMillis(now), &mut out);
                if at == 100 {
                    watch.freeze();
                }
            }
            let bytes = watch.save();
            let again = Watch::new(&DetectSettings::default()).unwrap();
            prop_assert_eq!(again.load(&bytes), Ok(()));
            prop_assert_eq!(again.save(), bytes);
        }
    }
}
