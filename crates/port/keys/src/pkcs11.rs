use std::{path::Path, sync::Arc};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11},
    error::{Error, RvError},
    mechanism::{
        Mechanism, MechanismType,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, SessionState, UserType},
    slot::Slot,
    types::AuthPin,
};
use parking_lot::Mutex;
use pkcs8::der::{Decode as _, asn1::OctetStringRef};

use crate::{
    Custody, KeyAlgorithm, KeyError, KeyFacts, KeyName, Passphrase, Protection, PublicKey, SigningKey,
    public::ecdsa_signature,
};

/// `id-edwards25519`'s printable name, which PKCS #11 3.0 allows beside the object identifier of RFC 8410.
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";
const ED25519_OID: &[u8] = b"\x06\x03\x2b\x65\x70";
const P256_OID: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384_OID: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";
/// Of the random id that joins the two halves of a key.
const ID_BYTES: usize = 16;

/// Keys in a PKCS #11 token, called by their labels: made there, sensitive, not extractable.
///
/// One session, used by one caller at a time, serves all keys. It is opened anew when the token was away.
#[derive(Debug)]
pub struct Pkcs11Custody {
    token: Arc<Token>,
}

impl Pkcs11Custody {
    /// Loads a vendor's module and logs in to the token with this label.
    ///
    /// The module becomes part of this process: name only one that you trust. A token that says that it locks at the
    /// next wrong PIN is left alone, so that a service that restarts again and again cannot lock it.
    ///
    /// # Errors
    /// [`KeyError::Device`] for a module or token that is not there, [`KeyError::WrongPassphrase`],
    /// [`KeyError::Locked`].
    pub fn open(module: &Path, token_label: &str, pin: Passphrase) -> Result<Self, KeyError> {
        let device = module.display().to_string();
        let failed = |reason: &str| KeyError::Device { device: device.clone(), reason: reason.to_owned() };
        // A bare name would be looked for in directories that the environment may name.
        if !module.is_absolute() {
            return Err(failed("give the absolute path of the PKCS #11 module"));
        }
        if !module.is_file() {
            return Err(failed(
                "there is no such file; give the PKCS #11 module of the token's vendor, a .so file such as /usr/lib/softhsm/libsofthsm2.so",
            ));
        }
        let library = Pkcs11::new(module).map_err(|error| failed(&format!("it is no PKCS #11 module: {error}")))?;
        let token = Token {
            library,
            label: token_label.to_owned(),
            place: format!("token {token_label:?} of {device}"),
            pin,
            state: Mutex::default(),
        };
        token.run(|_, _| Ok(()))?;
        Ok(Self { token: Arc::new(token) })
    }
}

#[derive(Debug)]
struct Token {
    library: Pkcs11,
    label: String,
    /// For messages.
    place: String,
    pin: Passphrase,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    /// Counts sessions: an object's handle is good in one of them only.
    generation: u64,
    /// The token has refused the PIN; every further attempt would bring it nearer to being locked.
    pin_is_refused: bool,
}

