//! Enrolment groups: devices that nobody registers one by one, because somebody vouches for them (CSA-CRD-04).
//!
//! A maker does so with a certificate in each device, or with a signed list of serial numbers and keys; or, of a device
//! with a TPM, the maker of that, or a list of endorsement keys. A group says whom
//! to believe, how its devices are named, and whether an operator has to consent to each.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use portreeve_events::{Event, Kind as EventKind};
use portreeve_pki::{
    ACTIVATION_KEY_BYTES, ACTIVATION_LIFETIME, Activation, ActivationKey, AllowList, Csr, EndorsementIdentity, KeyKind,
    MAKER_ANCHORS_MAX, Maker, MakerIdentity, NameFacts, NameTemplate, RevocationListFacts, ShownEndorsement,
    SubjectPublicKey, TPM_ANCHORS_MAX, TpmMaker, audit_endorsement_key, revocation_list_facts,
};
use portreeve_store::RegistryOp;
use portreeve_types::{IdentityName, KeyHash, Kind, UnixMillis};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Why;
use crate::{
    Actor, AdminError, Hub,
    registry::{Newcomer, Voucher},
};

/// Where they lie among the registry's blobs; behind it stands the name.
const PREFIX: &str = "enrolment-group/";
/// A certificate is shown to one maker after the other.
const GROUPS_MAX: usize = 64;
/// Keys that may sign a group's allow-lists.
const SIGNERS_MAX: usize = 8;

/// An enrolment group as an operator describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSettings {
    /// Its name.
    pub name: IdentityName,
    /// How its devices are named, such as `pump-{serial}`.
    pub names: String,
    /// What its devices are.
    pub kind: Kind,
    /// The group that policies refer to.
    #[serde(default)]
    pub group: String,
    /// Whether an operator has to consent to each device.
    #[serde(default)]
    pub approval: bool,
    /// Who vouches for them.
    pub proof: ProofSettings,
}

impl fmt::Display for GroupSettings {
    /// Everything that somebody who has to consent must know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, kind, group, approval, proof, .. } = self;
        let (who, pem_text) = match proof {
            ProofSettings::Maker { anchors_pem, .. } => ("certificates below the CA", anchors_pem),
            ProofSettings::List { signers_pem, tpm: false, .. } => ("lists signed by the key", signers_pem),
            ProofSettings::List { signers_pem, tpm: true, .. } => ("lists of TPMs signed by the key", signers_pem),
            ProofSettings::Tpm { anchors_pem, .. } => ("TPMs certified below the CA", anchors_pem),
        };
        write!(
            f,
            "{kind}s named {names} in group `{group}`, {}, by {who}",
            if *approval { "each with consent" } else { "without further consent" }
        )?;
        for block in pem::parse_many(pem_text).unwrap_or_default() {
            write!(f, " SHA-256 {}", hex::encode(digest(&SHA256, block.contents())))?;
        }
        Ok(())
    }
}

/// Who vouches for the devices of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProofSettings {
    /// A maker, with a certificate in each.
    Maker {
        /// The maker's CAs, PEM.
        anchors_pem: String,
        /// What the maker has revoked: lists in PEM, one of every CA that issues to devices, or none at all.
        #[serde(default)]
        crls_pem: String,
    },
    /// Somebody who signs a list of serial numbers and keys.
    List {
        /// The keys that may sign it, PEM.
        signers_pem: String,
        /// The newest list, a JWS.
        #[serde(default)]
        list: Option<String>,
        /// Whether the keys on the list are endorsement keys of TPMs, rather than the devices' own.
        #[serde(default)]
        tpm: bool,
    },
    /// Makers of TPMs, with a certificate of each endorsement key.
    Tpm {
        /// Their CAs, PEM: also those between an endorsement key's certificate and a root.
        anchors_pem: String,
        /// What these have revoked: lists in PEM, one of every CA that signs for endorsement keys, or none at all.
        #[serde(default)]
        crls_pem: String,
    },
}

