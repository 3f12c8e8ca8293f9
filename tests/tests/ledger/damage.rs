//! Whatever is changed in files that were copied is found, and named. Each byte of each file is `core/ledger`'s affair.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{copy, ledger, sealed, text, told, with_entries};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn expect_damage(folder: &Path, key: &str, what: &str) {
    let (status, said) = told(&ledger(&["verify", text(folder), "--key", key]));
    assert!(status == 1 && said.contains("not to be believed"), "{what}: {status} {said}");
}

/// Each of a file's bytes that is tried flipped, the file cut, longer, empty, missing, and in another's place.
fn is_found(folder: &Path, key: &str, step: usize) {
    let all = files(folder);
    for path in &all {
        let good = fs::read(path).unwrap();
        let try_with = |bytes: &[u8], what: &str| {
            fs::write(path, bytes).unwrap();
            expect_damage(folder, key, &format!("{} {what}", path.display()));
        };
        for at in (0..good.len()).step_by(good.len().div_ceil(step)) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            try_with(&bad, &format!("byte {at}"));
        }
        try_with(&good[..good.len() / 2], "cut");
        try_with(&good[..good.len() - 1], "cut by one");
        try_with(&[good.as_slice(), b"\n"].concat(), "longer");
        try_with(b"", "empty");
        for other in all.iter().filter(|other| *other != path) {
            try_with(&fs::read(other).unwrap(), &format!("is {}", other.display()));
        }
        fs::remove_file(path).unwrap();
        expect_damage(folder, key, &format!("{} missing", path.display()));
        fs::write(path, good).unwrap();
    }
    assert_eq!(told(&ledger(&["verify", text(folder), "--key", key])).0, 0, "all is as before");
}

#[test]
fn a_changed_copy_is_found() {
    let mut hub = with_entries(90);
    let key = hub.succeed(&["ledger", "key"]).trim().to_owned();
    hub.kill();
    let work = tempfile::tempdir().unwrap();
    copy(&hub.data().join("ledger"), work.path());
    for nobodys in ["verifier.key", "tail"] {
        let path = work.path().join(nobodys);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
    assert!(files(work.path()).len() > 4, "more than one file of entries");
    is_found(work.path(), &key, 4);
}

#[test]
fn a_changed_export_is_found() {
    let hub = with_entries(4);
    let key = hub.succeed(&["ledger", "key"]).trim().to_owned();
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("export");
    let _ = hub.succeed(&["ledger", "export", "--from", "2", "--to", "9", "--out", text(&folder)]);
    fs::remove_file(folder.join("verifier.key")).unwrap();
    let entries = folder.join("entries-2-9.jsonl");
    let good = fs::read_to_string(&entries).unwrap();
    let lines: Vec<_> = good.split_inclusive('\n').collect();
    let try_with = |lines: &[&str], what: &str| {
        fs::write(&entries, lines.concat()).unwrap();
        expect_damage(&folder, &key, what);
    };
    for at in 0..lines.len() {
        let mut fewer = lines.clone();
        let line = fewer.remove(at);
        try_with(&fewer, "a line is missing");
        fewer.push(line);
        if at + 1 < lines.len() {
            try_with(&fewer, "lines in another order");
        }
        let mut twice = lines.clone();
        twice.insert(at, line);
        try_with(&twice, "a line twice");
    }
    fs::write(&entries, &good).unwrap();
    // Without personal values it is as good as with them.
    is_found_but_personal(&folder, &key);
    fs::rename(&entries, folder.join("entries-3-10.jsonl")).unwrap();
    expect_damage(&folder, &key, "other numbers");
}

/// `personal.jsonl` may be left out; nothing else may.
fn is_found_but_personal(folder: &Path, key: &str) {
    let personal = folder.join("personal.jsonl");
    let kept = fs::read(&personal).unwrap();
    let text = String::from_utf8(kept.clone()).unwrap();
    let other = text.replacen("\"value\":\"", "\"value\":\"not-", 1);
    fs::write(&personal, other).unwrap();
    expect_damage(folder, key, "another's name");
    fs::write(&personal, &kept[..kept.len() - 3]).unwrap();
    expect_damage(folder, key, "a value cut");
    fs::remove_file(&personal).unwrap();
    is_found(folder, key, 10);
}

#[test]
fn a_changed_proof_is_found() {
    let hub = with_entries(1);
    let key = hub.succeed(&["ledger", "key"]).trim().to_owned();
    sealed(&hub);
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("proof");
    let _ = hub.succeed(&["ledger", "prove", "1", "--out", text(&path)]);
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        expect_damage(&path, &key, &format!("byte {at}"));
    }
}

/// Damage on the hub's own disk is found while it runs, by whoever asks.
#[test]
fn damage_under_a_running_hub_is_found() {
    let hub = with_entries(3);
    let tile = files(&hub.data().join("ledger/tile/entries")).pop().unwrap();
    let mut bytes = fs::read(&tile).unwrap();
    bytes[20] ^= 1;
    fs::write(&tile, bytes).unwrap();
    for command in [&["ledger", "verify"][..], &["ledger", "show"], &["ledger", "prove", "0"]] {
        let output = hub.run(command);
        assert!(matches!(output.status.code(), Some(1 | 4)), "{command:?}: {}", told(&output).1);
    }
}
