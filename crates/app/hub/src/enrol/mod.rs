//! Enrolment and renewal: who gets a certificate, on what proof.
//!
//! Rules: a one-time code that an operator made for a name gives that name its first certificate, or a new one; a
//! certificate that is in force gives its holder the next; and for a device of an enrolment group its maker vouches, with
//! a certificate or a signed list, of the device or of its TPM. A rule may demand an operator's consent as well. The device makes the key, and the
//! request only brings it (CSA-CRD-04, CSA-CRD-08, CSA-CRD-10, IOTSF-2.4.7.8).
//! What the applicant hears is one of three answers; the log hears why.

mod groups;
mod presented;
mod rates;
mod tpm;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use portreeve_config::{CloneResponse, DeviceKey};
use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_keys::KeyError;
use portreeve_pki::{
    AdmissionRefusal, CODE_CHARS, ChallengeRule, Csr, CsrPolicy, CsrRefusal, EnrolmentCode, EstRefusal, Generation,
    Issued, KeyKind, KeyRefusal, LeafFacts, MakerRefusal, PkiError, Profile, QuestionRefusal, RenewalDecision,
    RenewalFacts, Role, SubjectRule, TemplateError, decide_renewal, leaf_facts, read_csr,
};
use portreeve_store::CredentialRow;
use portreeve_tls::GateRefusal;
use portreeve_types::{IdentityId, IdentityName, KeyHash, LifecycleState, UnixMillis};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::{
    Actor, AdminError, DeviceIdentity, Hub, Now, RegistryError,
    approvals::{Consent, Wish},
    registry::{Admitted, By, Entitlement, Newcomer, SUPERSEDED, Standing, WaitingCode},
};

pub(crate) use groups::Groups;
pub use groups::{GroupSettings, ProofSettings};
pub use presented::Presented;
pub(crate) use rates::{EnrolmentRates, Rated};

/// How an applicant shows to be entitled.
pub enum Claim {
    /// By a one-time code, with the name that it was made for (HTTP Basic, RFC 7030 §3.2.3).
    Code {
        /// The registered name.
        name: String,
        /// What was typed.
        code: Zeroizing<String>,
    },
    /// By its present certificate, proved in the handshake (RFC 7030 §3.3.2).
    Certificate {
        /// Whose it is.
        identity: DeviceIdentity,
        /// The certificate.
        leaf: CertificateDer<'static>,
    },
    /// By a certificate of its maker, proved in the handshake.
    Maker {
        /// The certificate, and what the device sent behind it.
        chain: Vec<CertificateDer<'static>>,
    },
    /// By nothing but the request and the key that signed it: somebody may have put it on a list.
    Listed,
    /// By what its TPM has made of a challenge ([`Hub::tpm_challenge`]).
    Tpm {
        /// As [`portreeve_pki::ChallengeAnswer::token`] makes it.
        token: Zeroizing<String>,
    },
}

/// A request for a certificate.
pub struct EnrolRequest {
    /// On what.
    pub claim: Claim,
    /// PKCS #10, in DER or PEM; or why the message that should have brought it is none.
    pub csr: Result<Vec<u8>, EstRefusal>,
    /// Where from.
    pub source: IpAddr,
}

/// A certificate that was issued.
pub struct Enrolled {
    /// The certificate.
    pub leaf: CertificateDer<'static>,
    /// The same, and the CA that issued it, in PEM.
    pub chain_pem: String,
    /// What it stands for: a device that was vouched for does not know it yet, and the certificate does not tell.
    pub name: IdentityName,
}

/// What a refused applicant hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolRefusal {
    /// It has not shown to be entitled.
    NotEntitled,
    /// It is entitled, and asks for something that is not certified.
    Refused,
    /// It is entitled, and somebody has to consent first.
    Waiting {
        /// When to come again, with the same request.
        retry_after_s: u32,
    },
    /// Nothing is wrong with the request that can be said now.
    Busy {
        /// When to come again.
        retry_after_s: u32,
    },
}

/// When somebody whose certificate could not be recorded is to come again.
const UNRECORDED_RETRY_S: u32 = 60;

/// A code that was made: shown to the operator, kept nowhere.
pub(crate) struct MadeCode {
    pub(crate) text: Zeroizing<String>,
    pub(crate) expires: UnixMillis,
}

