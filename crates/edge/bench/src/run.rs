//! A run from beginning to end: connect, warm up, measure, let everything arrive, count.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use portreeve_mqtt::Version;
use portreeve_types::Qos;

use crate::{
    BenchError, Histogram, Integrity, Latency, Plan, ProcessCost, Report, Scenario,
    credentials::Wardrobe,
    layout::Layout,
    poller::Clock,
    process::{self, Usage},
    session::Speech,
    stamp::Tally,
    worker::{Control, Counters, Member, Orders, Outcome, Phase, Worker},
};

/// How often the leader looks.
const LOOK: Duration = Duration::from_millis(10);
const PROGRESS: Duration = Duration::from_secs(1);
/// Between the order to begin and the beginning: every thread has seen it by then.
const RUN_UP_NS: u64 = 50_000_000;
/// Without a delivery for this long, nothing more will come.
const QUIET: Duration = Duration::from_secs(3);
/// Descriptors beside those of the clients.
const SPARE_DESCRIPTORS: u64 = 64;
const DEFAULT_WINDOW: u16 = 100;

/// Does what the plan says. Each line that `progress` gets is for a person to read.
///
/// # Errors
/// [`BenchError`] if the load could not be applied; what the broker then did with it is in the report.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    plan.check()?;
    let (address, is_remote) = plan.address()?;
    if is_remote {
        progress(&format!(
            "warning: {address} is another machine; --allow-remote says that its owner agrees to this load"
        ));
    }
    let layout = Layout::new(plan);
    let threads = plan.threads.min(u32::try_from(layout.seats.len()).unwrap_or(1)) as usize;
    raise_descriptor_limit(layout.seats.len() as u64)?;
    let members = members(plan, &layout)?;
    let before = plan.pid.map(broker_usage).transpose()?;
    let window = if plan.qos == Qos::AtMostOnce { plan.window } else { plan.window.or(Some(DEFAULT_WINDOW)) };
    // An open loop must not wait for anybody; a closed one that waited for acknowledgements only would fill queues.
    let counts_deliveries = window.is_some() && plan.rate_per_s.is_none();
    let control = Control::new(if counts_deliveries { layout.publishers as usize } else { 0 });
    let orders = Orders {
        scenario: plan.scenario,
        address,
        broker: &plan.broker,
        name: plan.name()?,
        speech: Speech {
            version: plan.version,
            qos: plan.qos,
            payload_bytes: plan.payload_bytes,
            keep_alive_s: plan.keep_alive_s,
            window,
            publish_only: plan.publish_only,
            run: std::process::id() ^ run_number(),
        },
        concurrency: (plan.concurrency as usize).div_ceil(threads),
        rate_per_s: match plan.scenario {
            Scenario::Connect => plan.rate_per_s.map(|rate| rate.div_ceil(threads as u64)),
            _ => plan.rate_per_s,
        },
        publishers: layout.publishers.into(),
        receivers_each: layout.receivers_each.into(),
        clock: Clock::start(),
        control: &control,
    };
    let counters: Vec<Counters> = members.iter().map(|_| Counters::default()).collect();
    let (samples, outcomes) = thread::scope(|scope| {
        let mut workers = Vec::new();
        for (members, counters) in members.into_iter().zip(&counters) {
            match Worker::new(&orders, counters, members) {
                Ok(worker) => workers.push(scope.spawn(move || worker.run())),
                Err(error) => control.fail(BenchError::Usage(format!("cannot wait for sockets: {error}"))),
            }
        }
        let lead = Lead { plan, layout: &layout, orders: &orders, counters: &counters };
        let samples = lead.lead(progress);
        control.enter(Phase::Stop);
        let outcomes: Vec<Outcome> = workers.into_iter().filter_map(|worker| worker.join().ok()).collect();
        (samples, outcomes)
    });
    if let Some(failure) = control.failure() {
        return Err(failure);
    }
    let samples = samples.ok_or_else(|| BenchError::Usage("the run was broken off".into()))?;
    Ok(report(plan, &layout, &orders, &samples, &outcomes, before))
}

