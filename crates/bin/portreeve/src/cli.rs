//! The command line: every command, option and help text.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use portreeve_types::{IdentityName, Kind};

use crate::{
    alert::AlertCommand,
    approval::ApprovalCommand,
    attest::AttestCommand,
    case::CaseCommand,
    catalogue::CatalogueCommand,
    detect::DetectCommand,
    firmware::FirmwareCommand,
    inventory::{Export, Import, List},
    ledger::LedgerCommand,
    report::ReportCommand,
    response::ResponseCommand,
};

/// How most machines' TPM is reached: by the kernel's resource manager.
const TPM: &str = "device:/dev/tpmrm0";

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
pub(crate) enum DeviceCommand {
    /// Register an identity; with --out also make its key and certificate
    #[command(
        after_help = "Examples:\n  portreeve device add lamp-1 --group lamps --location 'hall 2' --out bundles/lamp-1\n  portreeve device add dashboard --kind application --out bundles/dashboard"
    )]
    Add(Add),
    /// Make a one-time code with which a device gets its certificate for a key that it makes itself
    ///
    /// The code is shown once and kept nowhere. A new one voids the one before.
    #[command(after_help = "Examples:\n  portreeve device add lamp-1\n  portreeve device code lamp-1 --valid 2h")]
    Code {
        /// The registered name
        name: IdentityName,
        /// How long it is valid, such as 30m, 2h or 3d; without it, enrolment.code_valid_s
        #[arg(long, value_name = "TIME", value_parser = duration)]
        valid: Option<Duration>,
    },
    /// On a device: make a key and get a certificate for it with a one-time code
    ///
    /// Needs no hub on this machine. Makes DIR with ca.pem, cert.pem and key.pem; the key never leaves it. With --tpm the
    /// key is made in the TPM and never leaves that; key.tpm is of use to that TPM only.
    #[command(
        after_help = "Examples:\n  portreeve device enrol lamp-1 --hub hub.example.org --ca-sha256 5f0c… --out /etc/lamp\n  portreeve device enrol --tpm --hub hub.example.org --ca root.pem --out /etc/gateway"
    )]
    Enrol(Enrol),
    /// On a device: renew the certificate when two thirds of its life are over
    #[command(
        after_help = "Examples:\n  portreeve device renew /etc/lamp           once, if it is time\n  portreeve device renew /etc/lamp --watch   for ever"
    )]
    Renew(Renew),
    /// Identities, all or some
    #[command(
        after_help = "Examples:\n  portreeve device list --group lamps --state pending\n  portreeve device list --kind gateway --unused 30d\n  portreeve device list --library openssl@3.0"
    )]
    List(List),
    /// Write identities to a file for a spreadsheet or a program
    ///
    /// `device import` reads it back: name, kind, group, owner, location, model, firmware and notes. What stands beside is told only.
    #[command(
        after_help = "Examples:\n  portreeve device export --out fleet.csv\n  portreeve device export --format json --group lamps > lamps.json"
    )]
    Export(Export),
    /// Register and edit identities by a file, all of them or none
    ///
    /// CSV with a header, or a JSON array of objects. Only the name is needed. New ones are pending until they enrol; of known ones
    /// descriptive fields are changed, and nothing else. What is wrong with the file is told line by line, and then nothing is
    /// changed.
    #[command(
        after_help = "Examples:\n  portreeve device import fleet.csv --dry-run\n  portreeve device import fleet.csv --update\n  printf 'name,group\\nlamp-1,lamps\\nlamp-2,lamps\\n' | portreeve device import -"
    )]
    Import(Import),
    /// One identity with its certificates and sessions
    Show {
        /// Its name
        name: IdentityName,
    },
    /// What changed of an identity: when, by whom and why
    History {
        /// Its name
        name: IdentityName,
    },
    /// Change what is known of an identity; policies that look at it apply at once
    #[command(after_help = "Example:\n  portreeve device edit lamp-1 --group lamps --firmware 2.1.0")]
    Edit {
        /// Its name
        name: IdentityName,
        #[command(flatten)]
        fields: FieldArgs,
    },
    /// Switch an identity off: its connections end at once, its sessions are kept
    Disable(Change),
    /// Put a disabled or quarantined identity back in service
    Enable(Change),
    /// Confine an identity under suspicion: its connections end at once, and only what is marked for remediation is left
    Quarantine(Change),
    /// Void an identity's certificates for ever; its connections end at once
    Revoke(Change),
    /// Confine a device and have it told to wipe itself, now or when it comes back
    ///
    /// The command is kept on devices/NAME/remediation/wipe; the device confirms on devices/NAME/remediation/wiped.
    Wipe {
        /// Its name
        name: IdentityName,
        /// Why; kept with the identity
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take an identity out of service for ever
    Retire(Change),
    /// State what became of a retired device; a second person has to consent
    #[command(
        after_help = "Example:\n  portreeve device dispose lamp-1 --statement 'shredded by ACME, certificate 4711'"
    )]
    Dispose {
        /// Its name
        name: IdentityName,
        /// What became of it
        #[arg(long)]
        statement: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnrolmentCommand {
    /// By which rules certificates are issued, and what has to be shown
    Rules,
    /// Enrolment groups: whose word lets devices in
    Group {
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// Allow-lists, as whoever makes devices signs them
    List {
        #[command(subcommand)]
        command: ListCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Trust a maker: its CA, the CA of its devices' TPMs, or the key that signs its lists
    #[command(
        after_help = "Examples:\n  portreeve enrolment group add pumps --maker-ca acme-ca.pem --crl acme.crl.pem --names 'pump-{serial}' --group pumps\n  portreeve enrolment group add lamps --list-signer lists.pub.pem --names 'lamp-{serial}' --approval\n  portreeve enrolment group add gateways --tpm-ca tpm-makers.pem --names 'gw-{key}' --kind gateway"
    )]
    Add(GroupAdd),
    /// All groups
    List,
    /// Trust a maker no more; the devices that it brought stay
    Remove {
        /// Which group
        name: IdentityName,
    },
    /// Replace what a maker has revoked
    Crls {
        /// Which group
        name: IdentityName,
        /// Lists, PEM: one of every CA that issues to devices
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Take a newer edition of a group's allow-list
    Allow {
        /// Which group
        name: IdentityName,
        /// The list, as `enrolment list sign` makes it
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GroupAdd {
    /// Its name
    pub(crate) name: IdentityName,
    /// CA certificates of the maker, PEM; may be repeated
    #[arg(long, value_name = "FILE", required_unless_present_any = ["list_signer", "tpm_ca"])]
    pub(crate) maker_ca: Vec<PathBuf>,
    /// CA certificates of the makers of TPMs, PEM, with those below their roots; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "maker_ca")]
    pub(crate) tpm_ca: Vec<PathBuf>,
    /// What the maker has revoked, PEM; may be repeated: one of every CA that issues to devices
    #[arg(long, value_name = "FILE", conflicts_with = "list_signer")]
    pub(crate) crl: Vec<PathBuf>,
    /// Public keys that may sign the group's allow-lists, PEM; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with_all = ["maker_ca", "tpm_ca"])]
    pub(crate) list_signer: Vec<PathBuf>,
    /// The keys on the lists are endorsement keys of TPMs: `enrolment list entry --tpm` tells them
    #[arg(long, requires = "list_signer")]
    pub(crate) tpm: bool,
    /// How devices are named: text with {serial}, {cn} or {key}
    #[arg(long, value_name = "TEMPLATE", default_value = "{serial}")]
    pub(crate) names: String,
    /// device, gateway or application
    #[arg(long, default_value = "device")]
    pub(crate) kind: Kind,
    /// Group that policies refer to
    #[arg(long, default_value = "")]
    pub(crate) group: String,
    /// Have an operator consent to each device
    #[arg(long)]
    pub(crate) approval: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ListCommand {
    /// Write the line of a device: its serial number and the hash of its public key
    #[command(
        after_help = "Examples:\n  portreeve enrolment list entry SN-0042 --key sn-0042.pub.pem >>devices.csv\n  portreeve enrolment list entry GW-7 --tpm                      on the gateway"
    )]
    Entry {
        /// The serial number
        serial: String,
        /// Its public key, or its private one, PEM; with --tpm, its TPM's endorsement key (P-256, or RSA with 2048 bits)
        #[arg(long, value_name = "FILE", required_unless_present = "tpm")]
        key: Option<PathBuf>,
        /// The endorsement key of a TPM: without --key, that of this machine's (P-256)
        #[arg(long)]
        tpm: bool,
        /// How the TPM is reached
        #[arg(long, requires = "tpm", default_value = TPM)]
        tcti: String,
    },
    /// Sign a list of such lines
    #[command(
        after_help = "Example:\n  portreeve enrolment list sign devices.csv --key lists.key.pem --edition 7 --valid 30d >devices.jws"
    )]
    Sign {
        /// Lines of serial number, comma, and the SHA-256 of the public key
        file: PathBuf,
        /// The private key of whoever may sign, PKCS #8 in PEM: ECDSA on P-256 or P-384
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Higher than that of the list before
        #[arg(long, value_name = "NUMBER")]
        edition: u64,
        /// How long devices may enrol by it
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "90d")]
        valid: Duration,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Its name: 1 to 64 of a-z A-Z 0-9 . _ -, beginning with a letter or digit
    pub(crate) name: IdentityName,
    /// device, gateway or application
    #[arg(long, default_value = "device")]
    pub(crate) kind: Kind,
    #[command(flatten)]
    pub(crate) fields: FieldArgs,
    /// Write ca.pem, cert.pem and key.pem to this directory, which is made; nobody else keeps the key
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Days the certificate is valid
    #[arg(long, requires = "out", value_parser = clap::value_parser!(u32).range(1..=365))]
    pub(crate) days: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Enrol {
    /// The registered name; without it, the hub gives one to a device that its maker vouches for
    #[arg(required_unless_present_any = ["maker_cert", "serial", "tpm"], conflicts_with_all = ["maker_cert", "serial", "tpm"])]
    pub(crate) name: Option<IdentityName>,
    /// The hub's device HTTPS listener; without a port, 8444
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) hub: String,
    /// The one-time code; without it, PORTREEVE_CODE or a line of standard input
    ///
    /// Other users of this machine can see what stands on a command line.
    #[arg(long, env = "PORTREEVE_CODE", hide_env_values = true)]
    pub(crate) code: Option<String>,
    /// The maker's certificate of this device, with those between it and the maker's CA, PEM
    #[arg(long, value_name = "FILE", requires = "maker_key")]
    pub(crate) maker_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "maker_cert")]
    pub(crate) maker_key: Option<PathBuf>,
    /// The serial number that stands on a signed list, with the key that stands there: --key, or that of the TPM
    #[arg(long, value_name = "NUMBER", requires = "listed", conflicts_with = "maker_cert")]
    pub(crate) serial: Option<String>,
    /// That key, PKCS #8 in PEM; it becomes the device's first
    #[arg(long, value_name = "FILE", requires = "serial", group = "listed")]
    pub(crate) key: Option<PathBuf>,
    /// Show the endorsement key of this machine's TPM, and keep the device's own key in the TPM
    #[arg(long, group = "listed", conflicts_with = "maker_cert")]
    pub(crate) tpm: bool,
    /// How the TPM is reached
    #[arg(long, requires = "tpm", default_value = TPM)]
    pub(crate) tcti: String,
    /// What `device code` showed: the SHA-256 of the hub's root certificate
    #[arg(long, value_name = "HEX", required_unless_present = "ca")]
    pub(crate) ca_sha256: Option<String>,
    /// The hub's root certificate, if it came here another way
    #[arg(long, value_name = "FILE", conflicts_with = "ca_sha256")]
    pub(crate) ca: Option<PathBuf>,
    /// Where ca.pem, cert.pem and key.pem go; it is made
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How long to ask again while an operator has to consent, or the hub is busy
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
    pub(crate) wait: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// The directory that `device enrol --out` made
    pub(crate) bundle: PathBuf,
    /// Another hub than the one that was enrolled with
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) hub: Option<String>,
    /// Ask now, whether it is time or not
    #[arg(long)]
    pub(crate) now: bool,
    /// Stay, and renew each time it is time
    #[arg(long, conflicts_with = "now")]
    pub(crate) watch: bool,
}

