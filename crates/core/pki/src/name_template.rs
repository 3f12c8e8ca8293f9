//! Names for devices that nobody names.

use std::{fmt, str::FromStr};

use portreeve_types::{IdentityName, KeyHash, NameError};

/// How many characters of a key's hash `{key}` stands for: 64 bits of it.
const KEY_CHARS: usize = 16;

/// A pattern such as `pump-{serial}`, from which the name of an enrolling device is made.
///
/// Its fixed parts are checked when it is read, and what is filled in when a name is made: the result is an
/// [`IdentityName`] or a refusal. Nothing is replaced or cut off, since two devices could then get one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Serial,
    CommonName,
    Key,
}

/// What a name can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameFacts<'a> {
    /// `{serial}`: the serial number of the device.
    pub serial: Option<&'a str>,
    /// `{cn}`: the common name in its certificate.
    pub common_name: Option<&'a str>,
    /// `{key}`: the first 16 digits of the hash of its key.
    pub key: KeyHash,
}

/// Why a template or a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Neither a known placeholder nor a brace that closes.
    #[error("write {{serial}}, {{cn}} or {{key}} in braces, and no other braces")]
    Placeholder,
    /// All devices would get the same name.
    #[error("a name needs at least one of {{serial}}, {{cn}} and {{key}}")]
    Constant,
    /// Fixed parts that stand in no name, or leave no room.
    #[error("the fixed parts of the name: {0}")]
    Literal(NameError),
    /// The certificate does not have what the name is made of.
    #[error("the certificate has no {0} to make a name of")]
    Missing(&'static str),
    /// What it has makes no valid name.
    #[error("{0}")]
    Name(NameError),
}

impl FromStr for NameTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let literal = &rest[..rest.find(['{', '}']).unwrap_or(rest.len())];
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
                rest = &rest[literal.len()..];
                continue;
            }
            let end = rest.find('}').ok_or(TemplateError::Placeholder)?;
            parts.push(match &rest[..=end] {
                "{serial}" => Part::Serial,
                "{cn}" => Part::CommonName,
                "{key}" => Part::Key,
                _ => return Err(TemplateError::Placeholder),
            });
            rest = &rest[end + 1..];
        }
        if !parts.iter().any(|part| !matches!(part, Part::Literal(_))) {
            return Err(TemplateError::Constant);
        }
        let template = Self { text: text.to_owned(), parts };
        // The shortest name it can make has to be one; a longer one is looked at when it is made.
        let shortest = |part: &Part| match part {
            Part::Literal(literal) => literal.clone(),
            Part::Serial | Part::CommonName => "x".to_owned(),
            Part::Key => "x".repeat(KEY_CHARS),
        };
        let sample: String = template.parts.iter().map(shortest).collect();
        sample.parse::<IdentityName>().map_err(TemplateError::Literal)?;
        Ok(template)
    }
}

impl NameTemplate {
    /// The name of a device.
    ///
    /// # Errors
    /// [`TemplateError::Missing`] and [`TemplateError::Name`].
    pub fn name(&self, facts: &NameFacts<'_>) -> Result<IdentityName, TemplateError> {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => name.push_str(literal),
                Part::Serial => name.push_str(filled(facts.serial, "serial number")?),
                Part::CommonName => name.push_str(filled(facts.common_name, "common name")?),
                Part::Key => name.push_str(&facts.key.to_string()[..KEY_CHARS]),
            }
        }
        name.parse().map_err(TemplateError::Name)
    }
}

/// A value that is there and not empty: an empty one would give every such device one name.
fn filled<'a>(value: Option<&'a str>, what: &'static str) -> Result<&'a str, TemplateError> {
    value.filter(|value| !value.is_empty()).ok_or(TemplateError::Missing(what))
}

impl fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: NameFacts<'_> =
        NameFacts { serial: Some("SN-0042"), common_name: Some("Model X"), key: KeyHash([0xab; 32]) };

    fn name(template: &str) -> String {
        template.parse::<NameTemplate>().unwrap().name(&FACTS).unwrap().to_string()
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(name("{serial}"), "SN-0042");
        assert_eq!(name("pump-{serial}.{key}"), "pump-SN-0042.abababababababab");
        assert_eq!("a{key}b{key}".parse::<NameTemplate>().unwrap().to_string(), "a{key}b{key}");
    }

    #[test]
    fn templates_that_can_make_no_name_are_refused() {
        use TemplateError::{Constant, Placeholder};
        let refused = |text: &str| text.parse::<NameTemplate>().unwrap_err();
        for text in ["{", "}", "{}", "{Serial}", "{serial", "serial}", "{{serial}}", "{mac}", "{ä}", "a}{serial}"] {
            assert_eq!(refused(text), Placeholder, "{text}");
        }
        for text in ["", "pump", "a.b-c"] {
            assert_eq!(refused(text), Constant, "{text}");
        }
        let too_long = "x".repeat(64) + "{serial}";
        for text in ["-{serial}", "a/{serial}", "{serial}#", "ä{serial}", "{serial} ", &too_long] {
            assert!(matches!(refused(text), TemplateError::Literal(_)), "{text}");
        }
        assert!("{serial}{key}".parse::<NameTemplate>().is_ok());
    }

    /// Hostile values are refused as they are, never made to fit.
    #[test]
    fn what_makes_no_valid_name_is_refused() {
        let template: NameTemplate = "{serial}".parse().unwrap();
        let with = |serial| template.name(&NameFacts { serial, ..FACTS });
        assert_eq!(with(None), Err(TemplateError::Missing("serial number")));
        assert_eq!(with(Some("")), Err(TemplateError::Missing("serial number")));
        for hostile in ["../../etc", "a b", "a\0", "$SYS", "ä", "{key}", "+", "-1", &"9".repeat(65)] {
            assert!(matches!(with(Some(hostile)), Err(TemplateError::Name(_))), "{hostile}");
        }
        let spaced: NameTemplate = "{cn}".parse().unwrap();
        assert!(matches!(spaced.name(&FACTS), Err(TemplateError::Name(_))), "a space is not made a dash");
    }
}
