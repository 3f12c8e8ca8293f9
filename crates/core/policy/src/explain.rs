use std::fmt;

use portreeve_types::IdentityName;
use serde::Serialize;

use crate::{Action, Context, Denial, PolicyId, PolicySet, Subject};

/// A decision with its reasons, for people (`Display`) and programs (`Serialize`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Who asked.
    pub identity: IdentityName,
    /// What for.
    pub action: Action,
    /// The topic or filter; absent for `connect`.
    pub resource: Option<String>,
    /// The answer.
    pub allowed: bool,
    /// Why it was refused.
    pub denial: Option<Denial>,
    /// The answer in a sentence.
    pub reason: String,
    /// The policies that decided, in order of id.
    pub policies: Vec<ExplainedPolicy>,
    /// How many policies about this action concern this identity.
    pub policies_weighed: usize,
    /// Whether the answer may be remembered.
    pub cacheable: bool,
    /// For a granted filter: whether all it matches is proven to be granted, or else each delivery is decided.
    pub covers_delivery: Option<bool>,
}

/// A policy that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedPolicy {
    /// Its id.
    pub id: PolicyId,
    /// The file it stands in.
    pub file: String,
    /// The line it begins at.
    pub line: u32,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Whether it is one of the hub's own.
    pub built_in: bool,
    /// Its text.
    pub text: String,
}

impl PolicySet {
    /// Decides as [`crate::Slice::decide`] does and says why.
    #[must_use]
    pub fn explain(&self, subject: &Subject, action: Action, resource: &str, context: &Context<'_>) -> Explanation {
        let slice = self.slice(subject);
        let decision = slice.decide(action, resource, context);
        let (ids, reason) = match &decision.verdict {
            Ok(permit) => (permit.policies(), "a policy permits it and none forbids it".to_owned()),
            Err(denial) => (denial.policies.as_slice(), denial.reason.to_string()),
        };
        let is_filter = action == Action::Subscribe;
        Explanation {
            identity: subject.name.clone(),
            action,
            resource: (action != Action::Connect).then(|| resource.to_owned()),
            allowed: decision.is_allowed(),
            denial: decision.verdict.as_ref().err().cloned(),
            reason,
            policies: ids.iter().filter_map(|id| self.explained(id)).collect(),
            policies_weighed: slice.policies_for(action),
            cacheable: decision.cacheable,
            covers_delivery: decision.verdict.as_ref().ok().filter(|_| is_filter).map(crate::Permit::covers_delivery),
        }
    }

    fn explained(&self, id: &PolicyId) -> Option<ExplainedPolicy> {
        let rule = self.rule(id)?;
        Some(ExplainedPolicy {
            id: id.clone(),
            file: rule.file.clone(),
            line: rule.line,
            effect: if rule.is_forbid { "forbid" } else { "permit" },
            built_in: rule.built_in,
            text: rule.text.clone(),
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = if self.allowed { "ALLOW" } else { "DENY" };
        let resource = self.resource.as_deref().unwrap_or_default();
        writeln!(f, "{answer}  {} {} {resource}", self.identity, self.action)?;
        writeln!(f, "{} ({} policies weighed)", self.reason, self.policies_weighed)?;
        if self.covers_delivery == Some(false) {
            writeln!(f, "each message under this filter is decided again when it is delivered")?;
        }
        if !self.cacheable {
            writeln!(f, "the answer depends on the time or the message, so it is decided each time")?;
        }
        for policy in &self.policies {
            let origin = if policy.built_in { ", built in" } else { "" };
            writeln!(f, "\n{} {} ({}:{}{origin})", policy.effect, policy.id, policy.file, policy.line)?;
            policy.text.lines().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}
