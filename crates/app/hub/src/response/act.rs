//! Doing what was decided, and undoing it.

use std::time::Instant;

use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_mqtt::Reason;
use portreeve_respond::{Decision, Lift, MEASURES_MAX, Measure, Now as Moment, Step};
use portreeve_types::{IdentityId, LifecycleState, UnixMillis};

use super::{ACTOR, look::Found};
use crate::{AdminRequest, Close, Hub, registry::By};

/// Why an identity is quarantined by a measure. As long as it says so, the quarantine is the measure's own.
fn reason_of(measure: u64) -> String {
    format!("measure {measure} of a response rule")
}

fn close(why: &'static str) -> Close {
    Close { reason: Reason::ADMINISTRATIVE_ACTION, why, asked: Some(Instant::now()) }
}

/// A measure that stands for a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stands {
    pub(super) id: u64,
    /// Else it lasts longer now, and stood and was recorded before.
    pub(super) is_new: bool,
}

impl Hub {
    /// Takes a step: it is an entry, then it is stored, then it is done. The entry's number.
    pub(super) fn take(
        &self,
        step: &Step,
        stands: Option<Stands>,
        decision: &Decision,
        found: &Found,
        now: Moment,
    ) -> Option<u64> {
        let measure = stands.map(|stands| stands.id);
        let new = stands.filter(|stands| stands.is_new).map(|stands| stands.id);
        let standing = measure.and_then(|id| self.measure(id));
        let recorded = self.record_decision(EventKind::ResponseTaken, step, standing.as_ref(), decision, found);
        let Ok(entry) = recorded else {
            self.take_back(new, step, found, "it could not be recorded", now);
            return None;
        };
        // Bound to a name: a lock that stands in the condition is held through the branch.
        let stored = self.response.book.lock().keep(self);
        if let Err(error) = stored {
            tracing::error!(%error, action = step.action(), "a response could not be stored, and is not made");
            self.take_back(new, step, found, "it could not be stored", now);
            return Some(entry);
        }
        self.enforce(step, measure, now.wall);
        Some(entry)
    }

    fn measure(&self, id: u64) -> Option<Measure> {
        self.response.book.lock().responder.measures().find(|measure| measure.id == id).cloned()
    }

    /// Takes back what was decided and is not done, with the measure that it would have been.
    fn take_back(&self, measure: Option<u64>, step: &Step, found: &Found, why: &'static str, now: Moment) {
        if let Some(id) = measure {
            // It stands, as it was begun just now.
            let _ = self.response.book.lock().responder.lift(id, ACTOR, why, now);
        }
        self.tell_not_made(step, found, why);
    }

    fn tell_not_made(&self, step: &Step, found: &Found, why: &str) {
        let (action, finding) = (step.action(), found.finding());
        let data = [("action", Datum::Plain(&action)), ("finding", Datum::Plain(&finding.id))];
        let detail = format_args!("not done: {why}");
        let event = Event { identity: found.name(), ..Event::new(EventKind::ResponseWithheld, detail) };
        self.tell(&event.by(ACTOR).with(&data));
    }

    fn enforce(&self, step: &Step, measure: Option<u64>, now: UnixMillis) {
        match step {
            Step::Throttle { .. } => self.enforce_standing(),
            Step::BlockSource { .. } => {
                self.enforce_standing();
                let running_ms = self.response.clock.last().running_ms;
                let blocks = self.response.blocks.load_full();
                self.cut_from(|address| blocks.is_blocked(address, running_ms), close("its source is blocked"));
            }
            Step::Disconnect { identity, .. } => {
                self.cut(*identity, close("a rule disconnects it"), false);
            }
            Step::Quarantine { identity, .. } => self.confine(*identity, measure.unwrap_or_default(), now),
            // A rule only ever asks for that.
            Step::Revoke { .. } => {}
        }
    }

    /// Takes into force which sources are blocked and who is held to a rate.
    pub(crate) fn enforce_standing(&self) {
        let book = self.response.book.lock();
        let cap = |measure: &Measure| match measure.step {
            Step::Throttle { identity, messages_per_s, .. } => Some((identity, messages_per_s)),
            _ => None,
        };
        self.used_rates.set_caps(book.responder.measures().filter_map(cap).collect());
        self.response.blocks.store(book.responder.blocks());
    }

    fn confine(&self, identity: IdentityId, measure: u64, now: UnixMillis) {
        // The name may be another by now. One that lasts longer only is confined already.
        let Some(row) = self.registry.row(identity).filter(|row| row.state == LifecycleState::Active) else { return };
        let by = By { actor: ACTOR, reason: &reason_of(measure), at: now };
        if let Err(error) = self.move_identity(&row.name, LifecycleState::Quarantined, by) {
            tracing::error!(identity = row.name.as_str(), %error, "an identity was not quarantined as a rule says");
        }
    }

