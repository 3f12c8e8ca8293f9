//! Cases: what they gather, who may do what with them, and who had them in hand.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::BTreeMap;

use common::{HOUR_MS, Store, wall};
use portreeve_respond::{
    CASES_MAX, CASES_OF_SOURCES_OPEN_MAX, CASES_OPEN_MAX, CUSTODY_LINES_MAX, CUSTODY_LINES_RESERVED, Case, CaseError,
    CaseState, Cases, FINDINGS_PER_CASE_MAX, Filed, Finding, LEDGER_RANGES_PER_CASE_MAX, LedgerRange,
    NOTES_PER_CASE_MAX, READ_AGAIN_MS, Severity, Sha256, Subject, TextError, Use,
};
use portreeve_types::UnixMillis;

fn lamp(number: usize) -> Subject {
    Subject::Identity(format!("lamp-{number}").parse().unwrap())
}

fn report(cases: &mut Cases, id: &str, kind: &str, subject: &Subject, ledger: Option<u64>, at: UnixMillis) -> Filed {
    let finding = Finding { id, kind, severity: Severity::Medium, subject, text: "something" };
    cases.report(&finding, ledger, at)
}

fn number(filed: Filed) -> u64 {
    match filed {
        Filed::Opened { number, .. } | Filed::Joined { number } | Filed::Overflow { number, .. } => number,
    }
}

fn opened(cases: &mut Cases) -> u64 {
    number(report(cases, "f-1", "flood", &lamp(1), Some(7), wall(0)))
}

fn find(cases: &Cases, number: u64) -> &Case {
    cases.iter().find(|case| case.number() == number).unwrap()
}

/// What a restart makes of the changes.
fn restarted(cases: &mut Cases, store: &mut Store) -> Cases {
    store.write(cases.take_changes());
    let (rebuilt, damaged) = Cases::rebuild(store.records());
    assert_eq!(damaged, []);
    assert!(rebuilt.iter().eq(cases.iter()));
    rebuilt
}

#[test]
fn a_finding_opens_a_case_and_what_belongs_to_it_joins() {
    let mut cases = Cases::default();
    let first = report(&mut cases, "f-1", "flood", &lamp(1), Some(7), wall(0));
    assert_eq!(first, Filed::Opened { number: 1, left: None });
    // Of the same kind whenever it comes; of another within an hour; never about somebody else.
    assert_eq!(report(&mut cases, "f-2", "flood", &lamp(1), Some(8), wall(9 * HOUR_MS)), Filed::Joined { number: 1 });
    assert_eq!(report(&mut cases, "f-3", "topic", &lamp(1), Some(20), wall(10 * HOUR_MS)), Filed::Joined { number: 1 });
    let late = wall(11 * HOUR_MS + 1);
    assert_eq!(report(&mut cases, "f-4", "topic", &lamp(1), None, late), Filed::Opened { number: 2, left: None });
    assert_eq!(report(&mut cases, "f-5", "flood", &lamp(2), None, late), Filed::Opened { number: 3, left: None });
    // The same episode again changes nothing.
    assert_eq!(report(&mut cases, "f-2", "flood", &lamp(1), Some(99), late), Filed::Joined { number: 1 });
    let case = find(&cases, 1);
    assert_eq!((case.findings_counted(), case.state(), case.kind()), (3, CaseState::Open, "flood"));
    assert_eq!(case.ledger(), [LedgerRange { first: 7, last: 8 }, LedgerRange { first: 20, last: 20 }]);
    assert_eq!(case.custody().lines()[0].what, Use::Opened);
}

#[test]
fn a_clock_that_is_set_neither_loses_nor_panics() {
    let mut cases = Cases::default();
    let back = UnixMillis(0);
    assert_eq!(report(&mut cases, "f-1", "flood", &lamp(1), None, wall(0)), Filed::Opened { number: 1, left: None });
    assert_eq!(report(&mut cases, "f-2", "topic", &lamp(1), None, back), Filed::Joined { number: 1 });
    let ahead = UnixMillis(u64::MAX);
    assert_eq!(report(&mut cases, "f-3", "beacon", &lamp(1), None, ahead), Filed::Opened { number: 2, left: None });
}

