//! Notes, checkpoints, proofs and what a witness signs: one form of each, and whom to believe.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Ledger, ORIGIN, Signer, ledger_key};
use portreeve_ledger::{
    Checkpoint, CheckpointError, EntryProof, KeyError, Note, NoteError, ProofError, SignatureKind, VerifierKey,
    consistency_proof, inclusion_proof,
    witness::{AddCheckpoint, Head, Refusal},
};
use proptest::prelude::*;

/// Its id follows from name, kind and key, so that a change of any is noticed.
#[test]
fn a_key_has_one_text() {
    let key = ledger_key().key;
    let text = key.to_string();
    assert_eq!(text.parse::<VerifierKey>().unwrap(), key);
    let changed = |from: &str, to: &str| text.replacen(from, to, 1).parse::<VerifierKey>();
    assert_eq!(changed("hub", "hob"), Err(KeyError::Id));
    assert_eq!(changed("hub", "h b"), Err(KeyError::Name));
    assert_eq!("hub".parse::<VerifierKey>(), Err(KeyError::Malformed));
    assert_eq!("hub+00000000+AgAA".parse::<VerifierKey>(), Err(KeyError::Kind));
    // One of golang.org/x/mod/sumdb/note, where the format comes from.
    let go = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(go.parse::<VerifierKey>().unwrap().name(), "PeterNeumann");
}

#[test]
fn what_is_no_note_is_not_read() {
    let good = ledger_key().note("text\n");
    assert!(Note::parse(good.as_bytes()).is_ok());
    for bad in [
        String::new(),
        "text\n".into(),
        good.trim_end().into(),
        good.replace("\n\n", "\n"),
        good.replace('\u{2014}', "-"),
        good.replace("text", "te\u{7}xt"),
        good.replace("text", "te\rxt"),
        format!("{good}\n"),
        format!("{good}x\n"),
        good.replace(ORIGIN, "a+b"),
    ] {
        assert_eq!(Note::parse(bad.as_bytes()), Err(NoteError::Malformed), "{bad:?}");
    }
    assert_eq!(Note::parse(b"\xff\n\n\xe2\x80\x94 a AAAA\n"), Err(NoteError::Malformed));
    let line = ledger_key().line("text\n", 0);
    assert!(Note::parse(format!("text\n\n{}", line.repeat(64)).as_bytes()).is_ok());
    assert_eq!(Note::parse(format!("text\n\n{}", line.repeat(65)).as_bytes()), Err(NoteError::TooLarge));
    assert_eq!(Note::parse(&[b'a'; 70_000]), Err(NoteError::TooLarge));
}

#[test]
fn a_checkpoint_is_its_ledgers_alone() {
    let (signer, head) = (ledger_key(), Ledger::numbered(300).head());
    let open = |note: String| Checkpoint::open(note.as_bytes(), &signer.key);
    assert_eq!(open(signer.note(&head.to_string())).unwrap(), head);
    let other = Checkpoint { origin: "other.example".into(), ..head.clone() };
    assert_eq!(open(signer.note(&other.to_string())), Err(CheckpointError::OtherOrigin("other.example".into())));
    let stranger = Signer::new(ORIGIN, SignatureKind::Ed25519, 8);
    assert_eq!(open(stranger.note(&head.to_string())), Err(CheckpointError::Note(NoteError::Unsigned(ORIGIN.into()))));
    let text = head.to_string();
    for bad in [
        text.replace("300", "0300"),
        text.replace("300", "+300"),
        text.replace("300", "-1"),
        text.replace("300", "18446744073709551616"),
        text.replace(ORIGIN, ""),
        text.replacen('=', "", 1),
        format!("{text}\n"),
        text.lines().take(2).map(|line| format!("{line}\n")).collect(),
    ] {
        assert_eq!(open(signer.note(&bad)), Err(CheckpointError::Malformed), "{bad:?}");
    }
    let extended = format!("{text}more\n");
    assert_eq!(open(signer.note(&extended)).unwrap().extensions, ["more"]);
}

#[test]
fn a_proof_is_for_one_entry_of_one_ledger() {
    let (signer, ledger) = (ledger_key(), Ledger::numbered(1000));
    let Ok(path) = inclusion_proof(&ledger, 517, 1000);
    let checkpoint = signer.note(&ledger.head().to_string());
    for extra in [None, Some(b"salt".to_vec()), Some(Vec::new())] {
        let proof = EntryProof { extra, index: 517, path: path.clone(), checkpoint: checkpoint.clone() };
        let read: EntryProof = proof.to_string().parse().unwrap();
        assert_eq!(read, proof);
        assert_eq!(read.verify(&ledger.entries[517], &signer.key).unwrap(), ledger.head());
        assert_eq!(
            read.verify(&ledger.entries[518], &signer.key),
            Err(ProofError::NotIncluded { index: 517, size: 1000 })
        );
    }
    let text = EntryProof { extra: None, index: 517, path, checkpoint }.to_string();
    for bad in [
        String::new(),
        text.replace("@v1", "@v2"),
        text.replace("index 517", "index 0517"),
        text.replace("index 517", "517"),
        text.replace("index 517\n", "index 517\nx\n"),
        text.replace("index 517\n", &format!("index 517\n{}", "A".repeat(43) + "=\n").repeat(70)),
        text.replace("index", "extra %\nindex"),
        text.replace("\n\n", "\n"),
    ] {
        assert!(matches!(bad.parse::<EntryProof>(), Err(ProofError::Malformed(_))), "{bad:?}");
    }
}

