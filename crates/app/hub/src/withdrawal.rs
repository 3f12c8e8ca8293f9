//! Issuing CAs that are withdrawn before their end, because somebody else has their keys; and the lists on which their roots
//! say so.
//!
//! The file of a withdrawal is what withdraws a CA, and it is written in one step. From then on nobody is admitted by a
//! certificate of that CA, across restarts too, whatever comes of the rest: of a successor and of the root's list.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use portreeve_events::{Event, Kind as EventKind};
use portreeve_mqtt::Reason;
use portreeve_pki::{
    CaName, CaRole, CaSigner, CrlDraft, PkiError, ROOT_CRL_LIFETIME, RevocationReason, Revoked, RootCrl, Withdrawal,
    is_issued_by, leaf_facts, number_in_series,
};
use portreeve_types::UnixMillis;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::{
    Actor, AdminError, Close, Hub, IssuingCa, OpenError,
    bootstrap::{read_file, write_file},
    ca_files::CaFiles,
    custody::KeyRing,
    registry::is_field,
    succession::root_key,
};

/// How long a withdrawal waits, when it is done, for whoever uses a key, to make successor and list itself. The clock does so
/// else.
const KEYS_PATIENCE: Duration = Duration::from_secs(5);

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
    /// Withdraws an issuing CA at once, and has another follow (CSA-CRD-02, CSA-MSU-01). Asked for again, all of it is done
    /// again that may have failed.
    pub(crate) fn ca_revoke(&self, actor: &Actor, wanted: &Wanted<'_>, now: UnixMillis) -> Result<Value, AdminError> {
        let (ca, name) = self.find_issuing(wanted)?;
        if wanted.reason.is_empty() || !is_field(wanted.reason) {
            return Err(AdminError::Invalid("a reason of at most 256 characters is needed".into()));
        }
        if wanted.dry_run {
            self.expect_no_stricter(name, wanted)?;
            return Ok(json!({ "name": name.to_string(), "dry_run": true }));
        }
        let cut = self.withdraw_ca(name, wanted, actor, now)?;
        // From here on it is done. What is still to do is tried again by the clock.
        let problems = self.follow_withdrawn(ca, name, actor, now);
        let present = self.authority.load().name_of(name.role);
        Ok(json!({
            "name": name.to_string(),
            "known_may_renew": !wanted.enrol_anew,
            "connections_closed": cut,
            "successor": (present != name).then(|| present.to_string()),
            "problems": problems,
            "dry_run": false,
        }))
    }

    fn find_issuing(&self, wanted: &Wanted<'_>) -> Result<(IssuingCa, CaName), AdminError> {
        let files = self.ca_files()?;
        let named = |ca: IssuingCa| {
            let number = number_in_series(ca.role().as_str(), wanted.name)?;
            Some((ca, CaName { role: ca.role(), number }))
        };
        let is_there = |(_, name): &(IssuingCa, CaName)| files.get(&name.certificate_file()).is_some();
        IssuingCa::ALL.into_iter().find_map(named).filter(is_there).ok_or_else(|| {
            let hint = "`portreeve ca show` lists those there are; a root is replaced with `portreeve ca rotate root`";
            AdminError::Refused(format!("there is no issuing CA `{}`: {hint}", wanted.name))
        })
    }

    /// How it was withdrawn before, if it was: to be stricter than that is all that can still be wanted.
    fn expect_no_stricter(&self, name: CaName, wanted: &Wanted<'_>) -> Result<Option<Withdrawal>, AdminError> {
        let bad = |source| OpenError::Pki { path: self.pki(), source };
        let before = self.ca_files()?.withdrawal(name).map_err(bad)?;
        if before.is_some_and(|before| !before.known_may_renew && !wanted.enrol_anew) {
            let text = format!("{name} was withdrawn before, and its devices have to enrol anew: that is for ever");
            return Err(AdminError::Refused(text));
        }
        Ok(before)
    }

    /// Returns how many connections ended. Nothing in here waits for a key.
    fn withdraw_ca(
        &self,
        name: CaName,
        wanted: &Wanted<'_>,
        actor: &Actor,
        now: UnixMillis,
    ) -> Result<usize, AdminError> {
        let asked = Some(Instant::now());
        let _withdrawing = self.withdrawing.lock();
        let at_ms = self.expect_no_stricter(name, wanted)?.map_or(now.0, |before| before.at_ms);
        let withdrawal = Withdrawal { at_ms, known_may_renew: !wanted.enrol_anew };
        let text = serde_json::to_vec(&withdrawal).map_err(|error| AdminError::Invalid(error.to_string()))?;
        let written = write_file(&self.pki().join(name.withdrawal_file()), &text);
        // A file that is in its place counts, though it is not known that a power cut leaves it there.
        if written.is_err() && self.ca_files()?.withdrawal(name) != Ok(Some(withdrawal)) {
            return Ok(written.map(|()| 0)?);
        }
        let mut cut = 0;
        if name.role == CaRole::Devices {
            self.registry.refuse_issued_by(name.number, withdrawal);
            // A CONNECT that is being decided is decided again, and finds that its CA was withdrawn.
            self.raise_generation();
            let close = Close { reason: Reason::NOT_AUTHORIZED, why: "its issuing CA was withdrawn", asked };
            cut = self.cut_issued_by(name.number, close);
        }
        let detail = format_args!("{name}: {}; {cut} connections closed", wanted.reason);
        self.tell(&Event::new(EventKind::CaWithdrawn, detail).by(&actor.name));
        let mut authority = (**self.authority.load()).clone();
        authority.withdraw(name, withdrawal);
        self.take_into_use(authority)?;
        Ok(written.map(|()| cut)?)
    }

    /// Has another CA follow one that was withdrawn, and the roots' lists say so. What of it could not be done.
    fn follow_withdrawn(&self, ca: IssuingCa, name: CaName, actor: &Actor, now: UnixMillis) -> Vec<String> {
        let Some(_reconfiguring) = self.reconfiguring.try_lock_for(KEYS_PATIENCE) else {
            return vec!["the keys are in use; the hub makes what follows when they are free".into()];
        };
        let mut problems = Vec::new();
        if self.authority.load().name_of(name.role) == name {
            problems.extend(self.rotate(ca, &actor.name, now).err().map(|error| error.to_string()));
        }
        problems.extend(self.bring_lists_up_to_date(now).err().map(|error| format!("the root's list: {error}")));
        problems
    }

    /// Makes every root's list anew that is old, or lacks a CA that was withdrawn. One that cannot be made stops no other. The
    /// caller holds `reconfiguring`.
    ///
    /// # Errors
    /// The first list that cannot be made and must be: [`OpenError::NoRootKey`] where its root's key is elsewhere.
    pub(crate) fn bring_lists_up_to_date(&self, now: UnixMillis) -> Result<(), OpenError> {
        let authority = self.authority.load();
        let roots = authority.certificates().into_iter().filter(|(name, _)| name.role == CaRole::Root);
        let mut made = Ok(());
        for (name, certificate) in roots {
            made = made.and(self.bring_list_up_to_date(name, certificate, now));
        }
        made
    }

    fn bring_list_up_to_date(
        &self,
        name: CaName,
        root: &CertificateDer<'static>,
        now: UnixMillis,
    ) -> Result<(), OpenError> {
        let pki = self.pki();
        let state = list_state(&pki, name, root, now)?;
        if state == ListState::Good {
            return Ok(());
        }
        match root_key(&pki, &self.keys, name, "the list of what was withdrawn") {
            Err(OpenError::NoRootKey { .. }) if state == ListState::Old => Ok(()),
            key => write_root_list(&pki, &CaSigner::new(root.clone(), &*key?)?, name, now),
        }
    }

    /// The list of a root, in DER, as it was made last.
    pub(crate) fn root_list(&self, name: &str) -> Option<Vec<u8>> {
        let number = number_in_series(CaRole::Root.as_str(), name)?;
        let pem = read_file(&self.pki().join(CaName { role: CaRole::Root, number }.list_file())).ok()??;
        pem::parse(pem).ok().map(pem::Pem::into_contents)
    }

    /// Takes a list that a root has signed where its key is.
    pub(crate) fn import_root_list(&self, list: &[u8], dry_run: bool, now: UnixMillis) -> Result<Value, AdminError> {
        // Neither is a list made, nor a CA withdrawn, between the look at both and the writing.
        let (_reconfiguring, _withdrawing) = (self.reconfiguring.lock(), self.withdrawing.lock());
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
    let present = present_list(pki, name, root)?;
    if present.is_some_and(|present| list.number <= present.number) {
        return refuse("its number is not above that of the present one");
    }
    if withdrawn_by(pki, root)?.iter().any(|entry| !list.serials.contains(&entry.serial)) {
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

fn list_state(pki: &Path, name: CaName, root: &CertificateDer<'_>, now: UnixMillis) -> Result<ListState, OpenError> {
    let Some(list) = present_list(pki, name, root)? else { return Ok(ListState::Wrong) };
    let lacks_one = withdrawn_by(pki, root)?.iter().any(|entry| !list.serials.contains(&entry.serial));
    let left = list.next_update.since(now);
    Ok(match () {
        () if lacks_one || left < ROOT_CRL_LIFETIME / 4 => ListState::Wrong,
        () if left < ROOT_CRL_LIFETIME / 2 => ListState::Old,
        () => ListState::Good,
    })
}

/// The list that is there, if it is one of this root.
fn present_list(pki: &Path, name: CaName, root: &CertificateDer<'_>) -> Result<Option<RootCrl>, OpenError> {
    Ok(read_file(&pki.join(name.list_file()))?.and_then(|list| RootCrl::read(&list, root).ok()))
}

/// Makes the list of a root, with its key.
pub(crate) fn write_root_list(pki: &Path, root: &CaSigner<'_>, name: CaName, now: UnixMillis) -> Result<(), OpenError> {
    let present = present_list(pki, name, root.certificate())?;
    // Ascending, also when the clock was set back.
    let number = present.map_or(0, |present| present.number).saturating_add(1).max(now.seconds());
    let revoked = withdrawn_by(pki, root.certificate())?;
    let draft = CrlDraft { number, this_update: now, lifetime: ROOT_CRL_LIFETIME, revoked: &revoked };
    write_file(&pki.join(name.list_file()), root.crl(&draft)?.pem.as_bytes())
}

/// What this root has certified, and what was withdrawn.
fn withdrawn_by(pki: &Path, root: &CertificateDer<'_>) -> Result<Vec<Revoked>, OpenError> {
    let files = CaFiles::read(pki)?;
    let mut revoked = Vec::new();
    for name in IssuingCa::ALL.into_iter().flat_map(|ca| files.all_of(ca.role())) {
        let withdrawal = files.withdrawal(name).map_err(|source| OpenError::Pki { path: pki.to_owned(), source })?;
        let Some(withdrawal) = withdrawal else { continue };
        let certificate = files.certificate(name, pki)?;
        if !is_issued_by(&certificate, root) {
            continue;
        }
        let facts = leaf_facts(&certificate)?;
        let (at, reason) = (UnixMillis(withdrawal.at_ms), RevocationReason::CaCompromise);
        revoked.push(Revoked { serial: facts.serial, at, reason, not_after: facts.not_after });
    }
    Ok(revoked)
}

impl KeyRing {
    /// Whether a root's key is here.
    pub(crate) fn has_root(&self, root: CaName) -> bool {
        self.ca_key_hash(root).is_ok_and(|hash| hash.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use portreeve_config::{Config, Role};
    use portreeve_types::Kind;

    use super::*;
    use crate::{AdminRequest, Bundle, Fields};

    const FIRST_ROOT: CaName = CaName { role: CaRole::Root, number: 1 };
    const WAIT: Duration = Duration::from_secs(60);

    struct Place {
        _data: tempfile::TempDir,
        hub: Arc<Hub>,
        now: UnixMillis,
    }

    impl Place {
        fn new() -> Self {
            let (data, now) = (tempfile::tempdir().unwrap(), UnixMillis::from(std::time::SystemTime::now()));
            let hub = Hub::open(&data.path().join("hub"), Config::default(), now).unwrap();
            Self { _data: data, hub, now }
        }

        /// Asks for the withdrawal of the CA that issues to devices, on a thread of its own.
        fn revoke(&self) -> thread::JoinHandle<Value> {
            let (hub, now) = (Arc::clone(&self.hub), self.now);
            thread::spawn(move || {
                let wanted = Wanted { name: "devices", reason: "stolen", enrol_anew: false, dry_run: false };
                hub.ca_revoke(&actor(), &wanted, now).unwrap()
            })
        }

        /// Waits for something that another thread does.
        fn until(&self, is_so: impl Fn(&Hub) -> bool) {
            let end = Instant::now() + WAIT;
            while !is_so(&self.hub) {
                assert!(Instant::now() < end, "it does not come");
                thread::yield_now();
            }
        }

        /// The leaf of a new device.
        fn leaf(&self) -> CertificateDer<'static> {
            let name = "lamp-1".parse().unwrap();
            let (kind, fields) = (Kind::Device, Fields::default());
            let request = AdminRequest::DeviceAdd { name, kind, fields, bundle: true, days: None };
            let outcome = self.hub.administer(&actor(), request).unwrap();
            let bundle: Bundle = serde_json::from_value(outcome.result["bundle"].clone()).unwrap();
            portreeve_tls::certificates_from_pem("cert.pem", bundle.cert_pem.as_bytes()).unwrap().remove(0)
        }
    }

    fn actor() -> Actor {
        Actor { name: "alice".into(), role: Role::Administrator }
    }

    /// Somebody's request for a signature that a token has not answered holds up no withdrawal, only what follows it.
    #[test]
    fn a_withdrawal_does_not_wait_for_keys() {
        let place = Place::new();
        let leaf = place.leaf();
        let held = place.hub.reconfiguring.lock();
        let asked = place.revoke();
        place.until(|hub| hub.authority.load().device_anchors().is_empty());
        assert!(place.hub.events().count(EventKind::CaWithdrawn) == 1 && place.hub.authenticate(&leaf).is_err());
        assert!(matches!(place.hub.authority.load().device_ca(), Err(PkiError::Withdrawn { .. })));
        drop(held);
        let told = asked.join().unwrap();
        assert_eq!((&told["successor"], &told["problems"]), (&"devices-2".into(), &json!([])));
    }

    /// Who opened the keys before the withdrawal, and is done after it, brings nothing back.
    #[test]
    fn what_was_read_before_a_withdrawal_does_not_undo_it() {
        let place = Place::new();
        let leaf = place.leaf();
        let before = place.hub.authority.load_full();
        let held = place.hub.reconfiguring.lock();
        let asked = place.revoke();
        place.until(|hub| hub.authenticate(&leaf).is_err());
        {
            let _withdrawing = place.hub.withdrawing.lock();
            let read = place.hub.as_withdrawn((*before).clone()).unwrap();
            place.hub.take_into_use(read).unwrap();
        }
        assert!(place.hub.authenticate(&leaf).is_err() && place.hub.authority.load().device_anchors().is_empty());
        drop(held);
        asked.join().unwrap();
    }

    /// Between the look at a root's list and its writing nobody else writes one.
    #[test]
    fn a_list_is_taken_in_turn() {
        let place = Place::new();
        let (hub, pki, later) = (Arc::clone(&place.hub), place.hub.pki(), place.now.plus(Duration::from_secs(60)));
        let key = hub.keys.ca_key(FIRST_ROOT).unwrap();
        let root = CaSigner::new(hub.authority.load().root_certificate().clone(), &*key).unwrap();
        let draft = |number| CrlDraft { number, this_update: later, lifetime: ROOT_CRL_LIFETIME, revoked: &[] };
        let carried = root.crl(&draft(later.seconds())).unwrap().pem;
        let held = hub.reconfiguring.lock();
        let (told, heard) = std::sync::mpsc::channel();
        let asked = thread::spawn({
            let hub = Arc::clone(&hub);
            move || {
                let done = hub.import_root_list(carried.as_bytes(), false, later);
                told.send(()).unwrap();
                done
            }
        });
        assert!(heard.recv_timeout(Duration::from_millis(300)).is_err(), "it waits");
        // Whoever has the turn makes a newer one.
        write_file(&pki.join(FIRST_ROOT.list_file()), root.crl(&draft(later.seconds() + 1)).unwrap().pem.as_bytes())
            .unwrap();
        drop(held);
        let refused = asked.join().unwrap().unwrap_err();
        assert!(refused.to_string().contains("its number"), "{refused}");
    }
}
