use std::{collections::BTreeSet, fmt, net::IpAddr, ops::Range};

use portreeve_config::Network;
use portreeve_types::{IdentityName, Kind};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::{Facts, Finding, Identity, Severity};

/// Longest text of settings, bytes.
pub const SETTINGS_BYTES_MAX: usize = 256 * 1024;
/// Most rules.
pub const RULES_MAX: usize = 256;
/// Most entries of one list.
pub const LIST_ENTRIES_MAX: usize = 10_000;
/// Longest time that a rule may throttle, block or quarantine for, seconds: 30 days.
pub const FOR_S_MAX: u64 = 30 * 24 * 3600;

/// Networks that are never blocked, whatever the settings say: the hub's own machine.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// What an operator wants done about findings. The default alerts and opens cases from `medium` up, and cuts nobody.
#[derive(Clone, Debug)]
pub struct ResponseSettings {
    /// What no rule may go beyond.
    pub mode: Mode,
    /// Findings of this severity and up alert and open a case, whatever the rules say.
    pub alert_from: Severity,
    /// Bits of an IPv6 address that make a source.
    pub block_ipv6_prefix_bits: u8,
    /// In order: the first that fits decides.
    pub rules: Vec<Rule>,
    pub(crate) exempt: Exempt,
    pub(crate) brake: BrakeSettings,
}

/// Whether rules act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It is recorded what would have been done.
    DryRun,
    /// It is done.
    Act,
}

/// What to do about some findings.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it stands: `file:line`.
    pub place: String,
    /// What is done.
    pub action: Action,
    /// Whether it is.
    pub mode: Mode,
    findings: BTreeSet<String>,
    severity: Option<Severity>,
    groups: BTreeSet<String>,
    kinds: BTreeSet<Kind>,
}

/// What a rule does. Times are seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Alerts, opens a case and does nothing else.
    Alert,
    /// Holds the identity to a rate for a time.
    Throttle {
        /// At most so many messages a second.
        messages_per_s: u32,
        /// How long.
        for_s: u64,
    },
    /// Ends the identity's sessions. It may come back.
    Disconnect,
    /// Takes no connections from the source for a time.
    BlockSource {
        /// How long.
        for_s: u64,
    },
    /// Confines the identity to what is marked for remediation (CSA-SNT-03).
    Quarantine {
        /// How long; without it, until somebody lifts it.
        for_s: Option<u64>,
    },
    /// Asks two persons to void the identity's credentials for ever.
    Revoke,
}

impl Action {
    /// Whether a finding with these facts gives it something to act on.
    fn has_target(self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Alert => true,
            Self::BlockSource { .. } => facts.source.is_some(),
            _ => facts.identity.is_some(),
        }
    }
}

/// A bound on what rules may touch within an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Percent of the fleet.
    pub share_percent_per_hour: u8,
    /// So many identities, however small the fleet is.
    pub at_least: u32,
}

impl Share {
    /// How many of a fleet that is.
    #[must_use]
    pub fn of(self, fleet: u64) -> u64 {
        percent(self.share_percent_per_hour, fleet).max(u64::from(self.at_least))
    }
}

/// Rounded down.
pub(crate) fn percent(percent: u8, fleet: u64) -> u64 {
    // No more than the fleet, as a percentage is at most 100.
    u64::try_from(u128::from(fleet) * u128::from(percent) / 100).unwrap_or(fleet)
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BrakeSettings {
    /// Throttled, disconnected, or behind a blocked source.
    pub(crate) interrupt: Share,
    /// Quarantined.
    pub(crate) confine: Share,
    /// Blocks an hour of sources that no identity is known behind.
    pub(crate) strangers_per_hour: u32,
    /// Of the fleet, who may be quarantined by rules at one time.
    pub(crate) quarantined_percent: u8,
}

impl Default for BrakeSettings {
    fn default() -> Self {
        Self {
            interrupt: Share { share_percent_per_hour: 5, at_least: 1 },
            confine: Share { share_percent_per_hour: 1, at_least: 1 },
            strangers_per_hour: 100,
            quarantined_percent: 10,
        }
    }
}

/// Whom rules leave alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exempt {
    identities: BTreeSet<IdentityName>,
    groups: BTreeSet<String>,
    networks: Vec<Network>,
}

impl Exempt {
    pub(crate) fn has_identity(&self, identity: &Identity<'_>) -> bool {
        self.identities.contains(identity.name) || self.groups.contains(identity.group)
    }

    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    pub(crate) fn never_blocked(&self) -> Vec<Network> {
        let loopback = LOOPBACK.iter().filter_map(|text| text.parse().ok());
        loopback.chain(self.networks.iter().copied()).collect()
    }

    pub(crate) fn is_never_blocked(&self, address: IpAddr) -> bool {
        self.never_blocked().iter().any(|network| network.contains(address))
    }
}

