//! Keys in a PKCS #11 token, here SoftHSM.
#![cfg(feature = "pkcs11")]
// Helpers of tests panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{conformance, name, passphrase, run};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    object::{Attribute, AttributeType, ObjectClass},
    session::{Session, UserType},
    types::AuthPin,
};
use portreeve_keys::{Custody, KeyAlgorithm, KeyError, Pkcs11Custody, Protection};

const PIN: &str = "73911";
const LABEL: &str = "hub";
/// Where SoftHSM finds its tokens: to be set before the program starts, hence a process for each test.
const CONFIGURATION: &str = "SOFTHSM2_CONF";
const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];

fn module() -> PathBuf {
    let found = MODULES.iter().map(PathBuf::from).find(|module| module.is_file());
    found.expect("SoftHSM is missing: apt-get install softhsm2, or ./test")
}

/// Runs the test in a process of its own, which has a token of its own.
fn with_token(test: &str, body: impl FnOnce()) {
    if std::env::var_os(CONFIGURATION).is_some_and(|path| Path::new(&path).ends_with(test)) {
        return body();
    }
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join(test);
    let tokens = directory.path().join("tokens");
    fs::create_dir(&tokens).unwrap();
    fs::write(&configuration, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display())).unwrap();
    let util = |arguments: &[&str]| {
        run(Command::new("softhsm2-util").args(arguments).env(CONFIGURATION, &configuration));
    };
    module();
    util(&["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "99887766"]);
    util(&["--init-token", "--free", "--label", "other", "--pin", "4711", "--so-pin", "99887766"]);
    let mut itself = Command::new(std::env::current_exe().unwrap());
    let output = itself.args([test, "--exact", "--nocapture"]).env(CONFIGURATION, &configuration).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn open() -> Pkcs11Custody {
    Pkcs11Custody::open(&module(), LABEL, passphrase(PIN)).unwrap()
}

/// What another program sees that knows the PIN.
fn session() -> Session {
    let library = Pkcs11::new(module()).unwrap();
    let _ = library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slots = library.get_slots_with_initialized_token().unwrap();
    let slot = slots.into_iter().find(|slot| library.get_token_info(*slot).unwrap().label() == LABEL).unwrap();
    let session = library.open_rw_session(slot).unwrap();
    let _ = session.login(UserType::User, Some(&AuthPin::from(PIN)));
    session
}

#[test]
fn a_token_conforms() {
    with_token("a_token_conforms", || conformance(Protection::Pkcs11, &[], &|| Box::new(open())));
}

#[test]
fn keys_cannot_be_extracted() {
    with_token("keys_cannot_be_extracted", || {
        let custody = open();
        custody.create(&name("root"), KeyAlgorithm::EcdsaP384).unwrap();
        let session = session();
        let key = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()[0];
        // The value is left out of the answer.
        let read = session.get_attributes(key, &[AttributeType::Value, AttributeType::Extractable]).unwrap();
        assert_eq!(read, [Attribute::Extractable(false)]);
        let kept = [
            AttributeType::Sensitive,
            AttributeType::AlwaysSensitive,
            AttributeType::NeverExtractable,
            AttributeType::Local,
        ];
        let expected = [
            Attribute::Sensitive(true),
            Attribute::AlwaysSensitive(true),
            Attribute::NeverExtractable(true),
            Attribute::Local(true),
        ];
        assert_eq!(session.get_attributes(key, &kept).unwrap(), expected);
        // Nor can anybody make it extractable.
        assert!(session.update_attributes(key, &[Attribute::Extractable(true)]).is_err());
    });
}

/// A key that somebody carried into the token, and could carry out again.
#[test]
fn an_extractable_key_is_refused() {
    with_token("an_extractable_key_is_refused", || {
        let custody = open();
        let session = session();
        let key = |extractable| {
            [
                Attribute::Token(true),
                Attribute::Label(b"carried".to_vec()),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(extractable),
                Attribute::Sign(true),
            ]
        };
        let public = [
            Attribute::Token(true),
            Attribute::Label(b"carried".to_vec()),
            Attribute::EcParams(b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07".to_vec()),
        ];
        let generate = |extractable| {
            session.generate_key_pair(&cryptoki::mechanism::Mechanism::EccKeyPairGen, &public, &key(extractable))
        };
        generate(true).unwrap();
        let refused = custody.open(&name("carried")).unwrap_err().to_string();
        assert!(refused.contains("may be extracted"), "{refused}");
        // Two of one name: neither is taken by chance.
        generate(false).unwrap();
        let refused = custody.open(&name("carried")).unwrap_err().to_string();
        assert!(refused.contains("2 keys called carried"), "{refused}");
    });
}

#[test]
fn a_wrong_pin_is_refused() {
    with_token("a_wrong_pin_is_refused", || {
        let refused = Pkcs11Custody::open(&module(), LABEL, passphrase("00000")).unwrap_err();
        assert!(matches!(refused, KeyError::WrongPassphrase(_)), "{refused}");
        assert_eq!(open().list().unwrap(), []);
    });
}

/// The PIN is changed while the hub runs: it is tried once and never again, for the token's counter is not ours to use up.
#[test]
fn a_refused_pin_is_not_tried_again() {
    with_token("a_refused_pin_is_not_tried_again", || {
        let custody = open();
        let key = custody.create(&name("root"), KeyAlgorithm::EcdsaP256).unwrap();
        let session = session();
        session.set_pin(&AuthPin::from(PIN), &AuthPin::from("24680")).unwrap();
        session.logout().unwrap();
        assert!(matches!(key.sign(b"message"), Err(KeyError::WrongPassphrase(_))));
        session.login(UserType::User, Some(&AuthPin::from("24680"))).unwrap();
        session.set_pin(&AuthPin::from("24680"), &AuthPin::from(PIN)).unwrap();
        session.logout().unwrap();
        assert!(
            matches!(key.sign(b"message"), Err(KeyError::WrongPassphrase(_))),
            "the right one again, but not tried"
        );
        assert!(open().open(&name("root")).unwrap().sign(b"message").is_ok());
    });
}

#[test]
fn a_lost_token_comes_back() {
    with_token("a_lost_token_comes_back", || {
        let custody = open();
        let key = custody.create(&name("root"), KeyAlgorithm::EcdsaP256).unwrap();
        let signs = || assert!(key.public().verifies(b"message", &key.sign(b"message").unwrap()));
        signs();
        // Logged out behind our back.
        session().logout().unwrap();
        signs();
        assert_eq!(custody.list().unwrap().len(), 1);
        // The module starts anew, which ends every session and forgets every handle.
        Pkcs11::new(module()).unwrap().finalize().unwrap();
        signs();
        // While the token is away, an error says so; and when it is back, all is well.
        let configuration = PathBuf::from(std::env::var_os(CONFIGURATION).unwrap());
        let (here, away) = (configuration.with_file_name("tokens"), configuration.with_file_name("away"));
        fs::rename(&here, &away).unwrap();
        fs::create_dir(&here).unwrap();
        Pkcs11::new(module()).unwrap().finalize().unwrap();
        let lost = key.sign(b"message").unwrap_err();
        assert!(matches!(lost, KeyError::Device { .. }), "{lost}");
        fs::remove_dir(&here).unwrap();
        fs::rename(&away, &here).unwrap();
        Pkcs11::new(module()).unwrap().finalize().unwrap();
        signs();
    });
}

#[test]
fn a_missing_module_or_token_is_told() {
    with_token("a_missing_module_or_token_is_told", || {
        let refused =
            |module: &Path, label| Pkcs11Custody::open(module, label, passphrase(PIN)).unwrap_err().to_string();
        let missing = refused(Path::new("/nowhere/module.so"), LABEL);
        assert!(missing.contains("/nowhere/module.so") && missing.contains("no such file"), "{missing}");
        assert!(refused(Path::new("module.so"), LABEL).contains("absolute"));
        let no_library = tempfile::NamedTempFile::new().unwrap();
        assert!(refused(no_library.path(), LABEL).contains("no PKCS #11 module"));
        // A library, but of something else.
        let foreign = std::env::current_exe().unwrap();
        assert!(refused(&foreign, LABEL).contains("no PKCS #11 module"));
        let missing = refused(&module(), "absent");
        assert!(
            missing.contains("\"absent\"") && missing.contains("\"other\"") && missing.contains("\"hub\""),
            "{missing}"
        );
    });
}

/// Keys of other programs in the same token are left out, not stumbled over.
#[test]
fn other_keys_in_the_token_are_left_alone() {
    with_token("other_keys_in_the_token_are_left_alone", || {
        let custody = open();
        let session = session();
        let secret =
            [Attribute::Token(true), Attribute::Label(b"Their AES key".to_vec()), Attribute::ValueLen(32.into())];
        session.generate_key(&cryptoki::mechanism::Mechanism::AesKeyGen, &secret).unwrap();
        let label = || Attribute::Label(b"Their EC key".to_vec());
        let curve = Attribute::EcParams(b"\x06\x05\x2b\x81\x04\x00\x23".to_vec());
        let mechanism = cryptoki::mechanism::Mechanism::EccKeyPairGen;
        let public = [Attribute::Token(true), label(), curve.clone()];
        session.generate_key_pair(&mechanism, &public, &[Attribute::Token(true), label()]).unwrap();
        // And one with a name like ours on a curve that is not.
        let ours = || Attribute::Label(b"p521".to_vec());
        let public = [Attribute::Token(true), ours(), curve];
        let private = [Attribute::Token(true), ours(), Attribute::Sensitive(true), Attribute::Extractable(false)];
        session.generate_key_pair(&mechanism, &public, &private).unwrap();
        assert_eq!(custody.list().unwrap(), []);
        assert!(matches!(custody.open(&name("p521")), Err(KeyError::Unsupported { .. })));
        custody.create(&name("root"), KeyAlgorithm::EcdsaP256).unwrap();
        assert_eq!(custody.list().unwrap().len(), 1);
    });
}
