//! A witness with a disk: what it signed once it never signs otherwise, whatever stops it.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Disk, Signer, append, open, seal};
use portreeve_ledger::{
    Checkpoint, Note, Reader, SignatureKind, VerifierKey, consistency_proof,
    witness::{AddCheckpoint, Refusal},
};
use portreeve_ledger_files::{MemoryError, Volume, Witness, WitnessError};

fn key() -> VerifierKey {
    let public = Signer::new(9).key().public();
    VerifierKey::new("witness.example", SignatureKind::Cosignature, public).unwrap()
}

fn witness(disk: &Disk) -> Witness<Disk> {
    Witness::open(disk.clone(), key(), vec![Signer::new(7).key()]).unwrap()
}

fn add(witness: &mut Witness<Disk>, body: &str) -> Result<String, WitnessError> {
    witness.add(body.as_bytes(), 1_893_456_000, |message| Signer::new(9).sign(message))
}

fn refused(result: Result<String, WitnessError>) -> Refusal {
    match result {
        Err(WitnessError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// A ledger of so many entries, which differ by their history.
fn ledger(history: &str, size: u64) -> Disk {
    let disk = Disk::with_ledger();
    let mut files = open(disk.clone()).unwrap();
    let entries: Vec<_> = (0..size).map(|number| format!("{history} {number}").into_bytes()).collect();
    append(&mut files, &entries).unwrap();
    seal(&mut files).unwrap();
    disk
}

fn request(ledger: &Disk, old: u64) -> String {
    let signed = ledger.read("checkpoint").unwrap().unwrap();
    let head = Checkpoint::open(&signed, &Signer::new(7).key()).unwrap();
    let files = open(ledger.clone()).unwrap();
    let reader = Reader::open(&files, &head).unwrap();
    let proof = consistency_proof(&reader, old, head.size).unwrap();
    AddCheckpoint { old, proof, checkpoint: str::from_utf8(&signed).unwrap() }.to_body()
}

#[test]
fn a_head_is_remembered_before_it_is_signed() {
    let (short, long, fork) = (ledger("a", 300), ledger("a", 700), ledger("b", 700));
    let disk = Disk::default();
    let line = add(&mut witness(&disk), &request(&short, 0)).unwrap();
    let signed = String::from_utf8(short.read("checkpoint").unwrap().unwrap()).unwrap() + &line;
    assert_eq!(Note::parse(signed.as_bytes()).unwrap().signed_by(&key()).unwrap().1, 1_893_456_000);
    // After a restart it still knows.
    let mut again = witness(&disk.restart());
    assert_eq!(again.logs().collect::<Vec<_>>(), [("hub.example/ledger", Some(300))]);
    assert_eq!(refused(add(&mut again, &request(&long, 0))), Refusal::Conflict { size: 300 });
    add(&mut again, &request(&long, 300)).unwrap();
    add(&mut again, &request(&long, 700)).unwrap();
    assert_eq!(refused(add(&mut again, &request(&short, 0))), Refusal::Conflict { size: 700 });
    assert_eq!(refused(add(&mut again, &request(&fork, 700))), Refusal::Fork { size: 700 });
    let longer_fork = request(&ledger("b", 900), 700);
    assert_eq!(refused(add(&mut again, &longer_fork)), Refusal::Inconsistent);
    assert_eq!(refused(again.add(b"\xff", 0, |_| Err("no".into()))), Refusal::Malformed);
}

#[test]
fn the_first_fork_is_kept() {
    let disk = Disk::default();
    let mut watching = witness(&disk);
    add(&mut watching, &request(&ledger("a", 5), 0)).unwrap();
    let forks = |disk: &Disk| disk.paths().into_iter().filter(|path| path.starts_with("forks/")).collect::<Vec<_>>();
    let unsigned = request(&ledger("b", 5), 5).replacen("hub.example", "hob.example", 1);
    assert!(add(&mut watching, &unsigned).is_err() && forks(&disk).is_empty(), "nobody else makes evidence");
    let first = request(&ledger("b", 5), 5);
    assert!(add(&mut watching, &first).is_err());
    assert!(add(&mut watching, &request(&ledger("c", 5), 5)).is_err());
    let [kept] = &forks(&disk)[..] else { panic!("one is enough") };
    assert_eq!(disk.read(kept).unwrap().unwrap(), first.as_bytes());
}

/// The power fails at the write, which was done or not: nothing was signed that is not remembered.
#[test]
fn what_is_not_remembered_is_not_signed() {
    for extent in [0, 1] {
        let disk = Disk::default();
        add(&mut witness(&disk), &request(&ledger("a", 300), 0)).unwrap();
        let disk = disk.restart();
        disk.fail_at(0, extent);
        let signed = add(&mut witness(&disk), &request(&ledger("a", 700), 300));
        assert!(matches!(signed, Err(WitnessError::Io(_))));
        let known = witness(&disk.restart()).logs().next().unwrap().1.unwrap();
        assert_eq!(known, if extent == 0 { 300 } else { 700 });
    }
    // Nor is it signed without the key.
    let disk = Disk::default();
    let body = request(&ledger("a", 3), 0);
    let unsigned = witness(&disk).add(body.as_bytes(), 1, |_| Err("the token is gone".into()));
    assert!(matches!(unsigned, Err(WitnessError::Signer(_))));
    add(&mut witness(&disk.restart()), &request(&ledger("a", 3), 3)).unwrap();
}

#[test]
fn a_witness_without_its_memory_does_not_begin() {
    let disk = Disk::default();
    add(&mut witness(&disk), &request(&ledger("a", 300), 0)).unwrap();
    let [path] = &disk.paths()[..] else { panic!("one file") };
    disk.change(path, |bytes| bytes[0] ^= 1);
    let opened = Witness::open(disk, key(), vec![Signer::new(7).key()]);
    assert!(matches!(opened, Err(MemoryError::Damaged { .. })));
    let twice = Witness::open(Disk::default(), key(), vec![Signer::new(7).key(), Signer::new(8).key()]);
    assert!(matches!(twice, Err(MemoryError::Twice(_))));
}
