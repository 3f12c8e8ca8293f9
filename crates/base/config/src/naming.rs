//! What new names must look like, and to whom their beginnings are reserved: the values; the registry applies them.
//!
//! A pattern is a regular expression, for operators know those, and no template of our own would say less than
//! they need. It is compiled once, within fixed bounds, and matched in time linear in the name whatever the pattern.

use crate::schema::Inventory;
use crate::setting::Worded;
use regex::bytes::{Regex, RegexBuilder};
use std::fmt;
use std::str::FromStr;

/// Longest pattern.
const PATTERN_BYTES_MAX: usize = 256;
/// Memory that a compiled pattern may take; counted repetitions of repetitions grow fast.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of groups.
const NESTING_MAX: u32 = 16;
/// Longest group, in characters, as the registry has it.
const GROUP_CHARS_MAX: usize = 256;

/// A regular expression that must match a whole name. By default any name matches.
#[derive(Clone)]
pub struct NamePattern {
    text: String,
    regex: Regex,
}

/// Why a text is no pattern for names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It has too many bytes.
    #[error("a pattern has at most {PATTERN_BYTES_MAX} bytes")]
    Long,
    /// It is no regular expression, or one that takes too much memory.
    #[error("{0}")]
    Regex(String),
}

impl NamePattern {
    /// Whether the whole name looks so.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name.as_bytes())
    }
}

impl FromStr for NamePattern {
    type Err = BadPattern;
    fn from_str(text: &str) -> Result<Self, BadPattern> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(BadPattern::Long);
        }
        // Alone first: what is balanced by itself cannot break out of the group that anchors it.
        compile(text)?;
        let regex = compile(&format!(r"\A(?:{text})\z"))?;
        Ok(Self { text: text.to_owned(), regex })
    }
}

/// Names are ASCII, so the tables of Unicode are not needed.
fn compile(pattern: &str) -> Result<Regex, BadPattern> {
    let mut builder = RegexBuilder::new(pattern);
    builder.unicode(false).size_limit(COMPILED_BYTES_MAX).nest_limit(NESTING_MAX);
    // The last line says what is wrong; those before it draw where.
    builder.build().map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        BadPattern::Regex(last.strip_prefix("error: ").unwrap_or(last).to_owned())
    })
}

impl Default for NamePattern {
    #[allow(clippy::expect_used)]
    fn default() -> Self {
        // proof: a constant, which every test of the configuration compiles.
        ".*".parse().expect("a pattern")
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for NamePattern {}

impl Worded for NamePattern {
    const TYPE: &'static str = "regular expression";
}

impl Inventory {
    /// Namespaces that no name could be in.
    pub(crate) fn findings(&self) -> impl Iterator<Item = String> {
        self.namespaces.iter().filter_map(|(prefix, group)| {
            if !is_prefix(prefix) {
                return Some(format!(
                    "inventory.namespaces: {prefix:?} cannot stand before the first dot of a name: use a-z A-Z 0-9 _ - and begin with a letter or digit"
                ));
            }
            let usable = !group.is_empty()
                && group.chars().count() <= GROUP_CHARS_MAX
                && !group.chars().any(char::is_control);
            (!usable).then(|| {
                format!("inventory.namespaces: `{prefix}` is reserved to {group:?}, which is no group: 1 to {GROUP_CHARS_MAX} characters without control characters")
            })
        })
    }
}

fn is_prefix(text: &str) -> bool {
    let clean = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    clean && text.len() <= 63 && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_for_the_whole_name() {
        let pattern: NamePattern = "lamp-[0-9]{2}|app".parse().unwrap();
        for good in ["lamp-01", "app"] {
            assert!(pattern.matches(good), "{good}");
        }
        for bad in ["lamp-1", "lamp-011", "xlamp-01", "app2", "an-app", "LAMP-01", "", "lamp-01\n"] {
            assert!(!pattern.matches(bad), "{bad:?}");
        }
        assert!(NamePattern::default().matches("Any.name_-1"));
    }

    #[test]
    fn no_pattern_breaks_out_of_its_anchors() {
        for pattern in ["a)|(?:b", "(?x)a # b", "(?m)^a$", "a|ab"] {
            let Ok(pattern) = pattern.parse::<NamePattern>() else { continue };
            for loose in ["xa", "ax", "xb", "bx", "a\nb"] {
                assert!(!pattern.matches(loose), "{pattern}: {loose:?}");
            }
        }
        assert!("a|ab".parse::<NamePattern>().unwrap().matches("ab"), "the longer alternative counts too");
    }

    #[test]
    fn a_pattern_is_bounded_and_its_errors_are_one_line() {
        for (pattern, said) in [("[a-", "unclosed"), ("((a{200}){200}){200}", "size limit"), ("a)|(?:b", "unopened")] {
            let error = pattern.parse::<NamePattern>().unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains('\n'), "{error}");
        }
        assert_eq!("a".repeat(257).parse::<NamePattern>(), Err(BadPattern::Long));
        assert!("(".repeat(100).parse::<NamePattern>().is_err());
    }

    #[test]
    fn a_namespace_that_no_name_can_have_is_a_mistake() {
        let findings = |prefix: &str, group: &str| {
            let namespaces = [(prefix.to_owned(), group.to_owned())].into();
            Inventory { namespaces, ..Inventory::default() }.findings().count()
        };
        for (prefix, group) in [("a.b", "g"), ("", "g"), ("-a", "g"), ("ä", "g"), ("a", ""), ("a", "g\n")] {
            assert_eq!(findings(prefix, group), 1, "{prefix:?} {group:?}");
        }
        assert_eq!(findings("a", "g"), 0);
    }
}
