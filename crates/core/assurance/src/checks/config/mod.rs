//! `cfg.broker`, `cfg.ssh`, `cfg.wifi`, `cfg.bluetooth`, `cfg.firewall`, `cfg.kernel`, `cfg.host`, `cfg.sbom`, `cfg.secrets`,
//! `cfg.zigbee`: what files of a configuration are worth.

mod bluetooth;
mod broker;
mod firewall;
mod host;
mod kernel;
mod sbom;
mod secrets;
mod ssh;
mod wifi;
mod zigbee;

use super::{Rules, tls::Weighed};
use crate::{
    Judgement, Verdict,
    evidence::config::{Said, Settings, Software, Unread},
};

/// The tables of these checks.
pub(super) const RULES: Rules = &[
    ("cfg.broker", broker::broker),
    ("cfg.ssh", ssh::ssh),
    ("cfg.wifi", wifi::wifi),
    ("cfg.bluetooth", bluetooth::bluetooth),
    ("cfg.firewall", firewall::firewall),
    ("cfg.kernel", kernel::kernel),
    ("cfg.host", host::host),
    ("cfg.sbom", sbom::sbom),
    ("cfg.secrets", secrets::secrets),
    ("cfg.zigbee", zigbee::zigbee),
];

/// Parts that one line names; the others are counted.
const PARTS_NAMED_MAX: usize = 4;

/// What a rule has gathered of a configuration.
#[derive(Debug, Default)]
struct Review {
    weighed: Weighed,
    /// What keeps a pass from being more than partial.
    parts: Vec<String>,
}

impl Review {
    /// It offends, there.
    fn offend<T>(&mut self, file: &str, said: &Said<T>, what: impl AsRef<str>) {
        self.weighed.offences.push(format!("{} ({file}, {})", what.as_ref(), said.place()));
    }

    /// As [`Self::offend`], if it is so.
    fn offend_if<T>(&mut self, is_so: bool, file: &str, said: &Said<T>, what: impl AsRef<str>) {
        if is_so {
            self.offend(file, said, what);
        }
    }

    fn fine(&mut self, what: impl Into<String>) {
        self.weighed.fine.push(what.into());
    }

    fn gap(&mut self, what: impl Into<String>) {
        self.weighed.gaps.push(what.into());
    }

    fn part(&mut self, what: impl Into<String>) {
        self.parts.push(what.into());
    }

    /// What a reader did not follow may say otherwise.
    fn unread(&mut self, unread: &[Unread]) {
        let say = |unread: &Unread| match unread.line {
            Some(line) => format!("line {line} was not followed: {}", unread.what),
            None => format!("not seen: {}", unread.what),
        };
        self.parts.extend(unread.iter().map(say));
    }

    /// Fail, inconclusive, pass, or partial instead of the last.
    fn judge(self, expected: &str) -> Judgement {
        let Self { weighed, parts } = self;
        let mut judgement = weighed.judge(expected);
        if judgement.verdict == Verdict::Pass && !parts.is_empty() {
            judgement.verdict = Verdict::Partial;
            let named = parts.len().min(PARTS_NAMED_MAX);
            judgement.observed = format!("{}; {}", judgement.observed, parts[..named].join("; "));
            if named < parts.len() {
                judgement.observed.push_str(&format!("; and {} more", parts.len() - named));
            }
        }
        judgement
    }
}

/// Settings of another software say nothing here.
fn expect_software(review: &mut Review, settings: &Settings, software: Software) -> bool {
    let is_it = settings.software == software;
    if !is_it {
        review.gap(format!("{} is a file of {:?}", settings.file, settings.software));
    }
    is_it
}
