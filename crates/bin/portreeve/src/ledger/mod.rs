//! `portreeve ledger`: reading the audit ledger, and believing nothing of it but its key.

mod export;
mod key;
mod show;
mod source;
mod verify;
mod witness;

pub(crate) use verify::verified;

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use portreeve_hub::{AdminRequest, Erasure};
use portreeve_ledger::{EntryProof, Reader, inclusion_proof};
use portreeve_types::UnixMillis;
use serde_json::json;
use time::{Date, macros::format_description};

use crate::{
    admin::Administration,
    cli::Global,
    failure::Failure,
    output::{say, show as show_result},
};
use source::Source;

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Verify a ledger, an export or a proof; exit status 1 at the first damage
    ///
    /// Every entry and every hash is compared with the signed head. Without PATH, it is the ledger of the hub in --data, whether
    /// that runs or not. PATH is a data directory, a copy of its folder `ledger`, what `ledger export` wrote, or a proof of
    /// `ledger prove`; for these no hub is needed. A key that came along with the files shows that nobody else changed them; against
    /// who may have changed both, give the key that you noted elsewhere.
    #[command(
        after_help = "Examples:\n  portreeve ledger verify\n  portreeve ledger verify /mnt/copy/ledger --key hub.example.vkey\n  portreeve ledger verify entry-4711.tlog-proof --key 'hub-1+8f2e…'\n  portreeve ledger verify --witness 'witness.example+0c1d…'"
    )]
    Verify(verify::Verify),
    /// Entries, verified before they are shown
    ///
    /// Personal values are shown as long as they can be opened, and `(erased)` where not.
    #[command(
        after_help = "Examples:\n  portreeve ledger show\n  portreeve ledger show --since 1h --kind admin_denied\n  portreeve ledger show --from 0 --identity lamp-1 --output json"
    )]
    Show(show::Show),
    /// Write entries to a folder that `ledger verify` verifies anywhere
    #[command(
        after_help = "Examples:\n  portreeve ledger export --since 30d --out march\n  portreeve ledger export --from 0 --to 999 --without-personal --out first-1000 && portreeve ledger verify first-1000"
    )]
    Export(export::Export),
    /// Write the proof that an entry is in the ledger (C2SP tlog-proof)
    #[command(after_help = "Example:\n  portreeve ledger prove 4711 --out entry-4711.tlog-proof")]
    Prove(Prove),
    /// Print the key that the ledger is signed with: note it somewhere else than on this machine
    Key {
        /// The key that the running hub cosigns other hubs' ledgers with, for their `ledger.witnesses`
        #[arg(long)]
        witness: bool,
    },
    /// Delete what opens personal values: names of operators, addresses, client identifiers of applications
    ///
    /// The entries stay and still prove; `ledger show` then says (erased). Copies and exports made earlier are not reached.
    #[command(
        after_help = "Examples:\n  portreeve ledger erase --value alice --dry-run\n  portreeve ledger erase --before 2026-01-01"
    )]
    Erase(Erase),
    /// Watch other hubs' ledgers: remember the last head of each, and sign none that does not continue it
    ///
    /// On another machine than the hub's, and somebody else's if possible. Speaks C2SP tlog-witness over HTTPS. Its first start makes
    /// its key and prints it, for `ledger.witnesses` of the hub.
    #[command(
        after_help = "Example:\n  portreeve ledger witness --state /var/lib/witness --name witness.example.org --log hub.vkey --cert cert.pem --key key.pem"
    )]
    Witness(witness::Witness),
}

#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// The number of the entry
    seq: u64,
    /// Write to this file, which must not exist, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// This value, wherever it is
    #[arg(long, required_unless_present = "before", conflicts_with = "before")]
    value: Option<String>,
    /// All values of the days before this one, UTC
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    before: Option<Day>,
    /// Only say how many
    #[arg(long)]
    dry_run: bool,
}

/// The first moment of a day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Day(UnixMillis);

