//! Our schema and the Cedar values made from our own types.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
    sync::{Arc, LazyLock},
};

use cedar_policy::{
    Context as CedarContext, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Value, Schema,
};
use portreeve_types::{Qos, UnixMillis, covers};
use time::{OffsetDateTime, macros::format_description};

use crate::{Action, Context, Subject, facts::Reads};

/// The latest instant that Cedar's `datetime` can write: the end of the year 9999.
const UNIX_SECONDS_MAX: u64 = 253_402_300_799;

pub(crate) struct Vocabulary {
    pub(crate) schema: Schema,
    identity: EntityTypeName,
    group: EntityTypeName,
    topic: EntityTypeName,
    connect: EntityUid,
    publish: EntityUid,
    subscribe: EntityUid,
    hub: EntityUid,
}

// The texts are constants of this crate, and every test that compiles a policy runs through here.
#[allow(clippy::expect_used)]
pub(crate) static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    // proof: the names below are constants and valid Cedar identifiers.
    let entity_type = |name| EntityTypeName::from_str(name).expect("a constant entity type");
    let uid = |kind, id| EntityUid::from_type_name_and_id(entity_type(kind), EntityId::new(id));
    Vocabulary {
        // proof: the file is part of this crate, and every test that compiles a policy reads it.
        schema: Schema::from_str(include_str!("schema.cedarschema")).expect("the schema of this crate"),
        identity: entity_type("Identity"),
        group: entity_type("Group"),
        topic: entity_type("Topic"),
        connect: uid("Action", "connect"),
        publish: uid("Action", "publish"),
        subscribe: uid("Action", "subscribe"),
        hub: uid("Hub", "portreeve"),
    }
});

impl Vocabulary {
    pub(crate) fn action(&self, action: Action) -> EntityUid {
        match action {
            Action::Connect => self.connect.clone(),
            Action::Publish => self.publish.clone(),
            Action::Subscribe | Action::Receive => self.subscribe.clone(),
        }
    }

    pub(crate) fn hub(&self) -> EntityUid {
        self.hub.clone()
    }

    pub(crate) fn identity(&self, name: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.identity.clone(), EntityId::new(name))
    }

    pub(crate) fn topic(&self, path: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.topic.clone(), EntityId::new(path))
    }

    /// The principal with only those attributes that `reads` holds; it lives as long as a slice.
    pub(crate) fn principal(&self, subject: &Subject, reads: Reads) -> Option<Entity> {
        let value = |name| match name {
            "id" => subject.id.to_string(),
            "kind" => subject.kind.as_str().to_owned(),
            "group" => subject.group.clone(),
            "owner" => subject.owner.clone(),
            "location" => subject.location.clone(),
            "model" => subject.model.clone(),
            "firmware" => subject.firmware.clone(),
            "posture" => subject.posture.as_str().to_owned(),
            _ => subject.state.as_str().to_owned(),
        };
        let read = Reads::PRINCIPAL.into_iter().filter(|(_, place)| reads.contains(*place));
        let attributes = read.map(|(name, _)| (name.to_owned(), Value::new_string(value(name)))).collect();
        let group = |name| EntityUid::from_type_name_and_id(self.group.clone(), EntityId::new(name));
        let parents = (!subject.group.is_empty()).then(|| group(&subject.group)).into_iter().collect();
        Entity::new(self.identity(subject.name.as_str()), attributes, parents).ok()
    }

    /// The topic or filter asked for, with only those attributes that `reads` holds and with those of the `named`
    /// filters that cover it as parents; `Some(None)` if that is nothing at all.
    pub(crate) fn resource<'a>(
        &self,
        uid: &EntityUid,
        path: &str,
        reads: Reads,
        named: impl Iterator<Item = &'a Arc<str>>,
    ) -> Option<Option<Entity>> {
        let mut attributes = HashMap::new();
        if reads.contains(Reads::PATH) {
            attributes.insert("path".to_owned(), Value::new_string(path.to_owned()));
        }
        if reads.contains(Reads::OWNER)
            && let Some(name) = owner(path)
        {
            attributes.insert("owner".to_owned(), Value::new_entity_uid(self.identity(name)));
        }
        if reads.contains(Reads::LEVELS) {
            attributes.extend(levels(path).map(|(key, level)| (key.to_owned(), Value::new_string(level.to_owned()))));
        }
        // A cycle of one would be refused, and `in` is reflexive anyway.
        let covering = named.filter(|filter| &***filter != path && covers(filter, path));
        let parents: HashSet<EntityUid> = covering.map(|filter| self.topic(filter)).collect();
        if attributes.is_empty() && parents.is_empty() {
            return Some(None);
        }
        Entity::new(uid.clone(), attributes, parents).ok().map(Some)
    }
}

/// The context with only those fields that `reads` holds.
pub(crate) fn context(action: Action, context: &Context<'_>, reads: Reads) -> Option<CedarContext> {
    let mut fields = Vec::new();
    let mut add = |flag, name: &str, value: &dyn Fn() -> Value| {
        if reads.contains(flag) {
            fields.push((name.to_owned(), value()));
        }
    };
    add(Reads::NOW, "now", &|| Value::new_datetime(datetime(context.now)));
    if let Some(source) = context.source {
        add(Reads::SOURCE, "source", &|| Value::new_ip(source.to_canonical().to_string()));
    }
    add(Reads::TRANSPORT, "transport", &|| Value::new_string(context.transport.to_owned()));
    add(Reads::CLIENT_ID, "client_id", &|| Value::new_string(context.client_id.to_owned()));
    if action == Action::Publish {
        add(Reads::QOS, "qos", &|| Value::new_long(context.qos.unwrap_or(Qos::AtMostOnce) as i64));
        add(Reads::RETAIN, "retain", &|| Value::new_bool(context.retain));
    }
    if fields.is_empty() {
        return Some(CedarContext::empty());
    }
    CedarContext::from_pairs(fields).ok()
}

/// The text form that Cedar's `datetime` reads.
fn datetime(instant: UnixMillis) -> String {
    let seconds = instant.seconds().min(UNIX_SECONDS_MAX);
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(instant.0 % 1000) * 1_000_000;
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let text = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().and_then(|time| time.format(&format).ok());
    text.unwrap_or_default()
}

/// Whose topic this is: `n` of `devices/n/…`, which must have a third level (perhaps a wildcard).
///
/// `devices/n` itself and `devices/+/…` are nobody's.
pub(crate) fn owner(path: &str) -> Option<&str> {
    let (name, _) = path.strip_prefix("devices/")?.split_once('/')?;
    (!name.is_empty() && name != "+").then_some(name)
}

/// The attributes that hold a path's first levels. Behind the first, an empty level or a wildcard is none, so that an
/// empty registry field equals no level.
pub(crate) fn levels(path: &str) -> impl Iterator<Item = (&'static str, &str)> {
    let named = ["level1", "level2", "level3", "level4"].into_iter().zip(path.split('/'));
    named.filter(|(name, level)| *name == "level1" || !matches!(*level, "" | "+" | "#"))
}

/// Whether the first level is `$SYS`.
pub(crate) fn is_reserved(path: &str) -> bool {
    path.split('/').next() == Some("$SYS")
}
