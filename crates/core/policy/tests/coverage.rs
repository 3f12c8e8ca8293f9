//! What lets deliveries go undecided must be true of every topic.

mod common;

use common::{CONTEXT, compile, decide, member};
use portreeve_policy::{
    Action::{Receive, Subscribe},
    Epoch, PolicySet, PolicySource,
};
use portreeve_types::{TopicFilter, matches};
use proptest::prelude::*;

/// Statements of every shape that the proofs look at; `G` is the subject's group, `d` its name.
const STATEMENTS: &[&str] = &[
    r#"(principal, action, resource)"#,
    r#"(principal, action == Action::"subscribe", resource is Topic)"#,
    r#"(principal == Identity::"d", action, resource in Topic::"a/#")"#,
    r#"(principal in Group::"G", action, resource in Topic::"+/b")"#,
    r#"(principal, action, resource in Topic::"a/+/c")"#,
    r#"(principal, action, resource in Topic::"a/b/#")"#,
    r##"(principal, action, resource is Topic in Topic::"#")"##,
    r#"(principal, action, resource in Topic::"$SYS/#")"#,
    r#"(principal, action, resource == Topic::"a/b")"#,
    r#"(principal, action, resource == Topic::"a/#")"#,
    r#"(principal, action, resource) when { resource in [Topic::"a/b", Topic::"b/#"] }"#,
    r#"(principal, action, resource) when { principal.kind == "device" && resource in Topic::"a/#" }"#,
    r#"(principal, action, resource) unless { resource in Topic::"a/b" }"#,
    r#"(principal, action, resource) unless { context.transport == "mqtt" }"#,
    r#"(principal, action, resource) when { context.transport == "mqtt" }"#,
    r#"(principal, action, resource is Topic) when { resource.path like "a/*" }"#,
    r#"(principal, action, resource is Topic) when { resource.path like "a*" }"#,
    r#"(principal, action, resource is Topic) when { resource.path like "*/b" }"#,
    r#"(principal, action, resource is Topic) when { resource.path like "*+*" }"#,
    r#"(principal, action, resource is Topic) when { resource.path like "*" }"#,
    r#"(principal, action, resource is Topic) unless { resource.path like "a/b*" }"#,
    r#"(principal, action, resource is Topic) when { resource.path != "a/b" }"#,
    r#"(principal, action, resource is Topic) when { resource has owner }"#,
    r#"(principal, action, resource is Topic) unless { resource has owner }"#,
    r#"(principal, action, resource is Topic) when { resource has owner && resource.owner == principal }"#,
    r#"(principal, action, resource is Topic) when { resource has owner && resource.owner != principal }"#,
    r#"(principal, action, resource is Topic) when { resource has level1 && resource.level1 == "a" }"#,
    r#"(principal, action, resource is Topic) when { resource has level2 && resource.level2 == "b" }"#,
    r#"(principal, action, resource is Topic) when { resource has level2 && ["b", "c"].contains(resource.level2) }"#,
    r#"(principal, action, resource is Topic) unless { resource has level2 && resource.level2 == "c" }"#,
    r#"(principal, action, resource is Topic) unless { resource has level3 }"#,
    r#"(principal, action, resource is Topic) when { resource has level2 || resource.path like "b*" }"#,
    r#"(principal, action, resource is Topic) when { if resource has level2 then resource.level2 == "b" else true }"#,
    r#"(principal, action, resource) when { context.now > datetime("2000-01-01") }"#,
];

fn statement() -> impl Strategy<Value = String> {
    (prop::sample::select(vec!["permit", "permit", "forbid"]), prop::sample::select(STATEMENTS))
        .prop_map(|(effect, scope)| format!("{effect} {scope};\n"))
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "d", "devices", ""])
}

fn topic() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/"));
    let topics = prop_oneof![6 => levels, 2 => Just("devices/d/x".to_owned()), 1 => Just("devices/d".to_owned()),
        1 => Just("$SYS/a".to_owned()), 1 => Just("$x/b".to_owned())];
    topics.prop_filter("empty", |topic| !topic.is_empty())
}

