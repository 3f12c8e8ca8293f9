use std::collections::BTreeMap;

use portreeve_assurance::{
    Envelope, Facts,
    evidence::config::{
        broker::{Authorization, BrokerAcl, BrokerConfig},
        host::Sockets,
        wifi::{WifiConfig, WifiKeys, WifiSecret},
    },
};
use portreeve_types::UnixMillis;
use serde_json::Value;

use crate::lines::shown;

/// Evidence of a file, not yet in an envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// [`Facts::KIND`].
    pub kind: &'static str,
    /// The facts.
    pub data: Value,
    /// What it is of: the file; for what a scanner saw, the address that it looked at.
    pub about: String,
    /// The checks that it is for.
    pub checks: &'static [&'static str],
    /// The file that it came from; whoever opened that fills it in.
    pub file: String,
    /// Files that belong to it, by the names under which it speaks of them.
    wants: Vec<String>,
}

impl Piece {
    pub(crate) fn of<F: Facts>(facts: &F, about: &str, checks: &'static [&'static str]) -> Self {
        // Plain data always have a JSON form.
        let data = serde_json::to_value(facts).unwrap_or_default();
        Self { kind: F::KIND, data, about: shown(about), checks, file: String::new(), wants: Vec::new() }
    }

    pub(crate) fn of_broker(facts: &BrokerConfig) -> Self {
        let wants = facts.authorization.iter().filter_map(|said| match &said.value {
            Authorization::File(name) => Some(name.clone()),
            _ => None,
        });
        Self { wants: wants.collect(), ..Self::of(facts, &facts.file, &["cfg.broker"]) }
    }

    pub(crate) fn of_wifi(facts: &WifiConfig) -> Self {
        let wants = facts.networks.iter().filter_map(|network| match &network.secret.value {
            WifiSecret::File(name) => Some(name.clone()),
            _ => None,
        });
        Self { wants: wants.collect(), ..Self::of(facts, &facts.file, &["cfg.wifi"]) }
    }

    /// In an envelope.
    #[must_use]
    pub fn envelope(&self, target: &str, taken: UnixMillis, tool: &str) -> Envelope {
        let data = self.data.clone();
        Envelope { kind: self.kind.to_owned(), target: Some(target.to_owned()), taken, tool: tool.to_owned(), data }
    }
}

/// Pieces that are judged together: an attempt at each of their checks.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// What they are of.
    pub target: String,
    /// The checks.
    pub checks: &'static [&'static str],
    /// The first is what the others belong to.
    pub pieces: Vec<Piece>,
}

/// Puts together what belongs together: a broker and its list of rights, an access point and its keys, a service and what listens on its
/// host (if there is one such list). What belongs to nothing here is judged by itself.
#[must_use]
pub fn subjects(pieces: Vec<Piece>) -> Vec<Subject> {
    let (parts, wholes): (Vec<Piece>, Vec<Piece>) = pieces.into_iter().partition(|piece| is_part(piece.kind));
    let sockets = parts.iter().filter(|part| part.kind == Sockets::KIND).count();
    let mut used = BTreeMap::new();
    let mut found: Vec<Subject> = Vec::new();
    for whole in wholes {
        let mut pieces = vec![whole];
        for (index, part) in parts.iter().enumerate() {
            let is_new = pieces.iter().all(|piece| piece.kind != part.kind);
            if is_new && belongs(part, &pieces[0], sockets) {
                used.insert(index, ());
                pieces.push(part.clone());
            }
        }
        found.push(subject(pieces));
    }
    let alone = parts.into_iter().enumerate().filter(|(index, _)| !used.contains_key(index));
    found.extend(alone.map(|(_, part)| subject(vec![part])));
    found
}

fn subject(pieces: Vec<Piece>) -> Subject {
    let first = pieces.first();
    let target = first.map(|piece| piece.about.clone()).unwrap_or_default();
    Subject { target, checks: first.map_or(&[], |piece| piece.checks), pieces }
}

fn is_part(kind: &str) -> bool {
    [BrokerAcl::KIND, WifiKeys::KIND, Sockets::KIND].contains(&kind)
}

fn belongs(part: &Piece, whole: &Piece, sockets: usize) -> bool {
    if part.kind == Sockets::KIND {
        return sockets == 1 && whole.checks.contains(&"cfg.host");
    }
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    part.checks == whole.checks && whole.wants.iter().any(|name| last(name) == last(&part.about))
}
