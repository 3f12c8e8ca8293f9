use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};

/// Why a topic name or filter was refused, MQTT 5.0 §4.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// [MQTT-4.7.3-1]
    #[error("a topic must have at least one character")]
    Empty,
    /// [MQTT-4.7.3-3]
    #[error("a topic must have at most 65535 bytes")]
    TooLong,
    /// [MQTT-4.7.3-2]
    #[error("a topic must not hold U+0000")]
    Null,
    /// [MQTT-4.7.0-1] [MQTT-3.3.2-2]
    #[error("a topic name must not hold a wildcard")]
    Wildcard,
    /// [MQTT-4.7.1-1] [MQTT-4.7.1-2]
    #[error("a wildcard must stand alone in its level, and `#` only in the last")]
    MisplacedWildcard,
    /// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    #[error("a shared subscription is $share/GROUP/FILTER, the group without / + #")]
    Share,
}

fn check_text(text: &str) -> Result<(), TopicError> {
    match text.len() {
        0 => Err(TopicError::Empty),
        65536.. => Err(TopicError::TooLong),
        _ if text.as_bytes().contains(&0) => Err(TopicError::Null),
        _ => Ok(()),
    }
}

fn check_filter(text: &str) -> Result<(), TopicError> {
    check_text(text)?;
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        let misplaced = match level {
            "+" => false,
            "#" => levels.peek().is_some(),
            _ => level.bytes().any(|byte| matches!(byte, b'+' | b'#')),
        };
        if misplaced {
            return Err(TopicError::MisplacedWildcard);
        }
    }
    Ok(())
}

/// A topic to publish to. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks without allocating; the message path parses borrowed text with it.
    ///
    /// # Errors
    /// [`TopicError`] names the clause that the text breaks.
    pub fn check(text: &str) -> Result<(), TopicError> {
        check_text(text)?;
        if text.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
            return Err(TopicError::Wildcard);
        }
        Ok(())
    }

    /// # Errors
    /// [`TopicError`] names the clause that the text breaks.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        Self::check(text).map(|()| Self(text.into()))
    }

    /// The topic as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a SUBSCRIBE asks for: a filter, perhaps under a share group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TopicFilter {
    text: Arc<str>,
    /// Where the plain filter begins: 0, or behind `$share/GROUP/`.
    #[serde(skip)]
    start: u16,
}

impl TopicFilter {
    /// # Errors
    /// [`TopicError`] names the clause that the text breaks.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        let Some(rest) = text.strip_prefix("$share/") else {
            check_filter(text)?;
            return Ok(Self { text: text.into(), start: 0 });
        };
        let (group, filter) = rest.split_once('/').ok_or(TopicError::Share)?;
        if group.contains('#') {
            return Err(TopicError::MisplacedWildcard); // It is not in the last level, whatever the group may hold.
        }
        if group.is_empty() || filter.is_empty() || group.contains('+') {
            return Err(TopicError::Share);
        }
        check_filter(filter)?;
        // `check_text` bounded the whole text to 65535 bytes.
        let start = u16::try_from(text.len() - filter.len()).map_err(|_| TopicError::TooLong)?;
        Ok(Self { text: text.into(), start })
    }

    /// The whole text as the client wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The filter that topics are matched against, without `$share/GROUP/`.
    #[must_use]
    pub fn plain(&self) -> &str {
        &self.text[usize::from(self.start)..]
    }

    /// The share group, if this is a shared subscription.
    #[must_use]
    pub fn share_group(&self) -> Option<&str> {
        (self.start > 0).then(|| &self.text["$share/".len()..usize::from(self.start) - 1])
    }

    /// Whether `topic` matches, MQTT 5.0 §4.7.
    #[must_use]
    pub fn matches(&self, topic: &TopicName) -> bool {
        matches(self.plain(), topic.as_str())
    }
}

