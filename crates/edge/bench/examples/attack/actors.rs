//! What an attacker with a valid certificate says once it is connected. No I/O: packets in, bytes out.

use portreeve_mqtt::{
    Ack, ConnAck, Packet, PublishHeader, RetainHandling, Subscribe, SubscriptionOptions, SubscriptionRequest,
    Unsubscribe, Version, encode,
};
use portreeve_types::Qos;

use crate::{Attack, Options, tally::Tally};

/// Bytes that an actor says in one turn.
const TURN_BYTES: usize = 32 * 1024;
/// Filters in one packet, below the hub's bound.
const FILTERS_PER_PACKET: u32 = 200;
/// Levels below the prefix of a topic with many overlapping filters: 2^10 − 1 filters with a wildcard match it.
const DEEP_LEVELS: u32 = 10;
/// The hub's largest packet, and the fixed header that announces one.
const PACKET_BYTES: usize = 262_144;

/// How to CONNECT.
pub(crate) struct Wish {
    pub(crate) client_id: String,
    /// Keep the session for an hour, and take it up again.
    pub(crate) keep: bool,
    /// Topic and payload bytes.
    pub(crate) will: Option<(String, usize)>,
}

/// What an actor wants after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A packet, or time.
    Wait,
    /// Another turn at once.
    Again,
    /// To drop the connection, without a word.
    Drop,
    /// To say DISCONNECT and leave.
    Leave,
}

/// One attacker.
pub(crate) trait Actor {
    fn wish(&self) -> Wish;
    /// CONNACK came.
    fn admitted(&mut self, _connack: &ConnAck<'_>, _now_ns: u64) {}
    fn heard(&mut self, _packet: &Packet<'_>, _out: &mut Vec<u8>) {}
    /// Called whenever the socket takes more.
    fn turn(&mut self, _now_ns: u64, _out: &mut Vec<u8>, _tally: &mut Tally) -> Next {
        Next::Wait
    }
    /// Whether it has done all that it was to do.
    fn is_finished(&self) -> bool {
        false
    }
    /// Whether it reads its socket.
    fn reads(&self) -> bool {
        true
    }
}

/// The actor of connection number `index`.
pub(crate) fn actor(options: &Options, index: u32) -> Box<dyn Actor> {
    let seat = Seat::new(options, index);
    let feeds = index < options.feeders;
    let prefix = seat.prefix.clone();
    let pace = Pace { per_s: options.pace, ..Pace::default() };
    let flood = |topic: Topic| Flood {
        seat: seat.clone(),
        topic,
        qos: if options.qos == 1 { Qos::AtLeastOnce } else { Qos::AtMostOnce },
        payload: vec![b'.'; options.size],
        pace,
        window: 0,
        in_flight: 0,
        sent: 0,
        respects_window: true,
    };
    let filters = |then: Then, filter: Filter| Filters {
        seat: seat.clone(),
        filter,
        amount: options.amount,
        then,
        pace,
        done: 0,
        waits: false,
        subscribing: true,
        deaf: false,
    };
    match options.attack {
        Attack::Probe => Box::new(Honest { step: 0, topic: format!("bench/probe/{}", index % 8), seat }),
        Attack::Flood => Box::new(flood(Topic::One(format!("{prefix}/flood")))),
        Attack::FreshTopics => Box::new(flood(Topic::Fresh(format!("{prefix}/fresh/{index}")))),
        Attack::Overrun => Box::new(Flood {
            qos: Qos::AtLeastOnce,
            respects_window: false,
            ..flood(Topic::One(format!("{prefix}/flood")))
        }),
        Attack::Subscribe => Box::new(filters(Then::Rest, Filter::Numbered(format!("{prefix}/s/{index}")))),
        Attack::Churn => Box::new(filters(Then::Undo, Filter::Numbered(format!("{prefix}/c/{index}")))),
        Attack::SlowPacket => {
            Box::new(SlowPacket { seat, head: options.size, pace, sent: 0, topic: format!("{prefix}/slow") })
        }
        Attack::SlowConsumer if feeds => {
            // Small ones fill what the large ones leave of the bound on all queues.
            let payload = vec![b'.'; if index.is_multiple_of(2) { options.size } else { 1 }];
            Box::new(Flood { payload, ..flood(Topic::One(format!("{prefix}/big"))) })
        }
        Attack::SlowConsumer => {
            Box::new(Filters { amount: 1, deaf: true, ..filters(Then::Rest, Filter::One(format!("{prefix}/big"))) })
        }
        Attack::Retained | Attack::Scan if feeds => {
            let each = options.amount.div_ceil(options.feeders);
            let topic = Topic::Retained(format!("{prefix}/r/{index}"), each);
            Box::new(Flood { qos: Qos::AtLeastOnce, ..flood(topic) })
        }
        Attack::Retained => {
            Box::new(Filters { amount: 1, ..filters(Then::Repeat, Filter::One(format!("{prefix}/r/#"))) })
        }
        Attack::Scan => {
            Box::new(Filters { amount: 200, ..filters(Then::Repeat, Filter::Nothing(format!("{prefix}/r/+"))) })
        }
        Attack::Hop => Box::new(filters(Then::Drop, Filter::Numbered(format!("{prefix}/h/{index}")))),
        Attack::Amplify if feeds => Box::new(flood(Topic::One(deep(&prefix, 0)))),
        Attack::Amplify => Box::new(Filters { deaf: true, ..filters(Then::Rest, Filter::Deep(prefix)) }),
        Attack::Wills if feeds => {
            Box::new(Visitor { will: Some((deep(&prefix, 0), options.size)), stays: false, seat })
        }
        Attack::Wills => Box::new(Filters { deaf: true, ..filters(Then::Rest, Filter::Deep(prefix)) }),
        Attack::Pile => Box::new(Pile {
            feed: Flood {
                qos: Qos::AtLeastOnce,
                pace: Pace::default(),
                ..flood(Topic::Retained(format!("{prefix}/p/{index}"), options.amount))
            },
            filter: format!("{prefix}/p/{index}/#"),
            step: 0,
            pace,
        }),
        Attack::Takeover => {
            Box::new(Visitor { will: None, stays: true, seat: Seat { client_id: seat.shared_id(index / 2), ..seat } })
        }
        Attack::Reconnect => Box::new(Visitor { will: None, stays: false, seat }),
        // The others never come as far as a session, or do nothing in it.
        _ => Box::new(Visitor { will: None, stays: true, seat: Seat { keep: options.attack == Attack::Herd, ..seat } }),
    }
}

/// Who sits on a connection.
#[derive(Clone, Debug)]
struct Seat {
    name: String,
    client_id: String,
    prefix: String,
    keep: bool,
}

impl Seat {
    fn new(options: &Options, index: u32) -> Self {
        let identity = index % options.identities.max(1);
        let name = options.identity_name(identity);
        let keep = options.attack == Attack::Hop;
        Self { client_id: format!("{name}:{index}"), prefix: options.topic_prefix(identity), name, keep }
    }

    fn shared_id(&self, number: u32) -> String {
        format!("{}:shared-{number}", self.name)
    }

    fn wish(&self) -> Wish {
        Wish { client_id: self.client_id.clone(), keep: self.keep, will: None }
    }
}

/// So many things a second.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// 0 is no bound.
    per_s: u64,
    start_ns: u64,
    done: u64,
}

impl Pace {
    fn begin(&mut self, now_ns: u64) {
        (self.start_ns, self.done) = (now_ns, 0);
    }