/// What is known of an identity.
#[derive(Debug, Default, Args)]
pub(crate) struct FieldArgs {
    /// Group that policies refer to
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Who answers for it
    #[arg(long)]
    pub(crate) owner: Option<String>,
    /// Where it stands
    #[arg(long)]
    pub(crate) location: Option<String>,
    /// Its model
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Its firmware version
    #[arg(long)]
    pub(crate) firmware: Option<String>,
    /// Anything else
    #[arg(long)]
    pub(crate) notes: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Its name
    pub(crate) name: IdentityName,
    /// Why; kept with the identity
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Only say what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
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
pub(crate) enum CaCommand {
    /// The CAs, how long they last, and where each private key is and how it is protected
    Show,
    /// Seal the keys under a passphrase, or unseal them; no hub may run
    ///
    /// With --to sealed on sealed keys, the passphrase is changed. Set keys.custody to the same afterwards. Keys in a token
    /// or a TPM stay where they were made. A key that others could have read is to be replaced rather than sealed.
    #[command(
        after_help = "Examples:\n  portreeve ca custody --to sealed                                        seal, asking for a passphrase\n  portreeve ca custody --to sealed --new-passphrase-file /root/ca.pass   seal\n  portreeve ca custody --to file --set keys.custody=sealed               unseal"
    )]
    Custody(CustodyChange),
    /// Have a CA, or the key that signs trust bundles, followed by another now
    ///
    /// For issuing CAs it takes the root's key; what was issued before stays good until it ends. Another root is announced to
    /// devices first and certifies after keys.root_overlap_days. Where admin.two_persons is set, somebody else has to consent.
    #[command(
        after_help = "Examples:\n  portreeve ca rotate --dry-run\n  portreeve ca rotate devices\n  portreeve ca rotate root"
    )]
    Rotate {
        /// Which; both issuing CAs, if none is named
        ca: Option<Followed>,
        /// Use the root that is announced without waiting for its time
        #[arg(long)]
        now: bool,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Withdraw an issuing CA at once, because somebody else has or may have its key
    ///
    /// Its certificates admit nobody any more, connections that were made with them end, and another CA follows, if the
    /// root's key is here. A device whose key is registered may renew with its old certificate: a thief of the CA's key has
    /// no such key. With --enrol-anew it may not, and needs a code or its maker's word.
    #[command(after_help = "Example:\n  portreeve ca revoke devices --reason 'the backup of May was stolen'")]
    Revoke {
        /// Which CA, as `ca show` calls it
        name: String,
        /// Why, for the log
        #[arg(long)]
        reason: String,
        /// Registered keys count for nothing either: the registry may have been written by the thief
        #[arg(long)]
        enrol_anew: bool,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Make the key of an issuing CA that is to follow, and the request that the root has to sign elsewhere
    ///
    /// The request goes to standard output. Asked for again, it is for the same key.
    #[command(after_help = "Example:\n  portreeve ca request devices > devices-2.csr")]
    Request {
        /// Which CA is to be followed
        ca: IssuingCa,
    },
    /// Take what the root has signed upon such a request; the new CA issues from now on
    ///
    /// Also another root that was made elsewhere, the certificate that one root has given to the next, and a root's list.
    #[command(after_help = "Example:\n  portreeve ca import devices-2.pem --dry-run")]
    Import {
        /// The certificate, or list, PEM
        file: PathBuf,
        /// Only check it
        #[arg(long)]
        dry_run: bool,
    },
    /// The root, which nothing needs day by day
    Root {
        #[command(subcommand)]
        command: RootCommand,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CustodyChange {
    /// What the keys are to become
    #[arg(long, value_enum)]
    pub(crate) to: KeyFiles,
    /// A file whose one line is the new passphrase; without it the terminal asks
    #[arg(long, value_name = "FILE")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// Only say what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A CA that is followed by another in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IssuingCa {
    /// The one that issues to devices, gateways and applications
    Devices,
    /// The one that issues to the hub's listeners
    Hub,
}

/// What is followed by another at an operator's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Followed {
    /// The CA that issues to devices, gateways and applications
    Devices,
    /// The CA that issues to the hub's listeners
    Hub,
    /// The root: what devices trust
    Root,
    /// The key that signs trust bundles
    Trust,
}

/// How keys in files are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyFiles {
    /// By the permissions of their files alone
    File,
    /// By a passphrase
    Sealed,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// Copy the root's certificate and key to a safe place, as they are; with --remove, take the key from this machine
    ///
    /// The hub goes on without it, and a running one does not notice: issuing CAs issue to devices and to the hub. The key
    /// is needed again for new issuing CAs; then copy root.key back into the folder pki of the data directory.
    #[command(after_help = "Example:\n  portreeve ca root export /media/safe/portreeve-root --remove")]
    Export {
        /// Where root.pem and root.key go; it is made
        dir: PathBuf,
        /// End the original once the copy has been read back and checked
        #[arg(long)]
        remove: bool,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
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

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Publish messages
    #[command(
        after_help = "Examples:\n  portreeve client pub --bundle lamp-1 -t devices/lamp-1/telemetry/temp -m 21.5\n  sensor | portreeve client pub --bundle lamp-1 -t devices/lamp-1/telemetry/temp --stdin"
    )]
    Pub(Publish),
    /// Subscribe and print what arrives
    #[command(
        after_help = "Examples:\n  portreeve client sub --bundle lamp-1 -t 'devices/lamp-1/commands/#'\n  portreeve client sub --bundle app -t 'devices/+/telemetry/#' -C 10 --timeout 1m --output json"
    )]
    Sub(Subscribe),
}

