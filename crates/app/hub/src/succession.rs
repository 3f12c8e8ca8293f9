//! Issuing CAs that follow one another, planned or at an operator's word.
//!
//! A key without a certificate waits: for the root, if its key is here, or for the answer to a request that was carried
//! to it. The certificate's file is what makes a CA the one that issues, and it is written in one step. So whatever stops
//! in between leaves a hub that opens, issues with the one before, and goes on from there.

use std::{path::Path, sync::Arc, time::Duration};

use portreeve_events::{Event, Kind as EventKind};
use portreeve_pki::{
    Authority, CaKey, CaName, CaRole, CaSigner, ISSUING_LIFETIME_MAX, IssuingRefusal, PkiError, Purpose, RotationStep,
    SubjectPublicKey, import_issuing_ca, leaf_facts, request_issuing_ca, to_pem,
};
use portreeve_types::UnixMillis;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Actor, AdminError, Hub, Now, OpenError,
    bootstrap::{create_file, read_authority},
    ca_files::CaFiles,
    custody::KeyRing,
    listener::Retry,
};

/// How long before an issuing CA is due somebody is told who has to bring the root's key.
const WARNING: Duration = Duration::from_secs(90 * 86_400);
/// The same before the root itself ends, which no rotation mends.
const ROOT_WARNING: Duration = Duration::from_secs(2 * 365 * 86_400);
/// How often that is said.
const REMINDER_EVERY_MS: u64 = 7 * 86_400_000;

/// How many CAs for devices may be in use at a time: the one that issues, and those whose certificates live.
const DEVICE_CAS_MAX: usize = 8;

/// A CA that is followed by another of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssuingCa {
    /// Issues to devices, gateways and applications.
    Devices,
    /// Issues to the hub's listeners.
    Hub,
}

impl IssuingCa {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Devices, Self::Hub];

    /// What it is called.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.role().as_str()
    }

    pub(crate) fn role(self) -> CaRole {
        match self {
            Self::Devices => CaRole::Devices,
            Self::Hub => CaRole::Hub,
        }
    }

    fn purpose(self) -> Purpose {
        match self {
            Self::Devices => Purpose::Client,
            Self::Hub => Purpose::Server,
        }
    }

    /// The one that has a certificate on disk and no successor.
    fn newest(self, pki: &Path) -> Result<CaName, OpenError> {
        Ok(CaFiles::read(pki)?.newest(self.role()))
    }
}

/// What was said and tried about each issuing CA, and said about the lists of the roots.
#[derive(Debug, Default)]
pub(crate) struct Watch([(Retry, Option<u64>); 2], Option<u64>);

/// The authority in `pki`. An issuing CA that has ended while no hub ran is followed by another first, if the root's key is
/// there.
pub(crate) fn authority(pki: &Path, keys: &KeyRing, now: UnixMillis) -> Result<Authority, OpenError> {
    for ca in IssuingCa::ALL {
        let ended = ca.newest(pki)?.certificate_file();
        match read_authority(pki, keys, now) {
            Err(OpenError::Pki { source: PkiError::Expired { file }, .. }) if file == ended => {
                let made = introduce(pki, keys, ca, now);
                let name = made.map_err(|source| OpenError::CaEnded { file, source: Box::new(source) })?;
                tracing::warn!(%name, "an issuing CA had ended; another was made");
            }
            // The other one may have ended.
            Err(OpenError::Pki { source: PkiError::Expired { .. }, .. }) => {}
            read => return read,
        }
    }
    read_authority(pki, keys, now)
}

/// Makes the successor of an issuing CA, with the root's key.
fn introduce(pki: &Path, keys: &KeyRing, ca: IssuingCa, now: UnixMillis) -> Result<CaName, OpenError> {
    let files = CaFiles::read(pki)?;
    let (name, root) = (files.newest(ca.role()).successor(), files.certifying_root(now));
    let root_key = root_key(pki, keys, root, ca.as_str())?;
    let key = keys.waiting_ca_key(name)?;
    let refused = |error: PkiError| OpenError::Issuing(error.into());
    let root = CaSigner::new(files.certificate(root, pki)?, &*root_key).map_err(refused)?;
    let request = request_issuing_ca(ca.purpose(), &*key).map_err(refused)?;
    let certificate = root.sign_issuing_ca(request.as_bytes(), ca.purpose(), now, ISSUING_LIFETIME_MAX)?;
    create_file(&pki.join(name.certificate_file()), to_pem(&certificate).as_bytes())?;
    Ok(name)
}

