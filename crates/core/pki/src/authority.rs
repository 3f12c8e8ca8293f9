use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc, time::Duration};

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
    CaSigner, PkiError, RotationPlan, RotationStep, RotationTerms, SignWith, SubjectPublicKey, Withdrawal, cas_of,
    issuing::IMPORT_WITHIN, leaf::IDENTITY_URN, name_in_series, newest_ca, signer::signature_algorithm,
};

/// Lifetime of a device certificate unless the operator says otherwise.
pub const DEVICE_LIFETIME_DEFAULT: Duration = DEVICE_LIFETIME_MAX;
/// Longest lifetime of a device certificate (CSA-CRD-09 allows three years).
pub const DEVICE_LIFETIME_MAX: Duration = days(365);
/// Lifetime of the hub's own certificates, and their longest; they renew by themselves.
pub const HUB_LIFETIME_MAX: Duration = days(90);
/// How many names the hub's certificate may carry.
pub const HUB_NAMES_MAX: usize = 64;

pub(crate) const ROOT_LIFETIME: Duration = days(20 * 365);
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

    /// The file that says that it was withdrawn ([`Withdrawal`]).
    #[must_use]
    pub fn withdrawal_file(self) -> String {
        format!("{self}.withdrawn")
    }

    /// The file of the certificate that the root before it has given to this root.
    #[must_use]
    pub fn cross_file(self) -> String {
        format!("{self}.cross.pem")
    }

    /// The file that says from when on this root certifies, in milliseconds since 1970.
    #[must_use]
    pub fn use_file(self) -> String {
        format!("{self}.from")
    }

    /// The file of the list of what this root has withdrawn.
    #[must_use]
    pub fn list_file(self) -> String {
        format!("{self}.crl")
    }
}

impl fmt::Display for CaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name_in_series(self.role.as_str(), self.number))
    }
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
    /// The number of the CA that issued it, among those of its role.
    pub issuer: u32,
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
        issuer: u32,
        key: &SubjectPublicKey,
        validity: Validity,
    ) -> Self {
        Self {
            chain_pem: chain_der.iter().map(to_pem).collect(),
            chain_der,
            serial,
            issuer,
            key: key.hash(),
            not_before: validity.not_before(),
            not_after: validity.not_after(),
        }
    }
}

/// A root: what devices trust.
#[derive(Clone)]
struct Root {
    name: CaName,
    certificate: CertificateDer<'static>,
    not_after: UnixMillis,
    /// Given to it by the root before, for devices that know only that one.
    cross: Option<CertificateDer<'static>>,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The hub's certificate authority at work: the root's certificate, an issuing CA for clients and one for servers.
///
/// The root's own key has no place here: nothing that runs day by day needs it, so it can stay locked or far away.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Those that certified a CA below, and those that are to; the newest last.
    roots: Vec<Root>,
    devices: Ca<CaKey>,
    hub: Ca<CaKey>,
    /// Those that issued to devices before, while leaves of theirs live; the newest first. Without a key for one that was
    /// ended, whose leaves are good and whose lists nobody signs any more.
    former: Vec<Ca<Option<CaKey>>>,
}

