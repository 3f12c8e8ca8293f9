//! What relying parties are told of certificates. The hub itself asks [`Registry::authenticate`].

use std::sync::atomic::Ordering::{AcqRel, Acquire};

use portreeve_pki::{CertificateStatus, RevocationReason, Revoked};
use portreeve_store::CredentialRow;
use portreeve_types::{KeyHash, LifecycleState, UnixMillis};

use super::{Registry, State};

/// What certificates are found by: the first half of their serial number, which is random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SerialKey(u128);

impl SerialKey {
    pub(super) fn of(serial: &[u8]) -> Self {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(serial).for_each(|(to, from)| *to = *from);
        Self(u128::from_be_bytes(bytes))
    }
}

impl State {
    /// Since when and why a certificate is not to be relied on.
    fn objection(&self, credential: &CredentialRow) -> Option<(UnixMillis, RevocationReason)> {
        use RevocationReason::{CertificateHold, CessationOfOperation, PrivilegeWithdrawn, Superseded};
        let identity = self.identities.get(&credential.identity)?;
        let since = credential.revoked.unwrap_or(identity.changed);
        match identity.state {
            LifecycleState::Retired => Some((since, CessationOfOperation)),
            LifecycleState::Revoked => Some((since, PrivilegeWithdrawn)),
            _ if credential.revoked.is_some() => Some((since, Superseded)),
            LifecycleState::Disabled | LifecycleState::Quarantined => Some((since, CertificateHold)),
            LifecycleState::Pending | LifecycleState::Active => None,
        }
    }

    /// That its CA was withdrawn.
    fn withdrawal(&self, credential: &CredentialRow) -> Option<(UnixMillis, RevocationReason)> {
        let withdrawal = self.withdrawn.get(&credential.issuer)?;
        Some((UnixMillis(withdrawal.at_ms), RevocationReason::CaCompromise))
    }

    pub(super) fn by_serial(&self, serial: &[u8]) -> Option<&CredentialRow> {
        let key: &KeyHash = self.serials.get(&SerialKey::of(serial))?;
        self.credentials.get(key).map(|row| &**row).filter(|row| row.serial == serial)
    }
}

impl Registry {
    /// What is known of a serial number of the CA of this number. Of a CA that was withdrawn every one is revoked, also those
    /// that it never issued (RFC 6960 §2.7).
    pub(crate) fn certificate_status(&self, issuer: u32, serial: &[u8]) -> CertificateStatus {
        let state = self.state.read();
        if let Some(withdrawal) = state.withdrawn.get(&issuer) {
            let at = UnixMillis(withdrawal.at_ms);
            return CertificateStatus::Revoked { at, reason: RevocationReason::CaCompromise };
        }
        let of_issuer = state.by_serial(serial).filter(|row| row.issuer == issuer);
        let Some(credential) = of_issuer else { return CertificateStatus::Unknown };
        match state.objection(credential) {
            None => CertificateStatus::Good,
            Some((at, reason)) => CertificateStatus::Revoked { at, reason },
        }
    }

    /// Every certificate of the CA of this number that is not to be relied on, for its list. Takes time in proportion to all
    /// certificates.
    pub(crate) fn revoked(&self, issuer: u32) -> Vec<Revoked> {
        let state = self.state.read();
        let entry = |row: &CredentialRow| {
            let (at, reason) = state.objection(row).or_else(|| state.withdrawal(row))?;
            Some(Revoked { serial: row.serial.clone(), at, reason, not_after: row.not_after })
        };
        let of_issuer = state.credentials.values().filter(|row| row.issuer == issuer);
        of_issuer.filter_map(|row| entry(row)).collect()
    }

    /// Changes whenever what a list would hold may have changed.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Acquire)
    }

    pub(super) fn raise_revision(&self) {
        self.revision.fetch_add(1, AcqRel);
    }
}
