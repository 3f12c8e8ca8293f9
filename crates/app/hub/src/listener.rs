//! The certificate that the hub's own listeners show: made, kept, and renewed by the clock while the hub runs.
//!
//! Keys are numbered. The certificate tells which one is in use, and replacing its file is the one step that a renewal
//! consists of: whatever stops before or after it leaves a certificate with its key.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc, time::Duration};

use portreeve_config::Config;
use portreeve_events::Kind as EventKind;
use portreeve_pki::{Authority, HUB_LIFETIME_MAX, LeafFacts, SubjectPublicKey, leaf_facts};
use portreeve_tls::{HeldCredentials, HeldKey as _};
use portreeve_types::UnixMillis;
use rustls_pki_types::CertificateDer;

use crate::{Hub, Now, OpenError, bootstrap::write_file, custody::KeyRing};

/// The certificate, in `pki/`.
const CERT: &str = "server.pem";
/// Names that [`CERT`] was issued for, one a line: tells when it must be made anew.
const NAMES: &str = "server.names";

/// The pause after a first failure, and the longest.
const RETRY_MS: u64 = 60_000;
const RETRY_MAX_MS: u64 = 3_600_000;

/// When something that failed is tried again.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    failures: u32,
    next_ms: u64,
}

impl Retry {
    pub(crate) fn is_due(&self, mono_ms: u64) -> bool {
        mono_ms >= self.next_ms
    }

    /// It failed. Whether for the first time since it went well, and so is to be told.
    pub(crate) fn failed(&mut self, mono_ms: u64) -> bool {
        let pause_ms = (RETRY_MS << self.failures.min(10)).min(RETRY_MAX_MS);
        self.next_ms = mono_ms.saturating_add(pause_ms);
        self.failures = self.failures.saturating_add(1);
        self.failures == 1
    }
}

impl Hub {
    /// Renews the certificate of the listeners when two thirds of its life are over, or another CA issues (CSA-CRD-10). The next handshake gets
    /// the new one; sessions go on.
    pub(crate) fn keep_certificate_young(&self, retry: &mut Retry, now: Now) {
        let chain = self.tls.certificate();
        let is_of_ca = chain.get(1..) == Some(&above(&self.authority.load()));
        if is_of_ca && is_young(&chain, now.wall) || !retry.is_due(now.mono_ms) {
            return;
        }
        let _reconfiguring = self.reconfiguring.lock();
        match self.serve_certificate(&self.config(), now.wall) {
            Ok(()) => *retry = Retry::default(),
            Err(error) if retry.failed(now.mono_ms) => {
                let detail = format_args!("{error}; it is tried again, and the present one serves until its end");
                self.emit(EventKind::HubCertificateFailed, None, None, None, detail);
            }
            Err(error) => tracing::warn!(%error, "the hub's certificate could not be renewed; it is tried again"),
        }
    }

    /// Serves the certificate that is right for this configuration and time. The caller holds `reconfiguring`.
    pub(crate) fn serve_certificate(&self, config: &Config, now: UnixMillis) -> Result<(), OpenError> {
        let before = self.tls.certificate();
        let credentials = certificate(&self.data.join("pki"), &self.authority.load(), &self.keys, config, now)?;
        self.tls.replace_certificate(credentials)?;
        let after = self.tls.certificate();
        if let Some(facts) = after.first().and_then(|leaf| leaf_facts(leaf).ok())
            && before != after
        {
            let (serial, days) = (hex::encode(facts.serial), facts.not_after.since(now).as_secs() / 86_400);
            let detail = format_args!("serial {serial}, for {days} days");
            self.emit(EventKind::HubCertificateRenewed, None, None, None, detail);
        }
        Ok(())
    }
}

/// The certificate of the listeners: the one on disk while it is young, names what it must, and its key is there; else a
/// new one. One that is only to be worded anew keeps its key; else the key that follows is taken into use.
pub(crate) fn certificate(
    pki: &Path,
    authority: &Authority,
    keys: &KeyRing,
    config: &Config,
    now: UnixMillis,
) -> Result<HeldCredentials, OpenError> {
    let names = names(config);
    let wanted = names.join("\n");
    let cert = pki.join(CERT);
    let present = read_chain(&cert);
    let held = match &present {
        Some((_, facts)) => keys.listener_key(facts.key)?,
        None => None,
    };
    let is_young = present.as_ref().is_some_and(|(chain, _)| is_young(chain, now));
    let key = match (held, present) {
        (Some(key), Some((chain, _))) if is_young => {
            let is_worded_so = fs::read_to_string(pki.join(NAMES)).is_ok_and(|names| names == wanted);
            if is_worded_so && chain.get(1) == Some(authority.hub_certificate()) {
                let chain = chain.into_iter().take(1).chain(above(authority)).collect();
                return Ok(HeldCredentials { chain, key: Arc::new(key) });
            }
            key
        }
        (held, _) => keys.following_listener_key(held.as_ref())?,
    };
    let failed = |source| OpenError::Pki { path: pki.to_owned(), source };
    let public = SubjectPublicKey::from_spki_der(key.spki_der()).map_err(failed)?;
    let issued = authority.issue_hub(&names, &public, now, HUB_LIFETIME_MAX).map_err(failed)?;
    // The certificate first: after a crash in between, it is made once more.
    write_file(&cert, issued.chain_pem.as_bytes())?;
    write_file(&pki.join(NAMES), wanted.as_bytes())?;
    if let Err(error) = keys.retire_listener_keys(&key) {
        tracing::warn!(%error, "the listeners' former key was not ended; the next renewal does it");
    }
    let chain = issued.chain_der.into_iter().take(1).chain(above(authority)).collect();
    Ok(HeldCredentials { chain, key: Arc::new(key) })
}

/// What is sent behind the leaf: the CA that issued it, and what the roots before the present one have certified of that.
fn above(authority: &Authority) -> Vec<CertificateDer<'static>> {
    [authority.hub_certificate().clone()].into_iter().chain(authority.cross_certificates()).collect()
}

/// `localhost`, the loopback addresses, the host's name, and `hub.names`.
fn names(config: &Config) -> Vec<String> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().to_lowercase();
    if !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')) {
        names.insert(host);
    }
    names.extend(config.hub.names.iter().map(|name| name.to_lowercase()));
    names.into_iter().collect()
}

/// What is on disk, if it is of any use.
fn read_chain(cert: &Path) -> Option<(Vec<CertificateDer<'static>>, LeafFacts)> {
    let chain = portreeve_tls::certificates_from_pem(CERT, &fs::read(cert).ok()?).ok()?;
    let facts = leaf_facts(chain.first()?).ok()?;
    Some((chain, facts))
}

/// Whether the leaf's life has begun and less than two thirds of it are over. One from a time when the clock was ahead is of
/// no use to anybody yet.
fn is_young(chain: &[CertificateDer<'_>], now: UnixMillis) -> bool {
    let Some(facts) = chain.first().and_then(|leaf| leaf_facts(leaf).ok()) else { return false };
    let life = facts.not_after.since(facts.not_before);
    facts.not_before <= now && facts.not_after.since(now) > Duration::from_secs(life.as_secs() / 3)
}
