//! Every mistake in a policy or test file names its file, line and column.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{compile, member, source, subject};
use portreeve_policy::{Action, Diagnostic, Epoch, PolicySet, PolicySource, PolicyTests};
use portreeve_types::LifecycleState;

fn problems(text: &str) -> Vec<Diagnostic> {
    PolicySet::compile(&[source(text)], Epoch(0)).unwrap_err()
}

/// The places, and a word that the message or its help must hold.
#[track_caller]
fn expect(text: &str, expected: &[(u32, u32, &str)]) {
    let found = problems(text);
    let places: Vec<_> = found.iter().map(|problem| (problem.line, problem.column)).collect();
    let wanted: Vec<_> = expected.iter().map(|(line, column, _)| (*line, *column)).collect();
    assert_eq!(places, wanted, "{found:#?}");
    for (problem, (_, _, word)) in found.iter().zip(expected) {
        assert_eq!(problem.file, "user.cedar");
        assert!(problem.to_string().contains(word), "{problem} should say {word}");
    }
}

#[test]
fn syntax() {
    expect("// ä\npermit (principal, action resource);", &[(2, 27, "resource")]);
    expect("permit (principal, action, resource)", &[(1, 37, "unexpected end")]);
    expect("permit (principal, action, resource) when { resource.path like 3 };", &[(1, 64, "like")]);
}

#[test]
fn schema() {
    let text = "permit (principal, action == Action::\"subscribe\", resource)\nwhen { ä.pfad == 3 };";
    assert!(!problems(text).is_empty());
    expect(
        "permit (principal, action == Action::\"subscribe\", resource)\nwhen { resource.pfad == \"x\" };",
        &[(2, 8, "pfad")],
    );
    expect(
        "permit (principal, action == Action::\"publsh\", resource);\npermit (principal == User::\"x\", action, resource);",
        &[(1, 30, "publsh"), (2, 22, "User")],
    );
    expect(
        "permit (principal, action == Action::\"publish\", resource)\n  when { resource.owner == principal };",
        &[(2, 10, "owner")],
    );
    expect(
        "permit (principal, action == Action::\"publish\", resource)\n  when { principal.kind == 1 };",
        &[(2, 10, "")],
    );
}

#[test]
fn a_topics_owner_cannot_be_looked_up() {
    let found = problems(
        "permit (principal, action == Action::\"publish\", resource)\nwhen { resource has owner && resource.owner.group == principal.group };",
    );
    assert_eq!((found.len(), found[0].line), (1, 2), "{found:#?}");
}

#[test]
fn topic_filters() {
    expect(
        "// first\npermit (principal, action, resource in Topic::\"a/#/b\");\n\npermit (principal, action, resource) when {\n  resource in [Topic::\"a\", Topic::\"$share/g/a\"] };",
        &[(2, 40, "a/#/b"), (5, 28, "$share")],
    );
}

#[test]
fn ids_are_unique_across_files_and_slots_are_refused() {
    let file = |file: &str, text: &str| PolicySource { file: file.into(), text: text.into() };
    let scope = "permit (principal == Identity::\"x\", action, resource)";
    let one = file("one.cedar", &format!("\n@id(\"a\") {scope};"));
    let two =
        file("two.cedar", &format!("@id(\"b\") {scope};\n  @id(\"a\") {scope};\n@id(\"default.connect\") {scope};"));
    let found = PolicySet::compile(&[one, two], Epoch(0)).unwrap_err();
    let text: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(text[0].starts_with("two.cedar:2:3: the policy id `a` is taken by one.cedar:2"), "{}", text[0]);
    assert!(text[1].starts_with("two.cedar:3:1: the policy id `default.connect` is taken by built-in"), "{}", text[1]);
    expect("permit (principal == ?principal, action, resource);", &[(1, 1, "?principal")]);
}

