//! `portreeve client`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Subcommand};

use super::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Publish messages
    #[command(
        after_help = "Examples:\n  portreeve client pub --bundle lamp-1 -t devices/lamp-1/telemetry/temp -m 21.5\n  sensor | portreeve client pub --bundle lamp-1 -t devices/lamp-1/telemetry/temp --stdin"
    )]
    Pub(Publish),
    /// Subscribe and print what arrives
    #[command(
        after_help = "Examples:\n  portreeve client sub --bundle lamp-1 -t 'devices/lamp-1/commands/#'\n  portreeve client sub --bundle app -t 'devices/+/telemetry/#' -C 10 --timeout 1m --output json"
    )]
    Sub(Subscribe),
}

/// How the client reaches the hub.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Directory with ca.pem, cert.pem and key.pem, as `device add --out` writes it
    #[arg(long, value_name = "DIR")]
    pub(crate) bundle: PathBuf,
    /// Host of the hub, as its certificate names it
    #[arg(long, default_value = "localhost")]
    pub(crate) host: String,
    /// Port of the hub
    #[arg(long, default_value_t = 8883)]
    pub(crate) port: u16,
    /// MQTT client identifier; the hub assigns one if it is empty
    #[arg(long, default_value = "", value_name = "ID")]
    pub(crate) client_id: String,
    /// Speak MQTT 3.1.1 instead of 5.0
    #[arg(long)]
    pub(crate) v311: bool,
    /// Keep the session, with its subscriptions and queue, this long after the end; needs --client-id
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "client_id")]
    pub(crate) keep_session: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Topic
    #[arg(short, long)]
    pub(crate) topic: String,
    /// Quality of service; above 0 the hub says whether it took the message
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    #[command(flatten)]
    pub(crate) payload: Payload,
    /// Have the hub keep the message for later subscribers
    #[arg(long)]
    pub(crate) retain: bool,
    /// How long the message is worth delivering
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "v311")]
    pub(crate) expiry: Option<Duration>,
}

/// Exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Payload {
    /// The message
    #[arg(short, long, allow_hyphen_values = true)]
    pub(crate) message: Option<String>,
    /// A file whose content is the message
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Each line of standard input is a message
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Subscribe {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Topic filter; may be repeated
    #[arg(short, long = "topic", required = true)]
    pub(crate) topics: Vec<String>,
    /// Highest quality of service wanted
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    /// End after this many messages
    #[arg(short = 'C', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after this long; with --count, status 1 if fewer messages came
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Stay: whenever the connection is lost or the hub is busy, connect again, when the hub says or after growing pauses.
    /// With --keep-session what came meanwhile is not lost
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// One JSON object a message, with everything that came with it
    #[arg(short, long)]
    pub(crate) verbose: bool,
}
