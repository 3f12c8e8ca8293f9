//! What operators do with SBOMs: attach, look at, export, remove.

use std::sync::atomic::Ordering::Relaxed;

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_types::UnixMillis;
use serde_json::{Value, json};

use super::{
    Release, Sbom,
    catalogue::{Edition, Entry, name_of},
};
use crate::{
    Actor, AdminError, Hub,
    registry::{FIELD_CHARS_MAX, is_field},
};

impl Hub {
    /// Attaches an SBOM to a release, in place of the one before (CSA-ACT-01).
    pub(crate) fn sbom_add(
        &self,
        actor: &Actor,
        release: &Release,
        text: &str,
        dry_run: bool,
        now: UnixMillis,
    ) -> Result<Value, AdminError> {
        expect_release(release)?;
        let bytes_max = self.config().limits.sbom_bytes;
        if text.len() > bytes_max {
            let why = format!("the file has more than {bytes_max} bytes (limits.sbom_bytes); nothing was attached");
            return Err(AdminError::Invalid(why));
        }
        let sbom = Sbom::read(text).map_err(|error| AdminError::Invalid(format!("{error}; nothing was attached")))?;
        let sha256 = hex::encode(digest(&SHA256, text.as_bytes()));
        let _turn = self.sboms.turn.lock();
        let mut entries = self.sboms.entries.lock();
        let before = entries.get(release);
        let is_new = before.is_none_or(|before| before.edition.sha256 != sha256);
        let result = json!({
            "model": release.model,
            "firmware": release.firmware,
            "sha256": sha256,
            "bytes": text.len(),
            "components": sbom.components().len(),
            "replaces": before.map(|before| &before.edition.sha256).filter(|_| is_new),
            "unchanged": !is_new,
            "warnings": warnings(release, &sbom),
            "dry_run": dry_run,
        });
        let bytes_before = before.map(|before| before.bytes);
        let others: usize = entries.values().map(|entry| entry.bytes).sum::<usize>() - bytes_before.unwrap_or(0);
        self.expect_sbom_room(others + text.len(), entries.len() + usize::from(bytes_before.is_none()))?;
        if dry_run || !is_new {
            return Ok(result);
        }
        let entry = Entry {
            release: release.clone(),
            edition: Edition { sha256, by: actor.name.clone(), at: now },
            bytes: text.len(),
            components: sbom.components().len(),
            spec_version: sbom.spec_version().to_owned(),
            replaced: Vec::new(),
        };
        let entry = entry.behind(entries.get(release));
        self.registry.put_blobs(&entry.put(text))?;
        self.tell_sbom(actor, &entry, if entry.replaced.is_empty() { "attached" } else { "replaced" });
        entries.insert(release.clone(), entry);
        drop(entries);
        self.doubt_all(release);
        Ok(result)
    }

    fn expect_sbom_room(&self, bytes: usize, sboms: usize) -> Result<(), AdminError> {
        let config = self.config();
        let limits = &config.limits;
        let full = |limit: &str, bound: usize| {
            self.emit(EventKind::LimitReached, None, None, None, format_args!("{limit}: {bound}"));
            Err(AdminError::Refused(format!("limits.{limit} ({bound}) would be exceeded; nothing was attached")))
        };
        if sboms > limits.sboms {
            return full("sboms", limits.sboms);
        }
        if bytes > limits.sbom_bytes_total {
            return full("sbom_bytes_total", limits.sbom_bytes_total);
        }
        if self.disk_low.load(Relaxed) {
            return Err(AdminError::Refused("the disk is down to its reserve; nothing was attached".into()));
        }
        Ok(())
    }

    pub(crate) fn sbom_list(&self) -> Value {
        let entries: Vec<Entry> = self.sboms.entries.lock().values().cloned().collect();
        let devices = self.devices_by_release();
        let row = |entry: &Entry| {
            let mut row = entry_json(entry);
            row["devices"] = json!(devices.get(&entry.release).copied().unwrap_or(0));
            row
        };
        entries.iter().map(row).collect()
    }

    pub(crate) fn sbom_show(&self, release: &Release) -> Result<Value, AdminError> {
        let _turn = self.sboms.turn.lock();
        let entry = self.expect_sbom(release)?;
        let sbom = self.read_sbom(&entry)?;
        let mut result = entry_json(&entry);
        result["replaced"] = entry.replaced.iter().map(edition_json).collect();
        result["warnings"] = json!(warnings(release, &sbom));
        result["components"] = json!(sbom.components());
        Ok(result)
    }

    /// The document as it was attached, byte for byte.
    pub(crate) fn sbom_export(&self, release: &Release) -> Result<Value, AdminError> {
        let _turn = self.sboms.turn.lock();
        let entry = self.expect_sbom(release)?;
        let text = self.sbom_text(&entry)?;
        Ok(
            json!({ "model": release.model, "firmware": release.firmware, "sha256": entry.edition.sha256, "text": text }),
        )
    }

