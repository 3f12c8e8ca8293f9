//! The applied policy: kept in the registry store, compiled as a whole, replaced as a whole.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_policy::{Diagnostic, Epoch, PolicySet, PolicySource};
use portreeve_store::RegistryOp;

use crate::{AdminError, Hub};

/// Where applied policies lie among the registry's blobs.
const PREFIX: &str = "policy/";

/// The policy files among the blobs, in order of their names.
pub(crate) fn stored_sources(blobs: &[(String, Vec<u8>)]) -> Result<Vec<PolicySource>, String> {
    let mut sources = BTreeMap::new();
    for (name, bytes) in blobs {
        let Some(file) = name.strip_prefix(PREFIX) else { continue };
        let text = String::from_utf8(bytes.clone()).map_err(|_| format!("the stored policy {file} is not text"))?;
        sources.insert(file.to_owned(), text);
    }
    Ok(sources.into_iter().map(|(file, text)| PolicySource { file, text }).collect())
}

pub(crate) fn hash_of(sources: &[PolicySource]) -> String {
    let texts: Vec<_> = sources.iter().map(|source| (&source.file, &source.text)).collect();
    // Plain texts always have a JSON form.
    hex::encode(digest(&SHA256, &serde_json::to_vec(&texts).unwrap_or_default()))
}

pub(crate) fn join(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Hub {
    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<PolicySet> {
        self.policy.load_full()
    }

    /// Compiles a candidate without applying it.
    pub(crate) fn compile(&self, sources: &[PolicySource]) -> Result<PolicySet, AdminError> {
        let epoch = Epoch(self.policy.load().epoch().0 + 1);
        PolicySet::compile(sources, epoch).map_err(|diagnostics| AdminError::Invalid(join(&diagnostics)))
    }

    /// Replaces the applied policy by `sources`: stored, then in force, then every live subscription decided anew.
    /// Returns how many subscriptions ended (ISVS-4.2.2).
    pub(crate) fn apply_policy(&self, actor: &str, sources: &[PolicySource]) -> Result<usize, AdminError> {
        let _change = self.policy_change.lock();
        let set = self.compile(sources)?;
        let mut ops: Vec<RegistryOp> = Vec::new();
        for old in self.policy.load().sources() {
            ops.push(RegistryOp::DeleteBlob { name: format!("{PREFIX}{}", old.file) });
        }
        for source in sources {
            ops.push(RegistryOp::PutBlob {
                name: format!("{PREFIX}{}", source.file),
                bytes: source.text.clone().into_bytes(),
            });
        }
        self.registry.put_blobs(&ops)?;
        self.policy.store(Arc::new(set));
        self.raise_generation();
        let sessions: Vec<_> = self.sessions.lock().by_id.values().cloned().collect();
        let withdrawn = self.reauthorize(&sessions, self.wall_clock());
        let (files, policies) = (sources.len(), self.policy.load().len());
        let detail = format_args!("{files} files, {policies} policies, {withdrawn} subscriptions ended");
        let data = [("after_sha256", Datum::Plain(&hash_of(sources)))];
        self.tell(&Event::new(EventKind::PolicyApplied, detail).by(actor).with(&data));
        Ok(withdrawn)
    }
}
