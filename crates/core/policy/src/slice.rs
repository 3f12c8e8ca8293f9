use std::sync::{Arc, LazyLock};

use cedar_policy::{Authorizer, Entities, Request, Response};
use portreeve_types::{TopicFilter, TopicName};

use crate::{
    Action, Context, Decision, Denial, DenialReason, Epoch, Permit, PolicyId, Subject,
    decision::Coverage,
    facts::Reads,
    proof,
    rule::Rule,
    vocabulary::{VOCABULARY, context as cedar_context, is_reserved},
};

static AUTHORIZER: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);

/// The policies that can apply to one identity, and what they need to know of it.
///
/// It holds the identity as it was: make a new one when the epoch or the registry row changes.
#[derive(Clone, Debug)]
pub struct Slice {
    epoch: Epoch,
    /// As itself: what Cedar makes of it is several kilobytes, and every session has one.
    subject: Subject,
    parts: Arc<Parts>,
}

/// The rules of a slice by action.
#[derive(Debug)]
pub(crate) struct Parts {
    connect: Vec<Arc<Rule>>,
    publish: Vec<Arc<Rule>>,
    subscribe: Vec<Arc<Rule>>,
    /// What any of them reads.
    reads: Reads,
}

impl Parts {
    pub(crate) fn new<'a>(rules: impl Iterator<Item = &'a Arc<Rule>>) -> Self {
        let rules: Vec<&Arc<Rule>> = rules.collect();
        let reads = rules.iter().fold(Reads::default(), |reads, rule| reads | rule.facts.reads);
        let part = |action| rules.iter().filter(|rule| rule.applies_to(action)).map(|rule| Arc::clone(rule)).collect();
        let (connect, publish, subscribe) = (part(Action::Connect), part(Action::Publish), part(Action::Subscribe));
        Self { connect, publish, subscribe, reads }
    }

    fn of(&self, action: Action) -> &[Arc<Rule>] {
        match action {
            Action::Connect => &self.connect,
            Action::Publish => &self.publish,
            Action::Subscribe | Action::Receive => &self.subscribe,
        }
    }
}

/// What Cedar said of each rule.
#[derive(Default)]
struct Outcome<'a> {
    permits: Vec<&'a Rule>,
    forbids: Vec<&'a Rule>,
    /// A forbid that could not be evaluated, and why.
    broken: Option<(&'a Rule, String)>,
}

impl Slice {
    pub(crate) fn new(epoch: Epoch, subject: &Subject, parts: Arc<Parts>) -> Self {
        Self { epoch, subject: subject.clone(), parts }
    }

    /// Decides one request. `resource` is a topic name, or for [`Action::Subscribe`] a plain filter; it is ignored for
    /// [`Action::Connect`] (ISVS-4.2.2, CSA-COM-01).
    ///
    /// A policy that fails to evaluate grants nothing, and refuses if it is a `forbid`.
    #[must_use]
    pub fn decide(&self, action: Action, resource: &str, context: &Context<'_>) -> Decision {
        if !self.subject.state.may_connect() {
            return refused(DenialReason::NotActive { state: self.subject.state });
        }
        if !is_well_formed(action, resource) {
            return refused(DenialReason::Malformed);
        }
        if action == Action::Publish && is_reserved(resource) {
            return refused(DenialReason::Reserved);
        }
        // Cedar has no index: it gets only the rules whose scope admits the resource, usually a handful.
        let candidates = self.parts.of(action).iter().filter(|rule| rule.may_concern(action, resource));
        let candidates: Vec<&Rule> = candidates.map(|rule| &**rule).collect();
        let cacheable = !candidates.iter().any(|rule| rule.is_volatile());
        Decision { verdict: self.verdict(&candidates, action, resource, context), cacheable }
    }

    /// Whether some decision of this slice may change from one moment or message to the next.
    #[must_use]
    pub fn is_volatile(&self) -> bool {
        let parts = [&self.parts.connect, &self.parts.publish, &self.parts.subscribe];
        parts.into_iter().flatten().any(|rule| rule.is_volatile())
    }

    /// Whether some decision of this slice may depend on where a connection comes from, and how.
    #[must_use]
    pub fn reads_peer(&self) -> bool {
        self.parts.reads.contains(Reads::PEER)
    }

    /// How many policies the slice holds that speak about `action`.
    #[must_use]
    pub fn policies_for(&self, action: Action) -> usize {
        self.parts.of(action).len()
    }

