//! What a device with a TPM and the hub say to each other before the request for a certificate.
//!
//! The device asks a [`Question`]: this endorsement key, and this key of mine. The hub makes an [`Activation`], a promise
//! to whoever knows its secret, and encrypts the secret so that only the TPM of that endorsement key can read it, and only
//! if it holds that key of the device. The device shows text and secret with its request.
//!
//! *Invariant:* nothing is kept between question and request. What was promised stands in the text that the device
//! brings, and the secret is the authentication code of that text.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use portreeve_types::{KeyHash, UnixMillis};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{MAKER_CERTIFICATE_BYTES_MAX, SERIAL_CHARS_MAX};

/// Where a hub's device HTTPS listener is asked.
pub const TPM_CHALLENGE_PATH: &str = "/.well-known/portreeve/tpm/challenge";
/// Longest question: a certificate and two keys in base64, and room for the names of the fields.
pub const QUESTION_BYTES_MAX: usize = MAKER_CERTIFICATE_BYTES_MAX / 3 * 4 + 4096;
/// Longest answer.
pub const CHALLENGE_BYTES_MAX: usize = 4096;
/// Random bytes of an [`ActivationKey`].
pub const ACTIVATION_KEY_BYTES: usize = 32;
/// How long an activation may take: a slow TPM, and a person who looks on.
pub const ACTIVATION_LIFETIME: Duration = Duration::from_secs(600);

const SECRET_BYTES: usize = 32;
/// Longest [`Activation`] with its secret as text. Expiry, two hashes and a serial number, and the secret, in base64.
const TOKEN_BYTES_MAX: usize = (8 + 32 + 32 + SERIAL_CHARS_MAX + SECRET_BYTES) * 4 / 3 + 8;
/// What the authentication code is of, so that it is good for nothing else.
const DOMAIN: &[u8] = b"portreeve TPM activation\0";

/// Why a question was refused. For the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionRefusal {
    /// Longer than [`QUESTION_BYTES_MAX`].
    #[error("the question is longer than {QUESTION_BYTES_MAX} bytes")]
    Oversized,
    /// Not the JSON that is expected, or with further fields.
    #[error("the question is not JSON with the fields of one")]
    Malformed,
    /// A field that is not base64.
    #[error("a field of the question is not base64")]
    Base64,
}

/// The form of a question in JSON. Bytes are in base64 (RFC 4648 §4).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endorsement_certificate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endorsement_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    key: String,
}

/// How a device tells which TPM it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownEndorsement {
    /// By the certificate of the TPM's maker, DER.
    Certificate(Vec<u8>),
    /// By the endorsement key itself, `SubjectPublicKeyInfo`, and the serial number under which a list has it.
    Listed {
        /// The serial number of the device.
        serial: String,
        /// The key.
        spki_der: Vec<u8>,
    },
}

/// What a device asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its TPM.
    pub endorsement: ShownEndorsement,
    /// The key that it wants certified: its public area, `TPMT_PUBLIC`.
    pub key_area: Vec<u8>,
}

impl Question {
    /// Reads a question. What the bytes in it say is for others to find out.
    ///
    /// # Errors
    /// The precise reason.
    pub fn read(body: &[u8]) -> Result<Self, QuestionRefusal> {
        if body.len() > QUESTION_BYTES_MAX {
            return Err(QuestionRefusal::Oversized);
        }
        let text: QuestionText = serde_json::from_slice(body).map_err(|_| QuestionRefusal::Malformed)?;
        let bytes = |text: String| STANDARD.decode(text).map_err(|_| QuestionRefusal::Base64);
        let endorsement = match (text.endorsement_certificate, text.endorsement_key, text.serial) {
            (Some(der), None, None) => ShownEndorsement::Certificate(bytes(der)?),
            (None, Some(spki), Some(serial)) => ShownEndorsement::Listed { serial, spki_der: bytes(spki)? },
            _ => return Err(QuestionRefusal::Malformed),
        };
        Ok(Self { endorsement, key_area: bytes(text.key)? })
    }

