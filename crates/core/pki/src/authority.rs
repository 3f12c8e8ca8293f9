use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use portreeve_types::{IdentityId, KeyHash, UnixMillis};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PublicKeyData, SanType, SerialNumber, SigningKey,
};
use rustls_pki_types::{CertificateDer, DnsName};
use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{ExtendedKeyUsage, KeyUsage},
    prelude::FromDer,
};

use crate::{
    CaSigner, PkiError, RotationPlan, RotationStep, RotationTerms, SignWith, SubjectPublicKey, issuing::IMPORT_WITHIN,
    leaf::IDENTITY_URN, signer::signature_algorithm,
};

/// Lifetime of a device certificate unless the operator says otherwise.
pub const DEVICE_LIFETIME_DEFAULT: Duration = DEVICE_LIFETIME_MAX;
/// Longest lifetime of a device certificate (CSA-CRD-09 allows three years).
pub const DEVICE_LIFETIME_MAX: Duration = days(365);
/// Lifetime of the hub's own certificates, and their longest; they renew by themselves.
pub const HUB_LIFETIME_MAX: Duration = days(90);
/// How many names the hub's certificate may carry.
pub const HUB_NAMES_MAX: usize = 64;

const ROOT_LIFETIME: Duration = days(20 * 365);
pub(crate) const ISSUING_LIFETIME: Duration = days(5 * 365);
/// How far a certificate reaches back, for the sake of peers whose clocks are slow.
const BACKDATE_S: u64 = 5 * 60;
/// 126 random bits: more than the 64 that CAs owe, and of one length.
pub(crate) const SERIAL_BYTES: usize = 16;

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 60 * 60)
}

/// What a CA does. The issuing ones are followed by others of the same role in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaRole {
    /// What devices trust. It certifies the other two.
    Root,
    /// Issues to devices, gateways and applications.
    Devices,
    /// Issues to the hub's own listeners.
    Hub,
}

impl CaRole {
    /// All of them, the root first.
    pub const ALL: [Self; 3] = [Self::Root, Self::Devices, Self::Hub];

    /// What it is called.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Devices => "devices",
            Self::Hub => "hub",
        }
    }

    /// Its first one.
    #[must_use]
    pub fn first(self) -> CaName {
        CaName { role: self, number: 1 }
    }

    /// What its leaves are good for; `None` for the root, which has none.
    #[must_use]
    pub fn purpose(self) -> Option<Purpose> {
        match self {
            Self::Root => None,
            Self::Devices => Some(Purpose::Client),
            Self::Hub => Some(Purpose::Server),
        }
    }
}

/// One CA of those that follow one another in a role. Written out it is the name of its key and the stem of its
/// certificate's file: `devices`, `devices-2`, `devices-3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaName {
    /// What it does.
    pub role: CaRole,
    /// The how many-th it is, from 1.
    pub number: u32,
}

impl CaName {
    /// The one that follows.
    #[must_use]
    pub fn successor(self) -> Self {
        Self { number: self.number.saturating_add(1), ..self }
    }

    /// The file of its certificate.
    #[must_use]
    pub fn certificate_file(self) -> String {
        format!("{self}.pem")
    }
}

impl fmt::Display for CaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name_in_series(self.role.as_str(), self.number))
    }
}

/// The newest CA of a role that has a certificate: the one that issues. All before it have one as well. `lookup` finds
/// certificates by their files' names.
pub fn newest_ca(role: CaRole, mut lookup: impl FnMut(&str) -> Option<Vec<u8>>) -> CaName {
    let mut newest = role.first();
    while lookup(&newest.successor().certificate_file()).is_some() {
        newest = newest.successor();
    }
    newest
}

/// What the one of this number is called, in a series that begins with the plain stem: `hub`, `hub-2`, `hub-3`.
#[must_use]
pub fn name_in_series(stem: &str, number: u32) -> String {
    if number <= 1 { stem.to_owned() } else { format!("{stem}-{number}") }
}

