//! What devices are told to trust: the root, and the keys that the hub's listeners use now and next (ISVS-4.1.6), signed by
//! a key of its own and numbered, so that nobody can put back what was withdrawn.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use portreeve_pki::{CaKey, PkiError, SubjectPublicKey, TrustBundle, leaf_facts};
use portreeve_store::RegistryOp;
use portreeve_types::{KeyHash, UnixMillis};

use crate::{Hub, OpenError};

/// The number of the newest bundle, among the registry's blobs.
const VERSION_BLOB: &str = "trust/version";
/// How long a bundle is accepted by who does not have it yet. Another one is made when half of that is over.
const LIFETIME: Duration = Duration::from_secs(90 * 86_400);

/// The bundle that was made last.
struct Made {
    /// The key in use that it names.
    current: KeyHash,
    at: UnixMillis,
    document: Bytes,
}

#[derive(Default)]
struct State {
    version: u64,
    key: Option<CaKey>,
    made: Option<Made>,
}

/// What devices were told so far.
#[derive(Default)]
pub(crate) struct Trust(Mutex<State>);

impl Trust {
    /// Goes on with the numbers that were given out before.
    pub(crate) fn resume(blobs: &[(String, Vec<u8>)]) -> Self {
        let version = blobs.iter().find(|(name, _)| name == VERSION_BLOB);
        let version = version.and_then(|(_, bytes)| bytes.as_slice().try_into().ok()).map_or(0, u64::from_be_bytes);
        Self(Mutex::new(State { version, ..State::default() }))
    }
}

impl Hub {
    /// What a device is to trust, as a JWS.
    ///
    /// # Errors
    /// [`OpenError`] when keys or the store cannot be used.
    pub fn trust_bundle(&self, now: UnixMillis) -> Result<Bytes, OpenError> {
        let failed = |source| OpenError::Pki { path: self.data.join("pki"), source };
        let mut state = self.trust.0.lock();
        let chain = self.tls.certificate();
        let leaf = chain.first().ok_or(PkiError::BadCertificate("the listeners have none")).map_err(failed)?;
        let current = leaf_facts(leaf).map_err(failed)?.key;
        if let Some(made) = &state.made
            && made.current == current
            && now.since(made.at).max(made.at.since(now)) < LIFETIME / 2
        {
            return Ok(made.document.clone());
        }
        let key = match &state.key {
            Some(key) => key.clone(),
            None => self.keys.trust_key()?,
        };
        let bundle = TrustBundle {
            // Rising across restarts, and past what a registry gave out that was set back since.
            version: (state.version + 1).max(now.seconds()),
            issued: now,
            expires: now.plus(LIFETIME),
            anchors: vec![self.authority.load().root_certificate().clone()],
            pins: self.pins(current)?,
            signers: vec![SubjectPublicKey::from_spki_der(&key.subject_public_key_info()).map_err(failed)?],
        };
        let document = Bytes::from(bundle.seal(&*key).map_err(failed)?);
        let bytes = bundle.version.to_be_bytes().to_vec();
        self.registry.put_blobs(&[RegistryOp::PutBlob { name: VERSION_BLOB.into(), bytes }])?;
        let made = Made { current, at: now, document: document.clone() };
        *state = State { version: bundle.version, key: Some(key), made: Some(made) };
        Ok(document)
    }

    /// The key in use, and the one that follows, which is made for this.
    fn pins(&self, current: KeyHash) -> Result<Vec<KeyHash>, OpenError> {
        let _reconfiguring = self.reconfiguring.lock();
        let present = self.keys.listener_key(current)?;
        let next = self.keys.following_listener_key(present.as_ref())?;
        Ok([Some(current), next.pin()].into_iter().flatten().collect())
    }
}
