//! What to do, checked before anything is sent.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    ops::RangeInclusive,
    time::Duration,
};

use portreeve_mqtt::Version;
use portreeve_types::{Qos, TopicFilter, TopicName};
use rustls_pki_types::ServerName;

use crate::{BenchError, Files, Group, Pattern, TlsVersion, stamp::Stamp};

const CLIENTS: RangeInclusive<u64> = 1..=100_000;
const THREADS: RangeInclusive<u64> = 1..=64;
const CONCURRENCY: RangeInclusive<u64> = 1..=10_000;
const PAYLOAD_BYTES: RangeInclusive<u64> = Stamp::BYTES as u64..=1024 * 1024;
const RATE_PER_S: RangeInclusive<u64> = 1..=10_000_000;
const WINDOW: RangeInclusive<u64> = 1..=65_534;
const KEEP_ALIVE_S: RangeInclusive<u64> = 5..=3600;
const SECONDS_MAX: u64 = 4 * 3600;

/// What kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// Connect, disconnect, again: full handshakes and CONNECT.
    Connect,
    /// Open sessions and leave them alone.
    Idle,
    /// Pairs: one publishes to the other.
    Publish,
    /// One publishes to many.
    Fanout,
    /// Many publish to one.
    Fanin,
}

/// A whole run. [`Plan::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What kind of load.
    pub scenario: Scenario,
    /// `HOST:PORT`.
    pub broker: String,
    /// The name in the broker's certificate, if it is not the host of `broker`.
    pub server_name: Option<String>,
    /// Certificates.
    pub files: Files,
    /// Client identifiers; `{n}` keeps them apart.
    pub client_id: Pattern,
    /// Topics; `{pair}` keeps them apart.
    pub topic: Pattern,
    /// What receivers subscribe to instead of the topic itself; it must match the topic.
    pub filter: Option<Pattern>,
    /// Nobody receives: the acknowledgement of each message is what is counted and timed, as for queues of absent clients.
    pub publish_only: bool,
    /// Sessions, pairs, receivers of a fan-out, publishers of a fan-in.
    pub count: u32,
    /// MQTT version.
    pub version: Version,
    /// Delivery guarantee of messages and subscriptions.
    pub qos: Qos,
    /// Length of each payload.
    pub payload_bytes: usize,
    /// Messages, or connections, per second in all; `None` is as many as the broker takes.
    pub rate_per_s: Option<u64>,
    /// Messages of one publisher that are not acknowledged (QoS 1 and 2) or, without a rate, not delivered to every
    /// receiver, at most. `None` is 100 for QoS 1 and 2, and no bound but TCP's for QoS 0.
    pub window: Option<u16>,
    /// Connections that are being opened at the same time.
    pub concurrency: u32,
    /// How long is measured.
    pub duration: Duration,
    /// How long traffic flows before.
    pub warm_up: Duration,
    /// How long what is on its way may take after the last message was sent.
    pub drain: Duration,
    /// Threads that drive connections.
    pub threads: u32,
    /// Keep-alive of the sessions, seconds.
    pub keep_alive_s: u16,
    /// TLS version.
    pub tls: TlsVersion,
    /// Key agreement; `None` offers X25519MLKEM768, P-256, P-384.
    pub group: Option<Group>,
    /// The broker's process, to tell what it used.
    pub pid: Option<u32>,
    /// Load on other machines is meant.
    pub allow_remote: bool,
    /// Losing messages is not a failure, as under overload with QoS 0.
    pub loss_is_ok: bool,
}

impl Plan {
    /// A plan with defaults.
    #[must_use]
    pub fn new(scenario: Scenario, broker: &str, files: Files) -> Self {
        Self {
            scenario,
            broker: broker.into(),
            server_name: None,
            files,
            client_id: Pattern::ours("bench:{n}"),
            topic: Pattern::ours("bench/{pair}"),
            filter: None,
            publish_only: false,
            count: match scenario {
                Scenario::Connect | Scenario::Publish => 20,
                Scenario::Fanout => 500,
                Scenario::Idle | Scenario::Fanin => 1000,
            },
            version: Version::V5,
            qos: Qos::AtMostOnce,
            payload_bytes: 64,
            rate_per_s: None,
            window: None,
            concurrency: 20,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(2),
            drain: Duration::from_secs(30),
            threads: 1,
            keep_alive_s: 300,
            tls: TlsVersion::Tls13,
            group: None,
            pid: None,
            allow_remote: false,
            loss_is_ok: false,
        }
    }

