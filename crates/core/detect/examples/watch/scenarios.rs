//! Generated scenarios, from a seed: a benign fleet, and attacks as the labelled data sets describe them.
//!
//! The fleet is 200 devices: sensors that send one message a minute, meters that send a burst every ten minutes, cameras that
//! send 20 messages a second; each with jitter, from its own network, in one of four halls, and now and then reconnecting. The first
//! 30 % of the time is learnt, then the watch is frozen and the attack begins. A false alarm is anybody, not one
//! of the attackers, whom any finding is about.
//!
//! - IoT-23 (Garcia, Parmisano, Erquiaga, 2020) labels flows of infected devices: scans, C2 beacons, floods, file downloads. A hub
//!   sees of them what reaches it: other networks, other topics, other rates, even intervals.
//! - MQTTset (Vaccari and others, 2020): brute force (1,271 refused CONNACKs from one source), SlowITe (keep alive 65535 on 1,024
//!   connections), flood (604 packets/s where 20 are usual), malformed packets, denial of service by connections.

use portreeve_detect::{DetectSettings, Detector, Ending, Notice, Observation, Subject, Watch};
use portreeve_types::UnixMillis;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

const FLEET: usize = 200;
const STEP_MS: u64 = 10_000;
/// Half a day in windows of ten seconds; the first 30 % are learnt.
const STEPS: u64 = 4_320;
const LEARNT_STEPS: u64 = STEPS * 3 / 10;
const HALLS: [&str; 4] = ["hall-1", "hall-2", "hall-3", "hall-4"];
/// Everybody's own learning time is over when the watch is frozen.
const LEARN_S: u32 = 3_600;

/// What became of one scenario.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) attackers: usize,
    pub(crate) detected: usize,
    /// From the attack's beginning to the first finding about an attacker.
    pub(crate) after_s: Option<f64>,
    pub(crate) benign: usize,
    pub(crate) false_alarms: usize,
    pub(crate) found_by: BTreeSet<Detector>,
}

impl Outcome {
    pub(crate) fn is_detected(&self) -> bool {
        self.detected == self.attackers
    }

    pub(crate) fn detection_rate(&self) -> f64 {
        if self.attackers == 0 { 1.0 } else { self.detected as f64 / self.attackers as f64 }
    }

    pub(crate) fn false_alarm_rate(&self) -> f64 {
        self.false_alarms as f64 / self.benign as f64
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Where attacks come from.
fn foreign(host: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xcb00_7100 + host).into()
}

struct Stage {
    watch: Watch,
    names: Vec<String>,
    dice: Dice,
    now_ms: u64,
    out: Vec<Notice>,
    began_ms: u64,
}

impl Stage {
    fn see(&mut self, observation: &Observation<'_>) {
        self.watch.observe(observation, UnixMillis(self.now_ms), &mut self.out);
    }

    fn connect(&mut self, device: usize, source: IpAddr, keep_alive_s: u16) {
        let name = self.names[device].clone();
        let (zone, client_id) = (Some(HALLS[device % HALLS.len()]), &*name);
        let (group, radio) = (None, None);
        self.see(&Observation::Connected { identity: &name, group, zone, radio, source, client_id, keep_alive_s });
    }

    fn publish(&mut self, device: usize, leaf: &str, messages: u64, largest_bytes: u32) {
        let (name, bytes) = (self.names[device].clone(), messages * u64::from(largest_bytes));
        let (topic, window_ms) = (format!("devices/{name}/{leaf}"), STEP_MS);
        self.see(&Observation::Traffic { identity: &name, topic: &topic, messages, bytes, largest_bytes, window_ms });
    }

    fn lose(&mut self, device: usize) {
        let identity = self.names[device].clone();
        self.see(&Observation::Disconnected { identity: &identity, how: Ending::Lost });
    }