#[derive(Clone)]
struct Ca<K> {
    name: CaName,
    certificate: CertificateDer<'static>,
    not_before: UnixMillis,
    not_after: UnixMillis,
    /// The number of its root.
    root: u32,
    withdrawn: Option<Withdrawal>,
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
        let root = Root { name: CaRole::Root.first(), certificate: root, not_after: validity.not_after(), cross: None };
        Ok(Self { roots: vec![root], devices, hub, former: Vec::new() })
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
        let roots = self.roots.iter().map(|root| (root.name, &root.certificate));
        let issuing = [&self.devices, &self.hub].map(|ca| (ca.name, &ca.certificate));
        let former = self.former.iter().map(|ca| (ca.name, &ca.certificate));
        roots.chain(issuing).chain(former).collect()
    }

    /// Takes an authority up again, and checks it: the newest CA of each role, and of those that issued to devices before,
    /// the ones that still have leaves. All are signed by a root that is here, keep to their purpose, and each key belongs to its
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
        let names: Vec<_> = cas_of(CaRole::Root, &mut lookup).collect();
        let mut roots = names.into_iter().map(|name| Root::read(name, &mut lookup)).collect::<Result<Vec<_>, _>>()?;
        let mut issuing = |role| {
            let mut name = newest_ca(role, &mut lookup);
            let mut ca = Ca::read(name, &roots, &mut lookup)?;
            // One that was made while the clock was ahead waits for its time.
            while now < ca.not_before && name.number > 1 {
                name.number -= 1;
                ca = Ca::read(name, &roots, &mut lookup)?;
            }
            let root = roots.iter().find(|root| root.name.number == ca.root);
            root.map_or(Ok(()), |root| root.is_in_time(now))?;
            in_time(name, (ca.not_before, ca.not_after), now)?;
            let missing = PkiError::KeyMismatch { key: name.to_string(), certificate: name.certificate_file() };
            let key = keys(name)?.ok_or(missing)?;
            Ok::<_, E>(ca.with_key(key)?)
        };
        let (devices, hub) = (issuing(CaRole::Devices)?, issuing(CaRole::Hub)?);
        let mut former = Vec::new();
        let mut successor_from = devices.not_before;
        for number in (1..devices.name.number).rev() {
            let ca = Ca::read(CaName { number, ..devices.name }, &roots, &mut lookup)?;
            let not_before = ca.not_before;
            if ca.has_leaves(successor_from, now) {
                let key = keys(ca.name)?;
                former.push(ca.with_key_or_none(key)?);
            }
            successor_from = not_before;
        }
        // A root is let go with the last CA below it; one that has certified none yet is to.
        let of_cas: Vec<_> = [devices.root, hub.root].into_iter().chain(former.iter().map(|ca| ca.root)).collect();
        let newest = devices.root.max(hub.root);
        roots.retain(|root| root.name.number > newest || of_cas.contains(&root.name.number));
        Ok(Self { roots, devices, hub, former })
    }

    /// What clients trust, as `ca.pem` holds it: the root's certificate; those of both, while one root follows another.
    #[must_use]
    pub fn trust_pem(&self) -> String {
        self.roots.iter().map(|root| to_pem(&root.certificate)).collect()
    }

    /// The same in DER, the oldest first.
    #[must_use]
    pub fn roots(&self) -> Vec<CertificateDer<'static>> {
        self.roots.iter().map(|root| root.certificate.clone()).collect()
    }

    /// What the hub sends behind its certificate and that of the CA that issued it, for devices that trust none but an older
    /// root: the certificate that this has given to the newer one.
    #[must_use]
    pub fn cross_certificates(&self) -> Vec<CertificateDer<'static>> {
        let is_older = |root: &Root| self.roots.iter().any(|other| other.name.number < root.name.number);
        let between = self.roots.iter().rev().filter(|root| root.name.number <= self.hub.root && is_older(root));
        between.filter_map(|root| root.cross.clone()).collect()
    }

    /// The CAs that issued to devices and were withdrawn, by their numbers.
    #[must_use]
    pub fn withdrawn(&self) -> BTreeMap<u32, Withdrawal> {
        let present = (self.devices.name.number, self.devices.withdrawn);
        let former = self.former.iter().map(|ca| (ca.name.number, ca.withdrawn));
        [present].into_iter().chain(former).filter_map(|(number, found)| Some((number, found?))).collect()
    }

    /// An issuing CA is withdrawn from now on: it issues nothing more, and is no anchor. Nothing happens for one that is not in
    /// use.
    pub fn withdraw(&mut self, name: CaName, withdrawal: Withdrawal) {
        let issuing = [&mut self.devices, &mut self.hub].map(|ca| (ca.name, &mut ca.withdrawn));
        let former = self.former.iter_mut().map(|ca| (ca.name, &mut ca.withdrawn));
        let found = issuing.into_iter().chain(former).find(|(known, _)| *known == name);
        if let Some((_, withdrawn)) = found {
            *withdrawn = Some(withdrawal);
        }
    }

    /// What the hub trusts client certificates to be signed by: the issuing CAs themselves, the present one first. So one
    /// signature check is enough whether or not the client sends the chain, and a server certificate of the same root has
    /// no way in. Those that were withdrawn are not among them, so there may be none.
    #[must_use]
    pub fn device_anchors(&self) -> Vec<CertificateDer<'static>> {
        let present = (&self.devices.certificate, self.devices.withdrawn);
        let former = self.former.iter().map(|ca| (&ca.certificate, ca.withdrawn));
        let trusted = [present].into_iter().chain(former).filter(|(_, withdrawn)| withdrawn.is_none());
        trusted.map(|(certificate, _)| certificate.clone()).collect()
    }

    /// The name of the issuing CA of a role, or of the root that the hub is known by.
    #[must_use]
    pub fn name_of(&self, role: CaRole) -> CaName {
        self.issuing(role).map_or(CaName { role, number: self.hub.root }, |ca| ca.name)
    }

    /// What is to be done about the issuing CA of a role: its successor follows the moment it has a certificate, because
    /// nobody but the hub has to hear of it first. It is due at once when the CA was withdrawn, or `certifying`, the number of
    /// the root that certifies now, is another than that of its own. `None` where no successor would help: of the root, and
    /// of an issuing CA that lasts as long as the root.
    #[must_use]
    pub fn rotation(&self, role: CaRole, certifying: u32, now: UnixMillis) -> Option<RotationStep> {
        let ca = self.issuing(role)?;
        if ca.withdrawn.is_some() || ca.root < certifying {
            return Some(RotationStep::Introduce);
        }
        if ca.not_after >= self.end_of_root(ca.root) {
            return None;
        }
        // One that lives shorter than two of its leaves would otherwise be followed at once, and so would the next.
        let half_life = ca.not_after.since(ca.not_before) / 2;
        let leaf_lifetime = leaf_lifetime_max(role).min(half_life);
        let terms = RotationTerms { not_after: ca.not_after, leaf_lifetime, overlap: Duration::ZERO };
        Some(RotationPlan::new(terms).step(now, None))
    }

    /// When the issuing CA of a role ends, or the root that the hub is known by.
    #[must_use]
    pub fn end_of(&self, role: CaRole) -> UnixMillis {
        self.issuing(role).map_or(self.end_of_root(self.hub.root), |ca| ca.not_after)
    }

    fn end_of_root(&self, number: u32) -> UnixMillis {
        self.roots.iter().find(|root| root.name.number == number).map_or(UnixMillis(0), |root| root.not_after)
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
    /// [`PkiError::Withdrawn`].
    pub fn device_ca(&self) -> Result<CaSigner<'_>, PkiError> {
        self.devices.expect_trusted()?;
        Ok(CaSigner::new(self.devices.certificate.clone(), &*self.devices.key)?.numbered(self.devices.name.number))
    }

    /// The same, or the CA of this number that issued before, if it has its key and was not withdrawn.
    ///
    /// # Errors
    /// As [`Self::device_ca`].
    pub fn device_ca_of(&self, number: u32) -> Result<CaSigner<'_>, PkiError> {
        let mut former = self.former.iter().filter(|ca| ca.name.number == number && ca.withdrawn.is_none());
        match former.find_map(|ca| Some((&ca.certificate, ca.key.as_ref()?))) {
            Some((certificate, key)) => Ok(CaSigner::new(certificate.clone(), &**key)?.numbered(number)),
            None => self.device_ca(),
        }
    }

    /// All that sign revocation for devices, with their names: the issuing CA first, then its predecessors.
    ///
    /// # Errors
    /// As [`Self::device_ca`].
    pub fn device_cas(&self) -> Result<Vec<(CaName, CaSigner<'_>)>, PkiError> {
        let present = (self.devices.name, &self.devices.certificate, &self.devices.key);
        let former = self.former.iter().filter_map(|ca| Some((ca.name, &ca.certificate, ca.key.as_ref()?)));
        let signers = [present].into_iter().chain(former);
        let signer = |(name, certificate, key): (CaName, &CertificateDer<'static>, _)| {
            let key: &CaKey = key;
            Ok((name, CaSigner::new(certificate.clone(), &**key)?.numbered(name.number)))
        };
        signers.map(signer).collect()
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

    /// The certificate of the root that the hub is known by: its listeners' certificates lead to it.
    #[must_use]
    pub fn root_certificate(&self) -> &CertificateDer<'static> {
        let of_hub = self.roots.iter().find(|root| root.name.number == self.hub.root);
        // That of the hub's CA is always among them: its signature was checked.
        of_hub.map_or(&self.hub.certificate, |root| &root.certificate)
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
        let (not_before, not_after) = (validity.not_before(), validity.not_after());
        Ok(Self { name, certificate, not_before, not_after, root: 1, withdrawn: None, key })
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
        self.expect_trusted()?;
        let validity = Validity::from(now, lifetime).at_most(self.not_after);
        let serial = validity.stamp(&mut params)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &*self.key)?;
        let leaf = CertificateDer::from(params.signed_by(public_key, &issuer)?);
        Ok(Issued::new(vec![leaf, self.certificate.clone()], serial, self.name.number, public_key, validity))
    }

    /// # Errors
    /// [`PkiError::Withdrawn`].
    fn expect_trusted(&self) -> Result<(), PkiError> {
        if self.withdrawn.is_none() { Ok(()) } else { Err(PkiError::Withdrawn { ca: self.name.to_string() }) }
    }
}