    pub(crate) fn sbom_remove(&self, actor: &Actor, release: &Release, dry_run: bool) -> Result<Value, AdminError> {
        let _turn = self.sboms.turn.lock();
        let mut entries = self.sboms.entries.lock();
        let Some(entry) = entries.get(release) else { return Err(unknown(release)) };
        let mut result = entry_json(entry);
        result["dry_run"] = json!(dry_run);
        if !dry_run {
            self.registry.put_blobs(&entry.delete())?;
            self.tell_sbom(actor, entry, "removed");
            entries.remove(release);
        }
        Ok(result)
    }

    pub(super) fn read_sbom(&self, entry: &Entry) -> Result<Sbom, AdminError> {
        let text = self.sbom_text(entry)?;
        Sbom::read(&text).map_err(|error| AdminError::Refused(format!("the SBOM of {}: {error}", entry.release)))
    }

    fn sbom_text(&self, entry: &Entry) -> Result<String, AdminError> {
        let bytes = self.registry.document(&name_of(&entry.release))?;
        let bytes = bytes.filter(|bytes| hex::encode(digest(&SHA256, bytes)) == entry.edition.sha256);
        let altered = || format!("the SBOM of {} is not the one that was attached; attach it again", entry.release);
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| AdminError::Refused(altered()))
    }

    fn expect_sbom(&self, release: &Release) -> Result<Entry, AdminError> {
        self.sboms.entry(release).ok_or_else(|| unknown(release))
    }

    fn tell_sbom(&self, actor: &Actor, entry: &Entry, what: &str) {
        let Entry { release, edition, .. } = entry;
        let data = [("sha256", Datum::Plain(&edition.sha256))];
        self.tell(&Event::new(EventKind::SbomChanged, format_args!("{release}: {what}")).by(&actor.name).with(&data));
    }
}

fn expect_release(release: &Release) -> Result<(), AdminError> {
    for (what, text) in [("model", &release.model), ("firmware version", &release.firmware)] {
        if text.is_empty() || !is_field(text) {
            let why = format!("a {what} has 1 to {FIELD_CHARS_MAX} characters, and no control characters");
            return Err(AdminError::Invalid(why));
        }
    }
    Ok(())
}

fn unknown(release: &Release) -> AdminError {
    AdminError::Refused(format!("there is no SBOM of {release}; `portreeve firmware sbom list` shows all"))
}

/// What makes it doubtful that this is the SBOM that was meant. Builds name their results in many ways, so it is no more.
fn warnings(release: &Release, sbom: &Sbom) -> Vec<String> {
    let Some(subject) = sbom.subject() else {
        return vec!["it does not say what it is about: there is no metadata.component".into()];
    };
    let pairs = [("name", &subject.name, &release.model), ("version", &subject.version, &release.firmware)];
    let differing = pairs.into_iter().filter(|(_, said, meant)| !said.is_empty() && !said.eq_ignore_ascii_case(meant));
    differing
        .map(|(what, said, meant)| format!("the {what} in metadata.component is `{said}`, not `{meant}`"))
        .collect()
}

fn edition_json(edition: &Edition) -> Value {
    json!({ "sha256": edition.sha256, "by": edition.by, "at_ms": edition.at.0 })
}

fn entry_json(entry: &Entry) -> Value {
    json!({
        "model": entry.release.model,
        "firmware": entry.release.firmware,
        "sha256": entry.edition.sha256,
        "by": entry.edition.by,
        "at_ms": entry.edition.at.0,
        "bytes": entry.bytes,
        "component_count": entry.components,
        "spec_version": entry.spec_version,
    })
}

#[cfg(test)]
mod tests {
    use portreeve_config::{Config, Role};
    use portreeve_store::RegistryOp;

    use super::*;

    /// What lies in the store is held against the hash that was told of it.
    #[test]
    fn a_document_that_was_altered_is_not_told_as_the_one_attached() {
        let data = tempfile::tempdir().unwrap();
        let now = std::time::SystemTime::now().into();
        let hub = Hub::open(&data.path().join("hub"), Config::default(), now).unwrap();
        let release = Release { model: "P30".into(), firmware: "2.0".into() };
        let actor = Actor { name: "olga".into(), role: Role::Operator };
        let text = r#"{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "a"}]}"#;
        let _ = hub.sbom_add(&actor, &release, text, false, now).unwrap();
        assert_eq!(hub.sbom_export(&release).unwrap()["text"], text);
        let altered = text.replace("\"a\"", "\"b\"").into_bytes();
        hub.registry.put_blobs(&[RegistryOp::PutDocument { name: name_of(&release), bytes: altered }]).unwrap();
        assert!(matches!(hub.sbom_export(&release), Err(AdminError::Refused(_))));
        assert!(matches!(hub.sbom_show(&release), Err(AdminError::Refused(_))));
        assert!(matches!(hub.sbom_find("a"), Err(AdminError::Refused(_))), "an answer that lacks one would flatter");
        let _ = hub.sbom_remove(&actor, &release, false).unwrap();
        assert!(hub.sbom_find("a").is_ok());
    }
}
