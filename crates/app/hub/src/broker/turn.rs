//! One turn: what a batch of packets looks up once, and what it hands on once at its end.

use std::{sync::Arc, task::Waker};

use portreeve_config::{Config, QueueOverflow};
use portreeve_mqtt::{Overflow, QueueLimits, Removed};
use portreeve_store::{SessionId, SessionOp, Ticket};
use smallvec::SmallVec;

use super::{connection::Now, message::Message};
use crate::{Hub, limits::RateShare};

/// Operations after which a turn submits in the middle, so that one turn stays far below the journal's bounds.
const OPS_MAX: usize = 4096;
/// Work after which a turn ends although more has arrived, so that others come to theirs within about a millisecond; three
/// where nothing but copies for many receivers is made, since these go out in as many pieces as they are made in. In units
/// of such a copy, some 200 ns; the rest is counted as so many, and dearer than it is.
const WORK_MAX: usize = 16_384;
/// A packet that was read.
pub(crate) const PACKET_WORK: usize = 16;
/// A message that is put into one receiver's queue.
pub(crate) const DELIVERY_WORK: usize = 1;
/// A decision of policy: on a new topic.
pub(crate) const DECISION_WORK: usize = 480;
/// A filter that is subscribed to: a decision, and places in two trees.
pub(crate) const FILTER_WORK: usize = 640;
/// One that the session has already, under the same policies.
pub(crate) const KNOWN_FILTER_WORK: usize = 32;
/// A look-up of who receives a topic.
pub(crate) const ROUTE_WORK: usize = 32;
/// One subscription that it finds.
pub(crate) const FOUND_WORK: usize = 16;
/// How long the receivers of an interrupted connection's messages may sleep on.
const KEPT_MS_MAX: u64 = 10;
/// A queue below this may use what is left of the hub's total to the last byte; one above it leaves an eighth. So clients
/// that do not read cannot take from the others the little that those need.
const SMALL_QUEUE_BYTES: usize = 64 * 1024;

/// The state of one turn. [`Turn::finish`] hands on what it gathered, in this order: operations to the journal,
/// deletions of bodies that nobody needs any more behind them, then the use of shared bounds, and last the wake-ups.
///
/// Two bounds are looked at when a turn begins and charged when it ends, the hub's queue bytes and its rates. Turns of
/// other threads do not see each other, so each may be exceeded by what one turn of every other thread brings in.
pub(crate) struct Turn<'a> {
    pub(crate) config: &'a Config,
    pub(crate) now: Now,
    /// Connections to wake once everything is submitted and no lock is held.
    pub(crate) wakes: SmallVec<[Waker; 4]>,
    /// What the store is to learn, in order.
    pub(crate) ops: Vec<SessionOp>,
    /// Messages that `ops` speak of; they must not go out before those are submitted.
    held: Vec<Arc<Message>>,
    /// Messages whose rows `ops` delete; they must not go before those are submitted.
    gone: Vec<Arc<Message>>,
    /// Where the journal stood behind the last submission.
    submitted: Ticket,
    work: usize,
    /// What is pending must be submitted together with what comes.
    whole: bool,
    /// Bytes that queues may still take in all, as of the beginning.
    queue_bytes_left: usize,
    /// What queues took since, less what left them.
    queue_bytes: isize,
    pub(crate) rate: RateShare,
}

