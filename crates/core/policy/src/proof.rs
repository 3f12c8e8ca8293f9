//! Proofs over policy text that hold for every topic under a filter, so that deliveries need no decision each.
//!
//! A *topic below* a filter matches it and is not the parent that a trailing `/#` matches too (that one is decided by
//! itself). All proofs are conservative: what they do not understand, they do not prove.
//!
//! They rest on three facts. A topic below a filter has the filter's literal levels, so the `owner` and
//! the `level`s that the filter has, the topic has too, with the same values. A `Topic` named in a policy that
//! covers the filter covers the topic. And whatever reads neither the resource nor volatile context has one value for
//! the whole session.

use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Clause, EntityOrSlot, Expr, Literal, PatternElem, ResourceConstraint};
use portreeve_types::covers;

use crate::{
    facts::{children, is_resource, is_topic, literal_prefix},
    rule::Rule,
    vocabulary::{levels, owner},
};

/// `rule`, which permits `filter`, permits every topic below it.
pub(crate) fn permits_all_below(rule: &Rule, filter: &str) -> bool {
    if rule.is_volatile() {
        return false;
    }
    let scope = match &rule.resource {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
        // It was met by the filter, hence covers it, hence covers what lies below.
        ResourceConstraint::In(_) | ResourceConstraint::IsIn(..) => true,
        ResourceConstraint::Eq(_) => is_one_topic(filter),
    };
    scope
        && rule.clauses.iter().all(|clause| match clause {
            Clause::When(expr) => stays_true(expr, filter),
            Clause::Unless(expr) => is_constant(expr, filter),
        })
}

/// `rule`, which does not forbid `filter`, forbids no topic below it either.
pub(crate) fn never_newly_forbids(rule: &Rule, filter: &str) -> bool {
    if rule.is_volatile() {
        return false;
    }
    let named = match &rule.resource {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
        ResourceConstraint::Eq(EntityOrSlot::Entity(uid))
        | ResourceConstraint::In(EntityOrSlot::Entity(uid))
        | ResourceConstraint::IsIn(_, EntityOrSlot::Entity(uid)) => Some(uid.eid.as_str()),
        _ => return false,
    };
    if named.is_some_and(|named| !overlaps(named, filter)) {
        return true;
    }
    // The scope is met by the filter and by everything below, so the clauses alone refused.
    let same_scope = match &rule.resource {
        ResourceConstraint::Eq(_) => is_one_topic(filter),
        _ => named.is_none_or(|named| covers(named, filter)),
    };
    let expression = |clause: &Clause| match clause {
        Clause::When(expr) | Clause::Unless(expr) => Arc::clone(expr),
    };
    if same_scope && rule.clauses.iter().all(|clause| is_constant(&expression(clause), filter)) {
        return true;
    }
    rule.clauses.iter().any(|clause| matches!(clause, Clause::When(expr) if is_false_below(expr, filter)))
}

/// Whether some topic can match both filters; `true` when in doubt.
fn overlaps(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some(left), Some(right)) if left == right || left == "+" || right == "+" => {}
            _ => return false,
        }
    }
}

/// `expr`, true for the filter, is true for every topic below.
fn stays_true(expr: &Expr, filter: &str) -> bool {
    match expr {
        Expr::BinaryOp { op: BinaryOp::And, left, right } => stays_true(left, filter) && stays_true(right, filter),
        // `path` is always there; an owner or a level that the filter has, the topic has.
        Expr::HasAttr { expr, attrs } if is_resource(expr) => attrs.tail.is_empty(),
        Expr::Is { expr, in_expr: None, .. } if is_resource(expr) => true,
        Expr::Is { expr, in_expr: Some(named), .. } if is_resource(expr) => topics(named).is_some(),
        Expr::BinaryOp { op: BinaryOp::In, left, right } if is_resource(left) => topics(right).is_some(),
        Expr::Like { expr, pattern } if is_path(expr) => {
            is_prefix_pattern(pattern) && fixed_prefix(filter).starts_with(&literal_prefix(pattern))
        }
        _ => is_constant(expr, filter),
    }
}

/// `expr` is false for every topic below the filter.
fn is_false_below(expr: &Expr, filter: &str) -> bool {
    match expr {
        Expr::BinaryOp { op: BinaryOp::And, left, right } => {
            // A left side that fails does so for the filter too: no failure depends on the resource in a checked policy.
            is_false_below(left, filter) || is_false_below(right, filter)
        }
        Expr::BinaryOp { op: BinaryOp::In | BinaryOp::Eq, left, right } if is_resource(left) => {
            topics(right).is_some_and(|named| named.iter().all(|named| !overlaps(named, filter)))
        }
        Expr::Like { expr, pattern } if is_path(expr) => {
            let (wanted, have) = (literal_prefix(pattern), fixed_prefix(filter));
            !wanted.starts_with(have) && !have.starts_with(&wanted)
        }
        _ => false,
    }
}

/// `expr` has the same value, or fails alike, for the filter and every topic below: it sees of the resource only an
/// owner or levels. (`has` must not turn from false to true.)
fn is_constant(expr: &Expr, filter: &str) -> bool {
    match expr {
        Expr::GetAttr { expr, attr } if is_resource(expr) => match attr.as_str() {
            "path" => is_one_topic(filter),
            "level1" => !filter.starts_with(['+', '#']),
            // Guarded by `has`, which has been found constant or true.
            _ => true,
        },
        Expr::HasAttr { expr, attrs } if is_resource(expr) => match attrs.head.as_str() {
            "path" | "level1" => true,
            "owner" => owner(filter).is_some() || !overlaps("devices/+/#", filter),
            level => is_one_topic(filter) || levels(filter).any(|(name, _)| name == level),
        },
        _ if is_resource(expr) => is_one_topic(filter),
        _ => children(expr).into_iter().all(|child| is_constant(child, filter)),
    }
}

/// Without a wildcard, the filter and what lies below it are the same text.
fn is_one_topic(filter: &str) -> bool {
    !filter.contains(['+', '#'])
}

fn is_path(expr: &Expr) -> bool {
    matches!(expr, Expr::GetAttr { expr, attr } if is_resource(expr) && attr.as_str() == "path")
}

fn is_prefix_pattern(pattern: &[PatternElem]) -> bool {
    let wildcard = pattern.iter().position(|element| *element == PatternElem::Wildcard);
    wildcard == pattern.len().checked_sub(1)
}

/// What every topic below begins with.
fn fixed_prefix(filter: &str) -> &str {
    filter.find(['+', '#']).map_or(filter, |wildcard| &filter[..wildcard])
}

/// The `Topic` literals of an entity or set literal; `None` for anything else.
fn topics(expr: &Expr) -> Option<Vec<&str>> {
    match expr {
        Expr::Literal(Literal::EntityUID(uid)) if is_topic(uid) => Some(vec![uid.eid.as_str()]),
        Expr::Set(elements) => {
            let named: Option<Vec<Vec<&str>>> = elements.iter().map(|element| topics(element)).collect();
            named.map(|named| named.concat())
        }
        _ => None,
    }
}
