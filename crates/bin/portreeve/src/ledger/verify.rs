//! `portreeve ledger verify`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use portreeve_events::Entry;
use portreeve_hub::{AdminRequest, LedgerPlace};
use portreeve_ledger::{Checkpoint, EntryProof, Note, Reader, Resources, VerifierKey, audit};
use portreeve_ledger_files::{CHECKPOINT, Copied, Snapshot, VERIFIER_KEY, witnessed_by};
use serde::Serialize;
use serde_json::{Value, json};

use super::{export, key};
use crate::{
    admin::Administration,
    cli::{Global, Output},
    failure::Failure,
    output::{cell, instant, list, remark, say, say_json},
};

/// Entries between two remarks on how far it is.
const PROGRESS_ENTRIES: u64 = 500_000;
/// Most bytes of a proof: its path and head are short, its entry is below 64 KiB.
const PROOF_BYTES_MAX: u64 = 256 << 10;
/// How often a ledger of which entries are let go meanwhile is read again.
const ATTEMPTS: u32 = 5;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Data directories, copied ledgers, exports or proofs; without any, the ledger of the hub in --data
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The ledger's key as `ledger key` prints it, or a file with it
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
    /// A witness that must have cosigned, by its key or a file with it; may be repeated
    #[arg(long = "witness", value_name = "KEY|FILE")]
    witnesses: Vec<String>,
}

/// What was found to be true.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    pub(super) what: &'static str,
    pub(super) origin: String,
    pub(crate) size: u64,
    pub(crate) root: String,
    /// Entries that were read.
    pub(super) checked: u64,
    pub(crate) first_kept: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) let_go_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_entry_ms: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) witnesses: Vec<Cosigned>,
    /// The first and last entry of an export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exported: Option<(u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) openings: Option<u64>,
    /// The proved entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entry: Option<Value>,
}

/// A witness, and what it saw when.
#[derive(Debug, Serialize)]
pub(super) struct Cosigned {
    name: String,
    size: u64,
    at_ms: u64,
}

impl Verified {
    pub(super) fn of(what: &'static str, head: &Checkpoint) -> Self {
        Self {
            what,
            origin: head.origin.clone(),
            size: head.size,
            root: head.root.to_string(),
            checked: 0,
            first_kept: 0,
            let_go_ms: None,
            last_entry_ms: None,
            witnesses: Vec::new(),
            exported: None,
            openings: None,
            entry: None,
        }
    }
}

/// Why it is not what it should be.
pub(crate) type Damage = String;

pub(super) fn run(global: &Global, args: &Verify) -> Result<(), Failure> {
    let given = args.key.as_deref().map(key::given).transpose()?;
    let witnesses = args.witnesses.iter().map(|text| key::given(text)).collect::<Result<Vec<_>, _>>()?;
    if args.paths.is_empty() {
        let place = LedgerPlace::of_hub(&global.data);
        if !is_readable(place.files()) {
            return ask_hub(global, given.as_ref(), &witnesses);
        }
        return tell(global, &global.data, &verify(&global.data, given.as_ref(), &witnesses)?, given.is_some());
    }
    for path in &args.paths {
        tell(global, path, &verify(path, given.as_ref(), &witnesses)?, given.is_some())?;
    }
    Ok(())
}

/// A hub's ledger, read from its files; nothing, if this user may not read them.
pub(crate) fn verified(data: &Path, given: Option<&VerifierKey>) -> Result<Option<Result<Verified, Damage>>, Failure> {
    if !is_readable(LedgerPlace::of_hub(data).files()) {
        return Ok(None);
    }
    verify(data, given, &[]).map(Some)
}

/// Whether there is a ledger that this user may read.
fn is_readable(files: &Copied) -> bool {
    files.read(CHECKPOINT).is_ok_and(|head| head.is_some())
}

/// What lies there decides what it is.
fn verify(
    path: &Path,
    given: Option<&VerifierKey>,
    witnesses: &[VerifierKey],
) -> Result<Result<Verified, Damage>, Failure> {
    if path.is_file() {
        let needed =
            || Failure::Usage(format!("{}: a proof is verified by a key from elsewhere: --key", path.display()));
        return verify_proof(path, given.ok_or_else(needed)?);
    }
    let folder = if path.join("ledger").is_dir() { path.join("ledger") } else { path.to_owned() };
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("{}: there is no such file or folder", path.display())));
    }
    let found = match given {
        Some(key) => key.clone(),
        None => key::in_file(&folder.join(VERIFIER_KEY))?,
    };
    let files = Copied::at(&folder);
    match export::Exported::find(&folder)? {
        Some(exported) => Ok(export::verify(&files, &found, &exported)),
        None => Ok(verify_ledger(&files, &found, witnesses)),
    }
}

