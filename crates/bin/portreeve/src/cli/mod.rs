//! The command line: every command, option and help text.

mod ca;
mod client;
mod device;
mod enrolment;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use portreeve_types::IdentityName;

pub(crate) use ca::{CaCommand, CustodyChange, Followed, IssuingCa, KeyFiles, RootCommand};
pub(crate) use client::{ClientCommand, Connection, Payload, Publish, Subscribe};
pub(crate) use device::{Add, Change, DeviceCommand, Enrol, FieldArgs, Renew};
pub(crate) use enrolment::{EnrolmentCommand, GroupAdd, GroupCommand, ListCommand};

use crate::{
    alert::AlertCommand, approval::ApprovalCommand, attest::AttestCommand, audit::AuditCommand, case::CaseCommand,
    catalogue::CatalogueCommand, detect::DetectCommand, firmware::FirmwareCommand, ledger::LedgerCommand,
    report::ReportCommand, response::ResponseCommand,
};

const EXAMPLES: &str = "\
Examples:
  portreeve serve                                     run the hub on ./portreeve-data
  portreeve device add lamp-1 --out lamp-1            register a device, write its key and certificate
  portreeve client sub --bundle lamp-1 -t 'devices/lamp-1/commands/#'
  portreeve client pub --bundle lamp-1 -t devices/lamp-1/telemetry/state -m on
  portreeve status

Exit status: 0 done; 1 a check failed; 2 usage or configuration error; 3 hub not reachable; 4 refused by policy or state.";

/// A security hub for IoT networks: MQTT over mutual TLS, least privilege, nothing lost.
///
/// Devices and applications reach each other only with a client certificate of the hub's own CA, and only on topics
/// that policy grants. There is no insecure mode to switch off.
#[derive(Debug, Parser)]
#[command(name = "portreeve", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The hub's data directory: its CA, registry, policy, sessions and administration socket
    #[arg(long, global = true, env = "PORTREEVE_DATA", default_value = "./portreeve-data", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Configuration file (TOML); without one the defaults apply
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Override a configuration key, such as mqtt.listen=0.0.0.0:8883; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// How results are written
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the hub
    ///
    /// The first start makes the data directory: the CA, the hub's certificate, the registry. SIGHUP reads configuration
    /// and certificates again; SIGTERM and SIGINT let clients go in order and end with status 0, a second one ends at once.
    #[command(
        after_help = "Examples:\n  portreeve serve\n  portreeve serve --data /var/lib/portreeve/hub --config /etc/portreeve/portreeve.toml\n  portreeve serve --set mqtt.listen=127.0.0.1:8883 --set log.level=debug"
    )]
    Serve,
    /// Is the hub ready, where does it listen, how full are its limits
    #[command(after_help = "Examples:\n  portreeve status\n  portreeve status --wait 30s --output json")]
    Status {
        /// Wait until the hub is ready, at most this long
        #[arg(long, value_name = "TIME", value_parser = duration)]
        wait: Option<Duration>,
    },
    /// Register devices, gateways and applications, and move them along their lives
    Device {
        #[command(subcommand)]
        command: DeviceCommand,
    },
    /// Know what firmware is made of, and which devices run it
    Firmware {
        #[command(subcommand)]
        command: FirmwareCommand,
    },
    /// See what was found to be wrong, and by which numbers; set what is watched for
    Detect {
        #[command(subcommand)]
        command: DetectCommand,
    },
    /// Let makers of devices vouch for them, so that nobody has to register each
    Enrolment {
        #[command(subcommand)]
        command: EnrolmentCommand,
    },
    /// Consent to what waits for a second person
    Approval {
        #[command(subcommand)]
        command: ApprovalCommand,
    },
    /// Decide who may publish and subscribe what
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Decide what the hub does by itself about what it finds
    Response {
        #[command(subcommand)]
        command: ResponseCommand,
    },
    /// Work on cases: what was found, what was done, and who had the evidence in hand
    Case {
        #[command(subcommand)]
        command: CaseCommand,
    },
    /// Vouch for what no program can see, and approve what others vouch for
    Attest {
        #[command(subcommand)]
        command: AttestCommand,
    },
    /// Look up what the security frameworks require, and what decides it
    Catalogue {
        #[command(subcommand)]
        command: CatalogueCommand,
    },
    /// Look at a deployment, requirement by requirement, and report with evidence that others can check
    Audit {
        #[command(subcommand)]
        command: Box<AuditCommand>,
    },
    /// Read the report of an audit, verify it with its evidence, compare two
    Report {
        #[command(subcommand)]
        command: ReportCommand,
    },
    /// Decide who is told of what is found, and see what is
    Alert {
        #[command(subcommand)]
        command: AlertCommand,
    },
    /// See whether every detector still finds what it must, and whether that reaches who should know, in what time
    Canary {
        /// How long to wait for all channels
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
        wait: Duration,
    },
    /// The certificate authority and the custody of its keys
    Ca {
        #[command(subcommand)]
        command: CaCommand,
    },
    /// The audit ledger: what happened, provably
    Ledger {
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// A small MQTT client
    Client {
        #[command(subcommand)]
        command: ClientCommand,
    },
    /// Check, show and explain the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Measure any MQTT broker over TLS: cost, latency, loss and order
    Bench(portreeve_bench::cli::BenchArgs),
    /// Have the running hub read configuration and certificates again
    ///
    /// What is wrong with them is said here, and the hub goes on with what it had.
    Reload,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check policy files; needs no hub
    #[command(after_help = "Example:\n  portreeve policy check policies/*.cedar")]
    Check {
        /// Files of Cedar policies
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Replace the applied policies; live sessions obey at once
    #[command(
        after_help = "Examples:\n  portreeve policy apply --dry-run policies/*.cedar\n  portreeve policy apply policies/*.cedar\n  portreeve policy apply --default"
    )]
    Apply {
        /// Files of Cedar policies: all that shall apply beside the built-in one
        #[arg(required_unless_present = "default")]
        files: Vec<PathBuf>,
        /// Back to the built-in policy alone: each device below devices/<its name>/
        #[arg(long, conflicts_with = "files")]
        default: bool,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// The policies in force
    Show,
    /// Run a file of expected decisions; exit status 1 if one falls otherwise
    #[command(
        after_help = "Example test file:\n  [[case]]\n  identity = \"lamp-1\"\n  action = \"publish\"\n  topic = \"devices/lamp-2/state\"\n  expect = \"deny\""
    )]
    Test {
        /// The test file (TOML)
        file: PathBuf,
        /// Policy files to test instead of the applied ones; may be repeated
        #[arg(long = "policy", value_name = "FILE")]
        policies: Vec<PathBuf>,
    },
    /// Prove that policies allow nothing that a ceiling does not, for every request there can be
    ///
    /// The proof is made by cvc5, a program of its own (Debian: apt install cvc5). Without it, nothing is proven; then only the warnings of the
    /// compiler are said. Status 1 if something goes beyond the ceiling, with an example, or if it is not known.
    #[command(
        after_help = "Examples:\n  portreeve policy prove --ceiling ceiling.cedar                  the policies in force\n  portreeve policy prove --ceiling ceiling.cedar policies/*.cedar"
    )]
    Prove {
        /// Files of Cedar policies: everything that may be allowed beside the built-in one; may be repeated
        #[arg(long, required = true, value_name = "FILE")]
        ceiling: Vec<PathBuf>,
        /// Policies to prove; those in force without any
        files: Vec<PathBuf>,
    },
    /// Why a decision falls as it does
    #[command(
        after_help = "Examples:\n  portreeve policy explain lamp-1 publish devices/lamp-1/state\n  portreeve policy explain lamp-1 connect"
    )]
    Explain {
        /// Who
        identity: IdentityName,
        /// connect, publish, subscribe or receive
        action: String,
        /// Topic or topic filter; none for connect
        #[arg(default_value = "")]
        topic: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say everything that is wrong, with file, line and column
    Check,
    /// Every value and where it came from
    Show,
    /// What a key means, its default and range
    Explain {
        /// Such as mqtt.listen; without one, all keys in short
        key: Option<String>,
    },
}

