//! What devices say of themselves: which firmware they run, what it is made of, and that they have wiped themselves.
//!
//! A report is a publication on a topic of the device's own. It is believed as far as a device's word goes: it fills the
//! inventory, which says whose word it is.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use portreeve_detect::VITALS_MAX;
use portreeve_events::{Event, Kind as EventKind};
use portreeve_store::IdentityRow;
use portreeve_types::{Bucket, IdentityId, IdentityName, UnixMillis};
use serde::Deserialize;

use crate::{
    Fields, Hub, Now,
    broker::Session,
    registry::{ASKED, WIPE, Word},
    sbom::{Component, Libraries},
};

/// The charge of a device's battery, 0 to 100, among its vitals.
const BATTERY: &str = "battery_percent";
/// Longest report.
const REPORT_BYTES_MAX: usize = 16_384;

/// What a topic of a device's own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// `devices/<name>/report/inventory`: a JSON object with `firmware`, `model` and `libraries`, or some of them.
    Inventory,
    /// `devices/<name>/remediation/wiped`: whatever it holds, the device has wiped itself.
    Wiped,
    /// `devices/<name>/telemetry/vitals`: a JSON object of numbers, of which `battery_percent` is one.
    Vitals,
    /// `devices/<name>/security`: a security event of its own (see [`crate::security`]).
    Security,
}

