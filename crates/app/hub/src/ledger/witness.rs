//! The ledger's side of witnesses: what they are asked, and what their answers mean.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use portreeve_events::{Event, Kind as EventKind};
use portreeve_ledger::{Checkpoint, Note, Reader, VerifierKey, consistency_proof, witness::AddCheckpoint};
use portreeve_ledger_files::{Folder, PageError, Snapshot, Volume as _, witnessed_by};
use portreeve_types::UnixMillis;

use crate::Hub;

/// Most bytes of an answer: some signatures.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// How it stands with each witness.
#[derive(Debug, Default)]
pub(crate) struct Witnesses(Mutex<BTreeMap<String, Standing>>);

#[derive(Clone, Copy, Debug)]
struct Standing {
    /// When it cosigned last, or was first asked.
    heard: UnixMillis,
    told_silent: bool,
    told_refused: bool,
}

/// A head that one witness is asked to cosign.
#[derive(Debug)]
pub struct Cosigning {
    witness: VerifierKey,
    head: Checkpoint,
    signed: String,
    old: u64,
    body: String,
}

/// What a witness answered over HTTP.
#[derive(Clone, Debug)]
pub struct WitnessAnswer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// These are its signatures below the head.
    Cosigned(String),
    /// It knows another size, from which it may be asked.
    AskFrom(u64),
    /// It knows another history.
    Fork(String),
    /// Nothing of use.
    Useless(String),
}

impl Cosigning {
    /// What is posted to `add-checkpoint`.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    fn of(ledger: &Snapshot, witness: &VerifierKey, old: u64) -> Result<Self, PageError> {
        let head = ledger.head().clone();
        let reader = Reader::open(ledger, ledger.head())?;
        let proof = consistency_proof(&reader, old, head.size)?;
        let signed = String::from_utf8_lossy(ledger.signed()).into_owned();
        let body = AddCheckpoint { old, proof, checkpoint: &signed }.to_body();
        Ok(Self { witness: witness.clone(), head, signed, old, body })
    }

    fn meaning(&self, answer: &WitnessAnswer) -> Meaning {
        let text = str::from_utf8(&answer.body).ok().filter(|body| body.len() <= ANSWER_BYTES_MAX);
        let Some(text) = text else { return Meaning::Useless("its answer is no text, or too long".into()) };
        match answer.status {
            200 => self.cosigned(text),
            409 => match text.trim_end().parse() {
                Ok(size) if size > self.head.size => Meaning::Fork(format!(
                    "it has seen {size} entries, and the ledger has {}: it was rolled back",
                    self.head.size
                )),
                Ok(size) if size != self.old => Meaning::AskFrom(size),
                Ok(size) => Meaning::Fork(format!("it has seen another ledger of {size} entries")),
                Err(_) => Meaning::Useless("its answer has no size".into()),
            },
            422 => Meaning::Fork(format!("what it has seen of {} entries is not their beginning", self.old)),
            status => Meaning::Useless(format!("it answers with status {status}")),
        }
    }

    /// The lines of an answer that are this witness's signatures: those of others were not asked for.
    fn cosigned(&self, text: &str) -> Meaning {
        let is_its = |line: &&str| {
            let note = format!("{}{line}", self.signed);
            Note::parse(note.as_bytes()).is_ok_and(|note| note.signed_by(&self.witness).is_ok())
        };
        let lines: String = text.split_inclusive('\n').filter(is_its).collect();
        if lines.is_empty() {
            Meaning::Useless("its signature is not its key's".into())
        } else {
            Meaning::Cosigned(lines)
        }
    }
}

/// The size of the last head that this witness has cosigned.
fn known_to(folder: &Path, witness: &VerifierKey, ledger: &VerifierKey) -> u64 {
    let signed = std::fs::read(folder.join(witnessed_by(witness))).unwrap_or_default();
    // Without it, the witness says where it stands.
    Checkpoint::open(&signed, ledger).map_or(0, |head| head.size)
}

