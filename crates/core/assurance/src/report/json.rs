use serde_json::error::Category;

use super::{FORMAT, Report};

/// Most bytes of a report that is read: 64 MiB.
pub const REPORT_BYTES_MAX: usize = 64 << 20;

/// Where a file is not the JSON that it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct JsonProblem {
    /// From 1; 0 if it is about the whole.
    pub line: usize,
    /// From 1; 0 if it is about the whole.
    pub column: usize,
    /// What.
    pub problem: String,
}

impl From<serde_json::Error> for JsonProblem {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        // The place stands at the end of its text once more.
        let place = format!(" at line {line} column {column}");
        let text = text.strip_suffix(&place).unwrap_or(&text);
        let problem = match error.classify() {
            Category::Data => text.to_owned(),
            Category::Io | Category::Syntax | Category::Eof => format!("not JSON: {text}"),
        };
        Self { line, column, problem: crate::text::line(&problem) }
    }
}

impl Report {
    /// The bytes of `report.json`.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Plain values always have a JSON form.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// From the bytes of `report.json`.
    ///
    /// # Errors
    /// [`JsonProblem`], also above [`REPORT_BYTES_MAX`], for another format, and for text that is not one line that prints.
    pub fn from_json(bytes: &[u8]) -> Result<Self, JsonProblem> {
        let whole = |problem: String| JsonProblem { line: 0, column: 0, problem };
        if bytes.len() > REPORT_BYTES_MAX {
            return Err(whole(format!("a report has at most {REPORT_BYTES_MAX} bytes")));
        }
        let report: Self = serde_json::from_slice(bytes)?;
        if report.format != FORMAT {
            return Err(whole(format!("a report of this version has the format {FORMAT}")));
        }
        if let Some(text) = report.lines().find(|text| crate::text::line(text) != **text) {
            return Err(whole(crate::text::line(&format!("no report says this: {text}"))));
        }
        Ok(report)
    }

    /// Every text in it that a target or its author may have chosen. Each is one line that prints, whoever made the report.
    fn lines(&self) -> impl Iterator<Item = &String> {
        let checks = self.checks.iter().flat_map(|result| [&result.target, &result.observed, &result.expected]);
        let rows = self.requirements.iter().flat_map(|row| [&row.id, &row.reason]);
        [&self.tool.name, &self.tool.version].into_iter().chain(&self.targets).chain(checks).chain(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_report_goes_out_and_comes_back() {
        let report = sample::report();
        let bytes = report.to_json();
        assert_eq!(Report::from_json(&bytes), Ok(report));
    }

    #[test]
    fn a_broken_report_has_line_and_column() {
        let text = String::from_utf8(sample::report().to_json()).unwrap();
        let problem = |text: &str| Report::from_json(text.as_bytes()).unwrap_err();
        let line_of = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
        let wrong = problem(&text.replacen("\"fail\"", "\"great\"", 1));
        assert_eq!(wrong.line, line_of("\"fail\""));
        assert!(wrong.problem.starts_with("unknown variant `great`"), "{wrong}");
        assert!(problem(&text[..text.len() / 2]).problem.starts_with("not JSON: EOF"));
        assert!(problem(&text.replacen("\"started\"", "\"begun\"", 1)).problem.starts_with("unknown field `begun`"));
        assert!(
            problem(&text.replace("portreeve-report/1", "portreeve-report/9")).problem.contains("portreeve-report/1")
        );
        for wrong in ["\\u001b[2J", "two\\nlines", "\\u202eright", &"long".repeat(300)] {
            let told = problem(&text.replacen("not asked for", wrong, 1));
            assert!(told.problem.starts_with("no report says this: "), "{told}");
        }
    }
}