    fn take(&mut self, now_ns: u64) -> bool {
        let due = u128::from(now_ns.saturating_sub(self.start_ns)) * u128::from(self.per_s) / 1_000_000_000;
        let allowed = self.per_s == 0 || u128::from(self.done) < due;
        self.done += u64::from(allowed);
        allowed
    }
}

/// The topic with ten levels below `prefix`, with `+` for the levels whose bit is set.
fn deep(prefix: &str, bits: u32) -> String {
    let level = |at: u32| if bits & 1 << at == 0 { format!("/{at}") } else { "/+".into() };
    prefix.to_owned() + &(0..DEEP_LEVELS).map(level).collect::<String>()
}

enum Topic {
    One(String),
    /// A new one each time.
    Fresh(String),
    /// So many new ones, retained.
    Retained(String, u32),
}

/// Publishes.
struct Flood {
    seat: Seat,
    topic: Topic,
    qos: Qos,
    payload: Vec<u8>,
    pace: Pace,
    window: u16,
    in_flight: u16,
    sent: u64,
    respects_window: bool,
}

impl Flood {
    fn is_done(&self) -> bool {
        matches!(self.topic, Topic::Retained(_, amount) if self.sent >= u64::from(amount))
    }

    fn has_room(&self) -> bool {
        self.qos == Qos::AtMostOnce || !self.respects_window || self.in_flight < self.window
    }

    fn publish(&mut self, out: &mut Vec<u8>) {
        let fresh;
        let (topic, retain) = match &self.topic {
            Topic::One(topic) => (topic, false),
            Topic::Fresh(prefix) | Topic::Retained(prefix, _) => {
                fresh = format!("{prefix}/{}", self.sent);
                (&fresh, matches!(self.topic, Topic::Retained(..)))
            }
        };
        let packet_id = u16::try_from(self.sent % 65_000 + 1).unwrap_or(1);
        let header = PublishHeader { qos: self.qos, retain, packet_id, topic, ..PublishHeader::default() };
        encode::publish(out, Version::V5, &header, &self.payload);
        self.sent += 1;
        self.in_flight = self.in_flight.saturating_add(1);
    }
}

impl Actor for Flood {
    fn wish(&self) -> Wish {
        self.seat.wish()
    }

