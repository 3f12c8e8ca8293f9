//! One file for each detector: its thresholds, what it remembers, how it judges, and its rehearsal.

pub(crate) mod api_misuse;
pub(crate) mod auth_failures;
pub(crate) mod battery_drain;
pub(crate) mod beaconing;
pub(crate) mod config_out_of_window;
pub(crate) mod connection_rate;
pub(crate) mod duplicate_identity;
pub(crate) mod firmware_regress;
pub(crate) mod half_open;
pub(crate) mod heartbeat_lost;
pub(crate) mod keep_alive_abuse;
pub(crate) mod known_bad;
pub(crate) mod malformed_packets;
pub(crate) mod mass_loss;
pub(crate) mod message_rate;
pub(crate) mod message_size;
pub(crate) mod new_source;
pub(crate) mod new_topic;
pub(crate) mod numbers_broken;
pub(crate) mod policy_denials;
pub(crate) mod reconnect_storm;
pub(crate) mod replay;
pub(crate) mod slow_drift;
pub(crate) mod vitals_trend;
pub(crate) mod watch_full;

pub use {
    api_misuse::ApiMisuse, auth_failures::AuthFailures, battery_drain::BatteryDrain, beaconing::Beaconing,
    connection_rate::ConnectionRate, duplicate_identity::DuplicateIdentity, half_open::HalfOpen,
    heartbeat_lost::HeartbeatLost, keep_alive_abuse::KeepAliveAbuse, malformed_packets::MalformedPackets,
    mass_loss::MassLoss, message_rate::MessageRate, message_size::MessageSize, new_source::NewSource,
    policy_denials::PolicyDenials, reconnect_storm::ReconnectStorm, replay::Replay, slow_drift::SlowDrift,
    vitals_trend::VitalsTrend,
};

use crate::{Detector, rehearsal::Script, settings::DetectSettings};

/// What a detector must find.
pub(crate) fn rehearsal(kind: Detector, settings: &DetectSettings) -> Script {
    match kind {
        Detector::AuthFailures => auth_failures::rehearsal(settings),
        Detector::PolicyDenials => policy_denials::rehearsal(settings),
        Detector::DuplicateIdentity => duplicate_identity::rehearsal(),
        Detector::NewSource => new_source::rehearsal(),
        Detector::MessageRate => message_rate::rehearsal(settings),
        Detector::MessageSize => message_size::rehearsal(settings),
        Detector::NewTopic => new_topic::rehearsal(),
        Detector::ConnectionRate => connection_rate::rehearsal(settings),
        Detector::ReconnectStorm => reconnect_storm::rehearsal(settings),
        Detector::HalfOpen => half_open::rehearsal(settings),
        Detector::KeepAliveAbuse => keep_alive_abuse::rehearsal(settings),
        Detector::MalformedPackets => malformed_packets::rehearsal(settings),
        Detector::HeartbeatLost => heartbeat_lost::rehearsal(settings),
        Detector::Replay => replay::rehearsal(settings),
        Detector::NumbersBroken => numbers_broken::rehearsal(),
        Detector::FirmwareRegress => firmware_regress::rehearsal(),
        Detector::BatteryDrain => battery_drain::rehearsal(settings),
        Detector::VitalsTrend => vitals_trend::rehearsal(settings),
        Detector::Beaconing => beaconing::rehearsal(settings),
        Detector::MassLoss => mass_loss::rehearsal(settings),
        Detector::KnownBad => known_bad::rehearsal(),
        Detector::SlowDrift => slow_drift::rehearsal(settings),
        Detector::ApiMisuse => api_misuse::rehearsal(settings),
        Detector::ConfigOutOfWindow => config_out_of_window::rehearsal(),
        Detector::WatchFull => watch_full::rehearsal(settings),
    }
}
