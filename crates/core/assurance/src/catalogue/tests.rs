use std::collections::BTreeSet;

use super::*;

fn catalogue() -> &'static Catalogue {
    Catalogue::embedded()
}

fn id(text: &str) -> RequirementId {
    text.parse().unwrap()
}

fn selected(frameworks: &[Framework], level: Option<u8>, class: Option<u8>) -> Vec<String> {
    let selection = Selection { frameworks: frameworks.iter().copied().collect(), level, class }.checked().unwrap();
    catalogue().select(&selection).iter().map(|row| row.id.to_string()).collect()
}

#[test]
fn every_row_and_check_is_there_once() {
    let count = |framework| catalogue().requirements().iter().filter(|row| row.id.framework() == framework).count();
    assert_eq!(Framework::ALL.map(count), [20, 25, 35, 160, 7]);
    assert_eq!(catalogue().requirements().len(), 247);
    assert_eq!(catalogue().checks().len(), 83);
    let ids: BTreeSet<_> = catalogue().requirements().iter().map(|row| &row.id).collect();
    assert_eq!(ids.len(), 247);
    for row in catalogue().requirements() {
        assert_eq!(catalogue().requirement(&row.id), Some(row));
        assert!(!row.paraphrase.is_empty() && !row.mechanism.is_empty() && !row.decision.is_empty(), "{}", row.id);
    }
}

#[test]
fn every_check_is_known_and_knows_its_rows() {
    for row in catalogue().requirements() {
        for check in &row.checks {
            assert!(catalogue().check(check).unwrap().used_by.contains(&row.id), "{check}");
        }
    }
    for check in catalogue().checks() {
        assert!(!check.used_by.is_empty(), "{}", check.id);
        assert!(check.used_by.iter().all(|row| catalogue().requirement(row).unwrap().checks.contains(&check.id)));
    }
}

/// What a row owes to records must be decided by one.
#[test]
fn every_row_to_be_attested_has_a_record_to_attest_it() {
    let is_record = |check: &CheckId| catalogue().check(check).unwrap().method == Method::Attest;
    for row in catalogue().requirements().iter().filter(|row| row.kind == Kind::Attest) {
        assert!(row.checks.iter().any(is_record), "{}", row.id);
    }
}

#[test]
fn only_probes_and_live_drills_touch_a_target() {
    for check in catalogue().checks() {
        let touches = check.class != Class::Passive;
        let may = matches!(check.method, Method::Probe | Method::Hub);
        assert!(may || !touches, "{}", check.id);
        assert!(touches || check.method != Method::Probe, "{}", check.id);
    }
}

/// The data name 22 pairs from the glossary's side only; the loader names them from both.
#[test]
fn the_cross_map_is_made_symmetric() {
    let links = |row: &Requirement| row.maps_to.iter().chain(&row.related).cloned().collect::<Vec<_>>();
    for row in catalogue().requirements() {
        for other in links(row) {
            assert_ne!(other, row.id);
            assert!(links(catalogue().requirement(&other).unwrap()).contains(&row.id), "{} and {other}", row.id);
        }
    }
    assert!(catalogue().requirement(&id("CSA-COM-08")).unwrap().maps_to.contains(&id("GLOSSARY-P1")));
    let is_one_way = |row: &&Requirement| {
        row.id.framework() != Framework::Glossary && row.maps_to.iter().any(|to| to.framework() == Framework::Glossary)
    };
    let text = include_str!("../../data/requirements.csv");
    assert_eq!(text.matches("GLOSSARY:").count(), 0, "no row of another framework names the glossary itself");
    assert!(catalogue().requirements().iter().any(|row| is_one_way(&row)));
}

#[test]
fn levels_select_rows_of_isvs() {
    let isvs = [Framework::Isvs];
    assert_eq!(selected(&isvs, Some(1), None).len(), 17);
    assert_eq!(selected(&isvs, Some(2), None).len(), 19);
    assert_eq!(selected(&isvs, Some(3), None).len(), 20);
    assert_eq!(selected(&isvs, None, None).len(), 20);
    let added: Vec<String> = selected(&isvs, Some(2), None)
        .into_iter()
        .filter(|row| !selected(&isvs, Some(1), None).contains(row))
        .collect();
    assert_eq!(added, ["ISVS-4.1.4", "ISVS-4.1.6"]);
    assert_eq!(selected(&[], Some(1), None).len(), 244, "other frameworks have no levels, and stay");
}