/// Whether the root's key is here, and is the root's.
fn can_introduce(pki: &Path, keys: &KeyRing, ca: IssuingCa, now: UnixMillis) -> Result<(), OpenError> {
    let files = CaFiles::read(pki)?;
    let root = files.certifying_root(now);
    let key = root_key(pki, keys, root, ca.as_str())?;
    CaSigner::new(files.certificate(root, pki)?, &*key).map_err(|error| OpenError::Issuing(error.into())).map(drop)
}

/// The key of a root, which is to sign `what`.
pub(crate) fn root_key(pki: &Path, keys: &KeyRing, root: CaName, what: &'static str) -> Result<CaKey, OpenError> {
    keys.ca_key(root).map_err(|error| match error.is_missing() {
        true => OpenError::NoRootKey { root, what, pki: pki.to_owned() },
        false => error.into(),
    })
}

/// The certificate of a CA that is on disk.
pub(crate) fn certificate_of(pki: &Path, name: CaName) -> Result<CertificateDer<'static>, OpenError> {
    CaFiles::read(pki)?.certificate(name, pki)
}

/// Whose certificate this is, of the keys that wait for one; it is checked, and not yet taken.
fn examine(
    pki: &Path,
    keys: &KeyRing,
    pem_or_der: &[u8],
    now: UnixMillis,
) -> Result<(CaName, CertificateDer<'static>), OpenError> {
    let certified = match pem::parse(pem_or_der) {
        Ok(block) => leaf_facts(block.contents()),
        Err(_) => leaf_facts(pem_or_der),
    };
    let certified = certified.map_err(|_| IssuingRefusal::Malformed)?.key;
    let files = CaFiles::read(pki)?;
    for ca in IssuingCa::ALL {
        let name = files.newest(ca.role()).successor();
        if keys.ca_key_hash(name)? != Some(certified) {
            continue;
        }
        let key = keys.ca_key(name)?;
        let public = SubjectPublicKey::from_spki_der(&key.subject_public_key_info()).map_err(IssuingRefusal::Pki)?;
        let root = files.certificate(files.certifying_root(now), pki)?;
        let certificate = import_issuing_ca(pem_or_der, ca.purpose(), &public, &root, now)?;
        return Ok((name, certificate));
    }
    Err(OpenError::NotRequested)
}

impl Hub {
    pub(crate) fn pki(&self) -> std::path::PathBuf {
        self.data.join("pki")
    }

    pub(crate) fn ca_files(&self) -> Result<CaFiles, OpenError> {
        CaFiles::read(&self.pki())
    }

    /// Replaces issuing CAs when they are due, and says in time what that needs (CSA-CRD-02, CSA-CRD-10).
    pub(crate) fn keep_cas_young(&self, watch: &mut Watch, now: Now) {
        for (ca, (retry, told_ms)) in IssuingCa::ALL.into_iter().zip(&mut watch.0) {
            let Some(reminder) = self.look_after(ca, retry, now) else { continue };
            if told_ms.is_none_or(|told_ms| now.mono_ms.saturating_sub(told_ms) >= REMINDER_EVERY_MS) {
                *told_ms = Some(now.mono_ms);
                self.emit(EventKind::CaRotationDue, None, None, None, format_args!("{reminder}"));
            }
        }
        self.keep_lists_young(&mut watch.1, now);
        if self.authority.load().has_outlived(now.wall) {
            let _reconfiguring = self.reconfiguring.lock();
            if let Err(error) = self.adopt(now.wall) {
                tracing::warn!(%error, "a CA whose last certificate has ended could not be let go; it is tried again");
            }
        }
    }

