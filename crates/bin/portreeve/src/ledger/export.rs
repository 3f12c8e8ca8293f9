//! `portreeve ledger export`: a part of the ledger as files that anybody verifies with the key.
//!
//! | file | what |
//! | --- | --- |
//! | `entries-<first>-<last>.jsonl` | the entries of these numbers, a line each |
//! | `checkpoint` | the signed head |
//! | `tile/…` | the hashes that prove the entries, as tlog-tiles has them |
//! | `personal.jsonl` | what opens personal values, unless it is left out |
//! | `verifier.key` | the ledger's key; whoever verifies should have it from elsewhere |

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File},
    io::{self, BufWriter, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use portreeve_events::{Commitment, Entry, Opening};
use portreeve_hub::commitments;
use portreeve_ledger::{Checkpoint, ENTRY_BYTES_MAX, Reader, Resources as _, VerifierKey};
use portreeve_ledger_files::{CHECKPOINT, Copied, Proved, VERIFIER_KEY};
use serde_json::json;

use super::{
    show::{is_before, since},
    source::Source,
    verify::{Damage, Verified, each_line},
    write_new,
};
use crate::{
    cli::{Global, duration},
    failure::Failure,
    output::show,
};

const PERSONAL: &str = "personal.jsonl";
const UNFINISHED: &str = "unfinished";
const ENTRIES: &str = "tile/entries/";
/// What the path of a tile that is not full has.
const PARTIAL: &str = ".p/";
/// Longest line of `personal.jsonl`.
const OPENING_BYTES_MAX: usize = 4096;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The first entry; without it, the first that there is
    #[arg(long, value_name = "SEQ", conflicts_with = "since")]
    from: Option<u64>,
    /// The last entry; without it, the last that there is
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// From what happened so long ago on, such as 30d, by the hub's clock
    #[arg(long, value_name = "TIME", value_parser = duration)]
    since: Option<Duration>,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Leave out what opens personal values: names of operators, addresses
    #[arg(long)]
    without_personal: bool,
}

pub(super) fn run(global: &Global, args: &Export) -> Result<(), Failure> {
    let source = Source::open(global)?;
    let since_ms = args.since.map(since);
    let from = match since_ms {
        Some(since_ms) => source.first_not(|entry| is_before(entry, since_ms))?,
        None => args.from.unwrap_or(0),
    };
    let made = DirBuilder::new().mode(0o700).create(&args.out);
    made.map_err(|error| Failure::Usage(format!("cannot make {}: {error}", args.out.display())))?;
    let mut writer = Writer::new(args, from, since_ms)?;
    source.each_page(from, |page, openings| writer.take(page, &openings))?;
    let (first, last) = writer.finish(source.key())?;
    let result = json!({ "folder": args.out.display().to_string(), "first": first, "last": last });
    show(global, &result, |_| format!("{}: entries {first} to {last}", args.out.display()))
}

/// An export that is being made.
struct Writer<'a> {
    args: &'a Export,
    from: u64,
    since_ms: Option<u64>,
    entries: BufWriter<File>,
    personal: Option<BufWriter<File>>,
    /// The first entry that was written, and how many.
    first: Option<u64>,
    count: u64,
    /// The last head, and the files that belong to it alone.
    head: String,
    partial: Vec<(String, Vec<u8>)>,
}

impl<'a> Writer<'a> {
    fn new(args: &'a Export, from: u64, since_ms: Option<u64>) -> Result<Self, Failure> {
        let make = |name: &str| new_file(&args.out.join(name)).map(BufWriter::new);
        let entries = make(UNFINISHED)?;
        let personal = if args.without_personal { None } else { Some(make(PERSONAL)?) };
        let (first, count, head, partial) = (None, 0, String::new(), Vec::new());
        Ok(Self { args, from, since_ms, entries, personal, first, count, head, partial })
    }

    /// Takes what is wanted of a page; whether more is.
    fn take(&mut self, page: &Proved, openings: &[Opening]) -> Result<bool, Failure> {
        let until = self.args.to.unwrap_or(u64::MAX);
        let mut wanted = HashSet::new();
        for (number, entry) in (page.first..).zip(&page.entries) {
            let is_early = self.first.is_none() && self.since_ms.is_some_and(|since| is_before(entry, since));
            if number < self.from || number > until || is_early {
                continue;
            }
            self.first.get_or_insert(number);
            self.count += 1;
            self.entries
                .write_all(entry)
                .and_then(|()| self.entries.write_all(b"\n"))
                .map_err(|error| self.full(&error))?;
            wanted.extend(Entry::from_bytes(entry).iter().flat_map(commitments).cloned());
        }
        self.write_personal(openings, &wanted)?;
        self.head.clone_from(&page.signed);
        self.partial.clear();
        for (path, bytes) in page.files.iter().filter(|(path, _)| !path.starts_with(ENTRIES)) {
            if path.contains(PARTIAL) {
                self.partial.push((path.clone(), bytes.clone()));
            } else {
                self.write(path, bytes)?;
            }
        }
        Ok(page.first.saturating_add(page.entries.len() as u64) <= until)
    }

