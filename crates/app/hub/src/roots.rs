//! Roots that follow one another: announced first, and used when devices have heard of it.
//!
//! ```text
//! announced   root-2.pem and when it is used are on disk; bundles and `cacerts` name both roots; the old one certifies
//! in use      issuing CAs and the listeners' certificate are below the new root; the listeners send the cross-certificate,
//!             by which whoever trusts only the old root verifies them
//! alone       the last certificate below the old root is over: it is named, and trusted, no more
//! ```
//!
//! The new root's certificate is written last, and in one step: whatever stops before it leaves a hub that knows one root.

use std::fs;

use portreeve_events::{Event, Kind as EventKind};
use portreeve_pki::{
    CaName, CaRole, CaSigner, IssuingRefusal, import_cross, import_root, leaf_facts, make_root, to_pem,
};
use portreeve_types::UnixMillis;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::{
    Actor, AdminError, Hub, IssuingCa, OpenError,
    bootstrap::{io_error, write_file},
    succession::certificate_of,
    withdrawal::write_root_list,
};

/// How many roots may be trusted at a time: each is sent to every device.
const ROOTS_MAX: usize = 4;

/// A root that is to be announced.
struct Announcement {
    name: CaName,
    certificate: CertificateDer<'static>,
    cross: Option<CertificateDer<'static>>,
}

impl Hub {
    /// Makes another root and announces it; or, `at_once`, uses the one that was announced.
    pub(crate) fn root_rotate(
        &self,
        actor: &Actor,
        at_once: bool,
        dry_run: bool,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        if at_once {
            return self.use_root(actor, dry_run, now);
        }
        let reconfiguring = self.reconfiguring.lock();
        let (present, name) = self.expect_no_announcement(now)?;
        if dry_run {
            return Ok(json!({ "root": name.to_string(), "from_ms": self.root_from(now).0, "dry_run": true }));
        }
        let pki = self.pki();
        let key = self.keys.waiting_root_key(name).map_err(OpenError::from)?;
        let certificate = make_root(&*key, now)?;
        let cross = match self.keys.has_root(present) {
            true => {
                let key = self.keys.ca_key(present).map_err(OpenError::from)?;
                let root = CaSigner::new(certificate_of(&pki, present)?, &*key)?;
                Some(root.cross_certify(&certificate, now).map_err(OpenError::from)?)
            }
            false => None,
        };
        write_root_list(&pki, &CaSigner::new(certificate.clone(), &*key)?, name, now)?;
        let told = self.announce(&Announcement { name, certificate, cross }, actor, now);
        drop(reconfiguring);
        told
    }

    /// Takes a root that was made elsewhere, if that is what this is; or what the present root has certified of it.
    pub(crate) fn import_for_root(
        &self,
        actor: &Actor,
        pem_or_der: &[u8],
        dry_run: bool,
        now: UnixMillis,
    ) -> Result<Option<Value>, AdminError> {
        let der = pem::parse(pem_or_der).map_or(pem_or_der.to_vec(), pem::Pem::into_contents);
        let Ok(facts) = leaf_facts(&der) else { return Ok(None) };
        let _reconfiguring = self.reconfiguring.lock();
        let (pki, newest) = (self.pki(), self.ca_files()?.newest(CaRole::Root));
        let newest_certificate = certificate_of(&pki, newest)?;
        if newest.number > 1 && leaf_facts(&newest_certificate)?.key == facts.key && *newest_certificate != *der {
            let by = certificate_of(&pki, CaName { number: newest.number - 1, ..newest })?;
            let cross = import_cross(pem_or_der, &newest_certificate, &by, now).map_err(OpenError::from)?;
            if !dry_run {
                write_file(&pki.join(newest.cross_file()), to_pem(&cross).as_bytes())?;
                self.adopt(now)?;
            }
            return Ok(Some(json!({ "cross": newest.to_string(), "dry_run": dry_run })));
        }
        let is_root = portreeve_pki::is_issued_by(&der, &der);
        if !is_root || self.authority.load().roots().iter().any(|root| **root == *der) {
            return Ok(None);
        }
        let (_, name) = self.expect_no_announcement(now)?;
        let certificate = import_root(pem_or_der, &self.authority.load().roots(), now).map_err(OpenError::from)?;
        if dry_run {
            return Ok(Some(json!({ "root": name.to_string(), "from_ms": self.root_from(now).0, "dry_run": true })));
        }
        self.announce(&Announcement { name, certificate, cross: None }, actor, now).map(Some)
    }