/// The number of a name in a series; `None` for one of another series, or spelt otherwise.
#[must_use]
pub fn number_in_series(stem: &str, name: &str) -> Option<u32> {
    let number = match name.strip_prefix(stem)? {
        "" => 1,
        rest => rest.strip_prefix('-')?.parse().ok()?,
    };
    (name_in_series(stem, number) == name).then_some(number)
}

/// A private key that signs, wherever it is kept.
pub type CaKey = Arc<dyn SigningKey + Send + Sync>;

/// The keys that a new authority issues with.
#[derive(Clone)]
pub struct IssuingKeys {
    /// That of [`CaRole::Devices`].
    pub devices: CaKey,
    /// That of [`CaRole::Hub`].
    pub hub: CaKey,
}

impl fmt::Debug for IssuingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuingKeys").finish_non_exhaustive()
    }
}

/// What a leaf, and the CA that issues it, is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Devices, gateways and applications: client authentication.
    Client,
    /// The hub: server authentication.
    Server,
}

impl Purpose {
    /// The CA of this purpose.
    pub(crate) fn issuer(self) -> CaRole {
        match self {
            Self::Client => CaRole::Devices,
            Self::Server => CaRole::Hub,
        }
    }

    pub(crate) fn usage(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Self::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }
    }

    /// Whether an extension grants this purpose and no other.
    pub(crate) fn is_exactly(self, usage: &ExtendedKeyUsage<'_>) -> bool {
        let others = usage.any
            || usage.code_signing
            || usage.email_protection
            || usage.time_stamping
            || usage.ocsp_signing
            || !usage.other.is_empty();
        !others && (usage.client_auth, usage.server_auth) == (self == Self::Client, self == Self::Server)
    }
}

/// A certificate as issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Leaf and issuing CA in PEM, as `cert.pem` holds them.
    pub chain_pem: String,
    /// The same in DER.
    pub chain_der: Vec<CertificateDer<'static>>,
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// Hash of the certified key.
    pub key: KeyHash,
    /// Valid from.
    pub not_before: UnixMillis,
    /// Valid until.
    pub not_after: UnixMillis,
}

impl Issued {
    pub(crate) fn new(
        chain_der: Vec<CertificateDer<'static>>,
        serial: Vec<u8>,
        key: &SubjectPublicKey,
        validity: Validity,
    ) -> Self {
        Self {
            chain_pem: chain_der.iter().map(to_pem).collect(),
            chain_der,
            serial,
            key: key.hash(),
            not_before: validity.not_before(),
            not_after: validity.not_after(),
        }
    }
}

/// The hub's certificate authority at work: the root's certificate, an issuing CA for clients and one for servers.
///
/// The root's own key has no place here: nothing that runs day by day needs it, so it can stay locked or far away.
#[derive(Debug)]
pub struct Authority {
    root: CertificateDer<'static>,
    root_not_after: UnixMillis,
    devices: Ca<CaKey>,
    hub: Ca<CaKey>,
    /// Those that issued to devices before, while leaves of theirs live; the newest first. Without a key for one that was
    /// ended, whose leaves are good and whose lists nobody signs any more.
    former: Vec<Ca<Option<CaKey>>>,
}

struct Ca<K> {
    name: CaName,
    certificate: CertificateDer<'static>,
    not_before: UnixMillis,
    not_after: UnixMillis,
    key: K,
}

impl<K> fmt::Debug for Ca<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, not_after, .. } = self;
        f.debug_struct("Ca").field("name", name).field("not_after", not_after).finish_non_exhaustive()
    }
}

