//! Keys in files, sealed and not.

// Helpers of tests panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use common::{PASSPHRASE, conformance, name, passphrase, run};
use portreeve_keys::{Custody, FileCustody, Kdf, KeyAlgorithm, KeyError, Protection};

fn sealed(directory: &Path, text: &str) -> FileCustody {
    FileCustody::sealed(directory, passphrase(text), Kdf::default()).unwrap()
}

/// A directory as the data directory is.
fn private_directory() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn files(directory: &Path) -> Vec<String> {
    let mut files: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    files
}

#[test]
fn unsealed_files_conform() {
    let directory = private_directory();
    let path = directory.path().join("new/keys");
    conformance(Protection::FilePermissions, &[], &|| Box::new(FileCustody::unsealed(&path).unwrap()));
    assert_eq!(mode(&path), 0o700);
    assert_eq!(files(&path), ["a_ledger.key", "m.devices.key", "z-root.key"]);
    assert!(files(&path).iter().all(|file| mode(&path.join(file)) == 0o600));
}

#[test]
fn sealed_files_conform() {
    let directory = private_directory();
    conformance(Protection::SealedFile, &[], &|| Box::new(sealed(directory.path(), PASSPHRASE)));
    for file in files(directory.path()) {
        assert_eq!(mode(&directory.path().join(&file)), 0o600);
        let text = fs::read_to_string(directory.path().join(&file)).unwrap();
        assert!(text.contains("BEGIN ENCRYPTED PRIVATE KEY") && !text.contains("BEGIN PRIVATE KEY"), "{text}");
    }
}

/// A user who has the file and the passphrase needs nothing of ours, whichever key derivation sealed it.
#[test]
fn openssl_opens_a_sealed_key() {
    let directory = private_directory();
    for (algorithm, kdf) in [
        (KeyAlgorithm::EcdsaP256, Kdf::Scrypt),
        (KeyAlgorithm::EcdsaP384, Kdf::Pbkdf2),
        (KeyAlgorithm::Ed25519, Kdf::Scrypt),
    ] {
        let custody = FileCustody::sealed(directory.path(), passphrase(PASSPHRASE), kdf).unwrap();
        let label = name(&format!("{algorithm:?}").to_lowercase());
        let key = custody.create(&label, algorithm).unwrap();
        assert_eq!(custody.open(&label).unwrap().public(), key.public());
        let file = directory.path().join(format!("{label}.key"));
        let opened = openssl_pkcs8(&file, PASSPHRASE).unwrap();
        let mut derive = Command::new("openssl");
        derive.args(["pkey", "-pubout", "-outform", "DER"]);
        assert_eq!(with_input(&mut derive, &opened).unwrap(), key.public().spki_der());
        // What openssl made of it is a key in a directory that is not sealed.
        let plain = private_directory();
        let copy = plain.path().join("copy.key");
        fs::write(&copy, &opened).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
        let recovered = FileCustody::unsealed(plain.path()).unwrap().open(&name("copy")).unwrap();
        assert_eq!(recovered.public(), key.public());
        assert!(openssl_pkcs8(&file, "wrong horse battery").is_none());
    }
}

fn openssl_pkcs8(file: &Path, password: &str) -> Option<Vec<u8>> {
    let mut command = Command::new("openssl");
    command.args(["pkcs8", "-passin", "stdin", "-in"]).arg(file);
    with_input(&mut command, format!("{password}\n").as_bytes())
}

fn with_input(command: &mut Command, input: &[u8]) -> Option<Vec<u8>> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    output.status.success().then_some(output.stdout)
}

