//! Issuing CAs that are withdrawn before their end, because somebody else has their keys; and the lists on which their roots
//! say so.
//!
//! The file of a withdrawal is what withdraws a CA, and it is written in one step. From then on nobody is admitted by a
//! certificate of that CA, across restarts too, whatever comes of the rest: of a successor and of the root's list.

use std::{fs, path::Path, time::Instant};

use portreeve_events::{Event, Kind as EventKind};
use portreeve_mqtt::Reason;
use portreeve_pki::{
    CaName, CaRole, CaSigner, CrlDraft, PkiError, ROOT_CRL_LIFETIME, RevocationReason, Revoked, RootCrl, Withdrawal,
    cas_of, is_issued_by, leaf_facts, number_in_series,
};
use portreeve_types::UnixMillis;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::{
    Actor, AdminError, Close, Hub, IssuingCa, OpenError,
    bootstrap::write_file,
    custody::KeyRing,
    registry::is_field,
    succession::{certificate_of, root_key},
};

/// A CA that is to be withdrawn.
pub(crate) struct Wanted<'a> {
    /// As `ca show` calls it.
    pub(crate) name: &'a str,
    pub(crate) reason: &'a str,
    /// Its devices have to enrol anew; else those whose keys are known may renew.
    pub(crate) enrol_anew: bool,
    pub(crate) dry_run: bool,
}

impl Hub {
    /// Withdraws an issuing CA at once, and has another follow (CSA-CRD-02, CSA-MSU-01).
    pub(crate) fn ca_revoke(&self, actor: &Actor, wanted: &Wanted<'_>, now: UnixMillis) -> Result<Value, AdminError> {
        let (ca, name) = self.find_issuing(wanted)?;
        if wanted.reason.is_empty() || !is_field(wanted.reason) {
            return Err(AdminError::Invalid("a reason of at most 256 characters is needed".into()));
        }
        if wanted.dry_run {
            return Ok(json!({ "name": name.to_string(), "dry_run": true }));
        }
        let cut = self.withdraw_ca(name, wanted, actor, now)?;
        // From here on it is done. What is still to do is tried again by the clock.
        let (mut successor, mut problems) = (None, Vec::new());
        if self.authority.load().name_of(name.role) == name {
            match self.rotate(ca, &actor.name, now) {
                Ok(name) => successor = Some(name.to_string()),
                Err(error) => problems.push(error.to_string()),
            }
        }
        problems.extend(self.bring_lists_up_to_date(now).err().map(|error| format!("the root's list: {error}")));
        Ok(json!({
            "name": name.to_string(),
            "known_may_renew": !wanted.enrol_anew,
            "connections_closed": cut,
            "successor": successor,
            "problems": problems,
            "dry_run": false,
        }))
    }

    fn find_issuing(&self, wanted: &Wanted<'_>) -> Result<(IssuingCa, CaName), AdminError> {
        let pki = self.pki();
        let named = |ca: IssuingCa| {
            let number = number_in_series(ca.role().as_str(), wanted.name)?;
            Some((ca, CaName { role: ca.role(), number }))
        };
        let found = IssuingCa::ALL.into_iter().find_map(named).filter(|(_, name)| certificate_of(&pki, *name).is_ok());
        let Some((ca, name)) = found else {
            let hint = "`portreeve ca show` lists those there are; a root is replaced with `portreeve ca rotate root`";
            return Err(AdminError::Refused(format!("there is no issuing CA `{}`: {hint}", wanted.name)));
        };
        let before = read_withdrawal(&pki, name);
        // To be stricter than before is all that can still be wanted.
        if before.is_some_and(|before| !before.known_may_renew || !wanted.enrol_anew) {
            return Err(AdminError::Refused(format!("{name} was withdrawn before")));
        }
        Ok((ca, name))
    }

    /// Returns how many connections ended.
    fn withdraw_ca(
        &self,
        name: CaName,
        wanted: &Wanted<'_>,
        actor: &Actor,
        now: UnixMillis,
    ) -> Result<usize, AdminError> {
        let asked = Some(Instant::now());
        let pki = self.pki();
        let withdrawal = Withdrawal { at_ms: now.0, known_may_renew: !wanted.enrol_anew };
        let text = serde_json::to_vec(&withdrawal).map_err(|error| AdminError::Invalid(error.to_string()))?;
        let mut cut = 0;
        {
            let _reconfiguring = self.reconfiguring.lock();
            write_file(&pki.join(name.withdrawal_file()), &text)?;
            if name.role == CaRole::Devices {
                self.registry.refuse_issued_by(name.number, withdrawal);
                // A CONNECT that is being decided is decided again, and finds that its CA was withdrawn.
                self.raise_generation();
                let close = Close { reason: Reason::NOT_AUTHORIZED, why: "its issuing CA was withdrawn", asked };
                cut = self.cut_issued_by(name.number, close);
            }
            self.adopt(now)?;
        }
        let detail = format_args!("{name}: {}; {cut} connections closed", wanted.reason);
        self.tell(&Event::new(EventKind::CaWithdrawn, detail).by(&actor.name));
        Ok(cut)
    }

