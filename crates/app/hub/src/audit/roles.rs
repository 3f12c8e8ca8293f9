//! Who administers the hub (CSA-SCN-07, CSA-CRD-03, CSA-GVN-04).

use std::collections::HashMap;

use portreeve_assurance::evidence::{
    Seen,
    hub::{HubRoles, Operator},
    printable,
};
use portreeve_events::{Entry, Named, Party};
use portreeve_types::UnixMillis;

use super::DAY_MS;
use crate::{AdminError, Hub};

/// Operators in one answer.
const OPERATORS_MAX: usize = 200;
/// Files of 256 entries in which is looked for what operators did.
const BUNDLES_MAX: u64 = 128;

/// What the ledger's end says of operators.
struct Activity {
    /// When each was last there.
    last: HashMap<String, UnixMillis>,
    /// The time of the first entry that was read.
    since: UnixMillis,
    is_whole: bool,
}

impl Hub {
    pub(super) fn role_facts(&self, now: UnixMillis) -> Result<HubRoles, AdminError> {
        let activity = self.activity(now)?;
        let idle_days = |at: UnixMillis| now.0.saturating_sub(at.0) / DAY_MS;
        let config = self.config();
        let operators = &config.admin.operators;
        let operator = |(name, role): (&String, &portreeve_config::Role)| Operator {
            name: printable(name.as_bytes()),
            role: role.as_str().to_owned(),
            idle_days: activity.last.get(name).map(|at| idle_days(*at)),
        };
        Ok(HubRoles {
            operators: operators.iter().take(OPERATORS_MAX).map(operator).collect(),
            operators_more: operators.len().saturating_sub(OPERATORS_MAX) as u64,
            keys_apart: config.admin.keys_apart,
            two_persons: config.admin.two_persons,
            looked_back_days: idle_days(activity.since),
            whole_ledger: activity.is_whole,
            second_factor: Seen::Unknown("operators are users of this machine, who log in there".into()),
        })
    }

    /// Names of operators are personal: they are known as long as what opens them is there.
    fn activity(&self, now: UnixMillis) -> Result<Activity, AdminError> {
        let (place, key) = self.ledger_place()?;
        let (extract, proved) = place.read(&key, None, BUNDLES_MAX)?;
        let names: HashMap<_, _> = extract.personal.iter().map(|opening| (&opening.sha256, &opening.value)).collect();
        let mut activity = Activity { last: HashMap::new(), since: now, is_whole: proved.first == 0 };
        for entry in proved.entries.iter().filter_map(|bytes| Entry::from_bytes(bytes).ok()) {
            activity.since = activity.since.min(entry.at_ms);
            let Some(Named::Personal { sha256 }) = &entry.initiator.name else { continue };
            let Some(name) = names.get(sha256).filter(|_| entry.initiator.role == Party::Operator) else { continue };
            let last = activity.last.entry((*name).clone()).or_default();
            *last = entry.at_ms.max(*last);
        }
        Ok(activity)
    }
}
