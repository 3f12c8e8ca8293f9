//! Baselines as bytes: magic and version, what was learnt, and a checksum over both.
//!
//! There is one form of everything: names ascend, flags are 0 or 1, numbers are finite and within their bounds. What is read
//! and written again is the same, byte for byte. The checksum finds damage, and nothing else: whoever may write the file may
//! also say what is usual.

use crate::{
    detectors::{
        battery_drain::Battery,
        new_source::NETWORKS_MAX,
        replay::{CHANNELS_MAX, Channel},
        slow_drift::Drift,
        vitals_trend::{Figure, VITALS_MAX, Vitals},
    },
    device::{Learnt, TOPICS_MAX, Topic},
    hash::checksum,
    stats::{Baseline, Meter, Trend},
};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"prtdet\x00\x01";
const CHECKSUM_BYTES: usize = 16;

/// Why saved baselines were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// They do not begin as these do, or are of another version.
    #[error("these are no baselines of this version")]
    Magic,
    /// They were changed or cut.
    #[error("the baselines are damaged: their checksum does not match")]
    Checksum,
    /// They are whole, but say what cannot be.
    #[error("the baselines hold what no watch has written")]
    Content,
}

#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) is_frozen: bool,
    pub(crate) hub: Baseline,
    pub(crate) callers: Vec<(Arc<str>, Baseline)>,
    pub(crate) devices: Vec<SavedDevice>,
}

#[derive(Debug)]
pub(crate) struct SavedDevice {
    pub(crate) name: Arc<str>,
    /// How much longer it is learnt.
    pub(crate) learns_ms: u64,
    pub(crate) learnt: Learnt,
}

/// What is written down of a watch. Rows of names that do not fit are left out.
pub(crate) fn write(saved: &Saved) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    saved.is_frozen.put(&mut out);
    saved.hub.put(&mut out);
    let mut callers: Vec<_> = saved.callers.iter().filter(|(name, _)| fits(name)).collect();
    callers.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    (callers.len() as u64).put(&mut out);
    for (name, learnt) in callers {
        put_name(name, &mut out);
        learnt.put(&mut out);
    }
    let mut devices: Vec<_> = saved.devices.iter().filter(|device| fits(&device.name)).collect();
    devices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    (devices.len() as u64).put(&mut out);
    for device in devices {
        put_name(&device.name, &mut out);
        device.learns_ms.put(&mut out);
        device.learnt.put(&mut out);
    }
    let sum = checksum(&out);
    out.extend(sum.to_le_bytes());
    out
}

pub(crate) fn read(bytes: &[u8]) -> Result<Saved, LoadError> {
    if !bytes.starts_with(MAGIC) {
        return Err(LoadError::Magic);
    }
    let (content, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(LoadError::Checksum)?;
    if checksum(content).to_le_bytes() != *sum {
        return Err(LoadError::Checksum);
    }
    let mut rest = content.get(MAGIC.len()..).ok_or(LoadError::Checksum)?;
    let saved = content_of(&mut rest).ok_or(LoadError::Content)?;
    if rest.is_empty() { Ok(saved) } else { Err(LoadError::Content) }
}

fn content_of(rest: &mut &[u8]) -> Option<Saved> {
    let mut saved = Saved { is_frozen: bool::take(rest)?, hub: Baseline::take(rest)?, ..Saved::default() };
    // Rows are not reserved by their count: it is foreign, and each row takes bytes that have to be there.
    for _ in 0..u64::take(rest)? {
        let name = take_name(rest, saved.callers.last().map(|(name, _)| name))?;
        saved.callers.push((name, Baseline::take(rest)?));
    }
    for _ in 0..u64::take(rest)? {
        let name = take_name(rest, saved.devices.last().map(|device| &device.name))?;
        saved.devices.push(SavedDevice { name, learns_ms: u64::take(rest)?, learnt: Learnt::take(rest)? });
    }
    Some(saved)
}

/// Something with one form in bytes.
trait Stored: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(rest: &mut &[u8]) -> Option<Self>;
}

