//! Identity × action × topic: what is granted, and every way of asking for more (ISVS-4.2.2, CSA-COM-01).
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{CONTEXT, MORNING, allows, compile, decide, member, source, subject};
use portreeve_policy::{
    Action::{self, Connect, Publish, Receive, Subscribe},
    Context, DenialReason, Epoch, PolicySet, Subject,
};
use portreeve_types::{LifecycleState, Qos, UnixMillis};

fn default_policy() -> PolicySet {
    PolicySet::compile(&[], Epoch(1)).unwrap()
}

/// `topic, publish, subscribe, receive`; a filter can only be subscribed to.
type Row = (&'static str, bool, bool, bool);

fn check(set: &PolicySet, subject: &Subject, rows: &[Row]) {
    for (topic, publish, subscribe, receive) in rows {
        for (action, expected) in [(Publish, publish), (Subscribe, subscribe), (Receive, receive)] {
            let decision = decide(set, subject, action, topic);
            assert_eq!(decision.is_allowed(), *expected, "{} {action} {topic}: {decision:?}", subject.name);
        }
    }
}

#[test]
fn a_device_has_what_lies_below_its_name_and_nothing_else() {
    let set = default_policy();
    let lamp = subject("lamp-1");
    assert!(allows(&set, &lamp, Connect, ""));
    check(
        &set,
        &lamp,
        &[
            ("devices/lamp-1/state", true, true, true),
            ("devices/lamp-1/", true, true, true),
            ("devices/lamp-1/a/b/c/d/e/f", true, true, true),
            ("devices/lamp-1/#", false, true, false),
            ("devices/lamp-1/+", false, true, false),
            ("devices/lamp-1/+/x/#", false, true, false),
            // Its own name without a level below is nobody's.
            ("devices/lamp-1", false, false, false),
            // Others', and what merely looks like its own.
            ("devices/lamp-2/state", false, false, false),
            ("devices/lamp-10/x", false, false, false),
            ("devices/lamp-10/#", false, false, false),
            ("devices/lamp/x", false, false, false),
            ("devices/LAMP-1/x", false, false, false),
            ("Devices/lamp-1/x", false, false, false),
            ("/devices/lamp-1/x", false, false, false),
            ("x/devices/lamp-1/x", false, false, false),
            ("devices//lamp-1/x", false, false, false),
            ("devices//x", false, false, false),
            ("lamp-1/x", false, false, false),
            ("plant/a", false, false, false),
            // Wildcards beyond the grant.
            ("#", false, false, false),
            ("+", false, false, false),
            ("+/#", false, false, false),
            ("/#", false, false, false),
            ("+/lamp-1/#", false, false, false),
            ("devices/#", false, false, false),
            ("devices/+", false, false, false),
            ("devices/+/state", false, false, false),
            ("devices/+/#", false, false, false),
            ("+/+/+", false, false, false),
            // The hub's own topics, and other `$` topics.
            ("$SYS/#", false, false, false),
            ("$SYS/broker/load", false, false, false),
            ("$SYS", false, false, false),
            ("$other/lamp-1/x", false, false, false),
        ],
    );
}

#[test]
fn malformed_topics_are_refused_before_any_policy() {
    let set = compile("permit (principal, action, resource);");
    let lamp = subject("lamp-1");
    for (action, topic) in [
        (Publish, ""),
        (Publish, "a/+"),
        (Publish, "a/#"),
        (Publish, "a\0b"),
        (Receive, "#"),
        (Subscribe, ""),
        (Subscribe, "a/#/b"),
        (Subscribe, "a+"),
        (Subscribe, "$share/group/a"),
    ] {
        let denial = decide(&set, &lamp, action, topic).verdict.unwrap_err();
        assert_eq!(denial.reason, DenialReason::Malformed, "{action} {topic}");
    }
}

#[test]
fn who_is_out_of_service_may_do_nothing_whatever_policies_say() {
    let set = compile("permit (principal, action, resource);");
    for state in ["pending", "disabled", "revoked", "retired"] {
        let state: LifecycleState = state.parse().unwrap();
        let lamp = Subject { state, ..subject("lamp-1") };
        for action in [Connect, Publish, Subscribe, Receive] {
            let decision = decide(&set, &lamp, action, "devices/lamp-1/state");
            assert_eq!(decision.verdict.unwrap_err().reason, DenialReason::NotActive { state }, "{state} {action}");
        }
    }
}

/// Only what is declared for it is left to a quarantined identity, and that only to it.
#[test]
fn a_quarantined_identity_has_what_is_marked_for_remediation_and_nothing_else() {
    let set = compile(
        r#"permit (principal, action, resource);
           @remediation("yes") permit (principal in Group::"lamps", action == Action::"subscribe", resource in Topic::"repair/#");
           forbid (principal, action == Action::"publish", resource in Topic::"devices/lamp-1/remediation/secret");
           @remediation("yes") forbid (principal, action == Action::"publish", resource in Topic::"no/one");"#,
    );
    let active = Subject { group: "lamps".into(), ..subject("lamp-1") };
    let confined = Subject { state: LifecycleState::Quarantined, ..active.clone() };
    let allowed = |subject: &Subject, action, topic| decide(&set, subject, action, topic).is_allowed();
    assert!(allowed(&confined, Connect, ""));
    for action in [Publish, Subscribe] {
        assert!(allowed(&confined, action, "devices/lamp-1/remediation/log"), "{action}");
        for topic in ["devices/lamp-1/state", "devices/lamp-2/remediation/log", "plant/a"] {
            assert!(!allowed(&confined, action, topic), "{action} {topic}");
            assert!(allowed(&active, action, topic), "{action} {topic}");
        }
    }
    assert!(allowed(&confined, Subscribe, "repair/plan") && !allowed(&confined, Publish, "repair/plan"));
    assert!(!allowed(&confined, Subscribe, "#"));
    assert!(!allowed(&confined, Publish, "devices/lamp-1/remediation/secret"), "a forbid holds for everybody");
    assert!(!allowed(&active, Publish, "no/one"), "however it is marked");
    let alone = PolicySet::compile(&[], Epoch(1)).unwrap();
    assert!(!decide(&alone, &active, Subscribe, "repair/plan").is_allowed());
}

#[test]
fn the_contracts_application_gets_every_topic_but_the_hubs_own() {
    let set = compile(
        r#"permit (principal == Identity::"app", action in [Action::"publish", Action::"subscribe"], resource);"#,
    );
    let app = subject("app");
    check(
        &set,
        &app,
        &[
            ("plant/a", true, true, true),
            ("devices/lamp-1/commands/on", true, true, true),
            ("#", false, true, false),
            ("+/x", false, true, false),
            ("$other/x", true, true, true),
            ("$SYS/broker/load", false, false, false),
            ("$SYS/#", false, false, false),
            ("$SYS/+/x", false, false, false),
            ("$SYS", false, false, false),
        ],
    );
    check(&set, &subject("app2"), &[("plant/a", false, false, false), ("#", false, false, false)]);
    let permit = decide(&set, &app, Subscribe, "#").verdict.unwrap();
    assert!(permit.covers_delivery(), "nothing restricts it");
    assert_eq!(permit.epoch(), Epoch(7));
    assert_eq!(&*permit.policies()[0], "user.cedar:1");
}

#[test]
fn sys_topics_need_a_permit_that_asks_for_them_by_name() {
    let named = |policy: &str, topic| {
        let set = compile(policy);
        (allows(&set, &subject("watch"), Subscribe, topic), allows(&set, &subject("watch"), Publish, topic))
    };
    for policy in [
        r#"permit (principal == Identity::"watch", action, resource in Topic::"$SYS/#");"#,
        r#"permit (principal, action == Action::"subscribe", resource) when { resource.path like "$SYS/*" };"#,
        r#"permit (principal, action == Action::"subscribe", resource) when { resource in [Topic::"a", Topic::"$SYS/#"] };"#,
    ] {
        for topic in ["$SYS/#", "$SYS/broker/load"] {
            assert_eq!(named(policy, topic), (true, false), "{policy} {topic}");
        }
        assert_eq!(named(policy, "#"), (false, false), "{policy}");
    }
    for policy in [
        r#"permit (principal, action, resource);"#,
        r##"permit (principal, action, resource in Topic::"#");"##,
        r#"permit (principal, action, resource is Topic) when { resource.path like "*" };"#,
        r#"permit (principal, action, resource) unless { resource in Topic::"$SYS/secret/#" };"#,
        r#"permit (principal, action, resource is Topic) when { resource.path != "$SYS/secret" };"#,
        r#"permit (principal, action, resource) when { !(resource in Topic::"$SYS/secret") };"#,
        r#"@note("$SYS/#") permit (principal, action, resource);"#,
    ] {
        for topic in ["$SYS/#", "$SYS/broker/load"] {
            assert_eq!(named(policy, topic), (false, false), "{policy} {topic}");
        }
        let reason = decide(&compile(policy), &subject("watch"), Publish, "$SYS/x").verdict.unwrap_err().reason;
        assert_eq!(reason, DenialReason::Reserved);
    }
    let forbidden = compile(
        r#"permit (principal, action, resource in Topic::"$SYS/#"); forbid (principal, action, resource) when { context.transport == "mqtt" };"#,
    );
    assert!(!allows(&forbidden, &subject("watch"), Subscribe, "$SYS/#"), "forbids always count");
}

#[test]
fn a_grant_written_as_a_filter_grants_what_it_covers() {
    let set = compile(
        r#"permit (principal in Group::"sensors", action == Action::"publish", resource in Topic::"plant/+/temp");
           permit (principal in Group::"boards", action == Action::"subscribe", resource in Topic::"plant/#");"#,
    );
    check(
        &set,
        &member("s1", "sensors"),
        &[
            ("plant/a/temp", true, false, false),
            ("plant/a/b/temp", false, false, false),
            ("plant/temp", false, false, false),
            ("plant/a/temp/x", false, false, false),
        ],
    );
    check(
        &set,
        &member("b1", "boards"),
        &[
            ("plant", false, true, true),
            ("plant/a/temp", false, true, true),
            ("plant/#", false, true, false),
            ("plant/+/temp", false, true, false),
            ("plants/a", false, false, false),
            ("+/a", false, false, false),
            ("#", false, false, false),
        ],
    );
    check(&set, &member("x", "Boards"), &[("plant/a/temp", false, false, false)]);
    check(&set, &subject("boards"), &[("plant/a/temp", false, false, false)]);
}

#[test]
fn a_forbidden_part_of_a_granted_filter_is_not_delivered() {
    let set = compile(
        r#"permit (principal, action == Action::"subscribe", resource in Topic::"plant/#");
           @id("no-secrets") forbid (principal, action, resource in Topic::"plant/secret/#");"#,
    );
    let board = subject("board");
    let permit = decide(&set, &board, Subscribe, "plant/#").verdict.unwrap();
    assert!(!permit.covers_delivery());
    assert!(!permit.covers_delivery_of("plant/secret/x"));
    assert!(allows(&set, &board, Receive, "plant/a"));
    let denial = decide(&set, &board, Receive, "plant/secret/x").verdict.unwrap_err();
    assert_eq!((denial.reason, &*denial.policies[0]), (DenialReason::Forbidden, "no-secrets"));
    assert!(!allows(&set, &board, Subscribe, "plant/secret/#"));
    assert!(decide(&set, &board, Subscribe, "plant/open/#").verdict.unwrap().covers_delivery(), "disjoint");
}

#[test]
fn the_parent_of_a_devices_own_topics_is_no_part_of_the_grant() {
    let set = default_policy();
    let permit = decide(&set, &subject("lamp-1"), Subscribe, "devices/lamp-1/#").verdict.unwrap();
    assert!(!permit.covers_delivery());
    assert!(!permit.covers_delivery_of("devices/lamp-1"));
    assert!(permit.covers_delivery_of("devices/lamp-1/"));
    assert!(permit.covers_delivery_of("devices/lamp-1/a/b"));
    let permit = decide(&set, &subject("lamp-1"), Subscribe, "devices/lamp-1/commands/#").verdict.unwrap();
    assert!(permit.covers_delivery(), "its parent is below the name");
}

#[test]
fn attributes_of_identity_and_topic_are_conditions() {
    let set = compile(
        r#"permit (principal, action == Action::"publish", resource)
           when { principal.kind == "device" && principal.model == "L1" }
           when { resource has level2 && resource.level1 == "site" && resource.level2 == principal.location };"#,
    );
    let lamp = subject("lamp-1");
    assert!(allows(&set, &lamp, Publish, "site/hall-2/x"));
    assert!(!allows(&set, &lamp, Publish, "site/hall-3/x"));
    assert!(!allows(&set, &lamp, Publish, "site"));
    let nowhere = Subject { location: String::new(), ..lamp.clone() };
    assert!(!allows(&set, &nowhere, Publish, "site") && !allows(&set, &nowhere, Publish, "site//x"));
    assert!(!allows(&set, &Subject { model: "L2".into(), ..lamp }, Publish, "site/hall-2/x"));
}

/// CSA-SCN-10: place.
#[test]
fn networks_transports_and_client_ids_are_conditions_and_stay_cacheable() {
    let set = compile(
        r#"forbid (principal, action, resource)
           unless { context has source && context.source.isInRange(ip("10.1.0.0/16")) };
           forbid (principal, action, resource) when { context.transport == "websocket" || context.client_id like "*:debug" };"#,
    );
    let slice = set.slice(&subject("lamp-1"));
    let inside = Context { source: Some("10.1.2.3".parse().unwrap()), ..CONTEXT };
    let mapped = Context { source: Some("::ffff:10.1.2.3".parse().unwrap()), ..CONTEXT };
    let outside = Context { source: Some("10.2.0.1".parse().unwrap()), ..CONTEXT };
    for (context, expected) in [
        (inside, true),
        (mapped, true),
        (outside, false),
        (CONTEXT, false),
        (Context { transport: "websocket", ..inside }, false),
        (Context { client_id: "lamp-1:debug", ..inside }, false),
    ] {
        for action in [Connect, Publish, Subscribe] {
            let decision = slice.decide(action, "devices/lamp-1/x", &context);
            assert_eq!(decision.is_allowed(), expected, "{action} {context:?}");
            assert!(decision.cacheable);
        }
    }
    assert!(!slice.is_volatile() && slice.reads_peer());
}

/// CSA-SCN-10: time of day.
#[test]
fn a_time_window_is_a_condition_and_makes_decisions_uncacheable() {
    let set = compile(
        r#"forbid (principal, action in [Action::"publish", Action::"subscribe"], resource)
           unless { context.now.toTime() >= duration("8h") && context.now.toTime() < duration("17h") };"#,
    );
    let slice = set.slice(&subject("lamp-1"));
    let at = |now| slice.decide(Publish, "devices/lamp-1/x", &Context { now, ..CONTEXT });
    assert!(at(MORNING).is_allowed());
    assert!(!at(UnixMillis(MORNING.0 - 3_600_000)).is_allowed());
    assert!(!at(UnixMillis(0)).is_allowed());
    assert!(!at(UnixMillis(u64::MAX)).is_allowed(), "the end of time is not in the window");
    assert!(!at(MORNING).cacheable && slice.is_volatile() && !slice.reads_peer());
    let doors = compile(
        r#"forbid (principal, action, resource in Topic::"doors/#") when { context.now > datetime("2000-01-01") };"#,
    );
    let decision = |topic| doors.slice(&subject("lamp-1")).decide(Publish, topic, &CONTEXT);
    assert!(decision("devices/lamp-1/x").cacheable && !decision("doors/1").cacheable, "only where it can apply");
    assert!(slice.decide(Connect, "", &CONTEXT).cacheable, "nothing about connect reads the time");
    let permit = slice.decide(Subscribe, "devices/lamp-1/a/#", &CONTEXT).verdict.unwrap();
    assert!(!permit.covers_delivery(), "the window closes while the subscription lives");
}

#[test]
fn message_properties_are_conditions_of_publish_only() {
    let set = compile(
        r#"forbid (principal, action == Action::"publish", resource) when { context.retain || context.qos > 1 };"#,
    );
    let slice = set.slice(&subject("lamp-1"));
    let publish = |qos, retain| slice.decide(Publish, "devices/lamp-1/x", &Context { qos, retain, ..CONTEXT });
    assert!(publish(None, false).is_allowed());
    assert!(publish(Some(Qos::AtLeastOnce), false).is_allowed());
    assert!(!publish(Some(Qos::ExactlyOnce), false).is_allowed());
    assert!(!publish(None, true).is_allowed());
    assert!(!publish(None, false).cacheable);
    assert!(slice.decide(Subscribe, "devices/lamp-1/x", &CONTEXT).cacheable);
}

#[test]
fn a_forbid_that_fails_refuses_and_a_permit_that_fails_grants_nothing() {
    let overflow = "9223372036854775807 + context.qos > 0";
    let qos = Context { qos: Some(Qos::AtLeastOnce), ..CONTEXT };
    let scope = r#"(principal, action == Action::"publish", resource)"#;
    let forbid = compile(&format!(r#"@id("broken") forbid {scope} when {{ {overflow} }};"#));
    let denial = forbid.slice(&subject("lamp-1")).decide(Publish, "devices/lamp-1/x", &qos).verdict.unwrap_err();
    assert!(matches!(denial.reason, DenialReason::EvaluationError { .. }), "{denial:?}");
    assert_eq!(&*denial.policies[0], "broken");

    let permit = compile(&format!("permit {scope} when {{ {overflow} }};"));
    let slice = permit.slice(&subject("lamp-1"));
    let denial = slice.decide(Publish, "plant/x", &qos).verdict.unwrap_err();
    assert_eq!(denial.reason, DenialReason::NoPermit);
    assert!(slice.decide(Publish, "devices/lamp-1/x", &qos).is_allowed(), "another permit still counts");
}

#[test]
fn a_slice_weighs_only_what_can_apply() {
    let set = compile(
        r#"permit (principal == Identity::"a", action == Action::"publish", resource in Topic::"a");
           permit (principal in Identity::"a", action == Action::"publish", resource in Topic::"b");
           permit (principal in Group::"g", action == Action::"publish", resource in Topic::"c");
           permit (principal is Identity in Group::"g", action == Action::"publish", resource in Topic::"d");
           permit (principal is Identity, action == Action::"publish", resource in Topic::"e");"#,
    );
    let weighed = |subject: &Subject| set.slice(subject).policies_for(Publish);
    // Always: the default policy and the one for every identity.
    assert_eq!(weighed(&subject("z")), 2);
    assert_eq!(weighed(&subject("a")), 4);
    assert_eq!(weighed(&member("z", "g")), 4);
    assert_eq!(weighed(&member("a", "g")), 6);
    assert_eq!(weighed(&member("g", "a")), 2, "names and groups are apart");
    for (subject, granted) in [
        (subject("z"), "e"),
        (subject("a"), "abe"),
        (member("z", "g"), "cde"),
        (member("y", "g"), "cde"),
        (member("a", "g"), "abcde"),
        (member("g", "a"), "e"),
    ] {
        for topic in ["a", "b", "c", "d", "e"] {
            assert_eq!(allows(&set, &subject, Publish, topic), granted.contains(topic), "{subject:?} {topic}");
        }
    }
    assert_eq!(set.slice(&subject("z")).policies_for(Connect), 1);
}

#[test]
fn a_set_keeps_its_epoch_and_sources() {
    let set = PolicySet::compile(&[source("// nothing")], Epoch(3)).unwrap();
    assert_eq!(set.epoch(), Epoch(3));
    assert_eq!(set.len(), 4);
    assert_eq!(set.sources().len(), 2);
    assert_eq!(set.sources()[..1], PolicySet::default_sources());
}

#[test]
fn actions_are_read_as_they_are_written() {
    for action in [Connect, Publish, Subscribe, Receive] {
        assert_eq!(action.as_str().parse::<Action>(), Ok(action));
    }
    assert!("Publish".parse::<Action>().is_err());
}

/// Of the principal a decision loads what its policies read, and so it must be all that they read, however they say it.
#[test]
fn every_attribute_of_the_principal_is_there_when_a_policy_reads_it() {
    let subject = common::member("lamp-1", "lights");
    let values = [
        ("id", subject.id.to_string()),
        ("kind", "device".into()),
        ("group", "lights".into()),
        ("owner", "facilities".into()),
        ("location", "hall-2".into()),
        ("model", "L1".into()),
        ("firmware", "1.0.0".into()),
        ("posture", "current".into()),
        ("state", "active".into()),
    ];
    for (name, value) in &values {
        for (condition, holds) in [
            (format!(r#"principal.{name} == "{value}""#), true),
            (format!(r#"principal.{name} == "other""#), false),
            (format!(r#"principal has {name} && principal.{name} like "{value}*""#), true),
            (format!(r#"["{value}", "x"].contains(principal.{name})"#), true),
            (format!(r#"{{ who: principal }}.who.{name} == "{value}""#), true),
            (format!(r#"(if context.transport == "mqtt" then principal else principal).{name} == "other""#), false),
            (format!(r#"principal == Identity::"lamp-1" && !(principal.{name} == "other")"#), true),
        ] {
            let text = format!(r#"permit (principal, action == Action::"publish", resource) when {{ {condition} }};"#);
            let set = common::compile(&text);
            assert_eq!(common::allows(&set, &subject, portreeve_policy::Action::Publish, "x"), holds, "{text}");
        }
    }
    // Two policies of one slice that read different attributes each have theirs.
    let set = common::compile(
        r#"permit (principal, action == Action::"publish", resource) when { principal.model == "L1" };
           forbid (principal, action == Action::"publish", resource) when { principal.firmware == "1.0.0" };"#,
    );
    assert!(!common::allows(&set, &subject, portreeve_policy::Action::Publish, "x"));
}
