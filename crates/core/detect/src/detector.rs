//! The table of detectors. What stands here is the reference: `docs/DETECTION.md` is made from it.

use portreeve_types::Severity;
use serde::{Deserialize, Serialize};

/// What is known of a detector without looking at anything.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How much its findings matter.
    pub severity: Severity,
    /// The catalogue rows that ask for it.
    pub requirements: &'static [&'static str],
    /// Whether it compares with what was learnt, and is silent until then.
    pub learns: bool,
    /// What it sees, in one sentence.
    pub sees: &'static str,
    /// How somebody stays below it.
    pub evaded_by: &'static str,
    /// What it takes for an attack that is none.
    pub mistakes: &'static str,
}

macro_rules! detectors {
    ($(
        $Name:ident = $word:literal, $severity:ident, $learns:ident, [$($requirement:literal),*],
        $sees:literal, $evaded_by:literal, $mistakes:literal;
    )+) => {
        /// A detector, and the kind of its findings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Detector { $( #[doc = $sees] #[serde(rename = $word)] $Name, )+ }

        impl Detector {
            /// All, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$Name),+];

            /// The word in settings, findings and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$Name => $word),+ }
            }

            /// Its row in the table.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self { $(Self::$Name => const { &Row {
                    severity: Severity::$severity,
                    requirements: &[$($requirement),*],
                    learns: detectors!(@ $learns),
                    sees: $sees,
                    evaded_by: $evaded_by,
                    mistakes: $mistakes,
                } }),+ }
            }
        }
    };
    (@ learns) => { true };
    (@ counts) => { false };
}

