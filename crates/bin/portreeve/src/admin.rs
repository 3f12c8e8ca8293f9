//! The way to the hub: its administration socket, or its data directory while no hub runs.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, header::HOST};
use hyper_util::rt::TokioIo;
use portreeve_config::{Config, Role, Sources};
use portreeve_http_server::{ADMIN_PATH, Denial, socket_path};
use portreeve_hub::{Actor, AdminRequest, Hub, Outcome};
use tokio::net::UnixStream;

use crate::{
    cli::Global,
    failure::{Failure, is_locked},
};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the disk when a command works without a hub.
const FINISH_TIMEOUT: Duration = Duration::from_secs(30);

/// Where requests go.
pub(crate) struct Administration {
    data: PathBuf,
    socket: PathBuf,
    config: Config,
}

/// Why the socket gave no answer.
enum Silence {
    NoHub,
    Other(Failure),
}

impl From<Failure> for Silence {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl Administration {
    /// The hub of these options; the configuration tells where its socket is.
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let config = Config::load(&Sources::gather(global.config.as_deref(), global.set.clone())?)?;
        let socket = socket_path(&global.data, &config);
        Ok(Self { data: global.data.clone(), socket, config })
    }

    /// Has the running hub do it, or does it here while none runs.
    pub(crate) fn request(&self, request: AdminRequest) -> Result<Outcome, Failure> {
        match self.ask(&request) {
            Ok(outcome) => Ok(outcome),
            Err(Silence::NoHub) => self.offline(request),
            Err(Silence::Other(failure)) => Err(failure),
        }
    }

    /// Has the running hub do it.
    pub(crate) fn live(&self, request: &AdminRequest) -> Result<Outcome, Failure> {
        self.ask(request).map_err(|silence| match silence {
            Silence::NoHub => self.no_hub(),
            Silence::Other(failure) => failure,
        })
    }

    /// Has the running hub do it; nothing while none runs.
    pub(crate) fn if_running(&self, request: &AdminRequest) -> Result<Option<Outcome>, Failure> {
        match self.ask(request) {
            Ok(outcome) => Ok(Some(outcome)),
            Err(Silence::NoHub) => Ok(None),
            Err(Silence::Other(failure)) => Err(failure),
        }
    }

    /// The configuration of these options; a running hub may have another one.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    fn no_hub(&self) -> Failure {
        let data = self.data.display();
        Failure::Unreachable(format!("no hub is running in {data}; start one with `portreeve serve --data {data}`"))
    }

    fn ask(&self, request: &AdminRequest) -> Result<Outcome, Silence> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Unreachable(format!("cannot start: {error}")))?;
        runtime.block_on(async {
            let stream = UnixStream::connect(&self.socket).await.map_err(|error| unreachable(&self.socket, &error))?;
            match tokio::time::timeout(TIMEOUT, exchange(stream, request)).await {
                Ok(answer) => answer.map_err(Silence::Other),
                Err(_) => Err(Failure::Unreachable(format!("the hub gave no answer within {TIMEOUT:?}")).into()),
            }
        })
    }

    fn offline(&self, request: AdminRequest) -> Result<Outcome, Failure> {
        let Ok(metadata) = std::fs::metadata(self.data.join("pki")) else { return Err(self.no_hub()) };
        let own = rustix::process::geteuid().as_raw();
        if metadata.uid() != own {
            let data = self.data.display();
            return Err(Failure::Unreachable(format!(
                "no hub is running in {data}, which belongs to user {}: run this as that user, or start the hub",
                metadata.uid()
            )));
        }
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        if let Err(error) = portreeve_keys::forbid_core_dumps() {
            return Err(Failure::Refused(format!(
                "core dumps, which would hold keys, cannot be switched off: {error}"
            )));
        }
        let now = portreeve_mqtt_server::now().wall;
        let hub = Hub::open(&self.data, self.config.clone(), now).map_err(|error| {
            if is_locked(&error) {
                let (data, socket) = (self.data.display(), self.socket.display());
                let text = format!("a hub is running in {data}, but nobody answers on {socket}: wait until it is ready; if its admin.socket lies elsewhere, give the same --config or --set");
                return Failure::Unreachable(text);
            }
            error.into()
        })?;
        let actor = Actor { name: Actor::OFFLINE.into(), role: Role::Administrator };
        let outcome = hub.administer(&actor, request)?;
        if !hub.finish(FINISH_TIMEOUT) {
            return Err(Failure::Refused(
                "it was done, but not all of it is on the disk yet: is the disk full?".into(),
            ));
        }
        Ok(outcome)
    }
}

fn unreachable(socket: &Path, error: &io::Error) -> Silence {
    let socket = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Silence::NoHub,
        io::ErrorKind::PermissionDenied => Failure::Unreachable(format!(
            "you may not connect to {socket}: run this as the hub's user or root, or have admin.operators and admin.socket set"
        ))
        .into(),
        _ => Failure::Unreachable(format!("cannot connect to {socket}: {error}")).into(),
    }
}

async fn exchange(stream: UnixStream, request: &AdminRequest) -> Result<Outcome, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::Unreachable(format!("the hub broke off: {error}"));
    let body = serde_json::to_vec(request).map_err(|error| Failure::Usage(error.to_string()))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    // It ends with the runtime.
    tokio::spawn(connection);
    let request = Request::post(ADMIN_PATH).header(HOST, "hub").body(Full::new(Bytes::from(body)));
    let request = request.map_err(|error| Failure::Usage(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map_err(|error| broken(&error));
    }
    let denial: Denial = serde_json::from_slice(&body).map_err(|_| broken(&status))?;
    Err(Failure::of_status(denial.exit_status, denial.error))
}
