//! What people do with cases. Each access is a line of the case's custody log and an entry of the ledger (CSA-IMT-02, CSA-MSU-03).

use std::collections::BTreeMap;

use portreeve_events::{Datum, Event, Kind as EventKind};
use portreeve_respond::{Case, CaseError, CaseState, Cases, Sha256};
use portreeve_types::UnixMillis;
use serde_json::{Value, json};

use crate::{Actor, AdminError, Hub};

impl From<CaseError> for AdminError {
    fn from(error: CaseError) -> Self {
        match error {
            CaseError::Text(_) => Self::Invalid(error.to_string()),
            CaseError::Unknown(_) => Self::Refused(format!("{error}; `portreeve case list` shows all")),
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// What may be told of a case without reading it.
fn head_json(case: &Case) -> Value {
    json!({
        "case": case.number(),
        "kind": case.kind(),
        "subject": case.subject().to_string(),
        "severity": case.severity().to_string(),
        "state": state_word(case.state()),
    })
}

fn state_word(state: CaseState) -> &'static str {
    match state {
        CaseState::Open => "open",
        CaseState::Acknowledged => "acknowledged",
        CaseState::Closed => "closed",
    }
}

fn whole_json(case: &Case) -> Value {
    // It was made by the same library.
    let mut told: Value = serde_json::from_slice(&case.to_json()).unwrap_or_default();
    told["case"] = json!(case.number());
    told["subject_text"] = json!(case.subject().to_string());
    told["custody"] = json!(case.custody().lines());
    told
}

impl Hub {
    /// Cases, the newest first; without `closed`, those that are not.
    pub(crate) fn case_list(&self, closed: bool) -> Value {
        let book = self.response.book.lock();
        let mut cases: Vec<_> =
            book.cases.iter().filter(|case| closed || case.state() != CaseState::Closed).map(head_json).collect();
        cases.reverse();
        Value::Array(cases)
    }

    /// Does something with a case: it is stored and an entry before anybody hears of it.
    fn with_case<T>(
        &self,
        actor: &Actor,
        number: u64,
        change: &str,
        work: impl FnOnce(&mut Cases, UnixMillis) -> Result<(T, Option<Sha256>), CaseError>,
    ) -> Result<T, AdminError> {
        let (done, sha256, custody) = {
            let book = &mut *self.response.book.lock();
            let (done, sha256) = work(&mut book.cases, self.wall_clock())?;
            book.keep(self)?;
            let case = book.cases.iter().find(|case| case.number() == number);
            (done, sha256, case.map(|case| case.custody().head().to_string()).unwrap_or_default())
        };
        let sha256 = sha256.map(|sha256| sha256.to_string()).unwrap_or_default();
        let data = [
            ("case", Datum::Plain(&number) as Datum<'_>),
            ("change", Datum::Plain(&change)),
            ("sha256", Datum::Plain(&sha256)),
            ("custody_sha256", Datum::Plain(&custody)),
        ];
        let event = Event::new(EventKind::CaseChanged, format_args!("")).by(&actor.name).with(&data);
        self.record(&event).map_err(|error| AdminError::Refused(error.to_string()))?;
        Ok(done)
    }

    pub(crate) fn case_show(&self, actor: &Actor, number: u64) -> Result<Value, AdminError> {
        self.with_case(actor, number, "read", |cases, now| {
            let case = cases.read(number, &actor.name, now)?;
            Ok((whole_json(case), Some(Sha256::of(&case.to_json()))))
        })
    }

    pub(crate) fn case_note(&self, actor: &Actor, number: u64, text: &str) -> Result<Value, AdminError> {
        self.with_case(actor, number, "noted in", |cases, now| {
            cases.note(number, &actor.name, text, now)?;
            Ok((json!({ "case": number }), None))
        })
    }

    pub(crate) fn case_acknowledge(&self, actor: &Actor, number: u64) -> Result<Value, AdminError> {
        self.with_case(actor, number, "acknowledged", |cases, now| {
            cases.acknowledge(number, &actor.name, now)?;
            Ok((json!({ "case": number, "state": "acknowledged" }), None))
        })
    }

    pub(crate) fn case_close(&self, actor: &Actor, number: u64, reason: &str) -> Result<Value, AdminError> {
        self.with_case(actor, number, "closed", |cases, now| {
            cases.close(number, &actor.name, reason, now)?;
            Ok((json!({ "case": number, "state": "closed" }), None))
        })
    }

    pub(crate) fn case_reopen(&self, actor: &Actor, number: u64, reason: &str) -> Result<Value, AdminError> {
        self.with_case(actor, number, "reopened", |cases, now| {
            cases.reopen(number, &actor.name, reason, now)?;
            Ok((json!({ "case": number, "state": "open" }), None))
        })
    }

    /// Notes that evidence was given to somebody: an export by the hash of its manifest, or else the case as it is now.
    pub(crate) fn case_hand_over(
        &self,
        actor: &Actor,
        number: u64,
        to: &str,
        sha256: Option<Sha256>,
    ) -> Result<Value, AdminError> {
        self.with_case(actor, number, "handed over", |cases, now| {
            let case = cases.iter().find(|case| case.number() == number).ok_or(CaseError::Unknown(number))?;
            let sha256 = sha256.unwrap_or_else(|| Sha256::of(&case.to_json()));
            cases.hand_over(number, &actor.name, to, sha256, now)?;
            Ok((json!({ "case": number, "to": to, "sha256": sha256 }), Some(sha256)))
        })
    }

    /// A case with its entries of the ledger, every file by name, and hashes of all (CSA-IMT-02).
    pub(crate) fn case_export(&self, actor: &Actor, number: u64, reason: &str) -> Result<Value, AdminError> {
        let ranges = {
            let book = self.response.book.lock();
            let case = book.cases.iter().find(|case| case.number() == number).ok_or(CaseError::Unknown(number))?;
            case.ledger().to_vec()
        };
        // Outside the book's lock: it reads files.
        let extract = self.extract(&ranges);
        let missing = extract.missing;
        let export = self.with_case(actor, number, "exported", |cases, now| {
            let export = cases.export(number, &actor.name, reason, extract.files, now)?;
            let sha256 = export.sha256;
            Ok((export, Some(sha256)))
        })?;
        // Entries, heads and keys are text, and so is what the case itself is written as.
        let text = |(name, bytes): (&String, &Vec<u8>)| (name.clone(), String::from_utf8_lossy(bytes).into_owned());
        let files: BTreeMap<String, String> = export.files.iter().map(text).collect();
        Ok(json!({ "case": number, "sha256": export.sha256, "entries_missing": missing, "files": files }))
    }
}
