//! Secrets in files: keys, tokens, passwords. The caller walks folders and hands over each file.

mod literal;
mod patterns;

use aws_lc_rs::hmac;
use portreeve_assurance::evidence::config::secrets::{SecretFinding, SecretKind, SecretScan, Skipped};

use crate::{
    LIST_MAX, Piece,
    lines::{number, shown},
};

/// Largest file that is looked through, bytes; of larger ones the begin is.
pub const SCANNED_BYTES_MAX: usize = 64 << 20;
/// What stands on a line that may hold a secret, before the reason: `# portreeve:allow test key, opens nothing`.
pub const ALLOW: &str = "portreeve:allow";
/// Most files that are told as not looked through.
const SKIPPED_MAX: usize = 1000;
/// How far a byte of zero has to be for a file to be text, bytes.
const TEXT_BYTES: usize = 8192;

/// Looks through files, one after the other. Its key is kept nowhere, so that fingerprints tell equal secrets of one scan apart from others
/// and nothing else.
pub struct Scanner {
    key: hmac::Key,
    facts: SecretScan,
}

impl Scanner {
    /// With 32 random bytes.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        let facts = SecretScan { files: 0, bytes: 0, skipped: Vec::new(), findings: Vec::new(), unlisted: 0 };
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, random), facts }
    }

    /// A file that cannot be handed over, and why.
    pub fn skip(&mut self, name: &str, why: &str) {
        if self.facts.skipped.len() < SKIPPED_MAX {
            self.facts.skipped.push(Skipped { file: shown(name), why: shown(why) });
        }
    }

    /// A file.
    pub fn file(&mut self, name: &str, bytes: &[u8]) {
        let scanned = bytes.get(..SCANNED_BYTES_MAX).unwrap_or(bytes);
        if scanned.len() < bytes.len() {
            self.skip(name, &format!("what lies behind {SCANNED_BYTES_MAX} bytes"));
        }
        self.facts.files += 1;
        self.facts.bytes += scanned.len() as u64;
        if let Some(kind) = patterns::whole_file(name, scanned) {
            self.found(name, 0, kind, "", scanned, None);
        }
        let is_text = !scanned.iter().take(TEXT_BYTES).any(|byte| *byte == 0);
        let mut behind = scanned;
        for (index, line) in scanned.split(|byte| *byte == b'\n').enumerate() {
            behind = behind.get(line.len() + 1..).unwrap_or_default();
            self.line(name, number(index + 1), line, behind, is_text);
        }
    }

    fn line(&mut self, name: &str, line: u32, text: &[u8], behind: &[u8], is_text: bool) {
        let allowed = allowed(text);
        for (kind, what, secret) in patterns::secrets(text, behind) {
            self.found(name, line, kind, what, secret, allowed.as_deref());
        }
        if !is_text {
            return;
        }
        for literal in literal::secrets(text) {
            self.found(name, line, literal.kind, &literal.name, literal.secret, allowed.as_deref());
        }
    }

    fn found(&mut self, file: &str, line: u32, kind: SecretKind, name: &str, secret: &[u8], allowed: Option<&str>) {
        let tag = hmac::sign(&self.key, secret);
        let fingerprint = hex::encode(tag.as_ref().get(..4).unwrap_or_default());
        let findings = &mut self.facts.findings;
        // One secret has many names on one line: a token that is given to a name is told once.
        let is_same = |found: &&SecretFinding| {
            found.line == line && found.file == shown(file) && found.fingerprint == fingerprint
        };
        if findings.iter().rev().take(8).any(|found| is_same(&found)) {
            return;
        }
        if findings.len() >= LIST_MAX {
            self.facts.unlisted += 1;
            return;
        }
        let allowed = allowed.map(str::to_owned);
        findings.push(SecretFinding { file: shown(file), line, kind, name: shown(name), fingerprint, allowed });
    }

    /// What was found, of a folder or an image of this name.
    #[must_use]
    pub fn finish(self, about: &str) -> Piece {
        Piece::of(&self.facts, about, &["cfg.secrets"])
    }
}

/// The reason behind [`ALLOW`]; without one there is no allowance.
fn allowed(line: &[u8]) -> Option<String> {
    let at = line.windows(ALLOW.len()).position(|window| window == ALLOW.as_bytes())?;
    let reason = shown(String::from_utf8_lossy(line.get(at + ALLOW.len()..)?).trim());
    (!reason.is_empty()).then_some(reason)
}
