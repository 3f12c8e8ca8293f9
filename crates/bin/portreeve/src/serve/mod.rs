//! `portreeve serve`: opens the hub and all its doors, keeps the clock, and ends in order.
//!
//! The order of the start matters: configuration before anything is made, no core dumps before the first secret, the data
//! directory, the passphrase and the token's module before Landlock, Landlock before the first thread, every listener
//! before the hub says that it is ready.

mod confine;
pub(crate) mod logging;
mod reloader;
mod systemd;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use landlock::RulesetStatus;
use portreeve_config::{Loaded, Role, Sources, load};
use portreeve_http_server::{HttpServer, Pulse, WitnessClient, socket_path};
use portreeve_hub::{Actor, AdminRequest, Hub};
use portreeve_mqtt_server::{Admission, MqttServer, ProvisioningServer, now};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{cli::Global, failure::Failure, output::say};
use confine::{Territory, confine, harden};
use reloader::ConfigReloader;
use systemd::Watchdog;

/// Time between two ticks of the hub's clock.
const TICK: Duration = Duration::from_millis(100);
/// Time between two looks at what is to be renewed.
const RENEWALS_TICK: Duration = Duration::from_secs(1);
/// Longest wait, at the end, for what a thread is doing.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the disk at the end.
const FINISH_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn run(global: &Global) -> Result<(), Failure> {
    let loaded = load(&Sources::gather(global.config.as_deref(), global.set.clone())?)?;
    let log = logging::start(&loaded.config.log)?;
    harden();
    let (hub, witnesses) = open(global, &loaded)?;
    let reloader = ConfigReloader::new(global.clone(), log, loaded);
    hub.set_reloader(Box::new(move |hub| reloader.reload(hub)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Usage(format!("cannot start: {error}")))?;
    // Before the doors open, so that a signal is never met by its default.
    let signals = {
        let _entered = runtime.enter();
        Signals::new()
    };
    let mut signals = signals.map_err(|error| Failure::Usage(format!("cannot listen for signals: {error}")))?;
    // Not inside the runtime: the doors have their own.
    let running = Running::start(hub, witnesses, &global.data)?;
    runtime.block_on(async {
        signals.serve(&running.hub).await;
        let mut stopped = running.stop();
        tokio::select! {
            finished = &mut stopped => match finished {
                Ok(true) => Ok(()),
                _ => Err(Failure::Refused("the hub ended, but the store could not take what was pending; see the log".into())),
            },
            () = signals.second() => {
                tracing::warn!("a second signal: ending at once; what was acknowledged is on disk");
                Err(Failure::Refused("ended before all clients were gone".into()))
            }
        }
    })
}

/// Makes or checks the data directory and finds the way to its keys, confines the process, and opens the hub.
fn open(global: &Global, loaded: &Loaded) -> Result<(Arc<Hub>, Option<WitnessClient>), Failure> {
    let data = &global.data;
    let config = &loaded.config;
    let prepared = Hub::prepare(data, config, now().wall)?;
    let territory = Territory::new(data, &socket_path(data, config), global.config.as_deref());
    let witnesses = WitnessClient::configured(&config.ledger).map_err(|error| Failure::Usage(error.to_string()))?;
    let territory = territory.with_custody(&config.keys).with_calls_to(witnesses.iter().flat_map(WitnessClient::ports));
    let territory = territory.with_alerts(prepared.alert_settings().as_ref());
    let confined = confine(&territory);
    match &confined {
        Ok(RulesetStatus::FullyEnforced) => tracing::info!("Landlock confines the hub to its data directory"),
        Ok(RulesetStatus::PartiallyEnforced) => {
            tracing::info!("Landlock confines the hub to its data directory, as far as this kernel can");
        }
        Ok(RulesetStatus::NotEnforced) => {
            tracing::warn!("this kernel has no Landlock: the hub is not confined to its data directory")
        }
        Err(error) => tracing::warn!(%error, "Landlock refused: the hub is not confined to its data directory"),
    }
    let hub = Hub::open_prepared(&prepared, config.clone(), now().wall)?;
    if matches!(confined, Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced)) {
        hub.set_alert_reach(Box::new(move |kind| territory.reaches(kind)));
    }
    Ok((hub, witnesses))
}

/// The hub with its doors open and its clock running.
struct Running {
    hub: Arc<Hub>,
    mqtt: MqttServer,
    provisioning: Option<ProvisioningServer>,
    http: HttpServer,
    pulse: Arc<Pulse>,
    clock: Clock,
}

impl Running {
    fn start(hub: Arc<Hub>, witnesses: Option<WitnessClient>, data: &Path) -> Result<Self, Failure> {
        let listen = hub.config().mqtt.listen;
        let admission = Admission::new(Arc::clone(&hub));
        let mqtt = MqttServer::start(&hub, &admission)
            .map_err(|error| Failure::Usage(format!("cannot listen on {listen} (mqtt.listen): {error}")))?;
        let pulse = Arc::new(Pulse::default());
        let mqtt_at = mqtt.local_addr().to_string();
        let provisioning = ProvisioningServer::start(&hub, &admission)
            .map_err(|error| Failure::Usage(format!("cannot listen (mqtt.provisioning_listen): {error}")))?;
        let mut listeners = vec![("mqtt".into(), mqtt_at.clone())];
        let provisioning_at = provisioning.as_ref().map(|server| server.local_addr().to_string());
        listeners.extend(provisioning_at.map(|address| ("mqtt_provisioning".into(), address)));
        let http = HttpServer::start(&hub, &admission, Arc::clone(&pulse), listeners)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let clock = Clock::start(&hub, Arc::clone(&pulse), witnesses)
            .map_err(|error| Failure::Usage(format!("cannot start the clock: {error}")))?;
        hub.emit(portreeve_events::Kind::HubStarted, None, None, None, format_args!("MQTT on {mqtt_at}"));
        systemd::ready("serving");
        // Whoever closed standard output does not want to hear it.
        let _ = say(&greeting(&hub, &mqtt_at, data));
        Ok(Self { hub, mqtt, provisioning, http, pulse, clock })
    }