    /// The question as it is sent.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let bytes = |bytes: &Vec<u8>| Some(STANDARD.encode(bytes));
        let (endorsement_certificate, endorsement_key, serial) = match &self.endorsement {
            ShownEndorsement::Certificate(der) => (bytes(der), None, None),
            ShownEndorsement::Listed { serial, spki_der } => (None, bytes(spki_der), Some(serial.clone())),
        };
        let key = STANDARD.encode(&self.key_area);
        // A map of plain values always has a JSON form.
        serde_json::to_vec(&QuestionText { endorsement_certificate, endorsement_key, serial, key }).unwrap_or_default()
    }
}

/// What the hub answers: the secret for the TPM, and what to show with it. Bytes are in base64 in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeAnswer {
    /// What was promised, for the device to bring back.
    pub activation: String,
    /// `TPM2B_ID_OBJECT`'s content.
    pub credential: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET`'s content.
    pub encrypted_secret: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct ChallengeText {
    activation: String,
    credential: String,
    encrypted_secret: String,
}

impl ChallengeAnswer {
    /// The answer as it is sent.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let (credential, encrypted_secret) =
            (STANDARD.encode(&self.credential), STANDARD.encode(&self.encrypted_secret));
        // A map of plain values always has a JSON form.
        serde_json::to_vec(&ChallengeText { activation: self.activation.clone(), credential, encrypted_secret })
            .unwrap_or_default()
    }

    /// Reads an answer, of at most [`CHALLENGE_BYTES_MAX`]. `None` for what is none.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let text: ChallengeText = (body.len() <= CHALLENGE_BYTES_MAX).then(|| serde_json::from_slice(body).ok())??;
        let bytes = |text: String| STANDARD.decode(text).ok();
        Some(Self {
            activation: text.activation,
            credential: bytes(text.credential)?,
            encrypted_secret: bytes(text.encrypted_secret)?,
        })
    }

    /// What a request is to bring along (RFC 6750 §2.1, `b64token`), once the TPM has given the secret away.
    #[must_use]
    pub fn token(&self, secret: &[u8]) -> Zeroizing<String> {
        Zeroizing::new(format!("{}.{}", self.activation, URL_SAFE_NO_PAD.encode(secret)))
    }
}

/// What is promised to the holder of a TPM: a certificate for this key, as the device of this endorsement key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// Until when.
    pub expires: UnixMillis,
    /// The hash of the endorsement key.
    pub endorsement: KeyHash,
    /// The hash of the device's own key.
    pub key: KeyHash,
    /// By which number the device is known: that of the endorsement certificate, or of the list.
    pub serial: String,
}

impl Activation {
    fn encode(&self) -> Vec<u8> {
        let Self { expires, endorsement, key, serial } = self;
        [&expires.0.to_be_bytes()[..], &endorsement.0, &key.0, serial.as_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (expires, rest) = bytes.split_first_chunk()?;
        let (endorsement, rest) = rest.split_first_chunk()?;
        let (key, serial) = rest.split_first_chunk()?;
        Some(Self {
            expires: UnixMillis(u64::from_be_bytes(*expires)),
            endorsement: KeyHash(*endorsement),
            key: KeyHash(*key),
            serial: std::str::from_utf8(serial).ok()?.to_owned(),
        })
    }
}

/// Makes activations, and knows its own again. With its end all of them are void.
pub struct ActivationKey(hmac::Key);

impl std::fmt::Debug for ActivationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ActivationKey(…)")
    }
}

impl ActivationKey {
    /// A new one, from random bytes.
    #[must_use]
    pub fn new(entropy: &[u8; ACTIVATION_KEY_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, entropy))
    }

    /// The text of an activation, and the secret that makes it good.
    #[must_use]
    pub fn make(&self, activation: &Activation) -> (String, Zeroizing<Vec<u8>>) {
        let bytes = activation.encode();
        let secret = Zeroizing::new(self.code(&bytes).as_ref().to_vec());
        (URL_SAFE_NO_PAD.encode(bytes), secret)
    }

    /// The activation in a token, if this key has made it, the secret is right and its time is not over.
    #[must_use]
    pub fn open(&self, token: &str, now: UnixMillis) -> Option<Activation> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (text, secret) = token.split_once('.')?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).ok()?);
        // Compares in constant time.
        hmac::verify(&self.0, &message(&bytes), &secret).ok()?;
        Activation::decode(&bytes).filter(|activation| now < activation.expires)
    }

    fn code(&self, bytes: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, &message(bytes))
    }
}

fn message(bytes: &[u8]) -> Vec<u8> {
    [DOMAIN, bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn activation(serial: &str) -> Activation {
        let expires = NOW.plus(ACTIVATION_LIFETIME);
        Activation { expires, endorsement: KeyHash([1; 32]), key: KeyHash([2; 32]), serial: serial.into() }
    }

    fn token(key: &ActivationKey, activation: &Activation) -> Zeroizing<String> {
        let (text, secret) = key.make(activation);
        assert_eq!(secret.len(), SECRET_BYTES, "what a TPM takes");
        let answer = ChallengeAnswer { activation: text, credential: vec![7], encrypted_secret: vec![8] };
        let read = ChallengeAnswer::read(&answer.to_json()).unwrap();
        assert_eq!(read, answer);
        read.token(&secret)
    }

    #[test]
    fn an_activation_is_good_for_its_time_and_its_key_only() {
        let [own, other] = [1, 2].map(|byte| ActivationKey::new(&[byte; ACTIVATION_KEY_BYTES]));
        for serial in ["", "GW-1", &"x".repeat(SERIAL_CHARS_MAX)] {
            let promised = activation(serial);
            let token = token(&own, &promised);
            assert_eq!(own.open(&token, NOW), Some(promised.clone()));
            assert_eq!(other.open(&token, NOW), None, "made by another key, as after a restart");
            assert_eq!(own.open(&token, promised.expires), None);
        }
    }

    /// Without the secret the text is worth nothing, and not a bit of it can be changed.
    #[test]
    fn what_was_changed_is_no_activation() {
        let key = ActivationKey::new(&[1; ACTIVATION_KEY_BYTES]);
        let good = token(&key, &activation("GW-1"));
        let (text, secret) = good.split_once('.').unwrap();
        for bad in [text, secret, "", ".", &format!("{text}."), &format!(".{secret}"), &format!("{text}.{secret}A")] {
            assert_eq!(key.open(bad, NOW), None, "{bad}");
        }
        for at in 0..good.len() {
            let mut changed = good.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(key.open(std::str::from_utf8(&changed).unwrap(), NOW), None, "{at}");
        }
        assert_eq!(key.open(&"A".repeat(TOKEN_BYTES_MAX + 1), NOW), None);
    }

    #[test]
    fn questions_read_back_and_others_are_refused() {
        let listed = ShownEndorsement::Listed { serial: "GW-1".into(), spki_der: vec![1, 2] };
        for endorsement in [ShownEndorsement::Certificate(vec![0; MAKER_CERTIFICATE_BYTES_MAX]), listed] {
            let question = Question { endorsement, key_area: vec![3; 100] };
            assert_eq!(Question::read(&question.to_json()), Ok(question));
        }
        use QuestionRefusal::{Base64, Malformed, Oversized};
        let read = |text: &str| Question::read(text.as_bytes()).unwrap_err();
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"key":"AAAA"}"#,
            r#"{"endorsement_certificate":"AAAA"}"#,
            r#"{"endorsement_key":"AAAA","key":"AAAA"}"#,
            r#"{"endorsement_certificate":"AAAA","serial":"1","key":"AAAA"}"#,
            r#"{"endorsement_certificate":"AAAA","endorsement_key":"AAAA","serial":"1","key":"AAAA"}"#,
            r#"{"endorsement_certificate":"AAAA","key":"AAAA","name":"lamp"}"#,
            r#"{"endorsement_certificate":"AAAA","key":"AAAA"} "#.repeat(2).as_str(),
        ] {
            assert_eq!(read(bad), Malformed, "{bad}");
        }
        assert_eq!(read(r#"{"endorsement_certificate":"A","key":"AAAA"}"#), Base64);
        assert_eq!(read(r#"{"endorsement_certificate":"AAAA","key":"é"}"#), Base64);
        assert_eq!(read(&" ".repeat(QUESTION_BYTES_MAX + 1)), Oversized);
    }
}
