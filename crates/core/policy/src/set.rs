use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use cedar_policy::{ValidationMode, Validator};
use portreeve_types::LifecycleState;

use crate::{
    Diagnostic, Epoch, PolicySource, Slice, Subject,
    rule::{self, Rule, Who},
    slice::Parts,
    vocabulary::VOCABULARY,
};

/// How far a policy may follow references: to the attributes of principal, resource and context, not to those of
/// another entity, which a decision does not load.
const DEREFERENCE_LEVEL: u32 = 1;

/// All policies in force, compiled and checked against the schema. A clone shares them.
#[derive(Clone, Debug)]
pub struct PolicySet(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    epoch: Epoch,
    sources: Vec<PolicySource>,
    rules: Vec<Arc<Rule>>,
    warnings: Vec<Diagnostic>,
    /// For identities in service.
    service: Index,
    /// For quarantined ones: what is marked `@remediation`, and every `forbid`.
    remediation: Index,
}

/// Rules by whom they speak about.
#[derive(Debug)]
struct Index {
    by_identity: HashMap<String, Vec<Arc<Rule>>>,
    by_group: HashMap<String, Grouped>,
    everyone: Vec<Arc<Rule>>,
    /// What a subject gets that neither its name nor its group appears in.
    everyones_parts: Arc<Parts>,
}

#[derive(Debug, Default)]
struct Grouped {
    rules: Vec<Arc<Rule>>,
    /// Made for the group's first member that has no policies of its own, then shared.
    parts: OnceLock<Arc<Parts>>,
}

impl PolicySet {
    /// Compiles the built-in policy and `sources`.
    ///
    /// # Errors
    /// Everything that is wrong, in order of file and line: syntax, schema, topic filters and policy ids used twice.
    pub fn compile(sources: &[PolicySource], epoch: Epoch) -> Result<Self, Vec<Diagnostic>> {
        let built_in = Self::default_sources();
        let built_in_count = built_in.len();
        let sources = [built_in, sources.to_vec()].concat();
        let mut rules = Vec::new();
        let mut problems = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            match rule::parse(source, index, index < built_in_count) {
                Ok(parsed) => rules.extend(parsed.into_iter().map(Arc::new)),
                Err(errors) => problems.extend(errors),
            }
        }
        let mut warnings = Vec::new();
        let unique = unique_ids(&rules, &mut problems);
        validate(&sources, &unique, &mut problems, &mut warnings);
        if !problems.is_empty() {
            problems.sort();
            problems.dedup();
            return Err(problems);
        }
        warnings.extend(rules.iter().filter_map(|rule| rule.lint()));
        warnings.sort();
        Ok(Self(Arc::new(Compiled::index(epoch, sources, rules, warnings))))
    }

    /// The built-in policy: an active identity may connect, and use the topics below `devices/<its name>/`; a quarantined
    /// one only those below `devices/<its name>/remediation/`.
    #[must_use]
    pub fn default_sources() -> Vec<PolicySource> {
        let text = include_str!("default.cedar").to_owned();
        vec![PolicySource { file: "built-in/default.cedar".to_owned(), text }]
    }

    /// The policies that can apply to `subject`, ready to decide; made once per session and epoch.
    ///
    /// The cost depends on how many policies apply, not on how many there are.
    #[must_use]
    pub fn slice(&self, subject: &Subject) -> Slice {
        let is_confined = subject.state == LifecycleState::Quarantined;
        let index = if is_confined { &self.0.remediation } else { &self.0.service };
        Slice::new(self.0.epoch, subject, index.parts_for(subject))
    }

    /// The version these policies were compiled as.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// The built-in source, then those given to [`PolicySet::compile`].
    #[must_use]
    pub fn sources(&self) -> &[PolicySource] {
        &self.0.sources
    }

    /// What compiles but is hardly meant.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.0.warnings
    }

    /// How many policies there are, the built-in ones included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the built-in policy is always there")]
    pub fn len(&self) -> usize {
        self.0.rules.len()
    }

    /// Every topic and filter that a policy names.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.0.rules.iter().flat_map(|rule| rule.facts.topics.iter()).map(|topic| &**topic)
    }

    /// All of them as one set of Cedar's.
    pub(crate) fn cedar(&self) -> Result<cedar_policy::PolicySet, String> {
        let policies = self.0.rules.iter().flat_map(|rule| rule.set.policies().cloned());
        cedar_policy::PolicySet::from_policies(policies).map_err(|error| error.to_string())
    }

    /// All policies, the built-in ones first, each file in its order.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.0.rules.iter().map(|rule| &**rule)
    }

    pub(crate) fn rule(&self, id: &str) -> Option<&Rule> {
        self.0.rules.iter().find(|rule| &*rule.id == id).map(|rule| &**rule)
    }
}

