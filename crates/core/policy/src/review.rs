//! What can be said of a policy without asking it: who is permitted much, and what another policy makes superfluous.

use cedar_policy::pst::ResourceConstraint;
use portreeve_types::covers;

use crate::{
    Action, PolicyId, PolicySet,
    facts::{is_topic, scope_topic},
    rule::{Rule, Who},
};

/// The topics of all identities: who has these has those of others.
const OF_EVERYBODY: &str = "devices/+/#";

/// Whom a policy's scope speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience<'a> {
    /// All.
    Everyone,
    /// The members of a group.
    Group(&'a str),
    /// One identity.
    Identity(&'a str),
}

/// A permission on topics of more than one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide<'a> {
    /// Which policy.
    pub id: &'a PolicyId,
    /// To whom.
    pub to: Audience<'a>,
    /// The filter of its scope; nothing for every topic.
    pub topics: Option<&'a str>,
    /// Whether a condition narrows it.
    pub is_conditional: bool,
    /// Whether it lets publish; else it lets subscribe alone.
    pub publishes: bool,
}

impl PolicySet {
    /// Permissions whose scope is every topic, one that begins with a wildcard, or the topics of all identities. The built-in policy
    /// is left out, and so is what speaks of sessions alone.
    pub fn wide(&self) -> impl Iterator<Item = Wide<'_>> {
        let permits = self.rules().filter(|rule| !rule.built_in && !rule.is_forbid);
        let on_topics = permits.filter(|rule| rule.applies_to(Action::Publish) || rule.applies_to(Action::Subscribe));
        on_topics.filter_map(|rule| {
            let topics = match scope_topic(&rule.resource) {
                Some(uid) if is_wide(&uid.eid) => Some(uid.eid.as_str()),
                Some(_) => return None,
                None => None,
            };
            Some(Wide {
                id: &rule.id,
                to: audience(rule),
                topics,
                is_conditional: !rule.clauses.is_empty(),
                publishes: rule.applies_to(Action::Publish),
            })
        })
    }

    /// Whom each policy is for, but for the built-in ones and those for everyone.
    pub fn audiences(&self) -> impl Iterator<Item = (&PolicyId, Audience<'_>)> {
        let own = self.rules().filter(|rule| !rule.built_in && rule.who != Who::Everyone);
        own.map(|rule| (&rule.id, audience(rule)))
    }

    /// Policies that change nothing, each with one that decides all that it could: a permission within a broader one or within what is
    /// forbidden, a prohibition within a broader one. Conditions are not compared: a policy that has one makes nothing superfluous.
    /// Takes time in proportion to the policies for everyone times all, and to the square of those for one audience.
    #[must_use]
    pub fn shadowed(&self) -> Vec<(&PolicyId, &PolicyId)> {
        let broad: Vec<(usize, &Rule)> = self.rules().enumerate().filter(|(_, rule)| rule.clauses.is_empty()).collect();
        let mut found = Vec::new();
        for (place, rule) in self.rules().enumerate().filter(|(_, rule)| !rule.built_in) {
            let by = broad.iter().find(|(other, by)| {
                // Of two alike, the later one is superfluous.
                *other != place && decides_all(by, rule) && (*other < place || !decides_all(rule, by))
            });
            found.extend(by.map(|(_, by)| (&rule.id, &by.id)));
        }
        found
    }
}

fn audience(rule: &Rule) -> Audience<'_> {
    match &rule.who {
        Who::Everyone => Audience::Everyone,
        Who::Group(name) => Audience::Group(name),
        Who::Identity(name) => Audience::Identity(name),
    }
}

fn is_wide(filter: &str) -> bool {
    filter.starts_with(['+', '#']) || covers(filter, OF_EVERYBODY)
}

/// Whether `by` alone decides whatever `rule` could, were it not there. (`by` has no condition.)
fn decides_all(by: &Rule, rule: &Rule) -> bool {
    let effects = by.is_forbid || !rule.is_forbid;
    let who = by.who == Who::Everyone || by.who == rule.who;
    // A permission counts for those in service or for those in quarantine; a prohibition for both.
    let when = by.is_forbid || by.is_remediation == rule.is_remediation;
    // Topics of the hub's own are permitted only to who names them.
    let sys = by.is_forbid || by.facts.names_sys || !rule.facts.names_sys;
    let actions = [Action::Connect, Action::Publish, Action::Subscribe];
    effects
        && who
        && when
        && sys
        && by.clauses.is_empty()
        && actions.into_iter().all(|action| by.applies_to(action) || !rule.applies_to(action))
        && covers_resource(&by.resource, &rule.resource)
}

