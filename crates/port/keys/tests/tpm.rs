//! Keys in a TPM 2.0, here swtpm, and the enrolment proof by endorsement key.

// Helpers of tests panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
    process::Command,
};

use common::{conformance, name, openssl_verifies, passphrase, run, swtpm::Swtpm};
use portreeve_keys::{
    Custody, KeyAlgorithm, KeyError, Protection, TpmCustody,
    tpm::{CHALLENGE_SECRET_BYTES_MAX, Challenge, EndorsementKind, TpmAddress, TpmKeyArea},
};

const PASSPHRASE: &str = "correct horse";
const SECRET: &[u8] = b"a secret of at most 32 bytes";

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn open(tpm: &Swtpm, directory: &Path, text: Option<&str>) -> TpmCustody {
    TpmCustody::open(TpmAddress::Socket(tpm.socket()), directory, text.map(passphrase).as_ref()).unwrap()
}

#[test]
fn a_tpm_without_passphrase_conforms() {
    let (tpm, directory) = (Swtpm::start(), directory());
    conformance(Protection::Tpm, &[KeyAlgorithm::Ed25519], &|| Box::new(open(&tpm, directory.path(), None)));
}

#[test]
fn a_tpm_with_passphrase_conforms() {
    let (tpm, directory) = (Swtpm::start(), directory());
    // The second is longer than a TPM's secret, and must not be cut.
    for text in [PASSPHRASE, "correct horse battery staple and some more words"] {
        let own = directory.path().join(text.len().to_string());
        conformance(Protection::Tpm, &[KeyAlgorithm::Ed25519], &|| Box::new(open(&tpm, &own, Some(text))));
    }
}

#[test]
fn wrong_passphrases_are_refused_and_then_the_tpm_locks() {
    let (tpm, directory) = (Swtpm::start(), directory());
    let right = open(&tpm, directory.path(), Some(PASSPHRASE));
    right.create(&name("root"), KeyAlgorithm::EcdsaP256).unwrap();
    let none = open(&tpm, directory.path(), None).open(&name("root")).unwrap_err();
    assert!(matches!(none, KeyError::PassphraseNeeded(_)), "{none}");
    let wrong = open(&tpm, directory.path(), Some("wrong horse"));
    let refused = wrong.open(&name("root")).unwrap_err();
    assert!(matches!(refused, KeyError::WrongPassphrase(_)), "{refused}");
    right.open(&name("root")).unwrap();
    let locked = (0..40).find_map(|_| match wrong.open(&name("root")).unwrap_err() {
        KeyError::WrongPassphrase(_) => None,
        other => Some(other),
    });
    assert!(matches!(locked, Some(KeyError::Locked(_))), "{locked:?}");
    assert!(matches!(right.open(&name("root")), Err(KeyError::Locked(_))), "for the right one too");
}

#[test]
fn a_key_outlives_a_power_cut() {
    let (mut tpm, directory) = (Swtpm::start(), directory());
    let key = open(&tpm, directory.path(), Some(PASSPHRASE)).create(&name("root"), KeyAlgorithm::EcdsaP256).unwrap();
    tpm.restart();
    assert!(key.public().verifies(b"message", &key.sign(b"message").unwrap()));
    tpm.stop();
    assert!(matches!(key.sign(b"message"), Err(KeyError::Io { .. })));
}