macro_rules! stored_numbers {
    ($($Number:ty),+) => {$(
        impl Stored for $Number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
            fn take(rest: &mut &[u8]) -> Option<Self> {
                let (bytes, after) = rest.split_first_chunk()?;
                *rest = after;
                Some(<$Number>::from_le_bytes(*bytes))
            }
        }
    )+};
}

stored_numbers!(u8, u32, u64, f32);

impl Stored for bool {
    fn put(&self, out: &mut Vec<u8>) {
        u8::from(*self).put(out);
    }
    fn take(rest: &mut &[u8]) -> Option<Self> {
        match u8::take(rest)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// A struct is its fields, one behind another, if they fit together.
macro_rules! stored_structs {
    ($($Struct:ident { $($field:ident),+ } if |$it:ident| $holds:expr;)+) => {$(
        impl Stored for $Struct {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)+
            }
            fn take(rest: &mut &[u8]) -> Option<Self> {
                let $it = Self { $($field: Stored::take(rest)?),+ };
                $holds.then_some($it)
            }
        }
    )+};
}

stored_structs! {
    Baseline { mean, deviation, largest, second, samples } if |it| {
        [it.mean, it.deviation, it.largest, it.second].into_iter().all(is_amount) && it.second <= it.largest
    };
    Trend { mean, deviation, samples, above, below } if |it| {
        it.mean.is_finite() && [it.deviation, it.above, it.below].into_iter().all(is_amount)
    };
    Channel { hash, seq, time_ms } if |_it| true;
    Figure { hash, trend } if |_it| true;
}

fn is_amount(value: f32) -> bool {
    value.is_finite() && value >= 0.0
}

impl Stored for Topic {
    fn put(&self, out: &mut Vec<u8>) {
        self.hash.put(out);
        self.rate.learnt.put(out);
        self.sizes.put(out);
    }
    fn take(rest: &mut &[u8]) -> Option<Self> {
        Some(Self { hash: u64::take(rest)?, rate: Meter::of(Baseline::take(rest)?), sizes: Baseline::take(rest)? })
    }
}

impl Stored for Vitals {
    fn put(&self, out: &mut Vec<u8>) {
        self.battery.drains.put(out);
        put_list(&self.figures, out);
    }
    fn take(rest: &mut &[u8]) -> Option<Self> {
        let battery = Battery::of(Baseline::take(rest)?);
        Some(Self { battery, figures: take_list(rest, VITALS_MAX)? })
    }
}

impl Stored for Learnt {
    fn put(&self, out: &mut Vec<u8>) {
        self.has_connected.put(out);
        self.uses_topics_freely.put(out);
        self.roams.put(out);
        put_list(&self.networks, out);
        put_list(&self.topics, out);
        self.gaps.put(out);
        self.beat_ms.put(out);
        self.drift.messages_trend.put(out);
        self.drift.bytes_trend.put(out);
        put_list(self.vitals.as_deref().map_or(&[], std::slice::from_ref), out);
        put_list(&self.channels, out);
    }
    fn take(rest: &mut &[u8]) -> Option<Self> {
        Some(Self {
            has_connected: bool::take(rest)?,
            uses_topics_freely: bool::take(rest)?,
            roams: bool::take(rest)?,
            networks: take_list(rest, NETWORKS_MAX)?,
            topics: take_list(rest, TOPICS_MAX)?,
            gaps: Baseline::take(rest)?,
            beat_ms: f32::take(rest).filter(|beat_ms| is_amount(*beat_ms))?,
            drift: Drift::of(Trend::take(rest)?, Trend::take(rest)?),
            vitals: take_list(rest, 1)?.pop().map(Box::new),
            channels: take_list(rest, CHANNELS_MAX)?,
        })
    }
}

fn fits(name: &str) -> bool {
    u8::try_from(name.len()).is_ok()
}

fn put_name(name: &str, out: &mut Vec<u8>) {
    put_list(name.as_bytes(), out);
}

