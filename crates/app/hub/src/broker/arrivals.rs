//! Who may begin a session now, and when the others come back: after an outage a fleet returns in turn, not all at once
//! (IOTSF-2.4.7.25), and nobody who connects in a loop takes the turns of others (CSA-COM-04).
//!
//! A schedule of places, one an interval, [`BURST_US`] of them at once. When the places that are due now are taken, a client
//! is given the next free one, is told when that is due, and finds it kept. So whoever comes when told is let in, however
//! many come meanwhile, and a client that cannot be told (MQTT 3.1.1) or does not listen is let in when it comes after that.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use portreeve_config::Limits;
use portreeve_types::IdentityId;

/// How much of the schedule may be taken at once: what was not used of the last second.
const BURST_US: u64 = 1_000_000;
/// How long a place is kept for a client that does not come when it is due. Clients that choose their pauses themselves
/// seldom pause for longer.
const KEPT_MS: u64 = 120_000;
/// How long an identity's sessions are counted together.
const SHARE_MS: u64 = 10_000;
/// Nobody is told to wait for longer; who comes before its place is due is told the rest.
const TOLD_MAX_MS: u64 = 600_000;

/// The schedule, and who has a place in it. Without clock: time is an argument, milliseconds that never go back.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// The end of what is given away.
    booked_us: u64,
    visitors: HashMap<IdentityId, Visitor>,
    waiting: usize,
}

/// Who asks to begin a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) identity: IdentityId,
    /// As the client gave it: empty if it wants one assigned.
    pub(crate) client_id: &'a str,
    /// Sessions that the identity may hold, and so the places.
    pub(crate) sessions_max: usize,
}

/// What is remembered of an identity that came lately.
#[derive(Debug)]
struct Visitor {
    /// Sessions begun since `since_ms`.
    begun: usize,
    since_ms: u64,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    client_id: Box<str>,
    due_ms: u64,
}

impl Arrivals {
    /// Lets `caller` begin a session.
    ///
    /// # Errors
    /// After how many milliseconds it should come again.
    pub(crate) fn begin(&mut self, caller: Caller<'_>, limits: &Limits, now_ms: u64) -> Result<(), u64> {
        let visitor = self.visitors.entry(caller.identity).or_insert_with(|| Visitor::new(now_ms));
        let own = visitor.place_of(caller.client_id);
        let interval_us = 1_000_000 / u64::from(limits.connects_per_s.max(1));
        let end_us = self.booked_us.max(now_ms * 1000) + interval_us;
        let due_ms = end_us.saturating_sub(visitor.burst_us(caller, now_ms)).div_ceil(1000);
        let has_come = own.is_some_and(|index| visitor.places[index].due_ms <= now_ms);
        if has_come || due_ms <= now_ms {
            if let Some(index) = own {
                visitor.places.swap_remove(index);
                self.waiting -= 1;
            }
            if !has_come {
                self.booked_us = end_us;
            }
            visitor.begun += 1;
            return Ok(());
        }
        let may_have_more = visitor.places.len() < caller.sessions_max;
        // Clients without a name cannot be told apart: each has a place of its own, as far as there are any.
        if let Some(index) = own.filter(|_| !caller.client_id.is_empty() || !may_have_more) {
            return Err(told(visitor.places[index].due_ms - now_ms));
        }
        if !may_have_more || self.waiting >= limits.connects_waiting {
            let wait_ms = due_ms - now_ms;
            return Err(told(wait_ms + caller.spread() % wait_ms.max(1000)));
        }
        self.booked_us = end_us;
        self.waiting += 1;
        visitor.places.push(Place { client_id: caller.client_id.into(), due_ms });
        Err(told(due_ms - now_ms))
    }

    /// Clients that have a place and did not come yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Of the places of a second, how many are taken.
    pub(crate) fn used(&self, limits: &Limits, now_ms: u64) -> u64 {
        let booked_us = self.booked_us.saturating_sub(now_ms * 1000).min(BURST_US);
        booked_us * u64::from(limits.connects_per_s) / 1_000_000
    }

    /// When the last place that was given away is due: until then newcomers are put off.
    pub(crate) fn busy_until_ms(&self) -> u64 {
        self.booked_us.saturating_sub(BURST_US) / 1000
    }