/// What went wrong in the course of an action.
enum Fault {
    Token(Error),
    Key(KeyError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

impl From<KeyError> for Fault {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl Token {
    /// Does something in a session that is logged in, and once more in a new one if the session turns out to be lost.
    fn run<T>(&self, action: impl Fn(&Session, u64) -> Result<T, Fault>) -> Result<T, KeyError> {
        let mut state = self.state.lock();
        let mut is_retry = false;
        loop {
            let session = match state.session.take().filter(is_logged_in) {
                Some(session) => session,
                None => self.log_in(&mut state)?,
            };
            match action(&session, state.generation) {
                Err(Fault::Token(error)) if !is_retry && is_loss(&error) => is_retry = true,
                done => {
                    state.session = Some(session);
                    return done.map_err(|fault| match fault {
                        Fault::Key(error) => error,
                        Fault::Token(error) => self.device_error(&error),
                    });
                }
            }
        }
    }

    fn log_in(&self, state: &mut State) -> Result<Session, KeyError> {
        let wrong_pin = || KeyError::WrongPassphrase(self.place.clone());
        if state.pin_is_refused {
            return Err(wrong_pin());
        }
        match self.library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(self.device_error(&error)),
        }
        let slot = self.find_slot()?;
        let session = self.library.open_rw_session(slot).map_err(|error| self.device_error(&error))?;
        match session.login(UserType::User, Some(&AuthPin::from(self.pin.expose_text()))) {
            // The login is the whole process's; another custody of this token may have done it.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                state.pin_is_refused = true;
                return Err(wrong_pin());
            }
            Err(error) => return Err(self.device_error(&error)),
        }
        state.generation += 1;
        Ok(session)
    }

    fn find_slot(&self) -> Result<Slot, KeyError> {
        let failed = |error: Error| self.device_error(&error);
        let mut others = Vec::new();
        let mut found = None;
        for slot in self.library.get_slots_with_initialized_token().map_err(failed)? {
            let info = self.library.get_token_info(slot).map_err(failed)?;
            if info.label() != self.label {
                others.push(format!("{:?}", info.label()));
                continue;
            }
            if info.user_pin_locked() {
                return Err(KeyError::Locked(self.place.clone()));
            }
            if info.user_pin_final_try() {
                return Err(self.error("a single attempt is left before it locks; log in by its vendor's tool first"));
            }
            if found.replace(slot).is_some() {
                return Err(self.error("two tokens have this label"));
            }
        }
        found.ok_or_else(|| match others.is_empty() {
            true => self.error("there is no token; is it plugged in and initialised?"),
            false => self.error(&format!("there is no such token, but {}", others.join(", "))),
        })
    }

    fn error(&self, reason: &str) -> KeyError {
        KeyError::Device { device: self.place.clone(), reason: reason.to_owned() }
    }

    fn device_error(&self, error: &Error) -> KeyError {
        match error {
            Error::Pkcs11(RvError::PinLocked, _) => KeyError::Locked(self.place.clone()),
            Error::Pkcs11(code, function) => self.error(&format!("{} says {code:?}", Function::to_string(function))),
            other => self.error(&other.to_string()),
        }
    }

    /// The one private key of this name.
    fn find(&self, session: &Session, name: &KeyName) -> Result<ObjectHandle, Fault> {
        self.find_one(session, name, ObjectClass::PRIVATE_KEY)?
            .ok_or_else(|| KeyError::Missing { name: name.clone(), place: self.place.clone() }.into())
    }

    fn find_one(&self, session: &Session, name: &KeyName, class: ObjectClass) -> Result<Option<ObjectHandle>, Fault> {
        let found = session.find_objects(&half_of(name, class))?;
        if found.len() > 1 {
            return Err(self.error(&format!("it has {} keys called {name}", found.len())).into());
        }
        Ok(found.first().copied())
    }

    fn public(&self, session: &Session, name: &KeyName) -> Result<PublicKey, Fault> {
        let object = self.find_one(session, name, ObjectClass::PUBLIC_KEY)?;
        let object = object.ok_or_else(|| self.error(&format!("the public half of {name} is missing")))?;
        let attributes = session.get_attributes(object, &[AttributeType::EcParams, AttributeType::EcPoint])?;
        let public = match attributes.as_slice() {
            [Attribute::EcParams(curve), Attribute::EcPoint(point)] => public_key(curve, point),
            _ => None,
        };
        public.ok_or_else(|| self.unsupported(name, "a kind of key that is not in use here").into())
    }

    /// A key that was put into the token by other means may be less well kept than its place suggests.
    fn check_kept(&self, session: &Session, key: ObjectHandle, name: &KeyName) -> Result<(), Fault> {
        let wanted = [AttributeType::Sensitive, AttributeType::Extractable];
        let attributes = session.get_attributes(key, &wanted)?;
        if attributes != [Attribute::Sensitive(true), Attribute::Extractable(false)] {
            return Err(self.error(&format!("{name} may be extracted from it; make the key in the token")).into());
        }
        Ok(())
    }

    fn unsupported(&self, name: &KeyName, what: &str) -> KeyError {
        KeyError::Unsupported { place: self.place.clone(), what: format!("{what} ({name})") }
    }

    fn generate(&self, session: &Session, name: &KeyName, algorithm: KeyAlgorithm) -> Result<(), Fault> {
        let slot = self.find_slot()?;
        let (mechanism, curve, kind) = match algorithm {
            KeyAlgorithm::EcdsaP256 => (Mechanism::EccKeyPairGen, P256_OID, MechanismType::ECC_KEY_PAIR_GEN),
            KeyAlgorithm::EcdsaP384 => (Mechanism::EccKeyPairGen, P384_OID, MechanismType::ECC_KEY_PAIR_GEN),
            KeyAlgorithm::Ed25519 => {
                (Mechanism::EccEdwardsKeyPairGen, ED25519_OID, MechanismType::ECC_EDWARDS_KEY_PAIR_GEN)
            }
        };
        if !self.library.get_mechanism_list(slot)?.contains(&kind) {
            return Err(KeyError::unsupported(&self.place, algorithm).into());
        }
        let mut id = vec![0; ID_BYTES];
        aws_lc_rs::rand::fill(&mut id).map_err(KeyError::from)?;
        let common = [Attribute::Token(true), Attribute::Label(name.as_str().into()), Attribute::Id(id)];
        let public = [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(curve.to_vec())];
        let private = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        let with_common = |own: &[Attribute]| [common.as_slice(), own].concat();
        match session.generate_key_pair(&mechanism, &with_common(&public), &with_common(&private)) {
            Ok(_) => Ok(()),
            Err(Error::Pkcs11(RvError::CurveNotSupported, _)) => {
                Err(KeyError::unsupported(&self.place, algorithm).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open(self: &Arc<Self>, name: &KeyName) -> Result<Arc<dyn SigningKey>, KeyError> {
        let public = self.run(|session, _| {
            let private = self.find(session, name)?;
            self.check_kept(session, private, name)?;
            self.public(session, name)
        })?;
        Ok(Arc::new(Pkcs11Key { token: Arc::clone(self), name: name.clone(), public, handle: Mutex::default() }))
    }
}

impl Custody for Pkcs11Custody {
    fn protection(&self) -> Protection {
        Protection::Pkcs11
    }

    fn create(&self, name: &KeyName, algorithm: KeyAlgorithm) -> Result<Arc<dyn SigningKey>, KeyError> {
        let token = &self.token;
        token.run(|session, _| {
            if !session.find_objects(&half_of(name, ObjectClass::PRIVATE_KEY))?.is_empty() {
                return Err(KeyError::Exists { name: name.clone(), place: token.place.clone() }.into());
            }
            token.generate(session, name, algorithm)
        })?;
        token.open(name)
    }

    fn open(&self, name: &KeyName) -> Result<Arc<dyn SigningKey>, KeyError> {
        self.token.open(name)
    }

    /// Only keys of the kinds and with the names that are in use here: a token may hold keys of other programs.
    fn list(&self) -> Result<Vec<KeyFacts>, KeyError> {
        let token = &self.token;
        token.run(|session, _| {
            let mut list = Vec::new();
            for kind in [KeyType::EC, KeyType::EC_EDWARDS] {
                let template =
                    [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true), Attribute::KeyType(kind)];
                for key in session.find_objects(&template)? {
                    let Some(name) = name_of(session, key)? else { continue };
                    match token.public(session, &name) {
                        Ok(public) => list.push(KeyFacts { name, public }),
                        Err(Fault::Key(KeyError::Unsupported { .. })) => {}
                        Err(other) => return Err(other),
                    }
                }
            }
            list.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(list)
        })
    }

    fn destroy(&self, name: &KeyName) -> Result<(), KeyError> {
        let token = &self.token;
        token.run(|session, _| {
            let private = token.find(session, name)?;
            // The public half first: without it the key is found, and can be destroyed by trying again.
            if let Some(public) = token.find_one(session, name, ObjectClass::PUBLIC_KEY)? {
                session.destroy_object(public)?;
            }
            session.destroy_object(private)?;
            Ok(())
        })
    }
}

#[derive(Debug)]
struct Pkcs11Key {
    token: Arc<Token>,
    name: KeyName,
    public: PublicKey,
    /// Where the key was found, and in which session.
    handle: Mutex<Option<(u64, ObjectHandle)>>,
}

impl Pkcs11Key {
    fn locate(&self, session: &Session, generation: u64) -> Result<ObjectHandle, Fault> {
        let mut known = self.handle.lock();
        if let Some((_, handle)) = known.filter(|(when, _)| *when == generation) {
            return Ok(handle);
        }
        let handle = self.token.find(session, &self.name)?;
        *known = Some((generation, handle));
        Ok(handle)
    }
}

impl SigningKey for Pkcs11Key {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let digest = self.public.algorithm().digest(message);
        let raw = self.token.run(|session, generation| {
            let key = self.locate(session, generation)?;
            // The digest is made here, since every token has the plain mechanism and not each those with a digest.
            Ok(match &digest {
                Some(digest) => session.sign(&Mechanism::Ecdsa, key, digest.as_ref())?,
                None => {
                    let pure = EddsaParams::new(EddsaSignatureScheme::Ed25519);
                    session.sign(&Mechanism::Eddsa(pure), key, message)?
                }
            })
        })?;
        let signature = match digest {
            None => raw,
            // The two numbers side by side, each half of the whole (PKCS #11 3.0 §2.3.1).
            Some(_) => {
                let (r, s) = raw.split_at(raw.len() / 2);
                ecdsa_signature(r, s).ok_or_else(|| self.token.error("made no signature"))?
            }
        };
        self.public.checked(&self.token.place, message, signature)
    }
}

fn half_of(name: &KeyName, class: ObjectClass) -> [Attribute; 3] {
    [Attribute::Class(class), Attribute::Token(true), Attribute::Label(name.as_str().into())]
}

fn name_of(session: &Session, object: ObjectHandle) -> Result<Option<KeyName>, Fault> {
    let attributes = session.get_attributes(object, &[AttributeType::Label])?;
    Ok(attributes.first().and_then(|attribute| match attribute {
        Attribute::Label(label) => std::str::from_utf8(label).ok()?.parse().ok(),
        _ => None,
    }))
}

/// Reads `CKA_EC_PARAMS` and `CKA_EC_POINT`.
fn public_key(curve: &[u8], point: &[u8]) -> Option<PublicKey> {
    let algorithm = match curve {
        P256_OID => KeyAlgorithm::EcdsaP256,
        P384_OID => KeyAlgorithm::EcdsaP384,
        ED25519_OID | ED25519_NAME => KeyAlgorithm::Ed25519,
        _ => return None,
    };
    // The point is wrapped into an OCTET STRING by most tokens, and bare in some.
    let bare = OctetStringRef::from_der(point).map_or(point, |wrapped| wrapped.as_bytes());
    PublicKey::from_raw(algorithm, bare)
}

fn is_logged_in(session: &Session) -> bool {
    session.get_session_info().is_ok_and(|info| info.session_state() == SessionState::RwUser)
}

/// Whether a new session may help: the token was pulled, restarted, or logged out from elsewhere.
fn is_loss(error: &Error) -> bool {
    let Error::Pkcs11(code, _) = error else { return false };
    matches!(
        code,
        RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::UserNotLoggedIn
            | RvError::TokenNotPresent
            | RvError::DeviceRemoved
            | RvError::DeviceError
            | RvError::CryptokiNotInitialized
            | RvError::ObjectHandleInvalid
            | RvError::KeyHandleInvalid
    )
}
