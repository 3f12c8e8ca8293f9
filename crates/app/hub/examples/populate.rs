//! Fills a data directory with more than anybody would wait for at the front door, to measure what size costs.
//!
//! ```text
//! cargo run --release -p portreeve-hub --example populate -- DIR devices=1000000 sessions=100000 messages=1000000
//! ```
//!
//! No hub may run on the directory. Device `i` is named `dev-<i>` and is in the group `bench`; unless it is `certified` it
//! has a credential without a key, which counts as one and lets nobody in. What it writes are rows of the store, as a hub would have written them.
//!
//! *Invariant:* every row passes through the store's own checks, so a hub that opens the directory finds nothing to mend.

#![allow(clippy::print_stdout, reason = "it tells what it has done")]

use std::{
    error::Error,
    fs,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use portreeve_config::Config;
use portreeve_hub::{Hub, Prepared};
use portreeve_pki::Authority;
use portreeve_store::{
    CredentialRow, IdentityRow, MessageId, MessageRow, QueueRow, RedbStore, RegistryOp, RegistryStore, SessionId,
    SessionOp, SessionRow, SessionStore, SubscriptionRow,
};
use portreeve_types::{ClientId, IdentityId, KeyHash, Kind, LifecycleState, Qos, TopicFilter, TopicName, UnixMillis};
use uuid::Uuid;

const USAGE: &str = "usage: populate DIR [KEY=VALUE]…
  devices=N         registered devices dev-0, dev-1, …
  certified=N       the first N of them get a key and a certificate, in
  bundles=DIR       folders DIR/dev-0, … with ca.pem, cert.pem and key.pem
  sessions=N        persistent sessions without a connection; session s belongs to device s modulo `devices`
  subscriptions=N   over the sessions in turn, QoS 1
  filter=PATTERNS   of subscription {i} of session {s} of device {d}, taken in turn if there are several with commas
                    between [default: devices/{d}/in/{i}]
  messages=N        queued QoS 1 messages, over the sessions in turn, each with a body of its own
  retained=N        retained messages
  topic=PATTERN     of retained message {i}, a number of seven digits [default: devices/dev-{i}/state]
  bytes=N           of each payload [default: 64]";

/// Operations of one commit: large enough that the disk's latency does not count, small enough for memory.
const COMMIT_OPS: usize = 50_000;
const CACHE_BYTES: usize = 256 << 20;
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// For ever: nothing of this expires while it is measured.
const SESSION_EXPIRY_S: u32 = u32::MAX;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let Some(dir) = words.next().filter(|word| !word.starts_with('-') && !word.contains('=')) else {
        return Err(USAGE.into());
    };
    let wanted = Wanted::parse(words)?;
    let now = UnixMillis::from(SystemTime::now());
    let dir = PathBuf::from(dir);
    let prepared = Hub::prepare(&dir, &Config::default(), now)?;
    let store = RedbStore::open(&dir, CACHE_BYTES)?;
    let started = Instant::now();
    wanted.register(&store.registry, &prepared, now)?;
    wanted.fill_sessions(&store.sessions, now)?;
    println!("done in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// What the command line asks for.
struct Wanted {
    devices: u64,
    certified: u64,
    bundles: PathBuf,
    sessions: u64,
    subscriptions: u64,
    filter: String,
    messages: u64,
    retained: u64,
    topic: String,
    bytes: usize,
}

impl Wanted {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut wanted = Self {
            devices: 0,
            certified: 0,
            bundles: PathBuf::from("bundles"),
            sessions: 0,
            subscriptions: 0,
            filter: "devices/{d}/in/{i}".into(),
            messages: 0,
            retained: 0,
            topic: "devices/dev-{i}/state".into(),
            bytes: 64,
        };
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is no KEY=VALUE\n{USAGE}"))?;
            match key {
                "devices" => wanted.devices = value.parse()?,
                "certified" => wanted.certified = value.parse()?,
                "bundles" => wanted.bundles = value.into(),
                "sessions" => wanted.sessions = value.parse()?,
                "subscriptions" => wanted.subscriptions = value.parse()?,
                "filter" => wanted.filter = value.into(),
                "messages" => wanted.messages = value.parse()?,
                "retained" => wanted.retained = value.parse()?,
                "topic" => wanted.topic = value.into(),
                "bytes" => wanted.bytes = value.parse()?,
                _ => return Err(format!("unknown key `{key}`\n{USAGE}").into()),
            }
        }
        if wanted.sessions > 0 && wanted.devices == 0 {
            return Err("sessions belong to devices: say devices=N as well".into());
        }
        if wanted.sessions == 0 && wanted.subscriptions + wanted.messages > 0 {
            return Err("subscriptions and messages belong to sessions: say sessions=N as well".into());
        }
        Ok(wanted)
    }

    fn register(&self, store: &impl RegistryStore, prepared: &Prepared, now: UnixMillis) -> Result<(), Box<dyn Error>> {
        let mut batch = Batch::new("devices", |ops: &[RegistryOp]| store.commit(ops));
        let issuer = if self.certified > 0 { Some(Issuer::open(prepared, &self.bundles, now)?) } else { None };
        for number in 0..self.devices {
            let row = identity(number, now)?;
            let credential = match &issuer {
                Some(issuer) if number < self.certified => issuer.certify(&row, now)?,
                _ => unusable_credential(number, row.id, now),
            };
            batch.add([RegistryOp::PutIdentity(row), RegistryOp::PutCredential(credential)])?;
        }
        batch.finish(self.devices)
    }

    fn fill_sessions(&self, store: &impl SessionStore, now: UnixMillis) -> Result<(), Box<dyn Error>> {
        if self.sessions + self.retained == 0 {
            return Ok(());
        }
        let contents = store.load()?;
        let (mut next_message, first_session) = (contents.next_message, contents.next_session);
        drop(contents);
        let session = |number: u64| SessionId(first_session + number);

        let mut batch = Batch::new("sessions", |ops: &[SessionOp]| store.commit(ops));
        for number in 0..self.sessions {
            batch.add([SessionOp::PutSession { id: session(number), row: self.session_row(number, now)? }])?;
        }
        batch.finish(self.sessions)?;

        let mut batch = Batch::new("subscriptions", |ops: &[SessionOp]| store.commit(ops));
        for number in 0..self.subscriptions {
            let owner = number % self.sessions;
            let row = SubscriptionRow { filter: self.filter(number, owner)?, options: 1, subscription_id: None };
            batch.add([SessionOp::PutSubscription { session: session(owner), row }])?;
        }
        batch.finish(self.subscriptions)?;

        let mut batch = Batch::new("messages", |ops: &[SessionOp]| store.commit(ops));
        for number in 0..self.messages {
            let (id, owner) = (MessageId(next_message), number % self.sessions);
            next_message += 1;
            let topic = TopicName::new(&format!("devices/dev-{}/in/queued", owner % self.devices))?;
            let entry = QueueRow {
                message: id,
                qos: Qos::AtLeastOnce,
                retain: false,
                subscription_ids: Vec::new(),
                released: false,
            };
            batch.add([
                SessionOp::PutMessage { id, row: Arc::new(self.message(topic, false, now)) },
                SessionOp::Enqueue { session: session(owner), seq: number / self.sessions, row: entry },
            ])?;
        }
        batch.finish(self.messages)?;

        let mut batch = Batch::new("retained messages", |ops: &[SessionOp]| store.commit(ops));
        for number in 0..self.retained {
            let id = MessageId(next_message);
            next_message += 1;
            let topic = TopicName::new(&self.topic.replace("{i}", &format!("{number:07}")))?;
            batch.add([
                SessionOp::PutMessage { id, row: Arc::new(self.message(topic.clone(), true, now)) },
                SessionOp::PutRetained { topic, message: id },
            ])?;
        }
        batch.finish(self.retained)
    }

    fn session_row(&self, number: u64, now: UnixMillis) -> Result<SessionRow, Box<dyn Error>> {
        let device = number % self.devices;
        Ok(SessionRow {
            identity: identity_id(device),
            client_id: ClientId::new(&format!("dev-{device}:{number}")).ok_or("no client id")?,
            v5: true,
            expiry_s: SESSION_EXPIRY_S,
            connected: false,
            disconnected_at: Some(now),
            sent_below: 0,
            peer: Some(([127, 0, 0, 1].into(), "mqtt".into())),
            created: now,
        })
    }

    fn filter(&self, number: u64, session: u64) -> Result<TopicFilter, Box<dyn Error>> {
        let patterns: Vec<&str> = self.filter.split(',').collect();
        let pattern = patterns[usize::try_from(number)? % patterns.len()];
        let text = pattern.replace("{i}", &number.to_string()).replace("{s}", &session.to_string());
        let text = text.replace("{d}", &format!("dev-{}", session % self.devices));
        Ok(TopicFilter::new(&text)?)
    }

    fn message(&self, topic: TopicName, retain: bool, now: UnixMillis) -> MessageRow {
        MessageRow {
            topic,
            publisher: None,
            qos: Qos::AtLeastOnce,
            retain,
            forwarded: Arc::default(),
            payload: vec![b'.'; self.bytes].into(),
            expires: None,
            received: now,
        }
    }
}

