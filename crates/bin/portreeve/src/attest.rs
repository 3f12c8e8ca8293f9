//! `portreeve attest`.

use std::{
    fs::{self, File},
    io::{self, BufRead, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256};
use clap::{ArgGroup, Args, Subcommand};
use portreeve_assurance::{
    ANSWERS_BYTES_MAX, Answer, AnswersFile, Attestation, Catalogue, CheckId, Envelope, Framework, Reply, Requirement,
    RequirementId, Sha256, answers_problem, evidence_file,
};
use portreeve_hub::{AdminRequest, DocumentSeal, RecordDraft, RecordFilter, RecordState};
use portreeve_types::UnixMillis;
use serde_json::{Value, json};
use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

use crate::{
    admin::Administration,
    cli::{Global, Output, duration},
    failure::Failure,
    output::{cell, instant, list, remark, rows, say, say_json, show, table},
};

/// Largest document that is hashed, bytes.
const DOCUMENT_BYTES_MAX: u64 = 4 << 30;
/// Longest line that is read from a terminal, bytes.
const LINE_BYTES_MAX: u64 = 4 << 10;
/// How often a question is put again before it is given up.
const TRIES_MAX: usize = 5;

#[derive(Debug, Subcommand)]
pub(crate) enum AttestCommand {
    /// Put a record before somebody else: a document, and your answers to what the row asks of it
    ///
    /// The document stays where it is: its SHA-256, name and size are kept. A record counts when somebody other than you and its
    /// owner has approved it, until its next review. To renew one, add it anew: it takes the old one's place when it is approved.
    #[command(
        after_help = "Examples:\n  portreeve attest questions CSA-TRN-02 > answers.toml      and fill it in\n  portreeve attest add CSA-TRN-02 --document plan.pdf --title 'Training plan 2027' --owner 'Olga Ivanova' \\\n      --next-review 2027-11-01 --answers answers.toml\n  portreeve attest add CSA-SNT-18 --check att.inspect ...   where two records decide one row"
    )]
    Add(Add),
    /// What a record for a row has to answer, as a file to fill in for `attest add --answers`
    #[command(after_help = "Example:\n  portreeve attest questions CSA-TRN-02 > answers.toml")]
    Questions {
        #[command(flatten)]
        which: Which,
    },
    /// Records that wait or count, and what is overdue
    #[command(
        after_help = "Examples:\n  portreeve attest list --due 30d               what has to be renewed within 30 days, or is overdue\n  portreeve attest list --state proposed        what waits for a review\n  portreeve attest list --all                   also what is over"
    )]
    List {
        /// Also those that were rejected, superseded or withdrawn
        #[arg(long)]
        all: bool,
        /// Only in this state: proposed, approved, overdue, rejected, superseded, expired
        #[arg(long, value_name = "STATE", value_parser = state)]
        state: Option<RecordState>,
        /// Only for rows of this framework: isvs, iotsf, iiita, csa, glossary
        #[arg(long, value_name = "NAME")]
        framework: Option<Framework>,
        /// Only those whose next review is within this time, such as 30d, or was to be earlier
        #[arg(long, value_name = "TIME", value_parser = duration)]
        due: Option<Duration>,
    },
    /// A record with its answers
    Show {
        /// Its number
        number: u64,
    },
    /// Approve or reject what somebody else added and another answers for
    #[command(
        group = ArgGroup::new("word").required(true).args(["approve", "reject"]),
        after_help = "Examples:\n  portreeve attest review 7 --approve --document plan.pdf --remark 'read it, and the list of dates'\n  portreeve attest review 7 --reject --remark 'the dates are of last year'"
    )]
    Review {
        /// Its number
        number: u64,
        /// Let it count until its next review
        #[arg(long)]
        approve: bool,
        /// Do not let it count
        #[arg(long)]
        reject: bool,
        /// What you say of it; it is kept
        #[arg(long, value_name = "TEXT", default_value = "")]
        remark: String,
        /// The document that you read: nothing is done unless it is the one that was added
        #[arg(long, value_name = "FILE")]
        document: Option<PathBuf>,
    },
    /// Withdraw a record at once
    #[command(after_help = "Example:\n  portreeve attest expire 7 --reason 'the plan was withdrawn' --dry-run")]
    Expire {
        /// Its number
        number: u64,
        /// Why; it is kept
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Write what counts, and what is overdue, as evidence to a new directory
    #[command(after_help = "Example:\n  portreeve attest export --out records")]
    Export {
        /// The directory to make
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Which record.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The row, such as CSA-TRN-02
    row: RequirementId,
    /// The kind of record; needed where more than one decides the row: att.doc, att.inspect or att.contract
    #[arg(long, value_name = "CHECK")]
    check: Option<CheckId>,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    #[command(flatten)]
    which: Which,
    /// The document; it is read here, and not sent
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// Its title
    #[arg(long, value_name = "TEXT")]
    title: String,
    /// Who answers for it; an operator by the name that the hub knows
    #[arg(long, value_name = "WHO")]
    owner: String,
    /// Until when it counts: 2027-11-01, or a time such as 2027-11-01T12:00:00Z; at most two years ahead
    #[arg(long, value_name = "DATE", value_parser = date)]
    next_review: UnixMillis,
    /// Your answers, in a file made by `attest questions`; without it you are asked
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
}

impl Which {
    /// The row, the check that decides it, and what is asked.
    fn find(self) -> Result<(&'static Requirement, CheckId, &'static [String]), Failure> {
        let Self { row, check } = self;
        let unknown =
            || format!("there is no requirement {row}; `portreeve catalogue search` finds rows by their words");
        let row = Catalogue::embedded().requirement(&row).ok_or_else(|| Failure::Usage(unknown()))?;
        let names = || row.questions.keys().map(CheckId::as_str).collect::<Vec<_>>().join(" and ");
        let mut records = row.questions.keys();
        let check = match (check, records.next(), records.next()) {
            (_, None, _) => {
                let text = format!("no record decides {}; `portreeve catalogue show {0}` tells what does", row.id);
                return Err(Failure::Usage(text));
            }
            (Some(check), ..) => check,
            (None, Some(only), None) => only.clone(),
            (None, ..) => {
                return Err(Failure::Usage(format!("{} is decided by {}: say which with --check", row.id, names())));
            }
        };
        let none = || Failure::Usage(format!("no record {check} decides {}; {} does", row.id, names()));
        let questions = row.questions.get(&check).ok_or_else(none)?;
        Ok((row, check, questions))
    }
}

fn state(text: &str) -> Result<RecordState, String> {
    use RecordState::{Approved, Expired, Overdue, Proposed, Rejected, Superseded};
    let all = [Proposed, Approved, Overdue, Rejected, Superseded, Expired];
    let found = all.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| format!("one of {}", all.map(RecordState::as_str).join(", ")))
}