impl ProofSettings {
    /// What its CAs have revoked; none where it goes by no CA.
    fn lists(&self) -> Result<Vec<RevocationListFacts>, String> {
        match self {
            Self::Maker { anchors_pem, crls_pem } => lists_of(anchors_pem, crls_pem, MAKER_ANCHORS_MAX),
            Self::Tpm { anchors_pem, crls_pem } => lists_of(anchors_pem, crls_pem, TPM_ANCHORS_MAX),
            Self::List { .. } => Ok(Vec::new()),
        }
    }
}

/// A group in use.
#[derive(Debug)]
struct Group {
    settings: GroupSettings,
    proof: Proof,
}

#[derive(Debug)]
enum Proof {
    Maker(Box<Maker>),
    List { names: NameTemplate, list: Option<AllowList> },
    Tpm { names: NameTemplate, vouches: TpmVoucher, activations: Box<ActivationKey> },
}

/// By what a TPM is known. Every reading of a group has an [`ActivationKey`] of its own: whatever changes of a group, nobody
/// comes in by what was promised before.
#[derive(Debug)]
enum TpmVoucher {
    Maker(Box<TpmMaker>),
    List(Option<AllowList>),
}

/// All groups.
#[derive(Default)]
pub(crate) struct Groups {
    all: ArcSwap<Vec<Arc<Group>>>,
    change: Mutex<()>,
}

/// A device that somebody vouches for.
#[derive(Debug)]
pub(super) struct Vouched {
    pub(super) newcomer: Newcomer,
    pub(super) needs_approval: bool,
    /// What its request may call it beside its name.
    pub(super) serial: String,
}

/// What the holder of a TPM gets, if it has it.
pub(super) struct Promise {
    /// The endorsement key.
    pub(super) spki_der: Vec<u8>,
    /// For the device to bring back, with the secret.
    pub(super) activation: String,
    pub(super) secret: Zeroizing<Vec<u8>>,
}

impl Group {
    /// `now` is `None` for what was taken before: a list whose time is over admits nobody, and its edition still counts.
    fn read(settings: GroupSettings, now: Option<UnixMillis>, known: Option<u64>) -> Result<Self, String> {
        if now.is_some() {
            settings.proof.lists()?;
        }
        let names: NameTemplate = settings.names.parse().map_err(|error| format!("the names: {error}"))?;
        let proof = match &settings.proof {
            ProofSettings::Maker { anchors_pem, crls_pem } => {
                let (anchors, lists) = authorities(anchors_pem, crls_pem, MAKER_ANCHORS_MAX)?;
                let lists: Vec<&[u8]> = lists.iter().map(Vec::as_slice).collect();
                Proof::Maker(Box::new(Maker::new(&anchors, &lists, names).map_err(|error| error.to_string())?))
            }
            ProofSettings::Tpm { anchors_pem, crls_pem } => {
                let (anchors, lists) = authorities(anchors_pem, crls_pem, TPM_ANCHORS_MAX)?;
                let lists: Vec<&[u8]> = lists.iter().map(Vec::as_slice).collect();
                let maker = TpmMaker::new(&anchors, &lists).map_err(|error| error.to_string())?;
                Proof::tpm(names, TpmVoucher::Maker(Box::new(maker)))?
            }
            ProofSettings::List { signers_pem, list, tpm } => {
                let signers: Vec<SubjectPublicKey> = blocks(signers_pem, "PUBLIC KEY", SIGNERS_MAX)?
                    .iter()
                    .map(|spki| SubjectPublicKey::from_spki_der(spki).map_err(|error| format!("a signer: {error}")))
                    .collect::<Result<_, _>>()?;
                if signers.is_empty() {
                    return Err("no public key that may sign the list was given".into());
                }
                let open = |text: &String| match now {
                    Some(now) => AllowList::open(text.as_bytes(), &signers, known, now),
                    None => AllowList::reopen(text.as_bytes(), &signers),
                };
                let list = list.as_ref().map(open).transpose().map_err(|error| format!("the list: {error}"))?;
                if *tpm { Proof::tpm(names, TpmVoucher::List(list))? } else { Proof::List { names, list } }
            }
        };
        Ok(Self { settings, proof })
    }