#[test]
fn every_file_is_reported_in_order() {
    let file = |file: &str, text: &str| PolicySource { file: file.into(), text: text.into() };
    let sources = [
        file("b.cedar", "permit (principal, action, resource) when { nobody };"),
        file("a.cedar", "permit ("),
        file("c.cedar", "permit (principal, action, resource in Topic::\"+x\");"),
    ];
    let found = PolicySet::compile(&sources, Epoch(0)).unwrap_err();
    let files: Vec<_> = found.iter().map(|problem| problem.file.as_str()).collect();
    assert_eq!(files, ["a.cedar", "b.cedar", "c.cedar"]);
}

#[test]
fn an_id_without_annotation_is_the_place_even_after_a_look_alike_comment() {
    let set = compile(
        "// permit (principal, action, resource in Topic::\"a\");\npermit (principal, action, resource in Topic::\"a\");\npermit (principal, action, resource in Topic::\"a\");",
    );
    let explanation = set.explain(&subject("x"), Action::Publish, "a", &common::CONTEXT);
    let ids: Vec<_> = explanation.policies.iter().map(|policy| policy.id.to_string()).collect();
    assert_eq!(ids, ["user.cedar:2", "user.cedar:3"]);
    let set = compile("permit (principal, action, resource in Topic::\"a\"); permit (principal, action, resource);");
    let explanation = set.explain(&subject("x"), Action::Publish, "a", &common::CONTEXT);
    let ids: Vec<_> = explanation.policies.iter().map(|policy| policy.id.to_string()).collect();
    assert_eq!(ids, ["user.cedar:1", "user.cedar:1:53"]);
}