#[test]
fn classes_select_rows_of_iotsf() {
    let iotsf = [Framework::Iotsf];
    assert_eq!(selected(&iotsf, None, Some(0)), ["IOTSF-2.4.7.7", "IOTSF-2.4.7.9", "IOTSF-2.4.7.22", "IOTSF-2.4.7.23"]);
    assert_eq!(selected(&iotsf, None, Some(1)).len(), 25);
    assert_eq!(selected(&iotsf, None, Some(4)).len(), 25);
}

#[test]
fn what_cannot_be_selected_is_refused() {
    let refused = |frameworks: &[Framework], level, class| {
        Selection { frameworks: frameworks.iter().copied().collect(), level, class }.checked().unwrap_err()
    };
    assert_eq!(refused(&[], Some(0), None), SelectionError::Level);
    assert_eq!(refused(&[], Some(4), None), SelectionError::Level);
    assert_eq!(refused(&[], None, Some(5)), SelectionError::Class);
    assert_eq!(refused(&[Framework::Iotsf], Some(2), None), SelectionError::NoLevels);
    assert_eq!(refused(&[Framework::Csa], None, Some(2)), SelectionError::NoClasses);
}

#[test]
fn other_editions_find_their_rows() {
    let found = |name: &str| catalogue().referenced_as(name).iter().map(|row| row.id.to_string()).collect::<Vec<_>>();
    assert_eq!(found("isvs1.0:4.1.5"), ["ISVS-4.1.6"], "ISVS 1.0 counts without the gap");
    assert_eq!(found("ISVS1.0:4.1.6"), ["ISVS-4.1.7"]);
    assert_eq!(found("ETSI:5.1-2"), ["IOTSF-2.4.7.7"]);
    assert!(found("ISVS1.0:9").is_empty() && found("4.1.5").is_empty());
    let reworded = &catalogue().requirement(&id("ISVS-4.1.2")).unwrap().references[0];
    assert_eq!(reworded.remark.as_deref(), Some("reworded to strong suites and order"));
}

#[test]
fn ids_are_read_in_every_usual_form() {
    assert_eq!(id("isvs-4.2.2").to_string(), "ISVS-4.2.2");
    assert_eq!(id("CSA:com-04"), id("CSA-COM-04"));
    for wrong in ["", "ISVS", "ISVS-", "XYZ-1", "ISVS-4.2.2 ", "ISVS-a\nb", &format!("ISVS-{}", "1".repeat(33))] {
        assert!(wrong.parse::<RequirementId>().is_err(), "{wrong:?}");
    }
    for wrong in ["", "tls", ".tls", "tls.", "TLS.versions", "a..b", "a.b\n"] {
        assert!(wrong.parse::<CheckId>().is_err(), "{wrong:?}");
    }
}

#[test]
fn search_wants_every_word() {
    let found = |words: &str| catalogue().requirements().iter().filter(|row| Catalogue::mentions(row, words)).count();
    assert!(found("mqtt") > found("MQTT certificate") && found("MQTT certificate") > 0);
    assert_eq!(found("mqtt nosuchword"), 0);
}

const ROW: &str = "CSA,X-1,-,asks,verify,does,decides [a.b],proves,,,full,thing,a.b,,c,\n";
const QUESTIONS_HEAD: &str = "framework,id,check,question\n";
const CHECK: &str = "a.b,1,probe,safe,does,passes,needs,CSA:X-1\n";

fn read(rows: &str, checks: &str) -> Result<Catalogue, CatalogueError> {
    let head = |text: &str| text.lines().next().unwrap().to_owned() + "\n";
    let rows = head(include_str!("../../data/requirements.csv")) + rows;
    Catalogue::read(&rows, &(head(include_str!("../../data/checks.csv")) + checks), QUESTIONS_HEAD)
}