    fn write_personal(&mut self, openings: &[Opening], wanted: &HashSet<Commitment>) -> Result<(), Failure> {
        let Some(personal) = &mut self.personal else { return Ok(()) };
        let written = openings.iter().filter(|opening| wanted.contains(&opening.sha256)).try_for_each(|opening| {
            serde_json::to_writer(&mut *personal, opening)?;
            personal.write_all(b"\n")
        });
        written.map_err(|error| self.full(&error))
    }

    /// A tile; two pages may bring the same.
    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.args.out.join(path);
        let folder = path.parent().unwrap_or(&self.args.out);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder).and_then(|()| fs::write(&path, bytes));
        made.map_err(|error| self.full(&error))
    }

    fn full(&self, error: &io::Error) -> Failure {
        Failure::Refused(format!("cannot write to {}: {error}", self.args.out.display()))
    }

    /// Writes what belongs to the last head, and looks whether all of it is proved.
    fn finish(mut self, key: &VerifierKey) -> Result<(u64, u64), Failure> {
        let out = self.args.out.clone();
        let written = self.entries.flush().and_then(|()| self.personal.as_mut().map_or(Ok(()), io::Write::flush));
        written.map_err(|error| self.full(&error))?;
        let Some(first) = self.first else {
            // Nothing was put there but empty files.
            let _ = fs::remove_dir_all(&out);
            return Err(Failure::Refused("there are no such entries; nothing was exported".into()));
        };
        let last = first + self.count - 1;
        for (path, bytes) in &self.partial {
            self.write(path, bytes)?;
        }
        write_new(&out.join(CHECKPOINT), self.head.as_bytes())?;
        write_new(&out.join(VERIFIER_KEY), format!("{key}\n").as_bytes())?;
        let name = format!("entries-{first}-{last}.jsonl");
        fs::rename(out.join(UNFINISHED), out.join(&name)).map_err(|error| self.full(&error))?;
        let found = Exported { name, first, last };
        verify(&Copied::at(&out), key, &found).map_err(|damage| {
            let text = format!(
                "{} is not whole, for the ledger grew by much meanwhile; export again: {damage}",
                out.display()
            );
            Failure::Refused(text)
        })?;
        Ok((first, last))
    }
}

fn new_file(path: &Path) -> Result<File, Failure> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| Failure::Usage(format!("cannot make {}: {error}", path.display())))
}

/// The file with the entries of an export, and what its name says.
pub(super) struct Exported {
    name: String,
    first: u64,
    last: u64,
}

impl Exported {
    /// That of a folder, if it is an export.
    pub(super) fn find(folder: &Path) -> Result<Option<Self>, Failure> {
        let unread = |error: io::Error| Failure::Usage(format!("cannot read {}: {error}", folder.display()));
        for entry in fs::read_dir(folder).map_err(unread)? {
            let name = entry.map_err(unread)?.file_name().to_string_lossy().into_owned();
            let range = name.strip_prefix("entries-").and_then(|rest| rest.strip_suffix(".jsonl"));
            let range = range.and_then(|range| range.split_once('-'));
            if let Some((Ok(first), Ok(last))) = range.map(|(first, last)| (first.parse(), last.parse())) {
                return Ok(Some(Self { name, first, last }));
            }
        }
        Ok(None)
    }
}

/// Compares the lines of an export with its head.
pub(super) fn verify(files: &Copied, key: &VerifierKey, exported: &Exported) -> Result<Verified, Damage> {
    let signed = files.read(CHECKPOINT).map_err(|error| format!("{CHECKPOINT}: {error}"))?;
    let signed = signed.ok_or_else(|| format!("{CHECKPOINT} is missing"))?;
    let head = Checkpoint::open(&signed, key).map_err(|error| format!("{CHECKPOINT}: {error}"))?;
    let reader = Reader::open(files, &head).map_err(|error| error.to_string())?;
    let mut verified = Verified::of("export", &head);
    let (mut number, mut wanted) = (exported.first, HashSet::new());
    each_line(&files.folder().join(&exported.name), ENTRY_BYTES_MAX, |line| {
        if !reader.is_entry(number, line).map_err(|error| error.to_string())? {
            return Err(format!("{}: line {} is not entry {number}", exported.name, verified.checked + 1));
        }
        if let Ok(entry) = Entry::from_bytes(line) {
            wanted.extend(commitments(&entry).cloned());
            verified.last_entry_ms = Some(entry.at_ms.0);
        }
        number += 1;
        verified.checked += 1;
        Ok(())
    })?;
    if verified.checked == 0 || number != exported.last.saturating_add(1) {
        return Err(format!("{}: it ends before entry {}", exported.name, exported.last));
    }
    verified.exported = Some((exported.first, exported.last));
    verified.openings = openings(files, &wanted)?;
    Ok(verified)
}

/// How many personal values open, if they came along. Each line has to open something.
fn openings(files: &Copied, wanted: &HashSet<Commitment>) -> Result<Option<u64>, Damage> {
    let path = files.folder().join(PERSONAL);
    if !path.exists() {
        return Ok(None);
    }
    let mut count = 0;
    each_line(&path, OPENING_BYTES_MAX, |line| {
        count += 1;
        match serde_json::from_slice::<Opening>(line) {
            Ok(opening) if opening.is_true() && wanted.contains(&opening.sha256) => Ok(()),
            _ => Err(format!("{PERSONAL}: line {count} opens nothing in these entries")),
        }
    })?;
    Ok(Some(count))
}
