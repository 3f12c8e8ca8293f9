//! What an accepted connection does with packets other than PUBLISH and acknowledgements, and what it sends.

use std::{collections::VecDeque, task::Waker};

use portreeve_events::Kind as EventKind;
use portreeve_mqtt::{Disconnect, Packet, Reason, Sender, Version, Violation, encode};
use portreeve_store::{SessionOp, Ticket};
use portreeve_types::{TopicError, TopicFilter, TopicName};

use super::{Departure, End, Now, Open, Owed};
use crate::{
    Hub,
    broker::{
        Close, Tally,
        retained::SCAN_STEP_TOPICS,
        subscribe::Asked,
        turn::{PACKET_WORK, Turn},
    },
    limits::mark,
};

/// What [`Open::transmit`] left to do.
#[derive(Clone, Copy, Default)]
pub(super) struct Pumped {
    /// More is ready to go out, or to be searched for.
    pub(super) more: bool,
    /// It went on with a search for retained messages.
    pub(super) scanned: bool,
}

impl Open {
    pub(super) fn packet(
        &mut self,
        hub: &Hub,
        turn: &mut Turn<'_>,
        packet: &[u8],
        tally: &mut Tally,
    ) -> Result<(), End> {
        let now = turn.now;
        self.last_packet_ms = now.mono_ms;
        mark(&hub.limits.packet_bytes, packet.len());
        if !self.rates.bytes.take(packet.len() as u64, now.mono_ms) {
            return Err(End::Cut(
                Reason::MESSAGE_RATE_TOO_HIGH,
                EventKind::RateExceeded,
                "too many bytes a second".into(),
            ));
        }
        if packet[0] >> 4 == 3 {
            let known = self.topics.last().cloned();
            let known = known.as_ref().map_or("", TopicName::as_str);
            let publish = portreeve_mqtt::decode_publish_to(self.version, Sender::Client, packet, known)?;
            return self.publish(hub, turn, &publish, tally);
        }
        if portreeve_mqtt::is_connect(packet) {
            return Err(Violation::protocol("MQTT-3.1.0-2", "a second CONNECT").into());
        }
        match portreeve_mqtt::decode(self.version, Sender::Client, packet)? {
            Packet::PubAck(ack) => self.puback(turn, &ack),
            Packet::PubRec(ack) => self.pubrec(hub, turn, &ack),
            Packet::PubRel(ack) => self.pubrel(hub, turn, &ack),
            Packet::PubComp(ack) => self.pubcomp(turn, &ack),
            Packet::Subscribe(subscribe) => {
                let mut requests = Vec::with_capacity(subscribe.requests.len());
                for request in &subscribe.requests {
                    requests.push((request.parse().map_err(bad_filter)?, request.options));
                }
                self.check_filters(hub, turn, requests.len())?;
                self.charge(requests.len(), now)?;
                self.subscribing = Some(Box::new(Asked::new(subscribe.packet_id, subscribe.subscription_id, requests)));
                self.go_on(hub, turn);
                Ok(())
            }
            Packet::Unsubscribe(unsubscribe) => {
                let filters = unsubscribe.filters.iter().map(|text| TopicFilter::new(text).map_err(bad_filter));
                let filters = filters.collect::<Result<Vec<_>, _>>()?;
                self.check_filters(hub, turn, filters.len())?;
                self.charge(filters.len(), now)?;
                turn.charge(filters.len() * PACKET_WORK);
                let answered = hub.unsubscribe(&self.session, &filters);
                self.owed.push_back((answered.ticket, Owed::UnsubAck(unsubscribe.packet_id, answered.reasons)));
                Ok(())
            }
            Packet::PingReq => {
                hub.watch_heartbeat(&self.session);
                // A ping is answered although acknowledgements wait for the disk, but not before CONNACK.
                self.charge(1, now)?;
                let accepted = !matches!(self.owed.front(), Some((_, Owed::ConnAck(_))));
                let place = if accepted { 0 } else { 1 };
                self.owed.insert(place, (Ticket::default(), Owed::Pong));
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.disconnect(&disconnect),
            Packet::Auth(_) => {
                Err(Violation::protocol("MQTT-4.12.0-6", "AUTH without an authentication method").into())
            }
            _ => Err(Violation::protocol("", "a packet that only a server sends").into()),
        }
    }

    /// Goes on with the SUBSCRIBE that is being dealt with, if there is one.
    pub(super) fn go_on(&mut self, hub: &Hub, turn: &mut Turn<'_>) {
        let Some(asked) = &mut self.subscribing else { return };
        let packet_id = asked.packet_id;
        if let Some(answered) = hub.subscribe(turn, &self.session, asked) {
            self.owed.push_back((answered.ticket, Owed::SubAck(packet_id, answered.reasons)));
            self.subscribing = None;
        }
    }

    fn check_filters(&self, hub: &Hub, turn: &Turn<'_>, filters: usize) -> Result<(), End> {
        if filters <= turn.config.limits.filters_per_packet {
            mark(&hub.limits.filters_per_packet, filters);
            return Ok(());
        }
        Err(End::Cut(Reason::QUOTA_EXCEEDED, EventKind::LimitReached, "too many filters in one packet".into()))
    }

    fn disconnect(&mut self, disconnect: &Disconnect<'_>) -> Result<(), End> {
        if self.expiry_s == 0 && disconnect.session_expiry_s.is_some_and(|expiry_s| expiry_s > 0) {
            let detail = "a session expiry above zero after one of zero";
            return Err(Violation::protocol("MQTT-3.14.2-2", detail).into());
        }
        if disconnect.reason == Reason::SUCCESS {
            self.departure = Departure::Clean;
        }
        self.departure_expiry_s = disconnect.session_expiry_s;
        Err(End::Departed)
    }

    /// Submits what the turn has to tell the store, and notes which acknowledgements wait for that.
    pub(super) fn settle(&mut self, hub: &Hub, turn: &mut Turn<'_>) {
        let submitted = turn.submit(hub);
        // Behind the last that waited before this turn nothing else waits for it.
        let pending = self.owed.iter_mut().rev().filter(|(ticket, _)| *ticket == Turn::PENDING);
        for (ticket, _) in pending.take(std::mem::take(&mut self.pending)) {
            *ticket = submitted;
        }
    }

    /// Acknowledgements whose promise is kept, then deliveries.
    pub(super) fn transmit(
        &mut self,
        hub: &Hub,
        now: Now,
        waker: &Waker,
        out: &mut Vec<u8>,
        out_bytes_max: usize,
        tally: &mut Tally,
    ) -> Result<Pumped, Close> {
        let Self { session, owed, link: client, .. } = self;
        let mut outgoing = session.outgoing.lock();
        if outgoing.connection != self.connection {
            return Err(Close::new(Reason::SESSION_TAKEN_OVER, "session taken over"));
        }
        // Each alarm is set before the look at what is ready: what happens in between is seen or heard.
        if let Some(link) = outgoing.link.as_mut() {
            if let Some(close) = link.close {
                return Err(close);
            }
            match &mut link.waker {
                Some(old) => old.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        let durable = hub.journal.durable();
        send_owed(owed, durable, self.version, out, out_bytes_max);
        if owed.is_empty() && outgoing.outbound.waiting() == 0 && outgoing.scans.is_empty() {
            return Ok(Pumped::default());
        }
        let mut scanned = false;
        if !outgoing.scans.is_empty() && outgoing.outbound.waiting() < SCAN_STEP_TOPICS {
            let config = hub.config();
            let mut turn = Turn::new(hub, &config, now);
            scanned = hub.scan_retained(&mut turn, session, &mut outgoing);
            // Under the lock, but it wakes nobody: what was queued is for this connection.
            turn.finish(hub);
        }
        let before = outgoing.outbound.bytes();
        let pumped = outgoing.outbound.pump(now.wall, client, out, out_bytes_max);
        hub.gauges.queue_changed(before, outgoing.outbound.bytes());
        tally.messages_sent += pumped.sent as u64;
        tally.messages_expired += pumped.expired as u64;
        tally.messages_oversize += pumped.oversize as u64;
        if outgoing.stored && !pumped.ended.is_empty() {
            let dequeue = |seq| SessionOp::Dequeue { session: session.id, seq };
            let mut ops: Vec<_> = pumped.ended.iter().filter_map(|removed| removed.seq.map(dequeue)).collect();
            pumped.ended.into_iter().for_each(|removed| removed.message.release(&mut ops));
            hub.journal.submit(&mut ops);
        }
        let gated = outgoing.outbound.is_gated(client.receive_maximum());
        if gated || !owed.is_empty() || !outgoing.scans.is_empty() {
            hub.wake_on_commit(session, waker);
        }
        // Looked at again: what became durable before that alarm was set has woken nobody.
        let durable = hub.journal.durable();
        let scannable = outgoing.scans.front().is_some_and(|item| item.after <= durable);
        let more = pumped.more
            || scanned
            || (scannable && pumped.sent > 0)
            || owed.front().is_some_and(|(ticket, _)| *ticket <= durable)
            || outgoing.outbound.is_sendable(client.receive_maximum());
        Ok(Pumped { more, scanned })
    }

    /// Whether the hub ends this connection, or another one has its session.
    pub(super) fn is_closed(&self) -> bool {
        let outgoing = self.session.outgoing.lock();
        outgoing.connection != self.connection || outgoing.link.as_ref().is_none_or(|link| link.close.is_some())
    }

    /// Whether the hub ends this connection; and if not, has `waker` called when it does. For a connection whose
    /// socket takes nothing, so that [`Self::transmit`] is not called.
    pub(super) fn attend(&self, waker: &Waker) -> Result<(), Close> {
        let mut outgoing = self.session.outgoing.lock();
        if outgoing.connection != self.connection {
            return Err(Close::new(Reason::SESSION_TAKEN_OVER, "session taken over"));
        }
        let Some(link) = outgoing.link.as_mut() else { return Ok(()) };
        link.waker = Some(waker.clone());
        link.close.map_or(Ok(()), Err)
    }

    /// What a client asks for beside publishing counts against its rate of messages: each filter, each ping, and each
    /// PUBREC or PUBREL of nothing.
    pub(super) fn charge(&mut self, requests: usize, now: Now) -> Result<(), End> {
        let within = self.rates.messages.take(requests as u64, now.mono_ms);
        if within { Ok(()) } else { Err(too_many_requests()) }
    }
}

pub(super) fn too_many_requests() -> End {
    End::Cut(Reason::MESSAGE_RATE_TOO_HIGH, EventKind::RateExceeded, "too many requests a second".into())
}

/// Writes the acknowledgements that are due, in order, up to the first that waits for the store.
pub(super) fn send_owed(
    owed: &mut VecDeque<(Ticket, Owed)>,
    durable: Ticket,
    version: Version,
    out: &mut Vec<u8>,
    out_bytes_max: usize,
) {
    while out.len() < out_bytes_max {
        let Some((_, owed)) = owed.pop_front_if(|(ticket, _)| *ticket <= durable) else { return };
        owed.encode(version, out);
    }
}

impl Owed {
    fn encode(self, version: Version, out: &mut Vec<u8>) {
        let answer = |packet_id, reasons| portreeve_mqtt::SubAck { packet_id, reasons, reason_string: None };
        match self {
            Self::Ack(kind, packet_id, reason) => encode::ack(out, version, kind, packet_id, reason, None),
            Self::SubAck(packet_id, reasons) => encode::suback(out, version, &answer(packet_id, reasons)),
            Self::UnsubAck(packet_id, reasons) => encode::unsuback(out, version, &answer(packet_id, reasons)),
            Self::Pong => encode::pingresp(out),
            Self::ConnAck(packet) => out.extend_from_slice(&packet),
        }
    }
}

/// A filter that is not well-formed ends the connection; one that is merely not granted is answered by code.
fn bad_filter(error: TopicError) -> End {
    match error {
        TopicError::Share => Violation::protocol("MQTT-4.8.2-1", "not a valid shared subscription").into(),
        _ => Violation::malformed("MQTT-4.7.1-1", "not a valid topic filter").into(),
    }
}
