//! What devices are told to trust: the roots, and the keys that the hub's listeners use now and next (ISVS-4.1.6, CSA-CRD-07), signed by
//! a key of its own and numbered, so that nobody can put back what was withdrawn.
//!
//! The signing key is followed by another through a *link*: the last document that the old key signs, which names the new one
//! alone. Links go with every bundle that comes after, so that a device that was away finds its way; the old key is ended
//! when the link is in the store, and can sign nothing more.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use portreeve_events::{Event, Kind as EventKind};
use portreeve_pki::{CaKey, PkiError, SubjectPublicKey, TRUST_LINKS_MAX, TrustBundle, leaf_facts};
use portreeve_store::RegistryOp;
use portreeve_types::{KeyHash, UnixMillis};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::{Actor, AdminError, Hub, OpenError};

/// The number of the newest bundle, among the registry's blobs.
const VERSION_BLOB: &str = "trust/version";
/// The number of the key that signs, and the links that lead to it, a line each.
const SIGNER_BLOB: &str = "trust/signer";
/// How long a bundle is accepted by who does not have it yet. Another one is made when half of that is over.
const LIFETIME: Duration = Duration::from_secs(90 * 86_400);

/// The bundle that was made last.
struct Made {
    /// The key in use that it names.
    current: KeyHash,
    anchors: Vec<CertificateDer<'static>>,
    at: UnixMillis,
    document: Bytes,
}

/// Who signs, and how devices come to know.
#[derive(Clone)]
struct Signer {
    /// The how many-th key, from 1.
    number: u32,
    /// The oldest first.
    links: Vec<String>,
}

impl Signer {
    fn encode(&self) -> Vec<u8> {
        format!("{}\n{}", self.number, self.links.join("\n")).into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        Some(Self { number: lines.next()?.parse().ok()?, links: lines.map(str::to_owned).collect() })
    }
}

struct State {
    version: u64,
    signer: Signer,
    key: Option<CaKey>,
    made: Option<Made>,
}

/// What devices were told so far.
pub(crate) struct Trust(Mutex<State>);

impl Trust {
    /// Goes on with the numbers that were given out before.
    pub(crate) fn resume(blobs: &[(String, Vec<u8>)]) -> Self {
        let blob = |wanted| blobs.iter().find(|(name, _)| name == wanted).map(|(_, bytes)| bytes.as_slice());
        let version = blob(VERSION_BLOB).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        let signer = blob(SIGNER_BLOB).and_then(Signer::decode).unwrap_or(Signer { number: 1, links: Vec::new() });
        Self(Mutex::new(State { version, signer, key: None, made: None }))
    }
}

impl Hub {
    /// What a device is to trust: the links that lead to the present signer, and the bundle, each a JWS and a line.
    ///
    /// # Errors
    /// [`OpenError`] when keys or the store cannot be used.
    pub fn trust_bundle(&self, now: UnixMillis) -> Result<Bytes, OpenError> {
        let mut state = self.trust.0.lock();
        let (current, anchors) = (self.current_pin()?, self.authority.load().roots());
        if let Some(made) = &state.made
            && (made.current, &made.anchors) == (current, &anchors)
            && now.since(made.at).max(made.at.since(now)) < LIFETIME / 2
        {
            return Ok(made.document.clone());
        }
        let key = self.trust_key(&mut state)?;
        let bundle = self.bundle(&state, &*key, now)?;
        let mut lines = state.signer.links.clone();
        lines.push(bundle.seal(&*key)?);
        let document = Bytes::from(lines.join("\n"));
        self.registry.put_blobs(&[version_of(&bundle)])?;
        state.version = bundle.version;
        state.made = Some(Made { current, anchors, at: now, document: document.clone() });
        Ok(document)
    }

    /// Has another key sign what devices are to trust. The one before is ended.
    pub(crate) fn trust_rotate(&self, actor: &Actor, dry_run: bool, now: UnixMillis) -> Result<Value, AdminError> {
        let mut state = self.trust.0.lock();
        let number = state.signer.number.saturating_add(1);
        if dry_run {
            return Ok(json!({ "trust": number, "dry_run": true }));
        }
        let old = self.trust_key(&mut state)?;
        let new = self.keys.trust_key(number).map_err(OpenError::from)?;
        let link = self.bundle(&state, &*new, now)?;
        let mut links = state.signer.links.clone();
        links.push(link.seal(&*old)?);
        // A device that knows none but a key before the oldest link begins anew, with a code.
        links.drain(..links.len().saturating_sub(TRUST_LINKS_MAX));
        let signer = Signer { number, links };
        let put = RegistryOp::PutBlob { name: SIGNER_BLOB.into(), bytes: signer.encode() };
        self.registry.put_blobs(&[put, version_of(&link)])?;
        *state = State { version: link.version, signer, key: None, made: None };
        // The next use of the new key ends the old one, should that fail here.
        if let Err(error) = self.trust_key(&mut state) {
            tracing::warn!(%error, "the key that signed trust bundles before was not ended; it is tried again");
        }
        let detail = format_args!("the {number}. key signs trust bundles from now on");
        self.tell(&Event::new(EventKind::TrustKeyChanged, detail).by(&actor.name));
        Ok(json!({ "trust": number, "dry_run": false }))
    }

    /// The key that signs, and those before it are ended.
    fn trust_key(&self, state: &mut State) -> Result<CaKey, OpenError> {
        if let Some(key) = &state.key {
            return Ok(key.clone());
        }
        let key = self.keys.trust_key(state.signer.number)?;
        self.keys.retire_trust_keys(state.signer.number)?;
        state.key = Some(key.clone());
        Ok(key)
    }

    /// The bundle that follows, which names `signer` as the one to sign the next.
    fn bundle(
        &self,
        state: &State,
        signer: &dyn portreeve_pki::SigningKey,
        now: UnixMillis,
    ) -> Result<TrustBundle, OpenError> {
        Ok(TrustBundle {
            // Rising across restarts, and past what a registry gave out that was set back since.
            version: (state.version + 1).max(now.seconds()),
            issued: now,
            expires: now.plus(LIFETIME),
            anchors: self.authority.load().roots(),
            pins: self.pins(self.current_pin()?)?,
            signers: vec![SubjectPublicKey::from_spki_der(&signer.subject_public_key_info())?],
        })
    }

    /// The key that the listeners use.
    fn current_pin(&self) -> Result<KeyHash, OpenError> {
        let chain = self.tls.certificate();
        let leaf = chain.first().ok_or(PkiError::BadCertificate("the listeners have none"))?;
        Ok(leaf_facts(leaf)?.key)
    }

    /// The key in use, and the one that follows, which is made for this.
    fn pins(&self, current: KeyHash) -> Result<Vec<KeyHash>, OpenError> {
        let _reconfiguring = self.reconfiguring.lock();
        let present = self.keys.listener_key(current)?;
        let next = self.keys.following_listener_key(present.as_ref())?;
        Ok([Some(current), next.pin()].into_iter().flatten().collect())
    }
}

fn version_of(bundle: &TrustBundle) -> RegistryOp {
    RegistryOp::PutBlob { name: VERSION_BLOB.into(), bytes: bundle.version.to_be_bytes().to_vec() }
}
