use std::{collections::BTreeMap, fmt::Write as _};

use super::Report;
use crate::{CheckResult, Verdict, moment, text::escape};

/// `junit.xml`: a suite for each target with its checks, and one for each framework with its rows. `fail` and `partial` are failures,
/// `inconclusive` is an error, `not-tested`, `not-applicable` and `exception` are skipped, with the reason.
#[must_use]
pub fn junit(report: &Report) -> Vec<u8> {
    let mut targets: BTreeMap<&str, Vec<Case<'_>>> = BTreeMap::new();
    for result in &report.checks {
        targets.entry(&result.target).or_default().push(Case::of_check(result));
    }
    let mut frameworks: BTreeMap<String, Vec<Case<'_>>> = BTreeMap::new();
    for row in &report.requirements {
        let name = format!("{}-{}", row.framework, row.id);
        let case = Case { name, verdict: row.verdict, text: row.reason.as_str().into() };
        frameworks.entry(row.framework.to_string()).or_default().push(case);
    }
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"portreeve audit\">\n");
    let started = moment::text(report.started);
    targets.iter().for_each(|(target, cases)| suite(&mut xml, target, &started, cases));
    frameworks.iter().for_each(|(framework, cases)| suite(&mut xml, framework, &started, cases));
    xml.push_str("</testsuites>\n");
    xml.into_bytes()
}

struct Case<'a> {
    name: String,
    verdict: Verdict,
    text: std::borrow::Cow<'a, str>,
}

impl<'a> Case<'a> {
    fn of_check(result: &'a CheckResult) -> Self {
        let text = format!("observed: {}; expected: {}", result.observed, result.expected);
        Self { name: result.id.to_string(), verdict: result.verdict, text: text.into() }
    }

    /// The element that says how it ended; nothing for what is as it should be.
    const fn element(&self) -> Option<&'static str> {
        match self.verdict {
            Verdict::Pass | Verdict::Attested => None,
            Verdict::Fail | Verdict::Partial => Some("failure"),
            Verdict::Inconclusive => Some("error"),
            Verdict::NotTested | Verdict::NotApplicable | Verdict::Exception => Some("skipped"),
        }
    }
}

fn suite(xml: &mut String, name: &str, started: &str, cases: &[Case<'_>]) {
    let count = |element: &str| cases.iter().filter(|case| case.element() == Some(element)).count();
    let (tests, failures, errors, skipped) = (cases.len(), count("failure"), count("error"), count("skipped"));
    // Text cannot fail to take text.
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" timestamp=\"{started}\">",
        escape(name)
    );
    for case in cases {
        let (case_name, class, text) = (escape(&case.name), escape(name), escape(&case.text));
        let _ = match case.element() {
            None => writeln!(xml, "    <testcase name=\"{case_name}\" classname=\"{class}\"/>"),
            Some(element) => {
                let (verdict, kind) = (case.verdict, if element == "skipped" { "" } else { " type=\"verdict\"" });
                writeln!(
                    xml,
                    "    <testcase name=\"{case_name}\" classname=\"{class}\"><{element}{kind} message=\"{verdict}: {text}\"/></testcase>"
                )
            }
        };
    }
    xml.push_str("  </testsuite>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn each_verdict_has_its_element_and_hostile_text_stays_text() {
        let xml = String::from_utf8(junit(&sample::report())).unwrap();
        assert!(xml.contains("<failure type=\"verdict\" message=\"fail: observed: "), "{xml}");
        assert!(xml.contains("<error type=\"verdict\" message=\"inconclusive: "));
        assert!(xml.contains("<skipped message=\"not-tested: "));
        assert!(xml.contains("<skipped message=\"exception: "));
        assert!(!xml.contains("<script") && !xml.contains("]]>") && !xml.contains('\u{1b}'));
        assert_eq!(
            xml.matches("<testcase ").count(),
            sample::report().checks.len() + sample::report().requirements.len()
        );
    }
}
