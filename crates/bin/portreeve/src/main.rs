//! `portreeve`: the hub, its administration, and a small MQTT client, in one binary.
//!
//! `main` parses the command line ([`cli`]), runs the command, and turns a [`failure::Failure`] into one message on
//! standard error and the exit status that the contract gives: 0 done, 1 a check failed, 2 usage or configuration
//! error, 3 hub not reachable, 4 refused by policy or state.

mod admin;
mod alert;
mod approval;
mod attest;
mod audit;
mod ca;
mod case;
mod catalogue;
mod cli;
mod client;
mod configuration;
mod detect;
mod device;
mod enrol;
mod enrolment;
mod failure;
mod firmware;
mod inventory;
mod jitter;
mod ledger;
mod output;
mod policy;
mod report;
mod response;
mod serve;
mod status;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let result = match command {
        Command::Serve => serve::run(&global),
        Command::Status { wait } => status::run(&global, wait),
        Command::Device { command } => device::run(&global, command),
        Command::Detect { command } => detect::run(&global, command),
        Command::Firmware { command } => firmware::run(&global, command),
        Command::Enrolment { command } => enrolment::run(&global, command),
        Command::Approval { command } => approval::run(&global, command),
        Command::Policy { command } => policy::run(&global, command),
        Command::Response { command } => response::run(&global, command),
        Command::Case { command } => case::run(&global, command),
        Command::Attest { command } => attest::run(&global, command),
        Command::Catalogue { command } => catalogue::run(&global, command),
        Command::Audit { command } => audit::run(&global, *command),
        Command::Report { command } => report::run(&global, command),
        Command::Alert { command } => alert::run(&global, command),
        Command::Canary { wait } => alert::canary(&global, wait),
        Command::Ca { command } => ca::run(&global, command),
        Command::Ledger { command } => ledger::run(&global, command),
        Command::Client { command } => client::run(&global, command),
        Command::Config { command } => configuration::run(&global, command),
        // It tells of its failures itself: a run that lost messages still has a report.
        Command::Bench(bench) => return ExitCode::from(bench.execute(global.output == cli::Output::Json)),
        Command::Reload => status::reload(&global),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.exit_status())
        }
    }
}