    /// Forgets places and counts that are over.
    pub(crate) fn prune(&mut self, now_ms: u64) {
        self.visitors.retain(|_, visitor| {
            visitor.places.retain(|place| now_ms <= place.due_ms + KEPT_MS);
            !visitor.places.is_empty() || now_ms < visitor.since_ms + SHARE_MS
        });
        self.waiting = self.visitors.values().map(|visitor| visitor.places.len()).sum();
        if self.visitors.is_empty() {
            self.visitors.shrink_to_fit();
        }
    }
}

impl Caller<'_> {
    /// A number of its own, so that those who have no place do not come again together.
    fn spread(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.identity, self.client_id).hash(&mut hasher);
        hasher.finish()
    }
}

impl Visitor {
    fn new(now_ms: u64) -> Self {
        Self { begun: 0, since_ms: now_ms, places: Vec::new() }
    }

    /// The place that is due first of those that this client may take.
    fn place_of(&self, client_id: &str) -> Option<usize> {
        let of_client = self.places.iter().enumerate().filter(|(_, place)| *place.client_id == *client_id);
        of_client.min_by_key(|(_, place)| place.due_ms).map(|(index, _)| index)
    }

    /// Half of what may be taken at once is for those who lately began no more sessions than they may hold: somebody who
    /// connects over and over finds the budget used up, and others find that it is not.
    fn burst_us(&mut self, caller: Caller<'_>, now_ms: u64) -> u64 {
        if now_ms >= self.since_ms + SHARE_MS {
            (self.begun, self.since_ms) = (0, now_ms);
        }
        if self.begun < caller.sessions_max { BURST_US } else { BURST_US / 2 }
    }
}

