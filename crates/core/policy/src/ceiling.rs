//! Two sets of policies, prepared for a prover that compares them.
//!
//! A prover takes the hierarchy of topics as given from outside: it does not know that whatever is below `a/b` is below `a/#`. Decisions
//! do, so each mention of a topic filter is made to say so of the wider filters that either set mentions. That changes no decision.

use std::collections::BTreeSet;

use cedar_policy::Schema;
use portreeve_types::covers;
use serde_json::{Value, json};

use crate::{PolicySet, vocabulary::VOCABULARY};

/// What a prover compares.
#[derive(Debug)]
pub struct Comparison {
    /// What policies can speak about.
    pub schema: &'static Schema,
    /// The policies that should stay within.
    pub candidate: cedar_policy::PolicySet,
    /// Those that they should stay within.
    pub ceiling: cedar_policy::PolicySet,
}

impl PolicySet {
    /// These policies beside others that they should stay within (ISVS-4.2.2).
    ///
    /// Policies marked `@remediation` are taken as if they held for everybody, which can only make the comparison stricter.
    ///
    /// # Errors
    /// What cannot be written as Cedar's JSON, which compiled policies always can.
    pub fn compared_with(&self, ceiling: &Self) -> Result<Comparison, String> {
        let topics: BTreeSet<&str> = self.topics().chain(ceiling.topics()).collect();
        Ok(Comparison {
            schema: &VOCABULARY.schema,
            candidate: explicit(&self.cedar()?, &topics)?,
            ceiling: explicit(&ceiling.cedar()?, &topics)?,
        })
    }
}

/// The same policies, with every topic filter's wider ones written out.
fn explicit(set: &cedar_policy::PolicySet, topics: &BTreeSet<&str>) -> Result<cedar_policy::PolicySet, String> {
    let mut json = set.clone().to_json().map_err(|error| error.to_string())?;
    let policies = json.get_mut("staticPolicies").and_then(Value::as_object_mut).ok_or("there are no policies")?;
    for policy in policies.values_mut() {
        let mut added = Vec::new();
        for entity in scope_topics(&policy["resource"]) {
            added.extend(wider(&entity, topics).map(|wider| within(&json!({ "Var": "resource" }), wider)));
        }
        let conditions =
            policy.get_mut("conditions").and_then(Value::as_array_mut).ok_or("a policy has no conditions")?;
        for condition in conditions.iter_mut() {
            rewrite(&mut condition["body"], topics);
        }
        conditions.extend(added.into_iter().map(|body| json!({ "kind": "when", "body": body })));
    }
    cedar_policy::PolicySet::from_json_value(json).map_err(|error| error.to_string())
}

/// The topics that a scope names: `resource == T`, `resource in T`, `resource is Topic in T`.
fn scope_topics(scope: &Value) -> Vec<String> {
    [&scope["entity"], &scope["in"]["entity"]].into_iter().filter_map(topic_of).collect()
}

/// The text of a `Topic`.
fn topic_of(entity: &Value) -> Option<String> {
    (entity["type"] == "Topic").then(|| entity["id"].as_str().map(str::to_owned))?
}

/// Filters that cover another one.
fn wider<'a>(filter: &'a str, topics: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a str> {
    topics.iter().copied().filter(move |wider| *wider != filter && covers(wider, filter))
}

fn within(what: &Value, filter: &str) -> Value {
    json!({ "in": { "left": what, "right": { "Value": { "__entity": { "type": "Topic", "id": filter } } } } })
}

/// Makes `e in T` and `e == T` say what follows of the wider filters; `e in [T, U]` becomes `e in T || e in U`.
fn rewrite(expression: &mut Value, topics: &BTreeSet<&str>) {
    match expression {
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, topics)),
        Value::Object(parts) => parts.values_mut().for_each(|part| rewrite(part, topics)),
        _ => return,
    }
    for operator in ["in", "=="] {
        let (left, right) = (&expression[operator]["left"], &expression[operator]["right"]);
        if let Some(items) = right["Set"].as_array() {
            let mut either: Vec<Value> =
                items.iter().map(|item| json!({ operator: { "left": left, "right": item } })).collect();
            let are_topics =
                operator == "in" && items.iter().all(|item| topic_of(&item["Value"]["__entity"]).is_some());
            if !are_topics || either.is_empty() {
                continue;
            }
            either.iter_mut().for_each(|item| rewrite(item, topics));
            let any = either.into_iter().reduce(|one, other| json!({ "||": { "left": one, "right": other } }));
            *expression = any.unwrap_or_default();
            return;
        }
        let Some(filter) = topic_of(&right["Value"]["__entity"]) else { continue };
        let left = left.clone();
        let whole = wider(&filter, topics)
            .map(|wider| within(&left, wider))
            .fold(expression.clone(), |all, more| json!({ "&&": { "left": all, "right": more } }));
        *expression = whole;
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, PolicySource};

    fn set(text: &str) -> PolicySet {
        PolicySet::compile(&[PolicySource { file: "p.cedar".into(), text: text.into() }], Epoch(1)).unwrap()
    }

    /// Of the candidate's own policy, as text.
    fn explicit_text(candidate: &str, ceiling: &str) -> String {
        let compared = set(candidate).compared_with(&set(ceiling)).unwrap();
        let own = compared.candidate.policies().find(|policy| !policy.id().to_string().starts_with("default."));
        own.unwrap().to_string()
    }

    #[test]
    fn a_filter_says_what_follows_of_the_wider_ones() {
        let ceiling = r#"permit (principal, action, resource in Topic::"a/#");"#;
        let named = [
            r#"permit (principal, action, resource in Topic::"a/b");"#,
            r#"permit (principal, action, resource == Topic::"a/b");"#,
            r#"permit (principal, action, resource) when { resource in Topic::"a/b" };"#,
            r#"permit (principal, action == Action::"publish", resource) when { resource in [Topic::"a/b", Topic::"c"] };"#,
        ];
        for candidate in named {
            let text = explicit_text(candidate, ceiling);
            assert!(text.contains(r#"resource in Topic::"a/#""#), "{text}");
        }
        // What is not wider is not said.
        let text = explicit_text(r#"permit (principal, action, resource in Topic::"b/#");"#, ceiling);
        assert!(!text.contains(r#"Topic::"a/#""#), "{text}");
    }
}