/// A day, which begins at midnight UTC, or a time.
fn date(text: &str) -> Result<UnixMillis, String> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]")).map(|day| day.midnight().assume_utc());
    let at = day.or_else(|_| OffsetDateTime::parse(text, &Rfc3339));
    let at = at.map_err(|_| "a day such as 2027-11-01, or a time such as 2027-11-01T12:00:00Z".to_owned())?;
    let ms = at.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(ms).map(UnixMillis).map_err(|_| "that is before 1970".to_owned())
}

pub(crate) fn run(global: &Global, command: AttestCommand) -> Result<(), Failure> {
    let ask = |request| Administration::new(global)?.request(request).map(|outcome| outcome.result);
    match command {
        AttestCommand::Add(add) => show(global, &ask(proposal(add)?)?, |record| {
            let (number, what) = (cell(&record["record"]), what(record));
            format!("record {number} for {what} waits for somebody else: `portreeve attest review {number} --approve`")
        }),
        AttestCommand::Questions { which } => questions(global, which),
        AttestCommand::List { all, state, framework, due } => {
            let filter = RecordFilter { all, state, framework, due_within_s: due.map(|due| due.as_secs()) };
            show(global, &ask(AdminRequest::AttestList { filter })?, heads)
        }
        AttestCommand::Show { number } => show(global, &ask(AdminRequest::AttestShow { number })?, whole),
        AttestCommand::Review { number, approve, reject: _, remark, document } => {
            if let Some(document) = document {
                expect_same(&ask(AdminRequest::AttestShow { number })?, &document)?;
            }
            show(global, &ask(AdminRequest::AttestReview { number, approve, remark })?, |record| {
                let until = if approve {
                    format!(", and counts until {}", day(&record["next_review_ms"]))
                } else {
                    String::new()
                };
                format!("record {number} for {} is {}{until}", what(record), cell(&record["state"]))
            })
        }
        AttestCommand::Expire { number, reason, dry_run } => {
            show(global, &ask(AdminRequest::AttestExpire { number, reason, dry_run })?, |record| {
                let verb = if dry_run { "would be withdrawn" } else { "is withdrawn" };
                format!("record {number} for {} {verb}: the row is without it", what(record))
            })
        }
        AttestCommand::Export { out } => export(global, &out, || ask(AdminRequest::AttestExport)),
    }
}