/// Operations on their way to the store.
struct Batch<Op, Commit> {
    what: &'static str,
    ops: Vec<Op>,
    commit: Commit,
    started: Instant,
}

impl<Op, Commit, Problem> Batch<Op, Commit>
where
    Commit: Fn(&[Op]) -> Result<(), Problem>,
    Problem: Error + 'static,
{
    fn new(what: &'static str, commit: Commit) -> Self {
        Self { what, ops: Vec::with_capacity(COMMIT_OPS), commit, started: Instant::now() }
    }

    fn add(&mut self, ops: impl IntoIterator<Item = Op>) -> Result<(), Box<dyn Error>> {
        self.ops.extend(ops);
        if self.ops.len() < COMMIT_OPS {
            return Ok(());
        }
        (self.commit)(&self.ops)?;
        self.ops.clear();
        Ok(())
    }

    fn finish(self, count: u64) -> Result<(), Box<dyn Error>> {
        if count > 0 {
            (self.commit)(&self.ops)?;
            println!("{count} {} in {:.1} s", self.what, self.started.elapsed().as_secs_f64());
        }
        Ok(())
    }
}

/// Makes real certificates, with the directory's own authority.
struct Issuer {
    authority: Authority,
    bundles: PathBuf,
}

impl Issuer {
    fn open(prepared: &Prepared, bundles: &Path, now: UnixMillis) -> Result<Self, Box<dyn Error>> {
        Ok(Self { authority: prepared.authority(now)?, bundles: bundles.to_owned() })
    }