detectors! {
    AuthFailures = "auth_failures", High, counts, ["CSA-MSU-04", "CSA-CLS-08", "IOTSF-2.4.7.5", "IIITA-N6"],
        "Failed authentications: the fifth in 30 minutes of one identity, from one source, or of whatever neither explains across the hub.",
        "Fewer than one attempt in seven and a half minutes. Even ones are found as `beaconing`, and together with others' across the hub.",
        "A device whose certificate ended and that goes on trying; scanners of an exposed port keep the hub's own episode open.";
    PolicyDenials = "policy_denials", Medium, counts, ["CSA-MSU-02", "CSA-MSU-03", "CSA-SCN-05"],
        "One identity is refused by policy again and again.",
        "Trying what policy refuses slowly.",
        "Firmware that uses a topic which a new policy no longer grants.";
    DuplicateIdentity = "duplicate_identity", Critical, counts, ["CSA-MSU-02", "CSA-MSU-03", "IIITA-N6"],
        "One identity is used in two places: a certificate that was renewed is used again, or connections from two addresses take turns.",
        "A copy that is used only while the original is off, and from the same network.",
        "A device that hops between two networks, for each hop may look like a second place.";
    NewSource = "new_source", Medium, learns, ["CSA-MSU-02", "CSA-MSU-06", "IIITA-N6"],
        "An identity connects from a network that it was not seen in while it was learnt.",
        "A copy that is used in the original's network, or while learning.",
        "A device that was moved, or whose provider gave it another address block. One that roamed while it was learnt is left alone.";
    MessageRate = "message_rate", High, learns, ["CSA-OPA-04", "CSA-MSU-02", "IIITA-N6"],
        "An identity sends far more messages to a topic within ten seconds than it was seen to, or more than any device should.",
        "Staying below the factor, or spreading over many topics; the sum is found as `slow_drift` and `new_topic`.",
        "A backlog that is sent after an outage, if none was seen while learning.";
    MessageSize = "message_size", Medium, learns, ["CSA-OPA-04", "CSA-MSU-02", "IIITA-N6"],
        "A message far larger than any that this identity sent to the topic while it was learnt.",
        "Many messages of usual size.",
        "New firmware that reports more.";
    NewTopic = "new_topic", Medium, learns, ["CSA-MSU-02", "CSA-MSU-06", "IIITA-N6"],
        "An identity publishes to a topic that it did not use while it was learnt.",
        "Misusing a topic that is in use, or being one of those that use too many topics to be learnt (more than 32).",
        "New firmware; a topic that is used once a month; topics that hold a date or a counter.";
    ConnectionRate = "connection_rate", Medium, counts, ["CSA-OPA-04", "IIITA-N6"],
        "One source opens sessions at a rate that no device needs.",
        "Many sources; the hub as a whole is watched by `reconnect_storm`.",
        "A site behind one address that comes back after an outage.";
    ReconnectStorm = "reconnect_storm", Medium, learns, ["CSA-OPA-04", "IIITA-N6"],
        "One identity connects again and again, or the hub has many times more new sessions than usual.",
        "Slow reconnects.",
        "A weak radio link; the return after an outage, which is a storm indeed.";
    HalfOpen = "half_open", High, counts, ["CSA-OPA-04", "IIITA-N6"],
        "Connections are opened and left before handshake or CONNECT end, from one source or from many.",
        "Very many sources, few connections each.",
        "A balancer or monitor that tests the port without a handshake.";
    KeepAliveAbuse = "keep_alive_abuse", High, counts, ["CSA-OPA-04", "IIITA-N6"],
        "Many sessions of one identity or source ask for no keep alive or for hours, so that dead ones stay (SlowITe).",
        "A keep alive just below the limit.",
        "Fleets behind one address whose firmware asks for the largest keep alive.";
    MalformedPackets = "malformed_packets", High, counts, ["CSA-MSU-02", "CSA-MSU-03", "IIITA-N6"],
        "An identity or source sends bytes that break the protocol.",
        "Attacks with well-formed packets.",
        "A broken client library.";
    HeartbeatLost = "heartbeat_lost", Medium, learns, ["CSA-SNT-10", "ISVS-4.1.4"],
        "A device is silent for several times longer than it was seen to be, or than its group says.",
        "Somebody else who goes on speaking with its key.",
        "A device that is switched off on purpose; quarantine, disable or retire it.";
    Replay = "replay", High, counts, ["CSA-SOP-03", "CSA-MSU-02"],
        "Sequence numbers or times of a device go back, without a restart.",
        "A replay below the number of repeats in one window; a replay that looks like a restart.",
        "Retransmissions after a lost link, if there are more than the repeats allowed.";
    NumbersBroken = "numbers_broken", Medium, counts, ["CSA-SOP-03", "CSA-MSU-05"],
        "A device's own security events do not follow each other: some are missing, or come again.",
        "A device that says nothing at all; that is `heartbeat_lost`.",
        "Events published with QoS 0 over a connection that broke.";
    FirmwareRegress = "firmware_regress", High, counts, ["CSA-MSU-03"],
        "A device reports an older firmware than before.",
        "Firmware that lies.",
        "A rollback that was meant.";
    BatteryDrain = "battery_drain", Medium, learns, ["CSA-OPA-12"],
        "A battery loses charge several times faster than it did, or faster than any should.",
        "A slow drain; it is seen by its low charge.",
        "Cold, and a battery that ages.";
    VitalsTrend = "vitals_trend", Low, learns, ["CSA-OPA-12", "CSA-SNT-10", "CSA-MSU-02"],
        "A figure that a device reports of itself shifts and stays away from what was learnt.",
        "A device that reports what is expected.",
        "Seasons, if less than a season was learnt.";
    Beaconing = "beaconing", Medium, learns, ["CSA-SNT-03", "CSA-MSU-06", "IIITA-N6"],
        "Contacts at even intervals that were not learnt: of an identity, or refused ones from a source.",
        "Intervals that vary by more than a tenth.",
        "A device whose reporting interval was changed; one whose access was withdrawn and that goes on trying.";
    MassLoss = "mass_loss", Critical, counts, ["ISVS-4.1.4", "CSA-OPA-11", "CSA-SNT-10"],
        "Many devices of one zone or radio are lost at the same moment: jamming, or an outage.",
        "Taking devices away one by one; each is found as `heartbeat_lost`.",
        "A power cut or a switched-off access point, which is an outage indeed.";
    KnownBad = "known_bad", Critical, counts, ["CSA-SNT-03", "CSA-MSU-06", "IIITA-N6"],
        "An address, topic or client identifier of a list of known-bad ones.",
        "Anything that is not on the list.",
        "A list that is old: addresses change hands.";
    SlowDrift = "slow_drift", Low, learns, ["CSA-MSU-02", "CSA-OPA-04"],
        "The messages or bytes of an identity in a day grow, slowly, and stay above what was learnt.",
        "Growth that stays within the spread that was learnt.",
        "More work: a busier site.";
    ApiMisuse = "api_misuse", High, learns, ["CSA-CLS-07", "IIITA-N6"],
        "A caller of the administration interface is refused again and again, or calls far more often than it was seen to.",
        "Misuse of what a caller may do, at its usual rate.",
        "A new script.";
    ConfigOutOfWindow = "config_out_of_window", Medium, counts, ["CSA-SCN-05"],
        "Somebody changes the configuration outside the hours that are set aside for changes.",
        "Waiting for the window.",
        "An emergency.";
    WatchFull = "watch_full", High, counts, ["CSA-MSU-03"],
        "There are more identities, sources, callers or zones than the watch can follow, and one that was in use was dropped.",
        "Nothing: it is about the watch itself.",
        "A hub that outgrew its settings.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_fit_the_mask_of_switches() {
        let mut words: Vec<_> = Detector::ALL.iter().map(|kind| kind.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Detector::ALL.len());
        assert!(Detector::ALL.len() <= 32);
        for kind in Detector::ALL {
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{}\"", kind.as_str()));
        }
    }
}