/// Tells runs of one process apart.
fn run_number() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, Relaxed) << 22
}

/// The clients of each thread.
fn members(plan: &Plan, layout: &Layout) -> Result<Vec<Vec<Member>>, BenchError> {
    let mut wardrobe = Wardrobe::new(&plan.files, plan.tls, plan.group);
    let mut members: Vec<Vec<Member>> = std::iter::repeat_with(Vec::new).take(plan.threads as usize).collect();
    for seat in &layout.seats {
        let member = Member {
            client_id: plan.client_id.fill(seat.number, seat.pair),
            role: seat.role.clone(),
            config: wardrobe.config(seat.number, seat.pair)?,
        };
        members[layout.thread(plan, seat)].push(member);
    }
    members.retain(|members| !members.is_empty());
    Ok(members)
}

fn raise_descriptor_limit(clients: u64) -> Result<(), BenchError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = clients + SPARE_DESCRIPTORS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).map_err(|_| {
        let limit = maximum.map_or_else(|| "?".into(), |maximum| maximum.to_string());
        BenchError::Usage(format!(
            "{clients} clients need {needed} file descriptors and {limit} are allowed: `ulimit -Hn`"
        ))
    })
}

fn broker_usage(pid: u32) -> Result<Usage, BenchError> {
    process::usage(pid)
        .map_err(|error| BenchError::Usage(format!("--pid {pid}: {error}; is the broker's process on this machine?")))
}

/// All counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at_ns: u64,
    connected: u64,
    sent: u64,
    delivered: u64,
    broker: Option<Usage>,
    generator: Usage,
}

/// The moments before and after what is measured.
struct Samples {
    from: Sample,
    until: Sample,
    failed: u64,
}

struct Lead<'a> {
    plan: &'a Plan,
    layout: &'a Layout,
    orders: &'a Orders<'a>,
    counters: &'a [Counters],
}

