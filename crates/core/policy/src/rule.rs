//! One policy, parsed, named and analysed.

use std::{collections::HashMap, str::FromStr, sync::Arc};

use cedar_policy::{
    PolicySet as CedarSet,
    pst::{ActionConstraint, Clause, Effect, EntityOrSlot, PrincipalConstraint, ResourceConstraint, Template},
};
use portreeve_types::{TopicFilter, covers};

use crate::{
    Action, Diagnostic, PolicyId, PolicySource,
    facts::{Facts, Reads, is_topic, scope_topic},
    source::position,
};

/// Whom a policy's scope speaks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Everyone,
    Identity(String),
    Group(String),
}

/// A compiled policy.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: PolicyId,
    pub(crate) source: usize,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) text: String,
    pub(crate) built_in: bool,
    pub(crate) is_forbid: bool,
    /// Marked `@remediation`: what it permits, it permits to quarantined identities and nobody else.
    pub(crate) is_remediation: bool,
    pub(crate) who: Who,
    pub(crate) resource: ResourceConstraint,
    pub(crate) clauses: Vec<Clause>,
    pub(crate) facts: Facts,
    /// The policy alone, under its id: shared by all slices that it is in.
    pub(crate) set: CedarSet,
    /// Where it begins in the file, in bytes.
    offset: usize,
    actions: ActionConstraint,
}

impl Rule {
    /// Whether the scope admits `action`.
    pub(crate) fn applies_to(&self, action: Action) -> bool {
        let word = if action == Action::Receive { Action::Subscribe } else { action }.as_str();
        match &self.actions {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => uid.eid == word,
            ActionConstraint::In(uids) => uids.iter().any(|uid| uid.eid == word),
        }
    }

    /// Whether the scope admits the topic or filter. (For `connect` it is left to Cedar.)
    pub(crate) fn may_concern(&self, action: Action, path: &str) -> bool {
        let Some(uid) = scope_topic(&self.resource).filter(|_| action != Action::Connect) else { return true };
        let compares = matches!(self.resource, ResourceConstraint::Eq(_));
        uid.eid == path || !compares && is_topic(uid) && covers(&uid.eid, path)
    }

    pub(crate) fn is_volatile(&self) -> bool {
        self.facts.reads.contains(Reads::VOLATILE)
    }

    /// Where the policy begins, with something to say about it.
    fn diagnostic(&self, message: impl Into<String>) -> Diagnostic {
        let (file, line, column) = (self.file.clone(), self.line, self.column);
        Diagnostic { file, line, column, message: message.into(), help: None }
    }

    /// What is allowed but hardly meant (CSA-COM-01: the allowed topics are defined).
    pub(crate) fn lint(&self) -> Option<Diagnostic> {
        if self.built_in || self.is_forbid {
            return None;
        }
        let on_topics = self.applies_to(Action::Publish) || self.applies_to(Action::Subscribe);
        let any_topic = matches!(self.resource, ResourceConstraint::Any | ResourceConstraint::Is(_));
        if self.who == Who::Everyone && any_topic && self.clauses.is_empty() && on_topics {
            let message = "this permits every topic except `$SYS/` to everyone";
            return Some(self.diagnostic(message).help("name a principal, a group or a topic, or add a condition"));
        }
        if self.who == Who::Everyone && self.facts.names_sys && !self.facts.reads_principal {
            let message = "this permits the hub's own `$SYS/` topics to everyone";
            return Some(self.diagnostic(message).help("name the identity or group that monitors the hub"));
        }
        match &self.resource {
            ResourceConstraint::Eq(EntityOrSlot::Entity(uid)) if uid.eid.contains(['+', '#']) => {
                let message = "`==` compares the text, so no message will ever be delivered under this filter";
                Some(self.diagnostic(message).help(format!("write `resource in Topic::\"{}\"`", uid.eid)))
            }
            _ => None,
        }
    }

    /// `Topic` literals that are no filters of MQTT 5.0 §4.7.
    fn bad_topics(&self, source: &PolicySource) -> Vec<Diagnostic> {
        let wrong = self.facts.topics.iter().filter_map(|topic| Some((topic, filter_error(topic)?)));
        let diagnostic = |(topic, error): (&Arc<str>, String)| {
            let offset = self.text.find(&format!("Topic::\"{topic}\"")).unwrap_or_default();
            Diagnostic::at(
                &source.file,
                &source.text,
                self.offset + offset,
                format!("`{topic}` is no topic filter: {error}"),
            )
        };
        wrong.map(diagnostic).collect()
    }
}