/// Why nothing was issued, precisely.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("`{0}` is no name that a code could be for")]
    NoName(String),
    #[error("what was shown is no code")]
    NoCode,
    #[error("the source has failed too often")]
    TooManyFailures(u32),
    #[error("certificates are issued at the highest rate that is allowed")]
    TooManyCertificates(u32),
    #[error("nobody vouches for devices in this way")]
    NobodyVouches,
    #[error("what was shown is no answer of a TPM, or not one of these minutes")]
    NoActivation,
    #[error("the TPM has answered for another key")]
    OtherKey,
    #[error("the key is not one that its TPM keeps for ever and signs with")]
    NotInTpm,
    #[error(transparent)]
    Question(#[from] QuestionRefusal),
    #[error("the endorsement key: {0}")]
    Endorsement(KeyRefusal),
    #[error("no challenge could be made: {0}")]
    Challenge(KeyError),
    #[error("there is no serial number in the subject of the request")]
    NoSerial,
    #[error("the maker's certificate: {0}")]
    Maker(MakerRefusal),
    #[error(transparent)]
    List(AdmissionRefusal),
    #[error(transparent)]
    Name(#[from] TemplateError),
    #[error("it waits for an operator's consent")]
    Waiting,
    #[error("an operator has refused it")]
    Disapproved,
    #[error("too many wait for an operator's consent")]
    TooManyWaiting,
    #[error("an operator was asked about another key of it a short while ago")]
    AskedLately(u32),
    #[error(transparent)]
    Message(#[from] EstRefusal),
    #[error(transparent)]
    Request(#[from] CsrRefusal),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("the CA that issued its certificate was withdrawn, and its devices are to enrol anew")]
    IssuerWithdrawn,
    #[error("its certificate may be renewed in {} s", .0.as_secs())]
    TooEarly(Duration),
    #[error("a renewal for the key of the present certificate: each certificate has a key of its own")]
    SameKey,
    #[error("a renewal of generation {presented}, which was renewed before: the newest is {newest}")]
    Clone { presented: Generation, newest: Generation },
    #[error("a renewal of generation {presented}, and the registry knows none after {newest}: was it set back?")]
    RegistryBehind { presented: Generation, newest: Generation },
}

impl Why {
    fn answer(&self) -> EnrolRefusal {
        match self {
            Self::NoName(_) | Self::NoCode | Self::NobodyVouches | Self::NoSerial | Self::Name(_) => {
                EnrolRefusal::NotEntitled
            }
            Self::Maker(_) | Self::List(_) | Self::Endorsement(_) => EnrolRefusal::NotEntitled,
            Self::NoActivation | Self::OtherKey => EnrolRefusal::NotEntitled,
            Self::Registry(RegistryError::Code | RegistryError::Unknown(_) | RegistryError::Vouched(_)) => {
                EnrolRefusal::NotEntitled
            }
            Self::Waiting => EnrolRefusal::Waiting { retry_after_s: CONSENT_RETRY_S },
            Self::TooManyWaiting
            | Self::Registry(RegistryError::TooManyCertificates(_) | RegistryError::TooManyPending(_)) => {
                EnrolRefusal::Busy { retry_after_s: CONSENT_RETRY_S }
            }
            Self::TooManyFailures(retry_after_s)
            | Self::TooManyCertificates(retry_after_s)
            | Self::AskedLately(retry_after_s) => EnrolRefusal::Busy { retry_after_s: *retry_after_s },
            // The hub's own affair, whatever the request says: an operator mends it, and the device comes again.
            Self::Registry(RegistryError::Store(_) | RegistryError::Overtaken) | Self::Pki(_) => {
                EnrolRefusal::Busy { retry_after_s: OWN_RETRY_S }
            }
            _ => EnrolRefusal::Refused,
        }
    }

    fn event(&self) -> EventKind {
        match self {
            Self::Registry(RegistryError::KeyKnown) => EventKind::KeyReuseRefused,
            Self::Registry(RegistryError::TooManyCertificates(_) | RegistryError::TooManyPending(_)) => {
                EventKind::LimitReached
            }
            Self::Clone { .. } | Self::RegistryBehind { .. } => EventKind::CloneSuspected,
            _ => EventKind::EnrolmentRefused,
        }
    }

    /// Whether somebody else may still know what was shown.
    fn is_of_others(&self) -> bool {
        matches!(
            self,
            Self::NobodyVouches | Self::Maker(MakerRefusal::OtherMaker) | Self::List(AdmissionRefusal::UnknownSerial)
        )
    }

    /// Whether it counts against its source. What is the hub's own affair does not.
    fn is_a_failure(&self) -> bool {
        !matches!(self.answer(), EnrolRefusal::Busy { .. } | EnrolRefusal::Waiting { .. })
    }
}

/// When to come again while somebody is asked for consent.
const CONSENT_RETRY_S: u32 = 30;
/// When to come again after the store or the CA failed.
const OWN_RETRY_S: u32 = 10;

/// An applicant that is known to be entitled.
struct Applicant<'a> {
    who: Who,
    name: IdentityName,
    by: Entitlement,
    /// The certificate to renew.
    present: Option<(&'a CertificateDer<'static>, LeafFacts)>,
    /// The maker's certificate.
    makers: Option<&'a CertificateDer<'static>>,
    /// What its request may call it beside its name.
    alias: String,
    /// Who asks, where somebody else has to consent.
    needs_consent_beside: Option<String>,
}

enum Who {
    Registered(IdentityId),
    Vouched(Newcomer),
}

impl EnrolRequest {
    /// Whom a failure counts against: a device that shows who it is does not pay for its neighbours.
    fn rated(&self) -> Rated {
        match &self.claim {
            Claim::Certificate { identity, .. } => Rated::Identity(identity.id()),
            Claim::Code { .. } | Claim::Maker { .. } | Claim::Listed | Claim::Tpm { .. } => Rated::source(self.source),
        }
    }
}

/// What an entitled applicant gets.
enum Next {
    /// A certificate of this generation.
    Issue(Generation),
    /// The one it has, once more.
    Repeat(Arc<CredentialRow>),
}

impl Hub {
    /// What a device has to trust, for `cacerts`: the root, the CA that issues to devices, and those that did before. While
    /// one root follows another both, and what the old one has certified of the new (RFC 7030 §4.1.3).
    #[must_use]
    pub fn enrolment_anchors(&self) -> Vec<CertificateDer<'static>> {
        let authority = self.authority.load();
        let mut anchors = authority.roots();
        anchors.extend(authority.cross_certificates());
        anchors.extend(authority.device_anchors());
        anchors
    }

    /// What somebody has shown in the handshake: `identity` is whose the `chain` is, if that admits it to the hub. A leaf of a
    /// withdrawn CA admits to nothing but to have its key certified anew.
    #[must_use]
    pub fn presented(
        &self,
        identity: Option<DeviceIdentity>,
        chain: &[CertificateDer<'static>],
        source: IpAddr,
        now: UnixMillis,
    ) -> Presented {
        let returning = || self.registry.returning(&leaf_facts(chain.first()?).ok()?, now);
        Presented::new(identity.or_else(returning), chain, source)
    }

    /// Issues a certificate for the key of the request, if its sender is entitled to one.
    ///
    /// # Errors
    /// What the sender may hear. Why is in the log.
    pub fn enrol(&self, request: &EnrolRequest, now: Now) -> Result<Enrolled, EnrolRefusal> {
        let mut name = match &request.claim {
            Claim::Code { name, .. } => name.parse().ok(),
            Claim::Certificate { identity, .. } => Some(identity.name().clone()),
            Claim::Maker { .. } | Claim::Listed | Claim::Tpm { .. } => None,
        };
        match self.consider(request, &mut name, now) {
            Ok((issued, by)) => {
                self.record_issued(&issued, name.as_ref(), request.source, by)?;
                // An issued certificate has its leaf first, and somebody whose it is.
                let leaf = issued.chain_der.into_iter().next();
                let whose = leaf.zip(name).ok_or(EnrolRefusal::Refused);
                whose.map(|(leaf, name)| Enrolled { leaf, chain_pem: issued.chain_pem, name })
            }
            // Told when it was asked for.
            Err(why @ Why::Waiting) => Err(why.answer()),
            Err(why) => {
                self.tell_of(why.event(), name.as_ref(), request.source, format_args!("{why}"));
                if why.is_a_failure() {
                    self.enrolment.failed(request.rated(), &self.config().limits, now.mono_ms);
                }
                if matches!(why, Why::Clone { .. }) {
                    self.respond_to_clone(name.as_ref(), now.wall);
                }
                Err(why.answer())
            }
        }
    }

    /// Whoever gets no answer because there is no entry asks again, and gets the same certificate.
    fn record_issued(
        &self,
        issued: &Issued,
        name: Option<&IdentityName>,
        source: IpAddr,
        by: Entitlement,
    ) -> Result<(), EnrolRefusal> {
        let serial = hex::encode(&issued.serial);
        let data = [("serial", Datum::Plain(&serial))];
        let detail = format_args!("{}", by.as_str());
        let event = Event::new(EventKind::CertificateIssued, detail).from(source).with(&data);
        let recorded = self.record(&Event { identity: name.map(IdentityName::as_str), ..event });
        recorded.map(drop).map_err(|error| {
            tracing::error!(%error, serial, "a certificate was issued and is not handed out");
            EnrolRefusal::Busy { retry_after_s: UNRECORDED_RETRY_S }
        })
    }

    fn tell_of(&self, kind: EventKind, name: Option<&IdentityName>, source: IpAddr, detail: fmt::Arguments<'_>) {
        self.emit(kind, name.map(IdentityName::as_str), None, Some(source), detail);
    }

    /// `name` is that of the applicant as soon as it is known.
    fn consider(
        &self,
        request: &EnrolRequest,
        name: &mut Option<IdentityName>,
        now: Now,
    ) -> Result<(Issued, Entitlement), Why> {
        let config = self.config();
        if let Some(wait_s) = self.enrolment.failures_wait_s(request.rated(), &config.limits, now.mono_ms) {
            return Err(Why::TooManyFailures(wait_s));
        }
        // First whether anybody is entitled: what a request says is only looked at then, but for the key that a list names.
        let applicant = self.applicant(request, now.wall)?;
        *name = Some(applicant.name.clone());
        let csr = read_request(request.csr.as_ref().map_err(Clone::clone)?, &applicant, &self.device_keys())?;
        let by = By { actor: "the hub: enrolment", reason: applicant.by.as_str(), at: now.wall };
        let take_certificate =
            || self.enrolment.take_certificate(&config.limits, now.mono_ms).map_err(Why::TooManyCertificates);
        // Who is new becomes a row: no faster than certificates are issued, and not without a place among those of its group
        // and in the queue of those who wait.
        let pending_max = config.limits.identities_pending_per_group;
        let newcomer = match &applicant.who {
            Who::Vouched(newcomer) if !self.registry.is_vouched(newcomer.voucher.key) => Some(newcomer),
            _ => None,
        };
        if let Some(newcomer) = newcomer {
            self.expect_welcome(newcomer, csr.key.hash(), applicant.needs_consent_beside.is_some(), now.wall)?;
            self.registry.expect_room(newcomer, pending_max)?;
            take_certificate()?;
        }
        let id = match &applicant.who {
            Who::Registered(id) => *id,
            Who::Vouched(newcomer) => {
                let admitted = self.registry.admit(newcomer, pending_max, by)?;
                self.welcome(&admitted, request.source, now)?;
                *name = Some(admitted.name);
                admitted.id
            }
        };
        let wish = name.as_ref().zip(applicant.needs_consent_beside.as_deref()).map(|(name, asked_by)| Wish {
            identity: id,
            name,
            key: csr.key.hash(),
            proof: applicant.by.as_str(),
            asked_by,
        });
        if let Some(wish) = &wish {
            self.expect_consent(wish, request.rated(), now)?;
        }
        if newcomer.is_none() {
            take_certificate()?;
        }
        let issued = self.registry.certify(id, csr.key.hash(), applicant.by, by, |standing| {
            let generation = match self.next_for(&applicant, standing, &csr, now.wall)? {
                Next::Issue(generation) => generation,
                Next::Repeat(row) => {
                    // Honest devices seldom need that; whoever asks for it all the time is slowed down.
                    self.enrolment.failed(request.rated(), &config.limits, now.mono_ms);
                    let validity = (row.not_before, row.not_after);
                    return Ok(self.device_ca_of(&self.authority.load(), row.issuer)?.repeat_client(
                        id,
                        &row.serial,
                        &csr.key,
                        validity,
                    )?);
                }
            };
            let role = Role::Client(standing.row.kind);
            let lifetime = Duration::from_secs(config.enrolment.lifetime_s);
            let profile = Profile::new(role).with_lifetime(lifetime)?;
            Ok::<_, Why>(
                self.device_ca(&self.authority.load())?.issue_client(&profile, id, generation, &csr.key, now.wall)?,
            )
        })?;
        wish.iter().for_each(|wish| self.consent_used(wish));
        Ok((issued, applicant.by))
    }

    /// Whether a newcomer that needs consent may ask for it.
    fn expect_welcome(
        &self,
        newcomer: &Newcomer,
        key: KeyHash,
        needs_consent: bool,
        now: UnixMillis,
    ) -> Result<(), Why> {
        if !needs_consent {
            return Ok(());
        }
        // Whoever was refused left nothing but the answer.
        if self.was_refused(&newcomer.name, key, now) {
            return Err(Why::Disapproved);
        }
        if self.has_room_for_a_question() { Ok(()) } else { Err(Why::TooManyWaiting) }
    }

    /// A device for which its maker vouches may come back without a certificate, when it was reset; not all the time.
    fn welcome(&self, admitted: &Admitted, source: IpAddr, now: Now) -> Result<(), Why> {
        if admitted.is_new {
            self.tell_of(
                EventKind::IdentityChanged,
                Some(&admitted.name),
                source,
                format_args!("registered, by enrolment"),
            );
            return Ok(());
        }
        let (rated, config) = (Rated::Identity(admitted.id), self.config());
        if let Some(wait_s) = self.enrolment.failures_wait_s(rated, &config.limits, now.mono_ms) {
            return Err(Why::TooManyFailures(wait_s));
        }
        self.enrolment.failed(rated, &config.limits, now.mono_ms);
        Ok(())
    }

    /// A question costs whoever puts it as much as a failure does, and so does one that cannot be put yet: else one code would
    /// be good for as many commits and events as there are keys to ask for.
    fn expect_consent(&self, wish: &Wish<'_>, rated: Rated, now: Now) -> Result<(), Why> {
        let consent = self.consent_to(wish, now.wall).map_err(RegistryError::from)?;
        if matches!(consent, Consent::Asked | Consent::Early(_)) {
            self.enrolment.failed(rated, &self.config().limits, now.mono_ms);
        }
        match consent {
            Consent::Granted => Ok(()),
            Consent::Refused => Err(Why::Disapproved),
            Consent::Waiting | Consent::Asked => Err(Why::Waiting),
            Consent::Early(wait_s) => Err(Why::AskedLately(wait_s)),
            Consent::Full => Err(Why::TooManyWaiting),
        }
    }

    /// The kinds of keys that devices get certificates for; the one to prefer first.
    #[must_use]
    pub fn device_keys(&self) -> Vec<KeyKind> {
        let kind = |key: &DeviceKey| match key {
            DeviceKey::EcdsaP256 => KeyKind::EcdsaP256,
            DeviceKey::EcdsaP384 => KeyKind::EcdsaP384,
            DeviceKey::Rsa3072 => KeyKind::Rsa3072,
            DeviceKey::Rsa4096 => KeyKind::Rsa4096,
        };
        self.config().enrolment.key_algorithms.iter().map(kind).collect()
    }

    fn applicant<'a>(&self, request: &'a EnrolRequest, now: UnixMillis) -> Result<Applicant<'a>, Why> {
        match &request.claim {
            Claim::Code { name, code } => self.applicant_by_code(name, code, now),
            // The withdrawal of its CA may have come after the handshake.
            Claim::Certificate { identity, .. } if !self.may_renew(identity) => Err(Why::IssuerWithdrawn),
            Claim::Certificate { identity, leaf } => Ok(Applicant {
                who: Who::Registered(identity.id()),
                name: identity.name().clone(),
                by: Entitlement::Certificate,
                present: Some((leaf, leaf_facts(leaf)?)),
                makers: None,
                alias: identity.id().to_string(),
                needs_consent_beside: None,
            }),
            Claim::Maker { chain } => {
                let vouched = self.groups.by_chain(chain, &self.device_keys(), now)?;
                Ok(vouched_applicant(vouched, Entitlement::Maker, chain.first(), request.source))
            }
            Claim::Listed => {
                let vouched = self.groups.by_request(&self.unnamed(request)?, now)?;
                Ok(vouched_applicant(vouched, Entitlement::List, None, request.source))
            }
            Claim::Tpm { token } => {
                let (vouched, key) = self.groups.by_token(token, now)?;
                if self.unnamed(request)?.key.hash() != key {
                    return Err(Why::OtherKey);
                }
                Ok(vouched_applicant(vouched, Entitlement::Tpm, None, request.source))
            }
        }
    }

    /// Whether a certificate of this CA still stands for its key.
    fn may_renew(&self, identity: &DeviceIdentity) -> bool {
        self.registry.withdrawal_of(identity.issuer()).is_none_or(|withdrawal| withdrawal.known_may_renew)
    }

    /// The request of somebody whose name is not known yet.
    fn unnamed(&self, request: &EnrolRequest) -> Result<Csr, Why> {
        let (keys, subject) = (&self.device_keys()[..], SubjectRule::Ignore);
        let csr = request.csr.as_ref().map_err(Clone::clone)?;
        Ok(read_csr(csr, &CsrPolicy { keys, subject, challenge: ChallengeRule::Refuse })?)
    }

    fn applicant_by_code<'a>(&self, name: &str, code: &str, now: UnixMillis) -> Result<Applicant<'a>, Why> {
        let name: IdentityName = name.parse().map_err(|_| Why::NoName(harmless(name)))?;
        let code = EnrolmentCode::parse(code).ok_or(Why::NoCode)?;
        let id = self.registry.find(&name)?.id;
        let code = code.hash(id);
        let made_by = self.registry.expected_from(id, code, now).ok_or(RegistryError::Code)?;
        Ok(Applicant {
            who: Who::Registered(id),
            name,
            by: Entitlement::Code(code),
            present: None,
            makers: None,
            alias: id.to_string(),
            needs_consent_beside: self.config().enrolment.code_approval.then_some(made_by),
        })
    }

    /// What this applicant gets, if anything.
    fn next_for(
        &self,
        applicant: &Applicant<'_>,
        standing: &Standing,
        csr: &Csr,
        now: UnixMillis,
    ) -> Result<Next, Why> {
        let Some(row) = &standing.newest else { return Ok(Next::Issue(Generation::default())) };
        let (newest, newest_key) = (standing.generation, row.key);
        let Some((_, facts)) = &applicant.present else {
            // The answer to an earlier code was lost, or the device holds on to its key. A key has one certificate at a time.
            return match csr.key.hash() == newest_key && now < row.not_after {
                true => Ok(Next::Repeat(Arc::clone(row))),
                false => Ok(Next::Issue(newest.next())),
            };
        };
        let presented = Generation::of_serial(&facts.serial).unwrap_or_default();
        let asks_for_newest_key = newest_key == csr.key.hash();
        let renewal = RenewalFacts { presented, newest, newest_seen: standing.newest_seen, asks_for_newest_key };
        match decide_renewal(renewal) {
            RenewalDecision::Issue(generation) => {
                if csr.key.hash() == facts.key {
                    return Err(Why::SameKey);
                }
                let opens = renewal_opens(facts, self.config().enrolment.renew_after_percent);
                let is_urgent = self.registry.withdrawal_of(row.issuer).is_some();
                if now < opens && !is_urgent {
                    Err(Why::TooEarly(opens.since(now)))
                } else {
                    Ok(Next::Issue(generation))
                }
            }
            // The first answer was lost.
            RenewalDecision::Repeat => Ok(Next::Repeat(Arc::clone(row))),
            RenewalDecision::Clone => Err(Why::Clone { presented, newest }),
            RenewalDecision::RegistryBehind => Err(Why::RegistryBehind { presented, newest }),
        }
    }

    /// The registry refused a certificate whose key its holder has.
    pub fn turned_away(&self, refusal: &GateRefusal, source: IpAddr) {
        let name = refusal.identity.and_then(|id| self.name_of(id));
        if refusal.reason != SUPERSEDED {
            let detail = format_args!("{}", refusal.reason);
            return self.tell_of(EventKind::IdentityRefused, name.as_ref(), source, detail);
        }
        // Whoever has renewed has no use for the certificate before: somebody else seems to hold it. It is void, so this is
        // told and no more: else whoever holds it could have the right owner cut off again and again.
        let detail = format_args!("a certificate was used after the one that follows it");
        self.tell_of(EventKind::CloneSuspected, name.as_ref(), source, detail);
    }

    fn respond_to_clone(&self, name: Option<&IdentityName>, now: UnixMillis) {
        let (CloneResponse::Quarantine, Some(name)) = (self.config().enrolment.on_clone, name) else { return };
        let by = By { actor: "the hub", reason: "its certificate seems to be copied", at: now };
        let moved = self.move_identity(name, LifecycleState::Quarantined, by);
        if let Err(error) = moved {
            tracing::warn!(identity = name.as_str(), %error, "an identity that seems to be copied was not quarantined");
        }
    }

    /// Makes a one-time code for an identity; one that was made before is void.
    pub(crate) fn make_code(
        &self,
        actor: &Actor,
        name: &IdentityName,
        valid_s: Option<u64>,
        now: UnixMillis,
    ) -> Result<MadeCode, AdminError> {
        let valid_s = valid_s.unwrap_or(self.config().enrolment.code_valid_s);
        if !CODE_VALID_S.contains(&valid_s) {
            return Err(AdminError::Invalid("a code is valid for 1 minute to 30 days".into()));
        }
        let id = self.registry.find(name)?.id;
        let mut entropy = Zeroizing::new([0; CODE_CHARS]);
        aws_lc_rs::rand::fill(&mut *entropy).map_err(|_| PkiError::Crypto("there is no entropy".into()))?;
        let code = EnrolmentCode::new(&entropy);
        let expires = now.plus(Duration::from_secs(valid_s));
        self.registry.put_code(name, WaitingCode { hash: code.hash(id), expires, made_by: actor.name.clone() })?;
        let detail = format_args!("valid for {valid_s} s");
        self.tell(&Event::new(EventKind::CodeIssued, detail).by(&actor.name).about(name.as_str()));
        Ok(MadeCode { text: code.to_text(), expires })
    }
}