    /// When a root that is announced now is used.
    fn root_from(&self, now: UnixMillis) -> UnixMillis {
        now.plus(std::time::Duration::from_secs(u64::from(self.config().keys.root_overlap_days) * 86_400))
    }

    /// The root that is followed, and the name of the one that follows.
    fn expect_no_announcement(&self, now: UnixMillis) -> Result<(CaName, CaName), AdminError> {
        let files = self.ca_files()?;
        let newest = files.newest(CaRole::Root);
        if newest != files.certifying_root(now) || self.authority.load().name_of(CaRole::Root) != newest {
            let days = files.used_from(newest).since(now).as_secs() / 86_400;
            return Err(AdminError::Refused(format!(
                "{newest} is announced and certifies in {days} days; `portreeve ca rotate root --now` does not wait for that"
            )));
        }
        let trusted = self.authority.load().roots().len();
        if trusted >= ROOTS_MAX {
            return Err(AdminError::Refused(format!(
                "{trusted} roots are trusted, and no more may be: wait until the last certificate below the oldest has ended"
            )));
        }
        Ok((newest, newest.successor()))
    }

    /// Devices hear of it from now on. The caller holds `reconfiguring`.
    fn announce(&self, root: &Announcement, actor: &Actor, now: UnixMillis) -> Result<Value, AdminError> {
        let (pki, name, from) = (self.pki(), root.name, self.root_from(now));
        let cross = pki.join(name.cross_file());
        match &root.cross {
            Some(certificate) => write_file(&cross, to_pem(certificate).as_bytes())?,
            // One that was left by an announcement that was broken off is for another key.
            None if cross.exists() => fs::remove_file(&cross).map_err(io_error("remove", &cross))?,
            None => {}
        }
        write_file(&pki.join(name.use_file()), from.0.to_string().as_bytes())?;
        write_file(&pki.join(name.certificate_file()), to_pem(&root.certificate).as_bytes())?;
        self.adopt(now)?;
        let days = from.since(now).as_secs() / 86_400;
        let detail = format_args!("{name} certifies in {days} days");
        self.tell(&Event::new(EventKind::RootAnnounced, detail).by(&actor.name));
        Ok(json!({
            "root": name.to_string(),
            "from_ms": from.0,
            "is_cross_certified": root.cross.is_some(),
            "dry_run": false,
        }))
    }

    fn use_root(&self, actor: &Actor, dry_run: bool, now: UnixMillis) -> Result<Value, AdminError> {
        let files = self.ca_files()?;
        let newest = files.newest(CaRole::Root);
        if newest == files.certifying_root(now) {
            return Err(AdminError::Refused(
                "no root waits for its time; `portreeve ca rotate root` announces another".into(),
            ));
        }
        let reconfiguring = self.reconfiguring.lock();
        if !dry_run {
            write_file(&self.pki().join(newest.use_file()), now.0.to_string().as_bytes())?;
        }
        // Those that cannot be made now, for want of the root's key, the clock asks for.
        let made = |ca| self.rotate(ca, &actor.name, now).err().map(|error| error.to_string());
        let problems: Vec<_> = IssuingCa::ALL.into_iter().filter(|_| !dry_run).filter_map(made).collect();
        if !dry_run {
            self.serve_certificate(&self.config(), now)?;
        }
        drop(reconfiguring);
        Ok(json!({ "root": newest.to_string(), "from_ms": now.0, "problems": problems, "dry_run": dry_run }))
    }
}

impl From<IssuingRefusal> for AdminError {
    fn from(refusal: IssuingRefusal) -> Self {
        OpenError::from(refusal).into()
    }
}
