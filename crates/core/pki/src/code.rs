//! One-time codes, with which a device that has no certificate yet shows that an operator expects it.

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use portreeve_types::IdentityId;
use zeroize::Zeroizing;

/// Crockford's base 32: no two of its characters look alike, and those that people confuse are read as one.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a code: 100 bits, so that nobody finds one by trying and a plain hash keeps it.
pub const CODE_CHARS: usize = 20;
const GROUP_CHARS: usize = 5;
/// Longest text that is looked at: a code with separators of all kinds.
const TYPED_BYTES_MAX: usize = 64;
/// What the hash is of, so that it is good for nothing else.
const DOMAIN: &[u8] = b"portreeve enrolment code\0";

/// A one-time enrolment code in clear: shown once, kept nowhere, wiped when dropped.
pub struct EnrolmentCode(Zeroizing<[u8; CODE_CHARS]>);

impl EnrolmentCode {
    /// A new code, from as many random bytes as it has characters.
    #[must_use]
    pub fn new(entropy: &[u8; CODE_CHARS]) -> Self {
        // 256 is a multiple of 32: every character is as likely as any other.
        Self(Zeroizing::new(entropy.map(|byte| ALPHABET[usize::from(byte & 31)])))
    }

    /// Reads what somebody typed: case, spaces and hyphens mean nothing. `None` if it cannot be a code.
    #[must_use]
    pub fn parse(typed: &str) -> Option<Self> {
        if typed.len() > TYPED_BYTES_MAX {
            return None;
        }
        let mut code = Zeroizing::new([0; CODE_CHARS]);
        let mut length = 0;
        for byte in typed.bytes().filter(|byte| !matches!(byte, b'-' | b' ')) {
            *code.get_mut(length)? = character(byte)?;
            length += 1;
        }
        (length == CODE_CHARS).then_some(Self(code))
    }

    /// What is kept of it: bound to the identity that it was made for.
    #[must_use]
    pub fn hash(&self, identity: IdentityId) -> CodeHash {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(DOMAIN);
        context.update(identity.0.as_bytes());
        context.update(&*self.0);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        CodeHash(hash)
    }

    /// The code in groups, for the operator.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(CODE_CHARS + CODE_CHARS / GROUP_CHARS));
        for (at, &byte) in self.0.iter().enumerate() {
            if at > 0 && at % GROUP_CHARS == 0 {
                text.push('-');
            }
            text.push(char::from(byte));
        }
        text
    }
}

impl fmt::Debug for EnrolmentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentCode(…)")
    }
}

fn character(byte: u8) -> Option<u8> {
    let upper = match byte.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    ALPHABET.contains(&upper).then_some(upper)
}

/// The hash of a code. From it nobody gets back to the code.
#[derive(Clone, Copy, Debug)]
pub struct CodeHash([u8; 32]);

impl CodeHash {
    /// What was kept.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What to keep.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are of the same code and identity. Takes as long for a near miss as for any other.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> IdentityId {
        IdentityId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_code_is_read_back_however_it_is_typed() {
        let code = EnrolmentCode::new(&[7; CODE_CHARS]);
        let text = code.to_text();
        assert_eq!(text.len(), 23);
        let same = |typed: &str| EnrolmentCode::parse(typed).unwrap().hash(id(1)).is(&code.hash(id(1)));
        assert!(same(&text));
        assert!(same(&text.replace('-', "")));
        assert!(same(&text.to_lowercase().replace('-', " ")));
        assert!(same(&text.replace('0', "o").replace('1', "l")));
    }

    #[test]
    fn what_cannot_be_a_code_is_none() {
        let long = "0".repeat(TYPED_BYTES_MAX + 1);
        for typed in
            ["", "12345", "00000-00000-00000-0000", "00000-00000-00000-000000", "0000U-00000-00000-00000", "é", &long]
        {
            assert!(EnrolmentCode::parse(typed).is_none(), "{typed}");
        }
    }

    #[test]
    fn a_code_is_good_for_one_identity_and_there_are_no_two_alike() {
        let (code, other) = (EnrolmentCode::new(&[1; CODE_CHARS]), EnrolmentCode::new(&[2; CODE_CHARS]));
        assert!(!code.hash(id(1)).is(&code.hash(id(2))));
        assert!(!code.hash(id(1)).is(&other.hash(id(1))));
        assert_ne!(*code.to_text(), *other.to_text());
        assert_eq!(format!("{code:?}"), "EnrolmentCode(…)", "logs do not show it");
    }
}