    fn stored(bytes: &[u8]) -> Result<Self, String> {
        let settings: GroupSettings = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        Self::read(settings, None, None)
    }

    fn vouched(&self, name: IdentityName, serial: &str, key: KeyHash) -> Vouched {
        let Self { settings, .. } = self;
        let voucher = Voucher { group: settings.name.clone(), serial: serial.to_owned(), key };
        let newcomer = Newcomer { name, kind: settings.kind, group: settings.group.clone(), voucher };
        Vouched { newcomer, needs_approval: settings.approval, serial: serial.to_owned() }
    }

    fn to_json(&self) -> Value {
        let GroupSettings { name, names, kind, group, approval, .. } = &self.settings;
        let mut row =
            json!({ "name": name, "names": names, "kind": kind.as_str(), "group": group, "approval": approval });
        match &self.proof {
            Proof::Maker(maker) => {
                row["proof"] = json!("manufacturer certificate");
                row["detail"] = json!(maker.to_string());
            }
            Proof::List { list, .. } => {
                row["proof"] = json!("signed allow-list");
                tell_list(&mut row, list.as_ref());
            }
            Proof::Tpm { vouches: TpmVoucher::Maker(maker), .. } => {
                row["proof"] = json!("TPM endorsement key, certified");
                row["detail"] = json!(maker.to_string());
            }
            Proof::Tpm { vouches: TpmVoucher::List(list), .. } => {
                row["proof"] = json!("TPM endorsement key, on a signed allow-list");
                tell_list(&mut row, list.as_ref());
            }
        }
        row
    }
}

impl Proof {
    fn tpm(names: NameTemplate, vouches: TpmVoucher) -> Result<Self, String> {
        let mut entropy = Zeroizing::new([0; ACTIVATION_KEY_BYTES]);
        aws_lc_rs::rand::fill(&mut *entropy).map_err(|_| "there is no entropy")?;
        Ok(Self::Tpm { names, vouches, activations: Box::new(ActivationKey::new(&entropy)) })
    }

    /// The signed list that it goes by; `None` where it goes by none.
    fn list(&self) -> Option<Option<&AllowList>> {
        match self {
            Self::List { list, .. } | Self::Tpm { vouches: TpmVoucher::List(list), .. } => Some(list.as_ref()),
            Self::Maker(_) | Self::Tpm { .. } => None,
        }
    }
}

fn tell_list(row: &mut Value, list: Option<&AllowList>) {
    row["detail"] = match list {
        Some(list) => json!(format!("version {}, {} devices", list.version, list.len())),
        None => json!("no list yet"),
    };
    row["expires_ms"] = json!(list.map(|list| list.expires.0));
}

/// Whose these lists are. Each is signed by one of the CAs, and none takes the place of another: of two editions of one list
/// the older could be the one that is asked.
fn lists_of(anchors_pem: &str, crls_pem: &str, most: usize) -> Result<Vec<RevocationListFacts>, String> {
    let (anchors, lists) = authorities(anchors_pem, crls_pem, most)?;
    let mut all: Vec<RevocationListFacts> = Vec::new();
    for der in &lists {
        let unsigned = "a revocation list is none, or is signed by none of the CAs that were given";
        let list = revocation_list_facts(der, &anchors).ok_or(unsigned)?;
        if all.iter().any(|other| other.is_edition_of(&list)) {
            return Err("two editions of one revocation list were given; only the newest counts".into());
        }
        all.push(list);
    }
    Ok(all)
}

