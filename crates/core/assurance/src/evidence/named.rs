use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::suites::SUITES;

/// A registered number and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// On the wire.
    pub code: u16,
    /// In the registry; the number in hexadecimal, if it is not in our copy of it.
    pub name: Cow<'static, str>,
}

/// What a target was found to accept, in the order in which it chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Each was chosen once.
    pub found: Vec<Code>,
    /// Why there may be more; `None`, if the target refused all that is not listed.
    pub gap: Option<String>,
}

impl Listing {
    /// Whether a code is among those found.
    #[must_use]
    pub fn has(&self, code: u16) -> bool {
        self.found.iter().any(|found| found.code == code)
    }
}

/// Groups for key exchange, by code point: IANA "TLS Supported Groups".
pub const GROUPS: &[(u16, &str)] = &[
    (0x0001, "sect163k1"),
    (0x0002, "sect163r1"),
    (0x0003, "sect163r2"),
    (0x0004, "sect193r1"),
    (0x0005, "sect193r2"),
    (0x0006, "sect233k1"),
    (0x0007, "sect233r1"),
    (0x0008, "sect239k1"),
    (0x0009, "sect283k1"),
    (0x000a, "sect283r1"),
    (0x000b, "sect409k1"),
    (0x000c, "sect409r1"),
    (0x000d, "sect571k1"),
    (0x000e, "sect571r1"),
    (0x000f, "secp160k1"),
    (0x0010, "secp160r1"),
    (0x0011, "secp160r2"),
    (0x0012, "secp192k1"),
    (0x0013, "secp192r1"),
    (0x0014, "secp224k1"),
    (0x0015, "secp224r1"),
    (0x0016, "secp256k1"),
    (0x0017, "secp256r1"),
    (0x0018, "secp384r1"),
    (0x0019, "secp521r1"),
    (0x001a, "brainpoolP256r1"),
    (0x001b, "brainpoolP384r1"),
    (0x001c, "brainpoolP512r1"),
    (0x001d, "x25519"),
    (0x001e, "x448"),
    (0x001f, "brainpoolP256r1tls13"),
    (0x0020, "brainpoolP384r1tls13"),
    (0x0021, "brainpoolP512r1tls13"),
    (0x0100, "ffdhe2048"),
    (0x0101, "ffdhe3072"),
    (0x0102, "ffdhe4096"),
    (0x0103, "ffdhe6144"),
    (0x0104, "ffdhe8192"),
    (0x0200, "MLKEM512"),
    (0x0201, "MLKEM768"),
    (0x0202, "MLKEM1024"),
    (0x11eb, "SecP256r1MLKEM768"),
    (0x11ec, "X25519MLKEM768"),
    (0x11ed, "SecP384r1MLKEM1024"),
    (0x6399, "X25519Kyber768Draft00"),
];

/// Signature schemes, by code point: IANA "TLS SignatureScheme", and the pairs of hash and signature that TLS 1.2 has beside them
/// (RFC 5246 section 7.4.1.4.1).
pub const SIGNATURES: &[(u16, &str)] = &[
    (0x0101, "rsa_pkcs1_md5"),
    (0x0201, "rsa_pkcs1_sha1"),
    (0x0202, "dsa_sha1"),
    (0x0203, "ecdsa_sha1"),
    (0x0301, "rsa_pkcs1_sha224"),
    (0x0302, "dsa_sha224"),
    (0x0303, "ecdsa_sha224"),
    (0x0401, "rsa_pkcs1_sha256"),
    (0x0402, "dsa_sha256"),
    (0x0403, "ecdsa_secp256r1_sha256"),
    (0x0501, "rsa_pkcs1_sha384"),
    (0x0502, "dsa_sha384"),
    (0x0503, "ecdsa_secp384r1_sha384"),
    (0x0601, "rsa_pkcs1_sha512"),
    (0x0602, "dsa_sha512"),
    (0x0603, "ecdsa_secp521r1_sha512"),
    (0x0804, "rsa_pss_rsae_sha256"),
    (0x0805, "rsa_pss_rsae_sha384"),
    (0x0806, "rsa_pss_rsae_sha512"),
    (0x0807, "ed25519"),
    (0x0808, "ed448"),
    (0x0809, "rsa_pss_pss_sha256"),
    (0x080a, "rsa_pss_pss_sha384"),
    (0x080b, "rsa_pss_pss_sha512"),
    (0x081a, "ecdsa_brainpoolP256r1tls13_sha256"),
    (0x081b, "ecdsa_brainpoolP384r1tls13_sha384"),
    (0x081c, "ecdsa_brainpoolP512r1tls13_sha512"),
    (0x0904, "mldsa44"),
    (0x0905, "mldsa65"),
    (0x0906, "mldsa87"),
];

/// The name of a code point in a table.
#[must_use]
pub fn code_name(table: &'static [(u16, &'static str)], code: u16) -> Code {
    let name = table.iter().find(|(known, _)| *known == code).map(|(_, name)| *name);
    Code { code, name: name.map_or_else(|| Cow::Owned(format!("{code:#06x}")), Cow::Borrowed) }
}

impl Code {
    /// A cipher suite.
    #[must_use]
    pub fn suite(code: u16) -> Self {
        code_name(SUITES, code)
    }

    /// A group.
    #[must_use]
    pub fn group(code: u16) -> Self {
        code_name(GROUPS, code)
    }

    /// A signature scheme.
    #[must_use]
    pub fn signature(code: u16) -> Self {
        code_name(SIGNATURES, code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_order_and_say_everything_once() {
        for table in [SUITES, GROUPS, SIGNATURES] {
            assert!(table.windows(2).all(|pair| pair[0].0 < pair[1].0));
            let mut names: Vec<_> = table.iter().map(|(_, name)| name).collect();
            names.sort();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        }
        assert_eq!(Code::suite(0xc02b).name, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
        assert_eq!(Code::group(0xeaea).name, "0xeaea");
    }
}