#[test]
fn a_case_is_taken_on_closed_for_a_reason_and_reopened() {
    let mut cases = Cases::default();
    let number = opened(&mut cases);
    cases.note(number, "alice", "looks like\na bad cable", wall(1)).unwrap();
    cases.acknowledge(number, "alice", wall(2)).unwrap();
    assert_eq!(cases.acknowledge(number, "bob", wall(2)), Err(CaseError::Acknowledged(number)));
    assert_eq!(cases.close(number, "alice", " ", wall(3)), Err(CaseError::Text(TextError::Empty)));
    assert_eq!(cases.reopen(number, "alice", "not yet", wall(3)), Err(CaseError::NotClosed(number)));
    let line = cases.close(number, "alice", "cable replaced", wall(3)).unwrap();
    assert_eq!((line.what, line.text.as_str()), (Use::Closed, "cable replaced"));
    assert_eq!(find(&cases, number).closing().unwrap().reason, "cable replaced");
    for refused in [
        cases.note(number, "bob", "late", wall(4)).unwrap_err(),
        cases.close(number, "bob", "again", wall(4)).unwrap_err(),
        cases.acknowledge(number, "bob", wall(4)).unwrap_err(),
        cases.add_ledger(number, LedgerRange { first: 1, last: 2 }).unwrap_err(),
    ] {
        assert_eq!(refused, CaseError::Closed(number));
    }
    // A later finding opens another case, and then the old one cannot be opened beside it.
    let other = self::number(report(&mut cases, "f-9", "flood", &lamp(1), None, wall(5)));
    assert_ne!(other, number);
    assert_eq!(cases.reopen(number, "bob", "it is back", wall(6)), Err(CaseError::OpenElsewhere(other)));
    cases.close(other, "bob", "goes on in the first", wall(7)).unwrap();
    cases.reopen(number, "bob", "it is back", wall(8)).unwrap();
    let case = find(&cases, number);
    assert_eq!((case.state(), case.closing()), (CaseState::Open, None));
    let uses: Vec<Use> = case.custody().lines().iter().map(|line| line.what).collect();
    assert_eq!(uses, [Use::Opened, Use::Acknowledged, Use::Closed, Use::Reopened]);
    assert_eq!(cases.close(77, "bob", "what", wall(9)), Err(CaseError::Unknown(77)));
}

#[test]
fn each_reading_is_noted_once() {
    let mut cases = Cases::default();
    let number = opened(&mut cases);
    let lines = |cases: &mut Cases, who, at_ms| cases.read(number, who, wall(at_ms)).unwrap().custody().lines().len();
    assert_eq!(lines(&mut cases, "alice", 1), 2);
    assert_eq!(lines(&mut cases, "alice", READ_AGAIN_MS), 2, "again, and nothing is new");
    assert_eq!(lines(&mut cases, "bob", READ_AGAIN_MS), 3);
    assert_eq!(lines(&mut cases, "alice", READ_AGAIN_MS), 4);
    cases.note(number, "bob", "new", wall(READ_AGAIN_MS)).unwrap();
    assert_eq!(lines(&mut cases, "alice", READ_AGAIN_MS + 1), 5);
    assert_eq!(lines(&mut cases, "alice", 2 * READ_AGAIN_MS + 1), 6);
    let case = find(&cases, number);
    assert_eq!(case.custody().lines()[5].sha256, Some(Sha256::of(&case.to_json())));
    assert_eq!(cases.read(number, "", wall(0)), Err(CaseError::Text(TextError::Empty)));
    assert_eq!(cases.read(9, "alice", wall(0)), Err(CaseError::Unknown(9)));
}

#[test]
fn nobody_uses_up_a_custody_log() {
    let mut cases = Cases::default();
    let number = opened(&mut cases);
    let readings = (1..).take_while(|at| cases.read(number, "bob", wall(at * READ_AGAIN_MS)).is_ok()).count();
    assert_eq!(readings, CUSTODY_LINES_MAX - CUSTODY_LINES_RESERVED - 1);
    let sha256 = Sha256::of(b"disk image");
    let handed = (0..).take_while(|_| cases.hand_over(number, "alice", "police", sha256, wall(0)).is_ok()).count();
    assert_eq!(handed, CUSTODY_LINES_RESERVED - 1);
    assert_eq!(cases.acknowledge(number, "alice", wall(0)), Err(CaseError::CustodyFull(number)));
    // The last line is for closing; there is none for opening again.
    cases.close(number, "alice", "done", wall(0)).unwrap();
    assert_eq!(cases.reopen(number, "alice", "more", wall(0)), Err(CaseError::CustodyFull(number)));
    assert_eq!(find(&cases, number).custody().lines().len(), CUSTODY_LINES_MAX);
    restarted(&mut cases, &mut Store::default());
}

