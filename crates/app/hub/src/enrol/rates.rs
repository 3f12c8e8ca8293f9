//! How often certificates may be asked for.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;
use portreeve_config::Limits;
use portreeve_types::{Bucket, IdentityId, source_of};

/// Sources whose failures are remembered. When there are more, those that have paid are forgotten; while none has,
/// strangers from new sources have to wait.
const SOURCES_MAX: usize = 65_536;
/// A failure's price, so that a bucket that is filled by the second counts by the minute.
const FAILURE_COST: u64 = 60;
/// How long somebody has to wait who comes when nobody new is heard.
const FULL_WAIT_S: u32 = 60;

/// Whom failures count against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rated {
    /// Strangers, by where they come from.
    Source(IpAddr),
    /// Who has shown a certificate.
    Identity(IdentityId),
}

impl Rated {
    pub(crate) fn source(address: IpAddr) -> Self {
        Self::Source(source_of(address))
    }
}

/// Failures by source or identity, and certificates in all.
#[derive(Debug, Default)]
pub(crate) struct EnrolmentRates {
    failures: Mutex<HashMap<Rated, Bucket>>,
    certificates: Mutex<Option<Bucket>>,
    /// Most failures of one source within its bucket, so far.
    worst: AtomicU64,
    certificates_in_use: AtomicU64,
}

impl EnrolmentRates {
    /// Seconds for which this source is not heard, if it has failed too often.
    pub(crate) fn failures_wait_s(&self, who: Rated, limits: &Limits, now_ms: u64) -> Option<u32> {
        let mut failures = self.failures.lock();
        let Some(bucket) = failures.get_mut(&who) else {
            if failures.len() < SOURCES_MAX {
                return None;
            }
            failures.retain(|_, bucket| !bucket.is_full(now_ms));
            return (failures.len() >= SOURCES_MAX).then_some(FULL_WAIT_S);
        };
        let per_min = u64::from(limits.enrolment_failures_per_source_per_min);
        bucket.adjust(per_min, per_min * FAILURE_COST);
        let mut tried = *bucket;
        if tried.take(FAILURE_COST, now_ms) { None } else { Some(seconds(tried.wait_ms(FAILURE_COST))) }
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, who: Rated, limits: &Limits, now_ms: u64) {
        let mut failures = self.failures.lock();
        let per_min = u64::from(limits.enrolment_failures_per_source_per_min);
        let fresh = || Bucket::new(per_min, per_min * FAILURE_COST, now_ms);
        let bucket = failures.entry(who).or_insert_with(fresh);
        bucket.take(FAILURE_COST, now_ms);
        self.worst.fetch_max(bucket.used().div_ceil(FAILURE_COST), Relaxed);
    }

    /// Takes one certificate from the rate, or says how many seconds there is none.
    pub(crate) fn take_certificate(&self, limits: &Limits, now_ms: u64) -> Result<(), u32> {
        let rate = u64::from(limits.certificates_per_s);
        let mut bucket = self.certificates.lock();
        let bucket = bucket.get_or_insert_with(|| Bucket::new(rate, rate, now_ms));
        bucket.adjust(rate, rate);
        let taken = bucket.take(1, now_ms);
        self.certificates_in_use.store(bucket.used(), Relaxed);
        if taken { Ok(()) } else { Err(seconds(bucket.wait_ms(1))) }
    }

    pub(crate) fn failures_of_the_worst(&self) -> u64 {
        self.worst.load(Relaxed)
    }

    pub(crate) fn certificates_in_use(&self) -> u64 {
        self.certificates_in_use.load(Relaxed)
    }
}

/// Whole seconds, at least one.
fn seconds(wait_ms: u64) -> u32 {
    u32::try_from(wait_ms.div_ceil(1000).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { enrolment_failures_per_source_per_min: 3, certificates_per_s: 2, ..Limits::default() }
    }

    #[test]
    fn a_source_that_failed_too_often_waits_and_others_do_not() {
        let (rates, limits) = (EnrolmentRates::default(), limits());
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| Rated::source(text.parse().unwrap()));
        for _ in 0..3 {
            assert_eq!(rates.failures_wait_s(one, &limits, 0), None);
            rates.failed(one, &limits, 0);
        }
        assert_eq!(rates.failures_wait_s(one, &limits, 0), Some(20), "three a minute are one in twenty seconds");
        assert_eq!(rates.failures_wait_s(other, &limits, 0), None);
        assert_eq!(rates.failures_wait_s(one, &limits, 20_000), None);
        assert_eq!(rates.failures_of_the_worst(), 3);
    }

    #[test]
    fn sources_are_not_remembered_without_bound() {
        let (rates, limits) = (EnrolmentRates::default(), limits());
        for number in 0..u32::try_from(SOURCES_MAX).unwrap() {
            rates.failed(Rated::source(std::net::Ipv4Addr::from_bits(number).into()), &limits, 0);
        }
        let newcomer = Rated::source("2001:db8::1".parse().unwrap());
        assert_eq!(rates.failures_wait_s(newcomer, &limits, 0), Some(FULL_WAIT_S));
        assert_eq!(rates.failures_wait_s(newcomer, &limits, 60_000), None, "all have paid");
        assert!(rates.failures.lock().is_empty());
    }

    #[test]
    fn certificates_have_a_rate() {
        let (rates, limits) = (EnrolmentRates::default(), limits());
        assert_eq!(rates.take_certificate(&limits, 0), Ok(()));
        assert_eq!(rates.take_certificate(&limits, 0), Ok(()));
        assert_eq!(rates.take_certificate(&limits, 0), Err(1));
        assert_eq!(rates.certificates_in_use(), 2);
        assert_eq!(rates.take_certificate(&limits, 500), Ok(()));
    }
}
