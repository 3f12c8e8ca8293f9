//! Secrets that are given to a name: `password = "…"`.

use std::sync::LazyLock;

use portreeve_assurance::evidence::config::secrets::SecretKind;
use regex::bytes::{Regex, RegexBuilder};

/// A name that speaks of a secret, a sign of assignment, and a value.
const ASSIGNMENT: &str = r#"(?ix)
    (?P<name>[a-z0-9_.-]{0,60}(?:passw(?:or)?d|passphrase|passwd|secret|api[_-]?key|access[_-]?key|private[_-]?key|auth[_-]?token|token|psk|pwd|network_key|community)[a-z0-9_.-]{0,30})
    ["']?\s{0,4}(?::=|=>|=|:)\s{0,4}
    (?: "(?P<double>[^"]{1,500})" | '(?P<single>[^']{1,500})' | (?P<plain>[^\s"'\#;,{}\[\]()]{1,500}) )"#;

static COMPILED: LazyLock<Option<Regex>> = LazyLock::new(|| RegexBuilder::new(ASSIGNMENT).unicode(false).build().ok());

/// What everybody tries first, and what examples say that one has to change.
const WELL_KNOWN: [&str; 22] = [
    "admin",
    "administrator",
    "changeit",
    "changeme",
    "change-me",
    "change_me",
    "default",
    "guest",
    "hunter2",
    "letmein",
    "mosquitto",
    "pass",
    "passw0rd",
    "password",
    "private",
    "public",
    "raspberry",
    "root",
    "secret",
    "12345678",
    "123456",
    "1234",
];

/// Ends of names whose values are about a secret and are none.
const ABOUT: [&str; 26] = [
    "_file",
    "_path",
    "_dir",
    "_url",
    "_uri",
    "_type",
    "_id",
    "_name",
    "_length",
    "_policy",
    "_flags",
    "_expiry",
    "_ttl",
    "_age",
    "_min",
    "_max",
    "_required",
    "_enabled",
    "_endpoint",
    "_env",
    "_algorithm",
    "_size",
    "file",
    "_prompt",
    "authentication",
    "_index",
];

/// A value under a name.
pub(super) struct Literal<'a> {
    pub(super) kind: SecretKind,
    pub(super) name: String,
    pub(super) secret: &'a [u8],
}

pub(super) fn secrets(line: &[u8]) -> Vec<Literal<'_>> {
    let Some(compiled) = COMPILED.as_ref() else { return Vec::new() };
    let mut found = Vec::new();
    for captures in compiled.captures_iter(line) {
        let Some(name) =
            captures.name("name").map(|name| String::from_utf8_lossy(name.as_bytes()).to_ascii_lowercase())
        else {
            continue;
        };
        if is_about(&name) {
            continue;
        }
        let quoted = captures.name("double").or_else(|| captures.name("single"));
        let plain = captures.name("plain");
        let Some(value) = quoted.or(plain).map(|value| value.as_bytes()) else { continue };
        // In program text, what has no quotes is a name of something else.
        let is_word = plain.is_some() && (is_program(line) || !is_like_secret(value, &name));
        if let Some(kind) = graded(value).filter(|kind| *kind == SecretKind::WellKnown || !is_word) {
            found.push(Literal { kind, name, secret: value });
        }
    }
    found
}

/// Whether a line looks like program text rather than settings.
fn is_program(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let begins: [&[u8]; 8] = [b"let ", b"const ", b"var ", b"return ", b"if ", b"def ", b"fn ", b"self."];
    let ends = line.last().is_some_and(|last| b";{(,".contains(last));
    ends || begins.iter().any(|begin| line.starts_with(begin))
}

fn is_about(name: &str) -> bool {
    let name = name.replace(['-', '.'], "_");
    ABOUT.iter().any(|end| name.ends_with(end))
}

/// Whether a value without quotes is more than a word: it has digits and is not regular.
fn is_like_secret(value: &[u8], name: &str) -> bool {
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = value.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    // A whole name that is the key word alone is how settings files say it.
    let is_bare =
        ["password", "passwd", "passphrase", "wpa_passphrase", "psk", "secret", "pwd", "sae_password"].contains(&name);
    (digits > 0 && letters > 0 && bits_per_byte(value) > 2.5)
        || (is_bare && value.len() >= 8 && bits_per_byte(value) > 2.0)
}

/// Shannon's entropy of the bytes, bits.
fn bits_per_byte(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    value.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let length = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX));
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum()
}

/// A secret, one that everybody knows, or none.
pub(super) fn graded(value: &[u8]) -> Option<SecretKind> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let lower = text.to_ascii_lowercase();
    if WELL_KNOWN.contains(&lower.as_str()) {
        return Some(SecretKind::WellKnown);
    }
    if text.len() < 6 || is_placeholder(text, &lower) {
        return None;
    }
    Some(SecretKind::Literal)
}

/// A hole for a value, a reference to one, or a word about one.
fn is_placeholder(text: &str, lower: &str) -> bool {
    let begins = [
        "$", "<", "{", "%", "!", "@", "/", "./", "~/", "file:", "env:", "vault:", "secret:", "arn:", "http://",
        "https://", "*",
    ];
    let holds = [
        "${",
        "{{",
        "...",
        "example",
        "placeholder",
        "your-",
        "your_",
        "xxxx",
        "redacted",
        "dummy",
        "getenv",
        "environ",
        "<your",
        "****",
        "todo",
    ];
    let words = [
        "generate",
        "required",
        "optional",
        "disabled",
        "enabled",
        "prohibit-password",
        "undefined",
        "string",
        "boolean",
    ];
    let mut bytes = lower.bytes();
    let first = bytes.next();
    begins.iter().any(|begin| text.starts_with(begin))
        || holds.iter().any(|part| lower.contains(part))
        || words.contains(&lower)
        || bytes.all(|byte| Some(byte) == first)
        || text.contains(char::is_whitespace) && text.split_whitespace().count() > 4
}