/// A filter that matches the topic, made by putting wildcards in.
fn filter_for(topic: &str, mask: u8, cut: usize) -> String {
    let mut levels: Vec<&str> = topic.split('/').collect();
    for (index, level) in levels.iter_mut().enumerate() {
        if mask & (1 << index) != 0 && !(index == 0 && topic.starts_with('$')) {
            *level = "+";
        }
    }
    if cut <= levels.len() && !(cut == 0 && topic.starts_with('$')) {
        levels.truncate(cut);
        levels.push("#");
    }
    levels.join("/")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// ISVS-4.2.2: a message that is delivered without a decision of its own would have been granted by one.
    #[test]
    fn what_is_covered_is_granted(
        statements in prop::collection::vec(statement(), 1..4),
        topic in topic(),
        mask in any::<u8>(),
        cut in 0_usize..6,
    ) {
        let set = compile(&statements.concat());
        let subject = member("d", "G");
        let filter = filter_for(&topic, mask, cut);
        prop_assert!(TopicFilter::new(&filter).is_ok() && matches(&filter, &topic), "{filter} {topic}");
        let Ok(permit) = decide(&set, &subject, Subscribe, &filter).verdict else { return Ok(()) };
        let received = decide(&set, &subject, Receive, &topic);
        if permit.covers_delivery() {
            prop_assert!(received.is_allowed(), "{filter} {topic} {received:?}\n{}", statements.concat());
        }
        if permit.covers_delivery_of(&topic) {
            prop_assert!(received.is_allowed(), "of: {filter} {topic} {received:?}\n{}", statements.concat());
        }
    }

    #[test]
    fn receiving_a_topic_is_subscribing_to_exactly_it(
        statements in prop::collection::vec(statement(), 1..4),
        topic in topic(),
    ) {
        let set = compile(&statements.concat());
        let slice = set.slice(&member("d", "G"));
        let (subscribe, receive) = (slice.decide(Subscribe, &topic, &CONTEXT), slice.decide(Receive, &topic, &CONTEXT));
        prop_assert_eq!(subscribe.is_allowed(), receive.is_allowed());
        prop_assert_eq!(subscribe.cacheable, receive.cacheable);
    }

    #[test]
    fn any_text_compiles_or_is_diagnosed(text in "[a-z@#(){};\"=: .,/\\\\\n]{0,60}") {
        if let Err(problems) = PolicySet::compile(&[PolicySource { file: "f".into(), text }], Epoch(0)) {
            prop_assert!(problems.iter().all(|problem| problem.line > 0 && problem.column > 0));
        }
    }
}

#[test]
fn proofs_succeed_where_users_expect_them() {
    for (policies, filter, covered) in [
        (r#"permit (principal, action, resource);"#, "#", true),
        (r#"permit (principal, action, resource in Topic::"a/#");"#, "a/#", true),
        (r#"permit (principal, action, resource in Topic::"a/#");"#, "a/+/c", true),
        (r#"permit (principal, action, resource) when { principal.kind == "device" };"#, "#", true),
        (r#"permit (principal, action, resource is Topic) when { resource.path like "a/*" };"#, "a/+", true),
        (r#"permit (principal, action, resource is Topic) when { resource.path like "a/*" };"#, "a/b/#", true),
        (r#"permit (principal, action, resource is Topic) when { resource.path like "a/*" };"#, "a/#", false),
        (r#"permit (principal, action, resource is Topic) when { resource.path like "*/b" };"#, "+/b", false),
        (r#"permit (principal, action, resource is Topic) when { resource.path != "a" };"#, "#", false),
        (r#"permit (principal, action, resource) when { context.now > datetime("2000-01-01") };"#, "#", false),
        (r#"permit (principal, action, resource) unless { resource in Topic::"a" };"#, "#", false),
        (
            r#"permit (principal, action, resource); forbid (principal, action, resource) when { context.transport == "x" };"#,
            "#",
            true,
        ),
        (
            r#"permit (principal, action, resource); forbid (principal, action, resource in Topic::"b/+") when { principal.model == "x" };"#,
            "b/+",
            true,
        ),
        (
            r#"permit (principal, action, resource); forbid (principal, action, resource in Topic::"+/x");"#,
            "a/+",
            false,
        ),
        (r#"permit (principal, action, resource); forbid (principal, action, resource in Topic::"b/x");"#, "a/+", true),
        (
            r#"permit (principal, action, resource); forbid (principal, action == Action::"publish", resource);"#,
            "a/+",
            true,
        ),
        (
            r#"permit (principal, action, resource); forbid (principal in Group::"others", action, resource);"#,
            "a/+",
            true,
        ),
        (
            r#"permit (principal, action, resource);
               forbid (principal, action, resource) when { resource has owner && resource.owner != principal };"#,
            "plant/#",
            true,
        ),
        (
            r#"permit (principal, action, resource);
               forbid (principal, action, resource is Topic) when { resource.path like "b/*" };"#,
            "a/#",
            true,
        ),
    ] {
        let policies = policies.replace("action, resource)", "action == Action::\"subscribe\", resource)");
        let permit = decide(&compile(&policies), &member("d", "G"), Subscribe, filter).verdict.unwrap();
        assert_eq!(permit.covers_delivery(), covered, "{policies} {filter}");
    }
}
