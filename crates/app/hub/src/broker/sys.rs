//! `$SYS`: the hub's own state as topics, for identities whose policy names them.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use portreeve_types::{Qos, TopicName, UnixMillis};

use super::{
    message::{Envelope, Message},
    turn::Turn,
};
use crate::{Hub, Now};

impl Hub {
    /// Publishes the hub's state below `$SYS/broker/`. The values stay in memory as retained messages and are not stored.
    pub(crate) fn publish_sys(&self, now: UnixMillis) {
        let uptime_s = now.since(self.started).as_secs();
        let gauges = [
            ("$SYS/broker/version", format!("portreeve {}", env!("CARGO_PKG_VERSION"))),
            ("$SYS/broker/uptime", format!("{uptime_s} seconds")),
            ("$SYS/broker/clients/connected", self.gauges.online.load(Relaxed).to_string()),
            ("$SYS/broker/clients/total", self.sessions.lock().by_id.len().to_string()),
            ("$SYS/broker/subscriptions/count", self.gauges.subscriptions.load(Relaxed).to_string()),
            ("$SYS/broker/retained messages/count", self.retained.read().len().to_string()),
            ("$SYS/broker/store/queue/bytes", self.gauges.queue_bytes().to_string()),
            ("$SYS/broker/messages/received", self.counters.messages_received.load(Relaxed).to_string()),
            ("$SYS/broker/messages/sent", self.counters.messages_sent.load(Relaxed).to_string()),
            ("$SYS/broker/bytes/received", self.counters.bytes_received.load(Relaxed).to_string()),
            ("$SYS/broker/bytes/sent", self.counters.bytes_sent.load(Relaxed).to_string()),
        ];
        for (topic, value) in gauges {
            let Ok(topic) = TopicName::new(topic) else { continue };
            self.publish_state(topic, &value, now);
        }
    }

    fn publish_state(&self, topic: TopicName, value: &str, now: UnixMillis) {
        let (qos, retain) = (Qos::AtMostOnce, false);
        let envelope = Envelope { topic, publisher: None, qos, retain, expires: None, received: now };
        let message = Message::new(envelope, &[], value.as_bytes());
        let replaced = self.retained.write().set(Arc::clone(&message));
        drop(replaced);
        self.publish_detached(&message, None, now, Vec::new());
    }

    /// Publishes an alert below `$SYS/portreeve/`: a queue of every session that policy lets read it takes it.
    ///
    /// # Errors
    /// Nobody subscribes, or a receiver has no room.
    pub(crate) fn publish_alert(&self, topic: &TopicName, text: &[u8], now: UnixMillis) -> Result<(), &'static str> {
        let qos = Qos::AtLeastOnce;
        let envelope =
            Envelope { topic: topic.clone(), publisher: None, qos, retain: false, expires: None, received: now };
        let message = Message::new(envelope, &[], text);
        let route = self.route(topic, None, now);
        if route.is_empty() {
            return Err("nobody subscribes to its topic");
        }
        let config = self.config();
        let mut turn = Turn::new(self, &config, Now { wall: now, mono_ms: 0 });
        let published = self.publish(&mut turn, &message, &route);
        turn.finish(self);
        if published.refused { Err("the queue of a receiver has no room") } else { Ok(()) }
    }
}