#[test]
fn findings_notes_and_ledger_ranges_are_bounded() {
    let mut cases = Cases::default();
    let number = opened(&mut cases);
    for at in 0..1_000u64 {
        report(&mut cases, &format!("g-{at}"), "flood", &lamp(1), Some(1_000 + at * at), wall(at));
    }
    let notes = (0..).take_while(|at| cases.note(number, "bob", "more", wall(*at)).is_ok()).count();
    assert_eq!(notes, NOTES_PER_CASE_MAX);
    assert_eq!(cases.note(number, "bob", "more", wall(0)), Err(CaseError::NotesFull(number)));
    assert_eq!(cases.add_ledger(number, LedgerRange { first: 5, last: 4 }), Err(CaseError::Range));
    let case = find(&cases, number);
    assert_eq!((case.findings().len(), case.findings_counted()), (FINDINGS_PER_CASE_MAX, 1_001));
    assert_eq!(case.ledger().len(), LEDGER_RANGES_PER_CASE_MAX);
    let has = |entry| case.ledger().iter().any(|range| (range.first..=range.last).contains(&entry));
    assert!(has(7) && (0..1_000u64).all(|at| has(1_000 + at * at)), "none is lost");
    assert!(has(8) && !has(1_000 + 998 * 998 + 1), "the nearest became one");
    restarted(&mut cases, &mut Store::default());
}

#[test]
fn strangers_leave_room_and_what_has_none_is_counted() {
    let mut cases = Cases::default();
    let source = |number: u32| Subject::Source(std::net::Ipv4Addr::from_bits(number).into());
    let count = |cases: &mut Cases, subjects: &mut dyn Iterator<Item = Subject>| {
        subjects
            .take_while(|subject| matches!(report(cases, "f", "flood", subject, None, wall(0)), Filed::Opened { .. }))
            .count()
    };
    assert_eq!(count(&mut cases, &mut (0..).map(source)), CASES_OF_SOURCES_OPEN_MAX);
    assert_eq!(count(&mut cases, &mut (0..).map(lamp)), CASES_OPEN_MAX - CASES_OF_SOURCES_OPEN_MAX);
    // Both overflows met one case.
    let overflow = cases.iter().find(|case| case.is_overflow()).unwrap().number();
    let filed = report(&mut cases, "g", "flood", &lamp(99_999), None, wall(1));
    assert_eq!(filed, Filed::Overflow { number: overflow, is_new: false });
    // What has a case goes on joining it.
    assert!(matches!(report(&mut cases, "h", "flood", &lamp(1), None, wall(1)), Filed::Joined { .. }));
    cases.close(overflow, "bob", "seen", wall(2)).unwrap();
    assert!(matches!(
        report(&mut cases, "i", "flood", &lamp(88_888), None, wall(3)),
        Filed::Overflow { is_new: true, .. }
    ));
    restarted(&mut cases, &mut Store::default());
}

#[test]
fn the_case_that_was_closed_first_leaves_and_no_number_comes_again() {
    let (mut cases, mut store) = (Cases::default(), Store::default());
    for at in 0..CASES_MAX {
        let number = number(report(&mut cases, "f", "flood", &lamp(at), None, wall(0)));
        // The later it was opened the earlier it was closed; the first two stay open.
        if at >= 2 {
            cases.close(number, "bob", "seen", wall((CASES_MAX - at) as u64)).unwrap();
        }
    }
    let mut cases = restarted(&mut cases, &mut store);
    let last = CASES_MAX as u64;
    let filed = report(&mut cases, "f", "flood", &lamp(CASES_MAX), None, wall(9_999));
    assert_eq!(filed, Filed::Opened { number: last + 1, left: Some(last) });
    let cases = restarted(&mut cases, &mut store);
    assert!(cases.iter().take(2).all(|case| case.state() == CaseState::Open));
    assert!(!store.0.keys().any(|key| key.contains(&format!("{last:020}"))), "its records are gone");
}

