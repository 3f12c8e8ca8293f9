//! What rows ask for, and how far citations go: the hub makes a row so, the auditor decides whether it is.

use crate::source::read;
use anyhow::{Context as _, Result};
use portreeve_assurance::{Catalogue, Kind, Verdict, rule};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

/// Sources that judge others, or tell what a judge asks. All else is the hub's own.
const AUDITOR: [&str; 11] = [
    "crates/core/assurance/",
    "crates/core/intake/",
    "crates/edge/probe/",
    "crates/port/prover/",
    "crates/app/hub/src/attestations/",
    "crates/app/hub/src/audit/",
    "crates/app/hub/tests/audit.rs",
    "crates/bin/portreeve/src/audit",
    "crates/bin/portreeve/tests/cli/attest.rs",
    "crates/bin/portreeve/tests/cli/audit",
    AUDITOR_AT_HUB,
];

/// Where the auditor looks at a hub of ours: what he sees there, the hub does.
const AUDITOR_AT_HUB: &str = "tests/tests/probe.rs";

/// A case of each rule, and what the rule makes of it.
const CASES: &str = "crates/core/assurance/tests/data/judgements";

/// Checks whose rules would pass what no audit of ours gathers, so that it says `partial` of them, whatever is there: a hub counts neither
/// which permits are used, nor how long it was there and a delivery took; no gateway tells how soon it blocked somebody; nobody tells of
/// the second factor of a user of the machine, nor whether a target has logged what was sent again.
const GATHERED_IN_PART: [&str; 5] = ["hub.policy", "hub.metrics", "hub.quarantine", "hub.rbac", "replay.probe"];

/// What a row asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand {
    pub(crate) id: String,
    /// The hub has to do it: that an audit would notice is not enough. Of all other rows only an audit can say that they hold.
    pub(crate) of_hub: bool,
    /// Those of its checks that nothing can pass yet: they have no rule, or one that says `partial` at best, or of all that is gathered. No
    /// audit says more of the row.
    pub(crate) open: Vec<String>,
}

/// Whether code and a test of a side cite a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sides {
    hub: (bool, bool),
    auditor: (bool, bool),
}

impl Sides {
    pub(crate) fn new(code: &[String], test: &[String]) -> Self {
        let is_auditors = |place: &String| AUDITOR.iter().any(|start| place.starts_with(start));
        let is_hubs = |place: &String| !is_auditors(place) || place.starts_with(AUDITOR_AT_HUB);
        Self {
            hub: (code.iter().any(is_hubs), test.iter().any(is_hubs)),
            auditor: (code.iter().any(is_auditors), test.iter().any(is_auditors)),
        }
    }

    /// By the hub.
    pub(crate) fn is_met(self) -> bool {
        self.hub == (true, true)
    }

    /// By an audit.
    pub(crate) fn is_decided(self, demand: &Demand) -> bool {
        self.auditor == (true, true) && demand.open.is_empty()
    }

    /// What keeps a row that code and tests cite from being done.
    pub(crate) fn lack(self, demand: &Demand) -> Option<String> {
        let (name, side) = if demand.of_hub { ("hub", self.hub) } else { ("auditor", self.auditor) };
        match side {
            (true, true) if demand.of_hub || demand.open.is_empty() => None,
            (true, true) => Some(format!("what can pass {}", demand.open.join(", "))),
            (true, false) => Some(format!("a test of the {name}'s own")),
            (false, true) => Some(format!("code of the {name}'s own")),
            (false, false) => Some(format!("code and a test of the {name}'s own")),
        }
    }
}

/// What each row asks for, in the catalogue's order.
pub(crate) fn demands(root: &Path) -> Result<Vec<Demand>> {
    let catalogue = Catalogue::embedded();
    let mut open = BTreeSet::new();
    for check in catalogue.checks() {
        if !can_pass(root, check.id.as_str())? {
            open.insert(check.id.to_string());
        }
    }
    let demand = |row: &portreeve_assurance::Requirement| Demand {
        id: row.id.to_string(),
        of_hub: row.kind == Kind::Enforce,
        open: row.checks.iter().map(ToString::to_string).filter(|check| open.contains(check)).collect(),
    };
    Ok(catalogue.requirements().iter().map(demand).collect())
}

#[derive(Deserialize)]
struct Case {
    judgement: Judged,
}

#[derive(Deserialize)]
struct Judged {
    verdict: Verdict,
}

