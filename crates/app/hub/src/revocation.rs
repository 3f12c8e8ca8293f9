//! Revocation, published: a list (RFC 5280 §5) and answers to single questions (RFC 6960) for relying parties other than
//! this hub, which asks its registry.
//!
//! Each CA that issues or has issued to devices has a list of its own, under its own name, with what it has issued, and
//! answers for itself. What a root has withdrawn is on the root's list, which is made where its key is.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use portreeve_pki::{
    Authority, CaName, CaRole, CaSigner, CrlDraft, OcspAnswer, OcspRefusal, OcspResponder, PkiError, name_in_series,
    number_in_series,
};
use portreeve_store::{RegistryOp, StoreError};
use portreeve_types::{Bucket, UnixMillis};

use crate::{Hub, Now};

/// The number of the newest list, among the registry's blobs.
const NUMBER_BLOB: &str = "crl/number";
/// A list is not made more often, whatever changes: making one looks at every certificate.
const PAUSE: Duration = Duration::from_secs(1);

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum PublicationError {
    /// No CA of this name has certificates that live.
    #[error("there is no such CA, or its last certificate has ended")]
    NoSuchCa,
    /// It cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// It could not be made a moment ago.
    #[error("it could not be made a moment ago")]
    Failed,
    /// Its number cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The list that was made last.
struct Made {
    /// `None` if that failed.
    der: Option<Bytes>,
    revision: u64,
    at: UnixMillis,
}

/// What was published so far.
#[derive(Default)]
pub(crate) struct Publication {
    /// The number of the newest list, and the newest list of each CA.
    lists: Mutex<(u64, BTreeMap<CaName, Made>)>,
    answers: Mutex<Option<Bucket>>,
}

impl Publication {
    /// Goes on with the numbers that were given out before.
    pub(crate) fn resume(blobs: &[(String, Vec<u8>)]) -> Self {
        let number = blobs.iter().find(|(name, _)| name == NUMBER_BLOB);
        let number = number.and_then(|(_, bytes)| bytes.as_slice().try_into().ok()).map_or(0, u64::from_be_bytes);
        Self { lists: Mutex::new((number, BTreeMap::new())), answers: Mutex::default() }
    }

    /// Answers that were given and not yet made up for by the rate.
    pub(crate) fn answers_in_use(&self) -> u64 {
        self.answers.lock().map_or(0, |bucket| bucket.used())
    }
}

impl Hub {
    /// The CA that issues to devices, which writes into its certificates where revocation is published.
    pub(crate) fn device_ca<'a>(&self, authority: &'a Authority) -> Result<CaSigner<'a>, PkiError> {
        self.device_ca_of(authority, authority.name_of(CaRole::Devices).number)
    }

    /// The same, or the CA of this number, which did before: to make a certificate of it once more.
    pub(crate) fn device_ca_of<'a>(&self, authority: &'a Authority, number: u32) -> Result<CaSigner<'a>, PkiError> {
        let (config, signer) = (self.config(), authority.device_ca_of(number)?);
        let crl = url_of(&config.revocation.crl_url, signer.number());
        let [crl, ocsp] =
            [&crl, &config.revocation.ocsp_url].map(|url| Some(url.as_str()).filter(|url| !url.is_empty()));
        signer.publishing(crl, ocsp)
    }

    /// A list of the certificates that are not to be relied on, in DER, signed by the CA of this name: `devices`,
    /// `devices-2` and so on, or `root`. What was changed a second ago is in it.
    ///
    /// # Errors
    /// [`PublicationError`]; it is tried again after a second. Lists that were fetched before are good until their time is
    /// over.
    pub fn crl(&self, ca: &str, now: UnixMillis) -> Result<Bytes, PublicationError> {
        if number_in_series(CaRole::Root.as_str(), ca).is_some() {
            return self.root_list(ca).map(Bytes::from).ok_or(PublicationError::NoSuchCa);
        }
        let lifetime = Duration::from_secs(self.config().revocation.crl_valid_s);
        let authority = self.authority.load();
        let cas = authority.device_cas()?;
        let wanted = number_in_series(CaRole::Devices.as_str(), ca);
        let signer = cas.iter().find(|(name, _)| Some(name.number) == wanted);
        let (name, signer) = signer.ok_or(PublicationError::NoSuchCa)?;
        let (number, lists) = &mut *self.publication.lists.lock();
        lists.retain(|name, _| cas.iter().any(|(live, _)| live == name));
        // Before the registry is read: a change in between makes another list necessary.
        let revision = self.registry.revision();
        if let Some(made) = lists.get(name) {
            let age = now.since(made.at);
            let is_good = made.der.is_some() && made.revision == revision && age < lifetime / 2;
            let is_fresh = age < PAUSE || is_good;
            // Whoever waited for the lock comes with an earlier time; a clock that was set back is another matter.
            if is_fresh && made.at.since(now) < lifetime / 2 {
                return made.der.clone().ok_or(PublicationError::Failed);
            }
        }
        // Ascending across restarts, and also when the clock was set back.
        let next = (*number + 1).max(now.seconds());
        // Looking at all certificates is not done again and again for nothing.
        lists.insert(*name, Made { der: None, revision, at: now });
        let revoked = self.registry.revoked(name.number);
        let draft = CrlDraft { number: next, this_update: now, lifetime, revoked: &revoked };
        let der = Bytes::from(signer.crl(&draft)?.der);
        let blob = RegistryOp::PutBlob { name: NUMBER_BLOB.into(), bytes: next.to_be_bytes().to_vec() };
        self.registry.put_blobs(&[blob])?;
        *number = next;
        lists.insert(*name, Made { der: Some(der.clone()), revision, at: now });
        Ok(der)
    }

    /// Answers an OCSP request, in DER, as the CA that it is about. What the registry says now is what is answered.
    ///
    /// # Errors
    /// [`PkiError`] should the CA not be usable.
    pub fn ocsp(&self, request_der: &[u8], now: Now) -> Result<OcspAnswer, PkiError> {
        let config = self.config();
        if !self.may_answer(u64::from(config.limits.ocsp_answers_per_s), now.mono_ms) {
            return Ok(OcspAnswer::try_later());
        }
        let validity = Duration::from_secs(config.revocation.ocsp_valid_s);
        let authority = self.authority.load();
        let mut answered = None;
        for (name, ca) in authority.device_cas()? {
            let status = |serial: &[u8]| self.registry.certificate_status(name.number, serial);
            let answer = OcspResponder::direct(&ca)?.answer(request_der, now.wall, validity, status);
            let is_other = matches!(answer.outcome, Err(OcspRefusal::OtherIssuer));
            answered = Some(answer);
            if !is_other {
                break;
            }
        }
        // There is always the CA that issues.
        Ok(answered.unwrap_or_else(OcspAnswer::try_later))
    }

    fn may_answer(&self, rate_per_s: u64, mono_ms: u64) -> bool {
        let mut answers = self.publication.answers.lock();
        let bucket = answers.get_or_insert_with(|| Bucket::new(rate_per_s, rate_per_s, mono_ms));
        bucket.adjust(rate_per_s, rate_per_s);
        bucket.take(1, mono_ms)
    }
}

/// Where the list of the CA of this number is, if that of the first is here: its number stands before the ending of the last
/// part of the path.
fn url_of(first: &str, number: u32) -> String {
    let path = first.rfind('/').map_or(0, |slash| slash + 1);
    let name = &first[path..];
    let (stem, ending) = name.split_at(name.rfind('.').unwrap_or(name.len()));
    if first.is_empty() { String::new() } else { format!("{}{}{ending}", &first[..path], name_in_series(stem, number)) }
}

#[cfg(test)]
mod tests {
    use super::url_of;

    #[test]
    fn each_ca_has_an_address_of_its_own_for_its_list() {
        for (first, second) in [
            ("https://hub.example:8444/pki/devices.crl", "https://hub.example:8444/pki/devices-2.crl"),
            ("http://crl.example/list", "http://crl.example/list-2"),
            ("http://crl.example/v1.0/list", "http://crl.example/v1.0/list-2"),
            ("", ""),
        ] {
            assert_eq!((url_of(first, 1).as_str(), url_of(first, 2).as_str()), (first, second));
        }
    }
}
