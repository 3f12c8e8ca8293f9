//! OSCAL 1.2.2 (NIST): the few structures that a report needs. The tests hold them against the published schema.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::Report;
use crate::{Catalogue, CheckResult, Framework, Method, RowVerdict, Verdict, moment};

const OSCAL_VERSION: &str = "1.2.2";
/// What our identifiers are made in (RFC 9562, section 5.5): version 4, drawn once.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d0c_3f0e_52a4_4a8f_9d2b_7c1e_85f3_0b64);
/// In what our properties are named; nothing is fetched from there.
const PROPERTIES: &str = "urn:portreeve:oscal";

#[derive(Serialize)]
struct Metadata {
    title: String,
    #[serde(rename = "last-modified")]
    last_modified: String,
    version: String,
    #[serde(rename = "oscal-version")]
    oscal_version: &'static str,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    ns: &'static str,
    value: String,
}

impl Property {
    fn new(name: &'static str, value: &str) -> Self {
        Self { name, ns: PROPERTIES, value: string(value) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct AssessmentResults {
    uuid: Uuid,
    metadata: Metadata,
    import_ap: Href,
    results: [Assessment; 1],
    back_matter: BackMatter,
}

#[derive(Serialize)]
struct Href {
    href: String,
}

#[derive(Serialize)]
struct BackMatter {
    resources: Vec<Resource>,
}

#[derive(Serialize)]
struct Resource {
    uuid: Uuid,
    title: String,
    description: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Assessment {
    uuid: Uuid,
    title: String,
    description: String,
    start: String,
    end: String,
    reviewed_controls: ReviewedControls,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    observations: Vec<Observation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ReviewedControls {
    control_selections: [ControlSelection; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ControlSelection {
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    include_all: Option<Empty>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include_controls: Vec<ControlId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exclude_controls: Vec<ControlId>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ControlId {
    control_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Observation {
    uuid: Uuid,
    title: String,
    description: String,
    props: Vec<Property>,
    methods: [&'static str; 1],
    types: [&'static str; 1],
    subjects: [Subject; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relevant_evidence: Vec<Evidence>,
    collected: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Subject {
    subject_uuid: Uuid,
    #[serde(rename = "type")]
    kind: &'static str,
    title: String,
}

#[derive(Serialize)]
struct Evidence {
    href: String,
    description: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Finding {
    uuid: Uuid,
    title: String,
    description: String,
    props: Vec<Property>,
    target: FindingTarget,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_observations: Vec<RelatedObservation>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct FindingTarget {
    #[serde(rename = "type")]
    kind: &'static str,
    target_id: String,
    status: Status,
}

#[derive(Serialize)]
struct Status {
    state: &'static str,
    reason: &'static str,
    remarks: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RelatedObservation {
    observation_uuid: Uuid,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ComponentDefinition {
    uuid: Uuid,
    metadata: Metadata,
    components: [Component; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Component {
    uuid: Uuid,
    #[serde(rename = "type")]
    kind: &'static str,
    title: String,
    description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    control_implementations: Vec<ControlImplementation>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ControlImplementation {
    uuid: Uuid,
    source: String,
    description: String,
    implemented_requirements: Vec<ImplementedRequirement>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ImplementedRequirement {
    uuid: Uuid,
    control_id: String,
    description: String,
    props: Vec<Property>,
}

/// `oscal-assessment-results.json`: an observation for each check that was made, a finding for each row that was decided. Rows that
/// were not tested, or do not apply, are excluded from what was reviewed, as OSCAL has only satisfied and not satisfied; what is
/// neither `pass` nor `attested` is not satisfied, exceptions too.
#[must_use]
pub fn assessment_results(report: &Report, catalogue: &Catalogue) -> Vec<u8> {
    let ids = Ids::of(report);
    let targets =
        report.checks.iter().map(|result| result.target.as_str()).chain(report.targets.iter().map(String::as_str));
    let targets: BTreeMap<&str, Resource> = targets.map(|target| (target, ids.target(target))).collect();
    let scope = ids.uuid("scope");
    let scope_resource = Resource {
        uuid: scope,
        title: "Scope".into(),
        description: format!("{} targets, {} requirements", report.targets.len(), report.requirements.len()),
    };
    json(&BTreeMap::from([(
        "assessment-results",
        AssessmentResults {
            uuid: ids.uuid("assessment-results"),
            metadata: metadata("Assessment of an IoT deployment", report),
            import_ap: Href { href: format!("#{scope}") },
            results: [assessment(report, catalogue, &ids)],
            back_matter: BackMatter { resources: [scope_resource].into_iter().chain(targets.into_values()).collect() },
        },
    )]))
}

fn assessment(report: &Report, catalogue: &Catalogue, ids: &Ids) -> Assessment {
    let is_reviewed = |row: &&RowVerdict| !matches!(row.verdict, Verdict::NotTested | Verdict::NotApplicable);
    let controls =
        |rows: Vec<&RowVerdict>| rows.into_iter().map(|row| ControlId { control_id: control(row) }).collect();
    let (_, excluded): (Vec<&RowVerdict>, Vec<&RowVerdict>) = report.requirements.iter().partition(is_reviewed);
    let is_made = |result: &&CheckResult| result.verdict != Verdict::NotTested;
    Assessment {
        uuid: ids.uuid("result"),
        title: "Verdicts".into(),
        description: "Computed from the evidence beside this file; portreeve report verify computes them again.".into(),
        start: moment::text(report.started),
        end: moment::text(report.ended),
        reviewed_controls: ReviewedControls {
            control_selections: [ControlSelection {
                description: "What was selected, without what was not tested or does not apply.",
                include_all: report.requirements.is_empty().then_some(Empty {}),
                include_controls: controls(report.requirements.iter().collect()),
                exclude_controls: controls(excluded),
            }],
        },
        observations: report
            .checks
            .iter()
            .filter(is_made)
            .map(|result| observation(result, report, catalogue, ids))
            .collect(),
        findings: report
            .requirements
            .iter()
            .filter(is_reviewed)
            .map(|row| finding(row, report, catalogue, ids))
            .collect(),
    }
}

fn observation(result: &CheckResult, report: &Report, catalogue: &Catalogue, ids: &Ids) -> Observation {
    let method = catalogue.check(&result.id).map(|check| check.method);
    let target = ids.target(&result.target);
    let evidence = |hash| Evidence { href: super::evidence_file(hash), description: format!("SHA-256 {hash}") };
    Observation {
        uuid: ids.observation(result),
        title: line(&format!("{} at {}", result.id, result.target)),
        description: format!("Observed: {}\n\nExpected: {}", result.observed, result.expected),
        props: vec![
            Property::new("check", result.id.as_str()),
            Property::new("check-version", &result.version.to_string()),
            Property::new("verdict", result.verdict.as_str()),
        ],
        methods: [if method == Some(Method::Probe) { "TEST" } else { "EXAMINE" }],
        types: [if result.verdict == Verdict::Fail { "finding" } else { "control-objective" }],
        subjects: [Subject { subject_uuid: target.uuid, kind: "resource", title: target.title }],
        relevant_evidence: result.evidence.iter().map(evidence).collect(),
        collected: moment::text(report.started),
    }
}

fn finding(row: &RowVerdict, report: &Report, catalogue: &Catalogue, ids: &Ids) -> Finding {
    let (state, reason) = match row.verdict {
        Verdict::Pass | Verdict::Attested => ("satisfied", "pass"),
        Verdict::Fail => ("not-satisfied", "fail"),
        _ => ("not-satisfied", "other"),
    };
    let made = report.results_of(row).filter(|result| result.verdict != Verdict::NotTested);
    Finding {
        uuid: ids.uuid(&format!("finding {}", control(row))),
        title: line(&format!("{}-{}: {}", row.framework, row.id, row.verdict)),
        description: asks(row, catalogue),
        props: vec![Property::new("verdict", row.verdict.as_str())],
        target: FindingTarget {
            kind: "objective-id",
            target_id: control(row),
            status: Status { state, reason, remarks: row.reason.clone() },
        },
        related_observations: made
            .map(|result| RelatedObservation { observation_uuid: ids.observation(result) })
            .collect(),
    }
}

/// A component definition of what was examined: the rows that passed or are attested, and no others.
#[must_use]
pub fn component_definition(report: &Report, catalogue: &Catalogue) -> Vec<u8> {
    let ids = Ids::of(report);
    let implementations =
        Framework::ALL.into_iter().filter_map(|framework| implementation(framework, report, catalogue, &ids));
    let component = Component {
        uuid: ids.uuid("component"),
        kind: "service",
        title: line(&report.targets.join(", ")),
        description: "What was examined, with the requirements that the evidence shows to be met.".into(),
        control_implementations: implementations.collect(),
    };
    json(&BTreeMap::from([(
        "component-definition",
        ComponentDefinition {
            uuid: ids.uuid("component-definition"),
            metadata: metadata("Requirements that an IoT deployment meets", report),
            components: [component],
        },
    )]))
}

fn implementation(
    framework: Framework,
    report: &Report,
    catalogue: &Catalogue,
    ids: &Ids,
) -> Option<ControlImplementation> {
    let is_met =
        |row: &&RowVerdict| row.framework == framework && matches!(row.verdict, Verdict::Pass | Verdict::Attested);
    let requirement = |row: &RowVerdict| ImplementedRequirement {
        uuid: ids.uuid(&format!("implemented {}", control(row))),
        control_id: control(row),
        description: format!("{}\n\n{}: {}", asks(row, catalogue), row.verdict, row.reason),
        props: vec![Property::new("verdict", row.verdict.as_str())],
    };
    let requirements: Vec<ImplementedRequirement> =
        report.requirements.iter().filter(is_met).map(requirement).collect();
    (!requirements.is_empty()).then(|| ControlImplementation {
        uuid: ids.uuid(&format!("implementation {framework}")),
        source: format!("{PROPERTIES}:{}", framework.as_str().to_ascii_lowercase()),
        description: framework.title().to_owned(),
        implemented_requirements: requirements,
    })
}

/// Identifiers that follow from the report and what they name, so that the same report always gives the same file.
struct Ids(Uuid);

impl Ids {
    fn of(report: &Report) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, &report.to_json()))
    }

    fn uuid(&self, what: &str) -> Uuid {
        Uuid::new_v5(&self.0, what.as_bytes())
    }

    fn observation(&self, result: &CheckResult) -> Uuid {
        self.uuid(&format!("observation {} {}", result.id, result.target))
    }

    fn target(&self, target: &str) -> Resource {
        let uuid = self.uuid(&format!("target {target}"));
        Resource { uuid, title: line(target), description: "What was examined.".into() }
    }
}

fn metadata(title: &str, report: &Report) -> Metadata {
    Metadata {
        title: title.to_owned(),
        last_modified: moment::text(report.ended),
        version: string(&format!("{} {}", report.tool.name, report.tool.version)),
        oscal_version: OSCAL_VERSION,
    }
}

/// `isvs-4.2.2`: a token begins with a letter.
fn control(row: &RowVerdict) -> String {
    let id = row.requirement().map(|id| id.to_string()).unwrap_or_default();
    if id.is_empty() { row.framework.as_str().to_ascii_lowercase() } else { id.to_ascii_lowercase() }
}

fn asks(row: &RowVerdict, catalogue: &Catalogue) -> String {
    let found = row.requirement().and_then(|id| catalogue.requirement(&id));
    found.map(|row| row.paraphrase.clone()).unwrap_or_default()
}

/// OSCAL's strings begin and end with something that is seen.
fn string(text: &str) -> String {
    let text = line(text);
    text.trim().to_owned()
}

/// A line is never empty.
fn line(text: &str) -> String {
    let text = crate::text::line(text);
    if text.trim().is_empty() { "-".into() } else { text }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Plain values always have a JSON form.
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::sample;

    fn schema() -> jsonschema::Validator {
        let schema: Value =
            serde_json::from_str(include_str!("../../tests/data/oscal_complete_schema-1-2-2.json")).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    }

    fn check(validator: &jsonschema::Validator, bytes: &[u8]) -> Value {
        let document: Value = serde_json::from_slice(bytes).unwrap();
        let wrong: Vec<String> =
            validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        document
    }

    #[test]
    fn both_documents_are_valid_by_the_published_schema() {
        let schema = schema();
        let mut report = sample::report();
        let document = check(&schema, &assessment_results(&report, Catalogue::embedded()));
        let findings = document["assessment-results"]["results"][0]["findings"].as_array().unwrap();
        let state = |id: &str| {
            let found = findings.iter().find(|finding| finding["target"]["target-id"] == id);
            found.map(|finding| finding["target"]["status"]["state"].as_str().unwrap().to_owned())
        };
        assert_eq!(state("isvs-4.3.3"), Some("not-satisfied".into()), "an exception satisfies nobody");
        assert!(findings.iter().any(|finding| finding["target"]["status"]["state"] == "satisfied"));
        check(&schema, &component_definition(&report, Catalogue::embedded()));
        report.requirements.clear();
        report.checks.clear();
        report.targets.clear();
        check(&schema, &assessment_results(&report, Catalogue::embedded()));
        check(&schema, &component_definition(&report, Catalogue::embedded()));
    }

    /// Else the test above would say nothing.
    #[test]
    fn the_schema_refuses_what_is_wrong() {
        let schema = schema();
        let good: Value =
            serde_json::from_slice(&assessment_results(&sample::report(), Catalogue::embedded())).unwrap();
        for (pointer, wrong) in [
            ("/assessment-results/uuid", "not-a-uuid"),
            ("/assessment-results/results/0/findings/0/target/target-id", "4.1.1"),
            ("/assessment-results/results/0/findings/0/target/status/state", "attested"),
            ("/assessment-results/results/0/observations/0/props/0/value", " "),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = wrong.into();
            assert!(!schema.is_valid(&bad), "{pointer}");
        }
    }

    #[test]
    fn a_report_gives_the_same_file_each_time_and_another_report_others() {
        let report = sample::report();
        let catalogue = Catalogue::embedded();
        assert_eq!(assessment_results(&report, catalogue), assessment_results(&report, catalogue));
        let mut later = report.clone();
        later.ended.0 += 1;
        let uuid = |report: &Report| {
            serde_json::from_slice::<Value>(&assessment_results(report, catalogue)).unwrap()["assessment-results"]["uuid"].clone()
        };
        assert_ne!(uuid(&report), uuid(&later));
    }
}
