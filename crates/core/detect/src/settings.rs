//! Thresholds, lists and switches. Every number has a default, a range and a unit, declared beside the detector it is for.

use crate::{Detector, detectors as by, hash::hash_of};
use portreeve_config::Network;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Entries of each known-bad list of topics or client identifiers.
pub const KNOWN_BAD_PATTERNS_MAX: usize = 256;
/// Entries of the known-bad list of networks.
pub const KNOWN_BAD_NETWORKS_MAX: usize = 10_000;
/// Groups with overrides.
pub const GROUPS_MAX: usize = 256;
/// Windows for changes.
pub const CHANGE_WINDOWS_MAX: usize = 64;

/// What is wrong with settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A number outside its range.
    #[error("detect.{section}.{key} is out of range: allowed is {range}")]
    Range {
        /// The table.
        section: &'static str,
        /// The key.
        key: &'static str,
        /// What is allowed.
        range: &'static str,
    },
    /// A list with too many entries.
    #[error("detect.{list} has more than {max} entries")]
    TooMany {
        /// The list.
        list: &'static str,
        /// Its bound.
        max: usize,
    },
    /// A pattern that is no MQTT topic filter.
    #[error("detect.known_bad.topics: `{0}` is no topic filter")]
    Topic(String),
    /// A window whose hours are not of one day.
    #[error("detect.change_windows: hours run from 0 to 24, and the first is before the last")]
    Hours,
}

/// One number, for the reference.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    pub(crate) range: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) text: &'static [&'static str],
}

/// Declares the numbers of one detector: default, range, unit and text.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        $Name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $ty:ty = $default:literal, in $low:literal ..= $high:literal, $unit:literal; )+
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Name { $( $(#[doc = $doc])+ pub $field: $ty, )+ }

        impl Default for $Name {
            fn default() -> Self {
                Self { $($field: $default),+ }
            }
        }

        impl $Name {
            pub(crate) const KEYS: &'static [$crate::settings::Key] = &[$($crate::settings::Key {
                name: stringify!($field),
                default: stringify!($default),
                range: concat!(stringify!($low), " to ", stringify!($high)),
                unit: $unit,
                text: &[$($doc),+],
            }),+];

            pub(crate) fn check(&self, section: &'static str) -> Result<(), $crate::SettingsError> {
                $(if !($low..=$high).contains(&self.$field) {
                    let range = concat!(stringify!($low), " to ", stringify!($high));
                    return Err($crate::SettingsError::Range { section, key: stringify!($field), range });
                })+
                Ok(())
            }
        }
    };
}
pub(crate) use section;

section! {
    /// What concerns all detectors.
    General {
        /// An episode ends when nothing of its kind was observed for this long.
        quiet_s: u32 = 1800, in 60..=604_800, "seconds";
        /// How long an identity is learnt that appears after the freeze, or that is to be learnt again. Until then detectors that
        /// compare with a baseline say nothing about it.
        new_device_learn_s: u32 = 259_200, in 0..=7_776_000, "seconds";
        /// A baseline of fewer samples than this is not compared with.
        samples_min: u32 = 30, in 2..=10_000, "samples";
        /// Identities that are followed. One more makes the one that was not heard of for longest be forgotten.
        identities_max: u32 = 200_000, in 16..=10_000_000, "identities";
        /// Sources that are followed. One more makes one be forgotten that did least.
        sources_max: u32 = 16_384, in 16..=1_000_000, "sources";
        /// Callers of the administration interface that are followed.
        callers_max: u32 = 1_024, in 16..=65_536, "callers";
        /// Zones, and as many radios, that are followed.
        zones_max: u32 = 1_024, in 16..=65_536, "zones";
    }
}

