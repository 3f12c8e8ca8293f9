//! Detection: what is wrong, from what is observed.
//!
//! A [`Watch`] is given every [`Observation`] and the time, and says what it found: a [`Notice`] when an episode opens and
//! another when it is over. One detector is one file of `detectors/` and one row of the table in `detector.rs`;
//! `docs/DETECTION.md` is made from both.
//!
//! What a detector compares with is either a threshold of the [`DetectSettings`] or what was learnt of the identity. Learning
//! ends with [`Watch::freeze`]; an identity that appears later is learnt for a time of its own.
//!
//! *Invariants*
//! - No I/O, no clock: time is an argument, and only what passed counts, not what the wall clock was set to.
//! - Exactly one finding in an episode, however much is observed in it; no flood of one subject hides the first of another.
//! - Everything remembered is bounded; who has an open episode is not forgotten in favour of noise.
//! - Frozen baselines do not move; the first periods of `slow_drift` apart.
//! - A rehearsal happens in a world of its own.

mod clock;
mod detector;
mod detectors;
mod device;
mod episode;
mod finding;
mod hash;
mod observation;
mod reference;
mod rehearsal;
mod saved;
mod settings;
mod site;
mod stats;
mod table;
#[cfg(test)]
mod testing;
mod watch;

pub use detector::{Detector, Row};
pub use detectors::vitals_trend::VITALS_MAX;
pub use detectors::{
    ApiMisuse, AuthFailures, BatteryDrain, Beaconing, ConnectionRate, DuplicateIdentity, HalfOpen, HeartbeatLost,
    KeepAliveAbuse, MalformedPackets, MassLoss, MessageRate, MessageSize, NewSource, PolicyDenials, ReconnectStorm,
    Replay, SlowDrift, VitalsTrend,
};
pub use finding::{Closing, Finding, FindingId, NoFindingId, Notice, Number, OpenEpisode, Subject};
pub use observation::{Ending, Observation};
pub use portreeve_types::Severity;
pub use reference::reference_markdown;
pub use saved::{LoadError, sealed};
pub use settings::{
    CHANGE_WINDOWS_MAX, ChangeWindow, Day, DetectSettings, GROUPS_MAX, General, KNOWN_BAD_NETWORKS_MAX,
    KNOWN_BAD_PATTERNS_MAX, KnownBadLists, Overrides, SettingsError,
};
pub use watch::{Usage, Watch};
