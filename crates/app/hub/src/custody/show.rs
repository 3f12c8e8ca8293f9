//! What `ca show` tells: the CAs there are, how long they last, and where each key is.

use std::cmp::Ordering;

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_keys::{Custody, Protection};
use portreeve_pki::{CaName, CaRole, PkiError, leaf_facts};
use portreeve_types::UnixMillis;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use serde_json::{Value, json};

use super::{LISTENERS, key_hash};
use crate::{AdminError, Hub, ca_files::CaFiles};

/// A certificate of the hub's own, as operators are told of it.
#[derive(Debug, Serialize)]
pub(crate) struct OwnCertificate {
    pub(crate) name: String,
    pub(crate) purpose: &'static str,
    pub(crate) sha256: String,
    serial: String,
    #[serde(rename = "not_before_ms")]
    pub(crate) not_before: UnixMillis,
    #[serde(rename = "not_after_ms")]
    pub(crate) not_after: UnixMillis,
    /// Its key, if that is here.
    pub(crate) key: Option<OwnKey>,
    /// Of a CA: whether it was withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) withdrawn: Option<bool>,
    /// Of a CA: from when on it certifies others, if it is a root.
    #[serde(rename = "certifies_from_ms", skip_serializing_if = "Option::is_none")]
    certifies_from: Option<Option<UnixMillis>>,
}

/// A private key, by what is known without it.
#[derive(Debug, Serialize)]
pub(crate) struct OwnKey {
    pub(crate) algorithm: String,
    place: String,
    pub(crate) protection: String,
    pub(crate) hardware_held: bool,
    in_use: bool,
}

/// A certificate, and what there is to say of its key.
struct Row<'a> {
    name: String,
    purpose: &'static str,
    certificate: &'a CertificateDer<'a>,
    custody: &'a dyn Custody,
    /// Whether this process has the use of it.
    in_use: bool,
}

impl Hub {
    /// The CAs and the listeners' certificate, with their keys.
    pub(crate) fn ca_show(&self) -> Result<Value, AdminError> {
        Ok(json!({ "custody": self.keys.custody.as_str(), "certificates": self.own_certificates()? }))
    }

    /// The certificates of the CAs, then the listeners'.
    pub(crate) fn own_certificates(&self) -> Result<Vec<OwnCertificate>, AdminError> {
        let ring = &self.keys;
        let mut rows = Vec::new();
        let (authority, files) = (self.authority.load(), CaFiles::read(&ring.pki)?);
        for (name, certificate) in authority.certificates() {
            let row = self.own_certificate(Row {
                name: name.to_string(),
                purpose: purpose(name, authority.name_of(name.role)),
                certificate,
                custody: &*ring.cas,
                in_use: name.role != CaRole::Root,
            })?;
            rows.push(OwnCertificate {
                withdrawn: Some(files.get(&name.withdrawal_file()).is_some()),
                certifies_from: Some((name.role == CaRole::Root).then(|| files.used_from(name))),
                ..row
            });
        }
        let chain = self.tls.certificate();
        rows.push(self.own_certificate(Row {
            name: LISTENERS.to_owned(),
            purpose: "the hub's listeners",
            certificate: chain.first().ok_or(PkiError::BadCertificate("the listeners have none"))?,
            custody: &*ring.files,
            in_use: true,
        })?);
        Ok(rows)
    }

    /// The key is the one that the certificate certifies, if it is there.
    fn own_certificate(&self, row: Row<'_>) -> Result<OwnCertificate, AdminError> {
        let facts = leaf_facts(row.certificate)?;
        let listed = row.custody.list().map_err(|error| {
            let error = self.keys.explain(error);
            AdminError::Refused(format!("the keys cannot be looked at: {error}"))
        })?;
        let protection = row.custody.protection();
        let key = listed.iter().find(|key| key_hash(key.public.spki_der()) == Some(facts.key)).map(|key| OwnKey {
            algorithm: key.public.algorithm().to_string(),
            place: self.place(key.name.as_str(), protection),
            protection: protection.to_string(),
            hardware_held: protection.is_hardware_held(),
            in_use: row.in_use,
        });
        Ok(OwnCertificate {
            name: row.name,
            purpose: row.purpose,
            sha256: hex::encode(digest(&SHA256, row.certificate)),
            serial: hex::encode(&facts.serial),
            not_before: facts.not_before,
            not_after: facts.not_after,
            key,
            withdrawn: None,
            certifies_from: None,
        })
    }

    fn place(&self, name: &str, protection: Protection) -> String {
        let pki = &self.keys.pki;
        match protection {
            Protection::FilePermissions | Protection::SealedFile => {
                pki.join(format!("{name}.key")).display().to_string()
            }
            Protection::Tpm => format!("{}, for this TPM alone", pki.join(format!("{name}.tpm")).display()),
            Protection::Pkcs11 => format!("key {name} in token {:?}", self.config().keys.pkcs11_token),
        }
    }
}

/// What a CA does, given the one of its role that is in use.
fn purpose(name: CaName, present: CaName) -> &'static str {
    match (name.role, name.number.cmp(&present.number)) {
        (CaRole::Root, Ordering::Greater) => "the root that follows: announced to devices",
        (CaRole::Root, Ordering::Less) => {
            "was followed by another root; trusted until the last certificate below it ends"
        }
        (_, Ordering::Less) => "issued to devices; signs revocation until its last certificate ends",
        (role, _) => purpose_of(role),
    }
}

fn purpose_of(role: CaRole) -> &'static str {
    match role {
        CaRole::Root => "what devices trust; certifies the issuing CAs",
        CaRole::Devices => "issues to devices, gateways and applications",
        CaRole::Hub => "issues to the hub's listeners",
    }
}