#[test]
fn dangerous_policies_are_warned_about() {
    let warnings = |text: &str| compile(text).warnings().iter().map(ToString::to_string).collect::<Vec<_>>();
    for (text, word) in [
        ("permit (principal, action, resource);", "every topic"),
        ("permit (principal is Identity, action == Action::\"publish\", resource is Topic);", "every topic"),
        (
            "permit (principal, action == Action::\"subscribe\", resource in Topic::\"$SYS/#\");",
            "`$SYS/` topics to everyone",
        ),
        ("permit (principal == Identity::\"x\", action, resource == Topic::\"a/+\");", "write `resource in"),
    ] {
        let found = warnings(text);
        assert!(
            found.len() == 1 && found[0].starts_with("user.cedar:1:1: ") && found[0].contains(word),
            "{text} {found:?}"
        );
    }
    let never = warnings("permit (principal, action == Action::\"connect\", resource in Topic::\"a\");");
    assert!(never.iter().any(|warning| warning.contains("policy is impossible")), "{never:?}");
    for text in [
        "permit (principal == Identity::\"x\", action, resource);",
        "permit (principal, action, resource in Topic::\"public/#\");",
        "permit (principal, action, resource) when { principal.kind == \"application\" };",
        "permit (principal in Group::\"ops\", action == Action::\"subscribe\", resource in Topic::\"$SYS/#\");",
        "permit (principal, action == Action::\"connect\", resource);",
        "forbid (principal, action, resource);",
        "forbid (principal, action, resource == Topic::\"#\");",
    ] {
        assert_eq!(warnings(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn an_explanation_shows_the_policies_to_people_and_programs() {
    let set =
        compile("\n@id(\"quiet\")\nforbid (principal in Group::\"lamps\", action == Action::\"publish\", resource);");
    let explanation = set.explain(&member("lamp-1", "lamps"), Action::Publish, "devices/lamp-1/x", &common::CONTEXT);
    assert_eq!(
        explanation.to_string(),
        "DENY  lamp-1 publish devices/lamp-1/x\na policy forbids it (2 policies weighed)\n\n\
         forbid quiet (user.cedar:2)\n    @id(\"quiet\")\n    forbid (principal in Group::\"lamps\", action == Action::\"publish\", resource);\n"
    );
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["allowed"], false);
    assert_eq!(json["denial"]["reason"], "forbidden");
    assert_eq!(json["policies"][0]["line"], 2);

    let explanation = set.explain(&subject("lamp-1"), Action::Subscribe, "devices/lamp-1/#", &common::CONTEXT);
    assert!(explanation.allowed && explanation.policies[0].built_in);
    assert_eq!(explanation.covers_delivery, Some(false));
    assert!(explanation.to_string().contains("built-in/default.cedar"), "{explanation}");
    let explanation = set.explain(&subject("lamp-1"), Action::Publish, "plant/x", &common::CONTEXT);
    assert!(explanation.policies.is_empty() && explanation.reason.contains("no policy permits"));
}

const CASES: &str = r#"
[[case]]
identity = "lamp-1"
action = "publish"
topic = "devices/lamp-1/state"
expect = "allow"

[[case]]
identity = "lamp-1"
action = "subscribe"
topic = "devices/+/state"
expect = "allow"

[[case]]
identity = "lamp-2"
action = "connect"
expect = "deny"

[[case]]
identity = "door-1"
group = "doors"
action = "publish"
topic = "plant/doors"
source = "10.0.0.1"
at = "2030-01-01T09:30:00+01:00"
qos = 1
expect = "allow"

[[case]]
identity = "door-1"
group = "doors"
action = "publish"
topic = "plant/doors"
source = "10.0.0.1"
at = "2030-01-01T20:30:00Z"
expect = "deny"
"#;

#[test]
fn policy_tests_run_against_the_registry_and_say_what_differs() {
    let set = compile(
        r#"permit (principal in Group::"doors", action == Action::"publish", resource in Topic::"plant/doors")
           when { context.now.toTime() < duration("17h") && context has source && context.source.isIpv4() };"#,
    );
    let tests = PolicyTests::parse("tests.toml", CASES).unwrap();
    let disabled = portreeve_policy::Subject { state: LifecycleState::Disabled, ..subject("lamp-2") };
    let report = tests.run(&set, |name| (name.as_str() == "lamp-2").then(|| disabled.clone()), common::MORNING);
    assert_eq!((report.cases.len(), report.failed), (5, 1), "{report}");
    assert_eq!(
        report.to_string(),
        "tests.toml:8: lamp-1 subscribe devices/+/state: expected allow, got deny: no policy permits it\ntests.toml: 5 cases, 1 failed"
    );
    assert!(report.cases[3].reason.contains("permitted by user.cedar:1"));
}

#[test]
fn mistakes_in_a_test_file_are_placed() {
    let case = |lines: &str| format!("[[case]]\nidentity = \"a\"\n{lines}");
    for (text, place) in [
        (case("action = \"fly\"\ntopic = \"x\"\nexpect = \"deny\""), "t.toml:3:10: an action is one of"),
        (case("action = \"publish\"\nexpect = \"deny\""), "t.toml:3:10: `publish` needs a `topic`"),
        (case("action = \"connect\"\nexpect = \"maybe\""), "t.toml:4:10: unknown variant"),
        (case("action = \"connect\"\nexpect = \"deny\"\nat = \"noon\""), "t.toml:5:6: `at` is a time"),
        (case("action = \"connect\"\nexpect = \"deny\"\nqos = 3"), "t.toml:5:7: `qos` is 0, 1 or 2"),
        (case("action = \"connect\"\nexpect = \"deny\"\ntransport = \"tcp\""), "t.toml:5:13: a transport is"),
        (case("action = \"connect\"\nexpect = \"deny\"\nwhen = 1"), "t.toml:5:1: unknown field"),
        ("[[case]]\nidentity = \"a b\"".to_owned(), "t.toml:2:12: `a b` is not a valid name"),
        ("[[case]]\nidentity = ".to_owned(), "t.toml:2:"),
    ] {
        let found = PolicyTests::parse("t.toml", &text).unwrap_err();
        assert!(found[0].to_string().starts_with(place), "{} should begin with {place}", found[0]);
    }
    assert_eq!(PolicyTests::parse("t.toml", "").unwrap().run(&compile(""), |_| None, common::MORNING).failed, 0);
}