/// How the client reaches the hub.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Directory with ca.pem, cert.pem and key.pem, as `device add --out` writes it
    #[arg(long, value_name = "DIR")]
    pub(crate) bundle: PathBuf,
    /// Host of the hub, as its certificate names it
    #[arg(long, default_value = "localhost")]
    pub(crate) host: String,
    /// Port of the hub
    #[arg(long, default_value_t = 8883)]
    pub(crate) port: u16,
    /// MQTT client identifier; the hub assigns one if it is empty
    #[arg(long, default_value = "", value_name = "ID")]
    pub(crate) client_id: String,
    /// Speak MQTT 3.1.1 instead of 5.0
    #[arg(long)]
    pub(crate) v311: bool,
    /// Keep the session, with its subscriptions and queue, this long after the end; needs --client-id
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "client_id")]
    pub(crate) keep_session: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Topic
    #[arg(short, long)]
    pub(crate) topic: String,
    /// Quality of service; above 0 the hub says whether it took the message
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    #[command(flatten)]
    pub(crate) payload: Payload,
    /// Have the hub keep the message for later subscribers
    #[arg(long)]
    pub(crate) retain: bool,
    /// How long the message is worth delivering
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "v311")]
    pub(crate) expiry: Option<Duration>,
}

/// Exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Payload {
    /// The message
    #[arg(short, long, allow_hyphen_values = true)]
    pub(crate) message: Option<String>,
    /// A file whose content is the message
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Each line of standard input is a message
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Subscribe {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Topic filter; may be repeated
    #[arg(short, long = "topic", required = true)]
    pub(crate) topics: Vec<String>,
    /// Highest quality of service wanted
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    /// End after this many messages
    #[arg(short = 'C', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after this long; with --count, status 1 if fewer messages came
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Stay: whenever the connection is lost or the hub is busy, connect again, when the hub says or after growing pauses.
    /// With --keep-session what came meanwhile is not lost
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// One JSON object a message, with everything that came with it
    #[arg(short, long)]
    pub(crate) verbose: bool,
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
