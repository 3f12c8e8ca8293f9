//! SIGKILL at random moments under load.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use portreeve_tests::{Client, Hub, V4, V5};

use crate::peers::{Collector, Publisher, Receiver, connect};

const ROUNDS: u64 = 12;
/// Whatever the machine, the rounds end.
const TIME: Duration = Duration::from_secs(70);

/// A seeded generator (SplitMix64), so that a failing run can be repeated with PORTREEVE_SEED.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn seed() -> u64 {
    let given = std::env::var("PORTREEVE_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

/// Everybody who takes part.
struct Cast {
    publishers: [Publisher; 2],
    keeper: Publisher,
    online: Receiver,
    offline: [Receiver; 2],
    collector: Collector,
}

const FILTER: &str = "crash/+";

impl Cast {
    fn enter(hub: &Hub) -> Self {
        let cast = Self {
            publishers: [
                Publisher::new(V4, "publisher-1", "crash/one", false),
                Publisher::new(V5, "publisher-2", "crash/two", false),
            ],
            keeper: Publisher::new(V5, "keeper", "kept/state", true),
            online: Receiver::new(V5, "online"),
            offline: [Receiver::new(V4, "offline-1"), Receiver::new(V5, "offline-2")],
            collector: Collector::new("collector"),
        };
        for receiver in cast.offline.iter().chain([&cast.online]) {
            let mut client = connect(hub, receiver.version, &receiver.id, false);
            client.subscribe(FILTER, 2);
            client.vanish();
        }
        for publisher in cast.publishers.iter().chain([&cast.keeper]) {
            connect(hub, publisher.version, &publisher.id, false).vanish();
        }
        connect(hub, V5, &cast.collector.id, false).vanish();
        cast
    }

    /// One life of the hub: `end` is called while all are at work.
    fn live(&mut self, hub: &mut Hub, finish: &AtomicBool, end: impl FnOnce(&mut Hub)) {
        let again = |version, id: &str| connect(hub, version, id, true);
        let online = again(V5, &self.online.id);
        let collecting = again(V5, &self.collector.id);
        let publishing: Vec<_> =
            self.publishers.iter().chain([&self.keeper]).map(|p| again(p.version, &p.id)).collect();
        thread::scope(|scope| {
            scope.spawn(|| self.online.run(online, Duration::from_secs(3)));
            scope.spawn(|| self.collector.run(collecting, 25));
            let publishers = self.publishers.iter_mut().chain([&mut self.keeper]);
            for (publisher, client) in publishers.zip(publishing) {
                scope.spawn(|| publisher.run(client, finish));
            }
            end(hub);
        });
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let seed = seed();
    println!("PORTREEVE_SEED={seed}");
    let mut random = Random(seed);
    let mut hub = Hub::open(&["limits.queue_messages_per_session=1000000", "limits.queue_bytes_per_session=268435456"]);
    let mut cast = Cast::enter(&hub);
    let (never, started) = (AtomicBool::new(false), Instant::now());
    let mut rounds = 0;
    while rounds < ROUNDS && started.elapsed() < TIME {
        let life = Duration::from_millis(20 + random.below(500));
        cast.live(&mut hub, &never, |hub| {
            thread::sleep(life);
            hub.kill();
        });
        hub.launch();
        rounds += 1;
    }
    // The last life: open handshakes are finished, and nothing new begins.
    let finish = AtomicBool::new(true);
    cast.live(&mut hub, &finish, |_| {});
    for receiver in &mut cast.offline {
        let client = connect(&hub, receiver.version, &receiver.id, true);
        receiver.run(client, Duration::from_secs(1));
    }
    let confirmed: usize = cast.publishers.iter().map(|publisher| publisher.confirmed.len()).sum();
    println!("{rounds} kills, {confirmed} confirmed messages, {} deliveries online", cast.online.deliveries);
    assert!(confirmed > 100, "there was something to lose");

    for publisher in &cast.publishers {
        for receiver in cast.offline.iter().chain([&cast.online]) {
            receiver.check(publisher);
        }
    }
    retained_is_the_last_acknowledged_or_later(&hub, &cast.keeper);
    cast.collector.check(&hub);
    assert!(never.load(Relaxed) || rounds > 3, "too slow a machine for more than {rounds} kills");
}

fn retained_is_the_last_acknowledged_or_later(hub: &Hub, keeper: &Publisher) {
    let mut client = Client::connect(hub, V5, "retained-check");
    client.subscribe(&keeper.topic, 1);
    let number: u16 = client.take().text().rsplit(' ').next().unwrap().parse().unwrap();
    let last = *keeper.confirmed.last().expect("an acknowledged one");
    assert!((last..=keeper.sent()).contains(&number), "{number} is kept, {last} was the last acknowledged");
}

#[test]
fn a_restart_in_order_keeps_everything_too() {
    let mut hub = Hub::open(&[]);
    let mut cast = Cast::enter(&hub);
    let finish = AtomicBool::new(false);
    cast.live(&mut hub, &finish, |hub| {
        thread::sleep(Duration::from_millis(300));
        let status = hub.terminate();
        assert!(status.success(), "SIGTERM drains and exits 0: {status}");
    });
    hub.launch();
    finish.store(true, Relaxed);
    cast.live(&mut hub, &finish, |_| {});
    for publisher in &cast.publishers {
        cast.online.check(publisher);
    }
    retained_is_the_last_acknowledged_or_later(&hub, &cast.keeper);
    cast.collector.check(&hub);
}

/// Whoever has not said who it is cannot keep the hub from stopping.
#[test]
fn silent_connections_do_not_hold_up_the_end() {
    let mut hub = Hub::open(&["hub.drain_s=60", "limits.handshake_deadline_s=300"]);
    let silent = std::net::TcpStream::connect(hub.mqtt()).unwrap();
    let mut told = Client::connect(&hub, V5, "told");
    thread::scope(|scope| {
        scope.spawn(|| told.cut(0x8b));
        // Which fails after twenty seconds.
        assert!(hub.terminate().success());
    });
    drop(silent);
}

#[test]
fn a_drain_says_why() {
    let mut hub = Hub::open(&[]);
    let mut v5 = Client::connect(&hub, V5, "told");
    let mut v4 = Client::connect(&hub, V4, "closed");
    thread::scope(|scope| {
        scope.spawn(|| {
            v5.cut(0x8b);
            v4.closed();
        });
        assert!(hub.terminate().success());
    });
}

#[test]
fn wills_and_expiry_are_kept_over_a_kill() {
    let mut hub = Hub::open(&[]);
    let mut witness = connect(&hub, V5, "witness", false);
    witness.subscribe("wills/+", 1);
    let login = |id: &str| portreeve_tests::Login::new(V5, id).expiry(60);
    // Disconnected before, and connected at, the kill.
    login("late").will(1, false, "wills/late", "late", "18 00000002").open(&hub).vanish();
    let connected = login("cut").will(1, false, "wills/cut", "cut", "18 00000001").open(&hub);
    let brief = portreeve_tests::Login::new(V5, "brief").expiry(1).open(&hub);
    brief.disconnect();
    thread::sleep(Duration::from_millis(100));
    hub.kill();
    drop(connected);
    thread::sleep(Duration::from_millis(1200));
    hub.launch();
    let mut witness = connect(&hub, V5, "witness", true);
    let mut texts = witness.take_texts(2);
    texts.sort();
    assert_eq!(texts, ["cut", "late"]);
    let _fresh = connect(&hub, V5, "brief", false);
}