/// `att.doc of CSA-TRN-02`.
fn what(record: &Value) -> String {
    format!("{} of {}", cell(&record["check"]), cell(&record["requirement"]))
}

fn day(ms: &Value) -> String {
    instant(ms).chars().take("9999-12-31".len()).collect()
}

fn proposal(add: Add) -> Result<AdminRequest, Failure> {
    let Add { which, document, title, owner, next_review, answers } = add;
    let (row, check, questions) = which.find()?;
    let document = seal(&document)?;
    let answers = match answers {
        Some(file) => read_answers(&file, row, &check)?,
        None if io::stdin().is_terminal() => ask_all(questions, &mut io::stdin().lock(), &mut io::stderr())?,
        None => {
            let id = &row.id;
            let help = format!("`portreeve attest questions {id} --check {check} > answers.toml` makes one to fill in");
            return Err(Failure::Usage(format!("answers are needed: give --answers FILE; {help}")));
        }
    };
    let requirement = row.id.clone();
    let draft = RecordDraft { requirement, check, title, document, owner, next_review, answers };
    Ok(AdminRequest::AttestAdd { draft: Box::new(draft) })
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("cannot read {}: {error}", file.display()))
}

/// Name, size and hash of a document, a piece at a time.
fn seal(document: &Path) -> Result<DocumentSeal, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| unreadable(document, error);
    let file = File::open(document).map_err(|error| unreadable(&error))?;
    if !file.metadata().map_err(|error| unreadable(&error))?.is_file() {
        return Err(unreadable(&"it is no file; put several into an archive"));
    }
    let mut file = file.take(DOCUMENT_BYTES_MAX + 1);
    let mut context = Context::new(&SHA256);
    let (mut bytes, mut piece) = (0_u64, vec![0; 64 << 10]);
    loop {
        let length = file.read(&mut piece).map_err(|error| unreadable(&error))?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { break };
        context.update(read);
        bytes += read.len() as u64;
    }
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(unreadable(&format_args!("it has more than {DOCUMENT_BYTES_MAX} bytes")));
    }
    let mut sha256 = Sha256([0; 32]);
    sha256.0.copy_from_slice(context.finish().as_ref());
    let name = document.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(DocumentSeal { name, bytes, sha256 })
}

/// Whether a document is the one of a record.
fn expect_same(record: &Value, document: &Path) -> Result<(), Failure> {
    let DocumentSeal { sha256, .. } = seal(document)?;
    if record["document"]["sha256"].as_str() == Some(&sha256.to_string()) {
        return Ok(());
    }
    let (document, number) = (document.display(), cell(&record["record"]));
    let added = format!("{}, {} bytes", cell(&record["document"]["name"]), cell(&record["document"]["bytes"]));
    Err(Failure::CheckFailed(format!("{document} is not the document of record {number} ({added}); nothing was done")))
}

