//! Texts with the number of a client or of a pair in them.

/// `bench:{n}`, `bundles/dev-{n}`, `bench/{pair}`: `{n}` is the number of the client, from 0, `{pair}` that of its stream
/// of messages: the pair, the fan-out, or the publisher of a fan-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// A pattern with something else in braces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}`: write {{n}} for the number of the client or {{pair}} for that of the pair; nothing else goes in braces"
)]
pub struct PatternError(String);

impl Pattern {
    /// # Errors
    /// [`PatternError`] for other words in braces, and for lone braces.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let rest = text.replace("{n}", "").replace("{pair}", "");
        if rest.contains(['{', '}']) { Err(PatternError(text.into())) } else { Ok(Self(text.into())) }
    }

    /// A default of ours.
    pub(crate) fn ours(text: &'static str) -> Self {
        Self(text.into())
    }

    /// The text for one client.
    #[must_use]
    pub fn fill(&self, number: u32, pair: u32) -> String {
        self.0.replace("{n}", &number.to_string()).replace("{pair}", &pair.to_string())
    }

    /// The topic filter that matches the topics of every client: `+` for each level with a number in it.
    #[must_use]
    pub fn filter(&self) -> String {
        let level = |level: &str| if level.contains('{') { "+".to_owned() } else { level.to_owned() };
        self.0.split('/').map(level).collect::<Vec<_>>().join("/")
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_filled_in() {
        let fill = |text: &str| Pattern::new(text).unwrap().fill(7, 3);
        assert_eq!(fill("dev-{n}:bench"), "dev-7:bench");
        assert_eq!(fill("devices/dev-{n}/telemetry/{pair}/{pair}"), "devices/dev-7/telemetry/3/3");
        assert_eq!(fill("one"), "one");
    }

    #[test]
    fn the_filter_covers_every_topic() {
        let filter = |text: &str| Pattern::new(text).unwrap().filter();
        assert_eq!(filter("bench/{pair}"), "bench/+");
        assert_eq!(filter("devices/dev-{n}/telemetry/x{pair}"), "devices/+/telemetry/+");
        assert_eq!(filter("bench/all"), "bench/all");
    }

    #[test]
    fn other_braces_are_refused() {
        for text in ["{}", "{m}", "bench/{", "a}b", "{ n }", "{{n}}"] {
            assert_eq!(Pattern::new(text), Err(PatternError(text.into())), "{text}");
        }
    }
}
