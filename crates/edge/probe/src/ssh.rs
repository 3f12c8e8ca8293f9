//! SSH servers: the banner, what they offer for the key exchange, and with what one may log in.

use std::sync::Arc;

use portreeve_assurance::evidence::{
    Seen, printable,
    ssh::{SshAlgorithms, SshScan},
};
use russh::{
    MethodKind, MethodSet, Preferred, cipher,
    client::{AuthResult, Config, Handler, connect_stream},
    kex,
    keys::PublicKeyOrCertificate,
    mac,
};

use crate::{
    dial::{Dialer, Gap, Received},
    wire::{Malformed, Reader},
};

/// Longest line before the banner, and lines (RFC 4253 section 4.2 allows any number).
const LINE_BYTES_MAX: usize = 1024;
const LINES_MAX: usize = 50;
/// Longest packet that every implementation takes (RFC 4253 section 6.1).
const PACKET_BYTES_MAX: usize = 35_000;
/// Names of one list.
const NAMES_MAX: usize = 100;

/// Names that a user name has and nobody bears: servers list their methods all the same (RFC 4252 section 5.1).
const NOBODY: &str = "portreeve-probe";
/// Methods that are kept.
const METHODS_MAX: usize = 10;

/// What the client speaks: also what is too weak to rely on, as old devices speak nothing else.
const KEY_EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::DH_G14_SHA1,
    kex::DH_G1_SHA1,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];
const CIPHERS: &[cipher::Name] = &[
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_GCM,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
    cipher::AES_256_CBC,
    cipher::AES_128_CBC,
];
const MACS: &[mac::Name] =
    &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512, mac::HMAC_SHA1];

/// Connects once to look, and once to ask how one may log in.
pub async fn scan(dialer: &Dialer) -> SshScan {
    let mut banner = Seen::NotTried;
    let algorithms = match look(dialer, &mut banner).await {
        Ok(algorithms) => Seen::Known(algorithms),
        Err(gap) => Seen::Unknown(gap.to_string()),
    };
    if banner == Seen::NotTried {
        banner = Seen::Unknown(algorithms.gap().unwrap_or("no banner").to_owned());
    }
    let methods = match log_in(dialer, NOBODY, None).await {
        Ok(Said::LetIn) => Seen::Known(Vec::new()),
        Ok(Said::Refused(methods)) if methods.is_empty() => Seen::Unknown("it names no method".into()),
        Ok(Said::Refused(methods)) => Seen::Known(methods),
        Err(gap) => Seen::Unknown(gap.to_string()),
    };
    SshScan { banner, algorithms, methods, effort: dialer.effort() }
}

/// What came of logging in.
pub(crate) enum Said {
    LetIn,
    /// With what one may log in.
    Refused(Vec<String>),
}

/// Whatever key the server has: what is sent to it is worth nothing, or made to be shown to it.
struct Anybody;