fn read_answers(file: &Path, row: &Requirement, check: &CheckId) -> Result<Vec<Answer>, Failure> {
    let mut text = String::new();
    let read = File::open(file).and_then(|open| open.take(ANSWERS_BYTES_MAX as u64 + 1).read_to_string(&mut text));
    read.map_err(|error| unreadable(file, &error))?;
    let answers =
        AnswersFile::from_toml(&text).map_err(|error| Failure::Usage(format!("{}, {error}", file.display())))?;
    let (name, id) = (file.display(), &row.id);
    if (&answers.requirement, &answers.check) != (id, check) {
        let of = format!("{} of {}", answers.check, answers.requirement);
        return Err(Failure::Usage(format!("{name} has answers for {of}, and the record is for {check} of {id}")));
    }
    // The hub asks the same; a file is mended before anybody is asked.
    let questions = Catalogue::embedded().questions(id, check);
    match answers_problem(questions, &answers.answers) {
        None => Ok(answers.answers),
        Some(problem) => Err(Failure::Usage(format!("{name}: {problem}"))),
    }
}

/// Puts every question at a terminal.
fn ask_all(questions: &[String], input: &mut impl BufRead, out: &mut impl io::Write) -> Result<Vec<Answer>, Failure> {
    let ask =
        |(at, question): (usize, &String)| ask_one(&format!("{}/{}", at + 1, questions.len()), question, input, out);
    let told = "Answer yes, no or partly; behind it, where the document shows it: yes page 3";
    remark(told);
    questions.iter().enumerate().map(ask).collect()
}

fn ask_one(place: &str, question: &str, input: &mut impl BufRead, out: &mut impl io::Write) -> Result<Answer, Failure> {
    for _ in 0..TRIES_MAX {
        let mut line = String::new();
        let read = write!(out, "{place}  {question}\n     > ").and_then(|()| out.flush());
        let read = read.and_then(|()| input.take(LINE_BYTES_MAX).read_line(&mut line));
        if read.map_err(|error| Failure::Usage(format!("cannot ask: {error}")))? == 0 {
            break;
        }
        let (word, remark) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let reply = match word.to_lowercase().as_str() {
            "yes" | "y" => Reply::Yes,
            "no" | "n" => Reply::No,
            "partly" | "p" => Reply::Partly,
            _ => continue,
        };
        return Ok(Answer { question: question.to_owned(), reply, remark: remark.trim().to_owned() });
    }
    Err(Failure::Usage("not every question was answered; nothing was done".into()))
}

fn questions(global: &Global, which: Which) -> Result<(), Failure> {
    let (row, check, questions) = which.find()?;
    match global.output {
        Output::Json => say_json(&json!({ "requirement": row.id, "check": check, "questions": questions })),
        Output::Table => say(&AnswersFile::to_fill_in(row, &check, questions)),
    }
}

fn heads(result: &Value) -> String {
    let row = |row: &Value| {
        let mut cells =
            ["record", "state", "requirement", "check", "title", "owner"].map(|key| cell(&row[key])).to_vec();
        cells.push(day(&row["next_review_ms"]));
        cells
    };
    table(&["RECORD", "STATE", "ROW", "CHECK", "TITLE", "OWNER", "NEXT REVIEW"], &rows(result, row))
}

