use std::collections::BTreeMap;

use portreeve_types::UnixMillis;
use serde::de::DeserializeOwned;

use crate::{
    CUSTODY_LINES_RESERVED, Case, CaseFinding, CaseState, Change, Closing, Custody, CustodyLine, Damaged,
    ExportProblem, FINDINGS_PER_CASE_MAX, Finding, LedgerRange, NOTES_PER_CASE_MAX, Note, READ_AGAIN_MS, Severity,
    Sha256, Subject, TEXT_BYTES_MAX, TextError, Use, case::Core, custody::Handling, records::Pending, text,
};

/// Most cases that are kept. For a further one the closed one that was closed first leaves.
pub const CASES_MAX: usize = 2_000;
/// Most cases that are not closed. What would open a further one joins the overflow case, which counts.
pub const CASES_OPEN_MAX: usize = 1_000;
/// Of these, cases about sources: strangers with many addresses leave room for cases about what is the hub's own.
pub const CASES_OF_SOURCES_OPEN_MAX: usize = 250;
/// A finding of another kind joins a case of the same subject whose last finding is no older than this, milliseconds.
pub const JOIN_WINDOW_MS: u64 = 3_600_000;

const CASE: &str = "case/";
/// The first number that was never given out.
const NEXT: &str = "case/next";
/// Above any number that is ever reached; a stored one above it is damage.
const NUMBERS_MAX: u64 = 1 << 53;
/// Who opens cases.
const HUB: &str = "hub";
/// The kind of a case for what no other has room for.
const OVERFLOW_KIND: &str = "overflow";

/// What became of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filed {
    /// A case of its own.
    Opened {
        /// Its number.
        number: u64,
        /// A closed case that left to make room; its records are deleted. That belongs into the ledger.
        left: Option<u64>,
    },
    /// It joined a case that is open.
    Joined {
        /// Its number.
        number: u64,
    },
    /// As many cases are open as may be: the overflow case has it.
    Overflow {
        /// Its number.
        number: u64,
        /// Whether this finding opened it.
        is_new: bool,
    },
}

/// Why nothing was done with a case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// It left, or never was.
    #[error("there is no case {0}")]
    Unknown(u64),
    /// It has to be reopened first.
    #[error("case {0} is closed")]
    Closed(u64),
    /// Somebody took it on already.
    #[error("case {0} is acknowledged already")]
    Acknowledged(u64),
    /// There is nothing to reopen.
    #[error("case {0} is not closed")]
    NotClosed(u64),
    /// There is one open case for a kind of finding and a subject.
    #[error("case {0} is open for the same")]
    OpenElsewhere(u64),
    /// [`CASES_OPEN_MAX`] or [`CASES_OF_SOURCES_OPEN_MAX`].
    #[error("as many cases are open as may be")]
    OpenFull,
    /// [`NOTES_PER_CASE_MAX`].
    #[error("case {0} has as many notes as it can hold")]
    NotesFull(u64),
    /// [`crate::CUSTODY_LINES_MAX`], less what is kept for closing, and from readings.
    #[error("the custody log of case {0} has no room for this")]
    CustodyFull(u64),
    /// The first entry is behind the last.
    #[error("a range of entries begins with the first")]
    Range,
    /// What somebody wrote cannot be kept.
    #[error(transparent)]
    Text(#[from] TextError),
    /// An extract cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportProblem),
}

/// All cases.
#[derive(Debug)]
pub struct Cases {
    all: BTreeMap<u64, Case>,
    next: u64,
    pending: Pending,
}

impl Default for Cases {
    fn default() -> Self {
        Self { all: BTreeMap::new(), next: 1, pending: Pending::default() }
    }
}

fn key(number: u64, part: &str) -> String {
    format!("{CASE}{number:020}/{part}")
}

fn item_key(number: u64, list: &str, at: usize) -> String {
    format!("{CASE}{number:020}/{list}/{at:06}")
}

