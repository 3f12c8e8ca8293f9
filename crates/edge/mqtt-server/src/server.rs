//! `mqtt.listen`: one thread a core, each with a runtime of its own, all accepting from one socket.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use portreeve_hub::{Connection, Hub};
use tokio::{
    runtime::Builder,
    task::{LocalSet, spawn_local},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Admission, Arrived, Clients, TlsDoor, drive, drive::LINGER, now};

/// How long what is said to a client that is let go may take to reach it.
const LAST_WORDS: Duration = LINGER.saturating_add(Duration::from_millis(500));

/// The MQTT listener and its worker threads.
pub struct MqttServer {
    hub: Arc<Hub>,
    address: SocketAddr,
    accepting: CancellationToken,
    running: CancellationToken,
    workers: Vec<JoinHandle<()>>,
}

impl MqttServer {
    /// Binds `mqtt.listen` and starts the workers.
    ///
    /// # Errors
    /// The operating system's: an address in use, no threads.
    pub fn start(hub: &Arc<Hub>, admission: &Admission) -> io::Result<Self> {
        let (listen, count) = {
            let config = hub.config();
            (config.mqtt.listen, config.hub.workers)
        };
        let door = TlsDoor::bind(hub, admission, listen, &[b"mqtt"], Clients::Identified, "mqtt")?;
        let count = if count > 0 { count } else { thread::available_parallelism().map_or(1, usize::from) };
        let mut server = Self {
            hub: Arc::clone(hub),
            address: door.local_addr()?,
            accepting: CancellationToken::new(),
            running: CancellationToken::new(),
            workers: Vec::with_capacity(count),
        };
        for index in 0..count {
            let worker = Worker {
                hub: Arc::clone(hub),
                door: door.clone(),
                accepting: server.accepting.clone(),
                running: server.running.clone(),
            };
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let thread = thread::Builder::new().name(format!("mqtt-{index}"));
            server.workers.push(thread.spawn(move || LocalSet::new().block_on(&runtime, worker.run()))?);
        }
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// New connections are no longer accepted.
    pub fn stop_accepting(&self) {
        self.accepting.cancel();
    }

    /// Waits for the sessions' connections to end, `deadline` at most, and ends the workers.
    pub fn join(self, deadline: Duration) {
        self.accepting.cancel();
        await_departures(&self.hub, deadline, || self.workers.iter().all(JoinHandle::is_finished));
        self.running.cancel();
        for worker in self.workers {
            // A worker that panicked has said so on its own.
            let _ = worker.join();
        }
    }
}

/// Waits until `is_over`, or until nobody has had a session for as long as last words take; `deadline` at most. Whoever has
/// not said who it is when the hub stops holds up nobody.
pub fn await_departures(hub: &Hub, deadline: Duration, is_over: impl Fn() -> bool) {
    let until = Instant::now() + deadline;
    let mut last_online = Instant::now();
    while !is_over() && Instant::now() < until && last_online.elapsed() < LAST_WORDS {
        if hub.gauges().online.load(Relaxed) > 0 {
            last_online = Instant::now();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

struct Worker {
    hub: Arc<Hub>,
    door: TlsDoor,
    accepting: CancellationToken,
    running: CancellationToken,
}

impl Worker {
    async fn run(self) {
        let listener = match self.door.listener() {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "a worker cannot listen"),
        };
        let connections = TaskTracker::new();
        loop {
            let arrival = tokio::select! {
                biased;
                () = self.accepting.cancelled() => break,
                arrival = self.door.accept(&listener) => arrival,
            };
            let Ok(arrival) = arrival else { break };
            let hub = Arc::clone(&self.hub);
            spawn_local(connections.track_future(async move {
                let Some(Arrived { stream, identity: Some(identity), peer, slot }) = arrival.handshake().await else {
                    return;
                };
                let connection = Connection::new(Arc::clone(&hub), identity, peer, now());
                drive(stream, connection, hub).await;
                drop(slot);
            }));
        }
        drop(listener);
        connections.close();
        tokio::select! {
            () = connections.wait() => {}
            () = self.running.cancelled() => {}
        }
    }
}
