//! `portreeve audit device`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use portreeve_assurance::{Deployment, Device, Host, Scope, Url};

use super::{Options, run::run as examine};
use crate::{
    catalogue::Which,
    cli::{Global, duration},
    failure::Failure,
    output::remark,
};

#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// The device's name or address; nobody else is served
    device: Host,
    /// Where to listen for it, and what is spoken there: mqtts://192.0.2.7:8883, https://… or tls://…
    #[arg(long, value_name = "URL")]
    listen: Url,
    /// The name by which the device knows its server; the host of --listen without it
    #[arg(long, value_name = "NAME")]
    server_name: Option<Host>,
    /// A folder with its true server's cert.pem and key.pem: that it takes these shows that its refusals mean something
    #[arg(long, value_name = "DIR")]
    good: Option<PathBuf>,
    /// A folder with cert.pem and key.pem of a CA that the device trusts: without it, most faces cannot be shown
    #[arg(long, value_name = "DIR")]
    trusted_ca: Option<PathBuf>,
    /// Where to say what is revoked, as the device reaches it: ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS", requires = "trusted_ca")]
    crl: Option<SocketAddr>,
    /// How long each of the faces is shown at most; devices come again at their own pace
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "120s")]
    face_time: Duration,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(global: &Global, args: &DeviceArgs) -> Result<(), Failure> {
    let deployment = Deployment { name: args.device.to_string(), owner: "whoever runs this command".into() };
    let mut scope = Scope::of(deployment, args.which.selection()?);
    scope.devices = vec![Device {
        name: args.device.to_string(),
        address: args.device.clone(),
        listen: args.listen.clone(),
        server_name: args.server_name.clone(),
        good: args.good.clone(),
        trusted_ca: args.trusted_ca.clone(),
        crl: args.crl,
        face_s: u32::try_from(args.face_time.as_secs()).unwrap_or(u32::MAX),
    }];
    let scope = scope.checked().map_err(Failure::Usage)?;
    remark(&format!(
        "Listening at {} for {}: point it here, by its settings, DNS or a route",
        args.listen, args.device
    ));
    examine(global, &scope, Path::new(""), &args.options)
}
