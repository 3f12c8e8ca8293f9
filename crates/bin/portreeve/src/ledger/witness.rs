//! `portreeve ledger witness`: remembers other hubs' ledgers.

use std::{fs, io, net::SocketAddr, os::unix::fs::DirBuilderExt as _, path::PathBuf, sync::Arc};

use clap::Args;
use portreeve_config::{Config, Sources};
use portreeve_http_server::WitnessServer;
use portreeve_keys::{Custody as _, FileCustody, KeyAlgorithm, KeyError, KeyName, SigningKey, forbid_core_dumps};
use portreeve_ledger::{SignatureKind, VerifierKey};
use portreeve_ledger_files::{Folder, Witness as Watch};
use portreeve_tls::Credentials;
use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{SignalKind, signal};

use super::key;
use crate::{cli::Global, failure::Failure, output::say, serve::logging};

/// The witness's key, in its state directory.
const KEY: &str = "witness";

#[derive(Debug, Args)]
pub(crate) struct Witness {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8446")]
    listen: SocketAddr,
    /// The directory with the witness's key and what it saw; made if there is none
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// What the witness is called in its signatures, such as its host name
    #[arg(long)]
    name: String,
    /// A ledger to watch, by its key or a file with it; may be repeated
    #[arg(long = "log", value_name = "KEY|FILE", required = true)]
    logs: Vec<String>,
    /// The certificate of the HTTPS listener and those above it, PEM
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub(super) fn run(global: &Global, args: &Witness) -> Result<(), Failure> {
    let logs = args.logs.iter().map(|text| key::given(text)).collect::<Result<Vec<_>, _>>()?;
    forbid_core_dumps().map_err(|error| Failure::Refused(format!("core dumps cannot be switched off: {error}")))?;
    let config = Config::load(&Sources::gather(global.config.as_deref(), global.set.clone())?)?;
    logging::start(&config.log)?;
    let _lock = lock(args)?;
    let signer = signer(args)?;
    let public =
        signer.public().raw().try_into().map_err(|_| Failure::Usage("the key is not an Ed25519 key".into()))?;
    let name = |error| Failure::Usage(format!("--name {}: {error}", args.name));
    let own = VerifierKey::new(&args.name, SignatureKind::Cosignature, public).map_err(name)?;
    let watch = Watch::open(Folder::new(&args.state), own.clone(), logs);
    let watch = watch.map_err(|error| Failure::Usage(format!("{}: {error}", args.state.display())))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Usage(format!("cannot start: {error}")))?;
    runtime.block_on(serve(args, watch, signer, &own))
}

async fn serve(
    args: &Witness,
    watch: Watch<Folder>,
    signer: Arc<dyn SigningKey>,
    own: &VerifierKey,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Usage(format!("cannot listen on {}: {error}", args.listen));
    let watched = watch.logs().map(|(origin, size)| format!("  {origin}, {} entries seen", size.unwrap_or(0)));
    let watched = watched.collect::<Vec<_>>().join("\n");
    let mut end = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let server = WitnessServer::bind(args.listen, credentials(args)?, watch, signer).await.map_err(failed)?;
    let address = server.local_addr().map_err(failed)?;
    // Whoever closed standard output does not want to hear it.
    let _ = say(&format!("The witness {own}\nlistens on {address} and watches\n{watched}"));
    let [Ok(terminate), Ok(interrupt)] = &mut end else {
        return Err(Failure::Usage("cannot listen for signals".into()));
    };
    tokio::select! {
        () = server.serve() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The directory is one process's.
fn lock(args: &Witness) -> Result<fs::File, Failure> {
    let shown = args.state.display();
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&args.state);
    let file = made.and_then(|()| fs::File::create(args.state.join("lock")));
    let file = file.map_err(|error| Failure::Usage(format!("cannot write in {shown}: {error}")))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(Failure::Usage(format!("another witness has {shown}"))),
    }
}

/// The witness's key; the first start makes it.
fn signer(args: &Witness) -> Result<Arc<dyn SigningKey>, Failure> {
    let open = || {
        let (custody, name) = (FileCustody::unsealed(&args.state)?, KEY.parse::<KeyName>()?);
        match custody.open(&name) {
            Err(KeyError::Missing { .. }) => custody.create(&name, KeyAlgorithm::Ed25519),
            opened => opened,
        }
    };
    open().map_err(|error| Failure::Usage(format!("the key in {}: {error}", args.state.display())))
}

fn credentials(args: &Witness) -> Result<Credentials, Failure> {
    let read = |path: &PathBuf| {
        let unread = |error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
        Ok::<_, Failure>((path.display().to_string(), fs::read(path).map_err(unread)?))
    };
    let ((chain_file, chain), (key_file, key)) = (read(&args.cert)?, read(&args.key)?);
    Credentials::from_pem(&chain_file, &chain, &key_file, &key).map_err(|error| Failure::Usage(error.to_string()))
}