impl Lead<'_> {
    /// Takes the run through its phases. `None` if it was broken off.
    fn lead(&self, progress: &mut dyn FnMut(&str)) -> Option<Samples> {
        let clients = self.layout.seats.len() as u64;
        if self.plan.scenario != Scenario::Connect {
            let ready = || self.sum(|counters| &counters.ready);
            self.watch(None, &|| ready() == clients, &mut || {
                progress(&format!("{} of {clients} clients connected", ready()))
            })?;
        }
        let start_ns = self.orders.clock.now_ns() + RUN_UP_NS;
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let from_ns = start_ns + nanoseconds(self.plan.warm_up);
        let measured_ns = from_ns..from_ns + nanoseconds(self.plan.duration);
        self.orders.control.begin(start_ns, &measured_ns);
        let from = self.until(measured_ns.start, "warm-up", progress)?;
        let until = self.until(measured_ns.end, "measuring", progress)?;
        self.orders.control.enter(Phase::Drain);
        self.drain(progress)?;
        Some(Samples { from, until, failed: self.sum(|counters| &counters.failed) })
    }

    fn sum(&self, of: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        self.counters.iter().map(|counters| of(counters).load(Relaxed)).sum()
    }

    /// Looks until `done`, `limit` at most, and says every second how it stands. `None` if the run was broken off.
    fn watch(&self, limit: Option<Duration>, done: &dyn Fn() -> bool, say: &mut dyn FnMut()) -> Option<()> {
        let start = Instant::now();
        let mut said = start;
        while !done() && limit.is_none_or(|limit| start.elapsed() < limit) {
            if self.orders.control.phase() == Phase::Stop {
                return None;
            }
            thread::sleep(LOOK);
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                say();
            }
        }
        (self.orders.control.phase() != Phase::Stop).then_some(())
    }

    /// Waits for a moment, and takes the counters then.
    fn until(&self, at_ns: u64, what: &str, progress: &mut dyn FnMut(&str)) -> Option<Sample> {
        let clock = self.orders.clock;
        let count = |counters: &Counters| {
            let of = if self.plan.scenario == Scenario::Connect { &counters.connected } else { &counters.delivered };
            of.load(Relaxed)
        };
        let total = || self.counters.iter().map(count).sum::<u64>();
        let mut last = (total(), clock.now_ns());
        let unit = if self.plan.scenario == Scenario::Connect { "connections" } else { "deliveries" };
        let mut say = || {
            let now = (total(), clock.now_ns());
            let seconds = (now.1 - last.1) as f64 / 1e9;
            let left = at_ns.saturating_sub(now.1).div_ceil(1_000_000_000);
            progress(&format!("{what}: {:.0} {unit}/s, {left} s left", (now.0 - last.0) as f64 / seconds));
            last = now;
        };
        self.watch(None, &|| clock.now_ns() >= at_ns, &mut say)?;
        Some(self.sample())
    }

    fn sample(&self) -> Sample {
        Sample {
            at_ns: self.orders.clock.now_ns(),
            connected: self.sum(|counters| &counters.connected),
            sent: self.sum(|counters| &counters.sent),
            delivered: self.sum(|counters| &counters.delivered),
            // A broker that died meanwhile has none.
            broker: self.plan.pid.and_then(|pid| process::usage(pid).ok()),
            generator: process::usage(std::process::id()).unwrap_or_default(),
        }
    }

    /// Waits until all is delivered and acknowledged, or nothing comes any more.
    fn drain(&self, progress: &mut dyn FnMut(&str)) -> Option<()> {
        if self.layout.publishers == 0 {
            return Some(());
        }
        // Every thread has stopped sending, and said what is in flight, two looks from now.
        thread::sleep(LOOK * 2);
        let delivered = || self.sum(|counters| &counters.delivered);
        let owed = || self.sum(|counters| &counters.sent) * u64::from(self.layout.receivers_each);
        let in_flight = || self.sum(|counters| &counters.in_flight);
        let last = std::cell::Cell::new((delivered() + in_flight(), Instant::now()));
        let is_over = || {
            let now = delivered() + in_flight();
            if now != last.get().0 {
                last.set((now, Instant::now()));
            }
            (delivered() >= owed() && in_flight() == 0) || last.get().1.elapsed() > QUIET
        };
        let mut say = || progress(&format!("draining: {} deliveries outstanding", owed().saturating_sub(delivered())));
        self.watch(Some(self.plan.drain), &is_over, &mut say)
    }
}

fn report(
    plan: &Plan,
    layout: &Layout,
    orders: &Orders<'_>,
    samples: &Samples,
    outcomes: &[Outcome],
    before: Option<Usage>,
) -> Report {
    let (from, until) = (&samples.from, &samples.until);
    let measured_s = (until.at_ns - from.at_ns) as f64 / 1e9;
    let (sent, delivered) = (until.sent - from.sent, until.delivered - from.delivered);
    let connected = until.connected - from.connected;
    let sessions = if plan.scenario == Scenario::Connect { 0 } else { layout.seats.len() };
    let work = Work { delivered, connected, sessions, measured_s, scenario: plan.scenario };
    let process = match (plan.pid, before, from.broker, until.broker) {
        (Some(pid), Some(before), Some(from), Some(until)) if from.started_ticks == until.started_ticks => {
            Some(work.cost(pid, &before, &from, &until))
        }
        _ => None,
    };
    let (mut connect, mut latency) = (Histogram::default(), Histogram::default());
    for outcome in outcomes {
        connect.merge(&outcome.connect);
        latency.merge(&outcome.latency);
    }
    let first_failure = orders.control.first_loss();
    let negotiated = orders.control.negotiated.lock().map_or(None, |negotiated| negotiated.clone());
    Report {
        scenario: plan.scenario,
        broker: plan.broker.clone(),
        mqtt: if plan.version == Version::V5 { "5.0" } else { "3.1.1" },
        tls: negotiated,
        qos: plan.qos as u8,
        payload_bytes: plan.payload_bytes,
        clients: layout.seats.len(),
        publishers: layout.publishers,
        receivers_each: layout.receivers_each,
        publish_only: plan.publish_only,
        rate_per_s: plan.rate_per_s,
        measured_s,
        sent,
        delivered,
        delivered_per_s: delivered as f64 / measured_s,
        connected,
        connected_per_s: connected as f64 / measured_s,
        unsent: unsent(plan, layout, outcomes),
        connections_failed: samples.failed,
        first_failure,
        integrity: integrity(plan, layout, outcomes),
        message_latency: Latency::of(&latency),
        connect_latency: Latency::of(&connect),
        process,
        generator: work.cost(std::process::id(), &from.generator, &from.generator, &until.generator),
        loss_is_ok: plan.loss_is_ok,
    }
}