impl Authority {
    /// Certifies a root for its key, and by it the issuing CAs for theirs.
    ///
    /// # Errors
    /// [`PkiError::UnacceptableKey`] for a key off the list, [`PkiError::Time`] for a time beyond the year 9999; what
    /// signing fails with.
    pub fn establish(now: UnixMillis, root_key: SignWith<'_>, keys: IssuingKeys) -> Result<Self, PkiError> {
        for key in [root_key, &*keys.devices, &*keys.hub] {
            signature_algorithm(key)?;
        }
        let validity = Validity::from(now, ROOT_LIFETIME);
        let params = ca_params(CaRole::Root, &root_key, validity, None)?;
        let root = CertificateDer::from(params.self_signed(&root_key)?);
        let issuer = Issuer::from_params(&params, root_key);
        let devices = Ca::create(Purpose::Client, keys.devices, now, &issuer)?;
        let hub = Ca::create(Purpose::Server, keys.hub, now, &issuer)?;
        Ok(Self { root, root_not_after: validity.not_after(), devices, hub, former: Vec::new() })
    }

    /// The same with keys that are in memory and nowhere else: for a test, or a tool that needs a CA for an hour.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when the library has no entropy, [`PkiError::Time`] for a time beyond the year 9999.
    pub fn create(now: UnixMillis) -> Result<Self, PkiError> {
        // The root outlives the others by far, hence the longer key.
        let root = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
        let keys = IssuingKeys { devices: Arc::new(KeyPair::generate()?), hub: Arc::new(KeyPair::generate()?) };
        Self::establish(now, &root, keys)
    }

    /// The certificates in use, to be kept under their files' names: the root's, those of the issuing CAs, and those of
    /// their predecessors whose leaves live.
    #[must_use]
    pub fn certificates(&self) -> Vec<(CaName, &CertificateDer<'static>)> {
        let root = (CaRole::Root.first(), &self.root);
        let issuing = [&self.devices, &self.hub].map(|ca| (ca.name, &ca.certificate));
        let former = self.former.iter().map(|ca| (ca.name, &ca.certificate));
        [root].into_iter().chain(issuing).chain(former).collect()
    }

