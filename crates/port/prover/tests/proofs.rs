//! Real questions to the real solver.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::path::Path;

use portreeve_policy::{Epoch, PolicySet, PolicySource};
use portreeve_prover::{Answer, Finding, Prover};

fn set(text: &str) -> PolicySet {
    PolicySet::compile(&[PolicySource { file: "p.cedar".into(), text: text.into() }], Epoch(1)).unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// What is found of each action.
fn compare(candidate: &str, ceiling: &str) -> Vec<Finding> {
    run(async {
        let prover = Prover::find().await.unwrap();
        assert!(prover.version().starts_with("cvc5 "), "{}", prover.version());
        prover.compare(&set(candidate), &set(ceiling)).await
    })
}

#[track_caller]
fn is_within(candidate: &str, ceiling: &str) {
    let found = compare(candidate, ceiling);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|finding| finding.answer == Answer::Within), "{found:?}");
}

/// Which actions go beyond.
fn beyond(candidate: &str, ceiling: &str) -> Vec<String> {
    let found = compare(candidate, ceiling);
    assert!(found.iter().all(|finding| !matches!(finding.answer, Answer::Unknown(_))), "{found:?}");
    found
        .into_iter()
        .filter(|finding| matches!(finding.answer, Answer::Beyond(_)))
        .map(|finding| finding.action)
        .collect()
}

const CEILING: &str =
    r#"permit (principal in Group::"apps", action == Action::"subscribe", resource in Topic::"devices/#");"#;

/// (ISVS-4.2.2)
#[test]
fn what_stays_within_is_proven() {
    is_within("", "");
    is_within("", CEILING);
    is_within(CEILING, CEILING);
    let narrower = r#"permit (principal in Group::"apps", action == Action::"subscribe", resource in Topic::"devices/+/telemetry/#")
        when { principal.kind == "application" };"#;
    is_within(narrower, CEILING);
    // A forbid takes away, whatever it names.
    is_within(&format!("{CEILING} forbid (principal, action, resource in Topic::\"x/#\");"), CEILING);
}

#[test]
fn what_goes_beyond_is_refuted_with_an_example() {
    let publishes =
        r#"permit (principal in Group::"apps", action == Action::"publish", resource in Topic::"devices/#");"#;
    assert_eq!(beyond(publishes, CEILING), ["publish"]);
    let wider = r##"permit (principal in Group::"apps", action == Action::"subscribe", resource in Topic::"#");"##;
    assert_eq!(beyond(wider, CEILING), ["subscribe"]);
    let others = r#"permit (principal, action == Action::"subscribe", resource in Topic::"devices/a");"#;
    assert_eq!(beyond(others, CEILING), ["subscribe"]);
    let at_all = "permit (principal, action, resource);";
    assert_eq!(beyond(at_all, CEILING).len(), 3);
    let found = compare(publishes, CEILING);
    let example = found.iter().find_map(|finding| match &finding.answer {
        Answer::Beyond(example) => Some(example),
        _ => None,
    });
    assert!(example.is_some_and(|example| example.contains("publish") && example.contains("Topic::")), "{example:?}");
}

#[test]
fn without_a_solver_nothing_is_proven() {
    run(async {
        assert!(Prover::at(Path::new("/nonexistent/cvc5")).await.is_none());
        assert!(Prover::at(Path::new("/bin/false")).await.is_none());
        // It says that it is one, and answers nothing.
        let folder = std::env::temp_dir().join(format!("prover-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let liar = folder.join("liar");
        std::fs::write(&liar, "#!/bin/sh\n[ \"$1\" = --version ] && echo 'This is cvc5 version 9.9'\nexit 0\n")
            .unwrap();
        std::process::Command::new("chmod").arg("+x").arg(&liar).status().unwrap();
        let prover = Prover::at(&liar).await.unwrap();
        assert_eq!(prover.version(), "cvc5 9.9");
        let found = prover.compare(&set("permit (principal, action, resource);"), &set("")).await;
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(found.iter().all(|finding| matches!(finding.answer, Answer::Unknown(_))), "{found:?}");
    });
}
