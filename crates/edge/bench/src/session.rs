//! One MQTT client: from CONNECT to its part in the traffic. No I/O: bytes in, bytes out.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use portreeve_mqtt::{
    Ack, AckKind, Connect, Packet, PublishHeader, Reason, Sender, Subscribe, SubscriptionOptions, SubscriptionRequest,
    Version, decode, decode_publish, encode, frame,
};
use portreeve_types::Qos;

use crate::{
    Histogram, Schedule,
    fault::Fault,
    stamp::{Stamp, Tally},
};

/// No broker sends us anything larger than we send it, but for a few properties.
const PACKET_BYTES_MAX: u32 = 2 * 1024 * 1024;
const SUBSCRIBE_ID: u16 = 65_535;
const PUBLISH: u8 = 3;

/// What a client is there for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Role {
    /// Number of the publisher, and its topic.
    pub(crate) publish: Option<(u32, String)>,
    /// Filter, and the publishers whose messages it matches.
    pub(crate) subscribe: Option<(String, Range<u32>)>,
}

/// What all clients have in common.
#[derive(Clone, Debug)]
pub(crate) struct Speech {
    pub(crate) version: Version,
    pub(crate) qos: Qos,
    pub(crate) payload_bytes: usize,
    pub(crate) keep_alive_s: u16,
    /// Messages of a publisher on their way, at most. `None`: no bound but TCP's.
    pub(crate) window: Option<u16>,
    /// An acknowledgement counts as the delivery.
    pub(crate) publish_only: bool,
    pub(crate) run: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// TCP and TLS.
    Opening,
    /// CONNECT is sent.
    Connecting,
    /// SUBSCRIBE is sent.
    Subscribing,
    Ready,
    /// DISCONNECT is sent.
    Leaving,
}

/// What a thread's receivers found out.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) latency: Histogram,
    /// Latencies of messages that were due then are recorded.
    pub(crate) measured_ns: Range<u64>,
    pub(crate) delivered: u64,
    pub(crate) foreign: u64,
}

/// What a packet is processed with.
pub(crate) struct Context<'a> {
    pub(crate) now_ns: u64,
    pub(crate) speech: &'a Speech,
    pub(crate) findings: &'a mut Findings,
    /// Per publisher, how many deliveries there were; kept where publishers wait for them.
    pub(crate) delivered_of: &'a [AtomicU64],
    /// What to send.
    pub(crate) reply: &'a mut Vec<u8>,
}

impl Context<'_> {
    /// A message of `publisher` that was due at `due_ns` has reached its end.
    fn delivered(&mut self, publisher: u32, due_ns: u64) {
        self.findings.delivered += 1;
        if self.findings.measured_ns.contains(&due_ns) {
            self.findings.latency.record(self.now_ns.saturating_sub(due_ns));
        }
        if let Some(delivered) = self.delivered_of.get(publisher as usize) {
            delivered.fetch_add(1, Relaxed);
        }
    }
}

/// One client's side of an MQTT connection.
pub(crate) struct Session {
    pub(crate) stage: Stage,
    /// The start of a packet that has not arrived whole.
    inbox: Vec<u8>,
    pub(crate) publisher: Option<Publisher>,
    pub(crate) receiver: Option<Receiver>,
    filter: Option<String>,
    pub(crate) keep_alive_s: u16,
}

impl Session {
    pub(crate) fn new(role: &Role, speech: &Speech) -> Self {
        Self {
            stage: Stage::Opening,
            inbox: Vec::new(),
            publisher: role.publish.as_ref().map(|(number, topic)| Publisher::new(*number, topic, speech)),
            receiver: role.subscribe.as_ref().map(|(_, publishers)| Receiver::new(publishers.clone())),
            filter: role.subscribe.as_ref().map(|(filter, _)| filter.clone()),
            keep_alive_s: speech.keep_alive_s,
        }
    }

