//! How the hub does, by its own counters.

use serde::{Deserialize, Serialize};

use crate::evidence::{Facts, Seen};

/// Counters since the hub was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubMetrics {
    /// How long ago that was, seconds.
    pub uptime_s: u64,
    /// Whether it takes work that has to be stored.
    pub accepts_work: bool,
    /// Messages received.
    pub received: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages dropped because a queue was full.
    pub dropped: u64,
    /// Messages that expired before they were delivered.
    pub expired: u64,
    /// How long the last commit took, microseconds.
    pub last_commit_us: u64,
    /// How many connections that were to be ended took longer than a second.
    pub late_cuts: u64,
    /// The limits of which more than half is used, at most 64.
    pub fullest: Vec<LimitFacts>,
    /// The part of the time in which it could be used, in a thousandth of a percent.
    pub availability_ppht: Seen<u32>,
    /// From publisher to subscriber, the 99th percentile, microseconds.
    pub delivery_us: Seen<u64>,
}

impl Facts for HubMetrics {
    const KIND: &'static str = "hub-metrics/1";
}

/// A limit and what is used of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitFacts {
    /// Its key.
    pub name: String,
    /// The bound.
    pub limit: u64,
    /// In use.
    pub used: u64,
}
