//! Server flights made by hand, for what no TLS library does any more: old versions and weak suites (RFC 4346, RFC 5246).
//!
//! Such a handshake never ends: a client that sends its part of the key has accepted everything that it could look at.

use aws_lc_rs::{agreement, rand};
use portreeve_assurance::evidence::{Code, rogue::Face};
use rcgen::SigningKey as _;
use rustls_pki_types::CertificateDer;

use super::{
    RogueError,
    mint::{Kind, Mint, sign_sha1},
};
use crate::{
    tls::{
        client::ClientHello,
        hello::{RENEGOTIATION_SCSV, extension},
    },
    wire::{put_u16s, sized},
};

const TLS_1_0: u16 = 0x0301;
const TLS_1_1: u16 = 0x0302;
const TLS_1_2: u16 = 0x0303;
const SECP256R1: u16 = 0x0017;
const ECDSA_SECP256R1_SHA256: u16 = 0x0403;
const ECDSA_SHA1: u16 = 0x0203;

/// What the client's part of the key is made of, and so what the server has to say before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    /// The client encrypts to the certificate's key.
    Rsa,
    /// Both sides have a point, and the certificate's key signs the server's.
    EcdheEcdsa,
    /// The same, without a certificate.
    EcdhAnon,
}

/// Suites that protect nothing, worst first: no encryption, export, DES, RC4, three keys of DES, no authentication.
const WEAK: &[(Exchange, u16)] = &[
    (Exchange::Rsa, 0x0002),
    (Exchange::Rsa, 0x0001),
    (Exchange::Rsa, 0x003b),
    (Exchange::EcdheEcdsa, 0xc006),
    (Exchange::Rsa, 0x0003),
    (Exchange::Rsa, 0x0006),
    (Exchange::Rsa, 0x0008),
    (Exchange::EcdhAnon, 0xc015),
    (Exchange::EcdhAnon, 0xc016),
    (Exchange::EcdhAnon, 0xc017),
    (Exchange::EcdhAnon, 0xc018),
    (Exchange::EcdhAnon, 0xc019),
    (Exchange::Rsa, 0x0009),
    (Exchange::Rsa, 0x0005),
    (Exchange::Rsa, 0x0004),
    (Exchange::EcdheEcdsa, 0xc007),
    (Exchange::Rsa, 0x000a),
    (Exchange::EcdheEcdsa, 0xc008),
];
/// Weak as well, but with a key exchange that is not made here.
const WEAK_UNTRIED: &[u16] = &[
    0x000b, 0x000c, 0x000d, 0x000e, 0x000f, 0x0010, 0x0011, 0x0012, 0x0013, 0x0014, 0x0015, 0x0016, 0x0017, 0x0018,
    0x0019, 0x001a, 0x001b, 0x0034, 0x003a, 0x006c, 0x006d, 0x00a6, 0x00a7, 0xc010, 0xc011, 0xc012,
];
/// Without forward secrecy, but with sound ciphers.
const STATIC_RSA: &[(Exchange, u16)] = &[
    (Exchange::Rsa, 0x009c),
    (Exchange::Rsa, 0x009d),
    (Exchange::Rsa, 0x002f),
    (Exchange::Rsa, 0x0035),
    (Exchange::Rsa, 0x003c),
    (Exchange::Rsa, 0x003d),
    (Exchange::Rsa, 0xc09c),
    (Exchange::Rsa, 0xc09d),
    (Exchange::Rsa, 0xc0a0),
    (Exchange::Rsa, 0xc0a1),
];
/// Suites that TLS 1.1 has too.
const OLD: &[(Exchange, u16)] = &[
    (Exchange::Rsa, 0x002f),
    (Exchange::Rsa, 0x0035),
    (Exchange::EcdheEcdsa, 0xc009),
    (Exchange::EcdheEcdsa, 0xc00a),
    (Exchange::Rsa, 0x000a),
    (Exchange::Rsa, 0x0005),
];
/// The same with a key exchange that is not made here.
const OLD_UNTRIED: &[u16] = &[0xc013, 0xc014, 0x0033, 0x0039, 0xc012, 0x0016];
/// Signature schemes of RSA keys, by which a client would take a weak one.
const RSA_SCHEMES: &[u16] = &[0x0101, 0x0201, 0x0301, 0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806];

/// What is chosen for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    version: u16,
    suite: u16,
    exchange: Exchange,
}

/// Why nothing can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoChoice {
    NotOffered(&'static str),
    NotTried(&'static str),
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version = match self.version {
            TLS_1_0 => "TLS 1.0",
            TLS_1_1 => "TLS 1.1",
            _ => "TLS 1.2",
        };
        write!(f, "{version}, {}", Code::suite(self.suite).name)
    }
}

