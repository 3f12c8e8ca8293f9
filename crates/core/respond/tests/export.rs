//! What leaves the hub as evidence can be checked by anybody, byte for byte.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::BTreeMap;

use common::wall;
use portreeve_respond::{
    CaseError, Cases, EXTRACT_BYTES_MAX, EXTRACTS_MAX, Export, ExportProblem, Finding, Severity, Sha256, Subject,
    verify_export,
};

fn cases() -> Cases {
    let mut cases = Cases::default();
    let subject = Subject::Identity("lamp-1".parse().unwrap());
    let finding = Finding {
        id: "f-1",
        kind: "flood",
        severity: Severity::Medium,
        subject: &subject,
        text: "604 messages a second",
    };
    cases.report(&finding, Some(7), wall(0));
    cases.note(1, "alice", "a note", wall(1)).unwrap();
    cases.read(1, "bob", wall(2)).unwrap();
    cases
}

fn extracts() -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([("entries-7-7.bundle".to_owned(), b"entry seven".to_vec()), ("checkpoint".to_owned(), vec![])])
}

fn export() -> Export {
    cases().export(1, "bob", "for the insurer", extracts(), wall(3)).unwrap()
}

#[test]
fn an_export_verifies_and_is_the_same_bytes_for_the_same_case() {
    let export = export();
    let names: Vec<&str> = export.files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["case.json", "custody.jsonl", "ledger/checkpoint", "ledger/entries-7-7.bundle", "manifest.json"]
    );
    let verified = verify_export(&export.files).unwrap();
    assert_eq!((verified.case, verified.by.as_str(), verified.exported), (1, "bob", wall(3)));
    assert_eq!(verified.sha256, export.sha256);
    assert_eq!(export, self::export());
}

#[test]
fn every_flipped_bit_is_found() {
    let export = export();
    for (name, bytes) in &export.files {
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut files = export.files.clone();
                files.get_mut(name).unwrap()[at] ^= 1 << bit;
                assert!(verify_export(&files).is_err(), "{name}, byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn missing_additional_and_longer_files_are_found() {
    let export = export();
    for name in export.files.keys() {
        let mut files = export.files.clone();
        files.remove(name);
        assert_eq!(verify_export(&files), Err(ExportProblem::Missing(name.clone())));
        let mut files = export.files.clone();
        files.get_mut(name).unwrap().push(b'\n');
        assert!(verify_export(&files).is_err(), "{name}");
    }
    for name in ["ledger/other", "readme", "../case.json"] {
        let mut files = export.files.clone();
        files.insert(name.to_owned(), Vec::new());
        assert_eq!(verify_export(&files), Err(ExportProblem::Added(name.to_owned())));
    }
}

/// Who changes a file and mends the manifest has the custody log against him.
#[test]
fn a_mended_manifest_does_not_hide_a_change() {
    let export = export();
    let swap = |name: &str, from: &str, to: &str| {
        let mut files = export.files.clone();
        let old = Sha256::of(&files[name]).to_string();
        let text = String::from_utf8(files[name].clone()).unwrap().replace(from, to);
        assert_ne!(text.as_bytes(), files[name]);
        let (new, bytes) = (Sha256::of(text.as_bytes()).to_string(), text.len());
        let manifest = String::from_utf8(files["manifest.json"].clone()).unwrap().replace(&old, &new);
        let manifest = manifest.replace(&format!("\"bytes\": {}", files[name].len()), &format!("\"bytes\": {bytes}"));
        files.insert(name.to_owned(), text.into_bytes());
        files.insert("manifest.json".to_owned(), manifest.into_bytes());
        verify_export(&files)
    };
    assert_eq!(swap("case.json", "a note", "b note"), Err(ExportProblem::End));
    assert_eq!(swap("ledger/entries-7-7.bundle", "seven", "eight"), Err(ExportProblem::End));
    let broken = swap("custody.jsonl", "\"what\":\"read\"", "\"what\":\"opened\"");
    assert!(matches!(broken, Err(ExportProblem::Custody(_))), "{broken:?}");
    let without_reading = {
        let text = String::from_utf8(export.files["custody.jsonl"].clone()).unwrap();
        text.lines().nth(1).unwrap().to_owned() + "\n"
    };
    assert!(swap("custody.jsonl", &without_reading, "").is_err());
}

/// The hash of a line is made of its own text, so that anybody can follow the chain without this program.
#[test]
fn the_chain_can_be_followed_by_its_text() {
    let export = export();
    let custody = String::from_utf8(export.files["custody.jsonl"].clone()).unwrap();
    let mut before = Sha256::of(format!("portreeve case 1 {}", wall(0).0).as_bytes()).to_string();
    for line in custody.lines() {
        let (content, hash) = line.split_once(",\"hash\":\"").unwrap();
        let hash = hash.strip_suffix("\"}").unwrap();
        assert_eq!(Sha256::of(format!("{before}\n{content}}}").as_bytes()).to_string(), hash);
        before = hash.to_owned();
    }
}

#[test]
fn what_cannot_be_exported_is_refused_and_not_noted() {
    let mut cases = cases();
    let with = |name: &str, bytes: usize| BTreeMap::from([(name.to_owned(), vec![0; bytes])]);
    for name in ["", "../x", "a/b", ".hidden", "A", "manifest json", &"x".repeat(65)] {
        assert_eq!(cases.export(1, "bob", "why", with(name, 0), wall(3)), Err(ExportProblem::Name.into()), "{name}");
    }
    assert_eq!(
        cases.export(1, "bob", "why", with("x", EXTRACT_BYTES_MAX + 1), wall(3)),
        Err(ExportProblem::Large.into())
    );
    let many = (0..=EXTRACTS_MAX).map(|at| (at.to_string(), Vec::new())).collect();
    assert_eq!(cases.export(1, "bob", "why", many, wall(3)), Err(ExportProblem::Large.into()));
    assert_eq!(cases.export(2, "bob", "why", extracts(), wall(3)), Err(CaseError::Unknown(2)));
    assert!(matches!(cases.export(1, "bob", "", extracts(), wall(3)), Err(CaseError::Text(_))));
    assert_eq!(cases.iter().next().unwrap().custody().lines().len(), 2);
    assert!(cases.export(1, "bob", "why", with("manifest.json", 1), wall(3)).is_ok(), "it lies below ledger/");
}
