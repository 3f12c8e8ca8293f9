//! Secrets that are known by their form.

use std::sync::LazyLock;

use portreeve_assurance::evidence::config::secrets::SecretKind;
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// Forms, and what they are called. The group `secret`, if there is one, is the secret itself.
const FORMS: [(&str, SecretKind, &str); 20] = [
    (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", SecretKind::Token, "AWS access key id"),
    (r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b", SecretKind::Token, "GitHub token"),
    (r"\bgithub_pat_[A-Za-z0-9_]{36,255}\b", SecretKind::Token, "GitHub token"),
    (r"\bglpat-[A-Za-z0-9_-]{20,64}", SecretKind::Token, "GitLab token"),
    (r"\bxox[abeprs]-[A-Za-z0-9-]{10,250}", SecretKind::Token, "Slack token"),
    (r"\bAIza[0-9A-Za-z_-]{35}\b", SecretKind::Token, "Google API key"),
    (r"\b[sr]k_live_[0-9A-Za-z]{16,128}\b", SecretKind::Token, "Stripe key"),
    (r"\bnpm_[A-Za-z0-9]{36}\b", SecretKind::Token, "npm token"),
    (r"\bpypi-[A-Za-z0-9_-]{60,250}", SecretKind::Token, "PyPI token"),
    (r"\bdckr_pat_[A-Za-z0-9_-]{20,64}", SecretKind::Token, "Docker token"),
    (r"\bhf_[A-Za-z0-9]{34}\b", SecretKind::Token, "Hugging Face token"),
    (r"\b[0-9]{8,10}:AA[0-9A-Za-z_-]{33}\b", SecretKind::Token, "Telegram token"),
    (
        r"\beyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,2000}",
        SecretKind::Token,
        "JSON Web Token",
    ),
    (r"\bAccountKey=(?P<secret>[A-Za-z0-9+/]{80,90}={0,2})", SecretKind::Token, "Azure storage key"),
    (r"\bSharedAccessKey=(?P<secret>[A-Za-z0-9+/]{40,90}={0,2})", SecretKind::Token, "Azure IoT Hub key"),
    (r"\bSG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50}", SecretKind::Token, "SendGrid key"),
    (
        r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@\x22'<>]{0,100}:(?P<secret>[^\s:/@\x22'<>]{1,200})@[a-z0-9\[]",
        SecretKind::UrlPassword,
        "",
    ),
    (r"\$(?:1|2[abxy]|5|6|7|y|gy|apr1|md5|sha1)\$[./A-Za-z0-9$=,+]{20,300}", SecretKind::PasswordHash, "crypt(5)"),
    (r"\$argon2(?:id|i|d)\$v=[0-9]+\$[A-Za-z0-9+/=,$]{20,300}", SecretKind::PasswordHash, "Argon2"),
    (r"\$pbkdf2(?:-sha(?:1|256|512))?\$[A-Za-z0-9+/=,.$]{20,300}", SecretKind::PasswordHash, "PBKDF2"),
];

/// Where a private key begins (RFC 7468, RFC 4716 for others, OpenSSH's PROTOCOL.key).
const KEY_BEGIN: &str =
    r"-----BEGIN (?P<kind>(?:RSA |EC |DSA |OPENSSH |ENCRYPTED )?PRIVATE KEY|PGP PRIVATE KEY BLOCK)-----";

/// Compiled once. They are constants, and a test compiles each.
struct Compiled {
    set: RegexSet,
    forms: Vec<Regex>,
    key: Option<Regex>,
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let one = |pattern: &str| RegexBuilder::new(pattern).unicode(false).build();
    let patterns = FORMS.iter().map(|(pattern, ..)| *pattern);
    Compiled {
        set: RegexSetBuilder::new(patterns.clone()).unicode(false).build().unwrap_or_else(|_| RegexSet::empty()),
        forms: patterns.filter_map(|pattern| one(pattern).ok()).collect(),
        key: one(KEY_BEGIN).ok(),
    }
});

