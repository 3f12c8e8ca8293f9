//! Deployments of real software, audited by the built program: what is weak fails where it is weak and nowhere else, what is strong passes,
//! and a hub passes where it claims to. Everything is on loopback.

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod deployment;
mod devices;
mod hub;
mod scanners;
mod strong;
mod weak;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Verdict and observation of each check, by target and check.
fn results(report: &Value) -> BTreeMap<(String, String), (String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |check: &Value| {
        let key = (text(&check["target"]), text(&check["id"]));
        (key, (text(&check["verdict"]), text(&check["observed"])))
    };
    report["checks"].as_array().unwrap().iter().map(of).collect()
}

/// Which checks came to a verdict at a target.
fn with(report: &Value, target: &str, verdict: &str) -> Vec<String> {
    let of = |((at, check), (found, _)): ((String, String), (String, String))| {
        (at == target && found == verdict).then_some(check)
    };
    results(report).into_iter().filter_map(of).collect()
}

/// A row fails exactly if one of its checks does.
#[track_caller]
fn rows_follow(report: &Value) {
    let failed: BTreeSet<String> = results(report)
        .into_iter()
        .filter(|(_, (verdict, _))| verdict == "fail")
        .map(|((_, check), _)| check)
        .collect();
    for row in report["requirements"].as_array().unwrap() {
        let is_concerned =
            row["checks"].as_array().unwrap().iter().any(|check| failed.contains(check.as_str().unwrap()));
        assert_eq!(row["verdict"] == "fail", is_concerned, "{row}");
    }
}
