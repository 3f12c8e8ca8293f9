//! What a policy's text reads, found once by walking its syntax tree.

use std::{
    collections::BTreeSet,
    ops::{BitOr, BitOrAssign},
    sync::Arc,
};

use cedar_policy::pst::{
    BinaryOp, Clause, EntityOrSlot, EntityUID, Expr, Literal, PatternElem, ResourceConstraint, Template, UnaryOp, Var,
};

/// A set of fields of the context, the resource and the principal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads(u32);

impl Reads {
    pub(crate) const NOW: Self = Self(1);
    pub(crate) const SOURCE: Self = Self(1 << 1);
    pub(crate) const TRANSPORT: Self = Self(1 << 2);
    pub(crate) const CLIENT_ID: Self = Self(1 << 3);
    pub(crate) const QOS: Self = Self(1 << 4);
    pub(crate) const RETAIN: Self = Self(1 << 5);
    pub(crate) const PATH: Self = Self(1 << 6);
    pub(crate) const OWNER: Self = Self(1 << 7);
    pub(crate) const LEVELS: Self = Self(1 << 8);
    /// What can differ between two requests of one session for the same action and topic.
    pub(crate) const VOLATILE: Self = Self(Self::NOW.0 | Self::QOS.0 | Self::RETAIN.0);
    /// What can differ between two connections of one session.
    pub(crate) const PEER: Self = Self(Self::SOURCE.0 | Self::TRANSPORT.0);
    const CONTEXT: Self = Self(0x3f);
    const RESOURCE: Self = Self(0x1c0);
    /// The principal's attributes, each with its place in the set.
    pub(crate) const PRINCIPAL: [(&'static str, Self); 9] = [
        ("id", Self(1 << 9)),
        ("kind", Self(1 << 10)),
        ("group", Self(1 << 11)),
        ("owner", Self(1 << 12)),
        ("location", Self(1 << 13)),
        ("model", Self(1 << 14)),
        ("firmware", Self(1 << 15)),
        ("state", Self(1 << 16)),
        ("posture", Self(1 << 17)),
    ];
    const WHOLE_PRINCIPAL: Self = Self(0x3_fe00);

    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Reads {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Reads {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// What walking one policy found.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) reads: Reads,
    /// The ids of all `Topic` literals.
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// Whether it asks *for* something that begins with `$SYS`, not merely against it.
    pub(crate) names_sys: bool,
    /// Whether a condition looks at the principal.
    pub(crate) reads_principal: bool,
}

impl Facts {
    pub(crate) fn of(policy: &Template) -> Self {
        let mut facts = Self::default();
        if let Some(uid) = scope_topic(&policy.resource) {
            facts.topic(uid);
            facts.names_sys |= names_sys(&uid.eid);
        }
        for clause in policy.clauses() {
            match clause {
                Clause::When(expr) => {
                    facts.walk(expr);
                    facts.names_sys |= asks_for_sys(expr);
                }
                Clause::Unless(expr) => facts.walk(expr),
            }
        }
        facts
    }

    fn topic(&mut self, uid: &EntityUID) {
        if is_topic(uid) {
            self.topics.insert(uid.eid.as_str().into());
        }
    }

    fn walk(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(Literal::EntityUID(uid)) => self.topic(uid),
            Expr::Var(Var::Context) => self.reads |= Reads::CONTEXT,
            Expr::Var(Var::Resource) => self.reads |= Reads::RESOURCE,
            Expr::Var(Var::Principal) => {
                self.reads_principal = true;
                self.reads |= Reads::WHOLE_PRINCIPAL;
            }
            Expr::GetAttr { expr, attr } => self.attribute(expr, attr),
            Expr::HasAttr { expr, attrs } => self.attribute(expr, &attrs.head),
            // Comparing an entity as a whole reads none of its attributes.
            Expr::BinaryOp { op: BinaryOp::Eq | BinaryOp::NotEq | BinaryOp::In, left, right } => {
                [left, right].into_iter().for_each(|side| self.operand(side));
            }
            Expr::Is { .. } => children(expr).into_iter().for_each(|side| self.operand(side)),
            _ => children(expr).into_iter().for_each(|child| self.walk(child)),
        }
    }

    /// A part of which only the identity counts, if it is an entity.
    fn operand(&mut self, expr: &Expr) {
        match expr {
            Expr::Var(Var::Principal) => self.reads_principal = true,
            Expr::Var(Var::Resource) => {}
            _ => self.walk(expr),
        }
    }

    fn attribute(&mut self, object: &Expr, attribute: &str) {
        if let Expr::Var(Var::Principal) = object {
            self.reads_principal = true;
            let place = Reads::PRINCIPAL.iter().find(|(name, _)| *name == attribute);
            self.reads |= place.map_or(Reads::WHOLE_PRINCIPAL, |(_, place)| *place);
            return;
        }
        self.reads |= match (object, attribute) {
            (Expr::Var(Var::Context), "now") => Reads::NOW,
            (Expr::Var(Var::Context), "source") => Reads::SOURCE,
            (Expr::Var(Var::Context), "transport") => Reads::TRANSPORT,
            (Expr::Var(Var::Context), "client_id") => Reads::CLIENT_ID,
            (Expr::Var(Var::Context), "qos") => Reads::QOS,
            (Expr::Var(Var::Context), "retain") => Reads::RETAIN,
            (Expr::Var(Var::Resource), "path") => Reads::PATH,
            (Expr::Var(Var::Resource), "owner") => Reads::OWNER,
            (Expr::Var(Var::Resource), "level1" | "level2" | "level3" | "level4") => Reads::LEVELS,
            _ => return self.walk(object),
        };
    }
}

/// The `Topic` that the scope compares the resource to.
pub(crate) fn scope_topic(scope: &ResourceConstraint) -> Option<&EntityUID> {
    match scope {
        ResourceConstraint::Eq(EntityOrSlot::Entity(uid))
        | ResourceConstraint::In(EntityOrSlot::Entity(uid))
        | ResourceConstraint::IsIn(_, EntityOrSlot::Entity(uid)) => Some(uid),
        _ => None,
    }
}

pub(crate) fn is_topic(uid: &EntityUID) -> bool {
    uid.ty.0.id.as_str() == "Topic" && uid.ty.0.namespace.is_empty()
}

pub(crate) fn is_resource(expr: &Expr) -> bool {
    matches!(expr, Expr::Var(Var::Resource))
}

fn names_sys(text: &str) -> bool {
    text.starts_with("$SYS")
}

/// Whether a literal that begins with `$SYS` stands where it must hold, so neither under a `!` nor in an `if`.
fn asks_for_sys(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(Literal::EntityUID(uid)) => is_topic(uid) && names_sys(&uid.eid),
        Expr::Literal(Literal::String(text)) => names_sys(text),
        Expr::Like { pattern, .. } => names_sys(&literal_prefix(pattern)),
        Expr::UnaryOp { op: UnaryOp::Not, .. } | Expr::IfThenElse { .. } => false,
        Expr::BinaryOp { op: BinaryOp::NotEq, .. } => false,
        _ => children(expr).into_iter().any(asks_for_sys),
    }
}

/// What a `like` pattern begins with, up to its first `*`.
pub(crate) fn literal_prefix(pattern: &[PatternElem]) -> String {
    let characters = pattern.iter().map_while(|element| match element {
        PatternElem::Char(character) => Some(*character),
        PatternElem::Wildcard => None,
    });
    characters.collect()
}

/// The direct parts of an expression.
pub(crate) fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => vec![expr],
        Expr::BinaryOp { left, right, .. } => vec![left, right],
        Expr::Is { expr, in_expr, .. } => [Some(expr), in_expr.as_ref()].into_iter().flatten().map(|e| &**e).collect(),
        Expr::IfThenElse { cond, then_expr, else_expr } => vec![cond, then_expr, else_expr],
        Expr::Set(elements) => elements.iter().map(|element| &**element).collect(),
        Expr::Record(fields) => fields.values().map(|field| &**field).collect(),
        _ => Vec::new(),
    }
}