fn covers_resource(outer: &ResourceConstraint, inner: &ResourceConstraint) -> bool {
    if matches!(outer, ResourceConstraint::Any) {
        return true;
    }
    let (Some(outer_uid), Some(inner_uid)) = (scope_topic(outer), scope_topic(inner)) else { return false };
    match outer {
        ResourceConstraint::Eq(_) => matches!(inner, ResourceConstraint::Eq(_)) && outer_uid == inner_uid,
        _ => is_topic(outer_uid) && is_topic(inner_uid) && covers(&outer_uid.eid, &inner_uid.eid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, PolicySource};

    fn set(text: &str) -> PolicySet {
        PolicySet::compile(&[PolicySource { file: "test.cedar".into(), text: text.into() }], Epoch(1)).unwrap()
    }

    /// CSA-COM-01: what lets somebody at more than topics of one tree is told, and what does not is not.
    #[test]
    fn who_is_permitted_much_is_told() {
        let policy = set(r#"
            @id("app") permit (principal == Identity::"app", action in [Action::"publish", Action::"subscribe"], resource);
            @id("spy") permit (principal in Group::"spies", action == Action::"subscribe", resource in Topic::"devices/#");
            @id("state") permit (principal, action == Action::"subscribe", resource in Topic::"+/state")
              when { principal.kind == "application" };
            @id("hall") permit (principal, action == Action::"publish", resource in Topic::"hall/#");
            @id("away") forbid (principal, action, resource) when { principal.location == "away" };
            @id("in") permit (principal == Identity::"app", action == Action::"connect", resource);
        "#);
        let told: Vec<_> =
            policy.wide().map(|wide| (&**wide.id, wide.to, wide.topics, wide.is_conditional, wide.publishes)).collect();
        let expected = [
            ("app", Audience::Identity("app"), None, false, true),
            ("spy", Audience::Group("spies"), Some("devices/#"), false, false),
            ("state", Audience::Everyone, Some("+/state"), true, false),
        ];
        assert_eq!(told, expected);
        assert_eq!(policy.audiences().map(|(id, _)| &**id).collect::<Vec<_>>(), ["app", "spy", "in"]);
    }

    #[test]
    fn what_changes_nothing_is_told() {
        let shadowed = |text: &str| -> Vec<String> {
            set(text).shadowed().iter().map(|(id, by)| format!("{id} by {by}")).collect()
        };
        let all = r#"@id("all") permit (principal, action == Action::"publish", resource in Topic::"hall/#");"#;
        let one = r#"@id("one") permit (principal == Identity::"a", action == Action::"publish", resource in Topic::"hall/a/+");"#;
        assert_eq!(shadowed(&format!("{all} {one}")), ["one by all"]);
        assert_eq!(shadowed(&format!("{one} {all}")), ["one by all"]);
        let both = r#"@id("both") permit (principal == Identity::"a", action in [Action::"publish", Action::"subscribe"], resource in Topic::"hall/a/+");"#;
        assert_eq!(shadowed(&format!("{all} {both}")), [""; 0], "it permits more");
        let other = r#"@id("other") permit (principal, action == Action::"publish", resource in Topic::"yard/#");"#;
        assert_eq!(shadowed(&format!("{all} {other}")), [""; 0]);
        let narrowed = all.replace(';', r#" when { principal.kind == "gateway" };"#);
        assert_eq!(shadowed(&format!("{narrowed} {one}")), [""; 0], "nobody knows when");
        assert_eq!(shadowed(&format!("{all} {narrowed}").replacen("\"all\"", "\"first\"", 1)), ["all by first"]);
        let never = r#"@id("never") forbid (principal, action == Action::"publish", resource in Topic::"hall/#");"#;
        assert_eq!(shadowed(&format!("{never} {one}")), ["one by never"]);
        assert_eq!(shadowed(&format!("{one} {never}")), ["one by never"]);
        assert_eq!(
            shadowed(&format!("{all} {}", all.replace("\"all\"", "\"again\""))),
            ["again by all"],
            "the later of two alike"
        );
        let sys = r#"@id("sys") permit (principal == Identity::"a", action == Action::"subscribe", resource in Topic::"$SYS/#");"#;
        let every = r#"@id("every") permit (principal == Identity::"a", action == Action::"subscribe", resource);"#;
        assert_eq!(shadowed(&format!("{every} {sys}")), [""; 0], "only who names them has them");
    }
}