/// How long a code may be valid, seconds: a minute to 30 days.
const CODE_VALID_S: std::ops::RangeInclusive<u64> = 60..=2_592_000;

fn vouched_applicant<'a>(
    vouched: groups::Vouched,
    by: Entitlement,
    makers: Option<&'a CertificateDer<'static>>,
    source: IpAddr,
) -> Applicant<'a> {
    Applicant {
        name: vouched.newcomer.name.clone(),
        who: Who::Vouched(vouched.newcomer),
        by,
        present: None,
        makers,
        alias: vouched.serial,
        needs_consent_beside: vouched.needs_approval.then(|| source.to_string()),
    }
}

fn read_request(csr: &[u8], applicant: &Applicant<'_>, keys: &[KeyKind]) -> Result<Csr, CsrRefusal> {
    let read = |subject| read_csr(csr, &CsrPolicy { keys, subject, challenge: ChallengeRule::Refuse });
    if let Some((leaf, _)) = &applicant.present {
        return read(SubjectRule::SameAs(leaf));
    }
    let names = [applicant.name.as_str(), &applicant.alias];
    let by_name = read(SubjectRule::Only(&names));
    match applicant.makers {
        // Or it goes by what its maker calls it.
        Some(leaf) if matches!(by_name, Err(CsrRefusal::Excess(_))) => read(SubjectRule::SameAs(leaf)),
        _ => by_name,
    }
}

fn renewal_opens(present: &LeafFacts, after_percent: u16) -> UnixMillis {
    let life = present.not_after.since(present.not_before);
    present.not_before.plus(life * u32::from(after_percent) / 100)
}

/// For the log: what a stranger sent, cut and without control characters.
fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(IdentityName::BYTES_MAX).collect()
}
