//! `portreeve device enrol` and `portreeve device renew`: the device's side of enrolment.

mod bundle;
mod est;
mod key;
mod tpm;
mod trust;

use std::{
    fs,
    io::{self, BufRead as _},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use aws_lc_rs::digest::{SHA256, digest};
use portreeve_pki::{RenewalWindow, is_issued_by, leaf_facts};
use portreeve_tls::{
    Credentials, certificates_from_pem, client_config, enrolment_client_config, unverified_client_config,
};
use portreeve_types::{Backoff, KeyHash, UnixMillis};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    cli::{Enrol, Global, Output, Renew},
    failure::Failure,
    jitter::random,
    output::{instant, remark, say, say_json},
};
use bundle::{CA, CERT, Folder, KEY, Origin, TPM_KEY, origin};
use est::{Address, Reply};

pub(crate) use key::DeviceKey;
pub(crate) use tpm::listed_hash;

/// The shortest and the longest pause between two attempts, and between two looks at the clock.
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(3600);
const BACKOFF: Backoff = Backoff { shortest: PAUSE_MIN, longest: PAUSE_MAX };
/// How long a renewal that is put off is asked for again before it counts as failed.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(600);
/// Longest line that is read as a code.
const CODE_BYTES_MAX: usize = 256;

/// Makes a key, and gets a certificate for it with a one-time code; or on the word of whoever made the device, or its TPM.
pub(crate) fn enrol(global: &Global, args: Enrol) -> Result<(), Failure> {
    let hub = Address::parse(&args.hub)?;
    let trusted = trust(&hub, &args)?;
    let folder = Folder::create(&args.out)?;
    let config = match (&args.maker_cert, &args.maker_key) {
        (Some(cert), Some(key)) => maker_config(cert, key, &trusted)?,
        _ => enrolment_client_config(&trusted).map_err(|error| Failure::Usage(error.to_string()))?,
    };
    if let Some(file) = &args.key {
        folder.take_key(file)?;
    }
    let tcti = args.tpm.then_some(args.tcti.as_str());
    let key = folder.next_key(tcti)?;
    let (csr, key_hash) = key.request(args.serial.as_deref()).map_err(|error| unusable(&folder, &error))?;
    // First what can be asked for again: behind the certificate nothing may fail but the disk.
    let issuers = issuers(&hub, &config, &trusted)?;
    let offered = est::trust_bundle(&hub, Arc::clone(&config))?;
    let bundle = trust::next(None, offered.as_deref(), now())?;
    let (leaf, told) = match (&args.name, &key) {
        (Some(name), _) => {
            let code = code(args.code)?;
            patiently(args.wait, || est::enrol(&hub, Arc::clone(&config), name.as_str(), &code, &csr))?
        }
        (None, DeviceKey::Tpm(key)) => {
            let question = tpm::question(key, args.serial.as_deref())?;
            patiently(args.wait, || tpm::enrol(&hub, &config, key, &question, &csr))?
        }
        (None, DeviceKey::File(_)) => patiently(args.wait, || est::enrol_vouched(&hub, Arc::clone(&config), &csr))?,
    };
    let chain = chain(&leaf, key_hash, issuers)?;
    let name = args.name.map(|name| name.to_string()).or(told);
    let name = name.ok_or_else(|| Failure::Unreachable(format!("{hub} did not tell the name of this device")))?;
    let origin = Origin { hub: hub.to_string(), name: name.clone(), tpm: tcti.map(str::to_owned) };
    // While one root follows another the hub names both.
    let anchors = match bundle.zip(offered) {
        Some((bundle, document)) => {
            folder.trusts(&to_pem(&bundle.anchors), &document)?;
            bundle.anchors
        }
        None => trusted,
    };
    folder.enrolled(&to_pem(&anchors), &to_pem(&chain), &origin)?;
    tell(global, &folder, &name, &leaf, "is enrolled")
}

/// A client that shows the certificate of the device's maker.
fn maker_config(cert: &Path, key: &Path, trusted: &[CertificateDer<'_>]) -> Result<Arc<rustls::ClientConfig>, Failure> {
    let read = |file: &Path| {
        fs::read(file).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))
    };
    let key_pem = Zeroizing::new(read(key)?);
    let shown = |file: &Path| file.display().to_string();
    let credentials = Credentials::from_pem(&shown(cert), &read(cert)?, &shown(key), &key_pem);
    credentials
        .and_then(|credentials| client_config(trusted, credentials))
        .map_err(|error| Failure::Usage(error.to_string()))
}

/// Renews the certificate in a directory that `enrol` made.
pub(crate) fn renew(global: &Global, args: &Renew) -> Result<(), Failure> {
    if !args.watch {
        let folder = Folder::open(&args.bundle)?;
        return match renew_if_due(args, &folder, args.now)? {
            Some((name, leaf)) => tell(global, &folder, &name, &leaf, "has a new certificate"),
            None => not_due(global, &folder),
        };
    }
    let mut failures = 0;
    loop {
        let pause = match look(global, args) {
            Ok(pause) => {
                failures = 0;
                pause
            }
            // Somebody has to look at that; trying again changes nothing.
            Err(failure @ (Failure::Usage(_) | Failure::BrokenPipe)) => return Err(failure),
            Err(failure) => {
                failure.report();
                failures += 1;
                BACKOFF.pause(failures, random())
            }
        };
        thread::sleep(pause);
    }
}