/// Lists only ever get newer: of each that there was there has to be one, and none that is older. Else who is revoked could be
/// let in again.
fn expect_newer(kept: &[RevocationListFacts], given: &[RevocationListFacts]) -> Result<(), String> {
    for kept in kept {
        let Some(edition) = given.iter().find(|given| given.is_edition_of(kept)) else {
            return Err("a CA that had a revocation list has none among these; remove the group to go without".into());
        };
        if edition.this_update < kept.this_update {
            return Err("a revocation list is older than the one that is in force".into());
        }
    }
    Ok(())
}

/// CAs and lists of what they have revoked, at most so many of each.
fn authorities(
    anchors_pem: &str,
    crls_pem: &str,
    most: usize,
) -> Result<(Vec<CertificateDer<'static>>, Vec<Vec<u8>>), String> {
    let anchors = blocks(anchors_pem, "CERTIFICATE", most)?.into_iter().map(CertificateDer::from);
    Ok((anchors.collect(), blocks(crls_pem, "X509 CRL", most)?))
}

/// The contents of all PEM blocks of a kind; another kind, what is no PEM, and more than `most` are refused.
fn blocks(pem_text: &str, tag: &str, most: usize) -> Result<Vec<Vec<u8>>, String> {
    let read = pem::parse_many(pem_text).map_err(|error| format!("not PEM: {error}"))?;
    if let Some(other) = read.iter().find(|block| block.tag() != tag) {
        return Err(format!("PEM of a {tag} is expected, and {} was given", other.tag()));
    }
    if read.len() > most {
        return Err(format!("at most {most} of a {tag} may be given"));
    }
    Ok(read.into_iter().map(pem::Pem::into_contents).collect())
}

impl Groups {
    /// Those that were stored.
    pub(crate) fn resume(blobs: &[(String, Vec<u8>)]) -> Self {
        let stored = blobs.iter().filter_map(|(name, bytes)| {
            let name = name.strip_prefix(PREFIX)?;
            let told = |error: &String| tracing::error!(group = name, error, "a stored enrolment group cannot be used");
            Group::stored(bytes).inspect_err(told).ok().map(Arc::new)
        });
        Self { all: ArcSwap::from_pointee(stored.collect()), change: Mutex::default() }
    }

    /// Whether anybody may ask for a certificate without showing anything but a request.
    pub(crate) fn has_lists(&self) -> bool {
        self.all.load().iter().any(|group| matches!(group.proof, Proof::List { list: Some(_), .. }))
    }

