//! What was found, kept over a restart, so that somebody can ask for the numbers behind it.

use std::collections::BTreeMap;

use portreeve_detect::{FindingId, Notice};
use portreeve_store::RegistryOp;
use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where they lie among the registry's blobs; behind it stands the identifier.
const PREFIX: &str = "finding/";
/// Findings that are kept. Beyond, the oldest that is over goes, and if none is, the oldest.
pub(crate) const FINDINGS_MAX: usize = 4096;

/// A finding, as it was found, and its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// In the words of the detector.
    pub(crate) finding: Value,
    pub(crate) opened: UnixMillis,
    pub(crate) closed: Option<UnixMillis>,
    pub(crate) count: u64,
}

impl Kept {
    pub(crate) fn to_json(&self) -> Value {
        let mut told = self.finding.clone();
        told["closed"] = json!(self.closed);
        told["count"] = json!(self.count);
        told
    }
}

/// All of them, by identifier: it begins with the time.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: BTreeMap<FindingId, Kept>,
}

impl Findings {
    /// Those that were stored. Episodes that were open end with the process that followed them.
    pub(crate) fn resume(blobs: &[(String, Vec<u8>)]) -> Self {
        let read = |(name, bytes): &(String, Vec<u8>)| {
            let id: FindingId = name.strip_prefix(PREFIX)?.parse().ok()?;
            let mut kept: Kept = serde_json::from_slice(bytes).ok()?;
            kept.closed = kept.closed.or(Some(kept.opened));
            Some((id, kept))
        };
        Self { kept: blobs.iter().filter_map(read).collect() }
    }

    /// Takes what was found or is over; what is to be written.
    pub(crate) fn take(&mut self, notices: &[Notice]) -> Vec<RegistryOp> {
        let mut ops = Vec::new();
        for notice in notices {
            match notice {
                Notice::Opened(finding) => {
                    let told = serde_json::to_value(finding).unwrap_or_default();
                    let kept = Kept { finding: told, opened: finding.opened, closed: None, count: 1 };
                    ops.push(put(finding.id, &kept));
                    self.kept.insert(finding.id, kept);
                }
                Notice::Closed(closing) => {
                    if let Some(kept) = self.kept.get_mut(&closing.id) {
                        kept.closed = Some(closing.closed);
                        kept.count = closing.count;
                        ops.push(put(closing.id, kept));
                    }
                }
            }
        }
        while self.kept.len() > FINDINGS_MAX {
            let over = self.kept.iter().find(|(_, kept)| kept.closed.is_some());
            let Some(oldest) = over.or_else(|| self.kept.iter().next()).map(|(id, _)| *id) else { break };
            self.kept.remove(&oldest);
            ops.push(RegistryOp::DeleteBlob { name: name_of(oldest) });
        }
        ops
    }

    pub(crate) fn find(&self, id: FindingId) -> Option<&Kept> {
        self.kept.get(&id)
    }

    /// The newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &Kept> {
        self.kept.values().rev()
    }

    pub(crate) fn open(&self) -> usize {
        self.kept.values().filter(|kept| kept.closed.is_none()).count()
    }
}

fn name_of(id: FindingId) -> String {
    format!("{PREFIX}{id}")
}

fn put(id: FindingId, kept: &Kept) -> RegistryOp {
    // Plain values always have a JSON form.
    RegistryOp::PutBlob { name: name_of(id), bytes: serde_json::to_vec(kept).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use portreeve_detect::{DetectSettings, Detector, Watch};

    use super::*;

    fn found(watch: &Watch, count: usize) -> Vec<Notice> {
        let all = (0..count).flat_map(|_| watch.rehearse(Detector::AuthFailures, UnixMillis(1_000_000)));
        all.map(Notice::Opened).collect()
    }

    #[test]
    fn findings_are_bounded_and_survive() {
        let mut findings = Findings::default();
        let watch = Watch::new(&DetectSettings::default()).unwrap();
        let notices = found(&watch, 10);
        assert_eq!(notices.len(), 10);
        let ops = findings.take(&notices);
        let blobs: Vec<_> = ops
            .into_iter()
            .map(|op| match op {
                RegistryOp::PutBlob { name, bytes } => (name, bytes),
                _ => unreachable!("nothing goes"),
            })
            .collect();
        assert_eq!(findings.open(), 10);
        let resumed = Findings::resume(&blobs);
        assert_eq!((resumed.kept.len(), resumed.open()), (10, 0), "what followed them is gone");
        let numbers = &resumed.newest().next().unwrap().to_json()["numbers"];
        assert!(numbers.as_array().is_some_and(|numbers| !numbers.is_empty()), "{numbers}");
        let ops = findings.take(&found(&watch, FINDINGS_MAX));
        assert_eq!(findings.kept.len(), FINDINGS_MAX);
        assert!(ops.iter().any(|op| matches!(op, RegistryOp::DeleteBlob { .. })));
    }
}
