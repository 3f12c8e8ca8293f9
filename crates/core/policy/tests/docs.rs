//! What docs/POLICY.md shows is true.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::compile;
use portreeve_policy::PolicyTests;

const GUIDE: &str = include_str!("../../../../docs/POLICY.md");

/// The contents of the fenced blocks in `language`.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    GUIDE.split(fence.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[test]
fn every_policy_in_the_guide_compiles_without_a_warning() {
    let policies = blocks("cedar");
    assert!(policies.len() >= 6);
    for policy in policies {
        assert_eq!(compile(policy).warnings(), [], "{policy}");
    }
}

#[test]
fn the_guides_tests_pass_with_the_guides_policies() {
    let policies = compile(&blocks("cedar").join("\n"));
    let tests = blocks("toml");
    assert!(!tests.is_empty());
    for text in tests {
        let report = PolicyTests::parse("POLICY.md", text).unwrap().run(&policies, |_| None, common::MORNING);
        assert!(report.failed == 0 && report.cases.len() >= 6, "{report}");
    }
}

#[test]
fn the_guide_shows_the_built_in_policy_and_all_fields() {
    let schema = include_str!("../src/schema.cedarschema");
    let fields = schema.lines().filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name);
    let names = fields.map(|name| name.trim_end_matches('?'));
    for field in names.filter(|name| !["principal", "resource", "context"].contains(name) && !name.contains(' ')) {
        assert!(GUIDE.contains(&format!("`{field}`")) || GUIDE.contains(&format!("`{field}?`")), "{field} is missing");
    }
}