    /// Whose device shows this chain.
    pub(super) fn by_chain(
        &self,
        chain: &[CertificateDer<'_>],
        keys: &[KeyKind],
        now: UnixMillis,
    ) -> Result<Vouched, Why> {
        let mut refusal = None;
        for group in self.all.load().iter() {
            let Proof::Maker(maker) = &group.proof else { continue };
            match maker.identify(chain, keys, now) {
                Ok(MakerIdentity { name, serial, key }) => return Ok(group.vouched(name, &serial, key)),
                // The maker whose it is knows better what is wrong than those whose it is not.
                Err(why @ portreeve_pki::MakerRefusal::OtherMaker) => drop(refusal.get_or_insert(why)),
                Err(why) => refusal = Some(why),
            }
        }
        Err(refusal.map_or(Why::NobodyVouches, Why::Maker))
    }

    /// Whose list has the serial number and the key of this request.
    pub(super) fn by_request(&self, csr: &Csr, now: UnixMillis) -> Result<Vouched, Why> {
        let serial = csr.serial_number.as_deref().ok_or(Why::NoSerial)?;
        let key = csr.key.hash();
        let mut refusal = None;
        for group in self.all.load().iter() {
            let Proof::List { names, list: Some(list), .. } = &group.proof else { continue };
            match list.admit(serial, &key, now) {
                Ok(()) => {
                    let name = names.name(&NameFacts { serial: Some(serial), common_name: None, key })?;
                    return Ok(group.vouched(name, serial, key));
                }
                Err(why @ portreeve_pki::AdmissionRefusal::UnknownSerial) => drop(refusal.get_or_insert(why)),
                Err(why) => refusal = Some(why),
            }
        }
        Err(refusal.map_or(Why::NobodyVouches, Why::List))
    }

    /// Who vouches for the TPM of a question, and what is promised if it answers for this key.
    pub(super) fn promise(
        &self,
        endorsement: &ShownEndorsement,
        key: KeyHash,
        now: UnixMillis,
    ) -> Result<Promise, Why> {
        let mut refusal = None;
        for group in self.all.load().iter() {
            let Proof::Tpm { vouches, activations, .. } = &group.proof else { continue };
            match vouches.identify(endorsement, now) {
                Ok(EndorsementIdentity { serial, spki_der, key: endorsement }) => {
                    let expires = now.plus(ACTIVATION_LIFETIME);
                    let (activation, secret) = activations.make(&Activation { expires, endorsement, key, serial });
                    return Ok(Promise { spki_der, activation, secret });
                }
                // Whose it is knows better what is wrong than those whose it is not.
                Err(why) if why.is_of_others() => drop(refusal.get_or_insert(why)),
                Err(why) => refusal = Some(why),
            }
        }
        Err(refusal.unwrap_or(Why::NobodyVouches))
    }

    /// The device to which a group has made this promise, and the key that it was made for.
    pub(super) fn by_token(&self, token: &str, now: UnixMillis) -> Result<(Vouched, KeyHash), Why> {
        for group in self.all.load().iter() {
            let Proof::Tpm { names, activations, .. } = &group.proof else { continue };
            let Some(Activation { endorsement, key, serial, .. }) = activations.open(token, now) else { continue };
            let name = names.name(&NameFacts { serial: Some(&serial), common_name: None, key: endorsement })?;
            return Ok((group.vouched(name, &serial, endorsement), key));
        }
        Err(Why::NoActivation)
    }
}

impl TpmVoucher {
    fn identify(&self, endorsement: &ShownEndorsement, now: UnixMillis) -> Result<EndorsementIdentity, Why> {
        match (self, endorsement) {
            (Self::Maker(maker), ShownEndorsement::Certificate(der)) => {
                maker.identify(&CertificateDer::from(der.as_slice()), now).map_err(Why::Maker)
            }
            (Self::List(Some(list)), ShownEndorsement::Listed { serial, spki_der }) => {
                let key = audit_endorsement_key(spki_der).map_err(Why::Endorsement)?;
                list.admit(serial, &key, now).map_err(Why::List)?;
                Ok(EndorsementIdentity { serial: serial.clone(), spki_der: spki_der.clone(), key })
            }
            _ => Err(Why::NobodyVouches),
        }
    }
}

impl Hub {
    /// Whether a request alone may be enough: somebody has signed a list of devices.
    #[must_use]
    pub fn has_allow_lists(&self) -> bool {
        self.groups.has_lists()
    }

    pub(crate) fn group_add(
        &self,
        actor: &Actor,
        settings: GroupSettings,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        let _change = self.groups.change.lock();
        let all = self.groups.all.load_full();
        if all.iter().any(|group| group.settings.name == settings.name) {
            let text = format!("there is an enrolment group `{}` already; remove it first", settings.name);
            return Err(AdminError::Refused(text));
        }
        if all.len() >= GROUPS_MAX {
            return Err(AdminError::Refused(format!(
                "there are {GROUPS_MAX} enrolment groups, and no more are possible"
            )));
        }
        let group = Group::read(settings, Some(now), None).map_err(AdminError::Invalid)?;
        self.keep_group(actor, group, "added")
    }

