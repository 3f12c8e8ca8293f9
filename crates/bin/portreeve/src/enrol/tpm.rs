//! The device's side of enrolment by endorsement key.

use std::sync::Arc;

use portreeve_keys::{
    KeyError,
    tpm::{Challenge, Endorsement, EndorsementKind, endorsement},
};
use portreeve_pki::{ChallengeAnswer, Question, ShownEndorsement, audit_endorsement_key};
use portreeve_types::KeyHash;
use rustls::ClientConfig;
use zeroize::Zeroizing;

use super::{
    est::{self, Address, Reply},
    key::{TpmKey, name, unusable},
};
use crate::failure::Failure;

/// The hash by which a list knows the TPM of this machine: of its P-256 key, which is the faster one.
pub(crate) fn listed_hash(tcti: &str) -> Result<KeyHash, Failure> {
    let Endorsement { spki_der, .. } = tcti
        .parse()
        .and_then(|address| endorsement(address, EndorsementKind::EccP256))
        .map_err(|error| unusable(&error))?;
    audit_endorsement_key(&spki_der).map_err(|why| Failure::Refused(format!("the TPM's endorsement key: {why}")))
}

/// What the hub is asked: by the number on a list, or by the certificate that the TPM brings.
pub(super) fn question(key: &TpmKey, serial: Option<&str>) -> Result<Question, Failure> {
    let key_area = key.custody.key_area(&name()?).map_err(|error| unusable(&error))?.as_bytes().to_vec();
    let endorsement = |kind| key.custody.endorsement(kind).map_err(|error| unusable(&error));
    if let Some(serial) = serial {
        let spki_der = endorsement(EndorsementKind::EccP256)?.spki_der;
        let endorsement = ShownEndorsement::Listed { serial: serial.to_owned(), spki_der };
        return Ok(Question { endorsement, key_area });
    }
    for kind in [EndorsementKind::EccP256, EndorsementKind::Rsa2048] {
        if let Some(der) = endorsement(kind)?.certificate_der {
            return Ok(Question { endorsement: ShownEndorsement::Certificate(der), key_area });
        }
    }
    Err(Failure::Refused(
        "the TPM brings no certificate of its endorsement key; have the key put on a signed list \
         (`portreeve enrolment list entry NUMBER --tpm` tells it), and give --serial NUMBER here"
            .into(),
    ))
}

/// Asks for a certificate with a challenge that the TPM opens. A new one each time: they do not last long.
pub(super) fn enrol(
    hub: &Address,
    config: &Arc<ClientConfig>,
    key: &TpmKey,
    question: &Question,
    csr: &[u8],
) -> Result<Reply, Failure> {
    match est::tpm_challenge(hub, Arc::clone(config), question)? {
        Ok(challenge) => est::enrol_activated(hub, Arc::clone(config), &opened(key, &challenge)?, csr),
        Err(pause) => Ok(Reply::Later(pause)),
    }
}

fn opened(key: &TpmKey, answer: &ChallengeAnswer) -> Result<Zeroizing<String>, Failure> {
    let (credential, encrypted_secret) = (answer.credential.clone(), answer.encrypted_secret.clone());
    let secret = key.custody.activate(&name()?, &Challenge { credential, encrypted_secret });
    match secret {
        Ok(secret) => Ok(answer.token(&secret)),
        Err(KeyError::Damaged { .. }) => Err(Failure::Refused(
            "the TPM does not take the hub's challenge: its endorsement key is not the one of its certificate".into(),
        )),
        Err(error) => Err(unusable(&error)),
    }
}
