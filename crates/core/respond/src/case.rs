use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Custody, Severity, Sha256, Subject, TEXT_BYTES_MAX, text::is_plain};

/// Findings that a case lists; further ones are counted.
pub const FINDINGS_PER_CASE_MAX: usize = 64;
/// Notes that a case holds; a further one is refused.
pub const NOTES_PER_CASE_MAX: usize = 64;
/// Ranges of ledger entries that a case holds; beyond, the two that are nearest become one with what is between them.
pub const LEDGER_RANGES_PER_CASE_MAX: usize = 64;

/// Where a case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseState {
    /// Nobody took it on.
    Open,
    /// Somebody works on it.
    Acknowledged,
    /// It is over, for a reason.
    Closed,
}

/// A finding in a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFinding {
    /// The episode's name.
    pub id: String,
    /// The detector's word.
    pub kind: String,
    /// How grave it is.
    pub severity: Severity,
    /// When it joined.
    pub at: UnixMillis,
    /// What was found.
    pub text: String,
}

/// What somebody wrote into a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub who: String,
    /// What.
    pub text: String,
}

/// Ledger entries that belong to a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerRange {
    /// The first entry's number.
    pub first: u64,
    /// The last one's.
    pub last: u64,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// What people work on after an alert (CSA-MSU-03, CSA-IMT-02).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub(crate) core: Core,
    pub(crate) findings: Vec<CaseFinding>,
    pub(crate) notes: Vec<Note>,
    pub(crate) custody: Custody,
}

/// The part of a case that changes; the rest only grows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Core {
    pub(crate) number: u64,
    pub(crate) opened: UnixMillis,
    /// The kind of finding that opened it.
    pub(crate) kind: String,
    pub(crate) subject: Subject,
    pub(crate) severity: Severity,
    pub(crate) state: CaseState,
    /// Whether it stands for all findings that no case had room for.
    pub(crate) is_overflow: bool,
    /// When the last finding joined.
    pub(crate) last_finding: UnixMillis,
    /// Findings that joined, listed or not.
    pub(crate) findings_counted: u64,
    pub(crate) ledger: Vec<LedgerRange>,
    pub(crate) closing: Option<Closing>,
    /// What is stored beside it, so that nothing can be taken away unseen.
    pub(crate) findings_listed: usize,
    pub(crate) notes_kept: usize,
    pub(crate) custody_head: Sha256,
}

/// A case as it is read and exported: everything but its custody log, which has a file of its own.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) number: u64,
    pub(crate) opened: UnixMillis,
    pub(crate) kind: String,
    pub(crate) subject: Subject,
    pub(crate) severity: Severity,
    pub(crate) state: CaseState,
    pub(crate) is_overflow: bool,
    pub(crate) last_finding: UnixMillis,
    pub(crate) findings_counted: u64,
    pub(crate) findings: Vec<CaseFinding>,
    pub(crate) ledger: Vec<LedgerRange>,
    pub(crate) notes: Vec<Note>,
    pub(crate) closing: Option<Closing>,
}

impl Case {
    /// Its number, never given out again.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.core.number
    }

    /// When it was opened.
    #[must_use]
    pub fn opened(&self) -> UnixMillis {
        self.core.opened
    }

    /// The kind of finding that opened it.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.core.kind
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.core.subject
    }

    /// That of its gravest finding.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.core.severity
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> CaseState {
        self.core.state
    }

    /// Whether it stands for findings that no case had room for.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        self.core.is_overflow
    }

    /// The first [`FINDINGS_PER_CASE_MAX`] findings.
    #[must_use]
    pub fn findings(&self) -> &[CaseFinding] {
        &self.findings
    }

    /// How many joined, listed or not.
    #[must_use]
    pub fn findings_counted(&self) -> u64 {
        self.core.findings_counted
    }

    /// Entries of the ledger that belong to it, in order.
    #[must_use]
    pub fn ledger(&self) -> &[LedgerRange] {
        &self.core.ledger
    }

    /// What people wrote.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Who had it in hand.
    #[must_use]
    pub fn custody(&self) -> &Custody {
        &self.custody
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn closing(&self) -> Option<&Closing> {
        self.core.closing.as_ref()
    }

    /// The case as JSON, without its custody log: the same bytes for the same case. This is what a reading's hash is of.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let core = self.core.clone();
        let document = Document {
            number: core.number,
            opened: core.opened,
            kind: core.kind,
            subject: core.subject,
            severity: core.severity,
            state: core.state,
            is_overflow: core.is_overflow,
            last_finding: core.last_finding,
            findings_counted: core.findings_counted,
            findings: self.findings.clone(),
            ledger: core.ledger,
            notes: self.notes.clone(),
            closing: core.closing,
        };
        // Plain values always have a JSON form.
        serde_json::to_vec_pretty(&document).unwrap_or_default()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.core.state == CaseState::Closed
    }

    /// Adds entries of the ledger. They stay in order, apart, and few.
    pub(crate) fn add_ledger(&mut self, range: LedgerRange) {
        let ranges = &mut self.core.ledger;
        ranges.push(range);
        ranges.sort_unstable();
        let all = std::mem::take(ranges);
        for range in all {
            match ranges.last_mut() {
                Some(before) if range.first <= before.last.saturating_add(1) => {
                    before.last = before.last.max(range.last)
                }
                _ => ranges.push(range),
            }
        }
        if ranges.len() > LEDGER_RANGES_PER_CASE_MAX {
            let gap = |at: &usize| ranges[at + 1].first - ranges[*at].last;
            if let Some(at) = (0..ranges.len() - 1).min_by_key(gap) {
                ranges[at].last = ranges[at + 1].last;
                ranges.remove(at + 1);
            }
        }
    }

    /// Whether what was stored fits together: nobody but the hub writes it, unless the disk is damaged or not the hub's alone.
    pub(crate) fn is_sound(&self) -> bool {
        let Core { findings_listed, notes_kept, findings_counted, state, ledger, closing, .. } = &self.core;
        *findings_listed == self.findings.len()
            && self.findings.len() <= FINDINGS_PER_CASE_MAX
            && *findings_counted >= self.findings.len() as u64
            && *notes_kept == self.notes.len()
            && self.notes.len() <= NOTES_PER_CASE_MAX
            && ledger.len() <= LEDGER_RANGES_PER_CASE_MAX
            && ledger.iter().all(|range| range.first <= range.last)
            && ledger.windows(2).all(|pair| pair[0].last < pair[1].first)
            && closing.is_some() == (*state == CaseState::Closed)
            && self.core.subject == self.core.subject.clean()
            && self.texts().all(|text| text.len() <= TEXT_BYTES_MAX && is_plain(text))
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let findings = self.findings.iter().flat_map(|finding| [&finding.id, &finding.kind, &finding.text]);
        let notes = self.notes.iter().flat_map(|note| [&note.who, &note.text]);
        let closing = self.core.closing.iter().flat_map(|closing| [&closing.who, &closing.reason]);
        findings.chain(notes).chain(closing).chain([&self.core.kind]).map(String::as_str)
    }
}
