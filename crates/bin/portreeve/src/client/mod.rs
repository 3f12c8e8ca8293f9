//! `portreeve client`: a small MQTT client, so that a newcomer needs nothing else.

mod link;
mod persist;
mod protocol;
mod subscriber;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    thread,
    time::Duration,
};

use portreeve_mqtt::{PublishHeader, Reason, Version};
use portreeve_types::{Qos, TopicName};
use tokio::sync::mpsc;

use crate::{
    cli::{ClientCommand, Connection, Global, Output, Payload, Publish},
    failure::Failure,
    output::say,
};
use link::Link;
use persist::{Ending, may_pass};
use protocol::{Event, Message};

/// Lines read ahead of what the hub takes.
const LINES_AHEAD: usize = 64;
/// Bytes on their way to the socket before the next message is taken.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

pub(crate) fn run(global: &Global, command: ClientCommand) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Unreachable(format!("cannot start: {error}")))?;
    let result = match command {
        ClientCommand::Pub(publish) => runtime.block_on(self::publish(&publish)),
        ClientCommand::Sub(subscribe) => {
            let json = subscribe.verbose || global.output == Output::Json;
            runtime.block_on(subscriber::run(&subscribe, json))
        }
    };
    // A thread may still wait for standard input.
    runtime.shutdown_background();
    result
}

impl Connection {
    fn version(&self) -> Version {
        if self.v311 { Version::V311 } else { Version::V5 }
    }
}

async fn publish(args: &Publish) -> Result<(), Failure> {
    let topic = TopicName::new(&args.topic).map_err(|error| Failure::Usage(format!("`{}`: {error}", args.topic)))?;
    let mut payloads = payloads(&args.payload)?;
    let mut link = Link::open(&args.connection, BTreeSet::new()).await?;
    let header = PublishHeader {
        qos: qos(args.qos),
        retain: args.retain,
        topic: topic.as_str(),
        expiry_s: args.expiry.map(seconds),
        ..PublishHeader::default()
    };
    let mut refused = None;
    let mut more = true;
    while more || link.protocol.unanswered() > 0 {
        let room = link.protocol.has_room() && link.protocol.output.len() < OUTPUT_BYTES_MAX;
        tokio::select! {
            payload = payloads.recv(), if more && room => match payload {
                Some(Ok(payload)) => link.protocol.publish(&header, &payload).map_err(|error| Failure::Usage(error.to_string()))?,
                Some(Err(error)) => return Err(Failure::Usage(format!("cannot read standard input: {error}"))),
                None => more = false,
            },
            event = link.next() => match event? {
                Event::Published(reason) if reason.is_error() => refused = Some(reason),
                Event::Disconnected(reason, why) => return Err(ended(reason, why).into()),
                _ => {}
            },
        }
    }
    link.close().await?;
    match refused {
        Some(reason) => Err(Failure::Refused(format!("the hub refused the message on {topic}: {}", explained(reason)))),
        None => Ok(()),
    }
}

/// The messages, as they become available.
fn payloads(args: &Payload) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, Failure> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    if args.stdin {
        // Not a task: nothing can interrupt a read of standard input.
        thread::spawn(move || {
            for line in io::stdin().lock().split(b'\n') {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        return Ok(receiver);
    }
    let payload = match (&args.file, &args.message) {
        (Some(file), _) => {
            fs::read(file).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))?
        }
        (None, message) => message.clone().unwrap_or_default().into_bytes(),
    };
    // The channel is empty, so it takes one.
    let _ = sender.try_send(Ok(payload));
    Ok(receiver)
}

/// The hub said DISCONNECT.
fn ended(reason: Reason, why: Option<String>) -> Ending {
    let why = why.map(|why| format!(": {}", harmless(&why))).unwrap_or_default();
    let failure = Failure::Refused(format!("the hub ended the connection: {}{why}", explained(reason)));
    if may_pass(reason) { Ending::ForNow(failure, None) } else { Ending::ForGood(failure) }
}

/// Name and number of a reason, and what to do where that is known.
fn explained(reason: Reason) -> String {
    let advice = match reason {
        Reason::NOT_AUTHORIZED => "; `portreeve policy explain NAME publish|subscribe TOPIC` tells why",
        Reason::CLIENT_IDENTIFIER_NOT_VALID => "; a device's client id is its name or begins with NAME:",
        Reason::QUOTA_EXCEEDED => "; `portreeve status` shows the limits",
        _ => "",
    };
    format!("{reason}{advice}")
}

fn print(message: &Message, json: bool) -> Result<(), Failure> {
    if json {
        return say(&message.json.to_string());
    }
    let mut out = io::stdout().lock();
    let written = if out.is_terminal() {
        // What a device sends shall not command the operator's terminal.
        writeln!(out, "{} {}", message.topic, harmless(&String::from_utf8_lossy(&message.payload)))
    } else {
        out.write_all(message.topic.as_bytes())
            .and_then(|()| out.write_all(b" "))
            .and_then(|()| out.write_all(&message.payload))
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
    };
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::Refused(format!("cannot write to standard output: {error}")),
    })
}

/// Control characters, but for line ends and tabs, as `\u{…}`.
fn harmless(text: &str) -> String {
    let escape = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().map(|c| if escape(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

fn qos(number: u8) -> Qos {
    Qos::from_bits(number).unwrap_or_default()
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_does_not_command_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\tc\n"), "a\\u{1b}[2Jb\tc\n");
    }
}
