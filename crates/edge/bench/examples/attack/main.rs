//! Attacks on an MQTT/TLS hub of one's own, to see what its well-behaved clients notice of them.
//!
//! `bench/attack` runs this beside well-behaved clients; the attacks are listed by `--help`. One thread drives all
//! connections with epoll, and what costs the attacker anything is made once and repeated, as a real one would do it:
//! a handshake flood replays one recorded ClientHello.
//!
//! *Invariants*
//! - Nothing but loopback is attacked; there is no switch for anything else.
//! - Connections, rate and time are bounded by the command line, and every connection ends with the process.

mod actors;
mod engine;
mod hello;
mod tally;

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use portreeve_bench::BenchError;

/// Attack a hub on this machine, and say what the attackers got
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// What to do
    #[arg(value_enum)]
    pub(crate) attack: Attack,
    /// The hub; loopback only
    #[arg(long, default_value = "localhost:8883", value_name = "HOST:PORT")]
    pub(crate) broker: String,
    /// Directories with ca.pem, cert.pem and key.pem; {n} is the number of the identity
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) bundle: String,
    /// Names of the identities; {n} is their number
    #[arg(long, default_value = "attacker-{n}", value_name = "NAME")]
    pub(crate) name: String,
    /// How many there are; connections take them in turn
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) identities: u32,
    /// What an identity's topics begin with; {name} is its name
    #[arg(long, default_value = "devices/{name}", value_name = "PREFIX")]
    pub(crate) topics: String,
    /// Connections at the same time
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) connections: u32,
    /// The first of them send what the others receive
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) feeders: u32,
    /// Connections begun per second
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) rate: u64,
    /// Begin anew whatever connection ends
    #[arg(long)]
    pub(crate) again: bool,
    /// The first address to attack from
    #[arg(long, default_value = "127.0.2.1", value_name = "ADDRESS")]
    pub(crate) source: Ipv4Addr,
    /// How many addresses from there on
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) sources: u32,
    /// How long, seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=120), value_name = "SECONDS")]
    pub(crate) duration_s: u64,
    /// Packets, or bytes of a slow packet, per connection and second; 0 for as many as the hub takes
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) pace: u64,
    /// Payload bytes
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) size: usize,
    /// Filters, topics or retained messages
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) amount: u32,
    /// What a herd waits for
    #[arg(long, value_name = "FILE", required_if_eq("attack", "herd"))]
    pub(crate) after: Option<PathBuf>,
    /// Quality of service
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) qos: u8,
}

/// What an attacker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// No attack: well-behaved clients that connect, subscribe, publish a retained message, get it, and leave
    Probe,
    /// TCP and not a byte
    Silent,
    /// A ClientHello, and no more
    Hello,
    /// Half a ClientHello, and no more
    HalfHello,
    /// A ClientHello, hang up at the answer, again
    Handshakes,
    /// A whole handshake without a certificate
    Anonymous,
    /// Random bytes instead of TLS
    Noise,
    /// A TLS record that claims to be as large as they get, and never ends
    HugeRecord,
    /// A request for a web page
    Http,
    /// TLS, then bytes that are no MQTT
    BadMqtt,
    /// TLS, and no CONNECT
    Mute,
    /// Publish as fast as allowed and faster
    Flood,
    /// The same, each message on a topic never seen before
    FreshTopics,
    /// The same, without regard to the Receive Maximum
    Overrun,
    /// Subscribe to many filters
    Subscribe,
    /// Subscribe and unsubscribe, over and over
    Churn,
    /// The largest packet, byte by byte
    SlowPacket,
    /// Feeders publish to subscribers that never read
    SlowConsumer,
    /// Connect, drop the connection, again
    Reconnect,
    /// Two connections that take one session from each other, over and over
    Takeover,
    /// Feeders leave retained messages, the others ask for all of them, over and over
    Retained,
    /// The same, but with filters that match none of them
    Scan,
    /// Come back from another address to a session with many subscriptions
    Hop,
    /// Feeders publish what one session each gets by as many overlapping filters
    Amplify,
    /// Never acknowledge, and ping
    Pile,
    /// Die with a will that many receive, again
    Wills,
    /// Everybody connects, the hub restarts, everybody comes back at once, as soon as the file of --after is there
    Herd,
}

impl Options {
    pub(crate) fn identity_name(&self, number: u32) -> String {
        self.name.replace("{n}", &number.to_string())
    }

    pub(crate) fn topic_prefix(&self, number: u32) -> String {
        self.topics.replace("{name}", &self.identity_name(number))
    }

    /// The hub's address, if it is this machine's own.
    fn target(&self) -> Result<SocketAddr, BenchError> {
        let usage = |why: String| BenchError::Usage(format!("{}: {why}", self.broker));
        let mut found = self.broker.to_socket_addrs().map_err(|error| usage(error.to_string()))?;
        let address = found.find(SocketAddr::is_ipv4).ok_or_else(|| usage("no IPv4 address".into()))?;
        if !address.ip().is_loopback() || !IpAddr::V4(self.source).is_loopback() {
            return Err(usage("only a hub on this machine, from this machine's loopback addresses".into()));
        }
        Ok(address)
    }

    /// The name in the hub's certificate.
    pub(crate) fn host(&self) -> &str {
        self.broker.rsplit_once(':').map_or(&self.broker, |(host, _)| host)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.target().and_then(|target| engine::Engine::new(&options, target)?.run()) {
        Ok(report) => {
            let written = writeln!(std::io::stdout(), "{report}");
            ExitCode::from(u8::from(written.is_err()))
        }
        Err(error) => {
            // Nothing useful can be done about a closed standard error.
            let _ = writeln!(std::io::stderr(), "attack: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