    fn is_finished(&self) -> bool {
        self.is_done() && self.in_flight == 0
    }

    fn admitted(&mut self, connack: &ConnAck<'_>, now_ns: u64) {
        self.window = connack.receive_maximum.unwrap_or(u16::MAX);
        self.in_flight = 0;
        self.pace.begin(now_ns);
    }

    fn heard(&mut self, packet: &Packet<'_>, _out: &mut Vec<u8>) {
        if let Packet::PubAck(_) = packet {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }

    fn turn(&mut self, now_ns: u64, out: &mut Vec<u8>, tally: &mut Tally) -> Next {
        while out.len() < TURN_BYTES {
            if self.is_done() || !self.has_room() || !self.pace.take(now_ns) {
                return Next::Wait;
            }
            self.publish(out);
            tally.packets_sent += 1;
        }
        Next::Again
    }
}

enum Filter {
    One(String),
    Numbered(String),
    /// Wildcards that match no topic, so that all have to be looked at.
    Nothing(String),
    Deep(String),
}

impl Filter {
    fn number(&self, number: u32) -> String {
        match self {
            Self::One(filter) => filter.clone(),
            Self::Numbered(prefix) | Self::Nothing(prefix) => format!("{prefix}/{number}"),
            // From one: the filter without a wildcard would join all the copies in one.
            Self::Deep(prefix) => deep(prefix, number % 1023 + 1),
        }
    }
}

/// What to do once everything is subscribed to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Rest,
    /// Unsubscribe, and again.
    Undo,
    /// Subscribe again, which asks for the retained messages again.
    Repeat,
    Drop,
}

/// Subscribes.
struct Filters {
    seat: Seat,
    filter: Filter,
    amount: u32,
    then: Then,
    pace: Pace,
    done: u32,
    /// For an answer.
    waits: bool,
    subscribing: bool,
    /// Reads nothing, once it has subscribed.
    deaf: bool,
}

impl Filters {
    fn next_packet(&mut self, out: &mut Vec<u8>) {
        let until = (self.done + FILTERS_PER_PACKET).min(self.amount);
        let filters: Vec<String> = (self.done..until).map(|number| self.filter.number(number)).collect();
        let options = SubscriptionOptions { retain_handling: RetainHandling::Send, ..SubscriptionOptions::default() };
        let written = if self.subscribing {
            let requests = filters.iter().map(|filter| SubscriptionRequest { filter, options }).collect();
            encode::subscribe(out, Version::V5, &Subscribe { packet_id: 1, subscription_id: None, requests })
        } else {
            let filters = filters.iter().map(String::as_str).collect();
            encode::unsubscribe(out, Version::V5, &Unsubscribe { packet_id: 1, filters })
        };
        self.waits = written.is_ok();
        self.done = until;
    }
}

impl Actor for Filters {
    fn wish(&self) -> Wish {
        self.seat.wish()
    }

    fn admitted(&mut self, connack: &ConnAck<'_>, now_ns: u64) {
        self.waits = false;
        self.subscribing = true;
        // Whoever finds its session has its subscriptions.
        self.done = if connack.session_present { self.amount } else { 0 };
        self.pace.begin(now_ns);
    }

    fn heard(&mut self, packet: &Packet<'_>, _out: &mut Vec<u8>) {
        if let Packet::SubAck(_) | Packet::UnsubAck(_) = packet {
            self.waits = false;
        }
    }

    fn turn(&mut self, now_ns: u64, out: &mut Vec<u8>, tally: &mut Tally) -> Next {
        if self.waits {
            return Next::Wait;
        }
        if self.done == self.amount {
            match self.then {
                Then::Rest => return Next::Wait,
                Then::Drop => return Next::Drop,
                Then::Undo => self.subscribing = !self.subscribing,
                Then::Repeat => {}
            }
            self.done = 0;
        }
        if self.pace.take(now_ns) {
            self.next_packet(out);
            tally.packets_sent += 1;
        }
        Next::Wait
    }

    fn reads(&self) -> bool {
        !self.deaf || self.waits || self.done < self.amount
    }
}

/// Comes, and either stays or drops the connection.
struct Visitor {
    seat: Seat,
    will: Option<(String, usize)>,
    stays: bool,
}

impl Actor for Visitor {
    fn wish(&self) -> Wish {
        Wish { will: self.will.clone(), ..self.seat.wish() }
    }