impl Cases {
    /// Takes up what was stored: the records whose keys begin with `case/`, in any order; others are not looked at.
    ///
    /// A case whose records do not fit together, or whose custody log is broken, is returned and left out: it is no evidence any
    /// more, and its records stay as they are. Its number is not given out again.
    #[must_use]
    pub fn rebuild<'a>(records: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> (Self, Vec<Damaged>) {
        let mut cases = Self::default();
        let mut damaged = Vec::new();
        let mut stored: BTreeMap<u64, Stored<'a>> = BTreeMap::new();
        for (key, bytes) in records {
            if key == NEXT {
                match serde_json::from_slice(bytes) {
                    Ok(next) if next <= NUMBERS_MAX => cases.next = cases.next.max(next),
                    _ => damaged.push(Damaged::new(key, "not a number that was reached")),
                }
            } else if let Some(path) = key.strip_prefix(CASE) {
                let placed = place(path).map(|(number, part)| stored.entry(number).or_default().take(&part, bytes));
                if placed.is_none() {
                    damaged.push(Damaged::new(key, "not a part of a case"));
                }
            }
        }
        for (number, stored) in stored {
            cases.next = cases.next.max(number + 1);
            let room = if cases.all.len() < CASES_MAX { Ok(()) } else { Err("more cases than are kept".to_owned()) };
            match room.and_then(|()| stored.read(number)) {
                Ok(case) => drop(cases.all.insert(number, case)),
                Err(problem) => damaged.push(Damaged::new(&key(number, ""), problem)),
            }
        }
        (cases, damaged)
    }

    /// Every case, by number. Showing more than number, kind, subject, severity and state is a reading: see [`Self::read`].
    pub fn iter(&self) -> impl Iterator<Item = &Case> {
        self.all.values()
    }

    /// What has to be written, in one commit, before anybody is told.
    #[must_use]
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.pending.take()
    }

    /// Changes that could not be written come again with the next ones.
    pub fn give_back(&mut self, changes: Vec<Change>) {
        self.pending.give_back(changes);
    }

    /// Files a finding that alerts: in the open case of its kind and subject, in one of the same subject that had a finding within
    /// [`JOIN_WINDOW_MS`], or in a new one. `ledger` is the entry that has the finding. One that is listed already changes nothing.
    pub fn report(&mut self, finding: &Finding<'_>, ledger: Option<u64>, now: UnixMillis) -> Filed {
        let subject = finding.subject.clean();
        let finding = CaseFinding {
            id: text::clean(finding.id, TEXT_BYTES_MAX),
            kind: text::clean(finding.kind, TEXT_BYTES_MAX),
            severity: finding.severity,
            at: now,
            text: text::clean(finding.text, TEXT_BYTES_MAX),
        };
        if let Some(number) = self.case_for(&finding, &subject, now) {
            self.join(number, finding, ledger);
            return Filed::Joined { number };
        }
        if !self.has_room_for(&subject) {
            return self.overflow(finding, ledger);
        }
        let left = self.make_room();
        let number = self.open(&finding.kind, subject, finding.severity, false, now);
        self.join(number, finding, ledger);
        Filed::Opened { number, left }
    }

    fn open_cases(&self) -> impl DoubleEndedIterator<Item = &Case> {
        self.all.values().filter(|case| !case.is_closed() && !case.is_overflow())
    }

    fn case_for(&self, finding: &CaseFinding, subject: &Subject, now: UnixMillis) -> Option<u64> {
        let of_subject = || self.open_cases().rev().filter(|case| case.subject() == subject);
        let same = of_subject().find(|case| case.kind() == finding.kind);
        let is_recent = |case: &&Case| now.since(case.core.last_finding).as_millis() <= u128::from(JOIN_WINDOW_MS);
        same.or_else(|| of_subject().find(is_recent)).map(Case::number)
    }

    fn has_room_for(&self, subject: &Subject) -> bool {
        let is_source = |subject: &Subject| matches!(subject, Subject::Source(_));
        let sources = || self.open_cases().filter(|case| is_source(case.subject())).count();
        let has_share = !is_source(subject) || sources() < CASES_OF_SOURCES_OPEN_MAX;
        has_share && self.open_cases().count() < CASES_OPEN_MAX
    }

    fn overflow(&mut self, finding: CaseFinding, ledger: Option<u64>) -> Filed {
        let standing = self.all.values().find(|case| case.is_overflow() && !case.is_closed()).map(Case::number);
        let number = standing.unwrap_or_else(|| {
            self.make_room();
            self.open(OVERFLOW_KIND, Subject::Hub, finding.severity, true, finding.at)
        });
        self.join(number, finding, ledger);
        Filed::Overflow { number, is_new: standing.is_none() }
    }

    /// If as many cases are kept as may be, the one that was closed first leaves.
    fn make_room(&mut self) -> Option<u64> {
        if self.all.len() < CASES_MAX {
            return None;
        }
        let closed = self.all.values().filter_map(|case| Some((case.closing()?.at, case.number())));
        let (_, number) = closed.min()?;
        let case = self.all.remove(&number)?;
        self.pending.delete(key(number, "core"));
        (0..case.findings.len()).for_each(|at| self.pending.delete(item_key(number, "finding", at)));
        (0..case.notes.len()).for_each(|at| self.pending.delete(item_key(number, "note", at)));
        (0..case.custody.lines().len()).for_each(|at| self.pending.delete(item_key(number, "custody", at)));
        Some(number)
    }

    fn open(&mut self, kind: &str, subject: Subject, severity: Severity, is_overflow: bool, now: UnixMillis) -> u64 {
        let number = self.next;
        self.next += 1;
        self.pending.put(NEXT.to_owned(), &self.next);
        let custody = Custody::new(number, now);
        let core = Core {
            number,
            opened: now,
            kind: kind.to_owned(),
            subject,
            severity,
            state: CaseState::Open,
            is_overflow,
            last_finding: now,
            findings_counted: 0,
            ledger: Vec::new(),
            closing: None,
            findings_listed: 0,
            notes_kept: 0,
            custody_head: custody.head(),
        };
        self.all.insert(number, Case { core, findings: Vec::new(), notes: Vec::new(), custody });
        let opened = Handling { when: now, who: HUB, what: Use::Opened, text: "", sha256: None };
        self.handle(number, &opened);
        number
    }

    fn join(&mut self, number: u64, finding: CaseFinding, ledger: Option<u64>) {
        let Some(case) = self.all.get_mut(&number) else { return };
        if case.findings.iter().any(|known| known.id == finding.id) {
            return;
        }
        case.core.findings_counted = case.core.findings_counted.saturating_add(1);
        case.core.severity = case.core.severity.max(finding.severity);
        case.core.last_finding = case.core.last_finding.max(finding.at);
        if let Some(entry) = ledger {
            case.add_ledger(LedgerRange { first: entry, last: entry });
        }
        let at = case.findings.len();
        if at < FINDINGS_PER_CASE_MAX {
            self.pending.put(item_key(number, "finding", at), &finding);
            case.findings.push(finding);
            case.core.findings_listed = case.findings.len();
        }
        self.pending.put(key(number, "core"), &case.core);
    }

    /// Adds entries of the ledger to a case that is not closed, such as those of what was done about it.
    ///
    /// # Errors
    /// [`CaseError`].
    pub fn add_ledger(&mut self, number: u64, entries: LedgerRange) -> Result<(), CaseError> {
        if entries.first > entries.last {
            return Err(CaseError::Range);
        }
        let case = self.unclosed(number)?;
        case.add_ledger(entries);
        let core = case.core.clone();
        self.pending.put(key(number, "core"), &core);
        Ok(())
    }

    fn case(&self, number: u64) -> Result<&Case, CaseError> {
        self.all.get(&number).ok_or(CaseError::Unknown(number))
    }

    fn unclosed(&mut self, number: u64) -> Result<&mut Case, CaseError> {
        let case = self.all.get_mut(&number).ok_or(CaseError::Unknown(number))?;
        if case.is_closed() { Err(CaseError::Closed(number)) } else { Ok(case) }
    }

    /// Writes a note.
    ///
    /// # Errors
    /// [`CaseError`].
    pub fn note(&mut self, number: u64, who: &str, text: &str, now: UnixMillis) -> Result<(), CaseError> {
        let note = Note {
            at: now,
            who: text::check_name(who)?.to_owned(),
            text: text::check(text, TEXT_BYTES_MAX)?.to_owned(),
        };
        let case = self.unclosed(number)?;
        let at = case.notes.len();
        if at >= NOTES_PER_CASE_MAX {
            return Err(CaseError::NotesFull(number));
        }
        case.notes.push(note.clone());
        case.core.notes_kept = case.notes.len();
        let core = case.core.clone();
        self.pending.put(key(number, "core"), &core);
        self.pending.put(item_key(number, "note", at), &note);
        Ok(())
    }

    /// Takes a case on.
    ///
    /// # Errors
    /// [`CaseError`].
    pub fn acknowledge(&mut self, number: u64, who: &str, now: UnixMillis) -> Result<CustodyLine, CaseError> {
        let who = text::check_name(who)?;
        if self.unclosed(number)?.state() == CaseState::Acknowledged {
            return Err(CaseError::Acknowledged(number));
        }
        self.room(number, 2)?;
        self.unclosed(number)?.core.state = CaseState::Acknowledged;
        self.handle_known(number, &Handling { when: now, who, what: Use::Acknowledged, text: "", sha256: None })
    }

    /// Closes a case.
    ///
    /// # Errors
    /// [`CaseError`]; there is always room for this line.
    pub fn close(&mut self, number: u64, who: &str, why: &str, now: UnixMillis) -> Result<CustodyLine, CaseError> {
        let (who, why) = (text::check_name(who)?, text::check(why, TEXT_BYTES_MAX)?);
        self.unclosed(number)?;
        self.room(number, 1)?;
        let core = &mut self.unclosed(number)?.core;
        core.state = CaseState::Closed;
        core.closing = Some(Closing { at: now, who: who.to_owned(), reason: why.to_owned() });
        self.handle_known(number, &Handling { when: now, who, what: Use::Closed, text: why, sha256: None })
    }

    /// Opens a closed case again. How it was closed stays in its custody log.
    ///
    /// # Errors
    /// [`CaseError`].
    pub fn reopen(&mut self, number: u64, who: &str, why: &str, now: UnixMillis) -> Result<CustodyLine, CaseError> {
        let (who, why) = (text::check_name(who)?, text::check(why, TEXT_BYTES_MAX)?);
        let case = self.case(number)?;
        if !case.is_closed() {
            return Err(CaseError::NotClosed(number));
        }
        let is_for_same =
            |other: &&Case| !other.is_closed() && other.kind() == case.kind() && other.subject() == case.subject();
        if let Some(other) = self.all.values().find(is_for_same) {
            return Err(CaseError::OpenElsewhere(other.number()));
        }
        if !case.is_overflow() && !self.has_room_for(case.subject()) {
            return Err(CaseError::OpenFull);
        }
        self.room(number, 2)?;
        if let Some(case) = self.all.get_mut(&number) {
            case.core.state = CaseState::Open;
            case.core.closing = None;
        }
        self.handle_known(number, &Handling { when: now, who, what: Use::Reopened, text: why, sha256: None })
    }

    /// The whole case, for `who` to read. That is a line in its custody log, unless the last line says the same and is younger than
    /// [`READ_AGAIN_MS`].
    ///
    /// # Errors
    /// [`CaseError`].
    pub fn read(&mut self, number: u64, who: &str, now: UnixMillis) -> Result<&Case, CaseError> {
        let who = text::check_name(who)?;
        let case = self.case(number)?;
        let sha256 = Some(Sha256::of(&case.to_json()));
        let is_again = case.custody.lines().last().is_some_and(|line| {
            let is_recent = line.when <= now && now.since(line.when).as_millis() < u128::from(READ_AGAIN_MS);
            line.what == Use::Read && line.who == who && line.sha256 == sha256 && is_recent
        });
        if !is_again {
            self.room(number, 1 + CUSTODY_LINES_RESERVED)?;
            self.handle(number, &Handling { when: now, who, what: Use::Read, text: "", sha256 });
        }
        self.case(number)
    }

    /// Notes that `who` gave evidence with this hash to somebody.
    ///
    /// # Errors
    /// [`CaseError`].
    pub fn hand_over(
        &mut self,
        number: u64,
        who: &str,
        to: &str,
        sha256: Sha256,
        now: UnixMillis,
    ) -> Result<CustodyLine, CaseError> {
        let (who, to) = (text::check_name(who)?, text::check(to, TEXT_BYTES_MAX)?);
        self.room_for_evidence(number)?;
        self.handle_known(number, &Handling { when: now, who, what: Use::HandedOver, text: to, sha256: Some(sha256) })
    }

    /// Notes an export and returns the case as it is then.
    pub(crate) fn exported(
        &mut self,
        number: u64,
        who: &str,
        why: &str,
        evidence: Sha256,
        now: UnixMillis,
    ) -> Result<&Case, CaseError> {
        let (who, why) = (text::check_name(who)?, text::check(why, TEXT_BYTES_MAX)?);
        self.room_for_evidence(number)?;
        self.handle(number, &Handling { when: now, who, what: Use::Exported, text: why, sha256: Some(evidence) });
        self.case(number)
    }

    pub(crate) fn json_of(&self, number: u64) -> Result<Vec<u8>, CaseError> {
        self.case(number).map(Case::to_json)
    }

    /// A case that is not closed keeps a line for its closing.
    fn room_for_evidence(&self, number: u64) -> Result<(), CaseError> {
        self.room(number, if self.case(number)?.is_closed() { 1 } else { 2 })
    }

    fn room(&self, number: u64, lines: usize) -> Result<(), CaseError> {
        if self.case(number)?.custody.has_room(lines) { Ok(()) } else { Err(CaseError::CustodyFull(number)) }
    }

    fn handle_known(&mut self, number: u64, handling: &Handling<'_>) -> Result<CustodyLine, CaseError> {
        self.handle(number, handling).ok_or(CaseError::Unknown(number))
    }

    /// Adds a line to the custody log. The caller saw to the room.
    fn handle(&mut self, number: u64, handling: &Handling<'_>) -> Option<CustodyLine> {
        let case = self.all.get_mut(&number)?;
        let at = case.custody.lines().len();
        let line = case.custody.add(handling);
        case.core.custody_head = line.hash;
        self.pending.put_bytes(item_key(number, "custody", at), line.to_text().into_bytes());
        self.pending.put(key(number, "core"), &case.core);
        Some(line)
    }
}

