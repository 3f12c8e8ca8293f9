//! `portreeve enrolment`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use portreeve_types::{IdentityName, Kind};

use super::{device::TPM, duration};

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
