//! Somebody else's program verifies what this crate writes, and finds what was changed in it: the packages of Go's checksum
//! database, from which the formats come.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use common::{Ledger, ledger_key};
use portreeve_ledger::{EntryProof, consistency_proof, inclusion_proof, witness::AddCheckpoint};

/// Where Debian's `golang-golang-x-mod-dev` puts Go's packages.
const GOPATH: &str = "/usr/share/gocode";

/// The verifier, built once.
fn build(into: &Path) -> std::path::PathBuf {
    let program = into.join("verify");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go/verify.go");
    let mut go = Command::new("go");
    go.arg("build").arg("-o").args([program.as_path(), source.as_path()]);
    go.env("GO111MODULE", "off").env("GOPATH", GOPATH).env("GOCACHE", into.join("cache")).env("GOFLAGS", "");
    let built = go.output().expect("go is missing: apt-get install golang-go golang-golang-x-mod-dev, or ./test");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

fn write(ledger: &Ledger, old: &Ledger, index: u64, into: &Path) {
    let put = |path: &str, bytes: &[u8]| {
        let path = into.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    ledger.files.iter().for_each(|(path, bytes)| put(path, bytes));
    let head = ledger.head();
    let checkpoint = ledger_key().note(&head.to_string());
    put("checkpoint", checkpoint.as_bytes());
    let Ok(path) = inclusion_proof(ledger, index, head.size);
    let proof = EntryProof { extra: None, index, path, checkpoint: checkpoint.clone() };
    put("entry.tlog-proof", proof.to_string().as_bytes());
    let Ok(proof) = consistency_proof(ledger, old.edge.size(), head.size);
    let request = AddCheckpoint { old: old.edge.size(), proof, checkpoint: &checkpoint };
    put("add-checkpoint", request.to_body().as_bytes());
    put("old", format!("{} {}\n", old.edge.size(), old.edge.root()).as_bytes());
}

#[test]
fn gos_checksum_database_verifies_what_is_written() {
    let work = tempfile::tempdir().unwrap();
    let verifier = build(work.path());
    let verify = |folder: &Path| -> Output {
        Command::new(&verifier).arg(folder).arg(ledger_key().key.to_string()).output().unwrap()
    };
    for (size, old, index) in [(1, 1, 0), (256, 255, 255), (1000, 256, 517), (66_000, 65_536, 65_999)] {
        let folder = work.path().join(size.to_string());
        write(&Ledger::numbered(size), &Ledger::numbered(old), index, &folder);
        let done = verify(&folder);
        assert!(done.status.success(), "{size}: {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), size.to_string());
    }
    let folder = work.path().join("1000");
    for file in ["checkpoint", "tile/0/000", "tile/entries/001", "tile/1/000.p/3", "entry.tlog-proof", "add-checkpoint"]
    {
        let path = folder.join(file);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(!verify(&folder).status.success(), "{file}");
        fs::write(&path, good).unwrap();
    }
    assert!(verify(&folder).status.success());
}
