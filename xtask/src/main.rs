//! The project's own chores: `cargo xtask tidy | trace | docs`.
//!
//! `tidy` holds the code to the design's invariants, `trace` shows which requirement rows are cited where, `docs` writes the generated
//! references. [`source::Tree`] is what `tidy` and `trace` read.
//!
//! *Invariants*
//! - Nothing here is part of the hub: no crate under `crates/` may depend on it.
//! - A rule that finds nothing wrong says nothing; a finding says what to do.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this program is for")]

mod demands;
mod docs;
mod mask;
mod requirements;
mod source;
mod tidy;
mod trace;

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND
  tidy                                        check the design's invariants
  trace [--output table|json] [--summary] [--prune]
                                              requirement rows and where they are cited;
                                              --prune drops stale entries from xtask/exceptions.toml
  docs                                        write the generated references";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is well.
fn run(words: &[&str]) -> Result<bool> {
    let root = root()?;
    match words {
        ["tidy"] => tidy::run(&root),
        ["trace", options @ ..] => trace::run(&root, &trace::Options::parse(options)?),
        ["docs"] => docs::write(&root).map(|()| true),
        _ => bail!("{USAGE}"),
    }
}

/// The workspace: the parent of this crate.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_owned).context("xtask stands at the root of the file system")
}
