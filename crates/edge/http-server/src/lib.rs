//! What the hub speaks in HTTP: the administration socket, metrics and health, and for devices enrolment and
//! MQTT over WebSocket.
//!
//! [`HttpServer`] binds all three when it starts, and serves them from two threads: one for the two local doors, one
//! for devices, so that neither a slow scrape nor an operator's request holds up a message.
//!
//! *Invariants*
//! - No door without an answer to "who is it": the kernel names the peer of the administration socket (`SO_PEERCRED`),
//!   a client certificate the device; metrics are on loopback only and name no device. Who has no certificate yet
//!   reaches enrolment and nothing else.
//! - Every door is bounded: connections, time to send a request's head, time in all, bytes of a body, bytes of a frame.

mod admin;
mod device;
mod est;
mod exchange;
mod frames;
mod metrics;
mod peer;
mod pulse;
mod revocation;
mod shares;
mod tpm;
mod witness;
mod witness_client;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use portreeve_hub::Hub;
use portreeve_mqtt_server::{Admission, await_departures};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

pub use admin::{ADMIN_PATH, Denial, socket_path};
pub use pulse::Pulse;
pub use witness::WitnessServer;
pub use witness_client::{WitnessClient, WitnessSettingsError};

use admin::AdminSocket;
use device::DeviceDoor;
use metrics::MetricsDoor;

/// Why a door cannot be opened. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Another process answers on the administration socket.
    #[error("{} is answered by another hub: stop that one, or set admin.socket", .0.display())]
    AdminSocketInUse(PathBuf),
    /// Something else has the administration socket's name.
    #[error("{} exists and is no socket: move it away, or set admin.socket", .0.display())]
    NotASocket(PathBuf),
    /// The administration socket cannot be made.
    #[error("cannot make the administration socket {}: {source}; a path of at most 107 bytes in a directory that the hub may write to is needed (admin.socket)", path.display())]
    AdminSocket {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The operating system gave no thread or event queue.
    #[error("cannot start the HTTP threads: {0}")]
    Thread(#[from] io::Error),
}

/// The three HTTP doors, open.
#[derive(Debug)]
pub struct HttpServer {
    hub: Arc<Hub>,
    no_more: CancellationToken,
    end: CancellationToken,
    device: JoinHandle<()>,
    local: JoinHandle<()>,
}

impl HttpServer {
    /// Opens all doors, then serves them. What is configured is bound when this returns; on an error nothing is.
    /// `listeners` are the other doors of the hub: all of them, name and address, are told to [`Hub::set_listeners`]
    /// before the first operator can ask.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        hub: &Arc<Hub>,
        admission: &Admission,
        pulse: Arc<Pulse>,
        mut listeners: Vec<(String, String)>,
    ) -> Result<Self, StartError> {
        let (local_runtime, device_runtime) = (runtime(admin::THREADS)?, runtime(DEVICE_THREADS)?);
        let device = {
            let _entered = device_runtime.enter();
            DeviceDoor::open(Arc::clone(hub), admission)?
        };
        let (metrics, admin) = {
            let _entered = local_runtime.enter();
            (MetricsDoor::open(Arc::clone(hub), pulse)?, AdminSocket::open(Arc::clone(hub))?)
        };
        listeners.extend([
            ("device_https".into(), device.local_addr().to_string()),
            ("metrics".into(), metrics.local_addr().to_string()),
            ("admin".into(), admin.path().display().to_string()),
        ]);
        hub.set_listeners(listeners);
        let (no_more, end) = (CancellationToken::new(), CancellationToken::new());
        let (accept_until, device_until, local_until) = (no_more.clone(), end.clone(), end.clone());
        let device = spawn("device-https", device_runtime, move |runtime| {
            runtime.block_on(device.serve(&accept_until, &device_until));
        })?;
        let local = spawn("local-http", local_runtime, move |runtime| {
            runtime.block_on(async {
                tokio::select! {
                    () = metrics.serve() => {}
                    () = admin.serve() => {}
                    () = local_until.cancelled() => {}
                }
            });
        })?;
        Ok(Self { hub: Arc::clone(hub), no_more, end, device, local })
    }

    /// Takes no more devices. The local doors stay open, so that an operator can watch the hub drain.
    pub fn stop_accepting(&self) {
        self.no_more.cancel();
    }

    /// Waits until every device has gone, at most until `deadline` from now, then closes all doors.
    pub fn join(self, deadline: Duration) {
        self.no_more.cancel();
        await_departures(&self.hub, deadline, || self.device.is_finished());
        self.end.cancel();
        for handle in [self.device, self.local] {
            if handle.join().is_err() {
                tracing::error!("an HTTP thread ended in a panic");
            }
        }
    }
}

/// Threads for what waits for the disk or for a token at a device's word.
const DEVICE_THREADS: usize = 8;

fn runtime(blocking_threads: usize) -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(blocking_threads).build()
}

fn spawn(name: &str, runtime: Runtime, run: impl FnOnce(&Runtime) + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(move || {
        run(&runtime);
        // A request that still waits for the disk does not hold up the end.
        runtime.shutdown_background();
    })
}
