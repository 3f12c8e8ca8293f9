//! SARIF 2.1.0 (OASIS): the few structures that a report needs. Structures, because the order of a map's members in JSON depends on how
//! the whole program is built, and a form is compared byte by byte.

use serde::Serialize;

use super::Report;
use crate::{Catalogue, Check, CheckId, CheckResult, Class, RequirementId, Sha256, Verdict, moment};

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
struct Run<'a> {
    tool: Tool<'a>,
    invocations: [Invocation; 1],
    results: Vec<SarifResult<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
struct Driver<'a> {
    name: &'a str,
    version: &'a str,
    rules: Vec<Rule<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule<'a> {
    id: &'a CheckId,
    short_description: Message,
    help: Message,
    properties: RuleProperties<'a>,
}

#[derive(Serialize)]
struct RuleProperties<'a> {
    version: u32,
    class: Class,
    tags: &'a [RequirementId],
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    start_time_utc: String,
    end_time_utc: String,
    execution_successful: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult<'a> {
    rule_id: &'a CheckId,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_index: Option<usize>,
    kind: &'static str,
    level: &'static str,
    message: Message,
    locations: [Location<'a>; 1],
    partial_fingerprints: Fingerprints,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressions: Option<[Suppression<'a>; 1]>,
    properties: ResultProperties<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location<'a> {
    logical_locations: [LogicalLocation<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation<'a> {
    fully_qualified_name: &'a str,
    kind: &'static str,
}

#[derive(Serialize)]
struct Fingerprints {
    #[serde(rename = "checkAtTarget/v1")]
    check_at_target: Sha256,
}

#[derive(Serialize)]
struct Suppression<'a> {
    kind: &'static str,
    status: &'static str,
    justification: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultProperties<'a> {
    verdict: Verdict,
    check_version: u32,
    evidence: &'a [Sha256],
}

/// `report.sarif` (SARIF 2.1.0, OASIS): a result for each check at each target. What did not pass for want of evidence is `open`
/// (3.27.9), what is known and excepted is a failure that is suppressed (3.27.23), and records are `informational`.
#[must_use]
pub fn sarif(report: &Report, catalogue: &Catalogue) -> Vec<u8> {
    let is_used = |check: &&Check| report.checks.iter().any(|result| result.id == check.id);
    let checks: Vec<&Check> = catalogue.checks().iter().filter(is_used).collect();
    let index = |result: &CheckResult| checks.iter().position(|check| check.id == result.id);
    let log = Log {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: &report.tool.name,
                    version: &report.tool.version,
                    rules: checks.iter().map(|check| rule(check)).collect(),
                },
            },
            invocations: [Invocation {
                start_time_utc: moment::text(report.started),
                end_time_utc: moment::text(report.ended),
                execution_successful: true,
            }],
            results: report.checks.iter().map(|result| one(result, index(result))).collect(),
        }],
    };
    // Plain values always have a JSON form.
    let mut bytes = serde_json::to_vec_pretty(&log).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn rule(check: &Check) -> Rule<'_> {
    Rule {
        id: &check.id,
        short_description: Message { text: check.does.clone() },
        help: Message { text: format!("Passes when: {}", check.passes_when) },
        properties: RuleProperties { version: check.version, class: check.class, tags: &check.used_by },
    }
}

fn one(result: &CheckResult, rule_index: Option<usize>) -> SarifResult<'_> {
    let (kind, level) = match result.verdict {
        Verdict::Pass => ("pass", "none"),
        Verdict::Fail => ("fail", "error"),
        Verdict::Partial | Verdict::Exception => ("fail", "warning"),
        Verdict::Inconclusive | Verdict::NotTested => ("open", "none"),
        Verdict::NotApplicable => ("notApplicable", "none"),
        Verdict::Attested => ("informational", "none"),
    };
    let suppression = Suppression { kind: "external", status: "accepted", justification: &result.observed };
    let place = LogicalLocation { fully_qualified_name: &result.target, kind: "resource" };
    SarifResult {
        rule_id: &result.id,
        rule_index,
        kind,
        level,
        message: Message {
            text: format!("{}: {} Expected: {}", result.verdict, ended(&result.observed), result.expected),
        },
        locations: [Location { logical_locations: [place] }],
        partial_fingerprints: Fingerprints {
            check_at_target: Sha256::of(format!("{}\0{}", result.id, result.target).as_bytes()),
        },
        suppressions: (result.verdict == Verdict::Exception).then_some([suppression]),
        properties: ResultProperties {
            verdict: result.verdict,
            check_version: result.version,
            evidence: &result.evidence,
        },
    }
}

/// A sentence.
fn ended(text: &str) -> String {
    if text.ends_with(['.', '…']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::sample;

    #[test]
    fn only_failures_have_a_level_and_every_result_its_rule() {
        let report = sample::report();
        let sarif: Value = serde_json::from_slice(&sarif(&report, Catalogue::embedded())).unwrap();
        let run = &sarif["runs"][0];
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), report.checks.len());
        for result in results {
            let rule = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][rule]["id"], result["ruleId"]);
            // SARIF 2.1.0, 3.27.10: a level other than none belongs to failures.
            assert_eq!(result["kind"] == "fail", result["level"] != "none", "{result}");
            assert_eq!(result["properties"]["verdict"] == "exception", result["suppressions"].is_array());
        }
    }

    /// A map of serde_json is sorted in one build and not in another; then a report that one build signed would not verify in another.
    #[test]
    fn members_stand_in_one_order_in_every_build() {
        let text = String::from_utf8(sarif(&sample::report(), Catalogue::embedded())).unwrap();
        let place = |name: &str| text.find(&format!("\"{name}\":")).unwrap();
        assert!(place("version") < place("runs") && place("tool") < place("invocations"));
        assert!(place("ruleId") < place("ruleIndex") && place("ruleIndex") < place("kind"));
    }
}