    /// Replaces what a maker has revoked.
    pub(crate) fn group_crls(
        &self,
        actor: &Actor,
        name: &IdentityName,
        crls_pem: String,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        let _change = self.groups.change.lock();
        let mut settings = self.group(name)?.settings.clone();
        let kept = settings.proof.lists().map_err(AdminError::Refused)?;
        let (ProofSettings::Maker { crls_pem: text, .. } | ProofSettings::Tpm { crls_pem: text, .. }) =
            &mut settings.proof
        else {
            return Err(AdminError::Refused(format!("`{name}` goes by a list, not by a maker's certificates")));
        };
        *text = crls_pem;
        let given = settings.proof.lists().map_err(AdminError::Invalid)?;
        expect_newer(&kept, &given).map_err(AdminError::Refused)?;
        let group = Group::read(settings, Some(now), None).map_err(AdminError::Invalid)?;
        self.keep_group(actor, group, "revocation lists replaced")
    }

    /// Takes a newer edition of a group's list.
    pub(crate) fn group_list(
        &self,
        actor: &Actor,
        name: &IdentityName,
        document: &str,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        let _change = self.groups.change.lock();
        let group = self.group(name)?;
        let Some(list) = group.proof.list() else {
            return Err(AdminError::Refused(format!("`{name}` goes by a maker's certificates, not by a list")));
        };
        let known = list.map(|list| list.version);
        let mut settings = group.settings.clone();
        if let ProofSettings::List { list, .. } = &mut settings.proof {
            *list = Some(document.trim().to_owned());
        }
        let group = Group::read(settings, Some(now), known).map_err(AdminError::Invalid)?;
        self.keep_group(actor, group, "list replaced")
    }

    /// Nobody is vouched for by this group any more. The devices that it brought stay.
    pub(crate) fn group_remove(&self, actor: &Actor, name: &IdentityName) -> Result<Value, AdminError> {
        let _change = self.groups.change.lock();
        let removed = self.group(name)?;
        self.registry.put_blobs(&[RegistryOp::DeleteBlob { name: format!("{PREFIX}{name}") }])?;
        let others = self.groups.all.load().iter().filter(|group| !Arc::ptr_eq(group, &removed)).cloned().collect();
        self.groups.all.store(Arc::new(others));
        self.tell_of_group(actor, name, "removed");
        Ok(json!({ "name": name, "removed": true }))
    }

    /// Every rule by which certificates are issued, with what has to be shown (CSA-CRD-08).
    pub(crate) fn enrolment_rules(&self) -> Value {
        let config = self.config();
        let rule = |rule: &str, proof: &str, gives: &str, approval: bool| json!({ "rule": rule, "proof": proof, "gives": gives, "approval": approval });
        let mut rules = vec![
            rule(
                "bundle",
                "an operator's word",
                "a registered name its first certificate, with a key made here",
                false,
            ),
            rule(
                "code",
                "one-time code",
                "a registered name its first or next certificate",
                config.enrolment.code_approval,
            ),
            rule("renewal", "certificate in force", "its holder the next, once", false),
        ];
        for group in self.groups.all.load().iter() {
            let row = group.to_json();
            let gives = format!("a device its certificate, as {}", group.settings.names);
            let proof = row["proof"].as_str().unwrap_or_default();
            rules.push(rule(&format!("group {}", group.settings.name), proof, &gives, group.settings.approval));
        }
        rules.into()
    }

    pub(crate) fn groups(&self) -> Value {
        self.groups.all.load().iter().map(|group| group.to_json()).collect()
    }

    /// Each group, and whether an operator has to consent to its devices.
    pub(crate) fn groups_and_consent(&self) -> Vec<(String, bool)> {
        let all = self.groups.all.load();
        all.iter().map(|group| (group.settings.name.to_string(), group.settings.approval)).collect()
    }

    fn group(&self, name: &IdentityName) -> Result<Arc<Group>, AdminError> {
        let all = self.groups.all.load();
        let found = all.iter().find(|group| group.settings.name == *name).cloned();
        found.ok_or_else(|| {
            AdminError::Refused(format!(
                "there is no enrolment group `{name}`; `portreeve enrolment group list` shows all"
            ))
        })
    }