    /// Takes an authority up again, and checks it: the newest CA of each role, and of those that issued to devices before,
    /// the ones that still have leaves. All are signed by the root, keep to their purpose, and each key belongs to its
    /// certificate; those that issue are in their time. `lookup` finds certificates by their files' names, `keys` the key
    /// of a CA, if there is one.
    ///
    /// # Errors
    /// Each names the file to look at; or what `keys` fails with.
    pub fn open<E: From<PkiError>>(
        now: UnixMillis,
        mut keys: impl FnMut(CaName) -> Result<Option<CaKey>, E>,
        mut lookup: impl FnMut(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, E> {
        let name = CaRole::Root.first();
        let root = read_certificate(name, &mut lookup)?;
        let parsed_root = parse_ca(name, &root)?;
        signed_by(name, &parsed_root, &parsed_root)?;
        let (not_before, root_not_after) = span(&parsed_root);
        in_time(name, (not_before, root_not_after), now)?;
        let mut issuing = |role| {
            let mut name = newest_ca(role, &mut lookup);
            let mut ca = Ca::read(name, &parsed_root, &mut lookup)?;
            // One that was made while the clock was ahead waits for its time.
            while now < ca.not_before && name.number > 1 {
                name.number -= 1;
                ca = Ca::read(name, &parsed_root, &mut lookup)?;
            }
            in_time(name, (ca.not_before, ca.not_after), now)?;
            let missing = PkiError::KeyMismatch { key: name.to_string(), certificate: name.certificate_file() };
            let key = keys(name)?.ok_or(missing)?;
            Ok::<_, E>(ca.with_key(key)?)
        };
        let (devices, hub) = (issuing(CaRole::Devices)?, issuing(CaRole::Hub)?);
        let mut former = Vec::new();
        let mut successor_from = devices.not_before;
        for number in (1..devices.name.number).rev() {
            let ca = Ca::read(CaName { number, ..devices.name }, &parsed_root, &mut lookup)?;
            let not_before = ca.not_before;
            if ca.has_leaves(successor_from, now) {
                let key = keys(ca.name)?;
                former.push(ca.with_key_or_none(key)?);
            }
            successor_from = not_before;
        }
        drop(parsed_root);
        Ok(Self { root, root_not_after, devices, hub, former })
    }

    /// What clients trust, as `ca.pem` holds it: the root certificate.
    #[must_use]
    pub fn trust_pem(&self) -> String {
        to_pem(&self.root)
    }

    /// What the hub trusts client certificates to be signed by: the issuing CAs themselves, the present one first. So one
    /// signature check is enough whether or not the client sends the chain, and a server certificate of the same root has
    /// no way in.
    #[must_use]
    pub fn device_anchors(&self) -> Vec<CertificateDer<'static>> {
        let former = self.former.iter().map(|ca| &ca.certificate);
        [&self.devices.certificate].into_iter().chain(former).cloned().collect()
    }

    /// The name of the issuing CA of a role, or of the root.
    #[must_use]
    pub fn name_of(&self, role: CaRole) -> CaName {
        self.issuing(role).map_or(role.first(), |ca| ca.name)
    }

    /// What is to be done about the issuing CA of a role: its successor follows the moment it has a certificate, because
    /// nobody but the hub has to hear of it first. `None` where no successor would help: of the root, and of an issuing CA
    /// that lasts as long as the root.
    #[must_use]
    pub fn rotation(&self, role: CaRole, now: UnixMillis) -> Option<RotationStep> {
        let ca = self.issuing(role).filter(|ca| ca.not_after < self.root_not_after)?;
        // One that lives shorter than two of its leaves would otherwise be followed at once, and so would the next.
        let half_life = ca.not_after.since(ca.not_before) / 2;
        let leaf_lifetime = leaf_lifetime_max(role).min(half_life);
        let terms = RotationTerms { not_after: ca.not_after, leaf_lifetime, overlap: Duration::ZERO };
        Some(RotationPlan::new(terms).step(now, None))
    }

    /// When the issuing CA of a role ends, or the root.
    #[must_use]
    pub fn end_of(&self, role: CaRole) -> UnixMillis {
        self.issuing(role).map_or(self.root_not_after, |ca| ca.not_after)
    }

    /// Whether the last leaf of a CA that issued to devices before is over, so that the authority is to be opened anew.
    #[must_use]
    pub fn has_outlived(&self, now: UnixMillis) -> bool {
        let mut successor_from = self.devices.not_before;
        self.former.iter().any(|ca| !ca.has_leaves(std::mem::replace(&mut successor_from, ca.not_before), now))
    }

    fn issuing(&self, role: CaRole) -> Option<&Ca<CaKey>> {
        match role {
            CaRole::Root => None,
            CaRole::Devices => Some(&self.devices),
            CaRole::Hub => Some(&self.hub),
        }
    }

    /// When the first of the issuing CAs comes to its end.
    #[must_use]
    pub fn not_after(&self) -> UnixMillis {
        self.devices.not_after.min(self.hub.not_after)
    }

    /// The issuing CA for clients, to issue by profile and to publish revocation.
    ///
    /// # Errors
    /// None for an authority that was created or read by this crate.
    pub fn device_ca(&self) -> Result<CaSigner<'_>, PkiError> {
        CaSigner::new(self.devices.certificate.clone(), &*self.devices.key)
    }

    /// All that sign revocation for devices, with their names: the issuing CA first, then its predecessors.
    ///
    /// # Errors
    /// As [`Self::device_ca`].
    pub fn device_cas(&self) -> Result<Vec<(CaName, CaSigner<'_>)>, PkiError> {
        let present = (self.devices.name, &self.devices.certificate, &self.devices.key);
        let former = self.former.iter().filter_map(|ca| Some((ca.name, &ca.certificate, ca.key.as_ref()?)));
        let signers = [present].into_iter().chain(former);
        signers.map(|(name, certificate, key)| Ok((name, CaSigner::new(certificate.clone(), &**key)?))).collect()
    }