    /// Makes every root's list anew that is old, or lacks a CA that was withdrawn.
    ///
    /// # Errors
    /// The first list that cannot be made and must be: [`OpenError::NoRootKey`] where its root's key is elsewhere.
    pub(crate) fn bring_lists_up_to_date(&self, now: UnixMillis) -> Result<(), OpenError> {
        let _reconfiguring = self.reconfiguring.lock();
        let (pki, authority) = (self.pki(), self.authority.load());
        let roots = authority.certificates().into_iter().filter(|(name, _)| name.role == CaRole::Root);
        for (name, certificate) in roots {
            let state = list_state(&pki, name, certificate, now);
            if state == ListState::Good {
                continue;
            }
            match root_key(&pki, &self.keys, name, "the list of what was withdrawn") {
                Err(OpenError::NoRootKey { .. }) if state == ListState::Old => {}
                key => write_root_list(&pki, &CaSigner::new(certificate.clone(), &*key?)?, name, now)?,
            }
        }
        Ok(())
    }

    /// The list of a root, in DER, as it was made last.
    pub(crate) fn root_list(&self, name: &str) -> Option<Vec<u8>> {
        let number = number_in_series(CaRole::Root.as_str(), name)?;
        let pem = fs::read(self.pki().join(CaName { role: CaRole::Root, number }.list_file())).ok()?;
        pem::parse(pem).ok().map(pem::Pem::into_contents)
    }

    /// Takes a list that a root has signed where its key is.
    pub(crate) fn import_root_list(&self, list: &[u8], dry_run: bool, now: UnixMillis) -> Result<Value, AdminError> {
        let (pki, authority) = (self.pki(), self.authority.load());
        let mut refused = PkiError::BadList("it is not signed by a root that is here");
        for (name, certificate) in authority.certificates() {
            if name.role != CaRole::Root {
                continue;
            }
            let list = match RootCrl::read(list, certificate) {
                Ok(list) => list,
                Err(error) => {
                    refused = error;
                    continue;
                }
            };
            expect_takeable(&pki, name, certificate, &list, now)?;
            if !dry_run {
                write_file(&pki.join(name.list_file()), list.to_pem().as_bytes())?;
            }
            return Ok(json!({ "list": name.to_string(), "not_after_ms": list.next_update.0, "dry_run": dry_run }));
        }
        Err(AdminError::Invalid(refused.to_string()))
    }
}

fn expect_takeable(
    pki: &Path,
    name: CaName,
    root: &CertificateDer<'_>,
    list: &RootCrl,
    now: UnixMillis,
) -> Result<(), AdminError> {
    let refuse = |why: &str| Err(AdminError::Invalid(format!("the list of {name}: {why}")));
    if list.this_update > now || list.next_update <= now {
        return refuse("it does not count at this time");
    }
    let present = fs::read(pki.join(name.list_file())).ok().and_then(|der| RootCrl::read(&der, root).ok());
    if present.is_some_and(|present| list.number <= present.number) {
        return refuse("its number is not above that of the present one");
    }
    if withdrawn_by(pki, root).iter().any(|entry| !list.serials.contains(&entry.serial)) {
        return refuse("it lacks a CA that was withdrawn");
    }
    Ok(())
}

/// How a root's list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListState {
    Good,
    /// A younger one would be better.
    Old,
    /// It is missing or over, or lacks a CA that was withdrawn.
    Wrong,
}

fn list_state(pki: &Path, name: CaName, root: &CertificateDer<'_>, now: UnixMillis) -> ListState {
    let list = fs::read(pki.join(name.list_file())).ok().and_then(|der| RootCrl::read(&der, root).ok());
    let Some(list) = list else { return ListState::Wrong };
    let lacks_one = withdrawn_by(pki, root).iter().any(|entry| !list.serials.contains(&entry.serial));
    let left = list.next_update.since(now);
    match () {
        () if lacks_one || left < ROOT_CRL_LIFETIME / 4 => ListState::Wrong,
        () if left < ROOT_CRL_LIFETIME / 2 => ListState::Old,
        () => ListState::Good,
    }
}

/// Makes the list of a root, with its key.
pub(crate) fn write_root_list(pki: &Path, root: &CaSigner<'_>, name: CaName, now: UnixMillis) -> Result<(), OpenError> {
    let file = pki.join(name.list_file());
    let present = fs::read(&file).ok().and_then(|der| RootCrl::read(&der, root.certificate()).ok());
    // Ascending, also when the clock was set back.
    let number = present.map_or(0, |present| present.number).saturating_add(1).max(now.seconds());
    let revoked = withdrawn_by(pki, root.certificate());
    let draft = CrlDraft { number, this_update: now, lifetime: ROOT_CRL_LIFETIME, revoked: &revoked };
    write_file(&file, root.crl(&draft)?.pem.as_bytes())
}

/// What this root has certified, and what was withdrawn.
fn withdrawn_by(pki: &Path, root: &CertificateDer<'_>) -> Vec<Revoked> {
    let names = IssuingCa::ALL.into_iter().flat_map(|ca| cas_of(ca.role(), |file| fs::read(pki.join(file)).ok()));
    let entry = |name: CaName| {
        let withdrawal = read_withdrawal(pki, name)?;
        let certificate = certificate_of(pki, name).ok().filter(|ca| is_issued_by(ca, root))?;
        let facts = leaf_facts(&certificate).ok()?;
        let (at, reason) = (UnixMillis(withdrawal.at_ms), RevocationReason::CaCompromise);
        Some(Revoked { serial: facts.serial, at, reason, not_after: facts.not_after })
    };
    names.filter_map(entry).collect()
}

fn read_withdrawal(pki: &Path, name: CaName) -> Option<Withdrawal> {
    serde_json::from_slice(&fs::read(pki.join(name.withdrawal_file())).ok()?).ok()
}

impl KeyRing {
    /// Whether a root's key is here.
    pub(crate) fn has_root(&self, root: CaName) -> bool {
        self.ca_key_hash(root).is_ok_and(|hash| hash.is_some())
    }
}