/// Whether a valid plain filter matches a valid topic name.
///
/// A filter that begins with a wildcard does not match a topic that begins with `$` [MQTT-4.7.2-1];
/// `a/#` matches `a` too (§4.7.1.2).
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic_levels = topic.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match topic_levels.next() {
            Some(topic_level) if level == "+" || level == topic_level => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

/// Whether every topic that `inner` matches is matched by `outer` too (both valid plain filters).
///
/// This is the test a SUBSCRIBE must pass: the set it asks for lies inside the set it was granted.
#[must_use]
pub fn covers(outer: &str, inner: &str) -> bool {
    if inner.starts_with('$') && outer.starts_with(['+', '#']) {
        return false;
    }
    let (mut outer_levels, mut inner_levels) = (outer.split('/'), inner.split('/'));
    loop {
        match (outer_levels.next(), inner_levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

macro_rules! text_traits {
    ($name:ident, $field:tt) => {
        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.$field
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.$field
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.$field)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.$field, f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = TopicError;
            fn from_str(text: &str) -> Result<Self, TopicError> {
                Self::new(text)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}
text_traits!(TopicName, 0);

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

impl std::str::FromStr for TopicFilter {
    type Err = TopicError;
    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for TopicFilter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_filters_are_checked_clause_by_clause() {
        assert_eq!(TopicName::new(""), Err(TopicError::Empty));
        assert_eq!(TopicName::new("a\0b"), Err(TopicError::Null));
        assert_eq!(TopicName::new("a/+"), Err(TopicError::Wildcard));
        assert_eq!(TopicName::new(&"a".repeat(65536)), Err(TopicError::TooLong));
        for bad in ["a+", "+a", "a/b#", "#/a", "a/#/b", "##"] {
            assert_eq!(TopicFilter::new(bad), Err(TopicError::MisplacedWildcard), "{bad}");
        }
        for good in ["#", "+", "/", "//", "+/+/#", "a/+/b", "/#", "$SYS/#", "$share"] {
            assert!(TopicFilter::new(good).is_ok(), "{good}");
        }
        for bad in ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g+/a"] {
            assert_eq!(TopicFilter::new(bad), Err(TopicError::Share), "{bad}");
        }
        for bad in ["$share/#/a", "$share/g#/a", "$share/g/a#"] {
            assert_eq!(TopicFilter::new(bad), Err(TopicError::MisplacedWildcard), "{bad}");
        }
    }

    #[test]
    fn a_share_is_taken_apart() {
        let filter = TopicFilter::new("$share/g/a/+").unwrap();
        assert_eq!((filter.share_group(), filter.plain()), (Some("g"), "a/+"));
        let plain = TopicFilter::new("a/+").unwrap();
        assert_eq!((plain.share_group(), plain.plain()), (None, "a/+"));
    }

    #[test]
    fn matching_follows_section_4_7() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("A", "a", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn coverage_is_about_sets() {
        for (outer, inner, expected) in [
            ("a/#", "a/b", true),
            ("a/#", "a", true),
            ("a/#", "a/+/c", true),
            ("a/+", "a/#", false),
            ("a/+", "a/+", true),
            ("a/b", "a/+", false),
            ("#", "$SYS/#", false),
            ("+/b", "$SYS/b", false),
            ("$SYS/#", "$SYS/a", true),
            ("#", "#", true),
            ("+/#", "#", false),
        ] {
            assert_eq!(covers(outer, inner), expected, "{outer} {inner}");
        }
    }

    proptest! {
        /// What `covers` promises: no topic slips through.
        #[test]
        fn a_covered_filter_matches_nothing_outside(outer in filter(), inner in filter(), topic in topic()) {
            if covers(&outer, &inner) && matches(&inner, &topic) {
                prop_assert!(matches(&outer, &topic));
            }
        }

        #[test]
        fn a_topic_matches_itself_and_its_parent_wildcard(topic in topic()) {
            prop_assert!(matches(&topic, &topic));
            let under = format!("{}/#", topic);
            prop_assert!(matches(&under, &topic));
        }
    }

    fn topic() -> impl Strategy<Value = String> {
        proptest::collection::vec("[ab$]?", 1..4)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("empty", |t| !t.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        (proptest::collection::vec("[ab$+]?", 1..4), any::<bool>())
            .prop_map(|(levels, hash)| if hash { format!("{}/#", levels.join("/")) } else { levels.join("/") })
            .prop_filter("invalid", |text| TopicFilter::new(text).is_ok() && !text.starts_with("$share"))
    }
}