    /// The issuing CA for the hub's own certificates.
    ///
    /// # Errors
    /// As [`Self::device_ca`].
    pub fn hub_ca(&self) -> Result<CaSigner<'_>, PkiError> {
        CaSigner::new(self.hub.certificate.clone(), &*self.hub.key)
    }

    /// The certificate of the issuing CA for the hub.
    #[must_use]
    pub fn hub_certificate(&self) -> &CertificateDer<'static> {
        &self.hub.certificate
    }

    /// The root certificate.
    #[must_use]
    pub fn root_certificate(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// Certifies a key for a registered identity of any kind: client authentication and nothing else.
    ///
    /// The certificate never outlives the issuing CA, so it may end sooner than asked for.
    ///
    /// # Errors
    /// [`PkiError::Lifetime`] beyond [`DEVICE_LIFETIME_MAX`]; [`PkiError::Expired`] at the CA's end.
    pub fn issue_device(
        &self,
        id: IdentityId,
        public_key: &SubjectPublicKey,
        now: UnixMillis,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        check_lifetime(lifetime, DEVICE_LIFETIME_MAX)?;
        let urn = SanType::URI(format!("{IDENTITY_URN}{id}").try_into()?);
        let params = leaf_params(&id.to_string(), vec![urn], Purpose::Client);
        self.devices.issue(params, public_key, now, lifetime)
    }

    /// Certifies a key for the hub's own listeners under these DNS names and IP addresses (CSA-CLS-01).
    ///
    /// # Errors
    /// As [`Self::issue_device`], with [`HUB_LIFETIME_MAX`]; and for names that are none.
    pub fn issue_hub(
        &self,
        names: &[String],
        public_key: &SubjectPublicKey,
        now: UnixMillis,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        check_lifetime(lifetime, HUB_LIFETIME_MAX)?;
        if names.is_empty() || names.len() > HUB_NAMES_MAX {
            return Err(PkiError::NameCount { given: names.len(), max: HUB_NAMES_MAX });
        }
        let names = names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
        self.hub.issue(leaf_params("Portreeve hub", names, Purpose::Server), public_key, now, lifetime)
    }
}

impl Ca<CaKey> {
    fn create(
        purpose: Purpose,
        key: CaKey,
        now: UnixMillis,
        root: &Issuer<'_, impl SigningKey>,
    ) -> Result<Self, PkiError> {
        let validity = Validity::from(now, ISSUING_LIFETIME);
        let name = purpose.issuer().first();
        let params = ca_params(name.role, &&*key, validity, Some(purpose))?;
        let certificate = params.signed_by(&&*key, root)?.into();
        Ok(Self { name, certificate, not_before: validity.not_before(), not_after: validity.not_after(), key })
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        public_key: &SubjectPublicKey,
        now: UnixMillis,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        if now >= self.not_after {
            return Err(PkiError::Expired { file: self.name.certificate_file() });
        }
        let validity = Validity::from(now, lifetime).at_most(self.not_after);
        let serial = validity.stamp(&mut params)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &*self.key)?;
        let leaf = CertificateDer::from(params.signed_by(public_key, &issuer)?);
        Ok(Issued::new(vec![leaf, self.certificate.clone()], serial, public_key, validity))
    }
}

