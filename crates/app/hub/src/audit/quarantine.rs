//! A rehearsal: what becomes of a test device when it is quarantined (IIITA-N4, CSA-MSU-01, CSA-SNT-06).

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use portreeve_assurance::evidence::{Seen, hub::QuarantineRehearsal};
use portreeve_pki::CertificateStatus;
use portreeve_store::IdentityRow;
use portreeve_types::{IdentityId, IdentityName, LifecycleState, UnixMillis};

use super::evidence;
use crate::{Actor, AdminError, Hub, Outcome, registry::By};

/// How long the end of its connections is awaited.
const WAIT: Duration = Duration::from_secs(5);
/// How often it is looked whether they have ended.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const REASON: &str = "rehearsal of a quarantine";

impl Hub {
    /// Quarantines an active device, sees what that does, and releases it, whatever came of it. A client that comes back meanwhile
    /// has a connection of its own, in quarantine; those that there were are awaited.
    pub(crate) fn quarantine_rehearse(
        &self,
        actor: &Actor,
        name: &IdentityName,
        now: UnixMillis,
    ) -> Result<Outcome, AdminError> {
        let row = self.registry.find(name)?;
        if row.state != LifecycleState::Active {
            return Err(AdminError::Refused(format!("`{name}` is {}; the test device has to be active", row.state)));
        }
        let before = self.connections_of(row.id);
        let by = By { actor: &actor.name, reason: REASON, at: now };
        let asked = Instant::now();
        self.move_identity(name, LifecycleState::Quarantined, by)?;
        let revoked_ms = self.on_hold(&row).then(|| elapsed_ms(asked));
        let dropped_ms = self.await_end(row.id, &before, asked);
        let released = self.move_identity(name, LifecycleState::Active, by).is_ok();
        let unknown = |what: &str| Seen::Unknown(what.to_owned());
        Ok(evidence(&QuarantineRehearsal {
            device: name.to_string(),
            connections: before.len() as u64,
            dropped_ms: dropped_ms.map_or_else(|| unknown("some connections did not end"), Seen::Known),
            revoked_ms: revoked_ms.map_or_else(|| unknown("a certificate is told to be good"), Seen::Known),
            // There is no gateway that the hub could tell.
            blocked_ms: Seen::NotTried,
            released,
        }))
    }

    /// The connections of an identity: whose session each is, and its number there.
    fn connections_of(&self, id: IdentityId) -> Vec<(u64, u64)> {
        let sessions = self.sessions.lock().by_identity.get(&id).cloned().unwrap_or_default();
        let online = |session: &Arc<crate::broker::Session>| {
            let outgoing = session.outgoing.lock();
            outgoing.is_online().then_some((session.id.0, outgoing.connection))
        };
        sessions.iter().filter_map(online).collect()
    }

    /// When the last of these had ended; nothing, if that took too long.
    fn await_end(&self, id: IdentityId, connections: &[(u64, u64)], asked: Instant) -> Option<u64> {
        while asked.elapsed() < WAIT {
            let now = self.connections_of(id);
            if !connections.iter().any(|connection| now.contains(connection)) {
                return Some(elapsed_ms(asked));
            }
            thread::sleep(LOOK_EVERY);
        }
        None
    }

    /// Whether everybody who asks is told that no certificate of this identity is good.
    fn on_hold(&self, row: &IdentityRow) -> bool {
        let certificates = self.registry.credentials(row.id);
        let is_held = |issuer, serial: &[u8]| {
            matches!(self.registry.certificate_status(issuer, serial), CertificateStatus::Revoked { .. })
        };
        certificates.iter().all(|certificate| is_held(certificate.issuer, &certificate.serial))
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
