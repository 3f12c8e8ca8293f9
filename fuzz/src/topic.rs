//! Topic names and filters, `portreeve-types`.

use portreeve_types::{TopicFilter, TopicName, covers};

/// Three lines: a filter, a second filter, a topic.
pub fn topic_filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(3, '\n');
    let (Some(outer), Some(inner), Some(topic)) = (lines.next(), lines.next(), lines.next()) else { return };
    for text in [outer, inner] {
        one_filter(text);
    }
    let (Ok(outer), Ok(inner), Ok(topic)) = (TopicFilter::new(outer), TopicFilter::new(inner), TopicName::new(topic))
    else {
        return;
    };
    assert_eq!(outer.matches(&topic), matches_by_definition(outer.plain(), &topic), "{outer} {topic}");
    assert_eq!(inner.matches(&topic), matches_by_definition(inner.plain(), &topic), "{inner} {topic}");
    if covers(outer.plain(), inner.plain()) && inner.matches(&topic) {
        assert!(outer.matches(&topic), "{outer} is said to cover {inner}, but not {topic}");
    }
}

fn one_filter(text: &str) {
    let Ok(filter) = TopicFilter::new(text) else {
        assert!(TopicName::check(text).is_err() || text.starts_with("$share/"), "a topic name is a filter: {text:?}");
        return;
    };
    assert_eq!(filter.as_str(), text);
    match filter.share_group() {
        Some(group) => {
            assert!(!group.is_empty() && !group.contains(['/', '+', '#']), "{group:?}");
            assert_eq!(format!("$share/{group}/{}", filter.plain()), text);
        }
        None => assert_eq!(filter.plain(), text),
    }
    assert!(covers(filter.plain(), filter.plain()), "{text:?} does not cover itself");
    if let Ok(topic) = TopicName::new(filter.plain()) {
        assert!(filter.matches(&topic), "{text:?} does not match itself");
    }
}

/// §4.7 read literally, level by level: slower and simpler than what the hub uses.
fn matches_by_definition(filter: &str, topic: &str) -> bool {
    let filter: Vec<_> = filter.split('/').collect();
    let topic: Vec<_> = topic.split('/').collect();
    // [MQTT-4.7.2-1]
    if topic[0].starts_with('$') && matches!(filter[0], "+" | "#") {
        return false;
    }
    let (parent, wild) = match filter.split_last() {
        Some((&"#", parent)) => (parent, true),
        _ => (&filter[..], false),
    };
    let long_enough = if wild { topic.len() >= parent.len() } else { topic.len() == parent.len() };
    long_enough && parent.iter().zip(&topic).all(|(level, name)| *level == "+" || level == name)
}
