//! Detection in the hub: what happens is observed, what is found is kept, recorded, and handed on (CSA-MSU-02).
//!
//! [`Watcher`] holds the detectors and the findings. Observing is done by whoever has something to observe, and costs them a table
//! look-up; what is found waits in a queue for [`Hub::tend_watch`], which a thread of its own calls: for the disk that this needs
//! nobody else waits.
//!
//! *Invariants*
//! - Nothing that is only claimed is held against an identity: an observation names one that has proved who it is.
//! - An open finding is not forgotten in favour of one that is over.
//! - A rehearsal is marked as one wherever it goes, and nothing is done upon it.

mod admin;
mod feed;
mod findings;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use portreeve_detect::{DetectSettings, Finding, Notice, Observation, SettingsError, Watch};
use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_types::UnixMillis;

use crate::{Hub, Now, bootstrap::write_file};

pub(crate) use findings::Findings;

/// Findings that wait to be handled; those beyond are counted as events and no more.
const NOTICES_MAX: usize = 8192;
/// Findings that are handled in one round of the clock.
const HANDLED_AT_ONCE: usize = 256;
/// How often what was learnt is written down, and how often silence is looked for, milliseconds.
const SAVE_EVERY_MS: u64 = 600_000;
const TICK_EVERY_MS: u64 = 1000;
/// What was learnt, within the data directory.
const BASELINES: &str = "baselines";
/// The settings that are applied, among the registry's blobs.
pub(crate) const SETTINGS_BLOB: &str = "watch/detect.toml";
/// Whether baselines are frozen, there as well.
pub(crate) const FROZEN_BLOB: &str = "watch/frozen";

/// Detectors, what they have found, and what of it is still to be handled.
#[derive(Debug)]
pub(crate) struct Watcher {
    watch: Watch,
    /// As they were applied; empty for the defaults.
    settings: Mutex<String>,
    notices: Mutex<Waiting>,
    findings: Mutex<Findings>,
    duties: Mutex<Duties>,
}

#[derive(Debug, Default)]
struct Waiting {
    notices: VecDeque<Notice>,
    lost: u64,
}

#[derive(Debug, Default)]
struct Duties {
    ticked_ms: u64,
    saved_ms: u64,
}