/// `30s`, `500ms`, `5m`, `2h`, `7d`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let found = UNITS.iter().find_map(|(unit, ms)| text.strip_suffix(unit).map(|number| (number, *ms)));
    let (number, unit_ms) = found.unwrap_or((text, 1000));
    let count: u64 =
        number.trim().parse().map_err(|_| "write a whole number and ms, s, m, h or d, such as 30s".to_owned())?;
    count.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("portreeve").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in
            [("30s", 30_000), ("500ms", 500), ("5m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000), ("7", 7000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "s", "-1s", "1w", "1.5s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn global_options_stand_before_or_behind_the_command() {
        for line in ["--data d --set a.b=1 status", "status --data d --set a.b=1"] {
            let cli = parse(line).unwrap();
            assert_eq!((cli.global.data.to_str(), cli.global.set.len()), (Some("d"), 1), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        let cases = [
            ("device add lamp/1", ErrorKind::ValueValidation),
            ("device add l --days 3", ErrorKind::MissingRequiredArgument),
            ("device add l --out d --days 366", ErrorKind::ValueValidation),
            ("device add l --kind robot", ErrorKind::ValueValidation),
            ("policy apply", ErrorKind::MissingRequiredArgument),
            ("policy apply a.cedar --default", ErrorKind::ArgumentConflict),
            ("client pub --bundle b -t t", ErrorKind::MissingRequiredArgument),
            ("client pub --bundle b -t t -m x --stdin", ErrorKind::ArgumentConflict),
            ("client pub --bundle b -t t -m x -q 3", ErrorKind::ValueValidation),
            ("client sub --bundle b -t t --keep-session 1h", ErrorKind::MissingRequiredArgument),
            ("ledger prove", ErrorKind::MissingRequiredArgument),
            ("ledger show --kind nothing", ErrorKind::ValueValidation),
            ("ledger show --from 1 --since 1h", ErrorKind::ArgumentConflict),
            ("ledger erase", ErrorKind::MissingRequiredArgument),
            ("ledger erase --value a --before 2026-01-01", ErrorKind::ArgumentConflict),
            ("ledger erase --before 2026-02-30", ErrorKind::ValueValidation),
            ("ledger export", ErrorKind::MissingRequiredArgument),
            ("ca custody", ErrorKind::MissingRequiredArgument),
            ("ca custody --to tpm", ErrorKind::InvalidValue),
            ("ca root export", ErrorKind::MissingRequiredArgument),
        ];
        for (line, kind) in cases {
            let error = parse(line).map(|_| ()).unwrap_err();
            assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line}");
        }
    }

    #[test]
    fn a_message_may_begin_with_a_hyphen() {
        let cli = parse("client pub --bundle b -t t -m -5").unwrap();
        let Command::Client { command: ClientCommand::Pub(publish) } = cli.command else { panic!("not pub") };
        assert_eq!(publish.payload.message.as_deref(), Some("-5"));
    }
}