    /// What the fleet does in one step.
    fn life(&mut self, step: u64) {
        for device in 0..FLEET {
            let phase = device as u64 * 7 + step;
            match device % 3 {
                0 if phase.is_multiple_of(6) => {
                    let size = 40 + u32::try_from(self.dice.below(30)).unwrap_or_default();
                    self.publish(device, "telemetry/temperature", 1, size);
                }
                1 if phase.is_multiple_of(60) => {
                    let messages = 15 + self.dice.below(10);
                    self.publish(device, "telemetry/meter", messages, 120);
                }
                2 => {
                    let messages = 180 + self.dice.below(40);
                    self.publish(device, "telemetry/frames", messages, 4000);
                    if phase.is_multiple_of(30) {
                        self.publish(device, "telemetry/state", 1, 80);
                    }
                }
                _ => {}
            }
            // About once in three hours a link breaks, and comes back from the same network.
            if self.dice.below(1000) == 0 {
                self.lose(device);
                let host = u32::try_from(device * 256).unwrap_or_default()
                    + 1
                    + u32::try_from(self.dice.below(200)).unwrap_or_default();
                self.connect(device, Ipv4Addr::from_bits(0x0a00_0000 + host).into(), 60);
            }
        }
        // Now and then somebody mistypes or a scanner passes by.
        if self.dice.below(300) == 0 {
            let source = Some(foreign(200 + u32::try_from(self.dice.below(40)).unwrap_or_default()));
            self.see(&Observation::AuthFailed { identity: None, source, door: "mqtt" });
        }
    }
}

/// One attack: who attacks, and what happens in each step after it began.
struct Attack {
    name: &'static str,
    devices: &'static [usize],
    sources: &'static [u32],
    zones: &'static [&'static str],
    step: fn(&mut Stage, u64),
}

const NOBODY: Attack = Attack { name: "benign day", devices: &[], sources: &[], zones: &[], step: |_, _| {} };

const ATTACKS: [Attack; 13] = [
    NOBODY,
    Attack {
        name: "MQTTset brute force",
        sources: &[1],
        // 1,271 refusals in twelve minutes.
        step: |stage, step| {
            for _ in 0..if step < 72 { 18 } else { 0 } {
                stage.see(&Observation::AuthFailed { identity: None, source: Some(foreign(1)), door: "mqtt" });
            }
        },
        ..NOBODY
    },
    Attack {
        name: "brute force, slow (every 8 min)",
        sources: &[2],
        step: |stage, step| {
            if step.is_multiple_of(48) {
                stage.see(&Observation::AuthFailed { identity: None, source: Some(foreign(2)), door: "mqtt" });
            }
        },
        ..NOBODY
    },
    Attack {
        name: "MQTTset SlowITe",
        devices: &[5],
        sources: &[3],
        // 1,024 connections in all, with one stolen certificate.
        step: |stage, step| {
            for _ in 0..if step < 16 { 64 } else { 0 } {
                stage.connect(5, foreign(3), u16::MAX);
            }
        },
        ..NOBODY
    },
    Attack {
        name: "MQTTset flood (604/s against 20/s)",
        devices: &[8],
        step: |stage, _| stage.publish(8, "telemetry/frames", 6_040, 60),
        ..NOBODY
    },
    Attack {
        name: "MQTTset malformed",
        devices: &[9],
        sources: &[4],
        step: |stage, _| {
            let identity = stage.names[9].clone();
            stage.see(&Observation::Malformed { identity: Some(&identity), source: Some(foreign(4)) });
            stage.see(&Observation::Malformed { identity: None, source: Some(foreign(4)) });
        },
        ..NOBODY
    },
    Attack {
        name: "MQTTset DoS (half-open flood)",
        sources: &[5, 6],
        step: |stage, _| {
            for _ in 0..100 {
                stage.see(&Observation::HalfOpen { source: foreign(5) });
                stage.see(&Observation::HalfOpen { source: foreign(6) });
            }
        },
        ..NOBODY
    },
    Attack {
        name: "IoT-23 C2 over a new topic",
        devices: &[12, 15, 18],
        step: |stage, step| {
            if step.is_multiple_of(6) {
                [12, 15, 18].into_iter().for_each(|device| stage.publish(device, "c2", 1, 30));
            }
        },
        ..NOBODY
    },
    Attack {
        name: "IoT-23 beacon (reconnects)",
        devices: &[21],
        step: |stage, step| {
            if step.is_multiple_of(12) {
                stage.connect(21, Ipv4Addr::from_bits(0x0a00_0000 + 21 * 256 + 9).into(), 60);
            }
        },
        ..NOBODY
    },
    Attack {
        name: "IoT-23 stolen key, foreign network",
        devices: &[24],
        step: |stage, step| {
            if step == 0 {
                stage.connect(24, foreign(7), 60);
            }
        },
        ..NOBODY
    },
    Attack {
        name: "IoT-23 exfiltration (large)",
        devices: &[27, 28],
        step: |stage, _| {
            stage.publish(27, "telemetry/temperature", 1, 60_000);
            stage.publish(28, "telemetry/meter", 400, 120);
        },
        ..NOBODY
    },
    Attack {
        name: "jammed hall",
        zones: &["hall-2"],
        step: |stage, step| {
            if step == 3 {
                (0..FLEET).filter(|device| device % 4 == 1).for_each(|device| stage.lose(device));
            }
        },
        ..NOBODY
    },
    Attack {
        name: "cloned device",
        devices: &[30],
        step: |stage, step| {
            if step.is_multiple_of(6) {
                let identity = stage.names[30].clone();
                stage.see(&Observation::Duplicate { identity: &identity, is_certain: false });
            }
        },
        ..NOBODY
    },
];