    fn turn(&mut self, _now_ns: u64, _out: &mut Vec<u8>, _tally: &mut Tally) -> Next {
        if self.stays { Next::Wait } else { Next::Drop }
    }
}

/// Sends the start of a packet of the largest size at once, and the rest byte by byte.
struct SlowPacket {
    seat: Seat,
    topic: String,
    /// Bytes sent at once.
    head: usize,
    pace: Pace,
    sent: usize,
}

impl Actor for SlowPacket {
    fn wish(&self) -> Wish {
        self.seat.wish()
    }

    fn admitted(&mut self, _connack: &ConnAck<'_>, now_ns: u64) {
        self.sent = 0;
        self.pace.begin(now_ns);
    }

    fn turn(&mut self, now_ns: u64, out: &mut Vec<u8>, tally: &mut Tally) -> Next {
        if self.sent == 0 {
            let payload = vec![b'.'; PACKET_BYTES - self.topic.len() - 8];
            let header = PublishHeader { topic: &self.topic, ..PublishHeader::default() };
            encode::publish(out, Version::V5, &header, &payload);
            out.truncate(self.head.clamp(8, PACKET_BYTES - 8));
            self.sent = out.len();
            tally.packets_sent += 1;
        } else if self.sent < PACKET_BYTES - 16 && self.pace.take(now_ns) {
            out.push(b'.');
            self.sent += 1;
        }
        Next::Wait
    }
}

/// Leaves retained messages, asks for them, acknowledges none, and pings: each ping has the hub look at a delivery
/// that cannot go on.
struct Pile {
    feed: Flood,
    filter: String,
    step: u8,
    pace: Pace,
}

impl Actor for Pile {
    fn wish(&self) -> Wish {
        self.feed.wish()
    }

    fn admitted(&mut self, connack: &ConnAck<'_>, now_ns: u64) {
        self.feed.admitted(connack, now_ns);
        self.step = 0;
        self.pace.begin(now_ns);
    }

    fn heard(&mut self, packet: &Packet<'_>, out: &mut Vec<u8>) {
        self.feed.heard(packet, out);
        if let Packet::SubAck(_) = packet {
            self.step = 2;
        }
    }

    fn turn(&mut self, now_ns: u64, out: &mut Vec<u8>, tally: &mut Tally) -> Next {
        match self.step {
            0 if self.feed.is_done() && self.feed.in_flight == 0 => {
                let options = SubscriptionOptions { qos: Qos::AtLeastOnce, ..SubscriptionOptions::default() };
                let requests = vec![SubscriptionRequest { filter: &self.filter, options }];
                let subscribe = Subscribe { packet_id: 1, subscription_id: None, requests };
                self.step = u8::from(encode::subscribe(out, Version::V5, &subscribe).is_ok());
                Next::Wait
            }
            0 => self.feed.turn(now_ns, out, tally),
            2 if self.pace.take(now_ns) => {
                // One at a time: each is a record, a wake-up and a look at the session.
                encode::pingreq(out);
                tally.packets_sent += 1;
                Next::Again
            }
            _ => Next::Wait,
        }
    }
}

/// Does what clients do: subscribe, publish a retained message, get it, leave.
struct Honest {
    seat: Seat,
    topic: String,
    /// What was done: 1 SUBSCRIBE sent, 2 PUBLISH sent, 3 acknowledged, 4 that and delivered.
    step: u8,
}

impl Actor for Honest {
    fn wish(&self) -> Wish {
        self.seat.wish()
    }

    fn admitted(&mut self, _connack: &ConnAck<'_>, _now_ns: u64) {
        self.step = 0;
    }

    fn heard(&mut self, packet: &Packet<'_>, out: &mut Vec<u8>) {
        match packet {
            Packet::SubAck(_) => {
                let header = PublishHeader {
                    qos: Qos::AtLeastOnce,
                    retain: true,
                    packet_id: 1,
                    topic: &self.topic,
                    ..PublishHeader::default()
                };
                encode::publish(out, Version::V5, &header, self.seat.client_id.as_bytes());
                self.step = 2;
            }
            Packet::PubAck(Ack { .. }) => self.step += 1,
            Packet::Publish(publish) if publish.payload == self.seat.client_id.as_bytes() => self.step += 1,
            _ => {}
        }
    }

    fn turn(&mut self, _now_ns: u64, out: &mut Vec<u8>, _tally: &mut Tally) -> Next {
        match self.step {
            0 => {
                let options = SubscriptionOptions {
                    retain_handling: RetainHandling::DoNotSend,
                    ..SubscriptionOptions::default()
                };
                let requests = vec![SubscriptionRequest { filter: &self.topic, options }];
                let subscribe = Subscribe { packet_id: 1, subscription_id: None, requests };
                self.step = u8::from(encode::subscribe(out, Version::V5, &subscribe).is_ok());
                Next::Wait
            }
            4.. => Next::Leave,
            _ => Next::Wait,
        }
    }
}