impl Root {
    fn read(name: CaName, lookup: &mut impl FnMut(&str) -> Option<Vec<u8>>) -> Result<Self, PkiError> {
        let certificate = read_certificate(name, lookup)?;
        let parsed = parse_ca(name, &certificate)?;
        if !is_signed_by(&parsed, &parsed) {
            return Err(bad_file(name, "it is not signed by itself"));
        }
        let (_, not_after) = span(&parsed);
        let key = parsed.public_key().raw.to_vec();
        drop(parsed);
        let cross = lookup(&name.cross_file()).and_then(|bytes| pem::parse(bytes).ok());
        let cross = cross.map(|pem| CertificateDer::from(pem.into_contents()));
        let cross = cross.filter(|der| is_of_key(der, key.as_ref()));
        Ok(Self { name, certificate, not_after, cross })
    }

    fn is_in_time(&self, now: UnixMillis) -> Result<(), PkiError> {
        in_time(self.name, span(&parse_ca(self.name, &self.certificate)?), now)
    }
}

impl Ca<()> {
    fn read(name: CaName, roots: &[Root], lookup: &mut impl FnMut(&str) -> Option<Vec<u8>>) -> Result<Self, PkiError> {
        let certificate = read_certificate(name, lookup)?;
        let parsed = parse_ca(name, &certificate)?;
        let is_root =
            |root: &&Root| parse_ca(root.name, &root.certificate).is_ok_and(|root| is_signed_by(&parsed, &root));
        let root = roots.iter().find(is_root).ok_or(bad_file(name, "it is not signed by root.pem"))?.name.number;
        let usage = parsed.extended_key_usage().ok().flatten();
        let is_for = |purpose: Purpose| usage.as_ref().is_some_and(|usage| purpose.is_exactly(usage.value));
        if !name.role.purpose().is_some_and(is_for) {
            return Err(bad_file(name, "it is an issuing CA for another purpose"));
        }
        let (not_before, not_after) = span(&parsed);
        drop(parsed);
        let withdrawn = Withdrawal::read(name, lookup)?;
        Ok(Self { name, certificate, not_before, not_after, root, withdrawn, key: () })
    }