/// Chooses what a face is about, out of what the client offers.
pub(super) fn choose(face: Face, hello: &ClientHello) -> Result<Choice, NoChoice> {
    use NoChoice::{NotOffered, NotTried};
    let offers_any = |suites: &[u16]| hello.suites.iter().any(|suite| suites.contains(suite));
    let find = |table: &[(Exchange, u16)]| {
        let is_possible = |(exchange, suite): &&(Exchange, u16)| {
            hello.suites.contains(suite) && (*exchange == Exchange::Rsa || hello.groups.contains(&SECP256R1))
        };
        table.iter().find(is_possible).copied()
    };
    let (found, untried, lacks, version) = match face {
        Face::OldVersion => (find(OLD), OLD_UNTRIED, "no suite of TLS 1.1 is offered", old_version(hello)),
        Face::WeakSuite => (find(WEAK), WEAK_UNTRIED, "no weak suite is offered", TLS_1_2),
        Face::WeakKey => (find(STATIC_RSA), &[][..], "keys of RSA are not taken", TLS_1_2),
        _ => (find(STATIC_RSA), &[][..], "no suite without forward secrecy is offered", TLS_1_2),
    };
    let takes_rsa = hello.signatures.iter().any(|scheme| RSA_SCHEMES.contains(scheme));
    match found {
        Some((exchange, suite)) => Ok(Choice { version, suite, exchange }),
        None if offers_any(untried) => Err(NotTried("the suites offered have a key exchange that is not made here")),
        None if face == Face::WeakKey && takes_rsa => {
            Err(NotTried("RSA key exchange is not offered, with which alone a weak key is shown here"))
        }
        None => Err(NotOffered(lacks)),
    }
}

/// The newest of the old versions that the client lists, if it lists any.
fn old_version(hello: &ClientHello) -> u16 {
    let lists = |version| hello.versions.contains(&version);
    let is_limited = hello.versions.is_empty() && hello.legacy_version < TLS_1_1;
    if is_limited || (lists(TLS_1_0) && !lists(TLS_1_1)) { TLS_1_0 } else { TLS_1_1 }
}

impl Choice {
    /// Which key the certificate has to have; none, where there is no certificate.
    const fn kind(self) -> Option<Kind> {
        match self.exchange {
            Exchange::Rsa => Some(Kind::Rsa),
            Exchange::EcdheEcdsa => Some(Kind::Ec),
            Exchange::EcdhAnon => None,
        }
    }

    /// The flight, up to where the server waits for the client.
    pub(super) fn flight(self, face: Face, hello: &ClientHello, mint: &Mint) -> Result<Vec<u8>, RogueError> {
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| RogueError::Crypto)?;
        let chain = self.kind().map(|kind| mint.chain(face, kind)).transpose()?;
        let key_exchange = match self.exchange {
            Exchange::Rsa => None,
            exchange => Some(self.key_exchange(exchange, hello, &random, mint)?),
        };
        let mut out = Vec::new();
        self.put(&mut out, 2, |out| self.put_hello(out, hello, &random));
        if let Some(chain) = chain {
            self.put(&mut out, 11, |out| put_chain(out, &chain));
        }
        if let Some(body) = key_exchange {
            self.put(&mut out, 12, |out| out.extend(body));
        }
        self.put(&mut out, 14, |_| {});
        Ok(out)
    }

    /// A message in a record of its own. Chains are shorter than a record.
    fn put(self, out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
        out.push(22);
        put_u16s(out, &[self.version]);
        sized::<2>(out, |out| {
            out.push(kind);
            sized::<3>(out, body);
        });
    }

    fn put_hello(self, out: &mut Vec<u8>, hello: &ClientHello, random: &[u8; 32]) {
        put_u16s(out, &[self.version]);
        out.extend(random);
        out.push(0);
        put_u16s(out, &[self.suite]);
        out.push(0);
        sized::<2>(out, |out| {
            // RFC 5746 section 3.6: a client that asks for this refuses servers without it.
            if hello.has(extension::RENEGOTIATION_INFO) || hello.suites.contains(&RENEGOTIATION_SCSV) {
                put_u16s(out, &[extension::RENEGOTIATION_INFO, 1]);
                out.push(0);
            }
            if hello.has(extension::EXTENDED_MASTER_SECRET) {
                put_u16s(out, &[extension::EXTENDED_MASTER_SECRET, 0]);
            }
        });
    }

    /// ServerKeyExchange with a point (RFC 8422 section 5.4).
    fn key_exchange(
        self,
        exchange: Exchange,
        hello: &ClientHello,
        random: &[u8; 32],
        mint: &Mint,
    ) -> Result<Vec<u8>, RogueError> {
        let crypto = |_| RogueError::Crypto;
        let private = agreement::PrivateKey::generate(&agreement::ECDH_P256).map_err(crypto)?;
        let public = private.compute_public_key().map_err(crypto)?;
        let mut body = vec![3];
        put_u16s(&mut body, &[SECP256R1]);
        sized::<1>(&mut body, |out| out.extend(public.as_ref()));
        if exchange == Exchange::EcdhAnon {
            return Ok(body);
        }
        let (key, signed) = (mint.key(Kind::Ec), [&hello.random[..], random, &body].concat());
        let takes_sha256 = hello.signatures.is_empty() || hello.signatures.contains(&ECDSA_SECP256R1_SHA256);
        let signature = if self.version == TLS_1_2 && takes_sha256 {
            put_u16s(&mut body, &[ECDSA_SECP256R1_SHA256]);
            key.sign(&signed)?
        } else {
            if self.version == TLS_1_2 {
                put_u16s(&mut body, &[ECDSA_SHA1]);
            }
            sign_sha1(key, &signed)?
        };
        sized::<2>(&mut body, |out| out.extend(signature));
        Ok(body)
    }
}

fn put_chain(out: &mut Vec<u8>, chain: &[CertificateDer<'_>]) {
    sized::<3>(out, |out| {
        for certificate in chain {
            sized::<3>(out, |out| out.extend(certificate.as_ref()));
        }
    });
}