#[test]
fn wrong_data_are_refused_with_their_line() {
    assert!(read(ROW, CHECK).is_ok());
    let problem = |rows: &str, checks: &str| read(rows, checks).unwrap_err().to_string();
    assert_eq!(problem(&ROW.repeat(2), CHECK), "requirements.csv, line 3: CSA-X-1 is there twice");
    assert_eq!(problem(ROW, &CHECK.repeat(2)), "checks.csv, line 3: a.b is there twice");
    assert_eq!(problem(ROW, ""), "requirements.csv, line 2: there is no check a.b");
    assert_eq!(
        problem(&ROW.replace("proves,,", "proves,CSA:X-2,"), CHECK),
        "requirements.csv, line 2: there is no row CSA-X-2"
    );
    assert_eq!(problem("", CHECK), "checks.csv, line 2: a.b is not used by just these rows, in this order");
    for (good, bad) in [
        ("CSA,", "XYZ,"),
        (",-,", ",L1,"),
        ("verify", "prove"),
        ("full", "most"),
        ("thing,a.b", "thing,"),
        (",c,", ",c,XYZ:1"),
    ] {
        assert!(problem(&ROW.replacen(good, bad, 1), CHECK).starts_with("requirements.csv, line 2: "), "{bad}");
    }
    for (good, bad) in [(",1,", ",0,"), (",1,", ",one,"), ("probe", "ask"), ("safe", "mild"), ("a.b,1", "ab,1")] {
        assert!(problem(ROW, &CHECK.replacen(good, bad, 1)).starts_with("checks.csv, line 2: "), "{bad}");
    }
}

#[test]
fn every_record_is_asked_something_of_its_own() {
    let mut pairs = 0;
    for row in catalogue().requirements() {
        let records = row.checks.iter().filter(|check| catalogue().check(check).unwrap().method == Method::Attest);
        assert_eq!(records.clone().count(), row.questions.len(), "{}", row.id);
        for check in records {
            pairs += 1;
            let questions = catalogue().questions(&row.id, check);
            assert!((QUESTIONS_MIN..=QUESTIONS_MAX).contains(&questions.len()), "{}: {check}", row.id);
            assert!(questions.iter().all(|question| question.len() <= QUESTION_BYTES_MAX && question.contains('?')));
        }
        let all: Vec<&String> = row.questions.values().flatten().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{}", row.id);
    }
    assert_eq!(pairs, 114);
    assert!(catalogue().questions(&id("ISVS-4.2.2"), &"att.doc".parse().unwrap()).is_empty());
    assert!(catalogue().questions(&id("CSA-NO-1"), &"att.doc".parse().unwrap()).is_empty());
}

#[test]
fn wrong_questions_are_refused_with_their_line() {
    let rows = include_str!("../../data/requirements.csv").lines().next().unwrap().to_owned() + "\n" + ROW;
    let checks = include_str!("../../data/checks.csv").lines().next().unwrap().to_owned() + "\n";
    let read = |method: &str, lines: &[&str]| {
        let questions: String = lines.iter().map(|line| format!("CSA,X-1,{line}\n")).collect();
        let checks = checks.clone() + &CHECK.replace("probe,safe", method);
        Catalogue::read(&rows, &checks, &(QUESTIONS_HEAD.to_owned() + &questions))
    };
    let problem = |method: &str, lines: &[&str]| read(method, lines).unwrap_err().to_string();
    const RECORD: &str = "attest,passive";
    let made = read(RECORD, &["a.b,Is it so?", "a.b,Is it thus?"]).unwrap();
    assert_eq!(made.questions(&id("CSA-X-1"), &"a.b".parse().unwrap()), ["Is it so?", "Is it thus?"]);
    let other = read(RECORD, &["a.b,Is it so?", "a.b,Is it else?"]).unwrap();
    assert_ne!(made.digest(), other.digest(), "reports tell by which questions they were made");
    assert_eq!(
        problem(RECORD, &["a.b,Is it so?"]),
        "requirements.csv, line 2: a.b has 1 questions; a record has 2 to 5"
    );
    assert!(problem(RECORD, &[]).contains("a.b has 0 questions"));
    let many: Vec<String> = (0..6).map(|at| format!("a.b,Is it {at}?")).collect();
    assert!(problem(RECORD, &many.iter().map(String::as_str).collect::<Vec<_>>()).contains("6 questions"));
    assert_eq!(problem(RECORD, &["a.b,So?", "a.b,So?"]), "questions.csv, line 3: CSA-X-1 asks this twice");
    assert_eq!(problem(RECORD, &["c.d,So?"]), "questions.csv, line 2: no record c.d decides CSA-X-1");
    assert_eq!(problem("probe,safe", &["a.b,So?"]), "questions.csv, line 2: no record a.b decides CSA-X-1");
    for wrong in ["a.b,It is so.", "a.b,\"So?\nOr?\"", &format!("a.b,{}?", "o".repeat(QUESTION_BYTES_MAX))] {
        assert!(problem(RECORD, &[wrong]).starts_with("questions.csv, line 2: a question has"), "{wrong}");
    }
}
