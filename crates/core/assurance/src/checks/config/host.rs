use super::Review;
use crate::{
    Inputs, Judgement,
    evidence::{
        config::{
            Said, Settings, Software,
            host::{HostPolicy, Sockets, UnitExposure},
        },
        ports::{DeclaredServices, Transport},
    },
};

const EXPECTED: &str = "no service as root, confined by its unit, and no socket that was not declared";

/// The groups of directives that confine a service, each by any of its names (systemd.exec(5)), and values that are none.
const DIRECTIVES: [&[&str]; 10] = [
    &["NoNewPrivileges"],
    &["ProtectSystem"],
    &["ProtectHome"],
    &["PrivateTmp"],
    &["PrivateDevices", "DeviceAllow", "DevicePolicy"],
    &["CapabilityBoundingSet"],
    &["SystemCallFilter"],
    &["RestrictAddressFamilies"],
    &["ProtectKernelTunables", "ProtectKernelModules"],
    &["MemoryDenyWriteExecute", "RestrictNamespaces", "LockPersonality"],
];

/// `cfg.host`: as whom services run, how they are confined, and what listens (ISVS-4.4.1, IOTSF-2.4.7.6, IOTSF-2.4.7.12, IOTSF-2.4.7.18,
/// IIITA-N7, CSA-SCN-04, CSA-SCN-06, CSA-SDV-03, CSA-SNT-04, CSA-CLS-06, CSA-COM-07, CSA-DAT-04).
pub(super) fn host(inputs: &Inputs<'_>) -> Judgement {
    judge(inputs).unwrap_or_else(|judgement| judgement)
}

fn judge(inputs: &Inputs<'_>) -> Result<Judgement, Judgement> {
    let unit: Option<Settings> = inputs.declared()?;
    let exposure: Option<UnitExposure> = inputs.declared()?;
    let sockets: Option<Sockets> = inputs.declared()?;
    let policy: HostPolicy = inputs.declared()?.unwrap_or_default();
    if unit.is_none() && exposure.is_none() && sockets.is_none() {
        inputs.one::<Sockets>()?;
    }
    let mut review = Review::default();
    if unit.is_none() && exposure.is_none() {
        review.part("as whom services run was not given");
    }
    if let Some(unit) = &unit {
        review_unit(&mut review, unit, &policy);
    }
    if let Some(exposure) = &exposure {
        review_exposure(&mut review, exposure, &policy);
    }
    match &sockets {
        Some(sockets) => review_sockets(&mut review, sockets, inputs.declared()?.as_ref()),
        None => review.part("what listens was not given"),
    }
    Ok(review.judge(EXPECTED))
}

fn review_unit(review: &mut Review, unit: &Settings, policy: &HostPolicy) {
    if unit.software != Software::Systemd {
        return review.gap(format!("{} is a file of {:?}", unit.file, unit.software));
    }
    let said = |key: &str| unit.said("Service", key);
    let is_on = |key: &str| said(key).is_some_and(|said| is_set(&said.value));
    let user = said("User").filter(|said| !said.value.is_empty());
    match user {
        Some(user) if ["root", "0"].contains(&user.value.as_str()) => {
            review.offend(&unit.file, user, "it runs as root")
        }
        Some(_) => {}
        None if is_on("DynamicUser") => {}
        None => review.offend(&unit.file, &Said::default(()), "it runs as root"),
    }
    // DynamicUser= brings these along (systemd.exec(5)).
    let implied: &[&str] =
        if is_on("DynamicUser") { &["NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp"] } else { &[] };
    let is_made = |names: &&[&str]| names.iter().any(|name| implied.contains(name) || is_on(name));
    let made = DIRECTIVES.iter().filter(|names| is_made(names)).count();
    let missing: Vec<&str> =
        DIRECTIVES.iter().filter(|names| !is_made(names)).filter_map(|names| names.first().copied()).collect();
    let (of, min) = (DIRECTIVES.len(), policy.directives_min as usize);
    let what =
        format!("{made} of {of} groups of directives confine it, {min} are asked; without {}", missing.join(", "));
    review.offend_if(made < min, &unit.file, &Said::default(()), what);
    review.unread(&unit.unread);
    review.fine(format!("{}: not root, confined by {made} of {of} groups of directives", unit.file));
}

/// Whether a directive takes something away. An empty CapabilityBoundingSet= takes all.
fn is_set(value: &str) -> bool {
    !["no", "false", "off", "0", "~", "auto", "disconnected-off"].contains(&value.to_ascii_lowercase().as_str())
}

fn review_exposure(review: &mut Review, exposure: &UnitExposure, policy: &HostPolicy) {
    let UnitExposure { file, exposure_tenths, is_root, missing } = exposure;
    review.offend_if(*is_root, file, &Said::at(1, ()), "it runs as root");
    let said = |tenths: u32| format!("{}.{}", tenths / 10, tenths % 10);
    let (score, max) = (said(*exposure_tenths), said(policy.exposure_tenths_max));
    let first = missing.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let what = format!("its exposure is {score}, more than {max}; not made: {first}");
    review.offend_if(*exposure_tenths > policy.exposure_tenths_max, file, &Said::at(1, ()), what);
    review.fine(format!("{file}: an exposure of {score}"));
}

fn review_sockets(review: &mut Review, sockets: &Sockets, declared: Option<&DeclaredServices>) {
    let mut others = sockets.sockets.iter().filter(|socket| !socket.is_local).peekable();
    let Some(declared) = declared else {
        if others.peek().is_some() {
            review.part(format!("{} sockets listen beyond this host, and none were declared", others.count()));
        }
        return review.fine(format!("{} sockets", sockets.sockets.len()));
    };
    for socket in others.filter(|socket| !declared.has(socket.transport, socket.port)) {
        let transport = if socket.transport == Transport::Tcp { "tcp" } else { "udp" };
        let process = if socket.process.is_empty() { String::new() } else { format!(" of {}", socket.process) };
        let what = format!("{}/{transport}{process} listens and is not declared", socket.port);
        review.offend(&sockets.file, &Said::at(socket.line, ()), what);
    }
    review.fine(format!("{}: {} sockets, as declared", sockets.file, sockets.sockets.len()));
}