/// Declares the tables of thresholds, once for the hub and once for groups.
macro_rules! tables {
    ($( $(#[doc = $doc:literal])+ $field:ident: $Section:ty; )+) => {
        /// The settings of detection. Everything has a default; an unknown key is an error.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct DetectSettings {
            /// What concerns all detectors.
            pub general: General,
            /// Detectors that are switched off.
            pub off: BTreeSet<Detector>,
            $( $(#[doc = $doc])+ pub $field: $Section, )+
            /// Lists of what is known to be bad.
            pub known_bad: KnownBadLists,
            /// When the configuration may change. Empty: at any time.
            pub change_windows: Vec<ChangeWindow>,
            /// Other thresholds for the identities of a group.
            pub groups: BTreeMap<String, Overrides>,
        }

        /// What holds for the identities of one group instead. A table that is given replaces the hub's whole table; figures of
        /// sources and of the hub in it have no effect.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Overrides {
            /// Detectors that are switched off, instead of those of the hub.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub off: Option<BTreeSet<Detector>>,
            $( $(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$Section>, )+
        }

        impl DetectSettings {
            fn check_tables(&self) -> Result<(), SettingsError> {
                self.general.check("general")?;
                $( self.$field.check(stringify!($field))?; )+
                Ok(())
            }

            /// These, as they hold for a group.
            fn with(&self, overrides: &Overrides) -> Self {
                Self {
                    general: self.general,
                    off: overrides.off.as_ref().unwrap_or(&self.off).clone(),
                    $( $field: overrides.$field.unwrap_or(self.$field), )+
                    known_bad: self.known_bad.clone(),
                    change_windows: self.change_windows.clone(),
                    groups: BTreeMap::new(),
                }
            }
        }

        /// The tables and their numbers, for the reference.
        pub(crate) const TABLES: &[(&str, &[Key])] =
            &[("general", General::KEYS), $((stringify!($field), <$Section>::KEYS)),+];
    };
}

tables! {
    /// Thresholds of `auth_failures`.
    auth_failures: by::AuthFailures;
    /// Thresholds of `policy_denials`.
    policy_denials: by::PolicyDenials;
    /// Thresholds of `duplicate_identity`.
    duplicate_identity: by::DuplicateIdentity;
    /// What `new_source` takes for one network.
    new_source: by::NewSource;
    /// Thresholds of `message_rate`.
    message_rate: by::MessageRate;
    /// Thresholds of `message_size`.
    message_size: by::MessageSize;
    /// Thresholds of `connection_rate`.
    connection_rate: by::ConnectionRate;
    /// Thresholds of `reconnect_storm`.
    reconnect_storm: by::ReconnectStorm;
    /// Thresholds of `half_open`.
    half_open: by::HalfOpen;
    /// Thresholds of `keep_alive_abuse`.
    keep_alive_abuse: by::KeepAliveAbuse;
    /// Thresholds of `malformed_packets`.
    malformed_packets: by::MalformedPackets;
    /// Thresholds of `heartbeat_lost`.
    heartbeat_lost: by::HeartbeatLost;
    /// Thresholds of `replay`.
    replay: by::Replay;
    /// Thresholds of `battery_drain`.
    battery_drain: by::BatteryDrain;
    /// Thresholds of `vitals_trend`.
    vitals_trend: by::VitalsTrend;
    /// Thresholds of `beaconing`.
    beaconing: by::Beaconing;
    /// Thresholds of `mass_loss`.
    mass_loss: by::MassLoss;
    /// Thresholds of `slow_drift`.
    slow_drift: by::SlowDrift;
    /// Thresholds of `api_misuse`.
    api_misuse: by::ApiMisuse;
}

/// What is known to be bad.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnownBadLists {
    /// Addresses and networks, such as `203.0.113.7` and `2001:db8::/32`.
    #[serde(with = "networks")]
    pub networks: Vec<Network>,
    /// Topic filters.
    pub topics: Vec<String>,
    /// Client identifiers; one that ends in `*` stands for all that begin so.
    pub client_ids: Vec<String>,
}

mod networks {
    use super::Network;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(networks: &[Network], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(networks.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Network>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let parse = |text: &String| text.parse().map_err(|error| D::Error::custom(format_args!("`{text}`: {error}")));
        texts.iter().map(parse).collect()
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "days need no explanation")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Day {
    pub(crate) const ALL: [Self; 7] =
        [Self::Monday, Self::Tuesday, Self::Wednesday, Self::Thursday, Self::Friday, Self::Saturday, Self::Sunday];
}

/// Hours of days, UTC, in which the configuration may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeWindow {
    /// Which days.
    pub days: BTreeSet<Day>,
    /// The first hour, 0 to 23.
    pub from_h: u8,
    /// The hour at which it ends, 1 to 24.
    pub to_h: u8,
}

impl DetectSettings {
    /// Whether every number is in its range and every list within its bound.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), SettingsError> {
        let lists = [
            ("known_bad.networks", self.known_bad.networks.len(), KNOWN_BAD_NETWORKS_MAX),
            ("known_bad.topics", self.known_bad.topics.len(), KNOWN_BAD_PATTERNS_MAX),
            ("known_bad.client_ids", self.known_bad.client_ids.len(), KNOWN_BAD_PATTERNS_MAX),
            ("change_windows", self.change_windows.len(), CHANGE_WINDOWS_MAX),
            ("groups", self.groups.len(), GROUPS_MAX),
        ];
        if let Some((list, _, max)) = lists.into_iter().find(|(_, len, max)| len > max) {
            return Err(SettingsError::TooMany { list, max });
        }
        let is_filter = |text: &&String| portreeve_types::TopicFilter::new(text).is_ok();
        if let Some(bad) = self.known_bad.topics.iter().find(|text| !is_filter(text)) {
            return Err(SettingsError::Topic(bad.clone()));
        }
        if self.change_windows.iter().any(|window| window.from_h >= window.to_h || window.to_h > 24) {
            return Err(SettingsError::Hours);
        }
        self.check_tables()?;
        self.groups.values().try_for_each(|overrides| self.with(overrides).check_tables())
    }
}

/// Settings as they hold for one identity.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) settings: DetectSettings,
    off: u32,
}

impl Rules {
    fn new(settings: DetectSettings) -> Self {
        let off = settings.off.iter().fold(0, |mask, kind| mask | 1 << *kind as u8);
        Self { settings, off }
    }

    pub(crate) const fn is_off(&self, kind: Detector) -> bool {
        self.off & (1 << kind as u8) != 0
    }

    pub(crate) fn quiet_ms(&self) -> u64 {
        u64::from(self.settings.general.quiet_s) * 1000
    }
}

/// The rules of the hub and of each group that has its own.
#[derive(Debug)]
pub(crate) struct RuleBook {
    pub(crate) hub: Rules,
    groups: HashMap<u64, Rules>,
}

impl RuleBook {
    pub(crate) fn new(settings: &DetectSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let group = |(name, overrides): (&String, _)| (hash_of(name), Rules::new(settings.with(overrides)));
        Ok(Self {
            hub: Rules::new(settings.with(&Overrides::default())),
            groups: settings.groups.iter().map(group).collect(),
        })
    }

    /// The rules for a group by its name's hash.
    pub(crate) fn of(&self, group: u64) -> &Rules {
        if self.groups.is_empty() { &self.hub } else { self.groups.get(&group).unwrap_or(&self.hub) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_their_toml() {
        let text = "off = ['new_source']\n[general]\nquiet_s = 600\n[auth_failures]\nfailures = 6\n[known_bad]\n\
                    networks = ['203.0.113.0/24']\ntopics = ['c2/#']\nclient_ids = ['mirai*']\n\
                    [[change_windows]]\ndays = ['monday']\nfrom_h = 8\nto_h = 17\n\
                    [groups.lamps]\noff = []\n[groups.lamps.message_rate]\nfactor = 10.0\n";
        let settings: DetectSettings = toml::from_str(text).unwrap();
        settings.check().unwrap();
        assert_eq!(settings.auth_failures.failures, 6);
        let again: DetectSettings = toml::from_str(&toml::to_string(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
        let book = RuleBook::new(&settings).unwrap();
        assert!(book.hub.is_off(Detector::NewSource) && !book.hub.is_off(Detector::AuthFailures));
        let lamps = book.of(hash_of("lamps"));
        assert!(!lamps.is_off(Detector::NewSource) && lamps.settings.message_rate.factor > 9.0);
        assert!(book.of(hash_of("others")).is_off(Detector::NewSource));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for bad in [
            "unknown = 1",
            "off = ['nothing']",
            "[auth_failures]\nfailure = 5",
            "[known_bad]\nnetworks = ['203.0.113.1/24']",
            "[[change_windows]]\ndays = ['someday']\nfrom_h = 1\nto_h = 2",
            "[groups.lamps]\nknown_bad = {}",
        ] {
            assert!(toml::from_str::<DetectSettings>(bad).is_err(), "{bad}");
        }
        for bad in [
            "[auth_failures]\nfailures = 0",
            "[message_rate]\nfactor = nan",
            "[groups.lamps.message_rate]\nfactor = inf",
            "[known_bad]\ntopics = ['a/#/b']",
            "[[change_windows]]\ndays = ['monday']\nfrom_h = 9\nto_h = 9",
            "[[change_windows]]\ndays = ['monday']\nfrom_h = 9\nto_h = 25",
        ] {
            let settings: DetectSettings = toml::from_str(bad).unwrap();
            assert!(settings.check().is_err(), "{bad}");
        }
        let mut many = DetectSettings::default();
        many.known_bad.client_ids = vec![String::new(); KNOWN_BAD_PATTERNS_MAX + 1];
        assert!(matches!(many.check(), Err(SettingsError::TooMany { .. })));
    }
}
