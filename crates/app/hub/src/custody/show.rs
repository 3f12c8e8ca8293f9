//! What `ca show` tells: the CAs there are, how long they last, and where each key is.

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_keys::{Custody, KeyFacts, Protection};
use portreeve_pki::{CaRole, PkiError, SubjectPublicKey, leaf_facts};
use portreeve_types::KeyHash;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use super::LISTENERS;
use crate::{AdminError, Hub};

/// A certificate, and what there is to say of its key.
struct Row<'a> {
    name: &'a str,
    purpose: &'a str,
    certificate: &'a CertificateDer<'a>,
    place: String,
    protection: Protection,
    /// Whether this process has the use of it.
    in_use: bool,
}

impl Hub {
    /// The CAs and the listeners' certificate, with their keys.
    pub(crate) fn ca_show(&self) -> Result<Value, AdminError> {
        let ring = &self.keys;
        let list = |custody: &dyn Custody| {
            let listed = custody.list().map_err(|error| ring.explain(error));
            listed.map_err(|error| AdminError::Refused(format!("the keys cannot be looked at: {error}")))
        };
        let listed = list(&*ring.cas)?;
        let mut rows = Vec::new();
        for (role, certificate) in self.authority.certificates() {
            let row = Row {
                name: role.as_str(),
                purpose: purpose(role),
                certificate,
                place: self.place(role),
                protection: ring.cas.protection(),
                in_use: role != CaRole::Root,
            };
            rows.push(row.to_json(&listed)?);
        }
        let chain = self.tls.certificate();
        let listeners = Row {
            name: LISTENERS,
            purpose: "the hub's listeners",
            certificate: chain.first().ok_or(PkiError::BadCertificate("the listeners have none"))?,
            place: ring.pki.join(format!("{LISTENERS}.key")).display().to_string(),
            protection: ring.files.protection(),
            in_use: true,
        };
        rows.push(listeners.to_json(&list(&*ring.files)?)?);
        Ok(json!({ "custody": ring.custody.as_str(), "certificates": rows }))
    }

    fn place(&self, role: CaRole) -> String {
        let (pki, name) = (&self.keys.pki, role.as_str());
        match self.keys.cas.protection() {
            Protection::FilePermissions | Protection::SealedFile => {
                pki.join(format!("{name}.key")).display().to_string()
            }
            Protection::Tpm => format!("{}, for this TPM alone", pki.join(format!("{name}.tpm")).display()),
            Protection::Pkcs11 => format!("key {name} in token {:?}", self.config().keys.pkcs11_token),
        }
    }
}

impl Row<'_> {
    /// The key is the one of this name, if that is the one which the certificate certifies.
    fn to_json(&self, listed: &[KeyFacts]) -> Result<Value, PkiError> {
        let facts = leaf_facts(self.certificate)?;
        let key = listed.iter().find(|key| key.name.as_str() == self.name && hash(key) == Some(facts.key));
        let key = key.map(|key| {
            json!({
                "algorithm": key.public.algorithm().to_string(),
                "place": self.place,
                "protection": self.protection.to_string(),
                "hardware_held": self.protection.is_hardware_held(),
                "in_use": self.in_use,
            })
        });
        Ok(json!({
            "name": self.name,
            "purpose": self.purpose,
            "sha256": hex::encode(digest(&SHA256, self.certificate)),
            "serial": hex::encode(&facts.serial),
            "not_before_ms": facts.not_before.0,
            "not_after_ms": facts.not_after.0,
            "key": key,
        }))
    }
}

fn hash(key: &KeyFacts) -> Option<KeyHash> {
    SubjectPublicKey::from_spki_der(key.public.spki_der()).ok().map(|key| key.hash())
}

fn purpose(role: CaRole) -> &'static str {
    match role {
        CaRole::Root => "what devices trust; certifies the issuing CAs",
        CaRole::Devices => "issues to devices, gateways and applications",
        CaRole::Hub => "issues to the hub's listeners",
    }
}