impl Hub {
    /// What this witness is asked now.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn cosigning(&self, witness: &VerifierKey, now: UnixMillis) -> Result<Cosigning, PageError> {
        self.witnesses.0.lock().entry(witness.to_string()).or_insert(Standing {
            heard: now,
            told_silent: false,
            told_refused: false,
        });
        let (folder, ledger, key) = self.own_ledger()?;
        let old = known_to(&folder, witness, &key).min(ledger.head().size);
        Cosigning::of(&ledger, witness, old)
    }

    /// What a witness answered. Returns what to ask it once more, if it knows another head of the same history. What it has cosigned
    /// is kept; that it knows another history is the event `witness_refused`, once.
    ///
    /// # Errors
    /// The ledger cannot be read or written.
    pub fn witness_answered(
        &self,
        asked: &Cosigning,
        answer: &WitnessAnswer,
        now: UnixMillis,
    ) -> Result<Option<Cosigning>, PageError> {
        let name = asked.witness.name();
        match asked.meaning(answer) {
            Meaning::Cosigned(lines) => {
                let (folder, ..) = self.own_ledger()?;
                Folder::new(&folder)
                    .write(&witnessed_by(&asked.witness), format!("{}{lines}", asked.signed).as_bytes())?;
                let heard = Standing { heard: now, told_silent: false, told_refused: false };
                self.witnesses.0.lock().insert(asked.witness.to_string(), heard);
            }
            Meaning::AskFrom(size) => {
                let (_, ledger, _) = self.own_ledger()?;
                if size <= ledger.head().size {
                    return Cosigning::of(&ledger, &asked.witness, size).map(Some);
                }
            }
            Meaning::Fork(why) => {
                if self.tells_once(asked, |standing| &mut standing.told_refused) {
                    self.tell(&Event::new(EventKind::WitnessRefused, format_args!("{name}: {why}")));
                }
            }
            Meaning::Useless(why) => tracing::warn!(witness = name, "the ledger was not cosigned: {why}"),
        }
        Ok(None)
    }

    /// Tells of witnesses that have not cosigned for too long, once each.
    pub fn look_for_silent_witnesses(&self, now: UnixMillis) {
        let late_ms = self.config().ledger.witness_late_s * 1000;
        let mut silent = Vec::new();
        for (key, standing) in self.witnesses.0.lock().iter_mut() {
            if !standing.told_silent && now.0.saturating_sub(standing.heard.0) >= late_ms {
                standing.told_silent = true;
                silent.push(key.split('+').next().unwrap_or_default().to_owned());
            }
        }
        for name in silent {
            self.tell(&Event::new(
                EventKind::WitnessSilent,
                format_args!("{name} has not cosigned for {} s", late_ms / 1000),
            ));
        }
    }

    fn tells_once(&self, asked: &Cosigning, told: impl Fn(&mut Standing) -> &mut bool) -> bool {
        let mut standings = self.witnesses.0.lock();
        standings.get_mut(&asked.witness.to_string()).is_some_and(|standing| !std::mem::replace(told(standing), true))
    }

    fn own_ledger(&self) -> Result<(PathBuf, Snapshot, VerifierKey), PageError> {
        let (place, key) = self.ledger_place().map_err(|error| PageError::Damaged(error.to_string()))?;
        let ledger = Snapshot::take(place.files(), &key)?;
        Ok((place.files().folder().to_owned(), ledger, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_ledger::{Hash, SignatureKind};

    fn asked(old: u64) -> Cosigning {
        let key = |name, kind| VerifierKey::new(name, kind, [7; 32]).unwrap();
        let head = Checkpoint { origin: "hub".into(), size: 500, root: Hash::of_nothing(), extensions: Vec::new() };
        Cosigning {
            witness: key("w", SignatureKind::Cosignature),
            signed: format!("{head}\n\u{2014} hub AAAAAAAA\n"),
            head,
            old,
            body: String::new(),
        }
    }

    /// What a witness says is believed as far as it says that something is wrong; a signature only if it is its key's.
    #[test]
    fn an_answer_has_one_meaning() {
        let meaning = |status, body: &str| asked(300).meaning(&WitnessAnswer { status, body: body.into() });
        assert_eq!(meaning(409, "200\n"), Meaning::AskFrom(200));
        assert_eq!(meaning(409, "500\n"), Meaning::AskFrom(500));
        assert!(matches!(meaning(409, "501\n"), Meaning::Fork(_)), "a roll-back");
        assert!(matches!(meaning(409, "300\n"), Meaning::Fork(_)), "two of one size");
        assert!(matches!(meaning(422, ""), Meaning::Fork(_)));
        for (status, body) in [(409, "many"), (200, ""), (200, "\u{2014} w AAAA\n"), (403, ""), (500, ""), (301, "")] {
            assert!(matches!(meaning(status, body), Meaning::Useless(_)), "{status} {body}");
        }
        let long = WitnessAnswer { status: 409, body: vec![b'1'; ANSWER_BYTES_MAX + 1] };
        assert!(matches!(asked(300).meaning(&long), Meaning::Useless(_)));
        assert!(matches!(asked(300).meaning(&WitnessAnswer { status: 409, body: vec![0xff] }), Meaning::Useless(_)));
    }
}