impl Default for ResponseSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Act,
            alert_from: Severity::Medium,
            block_ipv6_prefix_bits: 64,
            rules: Vec::new(),
            exempt: Exempt::default(),
            brake: BrakeSettings::default(),
        }
    }
}

/// Something that is wrong with settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Problem {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl Problem {
    fn at(file: &str, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = (0..=offset.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Self { file: file.to_owned(), line, column, message: message.into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSettings {
    mode: Option<Mode>,
    alert_from: Option<Severity>,
    block_ipv6_prefix: Option<Spanned<u8>>,
    #[serde(default)]
    exempt: WrittenExempt,
    brake: Option<Spanned<BrakeSettings>>,
    #[serde(default)]
    rule: Vec<Spanned<WrittenRule>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenExempt {
    identities: Vec<Spanned<String>>,
    groups: Vec<Spanned<String>>,
    networks: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    #[serde(default)]
    findings: Vec<Spanned<String>>,
    severity: Option<Severity>,
    #[serde(default)]
    groups: Vec<Spanned<String>>,
    #[serde(default)]
    kinds: Vec<Kind>,
    action: Spanned<ActionWord>,
    messages_per_s: Option<Spanned<u32>>,
    for_s: Option<Spanned<u64>>,
    mode: Option<Mode>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ActionWord {
    Alert,
    Throttle,
    Disconnect,
    BlockSource,
    Quarantine,
    Revoke,
}

impl ResponseSettings {
    /// Reads settings in TOML. `finding_kinds` are all that detectors have, so that a rule for a misspelt one is refused
    /// instead of never fitting.
    ///
    /// # Errors
    /// What is wrong with the text, each with line and column.
    pub fn parse(file: &str, text: &str, finding_kinds: &[&str]) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader { file, text, problems: Vec::new() };
        if text.len() > SETTINGS_BYTES_MAX {
            let message = format!("{} bytes are more than {SETTINGS_BYTES_MAX}", text.len());
            return Err(vec![Problem::at(file, "", 0, message)]);
        }
        let written: WrittenSettings = toml::from_str(text).map_err(|error| {
            vec![Problem::at(file, text, error.span().unwrap_or_default().start, error.message().trim())]
        })?;
        let settings = reader.settings(written, finding_kinds);
        if reader.problems.is_empty() { Ok(settings) } else { Err(reader.problems) }
    }

    /// The first rule that fits, and can act on what the finding is about.
    pub(crate) fn rule_for(&self, finding: &Finding<'_>, facts: &Facts<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.fits(finding, facts))
    }
}

impl Rule {
    fn fits(&self, finding: &Finding<'_>, facts: &Facts<'_>) -> bool {
        let is_meant = self.findings.is_empty() || self.findings.contains(finding.kind);
        let is_grave = self.severity.is_none_or(|from| finding.severity >= from);
        is_meant && is_grave && self.fits_identity(facts.identity.as_ref()) && self.action.has_target(facts)
    }

    fn fits_identity(&self, identity: Option<&Identity<'_>>) -> bool {
        let in_group = |identity: &Identity<'_>| self.groups.is_empty() || self.groups.contains(identity.group);
        let is_of_kind = |identity: &Identity<'_>| self.kinds.is_empty() || self.kinds.contains(&identity.kind);
        match identity {
            Some(identity) => in_group(identity) && is_of_kind(identity),
            None => self.groups.is_empty() && self.kinds.is_empty(),
        }
    }
}

/// Collects what is wrong, so that all of it is told at once.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.problems.push(Problem::at(self.file, self.text, span.start, message));
    }

    fn settings(&mut self, written: WrittenSettings, finding_kinds: &[&str]) -> ResponseSettings {
        let standard = ResponseSettings::default();
        if let Some(beyond) = written.rule.get(RULES_MAX) {
            self.problem(beyond.span(), format!("there are at most {RULES_MAX} rules"));
        }
        ResponseSettings {
            mode: written.mode.unwrap_or(standard.mode),
            alert_from: written.alert_from.unwrap_or(standard.alert_from),
            block_ipv6_prefix_bits: written
                .block_ipv6_prefix
                .map_or(standard.block_ipv6_prefix_bits, |bits| self.ipv6_prefix_bits(&bits)),
            rules: written.rule.into_iter().take(RULES_MAX).filter_map(|rule| self.rule(rule, finding_kinds)).collect(),
            exempt: self.exempt(written.exempt),
            brake: written.brake.map_or(standard.brake, |brake| self.brake(&brake)),
        }
    }

    /// Shorter prefixes are whole providers.
    fn ipv6_prefix_bits(&mut self, bits: &Spanned<u8>) -> u8 {
        if !(32..=128).contains(bits.get_ref()) {
            self.problem(bits.span(), "an IPv6 prefix to block has 32 to 128 bits");
        }
        *bits.get_ref()
    }

    fn brake(&mut self, written: &Spanned<BrakeSettings>) -> BrakeSettings {
        let brake = *written.get_ref();
        let percents =
            [brake.interrupt.share_percent_per_hour, brake.confine.share_percent_per_hour, brake.quarantined_percent];
        if percents.iter().any(|percent| *percent > 100) {
            self.problem(written.span(), "a share of the fleet is 0 to 100 percent");
        }
        brake
    }

    fn exempt(&mut self, written: WrittenExempt) -> Exempt {
        let identities = self.list(written.identities, |text| text.parse::<IdentityName>());
        let networks: Vec<Network> = self.list(written.networks, |text| text.parse());
        let groups: Vec<String> = self.list(written.groups, group);
        Exempt { identities: identities.into_iter().collect(), groups: groups.into_iter().collect(), networks }
    }

    fn list<T, E: fmt::Display>(
        &mut self,
        written: Vec<Spanned<String>>,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        if let Some(beyond) = written.get(LIST_ENTRIES_MAX) {
            self.problem(beyond.span(), format!("a list has at most {LIST_ENTRIES_MAX} entries"));
        }
        let mut values = Vec::new();
        for text in written.into_iter().take(LIST_ENTRIES_MAX) {
            match read(text.get_ref()) {
                Ok(value) => values.push(value),
                Err(error) => self.problem(text.span(), format!("`{}`: {error}", text.get_ref().escape_debug())),
            }
        }
        values
    }

    fn rule(&mut self, written: Spanned<WrittenRule>, finding_kinds: &[&str]) -> Option<Rule> {
        let span = written.span();
        let line = Problem::at(self.file, self.text, span.start, "").line;
        let written = written.into_inner();
        if written.findings.is_empty() && written.severity.is_none() {
            self.problem(span, "a rule names `findings`, a `severity`, or both");
        }
        let known = |text: &str| match finding_kinds.contains(&text) {
            true => Ok(text.to_owned()),
            false => Err("no detector has this kind of finding"),
        };
        let action = self.action(&written);
        Some(Rule {
            place: format!("{}:{line}", self.file),
            mode: written.mode.unwrap_or(Mode::DryRun),
            findings: self.list(written.findings, known).into_iter().collect(),
            severity: written.severity,
            groups: self.list(written.groups, group).into_iter().collect(),
            kinds: written.kinds.into_iter().collect(),
            action: action?,
        })
    }

    fn action(&mut self, written: &WrittenRule) -> Option<Action> {
        let place = written.action.span();
        let word = *written.action.get_ref();
        if let Some(rate) = written.messages_per_s.as_ref().filter(|_| !matches!(word, ActionWord::Throttle)) {
            self.problem(rate.span(), "only `throttle` has `messages_per_s`");
        }
        let for_s = written.for_s.as_ref().map(|time| self.for_s(time));
        match word {
            ActionWord::Throttle => {
                let Some((rate, for_s)) = written.messages_per_s.as_ref().zip(for_s) else {
                    self.problem(place, "`throttle` needs `messages_per_s` and `for_s`");
                    return None;
                };
                if *rate.get_ref() == 0 {
                    self.problem(rate.span(), "a rate is at least 1: to silence a device, quarantine it");
                }
                Some(Action::Throttle { messages_per_s: *rate.get_ref(), for_s })
            }
            ActionWord::BlockSource => {
                if for_s.is_none() {
                    self.problem(place, "`block-source` needs `for_s`");
                }
                for_s.map(|for_s| Action::BlockSource { for_s })
            }
            ActionWord::Quarantine => Some(Action::Quarantine { for_s }),
            ActionWord::Alert => self.timeless(written, Action::Alert),
            ActionWord::Disconnect => self.timeless(written, Action::Disconnect),
            ActionWord::Revoke => self.timeless(written, Action::Revoke),
        }
    }

    fn timeless(&mut self, written: &WrittenRule, action: Action) -> Option<Action> {
        if let Some(time) = &written.for_s {
            self.problem(time.span(), "only `throttle`, `block-source` and `quarantine` last for a time");
        }
        Some(action)
    }

    fn for_s(&mut self, written: &Spanned<u64>) -> u64 {
        if !(1..=FOR_S_MAX).contains(written.get_ref()) {
            self.problem(written.span(), format!("`for_s` is 1 to {FOR_S_MAX} seconds"));
        }
        *written.get_ref()
    }
}

/// Most bytes of a group's name.
const GROUP_BYTES_MAX: usize = 256;

fn group(text: &str) -> Result<String, &'static str> {
    let fits = (1..=GROUP_BYTES_MAX).contains(&text.len());
    if fits { Ok(text.to_owned()) } else { Err("a group has 1 to 256 bytes") }
}