impl Report {
    /// What a publication of this session on `topic` reports, if anything.
    pub(crate) fn of(session: &Session, topic: &str) -> Option<Self> {
        let own = topic.strip_prefix("devices/")?.strip_prefix(session.name.as_str())?;
        match own {
            "/report/inventory" => Some(Self::Inventory),
            "/remediation/wiped" => Some(Self::Wiped),
            "/telemetry/vitals" => Some(Self::Vitals),
            "/security" => Some(Self::Security),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Inventory {
    firmware: Option<String>,
    model: Option<String>,
    libraries: Option<Libraries>,
}

/// What one device has said since it was last written down.
#[derive(Clone, Debug, Default)]
struct Said {
    firmware: Option<String>,
    model: Option<String>,
    libraries: Option<Vec<Component>>,
    /// It has wiped itself; when it is written, that counts only if it was told to.
    wiped: bool,
}

/// Reports of one device that are taken at once, and how long it takes until one more is: its history is not to be filled by
/// itself.
const REPORTS_BURST: u64 = 10;
const REPORT_EVERY_S: u64 = 3600;
/// Identities whose libraries are kept until they are written; what is beyond has to be said again.
const LISTS_MAX: usize = 4096;
/// Identities that one commit writes; the rest is for the next second.
const WRITTEN_AT_ONCE: usize = 256;

/// Reports not yet in the registry: the newest of each device.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    said: Mutex<HashMap<IdentityId, Said>>,
    /// At most [`LISTS_MAX`]; each belongs to an entry of `said`.
    libraries: Mutex<HashMap<IdentityId, Vec<Component>>>,
    /// An entry lasts until it is full again, and there is one for an identity at most.
    rates: Mutex<HashMap<IdentityId, Bucket>>,
}

impl Reports {
    /// Whether there is room for a device's list, which then is kept.
    fn keep(&self, id: IdentityId, list: Vec<Component>) -> bool {
        let mut libraries = self.libraries.lock();
        let has_room = libraries.len() < LISTS_MAX || libraries.contains_key(&id);
        if has_room {
            libraries.insert(id, list);
        }
        has_room
    }
}

impl Hub {
    /// Takes note of a report. Nobody waits for the disk here; a report that the power takes is said again, when the device
    /// starts or is asked.
    pub(crate) fn take_report(&self, session: &Session, report: Report, payload: &[u8], now: Now) {
        let inventory = match report {
            Report::Inventory if payload.len() <= REPORT_BYTES_MAX => serde_json::from_slice::<Inventory>(payload).ok(),
            Report::Inventory => None,
            Report::Wiped => Some(Inventory::default()),
            Report::Vitals => return self.take_vitals(session, payload),
            Report::Security => return self.take_security_event(session, payload, now),
        };
        let Some(inventory) = inventory else {
            let why = format_args!("a report that is no such JSON object of at most {REPORT_BYTES_MAX} bytes");
            return self.emit_for(session, EventKind::ReportRefused, why);
        };
        // Before the entry that it belongs to: whoever takes that finds it.
        if let Some(Libraries(libraries)) = inventory.libraries
            && !self.reports.keep(session.key.identity, libraries)
        {
            let why = format_args!("{LISTS_MAX} devices tell their libraries at once; this list was not kept");
            self.emit_for(session, EventKind::ReportRefused, why);
        }
        let mut said = self.reports.said.lock();
        let said = said.entry(session.key.identity).or_default();
        said.wiped |= report == Report::Wiped;
        said.firmware = inventory.firmware.or(said.firmware.take());
        said.model = inventory.model.or(said.model.take());
    }

    /// What a device measures of itself is watched, and not kept (CSA-OPA-12, CSA-SNT-10).
    fn take_vitals(&self, session: &Session, payload: &[u8]) {
        let vitals = Some(payload).filter(|payload| payload.len() <= REPORT_BYTES_MAX);
        let vitals = vitals.and_then(|payload| serde_json::from_slice::<serde_json::Map<_, _>>(payload).ok());
        let Some(vitals) = vitals else {
            let why = format_args!("vitals that are no JSON object of at most {REPORT_BYTES_MAX} bytes");
            return self.emit_for(session, EventKind::ReportRefused, why);
        };
        let number = |(name, value): (&'_ String, &'_ serde_json::Value)| Some((name.clone(), value.as_f64()?));
        let numbers: Vec<_> = vitals.iter().filter_map(number).collect();
        let battery = numbers.iter().find(|(name, _)| name == BATTERY).map(|(_, percent)| *percent);
        let others = numbers.iter().filter(|(name, _)| name != BATTERY);
        let others: Vec<_> = others.map(|(name, value)| (name.as_str(), *value)).take(VITALS_MAX).collect();
        self.watch_vitals(session.name.as_str(), battery, &others);
    }

    /// Writes down what devices have said, as far as their rates permit.
    pub(crate) fn flush_reports(&self, now: Now) {
        self.reports.rates.lock().retain(|_, rate| !rate.is_full(now.mono_ms));
        let mut news = self.news(WRITTEN_AT_ONCE);
        news.retain_mut(|(id, said)| {
            if said.reports() && !self.may_report(*id, now.mono_ms) {
                // That it has wiped itself was asked for, and is written all the same.
                *said = Said { wiped: said.wiped, ..Said::default() };
            }
            said.wiped || said.reports()
        });
        self.write(news, now.wall);
    }

    fn may_report(&self, id: IdentityId, now_ms: u64) -> bool {
        let mut rates = self.reports.rates.lock();
        let rate = rates.entry(id).or_insert_with(|| Bucket::new(1, REPORTS_BURST * REPORT_EVERY_S, now_ms));
        let may = rate.take(REPORT_EVERY_S, now_ms);
        drop(rates);
        if !may {
            let name = self.name_of(id);
            let why = format_args!("it reports more often than once in {REPORT_EVERY_S} s");
            self.emit(EventKind::ReportRefused, name.as_ref().map(IdentityName::as_str), None, None, why);
        }
        may
    }

    /// Writes down all that is left, at the end.
    pub(crate) fn write_reports(&self, now: UnixMillis) {
        self.write(self.news(usize::MAX), now);
    }

    /// Takes out what is news to the registry, of so many identities.
    fn news(&self, identities_max: usize) -> Vec<(IdentityId, Said)> {
        let mut all = self.reports.said.lock();
        let some: Vec<IdentityId> = all.keys().copied().take(identities_max).collect();
        let mut libraries = self.reports.libraries.lock();
        let taken: Vec<_> = some
            .into_iter()
            .filter_map(|id| all.remove_entry(&id))
            .map(|(id, said)| (id, Said { libraries: libraries.remove(&id).or(said.libraries), ..said }))
            .collect();
        // Whoever reports now does not wait for what is read here.
        drop((libraries, all));
        taken.into_iter().filter_map(|(id, said)| Some((id, self.news_of(id, said)?))).collect()
    }

    /// What of it is news, if anything.
    fn news_of(&self, id: IdentityId, mut said: Said) -> Option<Said> {
        let row = self.registry.row(id)?;
        said.wiped = said.wiped && self.is_asked_to_wipe(&row);
        let is_known = |said: &Vec<Component>| self.libraries_of(&row).ok().as_ref() == Some(said);
        if !said.is_news(&row) && said.libraries.as_ref().is_none_or(is_known) {
            said = Said { wiped: said.wiped, ..Said::default() };
        }
        (said.wiped || said.reports()).then_some(said)
    }

    /// One commit for all of them.
    fn write(&self, news: Vec<(IdentityId, Said)>, now: UnixMillis) {
        if news.is_empty() {
            return;
        }
        let words: Vec<_> = news
            .iter()
            .map(|(id, said)| {
                let Said { firmware, model, libraries, wiped } = said.clone();
                Word {
                    identity: *id,
                    fields: Fields { firmware, model, ..Fields::default() },
                    is_wiped: wiped,
                    libraries,
                }
            })
            .collect();
        let before: HashMap<_, _> = news.iter().filter_map(|(id, _)| Some((*id, self.registry.row(*id)?))).collect();
        match self.registry.report(&words, now) {
            Ok(outcomes) => outcomes.into_iter().for_each(|outcome| match outcome {
                Ok(row) => {
                    if let Some(before) = before.get(&row.id) {
                        self.watch_firmware(row.name.as_str(), &before.firmware, &row.firmware);
                    }
                    let sessions = self.renew_decisions(row.id);
                    self.reauthorize(&sessions, self.wall_clock());
                    let detail = format_args!("firmware {}", row.firmware);
                    let event = Event::new(EventKind::IdentityReported, detail);
                    self.tell(&event.about(row.name.as_str()));
                    self.doubt(&row);
                }
                Err((name, error)) => {
                    self.emit(EventKind::ReportRefused, Some(name.as_str()), None, None, format_args!("{error}"));
                }
            }),
            Err(error) => {
                tracing::warn!(%error, "reports of devices could not be written; they are kept for the next try");
                let mut all = self.reports.said.lock();
                for (id, said) in news {
                    all.entry(id).or_insert(said);
                }
            }
        }
    }

    /// Whether the newest word about wiping is the command: a confirmation that nobody waits for is none.
    fn is_asked_to_wipe(&self, row: &Arc<IdentityRow>) -> bool {
        let Ok(history) = self.registry.history(row) else { return false };
        history.iter().rev().find(|change| change.field == WIPE).is_some_and(|change| change.after == ASKED)
    }
}

impl Said {
    /// Whether it says something for the inventory.
    fn reports(&self) -> bool {
        self.firmware.is_some() || self.model.is_some() || self.libraries.is_some()
    }

    fn is_news(&self, row: &IdentityRow) -> bool {
        let differs = |new: &Option<String>, old: &str| new.as_deref().is_some_and(|new| new != old);
        differs(&self.firmware, &row.firmware) || differs(&self.model, &row.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_wait_are_bounded_and_a_newer_one_takes_the_place_of_its_own() {
        let reports = Reports::default();
        let id = |number: usize| IdentityId(uuid::Uuid::from_u128(number as u128));
        assert!((0..LISTS_MAX).all(|number| reports.keep(id(number), Vec::new())));
        assert!(!reports.keep(id(LISTS_MAX), Vec::new()));
        assert!(reports.keep(id(0), vec![Component::default()]));
        let kept = reports.libraries.into_inner();
        assert_eq!((kept.len(), kept[&id(0)].len()), (LISTS_MAX, 1));
    }
}
