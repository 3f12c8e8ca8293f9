use portreeve_types::UnixMillis;
use serde_json::Value;

use super::Scope;
use crate::{
    Envelope, Facts,
    evidence::{
        config::{HostRole, firewall::FirewallPolicy, host::HostPolicy, sbom::SbomPolicy},
        console::ConsolePolicy,
        discovery::DeclaredDiscovery,
        login::{FailuresHeard, GuessPolicy},
        mqtt::MqttQuota,
    },
};

/// What is wrong with a value, if anything is.
type Reader = fn(&Value) -> Option<String>;

/// Kinds that a scope can declare, and what reads each.
const READERS: [(&str, Reader); 9] = [
    (HostRole::KIND, problem::<HostRole>),
    (HostPolicy::KIND, problem::<HostPolicy>),
    (FirewallPolicy::KIND, problem::<FirewallPolicy>),
    (SbomPolicy::KIND, problem::<SbomPolicy>),
    (DeclaredDiscovery::KIND, problem::<DeclaredDiscovery>),
    (MqttQuota::KIND, problem::<MqttQuota>),
    (ConsolePolicy::KIND, problem::<ConsolePolicy>),
    (GuessPolicy::KIND, problem::<GuessPolicy>),
    (FailuresHeard::KIND, problem::<FailuresHeard>),
];

fn problem<F: Facts>(value: &Value) -> Option<String> {
    serde_json::from_value::<F>(value.clone()).err().map(|error| error.to_string())
}

impl Scope {
    /// What is declared besides, as evidence of no target.
    pub fn declarations(&self, taken: UnixMillis, tool: &str) -> impl Iterator<Item = Envelope> {
        self.declared.iter().map(move |(kind, data)| Envelope {
            kind: kind.clone(),
            target: None,
            taken,
            tool: tool.to_owned(),
            data: data.clone(),
        })
    }

    pub(super) fn check_declared(&self) -> Result<(), String> {
        for (kind, value) in &self.declared {
            let Some((_, problem)) = READERS.iter().find(|(known, _)| known == kind) else {
                let kinds = READERS.map(|(known, _)| known).join(", ");
                return Err(format!("{kind} is nothing to declare; what can be is {kinds}"));
            };
            if let Some(problem) = problem(value) {
                return Err(format!("{kind}: {problem}"));
            }
        }
        Ok(())
    }
}
