//! Somebody else's program verifies what a hub wrote: the packages of Go's checksum database.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use portreeve_ledger::{Checkpoint, Reader, Resources as _, VerifierKey, consistency_proof, witness::AddCheckpoint};

use crate::{copy, text, with_entries};

/// Where Debian's `golang-golang-x-mod-dev` puts Go's packages.
const GOPATH: &str = "/usr/share/gocode";

#[test]
fn gos_checksum_database_verifies_what_a_hub_wrote() {
    let mut hub = with_entries(90);
    let key: VerifierKey = hub.succeed(&["ledger", "key"]).trim().parse().unwrap();
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("ledger");
    hub.kill();
    copy(&hub.data().join("ledger"), &folder);
    let _ = hub.succeed(&["ledger", "prove", "258", "--out", text(&folder.join("entry.tlog-proof"))]);
    write_request(&folder, &key);

    let program = work.path().join("verify");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/core/ledger/tests/go/verify.go");
    let mut go = Command::new("go");
    go.arg("build").arg("-o").args([program.as_path(), source.as_path()]);
    go.env("GO111MODULE", "off").env("GOPATH", GOPATH).env("GOCACHE", work.path().join("cache")).env("GOFLAGS", "");
    let built = go.output().expect("go is missing: apt-get install golang-go golang-golang-x-mod-dev, or ./test");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let verify = || Command::new(&program).arg(&folder).arg(key.to_string()).output().unwrap();
    let done = verify();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(String::from_utf8_lossy(&done.stdout).trim().parse::<u64>().unwrap() > 258);
    let entries = folder.join("tile/entries/000");
    let mut bytes = fs::read(&entries).unwrap();
    bytes[100] ^= 1;
    fs::write(&entries, bytes).unwrap();
    assert!(!verify().status.success());
}

/// What a witness that has seen the first 100 entries would be sent.
fn write_request(folder: &Path, key: &VerifierKey) {
    const OLD: u64 = 100;
    let files = read(folder, folder);
    let signed = files.read("checkpoint").unwrap().unwrap();
    let head = Checkpoint::open(&signed, key).unwrap();
    let reader = Reader::open(&files, &head).unwrap();
    let proof = consistency_proof(&reader, OLD, head.size).unwrap();
    let request = AddCheckpoint { old: OLD, proof, checkpoint: str::from_utf8(&signed).unwrap() };
    fs::write(folder.join("add-checkpoint"), request.to_body()).unwrap();
    fs::write(folder.join("old"), format!("{OLD} {}\n", reader.root_of(OLD).unwrap())).unwrap();
}

fn read(root: &Path, folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(read(root, &path));
        } else {
            files.insert(text(path.strip_prefix(root).unwrap()).to_owned(), fs::read(&path).unwrap());
        }
    }
    files
}
