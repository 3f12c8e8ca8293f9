//! Lists of rights as Mosquitto has them (mosquitto.conf(5), `acl_file`); VerneMQ reads the same.

use portreeve_assurance::evidence::config::broker::{Access, AclRule, BrokerAcl, Who};

use crate::{
    IntakeError, Piece,
    lines::{File, head, shown},
};

pub(crate) fn list(file: &File<'_>) -> Result<Piece, IntakeError> {
    let mut rules = Vec::new();
    let mut who = Who::Anonymous;
    for (line, text) in file.said(&['#']) {
        let (word, rest) = head(text);
        let is_pattern = word == "pattern";
        match word {
            "user" if !rest.is_empty() => {
                who = Who::User(shown(rest));
                continue;
            }
            "topic" | "pattern" if !rest.is_empty() => {}
            _ => return Err(file.error(line, "not `user NAME`, `topic [ACCESS] TOPIC` or `pattern [ACCESS] TOPIC`")),
        }
        let (first, behind) = head(rest);
        let (access, topic) = match first {
            "read" if !behind.is_empty() => (Access::Read, behind),
            "write" if !behind.is_empty() => (Access::Write, behind),
            "readwrite" if !behind.is_empty() => (Access::ReadWrite, behind),
            "deny" if !behind.is_empty() => (Access::Deny, behind),
            _ => (Access::ReadWrite, rest),
        };
        file.expect_list(line, rules.len())?;
        let who = if is_pattern { Who::Everyone } else { who.clone() };
        rules.push(AclRule { line, who, access, topic: shown(topic) });
    }
    let facts = BrokerAcl { file: shown(file.name), rules };
    Ok(Piece::of(&facts, file.name, &["cfg.broker"]))
}