/// What is stored of one case.
#[derive(Default)]
struct Stored<'a> {
    core: &'a [u8],
    lists: [BTreeMap<usize, &'a [u8]>; 3],
}

/// A part of a case, as its key names it.
enum Part {
    Core,
    Item { list: usize, at: usize },
}

const LISTS: [&str; 3] = ["finding", "note", "custody"];

/// Which part of which case a key names.
fn place(path: &str) -> Option<(u64, Part)> {
    let (number, part) = path.split_once('/')?;
    let number: u64 = number.parse().ok().filter(|number| *number < NUMBERS_MAX)?;
    if key(number, part).strip_prefix(CASE) != Some(path) {
        return None;
    }
    if part == "core" {
        return Some((number, Part::Core));
    }
    let (name, at) = part.split_once('/')?;
    let (list, at) = (LISTS.iter().position(|list| *list == name)?, at.parse().ok()?);
    let is_own = item_key(number, name, at).strip_prefix(CASE) == Some(path);
    is_own.then_some((number, Part::Item { list, at }))
}

impl<'a> Stored<'a> {
    fn take(&mut self, part: &Part, bytes: &'a [u8]) {
        match part {
            Part::Core => self.core = bytes,
            Part::Item { list, at } => drop(self.lists[*list].insert(*at, bytes)),
        }
    }

    fn read(&self, number: u64) -> Result<Case, String> {
        let core: Core = serde_json::from_slice(self.core).map_err(|error| format!("core: {error}"))?;
        if core.number != number {
            return Err("the record of another case".to_owned());
        }
        let [findings, notes, custody] = &self.lists;
        for (list, name) in self.lists.iter().zip(LISTS) {
            if list.keys().copied().ne(0..list.len()) {
                return Err(format!("a {name} is missing"));
            }
        }
        let custody =
            Custody::verify(number, core.opened, custody.values().copied()).map_err(|error| error.to_string())?;
        if custody.head() != core.custody_head {
            return Err("the end of the custody log is missing".to_owned());
        }
        let case = Case { core, findings: read_all(findings)?, notes: read_all(notes)?, custody };
        if case.is_sound() { Ok(case) } else { Err("its parts do not fit together".to_owned()) }
    }
}

fn read_all<T: DeserializeOwned>(items: &BTreeMap<usize, &[u8]>) -> Result<Vec<T>, String> {
    items.values().map(|bytes| serde_json::from_slice(bytes).map_err(|error| error.to_string())).collect()
}