impl Handler for Anybody {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// Asks with what one may log in, and tries a password where one is taken.
pub(crate) async fn log_in(dialer: &Dialer, user: &str, secret: Option<&str>) -> Result<Said, Gap> {
    let (stream, turn) = dialer.open().await?.into_parts();
    // Its task ends with the stream, and a server that does nothing does not keep it.
    let config = Config {
        inactivity_timeout: Some(dialer.limits().connection_time),
        preferred: Preferred {
            kex: KEY_EXCHANGES.into(),
            cipher: CIPHERS.into(),
            mac: MACS.into(),
            ..Preferred::DEFAULT
        },
        ..Config::default()
    };
    let attempt = async {
        let mut session = connect_stream(Arc::new(config), stream, Anybody).await?;
        let methods = match session.authenticate_none(user).await? {
            AuthResult::Success => return Ok(Said::LetIn),
            AuthResult::Failure { remaining_methods, .. } => remaining_methods,
        };
        if let Some(secret) = secret.filter(|_| methods.contains(&MethodKind::Password))
            && session.authenticate_password(user, secret).await?.success()
        {
            return Ok(Said::LetIn);
        }
        Ok(Said::Refused(method_names(&methods)))
    };
    turn.within(attempt).await?.map_err(|error: russh::Error| Gap::odd(&error))
}

/// Whether no method of logging in has anything to type.
pub(crate) async fn takes_keys_only(dialer: &Dialer) -> Result<bool, Gap> {
    let is_typed = |method: &String| matches!(method.as_str(), "password" | "keyboard-interactive");
    match log_in(dialer, NOBODY, None).await? {
        Said::LetIn => Ok(false),
        Said::Refused(methods) => Ok(!methods.is_empty() && !methods.iter().any(is_typed)),
    }
}

fn method_names(methods: &MethodSet) -> Vec<String> {
    methods.iter().take(METHODS_MAX).map(|method| printable(<&str>::from(method).as_bytes())).collect()
}

async fn look(dialer: &Dialer, banner: &mut Seen<String>) -> Result<SshAlgorithms, Gap> {
    let mut connection = dialer.open().await?;
    let mut arrived = Vec::new();
    let mut is_answered = false;
    loop {
        if let Some(Greeting { banner: line, rest }) = find_banner(&arrived)? {
            *banner = Seen::Known(printable(line));
            if let Some(algorithms) = key_exchange(rest)? {
                return Ok(algorithms);
            }
            if !is_answered {
                connection.send(b"SSH-2.0-portreeve_probe\r\n").await?;
                is_answered = true;
            }
        }
        match connection.receive().await? {
            Received::Bytes(bytes) => arrived.extend(bytes),
            Received::End => return Err(Gap::Odd("it closed the connection".into())),
        }
    }
}

/// What a server says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting<'a> {
    /// The line that begins with `SSH-`, without its end.
    pub banner: &'a [u8],
    /// What follows it.
    pub rest: &'a [u8],
}

/// The line that begins with `SSH-`, and what follows it; `None`, if it has not come yet.
///
/// # Errors
/// [`Malformed`], if what came is no SSH.
pub fn find_banner(bytes: &[u8]) -> Result<Option<Greeting<'_>>, Malformed> {
    let mut rest = bytes;
    for _ in 0..LINES_MAX {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return if rest.len() > LINE_BYTES_MAX { Err(Malformed("not SSH")) } else { Ok(None) };
        };
        let (line, after) = rest.split_at(end);
        if line.len() > LINE_BYTES_MAX {
            return Err(Malformed("not SSH"));
        }
        if line.starts_with(b"SSH-") {
            return Ok(Some(Greeting { banner: line.strip_suffix(b"\r").unwrap_or(line), rest: &after[1..] }));
        }
        rest = &after[1..];
    }
    Err(Malformed("too many lines before the banner"))
}

/// The lists of SSH_MSG_KEXINIT, the first packet (RFC 4253 sections 6 and 7.1); `None`, if it has not come yet.
///
/// # Errors
/// [`Malformed`], if it is another packet or none.
pub fn key_exchange(bytes: &[u8]) -> Result<Option<SshAlgorithms>, Malformed> {
    if bytes.len() < 5 {
        return Ok(None);
    }
    let mut packet = Reader(bytes);
    let (length, padding) = (packet.u32()?, packet.u8()?);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > PACKET_BYTES_MAX {
        return Err(Malformed("an SSH packet of more than 35000 bytes"));
    }
    let payload_bytes = length.checked_sub(1 + usize::from(padding)).ok_or(Malformed("more padding than packet"))?;
    let Ok(payload) = packet.take(payload_bytes) else { return Ok(None) };
    let mut payload = Reader(payload);
    if payload.u8()? != 20 {
        return Err(Malformed("the first packet is not KEXINIT"));
    }
    // The cookie.
    payload.take(16)?;
    let mut list = || names(&mut payload);
    let (key_exchange, host_keys) = (list()?, list()?);
    let encryption = merged(list()?, list()?);
    let macs = merged(list()?, list()?);
    let compression = merged(list()?, list()?);
    Ok(Some(SshAlgorithms { key_exchange, host_keys, encryption, macs, compression }))
}

fn names(payload: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    let length = payload.u32()?;
    let list = payload.take(usize::try_from(length).unwrap_or(usize::MAX))?;
    let names = list.split(|byte| *byte == b',').filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(printable).collect();
    if names.len() > NAMES_MAX { Err(Malformed("a list of too many names")) } else { Ok(names) }
}

fn merged(mut one: Vec<String>, other: Vec<String>) -> Vec<String> {
    for name in other {
        if !one.contains(&name) {
            one.push(name);
        }
    }
    one
}
