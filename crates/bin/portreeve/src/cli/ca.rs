//! `portreeve ca`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

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