/// Secrets of a line: kind, name and the bytes themselves. `behind` is what follows the line.
pub(super) fn secrets<'a>(line: &'a [u8], behind: &'a [u8]) -> Vec<(SecretKind, &'static str, &'a [u8])> {
    let mut found = Vec::new();
    for index in COMPILED.set.matches(line) {
        let (Some(form), Some((_, kind, name))) = (COMPILED.forms.get(index), FORMS.get(index)) else { continue };
        for captures in form.captures_iter(line) {
            let Some(secret) = captures.name("secret").or_else(|| captures.get(0)).map(|secret| secret.as_bytes())
            else {
                continue;
            };
            if *kind == SecretKind::UrlPassword {
                found.extend(
                    super::literal::graded(secret)
                        .map(|graded| (if graded == SecretKind::WellKnown { graded } else { *kind }, *name, secret)),
                );
            } else {
                found.push((*kind, *name, secret));
            }
        }
    }
    found.extend(private_key(line, behind));
    found
}

/// A key's first line with something of the key behind it: who only speaks of keys has none.
fn private_key<'a>(line: &'a [u8], behind: &'a [u8]) -> Option<(SecretKind, &'static str, &'a [u8])> {
    let captures = COMPILED.key.as_ref()?.captures(line)?;
    let rest = line.get(captures.get(0)?.end()..)?;
    // In JSON and source text, a key has `\n` where its lines end.
    let mut is_sealed = captures.name("kind")?.as_bytes().starts_with(b"ENCRYPTED");
    let (mut head, mut from) = ([rest, behind], None);
    for part in &mut head {
        let text = part.get(..4096).unwrap_or(part);
        is_sealed |= text.windows(9).any(|window| window == b"ENCRYPTED");
        if from.is_none() {
            from = body(text);
        }
    }
    let body = from?;
    // OpenSSH: a magic word and the name of the cipher, of which "none" is one.
    if captures.name("kind")?.as_bytes().starts_with(b"OPENSSH") {
        is_sealed = !body.starts_with(b"b3BlbnNzaC1rZXktdjEAAAAABG5vbmU");
    }
    let kind = if is_sealed { SecretKind::SealedPrivateKey } else { SecretKind::PrivateKey };
    Some((kind, "", body))
}

/// The first line of base64, of 32 characters or more.
fn body(text: &[u8]) -> Option<&[u8]> {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let ends = |byte: &u8| !is_base64(byte);
    let text = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    text.take(8)
        .flat_map(|line| line.split(ends))
        .map(|run| run.strip_prefix(b"n").filter(|_| run.len() > 64).unwrap_or(run))
        .find(|run| run.len() >= 32)
}

/// What a file is by its first bytes or its name: keys in DER and containers of keys.
pub(super) fn whole_file(name: &str, bytes: &[u8]) -> Option<SecretKind> {
    let name = name.to_ascii_lowercase();
    // SEQUENCE with a length of one or two bytes behind the first.
    let inside = match bytes {
        [0x30, 0x82, _, _, rest @ ..] | [0x30, 0x81, _, rest @ ..] => rest,
        [0x30, length, rest @ ..] if *length < 0x80 => rest,
        [0xfe, 0xed, 0xfe, 0xed, ..] => return Some(SecretKind::KeyStore), // Java's
        _ => return None,
    };
    let is_named = [".p12", ".pfx"].iter().any(|end| name.ends_with(end));
    match inside {
        // PKCS #12 has version 3.
        [0x02, 0x01, 0x03, ..] => Some(SecretKind::KeyStore),
        _ if is_named => Some(SecretKind::KeyStore),
        // PKCS #1: version 0 and a modulus; SEC 1: version 1 and an octet string; PKCS #8: version 0 or 1 and an algorithm.
        [0x02, 0x01, 0x00, 0x02, 0x81 | 0x82, ..]
        | [0x02, 0x01, 0x01, 0x04, ..]
        | [0x02, 0x01, 0x00 | 0x01, 0x30, _, 0x06, ..] => Some(SecretKind::PrivateKey),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_compiled() {
        assert_eq!((COMPILED.set.len(), COMPILED.forms.len()), (FORMS.len(), FORMS.len()));
        assert!(COMPILED.key.is_some());
    }
}
