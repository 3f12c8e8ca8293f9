use crate::text;

/// Where a file that a person wrote is not the TOML that it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", self.place())]
pub struct TomlProblem {
    /// From 1; 0 if it is about the whole.
    pub line: usize,
    /// From 1, characters; 0 if it is about the whole.
    pub column: usize,
    /// What; one line.
    pub problem: String,
}

impl TomlProblem {
    fn place(&self) -> String {
        if self.line == 0 { String::new() } else { format!("line {}, column {}: ", self.line, self.column) }
    }

    /// About the whole.
    pub(crate) const fn whole(problem: String) -> Self {
        Self { line: 0, column: 0, problem }
    }

    /// What the reader of TOML says of a text.
    pub(crate) fn read(text: &str, error: &toml::de::Error) -> Self {
        Self::at(text, error.span().map(|span| span.start), error.message())
    }

    /// At a byte of a text; about the whole without one.
    pub(crate) fn at(text: &str, offset: Option<usize>, problem: &str) -> Self {
        let problem = text::line(problem);
        let Some(before) = offset.and_then(|offset| text.get(..offset)) else {
            return Self::whole(problem);
        };
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        Self { line, column: before[line_start..].chars().count() + 1, problem }
    }
}