impl Compiled {
    fn index(epoch: Epoch, sources: Vec<PolicySource>, rules: Vec<Arc<Rule>>, warnings: Vec<Diagnostic>) -> Self {
        let service = Index::of(rules.iter().filter(|rule| rule.is_forbid || !rule.is_remediation));
        let remediation = Index::of(rules.iter().filter(|rule| rule.is_remediation || rule.is_forbid));
        Self { epoch, sources, rules, warnings, service, remediation }
    }
}

impl Index {
    fn of<'a>(rules: impl Iterator<Item = &'a Arc<Rule>>) -> Self {
        let mut by_identity: HashMap<String, Vec<Arc<Rule>>> = HashMap::new();
        let mut by_group: HashMap<String, Grouped> = HashMap::new();
        let mut everyone = Vec::new();
        for rule in rules {
            match &rule.who {
                Who::Everyone => everyone.push(Arc::clone(rule)),
                Who::Identity(name) => by_identity.entry(name.clone()).or_default().push(Arc::clone(rule)),
                Who::Group(name) => by_group.entry(name.clone()).or_default().rules.push(Arc::clone(rule)),
            }
        }
        let everyones_parts = Arc::new(Parts::new(everyone.iter()));
        Self { by_identity, by_group, everyone, everyones_parts }
    }

    fn parts_for(&self, subject: &Subject) -> Arc<Parts> {
        let group = self.by_group.get(&subject.group).filter(|_| !subject.group.is_empty());
        match (self.by_identity.get(subject.name.as_str()), group) {
            (None, None) => Arc::clone(&self.everyones_parts),
            (None, Some(group)) => {
                Arc::clone(group.parts.get_or_init(|| Arc::new(Parts::new(self.everyone.iter().chain(&group.rules)))))
            }
            (Some(own), group) => {
                let grouped = group.map(|group| group.rules.as_slice()).unwrap_or_default();
                Arc::new(Parts::new(self.everyone.iter().chain(grouped).chain(own)))
            }
        }
    }
}

/// The rules without those whose id another has already, each of which becomes a problem.
fn unique_ids<'a>(rules: &'a [Arc<Rule>], problems: &mut Vec<Diagnostic>) -> HashMap<&'a str, &'a Rule> {
    let mut unique: HashMap<&str, &Rule> = HashMap::new();
    for rule in rules {
        if let Some(first) = unique.get(&*rule.id) {
            let (file, line, column) = (rule.file.clone(), rule.line, rule.column);
            let message = format!("the policy id `{}` is taken by {}:{}", rule.id, first.file, first.line);
            let help = Some("give each policy an `@id(\"…\")` of its own".to_owned());
            problems.push(Diagnostic { file, line, column, message, help });
            continue;
        }
        unique.insert(&rule.id, rule);
    }
    unique
}

fn validate(
    sources: &[PolicySource],
    rules: &HashMap<&str, &Rule>,
    problems: &mut Vec<Diagnostic>,
    warnings: &mut Vec<Diagnostic>,
) {
    let place = |id: &cedar_policy::PolicyId, error: &dyn miette::Diagnostic| {
        let rule = rules.get(AsRef::<str>::as_ref(id))?;
        Some(Diagnostic::from_cedar(&sources[rule.source], error))
    };
    let set = match cedar_policy::PolicySet::from_policies(rules.values().flat_map(|rule| rule.set.policies().cloned()))
    {
        Ok(set) => set,
        // Unreachable while ids are unique; refuse rather than go on unchecked.
        Err(error) => return problems.push(Diagnostic::at("policies", "", 0, error.to_string())),
    };
    let validator = Validator::new(VOCABULARY.schema.clone());
    let result = validator.validate_with_level(&set, ValidationMode::Strict, DEREFERENCE_LEVEL);
    problems.extend(result.validation_errors().filter_map(|error| place(error.policy_id(), error)));
    warnings.extend(result.validation_warnings().filter_map(|warning| place(warning.policy_id(), warning)));
}