    fn verdict(
        &self,
        candidates: &[&Rule],
        action: Action,
        resource: &str,
        context: &Context<'_>,
    ) -> Result<Permit, Denial> {
        let deny = |reason, rules: &[&Rule]| Err(Denial { reason, policies: ids(rules) });
        let Some(outcome) = self.ask(candidates, action, resource, context) else {
            let message = "the request could not be put to Cedar".to_owned();
            return deny(DenialReason::EvaluationError { message }, &[]);
        };
        if let Some((rule, message)) = outcome.broken {
            return deny(DenialReason::EvaluationError { message }, &[rule]);
        }
        if !outcome.forbids.is_empty() {
            return deny(DenialReason::Forbidden, &outcome.forbids);
        }
        if outcome.permits.is_empty() {
            return deny(DenialReason::NoPermit, &[]);
        }
        let must_name = action != Action::Connect && is_reserved(resource);
        let permits: Vec<&Rule> =
            outcome.permits.into_iter().filter(|rule| !must_name || rule.facts.names_sys).collect();
        if permits.is_empty() {
            return deny(DenialReason::Reserved, &[]);
        }
        let coverage =
            if action == Action::Subscribe { self.coverage(resource, &permits, context) } else { Coverage::All };
        Ok(Permit { epoch: self.epoch, policies: ids(&permits), coverage })
    }

    /// Puts the request to each candidate; `None` if it cannot be expressed.
    fn ask<'a>(
        &self,
        candidates: &[&'a Rule],
        action: Action,
        resource: &str,
        context: &Context<'_>,
    ) -> Option<Outcome<'a>> {
        let reads = candidates.iter().fold(Reads::default(), |reads, rule| reads | rule.facts.reads);
        let principal = VOCABULARY.principal(&self.subject, reads)?;
        let asker = principal.uid();
        let target = if action == Action::Connect { VOCABULARY.hub() } else { VOCABULARY.topic(resource) };
        let named = candidates.iter().flat_map(|rule| &rule.facts.topics);
        let topic = match action {
            Action::Connect => None,
            _ => VOCABULARY.resource(&target, resource, reads, named)?,
        };
        let entities = Entities::from_entities([principal].into_iter().chain(topic), None).ok()?;
        let context = cedar_context(action, context, reads)?;
        let request = Request::new(asker, VOCABULARY.action(action), target, context, None).ok()?;
        let mut outcome = Outcome::default();
        for rule in candidates {
            outcome.add(rule, &AUTHORIZER.is_authorized(&request, &rule.set, &entities));
        }
        Some(outcome)
    }

    /// What of the granted filter needs no further decision at delivery.
    fn coverage(&self, filter: &str, permits: &[&Rule], context: &Context<'_>) -> Coverage {
        let proven = permits.iter().any(|rule| proof::permits_all_below(rule, filter));
        let harmless = |rule: &Arc<Rule>| !rule.is_forbid || proof::never_newly_forbids(rule, filter);
        if !proven || !self.parts.subscribe.iter().all(harmless) {
            return Coverage::Unproven;
        }
        // `a/#` matches `a` too, of which nothing has been proven yet. (The parent of `/#` is no topic.)
        let Some(parent) = filter.strip_suffix("/#").filter(|parent| !parent.is_empty()) else {
            return Coverage::All;
        };
        match self.decide(Action::Subscribe, parent, context).verdict {
            Ok(permit) if permit.coverage == Coverage::All => Coverage::All,
            _ => Coverage::AllButParent(parent.split('/').count()),
        }
    }
}

impl<'a> Outcome<'a> {
    /// `response` is that to `rule` alone, so that any determining policy is this one.
    fn add(&mut self, rule: &'a Rule, response: &Response) {
        let diagnostics = response.diagnostics();
        match (diagnostics.errors().next(), rule.is_forbid) {
            (Some(error), true) => self.broken = Some((rule, error.to_string())),
            (None, is_forbid) if diagnostics.reason().next().is_some() => {
                if is_forbid { &mut self.forbids } else { &mut self.permits }.push(rule);
            }
            _ => {}
        }
    }
}

/// A refusal that no policy has a part in.
fn refused(reason: DenialReason) -> Decision {
    Decision { verdict: Err(Denial { reason, policies: Vec::new() }), cacheable: true }
}

fn ids(rules: &[&Rule]) -> Vec<PolicyId> {
    let mut ids: Vec<PolicyId> = rules.iter().map(|rule| rule.id.clone()).collect();
    ids.sort();
    ids
}

fn is_well_formed(action: Action, resource: &str) -> bool {
    match action {
        Action::Connect => true,
        Action::Publish | Action::Receive => TopicName::check(resource).is_ok(),
        Action::Subscribe => TopicFilter::new(resource).is_ok_and(|filter| filter.share_group().is_none()),
    }
}
