use super::Review;
use crate::{
    Inputs, Judgement,
    checks::of_declared,
    evidence::config::sbom::{Affected, SbomMatches, SbomPolicy, VexStatus, VulnerabilityMatch},
};

const EXPECTED: &str =
    "no known vulnerability from the declared severity on, unless the maker says that it does not apply";

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// `cfg.sbom`: components against advisories (IOTSF-2.4.7.4, IOTSF-2.4.7.13, IOTSF-2.4.7.16, IOTSF-2.4.7.19, IOTSF-2.4.7.20, IIITA-DI4,
/// CSA-TSP-08, CSA-SDV-07, CSA-SDV-15, CSA-SDV-16, CSA-SDV-17, CSA-TMM-04, CSA-VLN-01, CSA-CLS-06, CSA-UPD-04).
pub(super) fn sbom(inputs: &Inputs<'_>) -> Judgement {
    of_declared(inputs, |facts, policy| judge(facts, policy, inputs))
}

fn judge(facts: &SbomMatches, policy: &SbomPolicy, inputs: &Inputs<'_>) -> Judgement {
    let mut review = Review::default();
    if facts.components == 0 {
        review.gap(format!("{} names no component", facts.file));
    }
    let mut below = 0;
    for found in &facts.matches {
        below += u32::from(!review_match(&mut review, found, policy));
    }
    review_feed(&mut review, facts, policy, inputs);
    if facts.unknown_count > 0 {
        review.part(format!(
            "{} components have no package URL or version, such as {}",
            facts.unknown_count,
            few(&facts.unknown)
        ));
    }
    if !facts.uncovered.is_empty() {
        review.part(format!("the snapshot has no record of {}", few(&facts.uncovered)));
    }
    let below =
        if below == 0 { String::new() } else { format!(", {below} vulnerabilities that weigh less or do not apply") };
    let feed = &facts.feed;
    review.fine(format!(
        "{} components against {} OSV records and {} CSAF documents{below}",
        facts.components, feed.osv_records, feed.csaf_documents
    ));
    review.judge(EXPECTED)
}

fn few(names: &[String]) -> String {
    names.iter().take(3).cloned().collect::<Vec<_>>().join(", ")
}

/// Whether it counts.
fn review_match(review: &mut Review, found: &VulnerabilityMatch, policy: &SbomPolicy) -> bool {
    let VulnerabilityMatch { component, id, score_tenths, is_affected, vex, .. } = found;
    if vex.as_ref().is_some_and(|vex| matches!(vex.status, VexStatus::NotAffected | VexStatus::Fixed)) {
        return false;
    }
    if score_tenths.is_some_and(|score| score < policy.score_tenths_min) {
        return false;
    }
    let score = score_tenths.map_or("no rating".into(), |score| format!("{}.{}", score / 10, score % 10));
    let what = format!("{component}: {id} ({score})");
    match (is_affected, score_tenths) {
        (Affected::Yes, Some(_)) => review.weighed.offences.push(what),
        (Affected::Yes, None) => review.gap(what),
        (Affected::Open(why), _) => review.gap(format!("{what}: {why}")),
    }
    true
}

fn review_feed(review: &mut Review, facts: &SbomMatches, policy: &SbomPolicy, inputs: &Inputs<'_>) {
    let feed = &facts.feed;
    if feed.osv_records == 0 && feed.csaf_documents == 0 {
        return review.gap("the snapshot has no record");
    }
    let Some(newest) = feed.newest else { return review.gap("it is not known of when the snapshot is") };
    let days = inputs.at.0.saturating_sub(newest.0) / DAY_MS;
    if days > u64::from(policy.feed_days_max) {
        review.gap(format!("the newest record of the snapshot is {days} days old, more than {}", policy.feed_days_max));
    }
}