    /// TLS is up: CONNECT.
    pub(crate) fn opened(&mut self, client_id: &str, speech: &Speech, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.stage = Stage::Connecting;
        let connect = Connect { keep_alive_s: speech.keep_alive_s, ..Connect::new(speech.version, client_id) };
        encode::connect(out, &connect).map_err(|_| Fault::Unexpected("the client id is too long"))
    }

    pub(crate) fn leave(&mut self, version: Version, out: &mut Vec<u8>) {
        self.stage = Stage::Leaving;
        encode::disconnect(out, version, &portreeve_mqtt::Disconnect::default());
    }

    /// Takes decrypted bytes, however they are cut.
    pub(crate) fn receive(&mut self, plain: &[u8], context: &mut Context<'_>) -> Result<(), Fault> {
        if self.inbox.is_empty() {
            let used = self.packets(plain, context)?;
            self.inbox.extend_from_slice(&plain[used..]);
            return Ok(());
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        inbox.extend_from_slice(plain);
        let used = self.packets(&inbox, context)?;
        inbox.drain(..used);
        self.inbox = inbox;
        Ok(())
    }

    fn packets(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Result<usize, Fault> {
        let mut used = 0;
        while let Some(length) = frame(&bytes[used..], PACKET_BYTES_MAX)? {
            let packet = &bytes[used..used + length];
            match (packet[0] >> 4, &mut self.receiver) {
                (PUBLISH, Some(receiver)) => receiver.take(packet, context)?,
                _ => self.control(decode(context.speech.version, Sender::Server, packet)?, context)?,
            }
            used += length;
        }
        Ok(used)
    }

    fn control(&mut self, packet: Packet<'_>, context: &mut Context<'_>) -> Result<(), Fault> {
        let version = context.speech.version;
        match packet {
            Packet::PubAck(ack) => self.acknowledged(&ack, Flight::Sent, "a message", context),
            Packet::PubComp(ack) => self.acknowledged(&ack, Flight::Released, "a message's release", context),
            Packet::PubRec(ack) => {
                self.publisher()?.received(&ack)?;
                encode::ack(context.reply, version, AckKind::PubRel, ack.packet_id, Reason::SUCCESS, None);
                Ok(())
            }
            Packet::PubRel(ack) => {
                encode::ack(context.reply, version, AckKind::PubComp, ack.packet_id, Reason::SUCCESS, None);
                Ok(())
            }
            Packet::ConnAck(connack) if self.stage == Stage::Connecting => {
                accepted("the connection", connack.reason)?;
                if let Some(publisher) = &mut self.publisher {
                    publisher.limit(connack.receive_maximum.unwrap_or(u16::MAX));
                }
                self.keep_alive_s = connack.server_keep_alive_s.unwrap_or(self.keep_alive_s);
                self.subscribe(context)
            }
            Packet::SubAck(suback) if self.stage == Stage::Subscribing && suback.packet_id == SUBSCRIBE_ID => {
                suback.reasons.iter().try_for_each(|&reason| accepted("the subscription", reason))?;
                self.stage = Stage::Ready;
                Ok(())
            }
            Packet::PingResp => Ok(()),
            Packet::Disconnect(disconnect) => Err(Fault::Disconnected(disconnect.reason)),
            _ => Err(Fault::Unexpected("the broker sent a packet that nobody asked for")),
        }
    }

    fn subscribe(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        let Some(filter) = &self.filter else {
            self.stage = Stage::Ready;
            return Ok(());
        };
        self.stage = Stage::Subscribing;
        let options = SubscriptionOptions { qos: context.speech.qos, ..SubscriptionOptions::default() };
        let requests = vec![SubscriptionRequest { filter, options }];
        let subscribe = Subscribe { packet_id: SUBSCRIBE_ID, subscription_id: None, requests };
        encode::subscribe(context.reply, context.speech.version, &subscribe)
            .map_err(|_| Fault::Unexpected("the topic filter is too long"))
    }

    fn acknowledged(
        &mut self,
        ack: &Ack<'_>,
        from: Flight,
        what: &'static str,
        context: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let publisher = self.publisher()?;
        publisher.acknowledged(ack, from, what)?;
        if context.speech.publish_only {
            context.delivered(publisher.number, publisher.due_ns[usize::from(ack.packet_id)]);
        }
        Ok(())
    }

    fn publisher(&mut self) -> Result<&mut Publisher, Fault> {
        self.publisher.as_mut().ok_or(Fault::Unexpected("an acknowledgement for a client that does not publish"))
    }
}

fn accepted(what: &'static str, reason: Reason) -> Result<(), Fault> {
    if reason.is_error() { Err(Fault::Refused { what, reason }) } else { Ok(()) }
}

/// Counts what arrives.
pub(crate) struct Receiver {
    pub(crate) publishers: Range<u32>,
    pub(crate) tallies: Vec<Tally>,
}

impl Receiver {
    fn new(publishers: Range<u32>) -> Self {
        Self { tallies: vec![Tally::default(); publishers.len()], publishers }
    }

    fn take(&mut self, packet: &[u8], context: &mut Context<'_>) -> Result<(), Fault> {
        let version = context.speech.version;
        let publish = decode_publish(version, Sender::Server, packet)?;
        let kind = match publish.qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => Some(AckKind::PubAck),
            Qos::ExactlyOnce => Some(AckKind::PubRec),
        };
        if let Some(kind) = kind {
            encode::ack(context.reply, version, kind, publish.packet_id, Reason::SUCCESS, None);
        }
        let ours = Stamp::read(publish.payload).filter(|stamp| stamp.run == context.speech.run);
        let tally = ours.and_then(|stamp| Some((stamp, self.tally(stamp.publisher)?)));
        let Some((stamp, tally)) = tally else {
            context.findings.foreign += 1;
            return Ok(());
        };
        if !tally.take(stamp.sequence) {
            return Ok(());
        }
        context.delivered(stamp.publisher, stamp.due_ns);
        Ok(())
    }

    fn tally(&mut self, publisher: u32) -> Option<&mut Tally> {
        let index = publisher.checked_sub(self.publishers.start)?;
        self.tallies.get_mut(index as usize)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Free,
    Sent,
    Released,
}

/// Makes messages: a finished packet, in which only numbers change.
pub(crate) struct Publisher {
    pub(crate) number: u32,
    pub(crate) sent: u64,
    run: u32,
    template: Vec<u8>,
    /// Where the packet identifier stands; behind the end for QoS 0.
    id_at: Option<usize>,
    stamp_at: usize,
    /// Packet identifiers that may be used; the last is the next.
    free: Vec<u16>,
    /// By packet identifier.
    flights: Vec<Flight>,
    /// By packet identifier: when what is on its way under it was due.
    due_ns: Vec<u64>,
}

impl Publisher {
    fn new(number: u32, topic: &str, speech: &Speech) -> Self {
        let mut template = Vec::new();
        let header = PublishHeader { qos: speech.qos, topic, packet_id: 1, ..PublishHeader::default() };
        encode::publish(&mut template, speech.version, &header, &vec![b'.'; speech.payload_bytes]);
        let stamp_at = template.len().saturating_sub(speech.payload_bytes);
        let properties = usize::from(speech.version == Version::V5);
        let id_at = (speech.qos != Qos::AtMostOnce).then(|| stamp_at - properties - 2);
        let window = if id_at.is_some() { speech.window.unwrap_or(u16::MAX - 1).min(u16::MAX - 1) } else { 0 };
        Self {
            number,
            sent: 0,
            run: speech.run,
            template,
            id_at,
            stamp_at,
            free: (1..=window).rev().collect(),
            flights: vec![Flight::Free; usize::from(window) + 1],
            due_ns: vec![0; usize::from(window) + 1],
        }
    }

    /// The broker's receive maximum [MQTT-3.3.4-7].
    fn limit(&mut self, receive_maximum: u16) {
        self.free.retain(|&id| id <= receive_maximum);
    }

    /// Messages that wait for an acknowledgement.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.iter().filter(|&&flight| flight != Flight::Free).count()
    }

    /// Appends the messages that may leave now, up to `bytes_max` in all, or one; `limit` bounds the count ever sent.
    /// Without a schedule each is due now.
    pub(crate) fn fill(
        &mut self,
        batch: &mut Vec<u8>,
        bytes_max: usize,
        now_ns: u64,
        schedule: Option<&Schedule>,
        limit: u64,
    ) {
        while self.sent < limit && (batch.is_empty() || batch.len() + self.template.len() <= bytes_max) {
            let start = batch.len();
            let due_ns = schedule.map_or(now_ns, |schedule| schedule.due_ns(self.number.into(), self.sent));
            if let Some(id_at) = self.id_at {
                let Some(id) = self.free.pop() else { return };
                self.flights[usize::from(id)] = Flight::Sent;
                self.due_ns[usize::from(id)] = due_ns;
                batch.extend_from_slice(&self.template);
                batch[start + id_at..][..2].copy_from_slice(&id.to_be_bytes());
            } else {
                batch.extend_from_slice(&self.template);
            }
            let stamp = Stamp { run: self.run, publisher: self.number, sequence: self.sent, due_ns };
            batch[start + self.stamp_at..][..Stamp::BYTES].copy_from_slice(&stamp.to_bytes());
            self.sent += 1;
        }
    }

    /// PUBREC.
    fn received(&mut self, ack: &Ack<'_>) -> Result<(), Fault> {
        accepted("a message", ack.reason)?;
        *self.flight(ack.packet_id, Flight::Sent)? = Flight::Released;
        Ok(())
    }

    /// PUBACK or PUBCOMP: the identifier is free again.
    fn acknowledged(&mut self, ack: &Ack<'_>, from: Flight, what: &'static str) -> Result<(), Fault> {
        accepted(what, ack.reason)?;
        *self.flight(ack.packet_id, from)? = Flight::Free;
        self.free.push(ack.packet_id);
        Ok(())
    }

    fn flight(&mut self, id: u16, expected: Flight) -> Result<&mut Flight, Fault> {
        let flight = self.flights.get_mut(usize::from(id)).filter(|flight| **flight == expected);
        flight.ok_or(Fault::Unexpected("the broker acknowledged what was not sent"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speech(qos: Qos, window: u16) -> Speech {
        let window = Some(window);
        Speech { version: Version::V5, qos, payload_bytes: 64, keep_alive_s: 60, window, publish_only: false, run: 9 }
    }

    fn publisher(qos: Qos, window: u16) -> Publisher {
        Publisher::new(3, "bench/3", &speech(qos, window))
    }

    fn sequences(mut bytes: &[u8], version: Version) -> Vec<(u16, u64, u64)> {
        let mut found = Vec::new();
        while let Some(length) = frame(bytes, PACKET_BYTES_MAX).unwrap() {
            let publish = decode_publish(version, Sender::Client, &bytes[..length]).unwrap();
            assert_eq!((publish.topic, publish.payload.len()), ("bench/3", 64));
            let stamp = Stamp::read(publish.payload).unwrap();
            assert_eq!((stamp.run, stamp.publisher), (9, 3));
            found.push((publish.packet_id, stamp.sequence, stamp.due_ns));
            bytes = &bytes[length..];
        }
        assert!(bytes.is_empty());
        found
    }

    #[test]
    fn a_batch_is_many_packets_with_numbers_of_their_own() {
        for version in [Version::V311, Version::V5] {
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                let mut publisher = Publisher::new(3, "bench/3", &Speech { version, ..speech(qos, 5) });
                let mut batch = Vec::new();
                publisher.fill(&mut batch, 64 * 1024, 77, None, 5);
                let ids = if qos == Qos::AtMostOnce { [0; 5] } else { [1, 2, 3, 4, 5] };
                let expected: Vec<_> = (0..5).zip(&ids).map(|(sequence, id)| (*id, sequence, 77)).collect();
                assert_eq!(sequences(&batch, version), expected);
            }
        }
    }

    #[test]
    fn a_batch_ends_at_its_bound_but_holds_one() {
        let mut publisher = publisher(Qos::AtMostOnce, 0);
        let mut batch = Vec::new();
        publisher.fill(&mut batch, 1, 0, None, u64::MAX);
        assert_eq!(publisher.sent, 1);
        publisher.fill(&mut batch, 300, 0, None, u64::MAX);
        assert!(publisher.sent > 1 && batch.len() <= 300);
    }

    #[test]
    fn a_scheduled_message_carries_the_time_it_was_due() {
        let mut publisher = publisher(Qos::AtMostOnce, 0);
        let schedule = Schedule { start_ns: 1000, rate_per_s: 1_000_000, publishers: 4 };
        let mut batch = Vec::new();
        publisher.fill(&mut batch, 64 * 1024, 12_000, Some(&schedule), schedule.due_count(3, 12_000));
        assert_eq!(sequences(&batch, Version::V5), [(0, 0, 4000), (0, 1, 8000), (0, 2, 12_000)]);
    }

    #[test]
    fn the_window_opens_with_acknowledgements_in_any_order() {
        let mut publisher = publisher(Qos::AtLeastOnce, 3);
        let mut batch = Vec::new();
        publisher.fill(&mut batch, 64 * 1024, 0, None, u64::MAX);
        assert_eq!((publisher.sent, publisher.in_flight()), (3, 3));
        let ack = |packet_id| Ack { packet_id, reason: Reason::SUCCESS, reason_string: None };
        publisher.acknowledged(&ack(2), Flight::Sent, "").unwrap();
        assert!(publisher.acknowledged(&ack(2), Flight::Sent, "").is_err(), "acknowledged twice");
        assert!(publisher.acknowledged(&ack(900), Flight::Sent, "").is_err(), "never sent");
        batch.clear();
        publisher.fill(&mut batch, 64 * 1024, 0, None, u64::MAX);
        assert_eq!(sequences(&batch, Version::V5), [(2, 3, 0)]);
    }

    #[test]
    fn exactly_once_takes_both_steps() {
        let mut publisher = publisher(Qos::ExactlyOnce, 1);
        publisher.fill(&mut Vec::new(), 64 * 1024, 0, None, u64::MAX);
        let ack = Ack { packet_id: 1, reason: Reason::SUCCESS, reason_string: None };
        assert!(publisher.acknowledged(&ack, Flight::Released, "").is_err(), "completed before it was received");
        publisher.received(&ack).unwrap();
        publisher.acknowledged(&ack, Flight::Released, "").unwrap();
        assert_eq!(publisher.in_flight(), 0);
    }

    #[test]
    fn the_brokers_receive_maximum_narrows_the_window() {
        let mut publisher = publisher(Qos::AtLeastOnce, 100);
        publisher.limit(7);
        publisher.fill(&mut Vec::new(), 64 * 1024, 0, None, u64::MAX);
        assert_eq!(publisher.sent, 7);
    }

    #[test]
    fn a_subscriber_goes_from_connect_to_counting() {
        let speech = speech(Qos::AtLeastOnce, 1);
        let role = Role { publish: None, subscribe: Some(("bench/3".into(), 3..4)) };
        let (mut session, mut findings) = (Session::new(&role, &speech), Findings::default());
        findings.measured_ns = 0..u64::MAX;
        let mut reply = Vec::new();
        session.opened("bench:1", &speech, &mut reply).unwrap();
        let mut broker = Vec::new();
        encode::connack(&mut broker, Version::V5, &portreeve_mqtt::ConnAck::default());
        let suback = portreeve_mqtt::SubAck { packet_id: SUBSCRIBE_ID, reasons: vec![Reason(1)], reason_string: None };
        encode::suback(&mut broker, Version::V5, &suback);
        publisher(Qos::AtLeastOnce, 1).fill(&mut broker, 64 * 1024, 40, None, 1);
        // However the bytes are cut.
        for byte in broker.chunks(1) {
            let mut context =
                Context { now_ns: 100, speech: &speech, findings: &mut findings, delivered_of: &[], reply: &mut reply };
            session.receive(byte, &mut context).unwrap();
        }
        assert_eq!((session.stage, findings.delivered, findings.foreign), (Stage::Ready, 1, 0));
        assert_eq!(findings.latency.max_ns(), 60);
        assert!(reply.ends_with(&[0x40, 2, 0, 1]), "the PUBACK comes last");
    }

    #[test]
    fn with_nobody_to_receive_acknowledgements_count() {
        let speech = Speech { publish_only: true, ..speech(Qos::AtLeastOnce, 3) };
        let role = Role { publish: Some((3, "bench/3".into())), subscribe: None };
        let (mut session, mut findings) = (Session::new(&role, &speech), Findings::default());
        findings.measured_ns = 50..u64::MAX;
        for now_ns in [40, 60] {
            session.publisher.as_mut().unwrap().fill(&mut Vec::new(), 64 * 1024, now_ns, None, now_ns / 20 - 1);
        }
        let mut acks = Vec::new();
        for packet_id in [2, 1] {
            encode::ack(&mut acks, Version::V5, AckKind::PubAck, packet_id, Reason::SUCCESS, None);
        }
        let delivered_of: Vec<AtomicU64> = std::iter::repeat_with(AtomicU64::default).take(4).collect();
        let reply = &mut Vec::new();
        let mut context =
            Context { now_ns: 100, speech: &speech, findings: &mut findings, delivered_of: &delivered_of, reply };
        session.receive(&acks, &mut context).unwrap();
        assert_eq!((findings.delivered, delivered_of[3].load(Relaxed)), (2, 2));
        assert_eq!(
            (findings.latency.total(), findings.latency.max_ns()),
            (1, 40),
            "only what was due in time is timed"
        );
    }

    #[test]
    fn messages_of_another_run_are_foreign() {
        let ours = speech(Qos::AtMostOnce, 1);
        let role = Role { publish: None, subscribe: Some(("bench/3".into(), 3..4)) };
        let (mut session, mut findings) = (Session::new(&role, &ours), Findings::default());
        let mut theirs = Vec::new();
        Publisher::new(3, "bench/3", &Speech { run: 8, ..ours.clone() }).fill(&mut theirs, 9999, 0, None, 1);
        let mut context =
            Context { now_ns: 0, speech: &ours, findings: &mut findings, delivered_of: &[], reply: &mut Vec::new() };
        session.receive(&theirs, &mut context).unwrap();
        assert_eq!((findings.delivered, findings.foreign), (0, 1));
    }

    #[test]
    fn a_refusal_is_named() {
        let speech = speech(Qos::AtMostOnce, 1);
        let (mut session, mut findings) = (Session::new(&Role::default(), &speech), Findings::default());
        session.stage = Stage::Connecting;
        let mut bytes = Vec::new();
        let refusal = portreeve_mqtt::ConnAck { reason: Reason(0x87), ..portreeve_mqtt::ConnAck::default() };
        encode::connack(&mut bytes, Version::V5, &refusal);
        let mut context =
            Context { now_ns: 0, speech: &speech, findings: &mut findings, delivered_of: &[], reply: &mut Vec::new() };
        let fault = session.receive(&bytes, &mut context).unwrap_err();
        assert_eq!(fault.to_string(), "the broker refused the connection: reason code 0x87");
    }
}