impl Ca<()> {
    fn read(
        name: CaName,
        root: &X509Certificate<'_>,
        lookup: &mut impl FnMut(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, PkiError> {
        let certificate = read_certificate(name, lookup)?;
        let parsed = parse_ca(name, &certificate)?;
        signed_by(name, &parsed, root)?;
        let usage = parsed.extended_key_usage().ok().flatten();
        let is_for = |purpose: Purpose| usage.as_ref().is_some_and(|usage| purpose.is_exactly(usage.value));
        if !name.role.purpose().is_some_and(is_for) {
            return Err(bad_file(name, "it is an issuing CA for another purpose"));
        }
        let (not_before, not_after) = span(&parsed);
        drop(parsed);
        Ok(Self { name, certificate, not_before, not_after, key: () })
    }

    fn with_key(self, key: CaKey) -> Result<Ca<CaKey>, PkiError> {
        let Self { name, certificate, not_before, not_after, .. } = self;
        if key.subject_public_key_info() != parse_ca(name, &certificate)?.public_key().raw {
            return Err(PkiError::KeyMismatch { key: name.to_string(), certificate: name.certificate_file() });
        }
        Ok(Ca { name, certificate, not_before, not_after, key })
    }

    fn with_key_or_none(self, key: Option<CaKey>) -> Result<Ca<Option<CaKey>>, PkiError> {
        let Some(key) = key else {
            let Self { name, certificate, not_before, not_after, .. } = self;
            return Ok(Ca { name, certificate, not_before, not_after, key: None });
        };
        let Ca { name, certificate, not_before, not_after, key } = self.with_key(key)?;
        Ok(Ca { name, certificate, not_before, not_after, key: Some(key) })
    }
}

impl<K> Ca<K> {
    /// Whether leaves of it may live, given from when its successor is valid: that one took over at once, or was signed
    /// elsewhere and taken not much later.
    fn has_leaves(&self, successor_from: UnixMillis, now: UnixMillis) -> bool {
        let leaf_lifetime = leaf_lifetime_max(self.name.role);
        let plan =
            RotationPlan::new(RotationTerms { not_after: self.not_after, leaf_lifetime, overlap: Duration::ZERO });
        plan.step(now, Some(successor_from.plus(IMPORT_WITHIN))).old_is_trusted()
    }
}

/// How long leaves of an issuing CA live at most.
fn leaf_lifetime_max(role: CaRole) -> Duration {
    if role == CaRole::Hub { HUB_LIFETIME_MAX } else { DEVICE_LIFETIME_MAX }
}

/// The span of a certificate, in whole seconds as X.509 has them.
#[derive(Clone, Copy)]
pub(crate) struct Validity {
    not_before_s: u64,
    not_after_s: u64,
}

impl Validity {
    pub(crate) fn from(now: UnixMillis, lifetime: Duration) -> Self {
        Self { not_before_s: now.seconds().saturating_sub(BACKDATE_S), not_after_s: now.plus(lifetime).seconds() }
    }

    pub(crate) fn between(not_before: UnixMillis, not_after: UnixMillis) -> Self {
        Self { not_before_s: not_before.seconds(), not_after_s: not_after.seconds() }
    }

    pub(crate) fn at_most(self, end: UnixMillis) -> Self {
        Self { not_after_s: self.not_after_s.min(end.seconds()), ..self }
    }

    pub(crate) fn not_before(self) -> UnixMillis {
        UnixMillis(self.not_before_s * 1000)
    }

    pub(crate) fn not_after(self) -> UnixMillis {
        UnixMillis(self.not_after_s * 1000)
    }

    /// Writes the span and a fresh serial number, which is returned, into a certificate to be.
    pub(crate) fn stamp(self, params: &mut CertificateParams) -> Result<Vec<u8>, PkiError> {
        params.not_before = date(self.not_before_s)?;
        params.not_after = date(self.not_after_s)?;
        let serial = random_serial()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        Ok(serial)
    }
}

/// A fresh serial number: positive, and without a leading zero.
pub(crate) fn random_serial() -> Result<Vec<u8>, PkiError> {
    let mut serial = vec![0; SERIAL_BYTES];
    aws_lc_rs::rand::fill(&mut serial)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

pub(crate) fn ca_params(
    role: CaRole,
    key: &impl PublicKeyData,
    validity: Validity,
    issues: Option<Purpose>,
) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = ca_name(role, key);
    // The root may have issuing CAs below it, these only leaves.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(u8::from(issues.is_none())));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = issues.map(Purpose::usage).into_iter().collect();
    params.use_authority_key_identifier_extension = true;
    validity.stamp(&mut params)?;
    Ok(params)
}

/// The name of a CA, which tells two generations apart and says nothing about the owner.
pub(crate) fn ca_name(role: CaRole, key: &impl PublicKeyData) -> DistinguishedName {
    let key_id = CertificateParams::default().key_identifier(key);
    let key_id: String = key_id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    common_name(&format!("Portreeve {} {key_id}", role.as_str()))
}

pub(crate) fn leaf_params(name: &str, alternative_names: Vec<SanType>, purpose: Purpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.subject_alt_names = alternative_names;
    // Explicit, because the library adds the subject key identifier only then.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose.usage()];
    params.use_authority_key_identifier_extension = true;
    params
}

pub(crate) fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

pub(crate) fn server_name(text: &str) -> Result<SanType, PkiError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let bad = || PkiError::BadName(text.chars().take(80).collect());
    let name = DnsName::try_from(text).map_err(|_| bad())?;
    Ok(SanType::DnsName(name.as_ref().to_ascii_lowercase().try_into().map_err(|_| bad())?))
}

pub(crate) fn check_lifetime(given: Duration, max: Duration) -> Result<(), PkiError> {
    if given < Duration::from_secs(1) || given > max {
        return Err(PkiError::Lifetime { given, max });
    }
    Ok(())
}

fn date(seconds: u64) -> Result<OffsetDateTime, PkiError> {
    let seconds = i64::try_from(seconds).map_err(|_| PkiError::Time)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| PkiError::Time)
}

