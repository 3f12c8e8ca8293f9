use serde_json::{Value, json};

use super::Report;
use crate::{Catalogue, CheckResult, Verdict, moment};

/// `report.sarif` (SARIF 2.1.0, OASIS): a result for each check at each target. What did not pass for want of evidence is `open`
/// (3.27.9), what is known and excepted is a failure that is suppressed (3.27.23), and records are `informational`.
#[must_use]
pub fn sarif(report: &Report, catalogue: &Catalogue) -> Vec<u8> {
    let rules: Vec<Value> = catalogue
        .checks()
        .iter()
        .filter(|check| report.checks.iter().any(|result| result.id == check.id))
        .map(|check| {
            let rows: Vec<String> = check.used_by.iter().map(ToString::to_string).collect();
            json!({
                "id": check.id,
                "shortDescription": { "text": check.does },
                "help": { "text": format!("Passes when: {}", check.passes_when) },
                "properties": { "version": check.version, "class": check.class, "tags": rows },
            })
        })
        .collect();
    let index = |result: &CheckResult| rules.iter().position(|rule| rule["id"] == json!(result.id));
    let results: Vec<Value> = report.checks.iter().map(|result| one(result, index(result))).collect();
    let sarif = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": report.tool.name, "version": report.tool.version, "rules": rules } },
            "invocations": [{
                "startTimeUtc": moment::text(report.started),
                "endTimeUtc": moment::text(report.ended),
                "executionSuccessful": true,
            }],
            "results": results,
        }],
    });
    format!("{sarif:#}\n").into_bytes()
}

fn one(result: &CheckResult, rule_index: Option<usize>) -> Value {
    let (kind, level) = match result.verdict {
        Verdict::Pass => ("pass", "none"),
        Verdict::Fail => ("fail", "error"),
        Verdict::Partial | Verdict::Exception => ("fail", "warning"),
        Verdict::Inconclusive | Verdict::NotTested => ("open", "none"),
        Verdict::NotApplicable => ("notApplicable", "none"),
        Verdict::Attested => ("informational", "none"),
    };
    let mut value = json!({
        "ruleId": result.id,
        "kind": kind,
        "level": level,
        "message": { "text": format!("{}: {} Expected: {}", result.verdict, ended(&result.observed), result.expected) },
        "locations": [{ "logicalLocations": [{ "fullyQualifiedName": result.target, "kind": "resource" }] }],
        "partialFingerprints": { "checkAtTarget/v1": crate::Sha256::of(format!("{}\0{}", result.id, result.target).as_bytes()) },
        "properties": { "verdict": result.verdict, "checkVersion": result.version, "evidence": result.evidence },
    });
    if let Some(index) = rule_index {
        value["ruleIndex"] = json!(index);
    }
    if result.verdict == Verdict::Exception {
        value["suppressions"] = json!([{ "kind": "external", "status": "accepted", "justification": result.observed }]);
    }
    value
}

/// A sentence.
fn ended(text: &str) -> String {
    if text.ends_with(['.', '…']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
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
}
