//! `portreeve audit config`.

use std::path::{Path, PathBuf};

use clap::Args;
use portreeve_assurance::{Deployment, File, Scope};

use super::{Options, run::run as examine};
use crate::{catalogue::Which, cli::Global, failure::Failure};

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Files; of a folder, every file is looked through for secrets
    #[arg(required_unless_present = "sbom")]
    files: Vec<PathBuf>,
    /// What the files are, if neither name nor content says it: mosquitto, broker-acl, emqx, vernemq, sshd, hostapd, hostapd-keys,
    /// wpa-supplicant, network-manager, bluetoothd, nftables, iptables, sysctl, systemd-unit, systemd-security, sockets, zigbee2mqtt, testssl,
    /// sslyze, nmap
    #[arg(long = "as", value_name = "FORMAT")]
    format: Option<String>,
    /// A software list (CycloneDX or SPDX, JSON)
    #[arg(long, value_name = "FILE", requires = "feed")]
    sbom: Option<PathBuf>,
    /// The folder with what is known to be vulnerable: OSV records and CSAF documents
    #[arg(long, value_name = "DIR")]
    feed: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(global: &Global, args: &ConfigArgs) -> Result<(), Failure> {
    let file = |path: &PathBuf| File {
        path: path.clone(),
        format: if path.is_dir() { Some("secrets".into()) } else { args.format.clone() },
        feed: None,
        of: None,
    };
    let list = args.sbom.iter().map(|path| File {
        path: path.clone(),
        format: Some("sbom".into()),
        feed: args.feed.clone(),
        of: None,
    });
    let deployment = Deployment { name: "files".into(), owner: "whoever runs this command".into() };
    let mut scope = Scope::of(deployment, args.which.selection()?);
    scope.files = args.files.iter().map(file).chain(list).collect();
    let scope = scope.checked().map_err(Failure::Usage)?;
    examine(global, &scope, Path::new(""), &args.options)
}