    fn holding<K>(self, key: K) -> Ca<K> {
        let Self { name, certificate, not_before, not_after, root, withdrawn, .. } = self;
        Ca { name, certificate, not_before, not_after, root, withdrawn, key }
    }

    fn with_key(self, key: CaKey) -> Result<Ca<CaKey>, PkiError> {
        let name = self.name;
        if key.subject_public_key_info() != parse_ca(name, &self.certificate)?.public_key().raw {
            return Err(PkiError::KeyMismatch { key: name.to_string(), certificate: name.certificate_file() });
        }
        Ok(self.holding(key))
    }

    fn with_key_or_none(self, key: Option<CaKey>) -> Result<Ca<Option<CaKey>>, PkiError> {
        let Some(key) = key else { return Ok(self.holding(None)) };
        let Ca { name, certificate, not_before, not_after, root, withdrawn, key } = self.with_key(key)?;
        Ok(Ca { name, certificate, not_before, not_after, root, withdrawn, key: Some(key) })
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
    // Issuing CAs have only leaves below them; a root has these CAs, and the roots that follow it.
    params.is_ca = IsCa::Ca(issues.map_or(BasicConstraints::Unconstrained, |_| BasicConstraints::Constrained(0)));
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

/// Whether a certificate is for this key.
fn is_of_key(der: &[u8], spki_der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.public_key().raw == spki_der)
}

fn is_signed_by(child: &X509Certificate<'_>, root: &X509Certificate<'_>) -> bool {
    child.issuer().as_raw() == root.subject().as_raw() && child.verify_signature(Some(root.public_key())).is_ok()
}
