//! CAs and certificates (CSA-TSP-03, CSA-CRD-02, CSA-CRD-09, CSA-CRD-10, CSA-ACT-05).

use std::{collections::HashMap, sync::Arc, time::Duration};

use portreeve_assurance::evidence::{
    Seen,
    hub::{HubCertificate, HubPki, Offenders, largest, smallest},
};
use portreeve_store::{CredentialRow, IdentityRow};
use portreeve_types::{IdentityId, LifecycleState, UnixMillis};

use super::{DAY_MS, days};
use crate::{AdminError, Hub, custody::OwnCertificate, registry::Census};

/// Certificates of the hub's own in one answer.
const OWN_MAX: usize = 64;
/// How much later than it must a connection with a superseded certificate may end: the duty that ends it comes once a second.
const LATE_MS: u64 = 60_000;

impl Hub {
    pub(super) fn pki_facts(&self, now: UnixMillis) -> Result<HubPki, AdminError> {
        let mut own: Vec<_> = self.own_certificates()?.iter().map(|certificate| own_facts(certificate, now)).collect();
        let own_more = own.len().saturating_sub(OWN_MAX) as u64;
        own.truncate(OWN_MAX);
        let Census { identities, credentials, shared_key, .. } = self.registry.census();
        let names: HashMap<IdentityId, &Arc<IdentityRow>> = identities.iter().map(|row| (row.id, row)).collect();
        let name_of = |id: IdentityId| names.get(&id).map_or("?", |row| row.name.as_str());
        let good = |row: &&Arc<CredentialRow>| row.revoked.is_none() && row.not_after > now;
        let newest = newest_of_active(&credentials, &names);
        let over = newest.iter().filter(|row| row.not_after <= now).map(|row| name_of(row.identity));
        let left = newest.iter().filter(|row| row.not_after > now);
        let config = self.config();
        let consent: Vec<(String, bool)> = self.groups_and_consent();
        Ok(HubPki {
            own,
            own_more,
            certificates: credentials.iter().filter(good).count() as u64,
            revoked: credentials.iter().filter(|row| row.revoked.is_some()).count() as u64,
            shared_keys: shared_key.iter().map(|id| name_of(*id)).collect(),
            lifetime_days: largest(credentials.iter().filter(good).map(|row| (name_of(row.identity), life_days(row)))),
            left_percent: smallest(left.map(|row| (name_of(row.identity), left_percent(row, now)))),
            over: over.collect(),
            used_though_void: self.used_though_void(now),
            key_kinds: config.enrolment.key_algorithms.iter().map(ToString::to_string).collect(),
            codes_need_consent: config.enrolment.code_approval,
            groups: consent.len() as u64,
            groups_without_consent: consent.iter().filter(|(_, needed)| !needed).map(|(name, _)| name).collect(),
        })
    }

    fn used_though_void(&self, now: UnixMillis) -> Seen<Offenders> {
        if !self.is_running() {
            return Seen::Unknown("the hub does not run".into());
        }
        let grace = Duration::from_secs(self.config().lifecycle.superseded_session_s);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX).saturating_add(LATE_MS);
        let superseded_before = UnixMillis(now.0.saturating_sub(grace_ms));
        let is_void = |(session, certificate, issuer): &(Arc<crate::broker::Session>, _, u32)| {
            self.registry.is_void(session.key.identity, *certificate, *issuer, superseded_before, now)
        };
        Seen::Known(
            self.links().iter().filter(|link| is_void(link)).map(|(session, ..)| session.name.as_str()).collect(),
        )
    }
}

fn own_facts(own: &OwnCertificate, now: UnixMillis) -> HubCertificate {
    HubCertificate {
        name: own.name.clone(),
        purpose: own.purpose.to_owned(),
        sha256: own.sha256.clone(),
        lifetime_days: days(own.not_before, own.not_after),
        days_left: days(now, own.not_after),
        withdrawn: own.withdrawn == Some(true),
        algorithm: own.key.as_ref().map(|key| key.algorithm.clone()),
        protection: own.key.as_ref().map(|key| key.protection.clone()),
        hardware_held: own.key.as_ref().is_some_and(|key| key.hardware_held),
    }
}

/// Of each active identity, the certificate that ends last, if it has any that is not revoked.
fn newest_of_active<'a>(
    credentials: &'a [Arc<CredentialRow>],
    names: &HashMap<IdentityId, &Arc<IdentityRow>>,
) -> Vec<&'a CredentialRow> {
    let mut newest: HashMap<IdentityId, &CredentialRow> = HashMap::new();
    for row in credentials.iter().filter(|row| row.revoked.is_none()) {
        let is_active = names.get(&row.identity).is_some_and(|identity| identity.state == LifecycleState::Active);
        if is_active && newest.get(&row.identity).is_none_or(|other| other.not_after < row.not_after) {
            newest.insert(row.identity, row);
        }
    }
    newest.into_values().collect()
}

/// Days, rounded up, of a certificate whose begin lies some minutes back for clocks that are late.
fn life_days(row: &CredentialRow) -> i64 {
    let life_ms = row.not_after.0.saturating_sub(row.issued.0.max(row.not_before.0));
    i64::try_from(life_ms.div_ceil(DAY_MS)).unwrap_or(i64::MAX)
}

fn left_percent(row: &CredentialRow, now: UnixMillis) -> i64 {
    let life_ms = row.not_after.0.saturating_sub(row.not_before.0).max(1);
    let left_ms = u128::from(row.not_after.0.saturating_sub(now.0));
    i64::try_from(left_ms * 100 / u128::from(life_ms)).unwrap_or(100)
}