    /// Makes the roots' lists anew in time, or says that somebody has to.
    fn keep_lists_young(&self, told_ms: &mut Option<u64>, now: Now) {
        let reconfiguring = self.reconfiguring.lock();
        let made = self.bring_lists_up_to_date(now.wall);
        drop(reconfiguring);
        let Err(error) = made else { return };
        if told_ms.is_none_or(|told_ms| now.mono_ms.saturating_sub(told_ms) >= REMINDER_EVERY_MS) {
            *told_ms = Some(now.mono_ms);
            self.emit(EventKind::RootListDue, None, None, None, format_args!("{error}"));
        }
    }

    /// Does what is due about one of them. What is to be said, if a person has to do something.
    fn look_after(&self, ca: IssuingCa, retry: &mut Retry, now: Now) -> Option<String> {
        let authority = self.authority.load();
        let (name, end) = (authority.name_of(ca.role()), authority.end_of(ca.role()));
        let days = |until: UnixMillis| until.since(now.wall).as_secs() / 86_400;
        let certifying = match self.ca_files() {
            Ok(files) => files.certifying_root(now.wall),
            Err(error) => return Some(format!("whether {name} is due to be followed cannot be told: {error}")),
        };
        match authority.rotation(ca.role(), certifying.number, now.wall) {
            None if end.since(now.wall) > ROOT_WARNING => None,
            None => Some(format!(
                "{name} ends in {} days, and the root with it: `portreeve ca rotate root` has it followed by another",
                days(end)
            )),
            Some(RotationStep::Wait { until }) if until.since(now.wall) > WARNING || self.keys.has_root(certifying) => {
                None
            }
            Some(RotationStep::Wait { until }) => {
                let what = OpenError::NoRootKey { root: certifying, what: ca.as_str(), pki: self.pki() };
                Some(format!("{name} is due to be followed in {} days, and ends in {}: {what}", days(until), days(end)))
            }
            Some(_) if !retry.is_due(now.mono_ms) => None,
            Some(_) => match self.rotate_in_turn(ca, name, now.wall) {
                Ok(_) => {
                    *retry = Retry::default();
                    None
                }
                Err(error) => {
                    let is_first = retry.failed(now.mono_ms);
                    if !matches!(error, OpenError::NoRootKey { .. }) {
                        if is_first {
                            let detail = format_args!("{name}: {error}");
                            self.emit(EventKind::CaRotationFailed, None, None, None, detail);
                        }
                        return None;
                    }
                    Some(format!("{name} is due to be followed and ends in {} days: {error}", days(end)))
                }
            },
        }
    }

    /// Has the CA that is due followed by another, if nobody has done so meanwhile.
    fn rotate_in_turn(&self, ca: IssuingCa, due: CaName, now: UnixMillis) -> Result<CaName, OpenError> {
        let _reconfiguring = self.reconfiguring.lock();
        let present = self.authority.load().name_of(ca.role());
        if present == due { self.rotate(ca, "the hub", now) } else { Ok(present) }
    }

    /// Has an issuing CA followed by another, which issues from now on. The caller holds `reconfiguring`.
    pub(crate) fn rotate(&self, ca: IssuingCa, actor: &str, now: UnixMillis) -> Result<CaName, OpenError> {
        let pki = self.pki();
        self.expect_room(ca)?;
        let present = self.authority.load().name_of(ca.role());
        // One that is on disk and could not be taken into use is the one that is wanted, unless its time is still to come.
        let waits = ca.newest(&pki)?.number > present.number;
        if !waits {
            introduce(&pki, &self.keys, ca, now)?;
        }
        self.adopt(now)?;
        if waits && self.authority.load().name_of(ca.role()) == present {
            introduce(&pki, &self.keys, ca, now)?;
            self.adopt(now)?;
        }
        let name = self.authority.load().name_of(ca.role());
        self.tell_rotation(name, actor);
        Ok(name)
    }

    /// Every CA that is trusted costs something in each handshake and answer.
    fn expect_room(&self, ca: IssuingCa) -> Result<(), OpenError> {
        let in_use = self.authority.load().device_anchors().len();
        if ca == IssuingCa::Devices && in_use >= DEVICE_CAS_MAX { Err(OpenError::TooManyCas(in_use)) } else { Ok(()) }
    }

    fn tell_rotation(&self, name: CaName, actor: &str) {
        self.tell(&Event::new(EventKind::CaRotated, format_args!("{name} issues from now on")).by(actor));
    }

