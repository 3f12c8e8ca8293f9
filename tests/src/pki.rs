//! Certificates that a hub must refuse.

use std::{fs, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::ClientConfig;
use time::{Duration, OffsetDateTime};

use crate::hub::{Hub, client_config};

/// What the hub's own authority for devices is made to sign behind the hub's back.
#[derive(Clone, Copy, Debug)]
pub struct Forgery {
    /// Days from now until it becomes valid.
    pub from_days: i64,
    /// Days from now until it expires.
    pub until_days: i64,
    /// Extended key usage: a client's, else a server's.
    pub for_clients: bool,
}

impl Forgery {
    /// Nothing wrong but that the hub does not know the key.
    pub const UNREGISTERED: Self = Self { from_days: -1, until_days: 30, for_clients: true };
    /// Its time is over.
    pub const EXPIRED: Self = Self { from_days: -30, until_days: -1, for_clients: true };
    /// Its time has not come.
    pub const NOT_YET_VALID: Self = Self { from_days: 10, until_days: 30, for_clients: true };
    /// A server's certificate.
    pub const FOR_SERVERS: Self = Self { for_clients: false, ..Self::UNREGISTERED };
}

/// A client whose leaf the hub's authority for devices signed.
///
/// # Panics
/// If the authority cannot be read.
#[must_use]
pub fn forged(hub: &Hub, forgery: Forgery, urn: Option<&str>) -> Arc<ClientConfig> {
    let (chain, key) = forged_pem(hub, forgery, urn);
    client_config(hub_anchor(hub).as_bytes(), Some((chain.as_bytes(), key.as_bytes())))
}

/// The same as chain and key, PEM.
///
/// # Panics
/// If the authority cannot be read.
#[must_use]
pub fn forged_pem(hub: &Hub, forgery: Forgery, urn: Option<&str>) -> (String, String) {
    let read = |name: &str| fs::read_to_string(hub.data().join("pki").join(name)).expect(name);
    let (ca, key) = (read("devices.pem"), read("devices.key"));
    let key = KeyPair::from_pem(&key).expect("devices.key");
    let issuer = Issuer::from_ca_cert_pem(&ca, key).expect("devices.pem");
    let (leaf_key, leaf) = leaf(&issuer, forgery, urn);
    (format!("{leaf}{ca}"), leaf_key)
}

/// A client of somebody else's authority, which bears the same names.
///
/// # Panics
/// If none can be made.
#[must_use]
pub fn foreign(hub: &Hub, urn: Option<&str>) -> Arc<ClientConfig> {
    let (chain, key) = foreign_pem(urn);
    client_config(hub_anchor(hub).as_bytes(), Some((chain.as_bytes(), key.as_bytes())))
}

/// The same as chain and key, PEM.
///
/// # Panics
/// If none can be made.
#[must_use]
pub fn foreign_pem(urn: Option<&str>) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "devices");
    let ca = params.self_signed(&key).expect("a certificate").pem();
    let issuer = Issuer::new(params, key);
    let (leaf_key, leaf) = leaf(&issuer, Forgery::UNREGISTERED, urn);
    (format!("{leaf}{ca}"), leaf_key)
}

/// A client without a certificate.
#[must_use]
pub fn anonymous(hub: &Hub) -> Arc<ClientConfig> {
    client_config(hub_anchor(hub).as_bytes(), None)
}

/// What clients trust.
fn hub_anchor(hub: &Hub) -> String {
    fs::read_to_string(hub.data().join("pki/root.pem")).expect("root.pem")
}

fn leaf(issuer: &Issuer<'_, KeyPair>, forgery: Forgery, urn: Option<&str>) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.not_before = now + Duration::days(forgery.from_days);
    params.not_after = now + Duration::days(forgery.until_days);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![if forgery.for_clients {
        ExtendedKeyUsagePurpose::ClientAuth
    } else {
        ExtendedKeyUsagePurpose::ServerAuth
    }];
    params.subject_alt_names = urn.map(|urn| SanType::URI(urn.try_into().expect("a URI"))).into_iter().collect();
    params.distinguished_name.push(DnType::CommonName, "forged");
    let certificate = params.signed_by(&key, issuer).expect("a signature");
    (key.serialize_pem(), certificate.pem())
}
