//! What operators ask of detection.

use portreeve_detect::FindingId;
use portreeve_store::RegistryOp;
use portreeve_types::IdentityName;
use serde_json::{Value, json};

use super::{FROZEN_BLOB, SETTINGS_BLOB, parse};
use crate::{AdminError, Hub};

/// Findings in one answer.
const LISTED_MAX: usize = 1000;
/// Longest text of settings.
const SETTINGS_BYTES_MAX: usize = 1 << 20;

impl Hub {
    /// Whether it learns, and how much it holds.
    pub(crate) fn detect_status(&self) -> Value {
        let usage = self.watcher.watch.usage();
        let open = self.watcher.watch.open_episodes();
        json!({
            "learning": !self.watcher.watch.is_frozen(),
            "identities": usage.identities,
            "sources": usage.sources,
            "open": open,
            "settings": *self.watcher.settings.lock(),
        })
    }

    /// The newest findings first; with `open`, those that are not over.
    pub(crate) fn findings(&self, open: bool, count: usize) -> Value {
        let findings = self.watcher.findings.lock();
        let wanted = findings.newest().filter(|kept| !open || kept.closed.is_none());
        wanted.take(count.clamp(1, LISTED_MAX)).map(super::findings::Kept::to_json).collect()
    }

    /// One finding, with the numbers behind it.
    pub(crate) fn finding(&self, id: &str) -> Result<Value, AdminError> {
        let id: FindingId = id.parse().map_err(|error| AdminError::Invalid(format!("`{id}`: {error}")))?;
        let findings = self.watcher.findings.lock();
        let missing = || {
            AdminError::Refused(format!(
                "there is no finding {id}, or it was let go; `portreeve detect list` shows all"
            ))
        };
        Ok(findings.find(id).ok_or_else(missing)?.to_json())
    }

    /// Takes other settings; the problem with them has line and column.
    pub(crate) fn detect_apply(&self, file: &str, text: &str, dry_run: bool) -> Result<Value, AdminError> {
        let invalid = |error: String| AdminError::Invalid(format!("{file}: {error}"));
        if text.len() > SETTINGS_BYTES_MAX {
            return Err(invalid(format!("settings of detection have at most {SETTINGS_BYTES_MAX} bytes")));
        }
        let settings = parse(text).map_err(invalid)?;
        // What is out of range is found by making one of it.
        portreeve_detect::Watch::new(&settings).map_err(|error| invalid(error.to_string()))?;
        if !dry_run {
            let mut applied = self.watcher.settings.lock();
            let put = RegistryOp::PutBlob { name: SETTINGS_BLOB.into(), bytes: text.as_bytes().to_vec() };
            self.registry.put_blobs(&[put])?;
            self.watcher.watch.configure(&settings).map_err(|error| invalid(error.to_string()))?;
            text.clone_into(&mut applied);
        }
        Ok(json!({ "applied": !dry_run, "off": settings.off, "groups": settings.groups.len() }))
    }

    /// Ends learning, or begins it again.
    pub(crate) fn detect_freeze(&self, freeze: bool) -> Result<Value, AdminError> {
        let op = match freeze {
            true => RegistryOp::PutBlob { name: FROZEN_BLOB.into(), bytes: Vec::new() },
            false => RegistryOp::DeleteBlob { name: FROZEN_BLOB.into() },
        };
        self.registry.put_blobs(&[op])?;
        match freeze {
            true => self.watcher.watch.freeze(),
            false => self.watcher.watch.thaw(),
        }
        self.save_baselines();
        Ok(json!({ "learning": !freeze }))
    }

    /// Forgets what was learnt of one identity, and learns it anew.
    pub(crate) fn detect_relearn(&self, name: &IdentityName) -> Result<Value, AdminError> {
        self.registry.find(name)?;
        let is_followed = self.watcher.watch.relearn(name.as_str());
        Ok(json!({ "name": name.as_str(), "was_followed": is_followed }))
    }
}
