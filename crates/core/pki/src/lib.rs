//! Certificates from the first request to the last revocation: the hub's own certificate authority, enrolment, renewal,
//! rotation, and identities that come from elsewhere.
//!
//! The main types are [`Authority`], a root that can be offline and two issuing CAs, one per purpose; [`CaSigner`], a CA at
//! work with its key in memory or in a token, which issues by [`Profile`] and publishes revocation; and
//! [`SubjectPublicKey`], a key that may be certified. Around them:
//!
//! - [`EnrolmentCode`]: what a device without a certificate shows;
//! - [`read_csr`] and [`audit_key`]: what a request says, and which keys are refused and why; [`EstResponse`] and
//!   [`read_enrol_body`]: the messages of EST;
//! - [`RenewalWindow`] and [`decide_renewal`]: when a certificate is renewed, and whether by its only owner;
//! - [`Crl`] and [`OcspResponder`]: revocation for relying parties; the hub itself asks its registry;
//! - [`RotationPlan`], [`Withdrawal`], [`request_issuing_ca`], [`import_issuing_ca`]: CAs and keys that follow one another;
//! - [`TrustBundle`], [`AllowList`], [`Maker`]: what devices trust, and whom makers of devices vouch for;
//! - [`TpmMaker`], [`Question`], [`ActivationKey`]: whom makers of TPMs vouch for, and what such a device and the hub say;
//! - [`leaf_facts`]: from a certificate that somebody presented to the few facts the registry asks for.
//!
//! No I/O and no clock: files are looked up through a closure, the time is an argument. Keys and serial numbers take
//! their entropy from aws-lc itself; jitter takes it as an argument.
//!
//! *Invariants*
//! - A certificate signing request gives its public key and nothing else. Names, usages, lifetime and constraints come
//!   from the profile, whatever the request asked for.
//! - Certificates for devices cannot serve, certificates for the hub cannot connect as a device: each issuing CA is
//!   held to its one extended key usage, and cannot make further CAs.
//! - A device certificate carries the registry's opaque identifier and no personal or place data.
//! - No operational certificate lives longer than [`DEVICE_LIFETIME_MAX`] (CSA-CRD-09).
//! - Only ECDSA keys on P-256 and P-384 are accepted, from devices, makers and signers alike. Makers of TPMs
//!   alone may sign with RSA, and what they sign is encrypted to and used for nothing else.
//! - Whatever comes from outside has a bound in bytes that is checked first, and a refusal that says precisely why, for
//!   the ledger; those who are refused get one answer for all reasons.
//! - A trust bundle never goes back to a lower version, nor to a signer who has handed over.

mod activation;
mod allow_list;
mod audit;
mod authority;
mod bundle;
mod code;
mod crl;
mod csr;
mod document;
mod endorsement;
mod error;
mod est;
mod issuing;
mod key;
mod leaf;
mod manufacturer;
mod name_template;
mod ocsp;
mod order;
mod profile;
mod rotation;
mod series;
mod signer;
mod verify;
mod withdrawal;

pub use activation::{
    ACTIVATION_KEY_BYTES, ACTIVATION_LIFETIME, Activation, ActivationKey, CHALLENGE_BYTES_MAX, ChallengeAnswer,
    QUESTION_BYTES_MAX, Question, QuestionRefusal, ShownEndorsement, TPM_CHALLENGE_PATH,
};
pub use allow_list::{
    ALLOW_LIST_BYTES_MAX, ALLOW_LIST_DEVICES_MAX, AdmissionRefusal, AllowList, SERIAL_CHARS_MAX, allow_list_devices,
};
pub use audit::{KeyRefusal, RSA_BITS_MIN, audit_device_key, audit_endorsement_key, audit_key};
pub use authority::{
    Authority, CaKey, CaName, CaRole, DEVICE_LIFETIME_DEFAULT, DEVICE_LIFETIME_MAX, HUB_LIFETIME_MAX, HUB_NAMES_MAX,
    Issued, IssuingKeys, Purpose, to_pem,
};
pub use bundle::{ANCHORS_MAX, BUNDLE_SIGNERS_MAX, PINS_MAX, TRUST_BUNDLE_BYTES_MAX, TRUST_LINKS_MAX, TrustBundle};
pub use code::{CODE_CHARS, CodeHash, EnrolmentCode};
pub use crl::{
    CRL_ENTRIES_MAX, CRL_LIFETIME_MAX, Crl, CrlDraft, ROOT_CRL_BYTES_MAX, ROOT_CRL_LIFETIME, RevocationReason, Revoked,
    RootCrl,
};
pub use csr::{ChallengeRule, Csr, CsrPolicy, CsrRefusal, Excess, SubjectRule, read_csr};
pub use document::DocumentRefusal;
pub use endorsement::{EndorsementIdentity, TPM_ANCHORS_MAX, TpmMaker};
pub use error::PkiError;
pub use est::{
    EST_ANSWER_BYTES_MAX, EST_BODY_BYTES_MAX, EST_NAME_HEADER, EstOperation, EstRefusal, EstResponse, read_enrol_body,
    read_est_certificates,
};
pub use issuing::{
    IMPORT_WITHIN, ISSUING_LIFETIME_MAX, IssuingRefusal, import_cross, import_issuing_ca, import_root, make_root,
    request_issuing_ca,
};
pub use key::{
    CSR_BYTES_MAX, GeneratedKey, KeyKind, SubjectPublicKey, generate_key, make_csr, make_csr_with, public_key_from_csr,
    signing_key,
};
pub use leaf::{LeafFacts, is_issued_by, leaf_facts};
pub use manufacturer::{
    MAKER_ANCHORS_MAX, MAKER_CERTIFICATE_BYTES_MAX, MAKER_CHAIN_MAX, MAKER_CRL_BYTES_MAX, Maker, MakerError,
    MakerIdentity, MakerRefusal, RevocationListFacts, revocation_list_facts,
};
pub use name_template::{NameFacts, NameTemplate, TemplateError};
pub use ocsp::{
    CertificateStatus, OCSP_CERTIFICATES_MAX, OCSP_NONCE_BYTES_MAX, OCSP_REQUEST_BYTES_MAX, OCSP_REQUEST_TYPE,
    OCSP_RESPONSE_TYPE, OCSP_VALIDITY_MAX, OcspAnswer, OcspRefusal, OcspResponder, ocsp_request_from_path,
};
pub use profile::{
    Generation, HUB_LIFETIME_DEFAULT, LEAF_LIFETIME_DEFAULT, Profile, RenewalDecision, RenewalFacts, RenewalWindow,
    Role, decide_renewal,
};
pub use rcgen::{PublicKeyData, SigningKey};
pub use rotation::{RotationPlan, RotationStep, RotationTerms};
pub use series::{cas_of, certifying_root, name_in_series, newest_ca, number_in_series, used_from};
pub use signer::{CaSigner, OCSP_SIGNER_LIFETIME_MAX, SignWith};
pub use withdrawal::Withdrawal;