#[test]
fn a_restart_at_any_step_changes_nothing() {
    let (mut cases, mut store) = (Cases::default(), Store::default());
    let number = opened(&mut cases);
    let steps: [&dyn Fn(&mut Cases); 6] = [
        &|cases| cases.note(number, "alice", "a note", wall(1)).unwrap(),
        &|cases| drop(cases.acknowledge(number, "alice", wall(2)).unwrap()),
        &|cases| drop(cases.read(number, "bob", wall(3)).unwrap().clone()),
        &|cases| drop(cases.export(number, "bob", "for the insurer", BTreeMap::new(), wall(4)).unwrap()),
        &|cases| drop(cases.close(number, "alice", "done", wall(5)).unwrap()),
        &|cases| drop(cases.reopen(number, "alice", "not done", wall(6)).unwrap()),
    ];
    for step in steps {
        step(&mut cases);
        cases = restarted(&mut cases, &mut store);
    }
    // Texts of devices are plain when they are kept, those of people are refused when they are not.
    let subject = Subject::Zone("hall\u{1b}[2J".to_owned());
    let filed = report(&mut cases, "f\n", "flood", &subject, None, wall(7));
    let case = find(&cases, self::number(filed));
    assert_eq!((case.subject(), case.findings()[0].id.as_str()), (&Subject::Zone("hall [2J".to_owned()), "f "));
    assert_eq!(report(&mut cases, "f\n", "flood", &subject, None, wall(8)), Filed::Joined { number: number + 1 });
    assert_eq!(cases.note(number, "a\nb", "x", wall(8)), Err(CaseError::Text(TextError::Control)));
    restarted(&mut cases, &mut store);
}

#[test]
fn any_damage_to_a_stored_case_is_found_and_the_case_left_as_it_is() {
    let (mut cases, mut store) = (Cases::default(), Store::default());
    let number = opened(&mut cases);
    cases.note(number, "alice", "a note", wall(1)).unwrap();
    cases.read(number, "bob", wall(2)).unwrap();
    cases.close(number, "alice", "done", wall(5)).unwrap();
    restarted(&mut cases, &mut store);
    let parts: Vec<String> = store.0.keys().filter(|key| key.contains("/0")).cloned().collect();
    assert_eq!(parts.len(), 6, "{parts:?}");
    for part in &parts {
        let mut without = store.clone();
        without.0.remove(part);
        let (rebuilt, damaged) = Cases::rebuild(without.records());
        assert_eq!((rebuilt.iter().count(), damaged.len()), (0, 1), "{part}");
        if !part.contains("/custody/") {
            continue;
        }
        // Every bit of the custody log counts.
        for at in 0..store.0[part].len() {
            let mut flipped = store.clone();
            flipped.0.get_mut(part).unwrap()[at] ^= 1;
            let (rebuilt, damaged) = Cases::rebuild(flipped.records());
            assert_eq!((rebuilt.iter().count(), damaged.len()), (0, 1), "{part} {at}");
        }
    }
    let mut added = store.clone();
    added.0.insert(format!("case/{number:020}/note/000009"), b"{}".to_vec());
    let (mut rebuilt, damaged) = Cases::rebuild(added.records());
    assert_eq!(damaged.len(), 1);
    // A damaged case's number is never given out again, so nothing overwrites what is left of it.
    let filed = report(&mut rebuilt, "f-2", "flood", &lamp(1), None, wall(9));
    assert_eq!(self::number(filed), number + 1);
    let keys: Vec<_> = added.0.keys().filter(|key| key.contains("/0")).cloned().collect();
    added.write(rebuilt.take_changes());
    assert!(keys.iter().all(|key| added.0.contains_key(key)));
}

#[test]
fn keys_that_are_no_parts_are_told() {
    for key in [
        "case/1/core",
        "case/00000000000000000001/core/x",
        "case/00000000000000000001/photo/000000",
        "case/00000000000000000001/note/0",
        "case/99999999999999999999/core",
        "case/x",
    ] {
        let (cases, damaged) = Cases::rebuild([(key, b"{}".as_slice())]);
        assert_eq!((cases.iter().count(), damaged.len()), (0, 1), "{key}");
    }
    let (_, damaged) = Cases::rebuild([("case/next", b"18446744073709551615".as_slice())]);
    assert_eq!(damaged.len(), 1);
    let (_, damaged) = Cases::rebuild([("other/next", b"x".as_slice())]);
    assert_eq!(damaged, []);
}
