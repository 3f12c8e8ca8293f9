//! PUBACK, PUBREC and PUBCOMP: a client acknowledges what it was sent.

use std::sync::Arc;

use portreeve_mqtt::{Ack, AckKind, Acked, Reason, Violation};
use portreeve_store::{SessionOp, Ticket};

use super::{End, Open, Owed, open::too_many_requests};
use crate::{
    Hub,
    broker::{message::Message, session::Outgoing, turn::Turn},
};

impl Open {
    pub(super) fn puback(&mut self, turn: &mut Turn<'_>, ack: &Ack<'_>) -> Result<(), End> {
        let mut outgoing = self.session.outgoing.lock();
        let before = outgoing.outbound.bytes();
        let acked = outgoing.outbound.puback(ack.packet_id);
        self.completed(turn, &outgoing, before, acked, ack)
    }

    pub(super) fn pubrec(&mut self, hub: &Hub, turn: &mut Turn<'_>, ack: &Ack<'_>) -> Result<(), End> {
        let mut outgoing = self.session.outgoing.lock();
        let before = outgoing.outbound.bytes();
        let ticket = match outgoing.outbound.pubrec(ack.packet_id, ack.reason) {
            acked @ Acked::Complete(_) => return self.completed(turn, &outgoing, before, acked, ack),
            // Submitted under the lock: a connection that takes the session over relies on what it finds released.
            Acked::Release(seq) if outgoing.stored => {
                turn.ops.push(SessionOp::Release { session: self.session.id, seq });
                turn.submit(hub)
            }
            Acked::AlreadyReleased if outgoing.stored => hub.journal.submit(&mut Vec::new()),
            Acked::Unknown if outgoing.outbound.is_in_flight(ack.packet_id) => return Err(wrong_ack()),
            Acked::Unknown if ack.reason.is_error() => return Ok(()),
            Acked::Unknown if !self.rates.messages.take(1, turn.now.mono_ms) => return Err(too_many_requests()),
            _ => Ticket::default(),
        };
        drop(outgoing);
        self.owed.push_back((ticket, Owed::Ack(AckKind::PubRel, ack.packet_id, Reason::SUCCESS)));
        Ok(())
    }

    pub(super) fn pubcomp(&mut self, turn: &mut Turn<'_>, ack: &Ack<'_>) -> Result<(), End> {
        let mut outgoing = self.session.outgoing.lock();
        let before = outgoing.outbound.bytes();
        let acked = outgoing.outbound.pubcomp(ack.packet_id);
        self.completed(turn, &outgoing, before, acked, ack)
    }

    /// What an acknowledgement that ends a delivery leads to.
    fn completed(
        &self,
        turn: &mut Turn<'_>,
        outgoing: &Outgoing,
        bytes_before: usize,
        acked: Acked<Arc<Message>>,
        ack: &Ack<'_>,
    ) -> Result<(), End> {
        match acked {
            Acked::Complete(removed) => {
                turn.queue_changed(bytes_before, outgoing.outbound.bytes());
                turn.dequeue(self.session.id, outgoing.stored, removed);
                Ok(())
            }
            _ if outgoing.outbound.is_in_flight(ack.packet_id) => Err(wrong_ack()),
            _ => Ok(()),
        }
    }
}

fn wrong_ack() -> End {
    Violation::protocol("MQTT-4.3.3-8", "an acknowledgement that does not fit the delivery's state").into()
}