    /// What is wrong with it, before anything is sent.
    ///
    /// # Errors
    /// [`BenchError::Usage`] names the value, its range, and what to do.
    pub fn check(&self) -> Result<(), BenchError> {
        within("--count", self.count, &CLIENTS)?;
        within("--threads", self.threads, &THREADS)?;
        within("--concurrency", self.concurrency, &CONCURRENCY)?;
        within("--size", self.payload_bytes as u64, &PAYLOAD_BYTES)?;
        within("--keep-alive", self.keep_alive_s, &KEEP_ALIVE_S)?;
        self.rate_per_s.map_or(Ok(()), |rate| within("--rate", rate, &RATE_PER_S))?;
        self.window.map_or(Ok(()), |window| within("--window", window, &WINDOW))?;
        for (option, time) in [("--duration", self.duration), ("--warm-up", self.warm_up), ("--drain", self.drain)] {
            within(option, time.as_secs(), &(0..=SECONDS_MAX))?;
        }
        if self.duration.is_zero() {
            return Err(BenchError::Usage("--duration 0 measures nothing".into()));
        }
        if self.publish_only && self.qos == Qos::AtMostOnce {
            return Err(BenchError::Usage(
                "--publish-only counts acknowledgements, and QoS 0 has none: --qos 1".into(),
            ));
        }
        if self.tls == TlsVersion::Tls12 && self.group == Some(Group::X25519MlKem768) {
            return Err(BenchError::Usage("--group x25519mlkem768 exists in TLS 1.3 only".into()));
        }
        self.check_patterns()
    }

    fn check_patterns(&self) -> Result<(), BenchError> {
        if self.client_id.fill(0, 0) == self.client_id.fill(1, 0) {
            let problem = "every client needs an identifier of its own";
            return Err(BenchError::Usage(format!("--client-id {}: {problem}: put {{n}} in it", self.client_id)));
        }
        if self.scenario == Scenario::Publish && self.topic.fill(0, 0) == self.topic.fill(0, 1) {
            let problem = "every pair needs a topic of its own";
            return Err(BenchError::Usage(format!("--topic {}: {problem}: put {{pair}} in it", self.topic)));
        }
        let bad = |error| BenchError::Usage(format!("--topic {}: {error}", self.topic));
        TopicName::new(&self.topic.fill(0, 0)).map_err(bad)?;
        TopicFilter::new(&self.topic.filter()).map_err(bad)?;
        let Some(filter) = &self.filter else { return Ok(()) };
        let bad = |error| BenchError::Usage(format!("--filter {filter}: {error}"));
        TopicFilter::new(&filter.fill(0, 0)).map(drop).map_err(bad)
    }

    /// Where the broker is, and whether that is another machine.
    ///
    /// # Errors
    /// [`BenchError::Usage`] for an unknown host, and for another machine where that is not allowed.
    pub(crate) fn address(&self) -> Result<(SocketAddr, bool), BenchError> {
        let unknown = |why: String| BenchError::Usage(format!("--broker {}: {why}; write HOST:PORT", self.broker));
        let mut addresses = self.broker.to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
        let address = addresses.next().ok_or_else(|| unknown("no address".into()))?;
        let is_remote = !address.ip().to_canonical().is_loopback();
        if is_remote && !self.allow_remote {
            return Err(BenchError::Usage(format!(
                "{address} is another machine, and load takes machines and networks down: only with the consent of \
                 whoever runs them, and then with --allow-remote"
            )));
        }
        Ok((address, is_remote))
    }