impl Watcher {
    /// The detectors with the settings that were applied, and what was found and learnt before. What cannot be read is begun anew, and
    /// said: a hub that does not detect is still a hub.
    pub(crate) fn resume(blobs: &[(String, Vec<u8>)], data: &Path) -> Result<Self, SettingsError> {
        let blob = |name: &str| blobs.iter().find(|(found, _)| found == name).map(|(_, bytes)| bytes.as_slice());
        let text = blob(SETTINGS_BLOB).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        let settings = parse(&text).unwrap_or_else(|error| {
            tracing::error!(%error, "the settings of detection cannot be read; the defaults are in force");
            DetectSettings::default()
        });
        let watch = Watch::new(&settings).map_err(|error| {
            tracing::error!(%error, "the settings of detection cannot be used; the defaults are in force");
        });
        let watch = watch.or_else(|()| Watch::new(&DetectSettings::default()))?;
        match std::fs::read(data.join(BASELINES)) {
            Ok(bytes) => {
                if let Err(error) = watch.load(&bytes) {
                    tracing::error!(%error, "what was learnt of identities cannot be read; it is learnt again");
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(%error, "what was learnt of identities cannot be read; it is learnt again"),
        }
        if blob(FROZEN_BLOB).is_some() {
            watch.freeze();
        }
        Ok(Self {
            watch,
            settings: Mutex::new(text),
            notices: Mutex::default(),
            findings: Mutex::new(Findings::resume(blobs)),
            duties: Mutex::default(),
        })
    }

    fn observe(&self, observation: &Observation<'_>, now: UnixMillis) {
        let mut found = Vec::new();
        self.watch.observe(observation, now, &mut found);
        if !found.is_empty() {
            self.keep(found);
        }
    }

    /// What this detector finds when it must find something (CSA-SNT-10).
    pub(crate) fn rehearse(&self, detector: portreeve_detect::Detector, now: UnixMillis) -> Vec<Finding> {
        self.watch.rehearse(detector, now)
    }

    pub(crate) fn keep(&self, found: Vec<Notice>) {
        let mut waiting = self.notices.lock();
        for notice in found {
            if waiting.notices.len() < NOTICES_MAX {
                waiting.notices.push_back(notice);
            } else {
                waiting.lost += 1;
            }
        }
    }
}

/// The settings in a text; the problem with line and column.
fn parse(text: &str) -> Result<DetectSettings, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

impl Hub {
    /// Looks for silence, and handles what was found. The shell calls this about ten times a second, from a thread for which nothing
    /// waits.
    pub fn tend_watch(&self, now: Now) {
        let mut duties = self.watcher.duties.lock();
        if now.mono_ms.saturating_sub(duties.ticked_ms) >= TICK_EVERY_MS {
            duties.ticked_ms = now.mono_ms;
            let mut found = Vec::new();
            self.watcher.watch.tick(self.wall_clock(), &mut found);
            self.watcher.keep(found);
        }
        self.tend_responses(now);
        let (notices, lost) = {
            let mut waiting = self.watcher.notices.lock();
            let count = waiting.notices.len().min(HANDLED_AT_ONCE);
            let notices: Vec<_> = waiting.notices.drain(..count).collect();
            (notices, std::mem::take(&mut waiting.lost))
        };
        if lost > 0 {
            let detail = format_args!("{lost} findings: {NOTICES_MAX} wait to be handled");
            self.emit(EventKind::LimitReached, None, None, None, detail);
        }
        if !notices.is_empty() {
            self.handle(&notices);
        }
        if now.mono_ms.saturating_sub(duties.saved_ms) >= SAVE_EVERY_MS {
            duties.saved_ms = now.mono_ms;
            self.save_baselines();
        }
    }

    /// What was found is an entry, and is kept for whoever asks what it was.
    fn handle(&self, notices: &[Notice]) {
        let ops = self.watcher.findings.lock().take(notices);
        if let Err(error) = self.registry.put_blobs(&ops) {
            tracing::error!(%error, "findings could not be kept; they are in the log and, if that can be written, in the ledger");
        }
        let fleet = self.registry.in_service();
        for notice in notices {
            self.alert_notice(notice);
            match notice {
                // Nobody is cut off for a rehearsal.
                Notice::Opened(finding) if finding.canary => drop(self.record_finding(finding)),
                Notice::Opened(finding) => self.respond(finding, self.record_finding(finding), fleet),
                Notice::Closed(closing) => {
                    let (id, what) = (closing.id.to_string(), closing.kind.as_str());
                    let data = [
                        ("finding", Datum::Plain(&id)),
                        ("what", Datum::Plain(&what)),
                        ("subject", Datum::Personal(&closing.subject)),
                        ("count", Datum::Plain(&closing.count)),
                    ];
                    self.tell(&Event::new(EventKind::FindingClosed, format_args!("")).with(&data));
                }
            }
        }
    }

    /// The number of its entry, if there is one.
    fn record_finding(&self, finding: &Finding) -> Option<u64> {
        let (id, what) = (finding.id.to_string(), finding.kind.as_str());
        let numbers = finding.numbers.iter().map(|number| format!("{} {} {}", number.name, number.value, number.unit));
        let numbers = numbers.collect::<Vec<_>>().join("; ");
        let subject = &finding.subject;
        let subject = match subject {
            // Sources and callers are persons' as far as the ledger goes.
            portreeve_detect::Subject::Source(_) | portreeve_detect::Subject::Caller(_) => Datum::Personal(subject),
            _ => Datum::Plain(subject),
        };
        let data = [
            ("finding", Datum::Plain(&id)),
            ("what", Datum::Plain(&what)),
            ("subject", subject),
            ("numbers", Datum::Plain(&numbers)),
            ("canary", Datum::Plain(&finding.canary)),
        ];
        let recorded = self.record(&Event::new(EventKind::FindingOpened, format_args!("{what}")).with(&data));
        recorded
            .inspect_err(|error| tracing::error!(%error, id, "a finding is not in the ledger: nothing is done"))
            .ok()
    }

    /// Writes down what was learnt.
    pub(crate) fn save_baselines(&self) {
        let path: PathBuf = self.data.join(BASELINES);
        if let Err(error) = write_file(&path, &self.watcher.watch.save()) {
            tracing::warn!(%error, "what was learnt of identities could not be written; it is tried again");
        }
    }

    /// How much the detectors hold, for metrics.
    #[must_use]
    pub fn watched(&self) -> Watched {
        let usage = self.watcher.watch.usage();
        let open = self.watcher.findings.lock().open() as u64;
        Watched { identities: usage.identities as u64, sources: usage.sources as u64, findings_open: open }
    }
}

/// What the detectors hold.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// Identities that are followed.
    pub identities: u64,
    /// Sources that are followed.
    pub sources: u64,
    /// Findings that are not over.
    pub findings_open: u64,
}