/// One look of `--watch`, and the pause until the next, in which the directory is anybody's.
fn look(global: &Global, args: &Renew) -> Result<Duration, Failure> {
    let folder = Folder::open(&args.bundle)?;
    if let Some((name, leaf)) = renew_if_due(args, &folder, false)? {
        tell(global, &folder, &name, &leaf, "has a new certificate")?;
    }
    let (window, _) = window(&folder)?;
    Ok(window.renew_at.since(now()).clamp(PAUSE_MIN, PAUSE_MAX))
}

fn now() -> UnixMillis {
    SystemTime::now().into()
}

type Renewed = (String, CertificateDer<'static>);

/// Renews when it is time. Whoever watches asks at each look whether the hub still trusts the CA of the present certificate: one
/// that was withdrawn admits nobody, and is to be replaced at once.
fn renew_if_due(args: &Renew, folder: &Folder, at_once: bool) -> Result<Option<Renewed>, Failure> {
    let (window, present) = window(folder)?;
    let document = folder.trust()?;
    let held = trust::held(document.as_deref())?;
    let is_due = at_once || now() >= window.renew_at;
    if !is_due && !args.watch && !held.as_ref().is_some_and(|bundle| trust::is_due(bundle, now())) {
        return Ok(None);
    }
    let origin = origin(folder.path());
    let hub = args.hub.clone().or_else(|| origin.as_ref().map(|origin| origin.hub.clone()));
    let hub = Address::parse(&hub.ok_or_else(|| Failure::Usage("which hub? (--hub HOST)".into()))?)?;
    let hub = hub.pinned(held.as_ref().map(|bundle| bundle.pins.clone()).unwrap_or_default());
    let trusted = anchors(&folder.path().join(CA))?;
    let config = DeviceKey::of_bundle(folder.path())?
        .client_config(&trusted, CERT, &folder.read(CERT)?)
        .map_err(|error| unusable(folder, &error))?;
    let offered = est::trust_bundle(&hub, Arc::clone(&config))?;
    let known = held.as_ref().zip(document.as_deref());
    if let Some((bundle, document)) = trust::next(known, offered.as_deref(), now())?.zip(offered) {
        folder.trusts(&to_pem(&bundle.anchors), &document)?;
    }
    let issuers = issuers(&hub, &config, &trusted)?;
    let is_trusted = certificates_from_pem(CERT, &folder.read(CERT)?)
        .map_err(|error| unusable(folder, &error))?
        .first()
        .is_some_and(|leaf| issuers.iter().any(|ca| is_issued_by(leaf, ca)));
    if !is_due && is_trusted {
        return Ok(None);
    }
    let tcti = origin.as_ref().and_then(|origin| origin.tpm.as_deref());
    let (csr, key) = folder.next_key(tcti)?.request(None).map_err(|error| unusable(folder, &error))?;
    let (leaf, _) = patiently(RENEWAL_PATIENCE, || est::renew(&hub, Arc::clone(&config), &csr))?;
    let chain = chain(&leaf, key, issuers)?;
    folder.renewed(&to_pem(&chain))?;
    let name = origin.map_or_else(|| present.to_string(), |origin| origin.name);
    Ok(Some((name, leaf)))
}

/// When the present certificate is to be renewed, and whose it is. Its key decides about the jitter, so that all who ask
/// get the same answer.
fn window(folder: &Folder) -> Result<(RenewalWindow, String), Failure> {
    let chain = certificates_from_pem(CERT, &folder.read(CERT)?).map_err(|error| unusable(folder, &error))?;
    let facts = chain.first().map(|leaf| leaf_facts(leaf)).transpose().map_err(|error| unusable(folder, &error))?;
    let facts = facts.ok_or_else(|| unusable(folder, &"it holds no certificate"))?;
    let entropy = facts.key.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let name = facts.identity.map(|id| id.to_string()).unwrap_or_default();
    Ok((RenewalWindow::new(facts.not_before, facts.not_after, entropy), name))
}

/// What the hub's certificate has to lead to: the file, or what the fingerprint says.
fn trust(hub: &Address, args: &Enrol) -> Result<Vec<CertificateDer<'static>>, Failure> {
    if let Some(file) = &args.ca {
        return anchors(file);
    }
    let wanted = args.ca_sha256.as_deref().unwrap_or_default();
    let wanted: String = wanted.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    let wanted = hex::decode(&wanted).ok().filter(|bytes| bytes.len() == 32);
    let wanted = wanted.ok_or_else(|| Failure::Usage("--ca-sha256: 64 hexadecimal digits are expected".into()))?;
    // Whoever answers here is believed nothing but certificates with the right fingerprint.
    let config = unverified_client_config().map_err(|error| Failure::Usage(error.to_string()))?;
    let offered = est::ca_certificates(hub, config)?;
    let root = offered.into_iter().find(|certificate| digest(&SHA256, certificate).as_ref() == wanted);
    root.map(|root| vec![root]).ok_or_else(|| {
        Failure::Refused(format!(
            "{hub} has no CA certificate with this fingerprint: it is another hub, or somebody is in between; nothing was sent to it"
        ))
    })
}

