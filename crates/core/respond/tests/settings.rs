//! What settings say, and how wrong ones are told.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::KINDS;
use portreeve_respond::{Action, LIST_ENTRIES_MAX, Mode, RULES_MAX, ResponseSettings, SETTINGS_BYTES_MAX, Severity};

fn problems(text: &str) -> Vec<String> {
    match ResponseSettings::parse("r.toml", text, &KINDS) {
        Ok(settings) => panic!("taken: {settings:?}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn an_empty_file_is_the_default_which_cuts_nobody() {
    let settings = common::settings("");
    assert!(settings.rules.is_empty());
    assert_eq!(settings.alert_from, Severity::Medium);
    assert_eq!(settings.block_ipv6_prefix_bits, 64);
}

#[test]
fn a_rule_rehearses_unless_it_says_to_act() {
    let settings = common::settings(
        "[[rule]]\nfindings = [\"flood\"]\naction = \"throttle\"\nmessages_per_s = 5\nfor_s = 60\n\
         [[rule]]\nseverity = \"high\"\naction = \"quarantine\"\nmode = \"act\"\n",
    );
    let rules: Vec<_> = settings.rules.iter().map(|rule| (rule.place.as_str(), rule.mode, rule.action)).collect();
    let expected = [
        ("r.toml:1", Mode::DryRun, Action::Throttle { messages_per_s: 5, for_s: 60 }),
        ("r.toml:6", Mode::Act, Action::Quarantine { for_s: None }),
    ];
    assert_eq!(rules, expected);
}

#[test]
fn every_problem_is_told_with_its_place() {
    let told = problems(
        "block_ipv6_prefix = 16\n\
         [exempt]\n\
         identities = [\"a b\"]\n\
         networks = [\"10.0.0.1/8\", \"10.0.0.0/8\"]\n\
         [brake]\n\
         confine = { share_percent_per_hour = 101, at_least = 1 }\n\
         [[rule]]\n\
         findings = [\"flod\"]\n\
         action = \"throttle\"\n\
         [[rule]]\n\
         action = \"disconnect\"\n\
         for_s = 0\n",
    );
    let expected = [
        "r.toml:1:21: an IPv6 prefix to block has 32 to 128 bits",
        "r.toml:8:13: `flod`: no detector has this kind of finding",
        "r.toml:9:10: `throttle` needs `messages_per_s` and `for_s`",
        "r.toml:10:1: a rule names `findings`, a `severity`, or both",
        "r.toml:12:9: `for_s` is 1 to 2592000 seconds",
        "r.toml:12:9: only `throttle`, `block-source` and `quarantine` last for a time",
        "r.toml:3:15: `a b`: `a b` is not a valid name: use 1 to 64 of a-z A-Z 0-9 . _ - and begin with a letter or digit",
        "r.toml:4:13: `10.0.0.1/8`: bits beyond the prefix length are set",
        "r.toml:5:1: a share of the fleet is 0 to 100 percent",
    ];
    let mut told = told;
    told.sort();
    let mut expected: Vec<String> = expected.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(told, expected);
}

#[test]
fn unknown_keys_and_words_are_refused_where_they_stand() {
    for (text, place, word) in [
        ("mood = \"act\"\n", "r.toml:1:1", "mood"),
        ("mode = \"enforce\"\n", "r.toml:1:8", "enforce"),
        ("[[rule]]\nseverity = \"info\"\naction = \"alert\"\nfour_s = 1\n", "r.toml:4:1", "four_s"),
        ("[[rule]]\nseverity = \"info\"\naction = \"destroy\"\n", "r.toml:3:10", "destroy"),
        ("[exempt]\nhosts = []\n", "r.toml:2:1", "hosts"),
        ("[brake]\ninterrupt = { share = 1 }\n", "r.toml:2:15", "share"),
        ("[[rule]\n", "r.toml:1:8", ""),
    ] {
        let told = problems(text);
        assert!(told.len() == 1 && told[0].starts_with(place) && told[0].contains(word), "{told:?}");
    }
}

#[test]
fn what_an_action_lacks_or_cannot_have_is_refused() {
    for (rule, word) in [
        ("action = \"block-source\"", "needs `for_s`"),
        ("action = \"throttle\"\nmessages_per_s = 0\nfor_s = 5", "at least 1"),
        ("action = \"quarantine\"\nmessages_per_s = 5", "only `throttle`"),
        ("action = \"quarantine\"\nfor_s = 2592001", "2592000"),
        ("action = \"revoke\"\nfor_s = 5", "last for a time"),
        ("action = \"alert\"\ngroups = [\"\"]", "1 to 256"),
    ] {
        let told = problems(&format!("[[rule]]\nseverity = \"info\"\n{rule}\n"));
        assert!(told.len() == 1 && told[0].contains(word), "{told:?}");
    }
}

#[test]
fn text_rules_and_lists_are_bounded() {
    let rule = "[[rule]]\nseverity = \"info\"\naction = \"alert\"\n";
    assert_eq!(common::settings(&rule.repeat(RULES_MAX)).rules.len(), RULES_MAX);
    assert!(problems(&rule.repeat(RULES_MAX + 1))[0].contains("at most 256 rules"));
    let groups = |count: usize| format!("[exempt]\ngroups = [{}]\n", "\"g\",".repeat(count));
    assert!(ResponseSettings::parse("r", &groups(LIST_ENTRIES_MAX), &[]).is_ok());
    assert!(problems(&groups(LIST_ENTRIES_MAX + 1))[0].contains("at most 10000 entries"));
    let comment = |bytes: usize| "#".repeat(bytes);
    assert!(ResponseSettings::parse("r", &comment(SETTINGS_BYTES_MAX), &[]).is_ok());
    assert!(problems(&comment(SETTINGS_BYTES_MAX + 1))[0].contains("262144"));
}