fn filter_error(text: &str) -> Option<String> {
    match TopicFilter::new(text) {
        Ok(filter) if filter.share_group().is_some() => {
            Some("leave `$share/GROUP/` out; a grant covers shared subscriptions too".to_owned())
        }
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// The policies of one file in their order, or everything that is wrong with it.
pub(crate) fn parse(source: &PolicySource, index: usize, built_in: bool) -> Result<Vec<Rule>, Vec<Diagnostic>> {
    let set = CedarSet::from_str(&source.text)
        .map_err(|errors| errors.iter().map(|error| Diagnostic::from_cedar(source, error)).collect::<Vec<_>>())?;
    let templates = set.templates().map(|template| {
        let offset = template.to_cedar();
        let offset = source.text.find(&offset).unwrap_or_default();
        Diagnostic::at(
            &source.file,
            &source.text,
            offset,
            "a policy with `?principal` or `?resource` cannot be used here",
        )
        .help("write the identity, group or topic itself")
    });
    let mut problems: Vec<Diagnostic> = templates.collect();
    let mut policies: HashMap<String, cedar_policy::Policy> =
        set.policies().map(|policy| (policy.id().to_string(), policy.clone())).collect();
    let mut rules = Vec::with_capacity(policies.len());
    let mut reader = Reader { source, index, built_in, offset: 0, end: 0, line: 1, named_line: 0 };
    // Cedar numbers them in the order of the text; a template takes a number too.
    for number in 0..policies.len() + problems.len() {
        let Some(policy) = policies.remove(&format!("policy{number}")) else { continue };
        match reader.rule(&policy) {
            Ok(rule) => {
                problems.extend(rule.bad_topics(source));
                rules.push(rule);
            }
            Err(diagnostic) => problems.push(diagnostic),
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

/// Goes through a file policy by policy and knows where it is.
struct Reader<'a> {
    source: &'a PolicySource,
    index: usize,
    built_in: bool,
    /// Where the current policy begins and ends, in bytes, and its line.
    offset: usize,
    end: usize,
    line: u32,
    /// The line that the last policy without `@id` was named after.
    named_line: u32,
}

impl Reader<'_> {
    fn rule(&mut self, policy: &cedar_policy::Policy) -> Result<Rule, Diagnostic> {
        let source = self.source;
        let text = policy.to_cedar().unwrap_or_default();
        self.advance(&text);
        let tree = policy
            .to_pst()
            .map_err(|error| Diagnostic::at(&source.file, &source.text, self.offset, error.to_string()))?;
        let tree: &Template = tree.body();
        let line_start = source.text[..self.offset].rfind('\n').map_or(0, |newline| newline + 1);
        let (_, column) = position(&source.text[line_start..], self.offset - line_start);
        let id = self.id(policy, column);
        let set = CedarSet::from_policies([policy.new_id(cedar_policy::PolicyId::new(&id))])
            .map_err(|error| Diagnostic::at(&source.file, &source.text, self.offset, error.to_string()))?;
        Ok(Rule {
            source: self.index,
            file: source.file.clone(),
            offset: self.offset,
            line: self.line,
            column,
            text,
            built_in: self.built_in,
            is_forbid: tree.effect == Effect::Forbid,
            is_remediation: policy.annotation("remediation").is_some(),
            who: who(&tree.principal),
            resource: tree.resource.clone(),
            clauses: tree.clauses().clone(),
            facts: Facts::of(tree),
            set,
            actions: tree.action.clone(),
            id: PolicyId(id.into()),
        })
    }

    /// Moves on to where `text` stands outside a comment.
    fn advance(&mut self, text: &str) {
        let file = &self.source.text;
        let rest = &file[self.end..];
        let commented = |offset: usize| rest[..offset].rsplit('\n').next().is_some_and(|line| line.contains("//"));
        let found = rest.match_indices(text).map(|(offset, _)| offset).find(|offset| !commented(*offset));
        let start = self.end + found.unwrap_or_default();
        let lines = file[self.offset..start].bytes().filter(|byte| *byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.offset = start;
        self.end = file.len().min(start + text.len());
    }

    /// The policy's own id, or its place: `file:line`, with the column if another on that line is called so already.
    fn id(&mut self, policy: &cedar_policy::Policy, column: u32) -> String {
        if let Some(id) = policy.annotation("id").filter(|id| !id.is_empty()) {
            return id.to_owned();
        }
        let (file, line) = (&self.source.file, self.line);
        let taken = std::mem::replace(&mut self.named_line, line) == line;
        if taken { format!("{file}:{line}:{column}") } else { format!("{file}:{line}") }
    }
}

/// A scope that no index knows counts as everyone's: Cedar looks at it again.
fn who(scope: &PrincipalConstraint) -> Who {
    match scope {
        PrincipalConstraint::Eq(EntityOrSlot::Entity(uid))
        | PrincipalConstraint::In(EntityOrSlot::Entity(uid))
        | PrincipalConstraint::IsIn(_, EntityOrSlot::Entity(uid)) => match uid.ty.0.id.as_str() {
            "Identity" => Who::Identity(uid.eid.to_string()),
            "Group" => Who::Group(uid.eid.to_string()),
            _ => Who::Everyone,
        },
        _ => Who::Everyone,
    }
}