fn whole(record: &Value) -> String {
    let document = &record["document"];
    let by = |who: &str, when: &str| match &record[who] {
        Value::Null => String::new(),
        who => format!("{}, {}", cell(who), instant(&record[when])),
    };
    let mut pairs = vec![
        ("record", cell(&record["record"])),
        ("for", what(record)),
        ("state", cell(&record["state"])),
        ("title", cell(&record["title"])),
        ("document", format!("{}, {} bytes", cell(&document["name"]), cell(&document["bytes"]))),
        ("SHA-256", cell(&document["sha256"])),
        ("owner", cell(&record["owner"])),
        ("next review", day(&record["next_review_ms"])),
        ("added by", by("added_by", "added_ms")),
        ("reviewed by", by("reviewed_by", "reviewed_ms")),
        ("remark", cell(&record["remark"])),
        ("ended by", by("ended_by", "ended_ms")),
        ("reason", cell(&record["reason"])),
        ("superseded by", cell(&record["superseded_by"])),
    ];
    pairs.retain(|(_, value)| !value.is_empty());
    let answer = |answer: &Value| ["reply", "question", "remark"].map(|key| cell(&answer[key])).to_vec();
    format!("{}\n{}", list(&pairs), table(&["REPLY", "QUESTION", "REMARK"], &rows(&record["answers"], answer)))
}

/// Writes each record as a piece of evidence, named as reports name it.
fn export(global: &Global, out: &Path, ask: impl FnOnce() -> Result<Value, Failure>) -> Result<(), Failure> {
    let unwritable =
        |path: &Path, error: &io::Error| Failure::Usage(format!("cannot write {}: {error}", path.display()));
    let foreign = |error: &dyn std::fmt::Display| Failure::Refused(format!("the hub's export: {error}"));
    fs::create_dir(out).map_err(|error| unwritable(out, &error))?;
    let told = ask().inspect_err(|_| drop(fs::remove_dir(out)))?;
    let taken = UnixMillis(told["taken_ms"].as_u64().unwrap_or_default());
    let records: Vec<Attestation> = serde_json::from_value(told["records"].clone()).map_err(|error| foreign(&error))?;
    let tool = concat!("portreeve ", env!("CARGO_PKG_VERSION"));
    let mut written = Vec::new();
    for record in &records {
        let target = record.requirement.to_string();
        let envelope = Envelope::of(record, Some(&target), taken, tool).map_err(|error| foreign(&error))?;
        let bytes = envelope.to_bytes().map_err(|error| foreign(&error))?;
        let name = evidence_file(&Sha256::of(&bytes));
        let name = Path::new(&name).file_name().unwrap_or_default();
        let path = out.join(name);
        fs::write(&path, &bytes).map_err(|error| unwritable(&path, &error))?;
        written.push(json!({ "file": path.display().to_string(), "requirement": target, "check": record.check }));
    }
    match global.output {
        Output::Json => say_json(&Value::Array(written)),
        Output::Table => say(&format!("{} records are in {}", written.len(), out.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(input: &str) -> Result<Vec<Answer>, Failure> {
        let questions = ["Is it so?".to_owned(), "Is it thus?".to_owned()];
        ask_all(&questions, &mut input.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn a_person_answers_at_a_terminal() {
        let answers = asked("maybe\nYES  page 3, \u{e4}\n\np\n").unwrap();
        let told: Vec<_> = answers.iter().map(|answer| (answer.reply, answer.remark.as_str())).collect();
        assert_eq!(told, [(Reply::Yes, "page 3, \u{e4}"), (Reply::Partly, "")]);
        assert_eq!(answers[1].question, "Is it thus?");
        for input in ["", "yes\n", &"maybe\n".repeat(9), &"y".repeat(100_000)] {
            assert!(matches!(asked(input), Err(Failure::Usage(_))), "{input:.20}");
        }
    }

    #[test]
    fn days_and_times_are_read() {
        assert_eq!(date("2030-01-01"), Ok(UnixMillis(1_893_456_000_000)));
        assert_eq!(date("2030-01-01T01:00:00+01:00"), Ok(UnixMillis(1_893_456_000_000)));
        for wrong in ["", "2030", "2030-02-30", "tomorrow", "1969-01-01", "30d"] {
            assert!(date(wrong).is_err(), "{wrong}");
        }
    }
}
