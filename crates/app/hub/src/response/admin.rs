//! What operators ask of rules and of what stands by them.

use portreeve_respond::{Action, CaseState, LiftError, Measure, Mode, ResponseSettings, Step, Subject};
use portreeve_store::RegistryOp;
use serde_json::{Value, json};

use super::{Responses, SETTINGS_BLOB, SETTINGS_NAME, parse};
use crate::{Actor, AdminError, Hub};

fn counts(settings: &ResponseSettings) -> (usize, usize) {
    let is_dry = |mode: Mode| mode.min(settings.mode) == Mode::DryRun;
    let acting = settings.rules.iter().filter(|rule| rule.action != Action::Alert);
    (settings.rules.len(), acting.filter(|rule| is_dry(rule.mode)).count())
}

fn measure_json(measure: &Measure) -> Value {
    let whom = match (&measure.step, &measure.subject) {
        (Step::BlockSource { source }, _) => source.to_string(),
        (Step::Throttle { name, .. } | Step::Quarantine { name, .. }, _) => name.to_string(),
        (_, Subject::Identity(name)) => name.to_string(),
        (_, subject) => subject.to_string(),
    };
    json!({
        "measure": measure.id,
        "action": measure.step.action(),
        "whom": whom,
        "what": measure.step.to_string(),
        "finding": measure.finding,
        "rule": measure.rule,
        "since_ms": measure.since.0,
        "until_ms": measure.until.map(|until| until.0),
    })
}

impl Hub {
    /// How much of responses is in use.
    #[must_use]
    pub fn responses(&self) -> Responses {
        let book = self.response.book.lock();
        let (rules, dry_run) = counts(book.responder.settings());
        let mut used = Responses { rules: rules as u64, dry_run: dry_run as u64, ..Responses::default() };
        for measure in book.responder.measures() {
            match measure.step {
                Step::Throttle { .. } => used.throttled += 1,
                Step::BlockSource { .. } => used.blocked += 1,
                Step::Quarantine { .. } => used.quarantined += 1,
                Step::Disconnect { .. } | Step::Revoke { .. } => {}
            }
        }
        used.brake_used = book.responder.brake_used() as u64;
        used.cases_open = book.cases.iter().filter(|case| case.state() != CaseState::Closed).count() as u64;
        used
    }

    pub(crate) fn responses_json(&self) -> Value {
        let used = self.responses();
        json!({
            "rules": used.rules,
            "dry_run": used.dry_run,
            "throttled": used.throttled,
            "blocked": used.blocked,
            "quarantined": used.quarantined,
            "brake_used": used.brake_used,
            "cases_open": used.cases_open,
        })
    }

    /// Takes other rules; each problem with them has line and column.
    pub(crate) fn response_apply(&self, file: &str, text: String, dry_run: bool) -> Result<Value, AdminError> {
        parse(file, &text).map_err(AdminError::Invalid)?;
        // Decisions name them as a restart does.
        let settings = parse(SETTINGS_NAME, &text).map_err(AdminError::Invalid)?;
        let (rules, dry) = counts(&settings);
        if !dry_run {
            let _turn = self.response.turn.lock();
            let put = RegistryOp::PutBlob { name: SETTINGS_BLOB.into(), bytes: text.clone().into_bytes() };
            self.registry.put_blobs(&[put])?;
            {
                let mut book = self.response.book.lock();
                book.responder.apply(settings);
                book.text = text;
            }
            self.enforce_standing();
        }
        Ok(json!({ "applied": !dry_run, "rules": rules, "dry_run": dry }))
    }

    pub(crate) fn response_show(&self) -> Value {
        let mut shown = self.responses_json();
        shown["text"] = json!(self.response.book.lock().text);
        shown
    }

    /// What stands, by number.
    pub(crate) fn response_list(&self) -> Value {
        self.response.book.lock().responder.measures().map(measure_json).collect()
    }

    /// Ends a measure before its time.
    pub(crate) fn response_lift(&self, actor: &Actor, id: u64, reason: &str) -> Result<Value, AdminError> {
        let _turn = self.response.turn.lock();
        let now = self.response.clock.last();
        let lifted = self.response.book.lock().responder.lift(id, &actor.name, reason, now);
        let lift = lifted.map_err(|error| match error {
            LiftError::Text(error) => AdminError::Invalid(error.to_string()),
            LiftError::Unknown(_) => AdminError::Refused(format!("{error}; `portreeve response list` shows all")),
        })?;
        let told = measure_json(&lift.measure);
        if self.undo(vec![lift], now.wall) {
            Ok(told)
        } else {
            Err(AdminError::Refused(
                "the measure is over, but its identity is not freed yet: see the log; it is tried again".into(),
            ))
        }
    }
}