/// Seconds since 1970 of a time in a certificate; earlier ones count as 1970.
pub(crate) fn timestamp(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or_default()
}

/// A certificate in PEM, as all files here hold it.
#[must_use]
pub fn to_pem(der: &CertificateDer<'_>) -> String {
    let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der.to_vec()), unix)
}

fn bad_file(name: CaName, reason: &'static str) -> PkiError {
    PkiError::BadFile { file: name.certificate_file(), reason }
}

fn read_certificate(
    name: CaName,
    lookup: &mut impl FnMut(&str) -> Option<Vec<u8>>,
) -> Result<CertificateDer<'static>, PkiError> {
    let file = name.certificate_file();
    let Some(bytes) = lookup(&file) else { return Err(PkiError::Missing { file }) };
    let pem = pem::parse(&bytes).map_err(|_| bad_file(name, "it is not valid PEM"))?;
    if pem.tag() != "CERTIFICATE" {
        return Err(bad_file(name, "its PEM block is not a certificate"));
    }
    Ok(pem.into_contents().into())
}

/// Parses one of our CA certificates, which must be one, with an acceptable key.
fn parse_ca(name: CaName, der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    let bad = |reason| bad_file(name, reason);
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| bad("it does not hold an X.509 certificate"))?;
    let may_sign = certificate.key_usage().ok().flatten().is_some_and(|usage| KeyUsage::key_cert_sign(usage.value));
    if !rest.is_empty() || !certificate.is_ca() || !may_sign {
        return Err(bad("it is not the certificate of a CA"));
    }
    SubjectPublicKey::from_spki_der(certificate.public_key().raw).map_err(|_| bad("its key is not acceptable"))?;
    Ok(certificate)
}

/// From when until when a certificate is valid.
fn span(certificate: &X509Certificate<'_>) -> (UnixMillis, UnixMillis) {
    let at = |seconds: i64| UnixMillis(timestamp(seconds).saturating_mul(1000));
    let validity = certificate.validity();
    (at(validity.not_before.timestamp()), at(validity.not_after.timestamp()))
}

fn in_time(name: CaName, (not_before, not_after): (UnixMillis, UnixMillis), now: UnixMillis) -> Result<(), PkiError> {
    if now < not_before {
        return Err(PkiError::NotYetValid { file: name.certificate_file() });
    }
    if now >= not_after {
        return Err(PkiError::Expired { file: name.certificate_file() });
    }
    Ok(())
}

fn signed_by(name: CaName, child: &X509Certificate<'_>, root: &X509Certificate<'_>) -> Result<(), PkiError> {
    let signed =
        child.issuer().as_raw() == root.subject().as_raw() && child.verify_signature(Some(root.public_key())).is_ok();
    if signed { Ok(()) } else { Err(bad_file(name, "it is not signed by root.pem")) }
}