fn day(text: &str) -> Result<Day, String> {
    let date =
        Date::parse(text, format_description!("[year]-[month]-[day]")).map_err(|_| "write a day as 2026-01-31")?;
    let seconds = u64::try_from(date.midnight().assume_utc().unix_timestamp()).map_err(|_| "a day since 1970")?;
    Ok(Day(UnixMillis(seconds * 1000)))
}

pub(crate) fn run(global: &Global, command: LedgerCommand) -> Result<(), Failure> {
    match command {
        LedgerCommand::Verify(args) => verify::run(global, &args),
        LedgerCommand::Show(args) => show::run(global, &args),
        LedgerCommand::Export(args) => export::run(global, &args),
        LedgerCommand::Prove(args) => prove(global, &args),
        LedgerCommand::Erase(args) => erase(global, args),
        LedgerCommand::Witness(args) => witness::run(global, &args),
        LedgerCommand::Key { witness: true } => {
            let outcome = Administration::new(global)?.request(AdminRequest::LedgerKey)?;
            let Some(key) = outcome.result["witness"].as_str() else {
                return Err(Failure::Refused("this hub watches no ledgers: name their keys in ledger.watches".into()));
            };
            show_result(global, &json!({ "key": key }), |_| key.to_owned())
        }
        LedgerCommand::Key { witness: false } => {
            let key = Source::open(global)?.key().to_string();
            show_result(global, &json!({ "key": key }), |_| key.clone())
        }
    }
}

fn prove(global: &Global, Prove { seq, out }: &Prove) -> Result<(), Failure> {
    let source = Source::open(global)?;
    let (proved, _) = source.read(Some(*seq), 1)?;
    let offset = seq.checked_sub(proved.first).and_then(|offset| usize::try_from(offset).ok());
    let Some(entry) = offset.and_then(|offset| proved.entries.get(offset)) else {
        return Err(no_entry(*seq, &proved));
    };
    let damaged = |error: &dyn std::fmt::Display| Failure::CheckFailed(format!("the ledger: {error}"));
    let reader = Reader::open(&proved.files, &proved.head).map_err(|error| damaged(&error))?;
    let path = inclusion_proof(&reader, *seq, proved.head.size).map_err(|error| damaged(&error))?;
    let proof = EntryProof { extra: Some(entry.clone()), index: *seq, path, checkpoint: proved.signed.clone() };
    let text = proof.to_string();
    let Some(out) = out else { return say(&text) };
    write_new(out, text.as_bytes())?;
    let result = json!({ "file": out.display().to_string(), "seq": seq, "size": proved.head.size });
    show_result(global, &result, |_| format!("{}: entry {seq} of {}", out.display(), proved.head.size))
}

fn erase(global: &Global, Erase { value, before, dry_run }: Erase) -> Result<(), Failure> {
    let what = match (value, before) {
        (Some(value), _) => Erasure::Value(value),
        (None, Some(Day(at))) => Erasure::Before(at),
        (None, None) => return Err(Failure::Usage("--value or --before is needed".into())),
    };
    let outcome = Administration::new(global)?.request(AdminRequest::LedgerErase { what, dry_run })?;
    show_result(global, &outcome.result, |result| {
        let what = if dry_run { "would be erased" } else { "erased" };
        match result["days"].as_u64() {
            Some(days) => format!("{days} days of personal values {what}"),
            None => format!("{} personal values {what}", result["values"]),
        }
    })
}

fn no_entry(seq: u64, proved: &portreeve_ledger_files::Proved) -> Failure {
    let first = proved.truncation.as_ref().map_or(0, |truncation| truncation.first);
    let why = if seq < first {
        format!("entries before {first} were let go")
    } else {
        format!("there are {}", proved.head.size)
    };
    Failure::Refused(format!("there is no entry {seq}: {why}"))
}

/// A file that must not be there yet; others do not read it.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let shown = path.display();
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| Failure::Usage(format!("cannot make {shown}: {error}")))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|error| Failure::Refused(format!("cannot write {shown}: {error}")))
}