    /// Takes the CAs on disk into use. The new one is trusted before it issues; what was issued before stays good. The caller
    /// holds `reconfiguring`.
    pub(crate) fn adopt(&self, now: UnixMillis) -> Result<(), OpenError> {
        let authority = authority(&self.pki(), &self.keys, now)?;
        let _withdrawing = self.withdrawing.lock();
        // Also what was withdrawn since, while the keys were opened.
        self.take_into_use(self.as_withdrawn(authority)?)
    }

    /// The same authority, with what the files say of withdrawals now.
    pub(crate) fn as_withdrawn(&self, mut authority: Authority) -> Result<Authority, OpenError> {
        let files = self.ca_files()?;
        let names: Vec<_> = authority.certificates().iter().map(|(name, _)| *name).collect();
        for name in names {
            let withdrawal = files.withdrawal(name).map_err(|source| OpenError::Pki { path: self.pki(), source })?;
            withdrawal.into_iter().for_each(|withdrawal| authority.withdraw(name, withdrawal));
        }
        Ok(authority)
    }

    /// The caller holds `withdrawing`.
    pub(crate) fn take_into_use(&self, authority: Authority) -> Result<(), OpenError> {
        self.registry.set_withdrawn(authority.withdrawn());
        self.tls.replace_anchors(&authority.device_anchors())?;
        self.authority.store(Arc::new(authority));
        Ok(())
    }

    /// Has one issuing CA, or each, followed by another now, whatever the plan says.
    pub(crate) fn ca_rotate(
        &self,
        actor: &Actor,
        ca: Option<IssuingCa>,
        dry_run: bool,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        let wanted = ca.map_or(IssuingCa::ALL.to_vec(), |ca| vec![ca]);
        let _reconfiguring = self.reconfiguring.lock();
        // What would stop the second is found before the first is done.
        for ca in &wanted {
            self.expect_room(*ca)?;
            can_introduce(&self.pki(), &self.keys, *ca, now)?;
        }
        let names = wanted.into_iter().map(|ca| match dry_run {
            true => Ok(ca.newest(&self.pki())?.successor()),
            false => self.rotate(ca, &actor.name, now),
        });
        let names: Vec<String> = names.map(|name| Ok(name?.to_string())).collect::<Result<_, OpenError>>()?;
        Ok(json!({ "names": names, "dry_run": dry_run }))
    }

    /// Makes the key of a CA that is to follow, if there is none yet, and the request that the root has to sign.
    pub(crate) fn ca_request(&self, ca: IssuingCa) -> Result<Value, AdminError> {
        let _reconfiguring = self.reconfiguring.lock();
        self.expect_room(ca)?;
        let name = ca.newest(&self.pki())?.successor();
        let key = self.keys.waiting_ca_key(name).map_err(OpenError::from)?;
        let request = request_issuing_ca(ca.purpose(), &*key)?;
        Ok(json!({ "name": name.to_string(), "request_pem": request }))
    }

    /// Takes the certificate that answers such a request: the new CA issues from now on. Or what else the roots' keys have
    /// signed elsewhere: another root, what the one has certified of the other, or a list.
    pub(crate) fn ca_import(
        &self,
        actor: &Actor,
        certificate: &str,
        dry_run: bool,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        if certificate.contains("X509 CRL") {
            return self.import_root_list(certificate.as_bytes(), dry_run, now);
        }
        if let Some(taken) = self.import_for_root(actor, certificate.as_bytes(), dry_run, now)? {
            return Ok(taken);
        }
        let _reconfiguring = self.reconfiguring.lock();
        let pki = self.pki();
        let (name, certificate) = examine(&pki, &self.keys, certificate.as_bytes(), now)?;
        if !dry_run {
            create_file(&pki.join(name.certificate_file()), to_pem(&certificate).as_bytes())?;
            self.adopt(now)?;
            self.tell_rotation(name, &actor.name);
        }
        let until = leaf_facts(&certificate)?.not_after;
        Ok(json!({ "names": [name.to_string()], "not_after_ms": until.0, "dry_run": dry_run }))
    }
}

impl From<OpenError> for AdminError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Issuing(_) | OpenError::NotRequested => Self::Invalid(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}
