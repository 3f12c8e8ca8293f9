//! Identities that nobody uses any more: an operator is warned, then they are disabled (IIITA-N8). Certificates that are
//! over are forgotten.

use std::{collections::HashSet, sync::Arc, time::Duration};

use portreeve_events::Kind as EventKind;
use portreeve_store::IdentityRow;
use portreeve_types::{IdentityId, LifecycleState, UnixMillis};

use crate::{Hub, registry::By};

const DAY: Duration = Duration::from_secs(86_400);

/// Whom a warning was given about, since the start.
pub(crate) type Warned = HashSet<IdentityId>;

impl Hub {
    /// Looks at all identities. Those that are connected are in use, however long ago they came.
    pub(crate) fn look_for_strays(&self, warned: &mut Warned, now: UnixMillis) {
        let lifecycle = self.config().lifecycle.clone();
        if lifecycle.unused_days_max == 0 {
            return;
        }
        let limit = DAY * u32::from(lifecycle.unused_days_max);
        let warning = limit.saturating_sub(DAY * u32::from(lifecycle.unused_warning_days));
        let (mut due, mut late) = (Vec::new(), Vec::new());
        for row in self.registry.unused_for(warning, now) {
            if self.is_connected(row.id) {
                continue;
            }
            if now.since(self.registry.last_used(&row)) >= limit { late.push(row) } else { due.push(row) }
        }
        self.warn_of(&due, warned, lifecycle.unused_days_max, now);
        for row in late {
            let reason = format!("not used for {} days", lifecycle.unused_days_max);
            let by = By { actor: "the hub", reason: &reason, at: now };
            if let Err(error) = self.move_identity(&row.name, LifecycleState::Disabled, by) {
                tracing::warn!(identity = row.name.as_str(), %error, "an unused identity was not disabled; it is tried again");
            }
        }
    }

    /// Certificates do not pile up: those that were renewed go when they have been over for long.
    pub(crate) fn forget_certificates(&self, now: UnixMillis) {
        let list_valid = Duration::from_secs(self.config().revocation.crl_valid_s);
        if let Err(error) = self.registry.forget_over(list_valid, now) {
            tracing::warn!(%error, "certificates that are over could not be forgotten; it is tried again");
        }
    }

    fn warn_of(&self, due: &[Arc<IdentityRow>], warned: &mut Warned, days_max: u16, now: UnixMillis) {
        // Whoever came back is warned about anew another time.
        let still: Warned = due.iter().map(|row| row.id).collect();
        warned.retain(|id| still.contains(id));
        for row in due.iter().filter(|row| warned.insert(row.id)) {
            let days = now.since(self.registry.last_used(row)).as_secs() / DAY.as_secs();
            let detail = format_args!("not used for {days} days; it is disabled after {days_max}");
            self.emit(EventKind::IdentityUnused, Some(row.name.as_str()), None, None, detail);
        }
    }

    pub(crate) fn is_connected(&self, id: IdentityId) -> bool {
        let sessions = self.sessions.lock().by_identity.get(&id).cloned().unwrap_or_default();
        sessions.iter().any(|session| session.outgoing.lock().is_online())
    }
}