#[test]
fn a_wrong_passphrase_is_refused_and_the_right_one_still_opens() {
    let directory = private_directory();
    sealed(directory.path(), PASSPHRASE).create(&name("root"), KeyAlgorithm::EcdsaP384).unwrap();
    let wrong = sealed(directory.path(), "wrong horse battery");
    let refused = wrong.open(&name("root")).unwrap_err();
    assert!(matches!(refused, KeyError::WrongPassphrase(_)), "{refused}");
    assert!(refused.to_string().starts_with("wrong passphrase for /"), "{refused}");
    // Nor may it seal a second key, which nobody could open along with the first.
    let refused = wrong.create(&name("second"), KeyAlgorithm::EcdsaP256).unwrap_err();
    assert!(matches!(refused, KeyError::WrongPassphrase(_)), "{refused}");
    assert_eq!(files(directory.path()), ["root.key"]);
    assert_eq!(wrong.list().unwrap().len(), 1, "names and public keys are no secret");
    sealed(directory.path(), PASSPHRASE).open(&name("root")).unwrap();
}

#[test]
fn weak_passphrases_seal_nothing() {
    let directory = private_directory();
    let refused = sealed(directory.path(), "12345678").create(&name("root"), KeyAlgorithm::EcdsaP256).unwrap_err();
    assert!(matches!(refused, KeyError::WeakPassphrase { .. }), "{refused}");
    assert!(files(directory.path()).is_empty());
}

#[test]
fn a_custody_opens_only_files_of_its_own_protection() {
    let directory = private_directory();
    let unsealed = FileCustody::unsealed(directory.path()).unwrap();
    unsealed.create(&name("root"), KeyAlgorithm::EcdsaP256).unwrap();
    let refused = sealed(directory.path(), PASSPHRASE).open(&name("root")).unwrap_err();
    assert!(matches!(refused, KeyError::NotSealed(_)), "{refused}");
    unsealed.change_protection(Some((passphrase(PASSPHRASE), Kdf::Scrypt))).unwrap();
    let refused = unsealed.open(&name("root")).unwrap_err();
    assert!(matches!(refused, KeyError::PassphraseNeeded(_)), "{refused}");
}

#[test]
fn protection_changes_and_the_keys_stay() {
    const NEXT: &str = "another good phrase";
    let directory = private_directory();
    let path = directory.path();
    let unsealed = FileCustody::unsealed(path).unwrap();
    let root = unsealed.create(&name("root"), KeyAlgorithm::EcdsaP384).unwrap();
    let ledger = unsealed.create(&name("ledger"), KeyAlgorithm::Ed25519).unwrap();
    // As a crash in the middle of writing leaves it.
    fs::write(path.join(".abc.new"), fs::read(path.join("root.key")).unwrap()).unwrap();

    let weak = unsealed.change_protection(Some((passphrase("short"), Kdf::Scrypt))).unwrap_err();
    assert!(matches!(weak, KeyError::WeakPassphrase { .. }), "{weak}");
    let first = unsealed.change_protection(Some((passphrase(PASSPHRASE), Kdf::Scrypt))).unwrap();
    assert_eq!(first.protection(), Protection::SealedFile);
    assert_eq!(files(path), ["ledger.key", "root.key"], "no draft stays behind");
    assert_eq!(first.open(&name("root")).unwrap().public(), root.public());

    let second = first.change_protection(Some((passphrase(NEXT), Kdf::Pbkdf2))).unwrap();
    assert_eq!(second.open(&name("ledger")).unwrap().public(), ledger.public());
    assert!(matches!(first.open(&name("root")), Err(KeyError::WrongPassphrase(_))));
    let stranger = sealed(path, "wrong horse battery");
    let refused = stranger.change_protection(Some((passphrase(PASSPHRASE), Kdf::Scrypt))).unwrap_err();
    assert!(matches!(refused, KeyError::WrongPassphrase(_)), "{refused}");
    second.open(&name("root")).unwrap();

    let back = second.change_protection(None).unwrap();
    assert_eq!(back.protection(), Protection::FilePermissions);
    assert_eq!(back.open(&name("root")).unwrap().public(), root.public());
}

