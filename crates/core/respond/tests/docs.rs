//! What docs/OPERATIONS.md shows is true.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use portreeve_respond::{
    Action, BLOCKS_MAX, BRAKE_ENTRIES_MAX, CASES_MAX, CASES_OF_SOURCES_OPEN_MAX, CASES_OPEN_MAX, CUSTODY_LINES_MAX,
    CUSTODY_LINES_RESERVED, MEASURES_MAX, Mode, ResponseSettings,
};

const GUIDE: &str = include_str!("../../../../docs/OPERATIONS.md");

fn section() -> &'static str {
    GUIDE.split("## What happens by itself\n").nth(1).unwrap().split("\n## ").next().unwrap()
}

#[test]
fn the_example_is_taken() {
    let text = section().split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let kinds = ["auth_failures", "message_rate", "known_bad", "duplicate_identity"];
    let settings = ResponseSettings::parse("example", text, &kinds).unwrap();
    let actions: Vec<_> = settings.rules.iter().map(|rule| (rule.action, rule.mode)).collect();
    let expected = [
        (Action::BlockSource { for_s: 900 }, Mode::Act),
        (Action::Throttle { messages_per_s: 5, for_s: 600 }, Mode::Act),
        (Action::Quarantine { for_s: None }, Mode::Act),
        (Action::Revoke, Mode::DryRun),
        (Action::Disconnect, Mode::DryRun),
    ];
    assert_eq!(actions, expected);
    // What it calls the defaults are the defaults.
    let brake = text.split("[brake]").nth(1).unwrap().split("[[rule]]").next().unwrap();
    let written = ResponseSettings::parse("brake", &format!("[brake]{brake}"), &[]).unwrap();
    assert_eq!(format!("{written:?}"), format!("{:?}", ResponseSettings::default()));
}

#[test]
fn the_bounds_are_those_of_the_code() {
    let told = |number: usize| match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    };
    for bound in [
        BRAKE_ENTRIES_MAX,
        MEASURES_MAX,
        BLOCKS_MAX,
        CASES_MAX,
        CASES_OPEN_MAX,
        CASES_OF_SOURCES_OPEN_MAX,
        CUSTODY_LINES_MAX,
        CUSTODY_LINES_RESERVED,
    ] {
        assert!(section().contains(&told(bound)), "{bound}");
    }
}