fn verify_ledger(files: &Copied, key: &VerifierKey, witnesses: &[VerifierKey]) -> Result<Verified, Damage> {
    let mut attempt = 1;
    loop {
        // Before the head: what witnesses saw was there earlier.
        let witnessed = files.witnessed().map_err(|error| error.to_string())?;
        let ledger = Snapshot::take(files, key).map_err(|error| error.to_string())?;
        let verified = verify_snapshot(&ledger, key, &witnessed, witnesses);
        let is_older = || Snapshot::take(files, key).is_ok_and(|now| now.first() > ledger.first());
        if verified.is_ok() || attempt == ATTEMPTS || !is_older() {
            return verified;
        }
        attempt += 1;
    }
}

fn verify_snapshot(
    ledger: &Snapshot,
    key: &VerifierKey,
    witnessed: &[(String, Vec<u8>)],
    witnesses: &[VerifierKey],
) -> Result<Verified, Damage> {
    let (head, mut last) = (ledger.head(), Vec::new());
    let mut verified = Verified::of("ledger", head);
    let progress = Progress::new(head.size);
    audit(ledger, head, ledger.truncation(), |number, entry| {
        verified.checked += 1;
        if number + 1 == head.size {
            last = entry.to_vec();
        }
        progress.tell(number);
    })
    .map_err(|error| error.to_string())?;
    verified.last_entry_ms = Entry::from_bytes(&last).ok().map(|entry| entry.at_ms.0);
    verified.first_kept = ledger.first();
    verified.let_go_ms = ledger.truncation().map(|truncation| truncation.at_ms);
    verified.witnesses = cosigned(ledger, key, witnessed, witnesses)?;
    Ok(verified)
}

/// Who saw this ledger when. Whatever was cosigned has to be a beginning of what there is.
fn cosigned(
    ledger: &Snapshot,
    key: &VerifierKey,
    witnessed: &[(String, Vec<u8>)],
    witnesses: &[VerifierKey],
) -> Result<Vec<Cosigned>, Damage> {
    let (head, damaged) = (ledger.head(), |error: &dyn std::fmt::Display| error.to_string());
    let reader = Reader::open(ledger, head).map_err(|error| damaged(&error))?;
    let mut seen = BTreeMap::new();
    for (path, signed) in witnessed {
        let cosigned = Checkpoint::open(signed, key).map_err(|error| format!("{path}: {error}"))?;
        if cosigned.size > head.size {
            return Err(format!("{path}: {} entries were cosigned, and there are only {}", cosigned.size, head.size));
        }
        if reader.root_of(cosigned.size).map_err(|error| damaged(&error))? != cosigned.root {
            return Err(format!("{path}: the entries are not those that were cosigned: this is another history"));
        }
        seen.insert(path.as_str(), (signed, cosigned.size));
    }
    let by = |witness: &VerifierKey| {
        let path = witnessed_by(witness);
        let (signed, size) =
            seen.get(path.as_str()).ok_or_else(|| format!("{} has not cosigned it", witness.name()))?;
        let signature = Note::parse(signed).and_then(|note| note.signed_by(witness).map(|(_, seconds)| seconds));
        let seconds = signature.map_err(|error| format!("{path}: {error}"))?;
        Ok(Cosigned { name: witness.name().to_owned(), size: *size, at_ms: seconds.saturating_mul(1000) })
    };
    witnesses.iter().map(by).collect()
}

fn verify_proof(path: &Path, key: &VerifierKey) -> Result<Result<Verified, Damage>, Failure> {
    let unread = |error: io::Error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(PROOF_BYTES_MAX).read_to_end(&mut bytes)).map_err(unread)?;
    Ok(check_proof(&bytes, key))
}

fn check_proof(bytes: &[u8], key: &VerifierKey) -> Result<Verified, Damage> {
    let text = str::from_utf8(bytes).map_err(|_| "it is no proof".to_owned())?;
    let proof: EntryProof = text.parse().map_err(|error| format!("{error}"))?;
    let entry = proof.extra.as_deref().ok_or("it has no entry with it")?;
    let head = proof.verify(entry, key).map_err(|error| error.to_string())?;
    let mut verified = Verified::of("proof", &head);
    verified.checked = 1;
    let read = Entry::from_bytes(entry).ok();
    verified.last_entry_ms = read.as_ref().map(|entry| entry.at_ms.0);
    let said = read.and_then(|entry| serde_json::to_value(entry).ok());
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(entry).into());
    verified.entry = Some(json!({ "seq": proof.index, "says": said }));
    Ok(verified)
}

