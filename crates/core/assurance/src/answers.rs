//! A file in which a person answers what a row asks of a record.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::{Answer, CheckId, Requirement, RequirementId, TomlProblem};

/// Most bytes of a file of answers: 64 KiB.
pub const ANSWERS_BYTES_MAX: usize = 64 << 10;

/// Answers to what a row asks of one of its records.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswersFile {
    /// The row.
    pub requirement: RequirementId,
    /// As what the record counts.
    pub check: CheckId,
    /// The answers, as they stand there: [`answers_problem`](crate::answers_problem) says whether they are those that are asked for.
    pub answers: Vec<Answer>,
}

impl AnswersFile {
    /// From a file's text.
    ///
    /// # Errors
    /// [`TomlProblem`]: what is no TOML, unknown keys, a reply that nobody gave, more than [`ANSWERS_BYTES_MAX`].
    pub fn from_toml(text: &str) -> Result<Self, TomlProblem> {
        if text.len() > ANSWERS_BYTES_MAX {
            return Err(TomlProblem::whole(format!("a file of answers has no more than {ANSWERS_BYTES_MAX} bytes")));
        }
        toml::from_str(text).map_err(|error| TomlProblem::read(text, &error))
    }

    /// A file to fill in. It is not taken as it is: a reply that nobody gave is none.
    #[must_use]
    pub fn to_fill_in(row: &Requirement, check: &CheckId, questions: &[String]) -> String {
        let mut text = format!("# {}: {}\n", row.id, row.paraphrase);
        text.push_str(
            "# reply: \"yes\", \"no\" or \"partly\"; remark: where the document shows it, one line, may stay empty.\n\n",
        );
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let _ = write!(text, "requirement = \"{}\"\ncheck = \"{check}\"\n", row.id);
        for question in questions {
            let _ = write!(text, "\n[[answers]]\nquestion = {}\nreply = \"\"\nremark = \"\"\n", quoted(question));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalogue, answers_problem};

    #[test]
    fn every_file_to_fill_in_is_read_back_when_it_is_filled_in_and_not_before() {
        for row in Catalogue::embedded().requirements() {
            for (check, questions) in &row.questions {
                let text = AnswersFile::to_fill_in(row, check, questions);
                assert!(AnswersFile::from_toml(&text).is_err(), "{}", row.id);
                let filled = AnswersFile::from_toml(&text.replace("reply = \"\"", "reply = \"no\"")).unwrap();
                assert_eq!((&filled.requirement, &filled.check), (&row.id, check));
                assert!(filled.answers.iter().map(|answer| &answer.question).eq(questions), "{}", row.id);
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_answers_nothing() {
        let catalogue = Catalogue::embedded();
        let row = catalogue.requirement(&"CSA-TRN-02".parse().unwrap()).unwrap();
        let check = "att.doc".parse().unwrap();
        let questions = catalogue.questions(&row.id, &check);
        let whole = AnswersFile::to_fill_in(row, &check, questions).replace("reply = \"\"", "reply = \"yes\"");
        let is_taken = |text: &str| {
            AnswersFile::from_toml(text).is_ok_and(|file| answers_problem(questions, &file.answers).is_none())
        };
        assert!(is_taken(whole.trim_end()));
        for at in 0..whole.trim_end().len() {
            assert!(!is_taken(&whole[..at]), "{at}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let head = "requirement = \"CSA-TRN-02\"\ncheck = \"att.doc\"\n";
        let of = |text: &str| {
            let problem = AnswersFile::from_toml(text).unwrap_err();
            (problem.line, problem.column, problem.problem)
        };
        let (line, column, problem) =
            of(&format!("{head}[[answers]]\nquestion = \"a\"\nreply = \"maybe\"\nremark = \"\"\n"));
        assert_eq!((line, column), (5, 9), "{problem}");
        assert!(problem.contains("unknown variant `maybe`"), "{problem}");
        assert_eq!(of(&format!("{head}colour = 1\n")).0, 3);
        let large = format!("{head}#{}", "x".repeat(ANSWERS_BYTES_MAX));
        assert_eq!(of(&large), (0, 0, "a file of answers has no more than 65536 bytes".to_owned()));
    }
}