impl Turn<'_> {
    /// The ticket of what this turn has not submitted yet; never durable.
    pub(crate) const PENDING: Ticket = Ticket::from_raw(u64::MAX);

    pub(crate) fn new<'a>(hub: &Hub, config: &'a Config, now: Now) -> Turn<'a> {
        let limits = &config.limits;
        Turn {
            config,
            now,
            wakes: SmallVec::new(),
            ops: Vec::new(),
            held: Vec::new(),
            gone: Vec::new(),
            submitted: Ticket::default(),
            work: 0,
            whole: false,
            queue_bytes_left: limits.queue_bytes_total.saturating_sub(hub.gauges.queue_bytes()),
            queue_bytes: 0,
            rate: hub.rate.share(now.mono_ms, limits.messages_per_s.into(), limits.bytes_per_s),
        }
    }

    /// The bounds of a session whose queue holds `bytes`; when the hub's total is used up, it may not grow.
    pub(crate) fn queue_limits(&self, bytes: usize) -> QueueLimits {
        let limits = &self.config.limits;
        let reserve = if bytes < SMALL_QUEUE_BYTES { 0 } else { limits.queue_bytes_total / 8 };
        let left = self.queue_bytes_left.saturating_add_signed(-self.queue_bytes).saturating_sub(reserve);
        QueueLimits {
            messages_max: limits.queue_messages_per_session,
            bytes_max: limits.queue_bytes_per_session.min(bytes.saturating_add(left)),
            overflow: match self.config.mqtt.queue_overflow {
                QueueOverflow::DropOldest => Overflow::DropOldest,
                QueueOverflow::Reject => Overflow::Reject,
            },
        }
    }

    /// A session's queue went from `before` to `after` bytes.
    pub(crate) fn queue_changed(&mut self, before: usize, after: usize) {
        // Neither is near the largest `isize`: both are in memory.
        self.queue_bytes = self.queue_bytes.wrapping_add_unsigned(after).wrapping_sub_unsigned(before);
    }

    /// A stored message is on its way into the stream, with `ops`.
    pub(crate) fn hold(&mut self, message: Arc<Message>) {
        self.held.push(message);
    }

    /// A delivery left a queue. If the queue is stored, its row is deleted, and its message goes behind that.
    #[inline]
    pub(crate) fn dequeue(&mut self, session: SessionId, stored: bool, removed: Removed<Arc<Message>>) {
        if !stored {
            return;
        }
        self.ops.extend(removed.seq.map(|seq| SessionOp::Dequeue { session, seq }));
        self.gone.push(removed.message);
    }

    /// Counts work, in units of a packet.
    pub(crate) fn charge(&mut self, work: usize) {
        self.work += work;
    }

    /// Whether it is time for others.
    pub(crate) fn is_over(&self) -> bool {
        self.work >= WORK_MAX
    }

    /// Whether enough is pending to be submitted now.
    pub(crate) fn is_full(&self) -> bool {
        self.ops.len() >= OPS_MAX
    }

    /// From here to [`Self::end_whole`] everything goes into one submission, which is never split across commits.
    pub(crate) fn begin_whole(&mut self, hub: &Hub) {
        self.submit(hub);
        self.whole = true;
    }

    /// Submits it.
    pub(crate) fn end_whole(&mut self, hub: &Hub) -> Ticket {
        self.whole = false;
        self.submit(hub)
    }

    /// What this turn has queued itself cannot make room before it is in the stream.
    pub(crate) fn make_droppable(&mut self, hub: &Hub) {
        if !self.whole {
            self.submit(hub);
        }
    }

    /// Submits what is pending; where that is nothing, the position of the last submission of this turn.
    #[inline]
    pub(crate) fn submit(&mut self, hub: &Hub) -> Ticket {
        // As most turns have.
        let nothing = self.ops.is_empty() && self.held.is_empty() && self.gone.is_empty();
        if nothing { self.submitted } else { self.submit_all(hub) }
    }

    fn submit_all(&mut self, hub: &Hub) -> Ticket {
        if !self.ops.is_empty() {
            // A message that is held too has a holder left, and is not deleted here.
            self.gone.drain(..).for_each(|message| message.release(&mut self.ops));
            self.submitted = hub.journal.submit(&mut self.ops);
        }
        for message in self.held.drain(..) {
            message.submitted(self.submitted);
        }
        self.gone.clear();
        self.submitted
    }

    /// The end of the turn; no lock may be held.
    pub(crate) fn finish(mut self, hub: &Hub) {
        self.submit(hub);
        hub.gauges.add_queue_bytes(self.queue_bytes);
        hub.rate.charge(&self.rate);
        if !self.wakes.is_empty() {
            self.wakes.drain(..).for_each(Waker::wake);
        }
    }
}

/// The wake-ups that a connection keeps back while its turns are interrupted. A receiver that is woken after each would find
/// a few messages, and spend a record and a system call on them, where a little later it finds them all. Others come to
/// their turns meanwhile.
#[derive(Debug, Default)]
pub(crate) struct KeptWakes {
    wakes: Vec<Waker>,
    since_ms: u64,
}

impl KeptWakes {
    /// Takes over what the turn would do, unless it has kept the first for long enough. `true` if it did.
    pub(crate) fn keep(&mut self, turn: &mut Turn<'_>) -> bool {
        let now_ms = turn.now.mono_ms;
        if self.wakes.is_empty() {
            self.since_ms = now_ms;
        }
        let is_early = now_ms.saturating_sub(self.since_ms) < KEPT_MS_MAX;
        if is_early {
            self.wakes.extend(turn.wakes.drain(..));
        }
        is_early
    }
}

impl Drop for KeptWakes {
    /// Nobody is forgotten, whatever became of the connection.
    fn drop(&mut self) {
        self.wakes.drain(..).for_each(Waker::wake);
    }
}

impl Drop for Turn<'_> {
    /// A turn that ended in a panic promised nobody anything; what it has queued must not hold up what comes behind.
    fn drop(&mut self) {
        self.held.drain(..).for_each(|message| message.submitted(Ticket::default()));
    }
}

#[cfg(test)]
mod tests {
    use portreeve_store::MessageId;
    use portreeve_types::{Qos, TopicName, UnixMillis};