/// Cut after the first of two files was replaced: the same call completes it.
#[test]
fn an_interrupted_change_is_completed_by_another_try() {
    const NEXT: &str = "another good phrase";
    let directory = private_directory();
    let path = directory.path();
    let before = sealed(path, PASSPHRASE);
    let keys = ["a", "b"].map(|label| before.create(&name(label), KeyAlgorithm::EcdsaP256).unwrap());
    let old = fs::read(path.join("b.key")).unwrap();
    let change = || before.change_protection(Some((passphrase(NEXT), Kdf::Scrypt)));
    change().unwrap();
    fs::write(path.join("b.key"), old).unwrap();
    let after = change().unwrap();
    for (label, key) in ["a", "b"].into_iter().zip(keys) {
        assert_eq!(after.open(&name(label)).unwrap().public(), key.public());
    }
}

#[test]
fn files_that_others_can_read_are_refused() {
    let directory = private_directory();
    let custody = FileCustody::unsealed(directory.path()).unwrap();
    custody.create(&name("root"), KeyAlgorithm::EcdsaP256).unwrap();
    let file = directory.path().join("root.key");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(custody.open(&name("root")), Err(KeyError::TooOpen { mode: 0o640, .. })));
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(FileCustody::unsealed(directory.path()), Err(KeyError::TooOpen { mode: 0o755, .. })));
}

#[test]
fn garbage_is_damage_and_never_a_wrong_passphrase() {
    let directory = private_directory();
    let custody = sealed(directory.path(), PASSPHRASE);
    let file = directory.path().join("root.key");
    let long = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n".repeat(10_000);
    for garbage in [b"".as_slice(), b"\xff\xfe\x00", b"ENCRYPTED PRIVATE KEY", long.as_bytes()] {
        fs::write(&file, garbage).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        for error in [custody.open(&name("root")).unwrap_err(), custody.list().unwrap_err()] {
            assert!(matches!(error, KeyError::Damaged { .. }), "{error}");
        }
    }
}

/// Keys that openssl makes can be brought in: unsealed first, then sealed.
#[test]
fn a_key_made_by_openssl_can_be_brought_in() {
    let directory = private_directory();
    let custody = FileCustody::unsealed(directory.path()).unwrap();
    for (label, arguments) in [
        ("p256", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"].as_slice()),
        ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("ed25519", &["-algorithm", "ED25519"]),
    ] {
        let file = directory.path().join(format!("{label}.key"));
        run(Command::new("openssl").arg("genpkey").args(arguments).arg("-out").arg(&file));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        custody.open(&name(label)).unwrap();
    }
    let sealed = custody.change_protection(Some((passphrase(PASSPHRASE), Kdf::Scrypt))).unwrap();
    assert_eq!(sealed.list().unwrap().len(), 3);
    // A kind that is not in use.
    let file = directory.path().join("rsa.key");
    run(Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-out"]).arg(&file));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(custody.open(&name("rsa")), Err(KeyError::Damaged { .. })));
}

#[test]
fn names_stay_in_their_directory() {
    for bad in ["", ".hidden", "../up", "a/b", "Upper", "sp ace", "a\0", &"x".repeat(65), "-x"] {
        assert!(bad.parse::<portreeve_keys::KeyName>().is_err(), "{bad:?}");
    }
    for good in ["root", "devices-2025.11", "0", &"x".repeat(64)] {
        assert_eq!(name(good).as_str(), good);
    }
}

#[test]
fn a_copy_is_protected_as_its_original() {
    let (here, there) = (private_directory(), private_directory());
    let custody = sealed(here.path(), PASSPHRASE);
    let key = custody.create(&name("root"), KeyAlgorithm::EcdsaP384).unwrap();
    let copy = custody.copy_to(&name("root"), there.path()).unwrap();
    assert_eq!(copy.open(&name("root")).unwrap().public(), key.public());
    assert_eq!(mode(&there.path().join("root.key")), 0o600);
    let without = FileCustody::unsealed(there.path()).unwrap().open(&name("root")).unwrap_err();
    assert!(matches!(without, KeyError::PassphraseNeeded(_)), "{without}");
    let again = custody.copy_to(&name("root"), there.path()).unwrap_err();
    assert!(matches!(again, KeyError::Exists { .. }), "{again}");
    let absent = custody.copy_to(&name("absent"), there.path()).unwrap_err();
    assert!(matches!(absent, KeyError::Missing { .. }), "{absent}");
}