fn anchors(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let shown = file.display();
    let pem = fs::read(file).map_err(|error| Failure::Usage(format!("cannot read {shown}: {error}")))?;
    certificates_from_pem(&shown.to_string(), &pem).map_err(|error| Failure::Usage(error.to_string()))
}

/// The code from the option, or a line of standard input.
fn code(given: Option<String>) -> Result<Zeroizing<String>, Failure> {
    if let Some(code) = given {
        return Ok(Zeroizing::new(code));
    }
    remark("Enter the one-time code:");
    let mut line = Zeroizing::new(String::new());
    let read = io::Read::take(io::stdin().lock(), CODE_BYTES_MAX as u64).read_line(&mut line);
    match read {
        Ok(bytes) if bytes > 0 => Ok(Zeroizing::new(line.trim().to_owned())),
        _ => Err(Failure::Usage("no one-time code: give --code, PORTREEVE_CODE, or a line of standard input".into())),
    }
}

/// Asks until there is an answer, as late as the hub says, and for so long at most.
fn patiently(
    patience: Duration,
    mut ask: impl FnMut() -> Result<Reply, Failure>,
) -> Result<(CertificateDer<'static>, Option<String>), Failure> {
    let until = Instant::now() + patience;
    loop {
        let (why, pause) = match ask()? {
            Reply::Issued(leaf, name) => return Ok((leaf, name)),
            Reply::Waiting(pause) => ("An operator has to consent: `portreeve approval list` on the hub.", pause),
            Reply::Later(pause) => ("The hub is busy.", pause),
        };
        let pause = pause.clamp(Duration::from_secs(1), PAUSE_MAX);
        if Instant::now() + pause > until {
            return Err(Failure::Unreachable(
                "there is no certificate yet, and --wait is over; the same command goes on from here".into(),
            ));
        }
        remark(&format!("{why} Asking again in {} s.", pause.as_secs()));
        thread::sleep(pause);
    }
}

/// The CA certificates of the hub that are not trusted by themselves.
fn issuers(
    hub: &Address,
    config: &Arc<rustls::ClientConfig>,
    trusted: &[CertificateDer<'static>],
) -> Result<Vec<CertificateDer<'static>>, Failure> {
    Ok(est::ca_certificates(hub, Arc::clone(config))?.into_iter().filter(|ca| !trusted.contains(ca)).collect())
}

/// The leaf and the CA that issued it, as servers other than this hub want to see it; if it is for our key.
fn chain(
    leaf: &CertificateDer<'static>,
    key: KeyHash,
    issuers: Vec<CertificateDer<'static>>,
) -> Result<Vec<CertificateDer<'static>>, Failure> {
    if leaf_facts(leaf).ok().is_none_or(|facts| facts.key != key) {
        return Err(Failure::Unreachable("the hub sent a certificate for another key than ours".into()));
    }
    // The hub has several while one CA follows another.
    let issuer = issuers.into_iter().filter(|ca| is_issued_by(leaf, ca));
    Ok([leaf.clone()].into_iter().chain(issuer).collect())
}

fn to_pem(certificates: &[CertificateDer<'_>]) -> String {
    let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    certificates.iter().map(|der| pem::encode_config(&pem::Pem::new("CERTIFICATE", der.to_vec()), unix)).collect()
}

fn unusable(folder: &Folder, why: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("{} cannot be used: {why}", folder.path().display()))
}

fn tell(global: &Global, folder: &Folder, name: &str, leaf: &CertificateDer<'_>, what: &str) -> Result<(), Failure> {
    let (window, _) = window(folder)?;
    let serial = leaf_facts(leaf).map(|facts| hex::encode(facts.serial)).unwrap_or_default();
    let (until, renew) = (window.closes.0, window.renew_at.0);
    let directory = folder.path().display().to_string();
    let key = if folder.path().join(TPM_KEY).exists() { TPM_KEY } else { KEY };
    match global.output {
        Output::Json => say_json(&json!({
            "name": name, "directory": directory, "serial": serial, "not_after_ms": until, "renew_at_ms": renew,
        })),
        Output::Table => say(&format!(
            "{name} {what}: {CA}, {CERT} and {key} are in {directory}.\nIt is valid until {} and to be renewed from {} on: \
             `portreeve device renew {directory}`",
            instant(&json!(until)),
            instant(&json!(renew)),
        )),
    }
}

fn not_due(global: &Global, folder: &Folder) -> Result<(), Failure> {
    let (window, _) = window(folder)?;
    let at = window.renew_at.0;
    match global.output {
        Output::Json => say_json(&json!({ "renewed": false, "renew_at_ms": at })),
        Output::Table => say(&format!("There is nothing to do before {} (--now asks at once).", instant(&json!(at)))),
    }
}
