//! What is wrong with a file, line by line.

use std::fmt::{self, Write as _};

/// Problems that are told in full. Beyond that the file is of another kind, and a number says enough.
const TOLD_MAX: usize = 500;

/// Everything that is wrong with a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// Line, and what is told of it.
    told: Vec<(u64, String)>,
    /// How many more there are.
    more: usize,
}

impl Problems {
    /// A problem in a column of a line, or, where `column` is empty, with the whole line.
    pub(crate) fn add(&mut self, line: u64, column: &str, what: fmt::Arguments<'_>) {
        if self.told.len() >= TOLD_MAX {
            self.more += 1;
            return;
        }
        let mut text = format!("line {line}");
        if !column.is_empty() {
            text += ", ";
            text += column;
        }
        // Writing to a String does not fail. What comes from the file is quoted and may hold anything.
        let _ = write!(text, ": {}", Clean(&what.to_string()));
        self.told.push((line, text));
    }

    /// In the order of the lines.
    pub(crate) fn sort(&mut self) {
        self.told.sort_by_key(|(line, _)| *line);
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.told.len() + self.more
    }

    /// The lines of those that are told in full.
    pub fn lines(&self) -> impl Iterator<Item = u64> {
        self.told.iter().map(|(line, _)| *line)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.told.iter().map(|(_, text)| text.as_str()).collect();
        f.write_str(&texts.join("\n"))?;
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

/// Text without what would move a terminal's cursor.
struct Clean<'a>(&'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() { '\u{fffd}' } else { c }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_bounded_clean_and_counted() {
        let mut problems = Problems::default();
        problems.add(2, "name", format_args!("`\x1b[2J`"));
        problems.add(3, "", format_args!("cut"));
        assert_eq!(problems.to_string(), "line 2, name: `\u{fffd}[2J`\nline 3: cut");
        (0..TOLD_MAX).for_each(|_| problems.add(4, "", format_args!("x")));
        assert_eq!(problems.len(), TOLD_MAX + 2);
        assert!(problems.to_string().ends_with("\nand 2 more"));
    }
}
