//! Numbers and times of a device that go back.

use crate::{
    Detector, Observation,
    device::{Device, identity},
    episode::Desk,
    finding::shown,
    hash::hash_of,
    rehearsal::{Script, WHO},
    settings::{DetectSettings, section},
};
use portreeve_types::UnixMillis;

const KIND: Detector = Detector::Replay;

/// Numberings of one identity that are followed; others are not looked at.
pub(crate) const CHANNELS_MAX: usize = 4;

section! {
    /// Thresholds of `replay`.
    Replay {
        /// How often a number or a time goes back.
        repeats: u32 = 3, in 1..=1000, "times";
        /// Within which time.
        window_s: u32 = 600, in 1..=86_400, "seconds";
        /// A number up to this that is below the last is a restart, if the device's time did not go back.
        restart_max: u32 = 16, in 0..=1_000_000, "number";
        /// A device's time may go back this far.
        clock_back_s: u32 = 60, in 0..=86_400, "seconds";
    }
}

/// The last of one numbering.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Channel {
    pub(crate) hash: u64,
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
}

pub(crate) fn judge(
    device: &mut Device,
    desk: &mut Desk<'_>,
    channel: &str,
    seq: u64,
    device_time: Option<UnixMillis>,
) {
    let limits = desk.rules.settings.replay;
    let Device { name, episodes, learnt, repeats, .. } = device;
    let hash = hash_of(channel);
    let time_ms = device_time.map_or(0, |time| time.0);
    let Some(last) = learnt.channels.iter_mut().find(|channel| channel.hash == hash) else {
        if learnt.channels.len() < CHANNELS_MAX {
            learnt.channels.push(Channel { hash, seq, time_ms });
        }
        return;
    };
    let is_back_in_time =
        device_time.is_some() && time_ms.saturating_add(u64::from(limits.clock_back_s) * 1000) < last.time_ms;
    let is_restart = seq < last.seq && seq <= u64::from(limits.restart_max);
    if !is_back_in_time && (seq > last.seq || is_restart) {
        *last = Channel { hash, seq, time_ms: time_ms.max(last.time_ms) };
        return;
    }
    let before = last.seq;
    desk.count(episodes, repeats, KIND, (limits.repeats, limits.window_s), identity(name), || {
        let what = if is_back_in_time { "an earlier time" } else { "a number that it had used" };
        format!("said {what} in {} ({seq} after {before})", shown(channel))
    });
}

pub(crate) fn rehearsal(settings: &DetectSettings) -> Script {
    let said = |seq| Observation::Sequence { identity: WHO, channel: "canary", seq, device_time: None };
    Script::default().say(said(u64::MAX)).repeat(settings.replay.repeats, 0, said(u64::MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, canary};

    fn said(seq: u64, time_s: Option<u64>) -> Observation<'static> {
        let device_time = time_s.map(|time_s| UnixMillis(time_s * 1000));
        Observation::Sequence { identity: "lamp", channel: "telemetry", seq, device_time }
    }

    /// CSA-SOP-03: numbers of one source go on.
    #[test]
    fn a_recorded_hour_that_is_sent_again_is_one_finding() {
        let mut bench = Bench::frozen();
        (1000..1100).for_each(|seq| bench.see(&said(seq, Some(seq))));
        assert!(bench.opened().is_empty());
        (1000..1100).for_each(|seq| bench.see(&said(seq, Some(seq))));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn times_that_go_back_are_found_without_numbers_going_back() {
        let mut bench = Bench::frozen();
        (1000..1100).for_each(|seq| bench.see(&said(seq, Some(10_000 + seq))));
        (1100..1110).for_each(|seq| bench.see(&said(seq, Some(seq))));
        assert_eq!(bench.opened_of(KIND).len(), 1);
    }

    #[test]
    fn restarts_and_single_retransmissions_are_none() {
        let mut bench = Bench::frozen();
        for start in 0..20 {
            (0..100).for_each(|seq| bench.see(&said(seq, Some(start * 100 + seq))));
            bench.see(&said(99, Some(start * 100 + 99)));
            bench.pass(400);
        }
        assert!(bench.opened().is_empty(), "{:?}", bench.opened());
    }

    #[test]
    fn canary_replay() {
        canary(KIND);
    }
}