/// A name, which comes behind the one before.
fn take_name(rest: &mut &[u8], before: Option<&Arc<str>>) -> Option<Arc<str>> {
    let name: Arc<str> = String::from_utf8(take_list(rest, u8::MAX as usize)?).ok()?.into();
    before.is_none_or(|before| before < &name).then_some(name)
}

/// A list of at most 255.
fn put_list<T: Stored>(list: &[T], out: &mut Vec<u8>) {
    let count = u8::try_from(list.len()).unwrap_or(u8::MAX);
    count.put(out);
    list.iter().take(count.into()).for_each(|item| item.put(out));
}

fn take_list<T: Stored>(rest: &mut &[u8], count_max: usize) -> Option<Vec<T>> {
    let count = u8::take(rest).filter(|count| usize::from(*count) <= count_max)?;
    (0..count).map(|_| T::take(rest)).collect()
}

/// Bytes with the checksum that belongs to them, for whoever wants to know what is behind it.
#[must_use]
pub fn sealed(content: &[u8]) -> Vec<u8> {
    let mut bytes = [MAGIC, content].concat();
    let sum = checksum(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, connect, ip, publish};
    use crate::{Observation, Watch};

    fn learnt() -> Bench {
        let mut bench = Bench::learning();
        for step in 0..100 {
            for name in ["a", "b", "c"] {
                bench.see(&connect(name, ip(step)));
                bench.see(&publish(name, "t/1", 3, 100));
                bench.see(&publish(name, "t/2", 4, 200));
            }
            let numbers = [("temperature_c", 20.0), ("rssi_dbm", -70.0)];
            bench.see(&Observation::Vitals { identity: "b", battery_percent: Some(90.0), numbers: &numbers });
            let seq = u64::from(step) + 100;
            bench.see(&Observation::Sequence { identity: "c", channel: "x", seq, device_time: None });
            bench.see(&Observation::AdminCall { caller: "alice", request: "status", is_refused: false });
            bench.pass(60);
        }
        bench.freeze();
        bench
    }

    #[test]
    fn what_was_learnt_survives_a_restart() {
        let bench = learnt();
        let bytes = bench.watch.save();
        assert!(bytes.len() / 3 < 500, "{} bytes for three devices", bytes.len());
        let mut again = Bench::learning();
        again.watch.load(&bytes).unwrap();
        assert_eq!(again.watch.save(), bytes);
        assert!(again.watch.is_frozen());
        again.see(&publish("a", "t/1", 3, 100));
        assert!(again.opened().is_empty());
        again.see(&publish("a", "t/3", 3, 100));
        again.see(&publish("b", "t/1", 3000, 100));
        again.see(&publish("b", "t/2", 3, 100_000));
        assert_eq!(again.opened().len(), 3, "{:?}", again.opened());
    }

    #[test]
    fn every_damage_is_refused_and_changes_nothing() {
        let bytes = learnt().watch.save();
        let empty = Watch::new(&crate::DetectSettings::default()).unwrap();
        let before = empty.save();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(empty.load(&damaged).is_err(), "byte {at}");
            assert!(empty.load(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(empty.load(&[&bytes[..], &[0]].concat()), Err(LoadError::Checksum));
        assert_eq!(empty.load(b""), Err(LoadError::Magic));
        assert_eq!(empty.save(), before);
    }

    #[test]
    fn impossible_content_under_a_good_checksum_is_refused() {
        let bytes = learnt().watch.save();
        let content = &bytes[MAGIC.len()..bytes.len() - CHECKSUM_BYTES];
        assert_eq!(sealed(content), bytes);
        let mut refused = 0;
        for at in 0..content.len() {
            let mut damaged = content.to_vec();
            damaged[at] ^= 0xff;
            if let Err(error) = read(&sealed(&damaged)) {
                assert_eq!(error, LoadError::Content);
                refused += 1;
            }
        }
        assert!(refused > 20, "{refused}");
    }
}