/// Whoever rewrites a ledger finds nobody who signs it.
#[test]
fn a_witness_signs_no_fork_and_no_roll_back() {
    let (signer, witness) = (ledger_key(), Signer::new("witness.example", SignatureKind::Cosignature, 9));
    let [short, long] = [300, 70_000].map(Ledger::numbered);
    let fork = Ledger::of((0..70_000).map(|number| format!("other {number}").into_bytes()));
    let signed = |ledger: &Ledger| signer.note(&ledger.head().to_string());
    let ask = |old: u64, ledger: &Ledger, last: Option<&Ledger>| {
        let Ok(proof) = consistency_proof(ledger, old, ledger.edge.size());
        let checkpoint = signed(ledger);
        let body = AddCheckpoint { old, proof, checkpoint: &checkpoint }.to_body();
        let last = last.map(|last| Head { size: last.edge.size(), root: last.edge.root() });
        AddCheckpoint::parse(&body).unwrap().consider(Some(&signer.key), last)
    };
    assert_eq!(ask(0, &short, None).unwrap(), short.head());
    assert_eq!(ask(300, &long, Some(&short)).unwrap(), long.head());
    assert_eq!(ask(70_000, &long, Some(&long)).unwrap(), long.head(), "the same once more");
    assert_eq!(ask(0, &long, Some(&short)), Err(Refusal::Conflict { size: 300 }));
    assert_eq!(ask(300, &short, Some(&long)), Err(Refusal::Conflict { size: 70_000 }));
    assert_eq!(ask(300, &fork, Some(&short)), Err(Refusal::Inconsistent));
    assert_eq!(ask(70_000, &fork, Some(&long)), Err(Refusal::Fork { size: 70_000 }));
    assert_eq!(ask(301, &short, None), Err(Refusal::Malformed));

    let checkpoint = signed(&short);
    let request = AddCheckpoint { old: 0, proof: Vec::new(), checkpoint: &checkpoint };
    assert_eq!(request.consider(None, None), Err(Refusal::UnknownOrigin(ORIGIN.into())));
    let stranger = Signer::new(ORIGIN, SignatureKind::Ed25519, 8);
    assert_eq!(request.consider(Some(&stranger.key), None), Err(Refusal::Unsigned));
    let statuses = [Refusal::Malformed, Refusal::Unsigned, Refusal::Inconsistent, Refusal::Fork { size: 1 }];
    assert_eq!(statuses.map(|refusal| refusal.status()), [400, 403, 422, 409]);
    for bad in ["", "old 1\n", "old 01\n\nx\n", "new 1\n\nx\n", "old 1\nx\n\nx\n"] {
        assert_eq!(AddCheckpoint::parse(bad), Err(Refusal::Malformed), "{bad:?}");
    }

    // What it signs stands below the ledger's own line, with its time.
    let text = short.head().to_string();
    let cosigned = format!("{checkpoint}{}", witness.line(&text, 1_893_486_600));
    let note = Note::parse(cosigned.as_bytes()).unwrap();
    assert_eq!(note.signed_by(&signer.key).unwrap(), (text.as_str(), 0));
    assert_eq!(note.signed_by(&witness.key).unwrap(), (text.as_str(), 1_893_486_600));
    let plain = Signer::new("witness.example", SignatureKind::Ed25519, 9);
    assert_eq!(note.signed_by(&plain.key), Err(NoteError::Unsigned("witness.example".into())), "another statement");
}

proptest! {
    /// Whatever is read is written again as it was, and nothing of it panics.
    #[test]
    fn texts_have_one_form(text in "\\PC{0,40}(\n\\PC{0,40}){0,6}\n?") {
        if let Ok(checkpoint) = text.parse::<Checkpoint>() {
            prop_assert_eq!(checkpoint.to_string(), text.clone());
        }
        if let Ok(proof) = text.parse::<EntryProof>() {
            prop_assert_eq!(proof.to_string(), text.clone());
        }
        let _ = Note::parse(text.as_bytes());
        let _ = AddCheckpoint::parse(&text);
        let _ = text.parse::<VerifierKey>();
    }
}