    /// Undoes what is over. An identity that cannot be freed now is freed as soon as that can be stored: in another round, or, for
    /// the end of its measure stays unstored for the same reason, at the next start.
    /// Whether everybody is free.
    pub(super) fn undo(&self, over: Vec<Lift>, now: UnixMillis) -> bool {
        if over.is_empty() {
            return true;
        }
        self.enforce_standing();
        over.iter().for_each(|lift| self.tell_lifted(lift));
        let is_done = self.free(over, now);
        if let Err(error) = self.response.book.lock().keep(self) {
            tracing::error!(%error, "the end of a measure could not be stored; it is tried again");
        }
        is_done
    }

    /// Frees those whose quarantine is over, and remembers who could not be freed: at most as many as there can be measures. Whether
    /// everybody is free.
    pub(super) fn free(&self, over: Vec<Lift>, now: UnixMillis) -> bool {
        let confined: Vec<_> = over.into_iter().filter(|lift| !self.release(lift, now)).collect();
        let is_done = confined.is_empty();
        let mut unfreed = self.response.unfreed.lock();
        let room = MEASURES_MAX.saturating_sub(unfreed.len());
        unfreed.extend(confined.into_iter().take(room));
        is_done
    }

    /// Frees an identity, if it is still this measure that confines it. Whether it is not confined by it any more.
    fn release(&self, lift: &Lift, now: UnixMillis) -> bool {
        let Step::Quarantine { identity, .. } = lift.measure.step else { return true };
        let reason = reason_of(lift.measure.id);
        let is_own = |state, why: &str| state == LifecycleState::Quarantined && why == reason;
        let Some(row) = self.registry.row(identity).filter(|row| is_own(row.state, &row.state_reason)) else {
            return true;
        };
        let by = By { actor: ACTOR, reason: &format!("{reason}: {}", lift.why), at: now };
        let freed = self.move_identity(&row.name, LifecycleState::Active, by);
        if let Err(error) = &freed {
            tracing::error!(identity = row.name.as_str(), %error, "an identity is not freed yet, though its quarantine ended");
        }
        freed.is_ok()
    }

    fn tell_lifted(&self, lift: &Lift) {
        let Lift { measure, by, why } = lift;
        let actor = if by == "hub" { ACTOR } else { by.as_str() };
        let identity = match &measure.step {
            Step::Throttle { name, .. } | Step::Quarantine { name, .. } => Some(name.as_str()),
            _ => None,
        };
        let data = [("measure", Datum::Plain(&measure.id))];
        let detail = format_args!("{why}");
        let event = Event { identity, ..Event::new(EventKind::ResponseLifted, detail) };
        self.tell(&event.by(actor).with(&data));
    }

    /// Whatever somebody does with the state of an identity ends a rule's quarantine of it, which would else end that. Whether one
    /// stood.
    pub(crate) fn overtake_quarantine(&self, identity: IdentityId, by: By<'_>) -> bool {
        let lifted = {
            let book = &mut *self.response.book.lock();
            let standing = book.responder.quarantine_of(identity).map(|measure| measure.id);
            let Some(id) = standing.filter(|id| by.reason != reason_of(*id)) else { return false };
            let lifted = book.responder.lift(id, by.actor, "somebody decided otherwise", self.response.clock.last());
            if let Err(error) = book.keep(self) {
                tracing::error!(%error, "the end of a measure could not be stored; it is tried again");
            }
            lifted
        };
        lifted.iter().for_each(|lift| self.tell_lifted(lift));
        true
    }

    /// Puts a revocation before two persons; the entry's number.
    pub(super) fn ask_to_revoke(
        &self,
        step: &Step,
        decision: &Decision,
        found: &Found,
        now: UnixMillis,
    ) -> Option<u64> {
        let Step::Revoke { identity, .. } = step else { return None };
        let name = self.registry.row(*identity)?.name.clone();
        let entry = self.record_decision(EventKind::ResponseTaken, step, None, decision, found).ok()?;
        let reason = format!("a rule asks for it, because of {}", found.finding().kind);
        let request = AdminRequest::DeviceState { name, to: LifecycleState::Revoked, reason, dry_run: false };
        if let Err(error) = self.ask_for_two(ACTOR, request, now) {
            self.tell_not_made(step, found, &error.to_string());
        }
        Some(entry)
    }
}
