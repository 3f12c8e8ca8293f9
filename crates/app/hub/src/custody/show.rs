//! What `ca show` tells: the CAs there are, how long they last, and where each key is.

use std::cmp::Ordering;

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_keys::{Custody, Protection};
use portreeve_pki::{CaName, CaRole, PkiError, leaf_facts};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use super::{LISTENERS, key_hash};
use crate::{AdminError, Hub, ca_files::CaFiles};

/// A certificate, and what there is to say of its key.
struct Row<'a> {
    name: &'a str,
    purpose: &'a str,
    certificate: &'a CertificateDer<'a>,
    custody: &'a dyn Custody,
    /// Whether this process has the use of it.
    in_use: bool,
}

impl Hub {
    /// The CAs and the listeners' certificate, with their keys.
    pub(crate) fn ca_show(&self) -> Result<Value, AdminError> {
        let ring = &self.keys;
        let mut rows = Vec::new();
        let (authority, files) = (self.authority.load(), CaFiles::read(&ring.pki)?);
        for (name, certificate) in authority.certificates() {
            let row = Row {
                name: &name.to_string(),
                purpose: purpose(name, authority.name_of(name.role)),
                certificate,
                custody: &*ring.cas,
                in_use: name.role != CaRole::Root,
            };
            let mut row = self.row(&row)?;
            row["withdrawn"] = json!(files.get(&name.withdrawal_file()).is_some());
            row["certifies_from_ms"] = match name.role {
                CaRole::Root => json!(files.used_from(name).0),
                _ => Value::Null,
            };
            rows.push(row);
        }
        let chain = self.tls.certificate();
        let listeners = Row {
            name: LISTENERS,
            purpose: "the hub's listeners",
            certificate: chain.first().ok_or(PkiError::BadCertificate("the listeners have none"))?,
            custody: &*ring.files,
            in_use: true,
        };
        rows.push(self.row(&listeners)?);
        Ok(json!({ "custody": ring.custody.as_str(), "certificates": rows }))
    }

    /// The key is the one that the certificate certifies, if it is there.
    fn row(&self, row: &Row<'_>) -> Result<Value, AdminError> {
        let facts = leaf_facts(row.certificate)?;
        let listed = row.custody.list().map_err(|error| {
            let error = self.keys.explain(error);
            AdminError::Refused(format!("the keys cannot be looked at: {error}"))
        })?;
        let protection = row.custody.protection();
        let key = listed.iter().find(|key| key_hash(key.public.spki_der()) == Some(facts.key)).map(|key| {
            json!({
                "algorithm": key.public.algorithm().to_string(),
                "place": self.place(key.name.as_str(), protection),
                "protection": protection.to_string(),
                "hardware_held": protection.is_hardware_held(),
                "in_use": row.in_use,
            })
        });
        Ok(json!({
            "name": row.name,
            "purpose": row.purpose,
            "sha256": hex::encode(digest(&SHA256, row.certificate)),
            "serial": hex::encode(&facts.serial),
            "not_before_ms": facts.not_before.0,
            "not_after_ms": facts.not_after.0,
            "key": key,
        }))
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