    /// Stores a group, in place of one of its name.
    fn keep_group(&self, actor: &Actor, group: Group, what: &str) -> Result<Value, AdminError> {
        let name = group.settings.name.clone();
        // A map of plain values always has a JSON form.
        let bytes = serde_json::to_vec(&group.settings).unwrap_or_default();
        self.registry.put_blobs(&[RegistryOp::PutBlob { name: format!("{PREFIX}{name}"), bytes }])?;
        let told = group.to_json();
        let mut all: Vec<_> = (**self.groups.all.load()).clone();
        all.retain(|group| group.settings.name != name);
        all.push(Arc::new(group));
        all.sort_by(|one, other| one.settings.name.cmp(&other.settings.name));
        self.groups.all.store(Arc::new(all));
        self.tell_of_group(actor, &name, what);
        Ok(told)
    }

    fn tell_of_group(&self, actor: &Actor, name: &IdentityName, what: &str) {
        let detail = format_args!("{name}: {what}");
        self.tell(&Event::new(EventKind::EnrolmentGroupChanged, detail).by(&actor.name));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portreeve_pki::{Authority, CaRole, CaSigner, CrlDraft, IssuingKeys, to_pem};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_893_486_600_000);

    /// A CA with its key.
    struct Maker(CertificateDer<'static>, rcgen::KeyPair);

    impl Maker {
        /// All have one name.
        fn new() -> Self {
            let [root, devices, hub] = [(); 3].map(|()| rcgen::KeyPair::generate().unwrap());
            let keys = IssuingKeys { devices: Arc::new(devices), hub: Arc::new(hub) };
            let authority = Authority::establish(NOW, &root, keys).unwrap();
            assert_eq!(authority.name_of(CaRole::Root), CaRole::Root.first());
            Self(authority.root_certificate().clone(), root)
        }

        fn list(&self, hours: u64) -> String {
            let this_update = NOW.plus(Duration::from_secs(hours * 3600));
            let draft = CrlDraft { number: hours, this_update, lifetime: Duration::from_secs(86_400), revoked: &[] };
            CaSigner::new(self.0.clone(), &self.1).unwrap().crl(&draft).unwrap().pem
        }
    }

    /// Neither beside a newer one nor under a name of its maker does an older list come back.
    #[test]
    fn revocation_lists_only_get_newer() {
        let (acme, other) = (Maker::new(), Maker::new());
        let lists = |text: String| lists_of(&to_pem(&acme.0), &text, 8);
        let kept = lists(acme.list(2)).unwrap();
        assert_eq!(expect_newer(&kept, &lists(acme.list(3)).unwrap()), Ok(()));
        assert!(expect_newer(&kept, &lists(acme.list(1)).unwrap()).unwrap_err().contains("older"));
        assert!(expect_newer(&kept, &[]).unwrap_err().contains("has none"));
        for beside in [acme.list(3) + &acme.list(1), acme.list(1) + &acme.list(3)] {
            assert!(lists(beside).unwrap_err().contains("two editions"));
        }
        // Somebody else's under the same name, as new as can be.
        for forged in [other.list(9), acme.list(1) + &other.list(9)] {
            assert!(lists(forged).unwrap_err().contains("signed by none"));
        }
        // Also when the group is added.
        let group = |crls_pem| {
            let proof = ProofSettings::Maker { anchors_pem: to_pem(&acme.0), crls_pem };
            let (name, names, group) = ("pumps".parse().unwrap(), "pump-{serial}".to_owned(), String::new());
            let settings = GroupSettings { name, names, kind: Kind::Device, group, approval: false, proof };
            Group::read(settings, Some(NOW), None).map(drop)
        };
        assert_eq!(group(acme.list(1)), Ok(()));
        assert!(group(acme.list(1) + &acme.list(3)).is_err() && group(other.list(1)).is_err());
    }
}
