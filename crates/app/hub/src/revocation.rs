//! Revocation, published: a list (RFC 5280 §5) and answers to single questions (RFC 6960) for relying parties other than
//! this hub, which asks its registry.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use portreeve_pki::{CaSigner, CrlDraft, OcspAnswer, OcspResponder, PkiError};
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
    list: Mutex<(u64, Option<Made>)>,
    answers: Mutex<Option<Bucket>>,
}

impl Publication {
    /// Goes on with the numbers that were given out before.
    pub(crate) fn resume(blobs: &[(String, Vec<u8>)]) -> Self {
        let number = blobs.iter().find(|(name, _)| name == NUMBER_BLOB);
        let number = number.and_then(|(_, bytes)| bytes.as_slice().try_into().ok()).map_or(0, u64::from_be_bytes);
        Self { list: Mutex::new((number, None)), answers: Mutex::default() }
    }

    /// Answers that were given and not yet made up for by the rate.
    pub(crate) fn answers_in_use(&self) -> u64 {
        self.answers.lock().map_or(0, |bucket| bucket.used())
    }
}

impl Hub {
    /// The CA that issues to devices, which writes into its certificates where revocation is published.
    pub(crate) fn device_ca(&self) -> Result<CaSigner<'_>, PkiError> {
        let config = self.config();
        let [crl, ocsp] = [&config.revocation.crl_url, &config.revocation.ocsp_url]
            .map(|url| Some(url.as_str()).filter(|url| !url.is_empty()));
        self.authority.device_ca()?.publishing(crl, ocsp)
    }

    /// The list of the certificates of devices that are not to be relied on, in DER. What was changed a second ago is in
    /// it.
    ///
    /// # Errors
    /// [`PublicationError`]; it is tried again after a second. Lists that were fetched before are good until their time is
    /// over.
    pub fn crl(&self, now: UnixMillis) -> Result<Bytes, PublicationError> {
        let lifetime = Duration::from_secs(self.config().revocation.crl_valid_s);
        let (number, made) = &mut *self.publication.list.lock();
        // Before the registry is read: a change in between makes another list necessary.
        let revision = self.registry.revision();
        if let Some(made) = made {
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
        *made = Some(Made { der: None, revision, at: now });
        let revoked = self.registry.revoked();
        let draft = CrlDraft { number: next, this_update: now, lifetime, revoked: &revoked };
        let der = Bytes::from(self.authority.device_ca()?.crl(&draft)?.der);
        let blob = RegistryOp::PutBlob { name: NUMBER_BLOB.into(), bytes: next.to_be_bytes().to_vec() };
        self.registry.put_blobs(&[blob])?;
        *number = next;
        *made = Some(Made { der: Some(der.clone()), revision, at: now });
        Ok(der)
    }

    /// Answers an OCSP request, in DER. What the registry says now is what is answered.
    ///
    /// # Errors
    /// [`PkiError`] should the CA not be usable.
    pub fn ocsp(&self, request_der: &[u8], now: Now) -> Result<OcspAnswer, PkiError> {
        let config = self.config();
        if !self.may_answer(u64::from(config.limits.ocsp_answers_per_s), now.mono_ms) {
            return Ok(OcspAnswer::try_later());
        }
        let validity = Duration::from_secs(config.revocation.ocsp_valid_s);
        let responder = OcspResponder::direct(&self.authority.device_ca()?)?;
        Ok(responder.answer(request_der, now.wall, validity, |serial| self.registry.certificate_status(serial)))
    }

    fn may_answer(&self, rate_per_s: u64, mono_ms: u64) -> bool {
        let mut answers = self.publication.answers.lock();
        let bucket = answers.get_or_insert_with(|| Bucket::new(rate_per_s, rate_per_s, mono_ms));
        bucket.adjust(rate_per_s, rate_per_s);
        bucket.take(1, mono_ms)
    }
}
