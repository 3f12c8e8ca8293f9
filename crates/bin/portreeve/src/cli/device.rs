//! `portreeve device`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use portreeve_types::{IdentityName, Kind};

use super::duration;
use crate::inventory::{Export, Import, List};

/// How most machines' TPM is reached: by the kernel's resource manager.
pub(super) const TPM: &str = "device:/dev/tpmrm0";

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
