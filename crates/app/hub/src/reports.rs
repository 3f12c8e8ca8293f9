//! What devices say of themselves: which firmware they run, and that they have wiped themselves.
//!
//! A report is a publication on a topic of the device's own. It is believed as far as a device's word goes: it fills the
//! inventory, which says whose word it is.

use hashbrown::HashMap;
use parking_lot::Mutex;
use portreeve_events::Kind as EventKind;
use portreeve_types::{IdentityId, UnixMillis};
use serde::Deserialize;

use crate::{
    Fields, Hub,
    broker::Session,
    registry::{By, WIPE},
};

/// Longest report.
const REPORT_BYTES_MAX: usize = 4096;

/// What a topic of a device's own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// `devices/<name>/report/inventory`: a JSON object with `firmware` and `model`, either or both.
    Inventory,
    /// `devices/<name>/remediation/wiped`: whatever it holds, the device has wiped itself.
    Wiped,
}

impl Report {
    /// What a publication of this session on `topic` reports, if anything.
    pub(crate) fn of(session: &Session, topic: &str) -> Option<Self> {
        let (name, rest) = topic.strip_prefix("devices/")?.split_once('/')?;
        match rest {
            "report/inventory" if name == session.name.as_str() => Some(Self::Inventory),
            "remediation/wiped" if name == session.name.as_str() => Some(Self::Wiped),
            _ => None,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct Inventory {
    firmware: Option<String>,
    model: Option<String>,
}

/// What one device has said since it was last written down.
#[derive(Debug, Default)]
struct Said {
    inventory: Inventory,
    wiped: bool,
}

/// Reports not yet in the registry: the newest of each device.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<HashMap<IdentityId, Said>>);

impl Hub {
    /// Takes note of a report. Nobody waits for the disk here.
    pub(crate) fn take_report(&self, session: &Session, report: Report, payload: &[u8]) {
        let inventory = match report {
            Report::Inventory if payload.len() <= REPORT_BYTES_MAX => serde_json::from_slice::<Inventory>(payload).ok(),
            Report::Inventory => None,
            Report::Wiped => Some(Inventory::default()),
        };
        let Some(inventory) = inventory else {
            let why = format_args!("a report that is no JSON object of at most {REPORT_BYTES_MAX} bytes");
            return self.emit_for(session, EventKind::ReportRefused, why);
        };
        let mut said = self.reports.0.lock();
        let said = said.entry(session.key.identity).or_default();
        said.wiped |= report == Report::Wiped;
        said.inventory.firmware = inventory.firmware.or(said.inventory.firmware.take());
        said.inventory.model = inventory.model.or(said.inventory.model.take());
    }

    /// Writes down what devices have said since the last call. What cannot be written is said again by its device some day.
    pub(crate) fn flush_reports(&self, now: UnixMillis) {
        let said = std::mem::take(&mut *self.reports.0.lock());
        for (id, said) in said {
            let Some(row) = self.registry.row(id) else { continue };
            let by = By { actor: row.name.as_str(), reason: "its own report", at: now };
            if said.wiped && self.registry.note(id, WIPE, "confirmed", by).is_ok() {
                self.tell_change(row.name.as_str(), &row, "wiped");
            }
            let Inventory { firmware, model } = said.inventory;
            let is_news = |new: &Option<String>, old: &str| new.as_deref().is_some_and(|new| new != old);
            if !is_news(&firmware, &row.firmware) && !is_news(&model, &row.model) {
                continue;
            }
            match self.registry.report(&row.name, &Fields { firmware, model, ..Fields::default() }, by) {
                Ok(row) => self.identity_changed(row.name.as_str(), &row, "reported"),
                Err(error) => {
                    self.emit(EventKind::ReportRefused, Some(row.name.as_str()), None, None, format_args!("{error}"));
                }
            }
        }
    }
}
