//! What needs a look inside: certificates in the TPM's memory, and connections that stay open.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{
    wire::{Auth, Code, Writer, handle},
    *,
};

#[expect(dead_code, reason = "what other tests need of it")]
#[path = "../../tests/common/swtpm.rs"]
mod swtpm;
use swtpm::Swtpm;

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn custody(tpm: &Swtpm, directory: &Path, is_kept_open: bool) -> TpmCustody {
    let mut custody = TpmCustody::open(TpmAddress::Socket(tpm.socket()), directory, None).unwrap();
    Arc::get_mut(&mut custody.chip).unwrap().is_kept_open = is_kept_open;
    custody
}

/// As with the kernel's device: the TPM restarts and forgets the parent, and the next use finds a new connection.
#[test]
fn a_connection_that_stays_open_is_replaced_when_it_is_lost() {
    let (mut tpm, directory) = (Swtpm::start(), directory());
    let custody = custody(&tpm, directory.path(), true);
    let key = custody.create(&"root".parse().unwrap(), KeyAlgorithm::EcdsaP256).unwrap();
    let signs = || assert!(key.public().verifies(b"message", &key.sign(b"message").unwrap()));
    signs();
    assert!(custody.chip.connection.lock().is_some());
    tpm.restart();
    signs();
    // The parent is gone, the connection is not: as after a suspension.
    let mut connection = custody.chip.connection.lock();
    let open = connection.as_mut().unwrap();
    let storage = open.storage_handle();
    open.execute(Code::FlushContext, &[], &[], &storage.to_be_bytes()).unwrap_or_else(|_| panic!("flush"));
    drop(connection);
    // swtpm takes one connection at a time: the old one must be let go before the new one is served.
    signs();
    tpm.stop();
    assert!(matches!(key.sign(b"message"), Err(KeyError::Io { .. })));
    assert!(custody.chip.connection.lock().is_none());
}

/// A certificate longer than one reading, put where a manufacturer puts it.
#[test]
fn a_manufacturers_certificate_is_read_whole() {
    const INDEX: u32 = 0x01c0_000a;
    // Written by its owner, read by anybody who knows its (empty) secret, outside the dictionary protection.
    const ATTRIBUTES: u32 = 1 << 30 | 1 << 25 | 1 << 18 | 1 << 2 | 1 << 1;
    let (tpm, directory) = (Swtpm::start(), directory());
    let mut certificate: Vec<u8> = (0..1300_u16).map(|at| u8::try_from(at % 251).unwrap()).collect();
    certificate[..4].copy_from_slice(&[0x30, 0x82, 0x04, 0xb0]);
    let mut raw = Tpm::connect(&TpmAddress::Socket(tpm.socket())).unwrap();
    let area = Writer::new().u32(INDEX).u16(alg::SHA256).u32(ATTRIBUTES).sized(&[]).u16(1300).done();
    let parameters = Writer::new().sized(&[]).sized(&area).done();
    let password = [Auth::Password(&[])];
    let define = raw.execute(Code::NvDefineSpace, &[handle::PLATFORM], &password, &parameters);
    define.map(drop).unwrap();
    for (chunk, offset) in certificate.chunks(500).zip([0, 500, 1000]) {
        let parameters = Writer::new().sized(chunk).u16(offset).done();
        raw.execute(Code::NvWrite, &[INDEX, INDEX], &password, &parameters).map(drop).unwrap();
    }
    raw.close();
    let custody = custody(&tpm, directory.path(), false);
    certificate.truncate(4 + 1200);
    let read = custody.endorsement(EndorsementKind::EccP256).unwrap().certificate_der;
    assert_eq!(read, Some(certificate), "without what fills the place");
    assert_eq!(custody.endorsement(EndorsementKind::Rsa2048).unwrap().certificate_der, None);
}

/// Somebody owns this TPM already: that is told, and not taken for a wrong passphrase of ours.
#[test]
fn a_tpm_with_an_owner_is_told() {
    let (tpm, directory) = (Swtpm::start(), directory());
    let custody = custody(&tpm, directory.path(), false);
    let key = custody.create(&"root".parse().unwrap(), KeyAlgorithm::EcdsaP256).unwrap();
    let mut raw = Tpm::connect(&TpmAddress::Socket(tpm.socket())).unwrap();
    let parameters = Writer::new().sized(b"owner").done();
    raw.execute(Code::HierarchyChangeAuth, &[handle::OWNER], &[Auth::Password(&[])], &parameters).map(drop).unwrap();
    raw.close();
    let again = TpmCustody::open(TpmAddress::Socket(tpm.socket()), directory.path(), None);
    for told in [again.unwrap_err(), key.sign(b"message").unwrap_err()] {
        assert!(told.to_string().contains("owner hierarchy has a password"), "{told}");
    }
}

/// A hub that sends too much.
#[test]
fn oversized_challenges_are_refused() {
    let (tpm, directory) = (Swtpm::start(), directory());
    let custody = custody(&tpm, directory.path(), false);
    custody.create(&"root".parse().unwrap(), KeyAlgorithm::EcdsaP256).unwrap();
    for bytes in [1, 600, 5_000, 70_000] {
        let challenge = Challenge { credential: vec![1; bytes], encrypted_secret: vec![2; bytes] };
        let refused = custody.activate(&"root".parse().unwrap(), &challenge).unwrap_err();
        assert!(matches!(refused, KeyError::Damaged { .. }), "{bytes}: {refused}");
    }
}
