//! `portreeve client sub`.

use std::{collections::BTreeSet, time::Duration};

use portreeve_mqtt::Reason;
use portreeve_types::TopicFilter;
use tokio::time::{Instant, sleep};

use super::{
    ended, explained,
    link::Link,
    persist::{Attempts, Ending},
    print,
    protocol::Event,
    qos,
};
use crate::{cli::Subscribe, failure::Failure, jitter::random, output::remark};

/// Prints messages until there were enough, time is over, or somebody interrupts it.
pub(super) async fn run(args: &Subscribe, json: bool) -> Result<(), Failure> {
    for topic in &args.topics {
        TopicFilter::new(topic).map_err(|error| Failure::Usage(format!("`{topic}`: {error}")))?;
    }
    let mut subscriber =
        Subscriber { args, json, left: args.count, link: None, granted: false, taken: BTreeSet::new() };
    tokio::select! {
        biased;
        done = subscriber.listen() => done?,
        () = sleep(args.timeout.unwrap_or(Duration::from_secs(u64::from(u32::MAX)))) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    if let Some(link) = subscriber.link {
        link.close().await?;
    }
    match (subscriber.left, args.count) {
        (Some(left @ 1..), Some(count)) => {
            Err(Failure::CheckFailed(format!("{} of {count} messages arrived in time", count - left)))
        }
        _ => Ok(()),
    }
}

struct Subscriber<'a> {
    args: &'a Subscribe,
    json: bool,
    /// Messages that are still wanted.
    left: Option<u64>,
    link: Option<Link>,
    /// Whether the hub has granted the subscriptions of this session.
    granted: bool,
    /// See [`Options::taken`](super::protocol::Options::taken).
    taken: BTreeSet<u16>,
}

impl Subscriber<'_> {
    /// Until there were enough messages; with `--reconnect` over as many connections as that takes.
    async fn listen(&mut self) -> Result<(), Failure> {
        let mut attempts = Attempts::default();
        loop {
            let began = Instant::now();
            let ending = match self.listen_once().await {
                Ok(()) => return Ok(()),
                Err(ending) => ending,
            };
            let (failure, told) = match ending {
                Ending::ForNow(failure, told) if self.args.reconnect => (failure, told),
                ending => return Err(ending.into()),
            };
            // What is broken needs no goodbye; the session may go on.
            if let Some(link) = self.link.take() {
                self.taken = link.protocol.taken;
            }
            failure.report();
            let pause = attempts.pause(began.elapsed(), told, random());
            remark(&format!("Connecting again in {:.1} s.", pause.as_secs_f64()));
            sleep(pause).await;
        }
    }

    async fn listen_once(&mut self) -> Result<(), Ending> {
        let link = self.link.insert(Link::open(&self.args.connection, self.taken.clone()).await?);
        if !(link.present && self.granted) {
            self.granted = false;
            let subscribed = link.protocol.subscribe(&self.args.topics, qos(self.args.qos));
            subscribed.map_err(|error| Failure::Usage(error.to_string()))?;
        }
        while self.left != Some(0) {
            match link.next().await? {
                Event::Message(message) => {
                    print(&message, self.json)?;
                    self.left = self.left.map(|left| left - 1);
                }
                Event::Subscribed(reasons) => {
                    granted(&self.args.topics, &reasons)?;
                    self.granted = true;
                }
                Event::Disconnected(reason, why) => return Err(ended(reason, why)),
                Event::Connected(_) | Event::Published(_) => {}
            }
        }
        Ok(())
    }
}

fn granted(filters: &[String], reasons: &[Reason]) -> Result<(), Failure> {
    let refused: Vec<String> = filters
        .iter()
        .zip(reasons)
        .filter(|(_, reason)| reason.is_error())
        .map(|(filter, reason)| format!("the hub refused the subscription to {filter}: {}", explained(*reason)))
        .collect();
    if refused.is_empty() { Ok(()) } else { Err(Failure::Refused(refused.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_name_number_and_advice() {
        let error = granted(&["a".into(), "b/#".into()], &[Reason::GRANTED_QOS_1, Reason::NOT_AUTHORIZED]).unwrap_err();
        let Failure::Refused(text) = error else { panic!("not refused") };
        assert!(text.contains("b/#: not authorized (0x87); `portreeve policy explain"), "{text}");
        assert!(!text.contains("to a:"), "{text}");
    }
}
