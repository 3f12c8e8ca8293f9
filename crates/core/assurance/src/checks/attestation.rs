use super::Rules;
use crate::{Attestation, Catalogue, Inputs, Judgement, Reply, Verdict, answers_problem, moment, same_person};

pub(super) const RULES: Rules = &[("att.doc", judge), ("att.inspect", judge), ("att.contract", judge)];

/// `att.doc`, `att.inspect`, `att.contract`: a record counts while it is in date, if somebody else approved it than answers for it,
/// and if every question of the row is answered with yes. Answers to other questions, or to some only, decide nothing: whoever makes
/// a record does not choose what it is asked.
///
/// Records alone decide ISVS-4.1.7, CSA-GVN-02, CSA-GVN-03, CSA-PRV-04, CSA-PRV-05, CSA-SDV-01, CSA-SDV-05, CSA-SDV-09, CSA-SDV-14,
/// CSA-SNT-08, CSA-SNT-18, CSA-OPA-08, CSA-CMP-05, CSA-LBT-01, CSA-TMM-01, CSA-TMM-03, CSA-SOP-02, CSA-CLS-14 and CSA-TRN-02; of other
/// rows they decide a part.
fn judge(inputs: &Inputs<'_>) -> Judgement {
    let record: Attestation = match inputs.one() {
        Ok(record) => record,
        Err(judgement) => return judgement,
    };
    let (verdict, observed) = weigh(&record, inputs);
    Judgement { verdict, observed, expected: inputs.check.passes_when.clone() }
}

fn weigh(record: &Attestation, inputs: &Inputs<'_>) -> (Verdict, String) {
    let Attestation { title, owner, approver, .. } = record;
    let inconclusive = |why: String| (Verdict::Inconclusive, why);
    if record.check != inputs.check.id || record.requirement.to_string() != inputs.target {
        return inconclusive(format!("the record is for {} of {}", record.check, record.requirement));
    }
    if [title, owner, approver].iter().any(|text| text.trim().is_empty()) {
        return inconclusive("the record has no title, owner or approver".into());
    }
    if same_person(owner, approver) {
        return inconclusive(format!("{owner} approved what is theirs to answer for"));
    }
    if record.approved > inputs.at {
        return inconclusive(format!("approved only on {}", moment::day(record.approved)));
    }
    if record.next_review <= inputs.at {
        return inconclusive(format!("overdue: it was to be reviewed by {}", moment::day(record.next_review)));
    }
    let questions = Catalogue::embedded().questions(&record.requirement, &record.check);
    if let Some(problem) = answers_problem(questions, &record.answers) {
        return inconclusive(problem);
    }
    let answered = |reply| record.answers.iter().find(|answer| answer.reply == reply);
    if let Some(answer) = answered(Reply::No) {
        return (Verdict::Fail, format!("answered with no: {}", answer.question));
    }
    if let Some(answer) = answered(Reply::Partly) {
        return (Verdict::Partial, format!("answered in part: {}", answer.question));
    }
    let until = moment::day(record.next_review);
    (Verdict::Attested, format!("{title}: {owner} answers for it, {approver} approved, in date until {until}"))
}