/// What the measured time's CPU time is divided by.
struct Work {
    delivered: u64,
    connected: u64,
    sessions: usize,
    measured_s: f64,
    scenario: Scenario,
}

impl Work {
    fn cost(&self, pid: u32, before: &Usage, from: &Usage, until: &Usage) -> ProcessCost {
        let user_s = process::seconds(until.user_ticks.saturating_sub(from.user_ticks));
        let system_s = process::seconds(until.system_ticks.saturating_sub(from.system_ticks));
        let cpu_s = user_s + system_s;
        let per = |count: f64, scale: f64| (count > 0.0).then(|| cpu_s * scale / count);
        let switches = until.switches.saturating_sub(from.switches) as f64;
        let growth = until.resident_bytes.saturating_sub(before.resident_bytes) as f64;
        let is_idle = self.scenario == Scenario::Idle;
        ProcessCost {
            pid,
            user_s,
            system_s,
            cpu_s_per_million_delivered: per(self.delivered as f64, 1e6),
            cpu_us_per_connection: per(self.connected as f64, 1e6),
            cpu_us_per_session_second: per(self.sessions as f64 * self.measured_s, 1e6).filter(|_| is_idle),
            switches_per_delivery: (self.delivered > 0).then(|| switches / self.delivered as f64),
            resident_before_bytes: before.resident_bytes,
            resident_bytes: until.resident_bytes,
            resident_bytes_per_session: (is_idle && self.sessions > 0).then(|| growth / self.sessions as f64),
        }
    }
}

/// Every message that a publisher sent, against every receiver's account, or the publisher's own where nobody receives.
fn integrity(plan: &Plan, layout: &Layout, outcomes: &[Outcome]) -> Integrity {
    let mut sent = vec![0; layout.publishers as usize];
    for &(publisher, count) in outcomes.iter().flat_map(|outcome| &outcome.sent) {
        sent[publisher as usize] = count;
    }
    let mut integrity =
        Integrity { foreign: outcomes.iter().map(|outcome| outcome.foreign).sum(), ..Integrity::default() };
    if plan.publish_only {
        integrity.lost = outcomes.iter().map(|outcome| outcome.unacknowledged).sum();
    }
    for receiver in outcomes.iter().flat_map(|outcome| &outcome.receivers) {
        let settle = |(publisher, tally): (u32, &Tally)| tally.settle(sent[publisher as usize], &mut integrity);
        receiver.publishers.clone().zip(&receiver.tallies).for_each(settle);
    }
    integrity
}

fn unsent(plan: &Plan, layout: &Layout, outcomes: &[Outcome]) -> u64 {
    let Some(rate_per_s) = plan.rate_per_s.filter(|_| layout.publishers > 0) else { return 0 };
    let due = ((plan.warm_up + plan.duration).as_secs_f64() * rate_per_s as f64).floor();
    let sent: u64 = outcomes.iter().flat_map(|outcome| &outcome.sent).map(|(_, count)| count).sum();
    // One turn's worth is on its way when the time is up, and no sign of falling behind.
    let turn = (rate_per_s as f64 * 0.02).max(layout.publishers.into());
    let behind = due - sent as f64;
    if behind > turn { num_u64(behind) } else { 0 }
}

/// Whole numbers of less than 2^53 are exact.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn num_u64(value: f64) -> u64 {
    value.max(0.0) as u64
}
