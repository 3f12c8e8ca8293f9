use serde::{Deserialize, Serialize};

/// Most bytes of a file that declares a scope: 1 MiB.
pub const SCOPE_BYTES_MAX: usize = 1 << 20;
/// Most endpoints, and most hosts, of one scope.
pub(super) const PLACES_MAX: usize = 256;
/// Most test identities.
pub(super) const IDENTITIES_MAX: usize = 64;
/// Most test accounts of one endpoint.
pub(super) const ACCOUNTS_MAX: usize = 20;
/// Most fields of a login besides user and secret.
pub(super) const FIELDS_MAX: usize = 50;
/// Most expectations of one endpoint's policy.
pub(super) const CELLS_MAX: usize = 1_000;
/// Most files, exceptions, words on what does not apply.
pub(super) const ENTRIES_MAX: usize = 1_000;
/// Most ports of one host.
pub(super) const PORTS_MAX: usize = 70_000;
/// Longest time for which a device is shown one face, seconds.
pub(super) const FACE_S_MAX: u32 = 3_600;
/// Longest name, reason or reference, bytes.
pub(super) const TEXT_BYTES_MAX: usize = 500;

/// What an audit may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Targets that are looked at at one time, 1 to 64.
    pub targets_at_once: u32,
    /// Connections open to one target at one time, 1 to 64.
    pub connections_at_once: u32,
    /// Connections that one visit opens in all; for UDP, datagrams: 1 to 200,000.
    pub connections_max: u32,
    /// Connections that one visit begins in a second, 1 to 10,000.
    pub connections_per_s: u32,
    /// How long one connection may take, ms: 100 to 60,000.
    pub connection_ms: u32,
    /// How long one visit may take, seconds: 1 to 3,600.
    pub visit_s: u32,
    /// How long a visit may take that tries credentials, seconds: 1 to 3,600. Logins are slow on purpose: SSH with PAM refuses after
    /// about 3 s, and there are some 40 attempts at each.
    pub login_visit_s: u32,
    /// How long the whole run may take, seconds: 1 to 86,400.
    pub run_s: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            targets_at_once: 4,
            connections_at_once: 8,
            connections_max: 1_000,
            connections_per_s: 200,
            connection_ms: 5_000,
            visit_s: 60,
            login_visit_s: 600,
            run_s: 3_600,
        }
    }
}

impl Bounds {
    /// What is out of its range: its name, and the range.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let ranges = [
            ("targets_at_once", self.targets_at_once, 1, 64),
            ("connections_at_once", self.connections_at_once, 1, 64),
            ("connections_max", self.connections_max, 1, 200_000),
            ("connections_per_s", self.connections_per_s, 1, 10_000),
            ("connection_ms", self.connection_ms, 100, 60_000),
            ("visit_s", self.visit_s, 1, 3_600),
            ("login_visit_s", self.login_visit_s, 1, 3_600),
            ("run_s", self.run_s, 1, 86_400),
        ];
        let (name, value, min, max) = ranges.into_iter().find(|(_, value, min, max)| !(*min..=*max).contains(value))?;
        Some((name, format!("{name} is {value}; {min} to {max} are possible")))
    }
}