/// Whether a check has a rule that passes one of its cases.
fn can_pass(root: &Path, check: &str) -> Result<bool> {
    let path = root.join(CASES).join(format!("{check}.json"));
    if rule(check).is_none() || GATHERED_IN_PART.contains(&check) || !path.is_file() {
        return Ok(false);
    }
    let cases: Vec<Case> = serde_json::from_str(&read(&path)?).with_context(|| path.display().to_string())?;
    Ok(cases.iter().any(|case| matches!(case.judgement.verdict, Verdict::Pass | Verdict::Attested)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sample;

    const RULES: &str = "crates/core/assurance/src/checks/a.rs:1";
    const RULED: &str = "crates/edge/probe/tests/a.rs:1";
    const HUB: &str = "crates/app/hub/src/a.rs:1";
    const TESTED: &str = "tests/tests/a.rs:1";

    /// What a row lacks, whether it is met, and whether it is decided.
    fn found(code: &[&str], test: &[&str], of_hub: bool, open: &[&str]) -> (String, bool, bool) {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let demand = Demand { id: "ISVS-4.2.2".into(), of_hub, open: owned(open) };
        let sides = Sides::new(&owned(code), &owned(test));
        (sides.lack(&demand).unwrap_or_default(), sides.is_met(), sides.is_decided(&demand))
    }

    fn lacks(what: &str) -> String {
        what.to_owned()
    }

    /// A rule that would notice is not a hub that does it, and a hub that does it is no word about devices or people.
    #[test]
    fn a_side_alone_does_what_is_asked_of_it_and_no_more() {
        let nothing = String::new();
        assert_eq!(found(&[HUB], &[TESTED], true, &["cap.x"]), (nothing.clone(), true, false));
        assert_eq!(found(&[HUB], &[TESTED], false, &[]), (lacks("code and a test of the auditor's own"), true, false));
        assert_eq!(found(&[RULES], &[RULED], false, &[]), (nothing.clone(), false, true));
        assert_eq!(found(&[RULES], &[RULED], true, &[]), (lacks("code and a test of the hub's own"), false, true));
        let open = ["cap.x", "cap.y"];
        assert_eq!(found(&[RULES], &[RULED], false, &open), (lacks("what can pass cap.x, cap.y"), false, false));
        assert_eq!(found(&[RULES, HUB], &[RULED, TESTED], true, &[]), (nothing, true, true));
    }

    /// Code of one side and a test of the other are neither's; where the auditor looks at a hub, it is both's.
    #[test]
    fn code_and_test_are_of_the_same_side() {
        assert_eq!(found(&[RULES], &[TESTED], true, &[]).0, "code of the hub's own");
        assert_eq!(found(&[HUB], &[RULED], true, &[]).0, "a test of the hub's own");
        assert_eq!(found(&[HUB], &[RULED], false, &[]).0, "code of the auditor's own");
        assert_eq!(found(&[RULES], &[TESTED], false, &[]).0, "a test of the auditor's own");
        let looked_at = format!("{AUDITOR_AT_HUB}:1");
        assert!(found(&[HUB], &[&looked_at], true, &[]).1 && found(&[RULES], &[&looked_at], false, &[]).2);
    }

    #[test]
    fn rows_ask_what_the_catalogue_says() {
        let case = |verdict: &str| format!("[{{\"name\": \"a\", \"judgement\": {{\"verdict\": \"{verdict}\"}}}}]");
        let path = |check: &str| format!("{CASES}/{check}.json");
        let files = [
            (path("att.doc"), case("attested")),
            (path("tls.versions"), case("pass")),
            (path("mqtt.malformed"), case("partial")),
            (path("cap.tls"), case("pass")),
            (path("hub.rbac"), case("pass")),
        ];
        let (folder, tree) = sample::tree(&files.each_ref().map(|(path, text)| (path.as_str(), text.as_str())));
        let demands = demands(&tree.root).unwrap();
        let of = |id: &str| demands.iter().find(|demand| demand.id == id).unwrap();
        assert!(of("ISVS-4.1.1").of_hub && !of("CSA-TRN-02").of_hub);
        assert!(of("CSA-TRN-02").open.is_empty(), "records are judged");
        assert!(!of("ISVS-4.1.1").open.contains(&"tls.versions".into()));
        assert!(of("ISVS-4.1.3").open.contains(&"cap.tls".into()), "without a rule, cases are nothing");
        assert!(of("IIITA-I5").open.contains(&"mqtt.malformed".into()), "partial at best");
        assert!(of("CSA-SCN-07").open.contains(&"hub.rbac".into()), "nobody gathers what would pass");
        assert!(GATHERED_IN_PART.iter().all(|check| rule(check).is_some()), "a check without a rule is open anyway");
        assert!(of("ISVS-4.1.7").open.contains(&"att.inspect".into()), "nobody knows what has no cases");
        sample::write(folder.path(), &path("tls.cert"), "[{}]");
        assert!(can_pass(folder.path(), "tls.cert").is_err());
    }
}