/// Who may not read the files has the hub check them.
fn ask_hub(global: &Global, given: Option<&VerifierKey>, witnesses: &[VerifierKey]) -> Result<(), Failure> {
    if !witnesses.is_empty() {
        return Err(Failure::Usage(
            "what witnesses signed is in the ledger's files, which this user may not read".into(),
        ));
    }
    let hub = Administration::new(global)?;
    let key = match given {
        Some(key) => key.clone(),
        None => super::Source::open(global)?.key().clone(),
    };
    let (mut next, mut checked) = (0, 0);
    loop {
        let outcome = hub.live(&AdminRequest::LedgerCheck { from: next })?;
        let result = &outcome.result;
        let verified = match result["damage"].as_str() {
            Some(damage) => Err(damage.to_owned()),
            None => Checkpoint::open(result["checkpoint"].as_str().unwrap_or_default().as_bytes(), &key)
                .map_err(|error| error.to_string()),
        };
        let number = |name: &str| result[name].as_u64().unwrap_or(0);
        let begun = next.max(number("first_kept"));
        let until = number("next");
        checked += until.saturating_sub(begun);
        let is_over = verified.is_err() || until <= next || until >= number("size");
        next = until;
        if is_over {
            let verified = verified.map(|head| Verified {
                checked,
                first_kept: number("first_kept"),
                let_go_ms: result["let_go_ms"].as_u64(),
                ..Verified::of("ledger, as the hub itself checked it", &head)
            });
            return tell(global, &global.data, &verified, given.is_some());
        }
    }
}

fn tell(global: &Global, path: &Path, found: &Result<Verified, Damage>, key_given: bool) -> Result<(), Failure> {
    let shown = path.display().to_string();
    let verified = match found {
        Ok(verified) => verified,
        Err(damage) => {
            if global.output == Output::Json {
                say_json(&json!({ "path": shown, "verified": false, "damage": damage }))?;
            }
            return Err(Failure::CheckFailed(format!("{shown} is not to be believed: {damage}")));
        }
    };
    let key_from = if key_given { "given" } else { "beside the files" };
    if global.output == Output::Json {
        let mut result = serde_json::to_value(verified).map_err(|error| Failure::Refused(error.to_string()))?;
        result["path"] = shown.into();
        result["verified"] = true.into();
        result["key_from"] = key_from.into();
        return say_json(&result);
    }
    say(&rendered(&shown, verified))?;
    if !key_given {
        remark(
            "The key came from the same place as the files: this shows that nobody without the hub's key changed them, and \
             nothing against who may have changed both. Note what `portreeve ledger key` prints, and give it with --key.",
        );
    }
    Ok(())
}

fn rendered(path: &str, verified: &Verified) -> String {
    let mut pairs = vec![
        (verified.what, format!("{path}: verified")),
        ("origin", verified.origin.clone()),
        ("entries", verified.size.to_string()),
        ("root", verified.root.clone()),
        (
            "checked",
            match verified.exported {
                Some((first, last)) => format!("entries {first} to {last}"),
                None => format!("{} entries", verified.checked),
            },
        ),
    ];
    if let Some(at_ms) = verified.let_go_ms {
        pairs.push(("let go", format!("entries before {}, {}", verified.first_kept, instant(&at_ms.into()))));
    }
    pairs.extend(verified.last_entry_ms.map(|at_ms| ("last entry", instant(&at_ms.into()))));
    pairs.extend(verified.openings.map(|count| ("personal values", format!("{count} open"))));
    pairs.extend(verified.entry.as_ref().map(|entry| ("entry", format!("{}: {}", entry["seq"], cell(&entry["says"])))));
    pairs.extend(verified.witnesses.iter().map(|Cosigned { name, size, at_ms }| {
        ("witness", format!("{name} cosigned {size} entries, {}", instant(&(*at_ms).into())))
    }));
    list(&pairs)
}

/// Says how far it is, to whoever watches.
struct Progress {
    size: u64,
    is_watched: bool,
}

impl Progress {
    fn new(size: u64) -> Self {
        Self { size, is_watched: io::stderr().is_terminal() }
    }

    fn tell(&self, number: u64) {
        if self.is_watched && number > 0 && number.is_multiple_of(PROGRESS_ENTRIES) {
            remark(&format!("{number} of {} entries", self.size));
        }
    }
}

/// Lines of a file, none longer than `bytes_max`.
///
/// # Errors
/// One is longer, or `take` says no.
pub(super) fn each_line(
    path: &Path,
    bytes_max: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let shown = path.file_name().unwrap_or_default().display().to_string();
    let unread = |error: io::Error| format!("{shown}: {error}");
    let mut lines = BufReader::new(File::open(path).map_err(unread)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(2);
        if lines.by_ref().take(most).read_until(b'\n', &mut line).map_err(unread)? == 0 {
            return Ok(());
        }
        let text = line.strip_suffix(b"\n").ok_or_else(|| format!("{shown}: a line is too long, or not ended"))?;
        take(text)?;
    }
}