fn told(wait_ms: u64) -> u64 {
    wait_ms.clamp(1, TOLD_MAX_MS)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const START_MS: u64 = 1_000_000;

    fn limits(connects_per_s: u32) -> Limits {
        Limits { connects_per_s, ..Limits::default() }
    }

    fn device(number: u128) -> Caller<'static> {
        Caller { identity: IdentityId(Uuid::from_u128(number)), client_id: "d", sessions_max: 4 }
    }

    /// IOTSF-2.4.7.25: all at the same moment. Everybody comes twice at most, and the spread is even.
    #[test]
    fn a_fleet_that_comes_at_once_comes_again_one_by_one() {
        const FLEET: u128 = 10_000;
        let (mut arrivals, limits) = (Arrivals::default(), limits(1000));
        let asked: Vec<_> = (0..FLEET).map(|n| arrivals.begin(device(n), &limits, START_MS)).collect();
        assert_eq!(asked.iter().filter(|asked| asked.is_ok()).count(), 1000, "what a second holds, at once");
        let delays: Vec<u64> = asked.iter().filter_map(|asked| asked.err()).collect();
        assert_eq!(delays, (1..=9000).collect::<Vec<u64>>(), "then one each millisecond");
        assert_eq!((arrivals.waiting(), arrivals.busy_until_ms()), (9000, START_MS + 9000));
        for (n, delay_ms) in (1000..).zip(&delays) {
            assert_eq!(arrivals.begin(device(n), &limits, START_MS + delay_ms), Ok(()), "device {n}");
        }
        assert_eq!(arrivals.waiting(), 0);
    }

    /// No starvation: its place is kept, however many come before and after it is due.
    #[test]
    fn newcomers_do_not_pass_those_who_wait() {
        let (mut arrivals, limits) = (Arrivals::default(), limits(10));
        let mut newcomers = 1..;
        let mut storm = |arrivals: &mut Arrivals, now_ms| {
            for n in newcomers.by_ref().take(50) {
                let _ = arrivals.begin(device(n), &limits, now_ms);
            }
        };
        storm(&mut arrivals, START_MS);
        let delay_ms = arrivals.begin(device(0), &limits, START_MS).unwrap_err();
        assert_eq!(delay_ms, 4100, "behind the forty that were put off before it");
        for second in 1..=4 {
            storm(&mut arrivals, START_MS + second * 1000);
        }
        // Too early: nothing is gained and nothing lost.
        assert_eq!(arrivals.begin(device(0), &limits, START_MS + 4000), Err(100));
        assert_eq!(arrivals.begin(device(0), &limits, START_MS + delay_ms), Ok(()));
    }

    /// MQTT 3.1.1 has no word for the delay: such a client comes when it likes.
    #[test]
    fn a_client_that_was_not_told_gets_in_as_well() {
        let (mut arrivals, limits) = (Arrivals::default(), limits(10));
        let mut newcomers = 1..;
        let (mut now_ms, mut failures) = (START_MS, 0);
        loop {
            for n in newcomers.by_ref().take(20) {
                let _ = arrivals.begin(device(n), &limits, now_ms);
            }
            if arrivals.begin(device(0), &limits, now_ms).is_ok() {
                break;
            }
            failures += 1;
            now_ms += 1000 << failures;
        }
        assert_eq!(failures, 1, "after two seconds its place was due");
    }

    /// CSA-COM-04: per client.
    #[test]
    fn who_connects_in_a_loop_keeps_nobody_out() {
        let (mut arrivals, limits) = (Arrivals::default(), limits(100));
        let (mut looped, mut refused) = (0, 0);
        for ms in 0..20_000 {
            let now_ms = START_MS + ms;
            for client_id in ["d", "d:1", "d:2", "d:3", "d:4", ""] {
                match arrivals.begin(Caller { client_id, ..device(0) }, &limits, now_ms) {
                    Ok(()) => looped += 1,
                    Err(_) => refused += 1,
                }
            }
            // Others come at up to half of the rate.
            if ms % 20 == 0 {
                assert_eq!(arrivals.begin(device(1 + u128::from(ms)), &limits, now_ms), Ok(()), "after {ms} ms");
            }
        }
        assert!((900..=1100).contains(&looped) && refused > 100_000, "{looped} let in, {refused} put off");
        assert!(arrivals.waiting() <= 4, "it has no more places than sessions");
    }

    #[test]
    fn clients_without_a_name_have_a_place_each() {
        let (mut arrivals, limits) = (Arrivals::default(), limits(1));
        let app = Caller { client_id: "", sessions_max: 3, ..device(0) };
        assert_eq!(arrivals.begin(app, &limits, START_MS), Ok(()));
        let told: Vec<_> = (0..3).map(|_| arrivals.begin(app, &limits, START_MS).unwrap_err()).collect();
        assert_eq!(told, [1000, 2000, 3000]);
        assert_eq!(arrivals.begin(app, &limits, START_MS), Err(1000), "no more places than sessions");
        assert_eq!(arrivals.waiting(), 3);
        for delay_ms in told {
            assert_eq!(arrivals.begin(app, &limits, START_MS + delay_ms), Ok(()));
        }
    }

    #[test]
    fn places_are_bounded_and_those_without_one_do_not_come_together() {
        let mut limits = limits(10);
        limits.connects_waiting = 20;
        let mut arrivals = Arrivals::default();
        let told: Vec<_> = (0..130).filter_map(|n| arrivals.begin(device(n), &limits, START_MS).err()).collect();
        assert_eq!(arrivals.waiting(), 20);
        let mut without = told[20..].to_vec();
        assert!(without.iter().all(|delay_ms| (2100..4200).contains(delay_ms)), "{without:?}");
        without.sort_unstable();
        without.dedup();
        assert!(without.len() > 90, "{without:?}");
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let (mut arrivals, limits) = (Arrivals::default(), limits(10));
        for n in 0..20 {
            let _ = arrivals.begin(device(n), &limits, START_MS);
        }
        assert_eq!((arrivals.waiting(), arrivals.visitors.len()), (10, 20));
        // The place of the last is due after a second, and kept for two minutes.
        arrivals.prune(START_MS + 121_000);
        assert_eq!((arrivals.waiting(), arrivals.visitors.len()), (1, 1));
        assert_eq!(arrivals.begin(device(19), &limits, START_MS + 121_000), Ok(()));
        assert_eq!((arrivals.waiting(), arrivals.visitors.len()), (0, 1));
        assert_eq!(arrivals.used(&limits, START_MS + 121_000), 0, "it took its place and no other");
        arrivals.prune(START_MS + 131_000);
        assert_eq!(arrivals.visitors.len(), 0);
    }

    /// A reload may change the rate either way.
    #[test]
    fn a_changed_rate_counts_from_now_on() {
        let mut arrivals = Arrivals::default();
        for n in 0..20 {
            let _ = arrivals.begin(device(n), &limits(10), START_MS);
        }
        assert_eq!(arrivals.begin(device(20), &limits(100), START_MS), Err(1010));
        assert_eq!(arrivals.begin(device(21), &limits(1), START_MS), Err(2010));
        assert_eq!(arrivals.begin(device(22), &limits(1), START_MS + 10_000), Ok(()));
    }
}