    /// Lets clients go, then closes everything. Tells whether the store took all that was pending.
    fn stop(self) -> oneshot::Receiver<bool> {
        let (done, stopped) = oneshot::channel();
        // In a thread, so that a second signal is heard meanwhile.
        thread::spawn(move || {
            let Self { hub, mqtt, provisioning, http, pulse, clock } = self;
            systemd::stopping();
            pulse.stop();
            mqtt.stop_accepting();
            http.stop_accepting();
            provisioning.iter().for_each(ProvisioningServer::stop);
            hub.drain();
            let until = Instant::now() + Duration::from_secs(hub.config().hub.drain_s);
            mqtt.join(until.saturating_duration_since(Instant::now()));
            http.join(until.saturating_duration_since(Instant::now()));
            if let Some(provisioning) = provisioning {
                provisioning.join(until.saturating_duration_since(Instant::now()));
            }
            clock.stop();
            let finished = hub.finish(FINISH_TIMEOUT);
            // The store brings its files in order when the last holder lets go.
            drop(hub);
            tracing::info!("the hub has ended");
            // Nobody waits any more after a second signal.
            let _ = done.send(finished);
        });
        stopped
    }
}

/// Threads. One drives wills, expiry and the watchdog: if it hangs, `/livez` and systemd notice. One renews certificates, and
/// waits for a token or TPM as long as that takes. One handles what detectors find and has alerts sent, and waits for the disk. If there are witnesses,
/// a fourth asks them.
struct Clock {
    ticks: Periodic,
    renewals: Periodic,
    watch: Periodic,
    witnesses: Option<Periodic>,
}

impl Clock {
    fn start(hub: &Arc<Hub>, pulse: Arc<Pulse>, witnesses: Option<WitnessClient>) -> std::io::Result<Self> {
        let mut watchdog = Watchdog::new();
        let [hub, keeper, watcher, author] = [(); 4].map(|()| Arc::clone(hub));
        let every = Duration::from_secs(hub.config().ledger.witness_every_s);
        let ticks = Periodic::start("clock", TICK, move || {
            hub.tick(now());
            pulse.beat();
            watchdog.beat();
        })?;
        let renewals = Periodic::start("renewals", RENEWALS_TICK, move || keeper.tend_keys(now()))?;
        let watch = Periodic::start("watch", TICK, move || {
            watcher.tend_watch(now());
            watcher.tend_alerts(now());
        })?;
        let ask = |client: WitnessClient| Periodic::start("witnesses", every, move || client.ask_all(&author));
        let witnesses = witnesses.map(ask).transpose()?;
        Ok(Self { ticks, renewals, watch, witnesses })
    }

    /// Does not wait for a token that does not answer.
    fn stop(self) {
        self.ticks.stop();
        self.renewals.stop();
        self.watch.stop();
        if let Some(witnesses) = self.witnesses {
            witnesses.stop();
        }
    }
}

/// A thread that does the same again and again.
struct Periodic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Periodic {
    fn start(name: &str, every: Duration, mut work: impl FnMut() + Send + 'static) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            while !stopping.load(Relaxed) {
                work();
                thread::park_timeout(every);
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Waits until what is being done is done, but not for ever.
    fn stop(self) {
        self.stop.store(true, Relaxed);
        self.thread.thread().unpark();
        let name = self.thread.thread().name().unwrap_or_default().to_owned();
        let until = Instant::now() + STOP_TIMEOUT;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(TICK / 10);
        }
        if !self.thread.is_finished() {
            tracing::warn!(thread = name, "is busy, and is left behind");
        } else if self.thread.join().is_err() {
            tracing::error!(thread = name, "ended in a panic");
        }
    }
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Reloads at each SIGHUP; returns at the first signal to end.
    async fn serve(&mut self, hub: &Hub) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    let actor = Actor { name: "SIGHUP".into(), role: Role::Administrator };
                    // What went wrong is in the log: the hub emits an event either way.
                    let _ = hub.administer(&actor, AdminRequest::Reload);
                }
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }

    /// Waits for one more signal to end.
    async fn second(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What the first lines on standard output say. A hub without devices tells how to add some.
fn greeting(hub: &Hub, mqtt_at: &str, data: &Path) -> String {
    let shown = hub.data().display();
    let mut text =
        format!("portreeve {} is ready: MQTT over mutual TLS on {mqtt_at}, data in {shown}", env!("CARGO_PKG_VERSION"));
    if !hub.registry().is_empty() {
        return text;
    }
    let program = std::env::args().next().unwrap_or_else(|| "portreeve".into());
    let data =
        if data == Path::new("./portreeve-data") { String::new() } else { format!(" --data {}", data.display()) };
    let port = mqtt_at.rsplit(':').next().unwrap_or_default();
    let port = if port == "8883" { String::new() } else { format!(" --port {port}") };
    text += &format!(
        "\n\nNo device is registered yet. In another terminal:\n\n  \
         {program} device add lamp-1{data} --out lamp-1\n  \
         {program} client sub --bundle lamp-1{port} -t 'devices/lamp-1/#' &\n  \
         {program} client pub --bundle lamp-1{port} -t devices/lamp-1/telemetry/hello -m hello\n"
    );
    text
}
