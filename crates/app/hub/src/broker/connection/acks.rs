//! PUBACK, PUBREC and PUBCOMP: a client acknowledges what it was sent.

use portreeve_mqtt::{Ack, AckKind, Acked, Reason, Violation};
use portreeve_store::{SessionOp, Ticket};

use super::{End, Open, Owed};
use crate::{
    Hub,
    broker::session::{Outgoing, Session},
};

impl Open {
    pub(super) fn puback(&mut self, hub: &Hub, ack: &Ack<'_>) -> Result<(), End> {
        let mut outgoing = self.session.outgoing.lock();
        let before = outgoing.outbound.bytes();
        match outgoing.outbound.puback(ack.packet_id) {
            Acked::Complete(seq) => complete(hub, &self.session, &outgoing, before, seq),
            _ if outgoing.outbound.is_in_flight(ack.packet_id) => return Err(wrong_ack()),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn pubrec(&mut self, hub: &Hub, ack: &Ack<'_>) -> Result<(), End> {
        let mut outgoing = self.session.outgoing.lock();
        let before = outgoing.outbound.bytes();
        let ticket = match outgoing.outbound.pubrec(ack.packet_id, ack.reason) {
            Acked::Complete(seq) => {
                complete(hub, &self.session, &outgoing, before, seq);
                return Ok(());
            }
            Acked::Release(seq) if outgoing.stored => {
                hub.journal.submit(&mut vec![SessionOp::Release { session: self.session.id, seq }])
            }
            Acked::AlreadyReleased if outgoing.stored => hub.journal.submit(&mut Vec::new()),
            Acked::Unknown if outgoing.outbound.is_in_flight(ack.packet_id) => return Err(wrong_ack()),
            Acked::Unknown if ack.reason.is_error() => return Ok(()),
            _ => Ticket::default(),
        };
        drop(outgoing);
        self.owed.push_back((ticket, Owed::Ack(AckKind::PubRel, ack.packet_id, Reason::SUCCESS)));
        Ok(())
    }

    pub(super) fn pubcomp(&mut self, hub: &Hub, ack: &Ack<'_>) -> Result<(), End> {
        let mut outgoing = self.session.outgoing.lock();
        let before = outgoing.outbound.bytes();
        match outgoing.outbound.pubcomp(ack.packet_id) {
            Acked::Complete(seq) => complete(hub, &self.session, &outgoing, before, seq),
            _ if outgoing.outbound.is_in_flight(ack.packet_id) => return Err(wrong_ack()),
            _ => {}
        }
        Ok(())
    }
}

fn complete(hub: &Hub, session: &Session, outgoing: &Outgoing, bytes_before: usize, seq: u64) {
    hub.gauges.queue_changed(bytes_before, outgoing.outbound.bytes());
    if outgoing.stored {
        hub.journal.submit(&mut vec![SessionOp::Dequeue { session: session.id, seq }]);
    }
}

fn wrong_ack() -> End {
    Violation::protocol("MQTT-4.3.3-8", "an acknowledgement that does not fit the delivery's state").into()
}