    /// The name that the broker's certificate has to carry.
    ///
    /// # Errors
    /// [`BenchError::Usage`] if it is no name.
    pub(crate) fn name(&self) -> Result<ServerName<'static>, BenchError> {
        let host = self.broker.rsplit_once(':').map_or(self.broker.as_str(), |(host, _)| host);
        let host = self.server_name.as_deref().unwrap_or_else(|| host.trim_matches(['[', ']']));
        ServerName::try_from(host.to_owned())
            .map_err(|error| BenchError::Usage(format!("--server-name {host}: {error}")))
    }
}

fn within(option: &str, value: impl Into<u64>, range: &RangeInclusive<u64>) -> Result<(), BenchError> {
    let value = value.into();
    if range.contains(&value) {
        return Ok(());
    }
    Err(BenchError::Usage(format!("{option} {value}: from {} to {}", range.start(), range.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let file = |name| Pattern::new(name).unwrap();
        Plan::new(Scenario::Publish, "127.0.0.1:8883", Files { ca: file("ca"), cert: file("cert"), key: file("key") })
    }

    fn refusal(change: impl FnOnce(&mut Plan)) -> String {
        let mut plan = plan();
        change(&mut plan);
        let error = plan.check().unwrap_err();
        assert_eq!(error.exit_status(), 2);
        error.to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        let plan = plan();
        assert!(plan.check().is_ok());
        assert_eq!((plan.client_id.fill(4, 2), plan.topic.fill(4, 2)), ("bench:4".into(), "bench/2".into()));
    }

    #[test]
    fn what_is_out_of_bounds_is_named_with_its_range() {
        assert_eq!(refusal(|plan| plan.count = 0), "--count 0: from 1 to 100000");
        assert_eq!(refusal(|plan| plan.payload_bytes = 23), "--size 23: from 24 to 1048576");
        assert_eq!(refusal(|plan| plan.duration = Duration::from_secs(14_401)), "--duration 14401: from 0 to 14400");
        assert_eq!(refusal(|plan| plan.duration = Duration::ZERO), "--duration 0 measures nothing");
        assert_eq!(refusal(|plan| plan.window = Some(65_535)), "--window 65535: from 1 to 65534");
        assert!(refusal(|plan| plan.publish_only = true).contains("--qos 1"));
        refusal(|plan| (plan.tls, plan.group) = (TlsVersion::Tls12, Some(Group::X25519MlKem768)));
    }

    #[test]
    fn clients_and_pairs_are_kept_apart() {
        assert!(refusal(|plan| plan.client_id = Pattern::new("same").unwrap()).contains("{n}"));
        assert!(refusal(|plan| plan.topic = Pattern::new("same").unwrap()).contains("{pair}"));
        assert!(refusal(|plan| plan.topic = Pattern::new("bench/#/{pair}").unwrap()).starts_with("--topic"));
        assert!(refusal(|plan| plan.filter = Some(Pattern::new("a/#/b").unwrap())).starts_with("--filter"));
    }

    #[test]
    fn other_machines_are_left_alone_unless_they_are_meant() {
        let at = |broker: &str, allow_remote| Plan { broker: broker.into(), allow_remote, ..plan() }.address();
        // TEST-NET-1 (RFC 5737): nothing is sent.
        assert_eq!(at("192.0.2.1:8883", false).unwrap_err().exit_status(), 2);
        assert!(at("192.0.2.1:8883", true).unwrap().1);
        assert!(!at("127.8.0.1:8883", false).unwrap().1);
        assert!(!at("[::1]:8883", false).unwrap().1);
        assert!(at("nowhere", false).is_err());
    }

    #[test]
    fn the_name_is_the_host_unless_told_otherwise() {
        let name = |broker: &str, server_name: Option<&str>| {
            Plan { broker: broker.into(), server_name: server_name.map(Into::into), ..plan() }.name().unwrap()
        };
        assert_eq!(name("localhost:1", None), ServerName::try_from("localhost").unwrap());
        assert_eq!(name("[::1]:1", None), ServerName::try_from("::1").unwrap());
        assert_eq!(name("127.0.0.1:1", Some("hub.example")), ServerName::try_from("hub.example").unwrap());
    }
}