    use super::*;
    use crate::broker::message::Envelope;

    fn message() -> Arc<Message> {
        let topic = TopicName::new("t").unwrap();
        let (expires, received) = (None, UnixMillis::default());
        Message::new(
            Envelope { topic, publisher: None, qos: Qos::AtLeastOnce, retain: false, expires, received },
            &[],
            b"x",
        )
    }

    #[test]
    fn what_a_turn_holds_goes_on_when_it_is_submitted_or_given_up() {
        let data = tempfile::tempdir().unwrap();
        let config = Config::default();
        let hub = Hub::open(&data.path().join("hub"), config.clone(), UnixMillis::default()).unwrap();
        let (submitted, given_up) = (message(), message());
        let mut turn = Turn::new(&hub, &config, Now::default());
        for message in [&submitted, &given_up] {
            hub.store_body(message, &mut turn.ops);
            assert!(message.is_held());
        }
        turn.hold(Arc::clone(&submitted));
        let ticket = turn.submit(&hub);
        assert!(!submitted.is_held() && given_up.is_held() && ticket > Ticket::default());
        assert_eq!(turn.submit(&hub), ticket, "nothing more to submit");
        turn.hold(Arc::clone(&given_up));
        drop(turn);
        assert!(!given_up.is_held());
    }

    /// [MQTT-4.3.3-12] rests on it: what ends and what begins with a PUBREL is on disk together, or not at all.
    #[test]
    fn what_must_stay_together_is_submitted_together() {
        let data = tempfile::tempdir().unwrap();
        let config = Config::default();
        let hub = Hub::open(&data.path().join("hub"), config.clone(), UnixMillis::default()).unwrap();
        let mut turn = Turn::new(&hub, &config, Now::default());
        let op = |seq| SessionOp::Dequeue { session: SessionId(7), seq };
        turn.ops.push(op(1));
        turn.begin_whole(&hub);
        assert!(turn.ops.is_empty(), "what came before goes before");
        let before = turn.submitted;
        turn.ops.push(op(2));
        turn.make_droppable(&hub);
        turn.ops.push(op(3));
        assert_eq!((turn.ops.len(), turn.submitted), (2, before));
        assert!(turn.end_whole(&hub) > before && turn.ops.is_empty());
        turn.ops.push(op(4));
        turn.make_droppable(&hub);
        assert!(turn.ops.is_empty());
    }

    /// What some do not read leaves room for those who do.
    #[test]
    fn full_queues_leave_an_eighth_to_small_ones() {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.limits.queue_bytes_total = 8 << 20;
        config.limits.queue_bytes_per_session = 8 << 20;
        let hub = Hub::open(&data.path().join("hub"), config.clone(), UnixMillis::default()).unwrap();
        let mut turn = Turn::new(&hub, &config, Now::default());
        turn.queue_changed(0, 6 << 20);
        assert_eq!(turn.queue_limits(6 << 20).bytes_max, 7 << 20);
        turn.queue_changed(0, 1 << 20);
        assert_eq!(turn.queue_limits(7 << 20).bytes_max, 7 << 20, "may not grow");
        assert_eq!(turn.queue_limits(0).bytes_max, 1 << 20);
        turn.queue_changed(0, 1 << 20);
        assert_eq!(turn.queue_limits(0).bytes_max, 0, "the total is the total");
    }

    /// Bodies go behind the rows that named them, in one submission, and only with their last holder.
    #[test]
    fn bodies_are_deleted_behind_the_rows_that_named_them() {
        let data = tempfile::tempdir().unwrap();
        let config = Config::default();
        let hub = Hub::open(&data.path().join("hub"), config.clone(), UnixMillis::default()).unwrap();
        let mut turn = Turn::new(&hub, &config, Now::default());
        let (last, shared) = (message(), message());
        let ids = [&last, &shared].map(|message| hub.store_body(message, &mut Vec::new()));
        for (seq, message) in [(1, last), (2, Arc::clone(&shared))] {
            turn.dequeue(SessionId(7), true, Removed { seq: Some(seq), message });
        }
        let gone = std::mem::take(&mut turn.gone);
        gone.into_iter().for_each(|message| message.release(&mut turn.ops));
        let is_row = |op: &SessionOp, number| matches!(op, SessionOp::Dequeue { seq, .. } if *seq == number);
        let is_body = |op: &SessionOp, of: MessageId| matches!(op, SessionOp::DeleteMessage { id } if *id == of);
        assert!(is_row(&turn.ops[0], 1) && is_row(&turn.ops[1], 2) && is_body(&turn.ops[2], ids[0]), "{:?}", turn.ops);
        assert_eq!((turn.ops.len(), shared.stored_id()), (3, Some(ids[1])));
    }
}
