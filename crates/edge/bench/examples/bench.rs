//! `portreeve bench` on its own, without the hub in the same program.

use std::process::ExitCode;

use clap::Parser;
use portreeve_bench::cli::BenchArgs;

/// The load generator alone.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    bench: BenchArgs,
    /// Write JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    ExitCode::from(args.bench.execute(args.json))
}