#[test]
fn a_key_does_not_load_in_another_tpm() {
    let (tpm, other, directory) = (Swtpm::start(), Swtpm::start(), directory());
    open(&tpm, directory.path(), None).create(&name("root"), KeyAlgorithm::EcdsaP256).unwrap();
    let refused = open(&other, directory.path(), None).open(&name("root")).unwrap_err();
    assert!(matches!(refused, KeyError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("made for another one"), "{refused}");
    open(&tpm, directory.path(), None).open(&name("root")).unwrap();
}

/// Carries the bytes of a program that speaks to a TPM by its standard streams to the socket and back.
const RELAY: &str = r#"
import os, socket, sys, threading
tpm = socket.socket(socket.AF_UNIX)
tpm.connect(sys.argv[1])
def commands():
    while data := os.read(0, 4096):
        tpm.sendall(data)
    tpm.shutdown(socket.SHUT_WR)
threading.Thread(target=commands, daemon=True).start()
while data := tpm.recv(4096):
    os.write(1, data)
"#;

/// The file is a published one: openssl's TPM provider signs with it, and knows nothing of this program.
#[test]
fn openssl_signs_with_the_file_and_the_tpm() {
    let (tpm, directory) = (Swtpm::start(), directory());
    let path = |name: &str| directory.path().join(name);
    fs::write(path("relay"), RELAY).unwrap();
    fs::write(path("message"), b"message").unwrap();
    for text in [None, Some(PASSPHRASE)] {
        let folder = path(text.unwrap_or("open"));
        let key = open(&tpm, &folder, text).create(&name("root"), KeyAlgorithm::EcdsaP256).unwrap();
        let mut command = Command::new("openssl");
        command.args(["pkeyutl", "-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2"]);
        command.args(["-sign", "-rawin", "-digest", "sha256", "-inkey"]).arg(folder.join("root.tpm"));
        command.arg("-in").arg(path("message")).arg("-out").arg(path("signature"));
        if let Some(text) = text {
            command.arg("-passin").arg(format!("pass:{text}"));
        }
        let relay = format!("cmd:python3 {} {}", path("relay").display(), tpm.socket().display());
        run(command.env("TPM2OPENSSL_TCTI", relay));
        openssl_verifies(&*key, b"message", &fs::read(path("signature")).unwrap());
    }
}

#[test]
fn damaged_files_are_told() {
    let (tpm, directory) = (Swtpm::start(), directory());
    let custody = open(&tpm, directory.path(), None);
    custody.create(&name("root"), KeyAlgorithm::EcdsaP256).unwrap();
    let file = directory.path().join("root.tpm");
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // A character in each line: in the public area, in the private part, in the frame.
    for line in 0..lines.len() {
        let mut changed: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let at = lines[line].len() / 2;
        let replacement = if lines[line].as_bytes()[at] == b'A' { "B" } else { "A" };
        changed[line].replace_range(at..=at, replacement);
        fs::write(&file, changed.join("\n")).unwrap();
        let refused = custody.open(&name("root")).unwrap_err();
        assert!(matches!(refused, KeyError::Damaged { .. }), "line {line}: {refused}");
    }
    fs::write(&file, text).unwrap();
    custody.open(&name("root")).unwrap();
}

#[test]
fn a_tpm_proves_what_it_holds() {
    let (tpm, other, directory) = (Swtpm::start(), Swtpm::start(), directory());
    let device = open(&tpm, &directory.path().join("device"), Some(PASSPHRASE));
    let stranger = open(&other, &directory.path().join("stranger"), Some(PASSPHRASE));
    for custody in [&device, &stranger] {
        custody.create(&name("mine"), KeyAlgorithm::EcdsaP256).unwrap();
        custody.create(&name("second"), KeyAlgorithm::EcdsaP384).unwrap();
    }
    for kind in [EndorsementKind::Rsa2048, EndorsementKind::EccP256] {
        let endorsement = device.endorsement(kind).unwrap();
        assert_eq!(endorsement.certificate_der, None, "swtpm has none unless its set-up makes one");
        assert_eq!(device.endorsement(kind).unwrap(), endorsement, "it is always the same");
        assert_ne!(stranger.endorsement(kind).unwrap().spki_der, endorsement.spki_der);
        // What the hub gets is bytes.
        let area = TpmKeyArea::parse(device.key_area(&name("mine")).unwrap().as_bytes()).unwrap();
        let challenge = Challenge::new(&endorsement.spki_der, &area, SECRET).unwrap();
        assert_eq!(*device.activate(&name("mine"), &challenge).unwrap(), SECRET);
        assert_ne!(Challenge::new(&endorsement.spki_der, &area, SECRET).unwrap(), challenge);

        let refused = |custody: &TpmCustody, key, challenge: &Challenge| {
            let refused = custody.activate(&name(key), challenge).unwrap_err();
            assert!(matches!(refused, KeyError::Damaged { .. }), "{refused}");
        };
        refused(&device, "second", &challenge);
        // Another TPM cannot even decrypt it, for which they have several words.
        assert!(stranger.activate(&name("mine"), &challenge).is_err());
        for change in [
            |challenge: &mut Challenge| challenge.credential[2] ^= 1,
            |challenge: &mut Challenge| {
                let last = challenge.credential.len() - 1;
                challenge.credential[last] ^= 1;
            },
        ] {
            let mut changed = challenge.clone();
            change(&mut changed);
            refused(&device, "mine", &changed);
        }
        assert_eq!(*device.activate(&name("mine"), &challenge).unwrap(), SECRET, "nothing was left in the TPM");
    }
}

#[test]
fn challenges_keep_to_their_bounds() {
    let (tpm, directory) = (Swtpm::start(), directory());
    let device = open(&tpm, directory.path(), None);
    let p384 = device.create(&name("mine"), KeyAlgorithm::EcdsaP384).unwrap();
    let spki = device.endorsement(EndorsementKind::EccP256).unwrap().spki_der;
    let area = device.key_area(&name("mine")).unwrap();
    assert_eq!(area.public(), p384.public());
    for secret in [&[][..], &[7; CHALLENGE_SECRET_BYTES_MAX + 1]] {
        assert!(matches!(Challenge::new(&spki, &area, secret), Err(KeyError::Unsupported { .. })));
    }
    for spki in [p384.public().spki_der(), b"no key", &[]] {
        assert!(matches!(Challenge::new(spki, &area, SECRET), Err(KeyError::Unsupported { .. })));
    }
}

/// Whatever answers in the place of a TPM, and whatever it answers.
#[test]
fn nonsense_from_a_tpm_is_an_error() {
    let directory = directory();
    let socket = directory.path().join("socket");
    let address = || TpmAddress::Socket(socket.clone());
    let keys = directory.path().join("keys");
    let missing = TpmCustody::open(address(), &keys, None).unwrap_err();
    assert!(missing.to_string().contains(socket.to_str().unwrap()), "{missing}");
    let no_device = TpmCustody::open(TpmAddress::Device("/dev/null".into()), &keys, None).unwrap_err();
    assert!(matches!(no_device, KeyError::Io { .. }), "{no_device}");

    let answers: [&[u8]; 7] = [
        b"",
        b"\x80\x01",
        b"\x80\x01\x00\x00\x00\x0a\x00\x00\x00\x00",
        b"\x80\x02\x00\x00\x00\x12\x00\x00\x00\x00\x80\x00\x00\x00\xff\xff\xff\xff",
        b"\x80\x01\xff\xff\xff\xff\x00\x00\x00\x00",
        b"\x80\x01\x00\x00\x00\x09\x00\x00\x00\x00",
        b"\x00\xc4\x00\x00\x00\x0a\x00\x00\x01\x00",
    ];
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut command = [0; 4096];
            let _ = stream.read(&mut command);
            let _ = stream.write_all(answer);
        }
    });
    for answer in answers {
        let refused = TpmCustody::open(address(), &keys, None).unwrap_err();
        assert!(matches!(refused, KeyError::Io { .. } | KeyError::Device { .. }), "{answer:?}: {refused}");
    }
    server.join().unwrap();
}

#[test]
fn a_tpm_is_named_as_by_other_programs() {
    let parse = |text: &str| text.parse::<TpmAddress>();
    assert_eq!(parse("device:/dev/tpmrm0").unwrap(), TpmAddress::Device("/dev/tpmrm0".into()));
    assert_eq!(parse("swtpm:path=/run/tpm/socket").unwrap(), TpmAddress::Socket("/run/tpm/socket".into()));
    for bad in ["", "/dev/tpmrm0", "device:tpmrm0", "device:", "swtpm:port=2321", "tabrmd"] {
        let refused = parse(bad).unwrap_err().to_string();
        assert!(refused.contains("device:/dev/tpmrm0"), "{bad}: {refused}");
    }
}