/// Every scenario, each in a world of its own.
pub(crate) fn all(seed: u64) -> Vec<Outcome> {
    ATTACKS.iter().enumerate().map(|(at, attack)| run(attack, seed.wrapping_mul(1000) + at as u64)).collect()
}

fn run(attack: &Attack, seed: u64) -> Outcome {
    let mut settings = DetectSettings::default();
    settings.general.new_device_learn_s = LEARN_S;
    #[expect(clippy::unwrap_used, reason = "defaults are in their ranges, which the crate tests")]
    let watch = Watch::new(&settings).unwrap();
    let names = (0..FLEET).map(|device| format!("dev-{device}")).collect();
    let mut stage =
        Stage { watch, names, dice: Dice(seed), now_ms: 1_793_577_600_000, out: Vec::new(), began_ms: u64::MAX };
    for device in 0..FLEET {
        let host = u32::try_from(device * 256).unwrap_or_default() + 1;
        stage.connect(device, Ipv4Addr::from_bits(0x0a00_0000 + host).into(), 60);
    }
    for step in 0..STEPS {
        if step == LEARNT_STEPS {
            stage.watch.freeze();
            stage.began_ms = stage.now_ms;
        }
        stage.life(step);
        if step >= LEARNT_STEPS {
            (attack.step)(&mut stage, step - LEARNT_STEPS);
        }
        stage.now_ms += STEP_MS;
        stage.watch.tick(UnixMillis(stage.now_ms), &mut stage.out);
    }
    judge(attack, &stage)
}

fn judge(attack: &Attack, stage: &Stage) -> Outcome {
    let mut is_attacker: BTreeSet<String> =
        attack.devices.iter().map(|device| format!("identity dev-{device}")).collect();
    is_attacker.extend(attack.sources.iter().map(|host| format!("source {}", foreign(*host))));
    is_attacker.extend(attack.zones.iter().map(|zone| format!("zone {zone}")));
    let in_zone = |name: &str| {
        let device: Option<usize> = name.strip_prefix("dev-").and_then(|number| number.parse().ok());
        device.is_some_and(|device| attack.zones.contains(&HALLS[device % HALLS.len()]))
    };
    // What an attack does to the hub as a whole, and to the devices of a hall that is jammed, is no false alarm.
    let is_caused = |subject: &Subject| match subject {
        Subject::Hub => attack.name != NOBODY.name,
        Subject::Identity(name) => in_zone(name),
        _ => false,
    };
    let (mut detected, mut alarmed, mut found_by, mut after_s) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), None);
    for notice in &stage.out {
        let Notice::Opened(finding) = notice else { continue };
        let subject = finding.subject.to_string();
        if is_attacker.contains(&subject) && finding.opened.0 >= stage.began_ms {
            after_s.get_or_insert((finding.opened.0 - stage.began_ms) as f64 / 1000.0);
            found_by.insert(finding.kind);
            detected.insert(subject);
        } else if !is_caused(&finding.subject) {
            alarmed.insert(subject);
        }
    }
    Outcome {
        name: attack.name,
        attackers: is_attacker.len(),
        detected: detected.len(),
        after_s,
        benign: FLEET - attack.devices.len(),
        false_alarms: alarmed.len(),
        found_by,
    }
}