    fn certify(&self, row: &IdentityRow, now: UnixMillis) -> Result<CredentialRow, Box<dyn Error>> {
        let key = portreeve_pki::generate_key()?;
        let issued = self.authority.issue_device(row.id, &key.public, now, CERTIFICATE_LIFETIME)?;
        let folder = self.bundles.join(row.name.as_str());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        fs::write(folder.join("ca.pem"), self.authority.trust_pem())?;
        fs::write(folder.join("cert.pem"), &issued.chain_pem)?;
        let mut secret = fs::OpenOptions::new();
        let mut file = secret.write(true).create(true).truncate(true).mode(0o600).open(folder.join("key.pem"))?;
        std::io::Write::write_all(&mut file, key.pkcs8_pem.as_bytes())?;
        Ok(CredentialRow {
            key: issued.key,
            identity: row.id,
            serial: issued.serial,
            not_before: issued.not_before,
            not_after: issued.not_after,
            issued: now,
            revoked: None,
            used: None,
        })
    }
}

/// The same device has the same id in every run, so that a later one may add sessions to it.
fn identity_id(number: u64) -> IdentityId {
    IdentityId(Uuid::from_u128(0x7075_6c61_7465_4000_8000_0000_0000_0000 | u128::from(number)))
}

fn identity(number: u64, now: UnixMillis) -> Result<IdentityRow, Box<dyn Error>> {
    Ok(IdentityRow {
        id: identity_id(number),
        name: format!("dev-{number}").parse()?,
        kind: Kind::Device,
        group: "bench".into(),
        owner: String::new(),
        location: String::new(),
        model: String::new(),
        firmware: String::new(),
        notes: String::new(),
        state: LifecycleState::Active,
        state_reason: "made to measure".into(),
        created: now,
        changed: now,
        last_seen: None,
    })
}

/// A hash of no key. Hashes are spread evenly, so these are as well (the finaliser of SplitMix64 on a counter).
fn unusable_credential(number: u64, identity: IdentityId, now: UnixMillis) -> CredentialRow {
    let word = |index: u64| {
        let mut word = (number * 4 + index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_be_bytes()
    };
    let mut key = [0; 32];
    key.chunks_exact_mut(8).zip(0..).for_each(|(chunk, index)| chunk.copy_from_slice(&word(index)));
    CredentialRow {
        key: KeyHash(key),
        identity,
        serial: key[..16].to_vec(),
        not_before: now,
        not_after: now.plus(CERTIFICATE_LIFETIME),
        issued: now,
        revoked: None,
        used: None,
    }
}
