//! Records of TLS 1.2, sealed and opened by hand with the keys of a handshake that a library has made.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// Bytes of the part of a nonce that AES-GCM sends along (RFC 5288 section 3).
const EXPLICIT_BYTES: usize = 8;

/// One direction.
pub(crate) struct RecordKey {
    key: LessSafeKey,
    iv: [u8; 12],
    has_explicit_nonce: bool,
    sequence: u64,
}

impl RecordKey {
    /// `None` for an algorithm that is none of TLS 1.2's, which the library does not have.
    pub(crate) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Option<Self> {
        let (algorithm, key, iv, has_explicit_nonce) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv, true),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv, true),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv, false),
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        Some(Self { key, iv: iv.as_ref().try_into().ok()?, has_explicit_nonce, sequence })
    }

    /// The same at another record.
    pub(crate) fn at(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    /// RFC 7905 section 2; for AES-GCM the same makes an explicit part that never repeats.
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        nonce.iter_mut().skip(4).zip(self.sequence.to_be_bytes()).for_each(|(byte, part)| *byte ^= part);
        nonce
    }

    /// RFC 5246 section 6.2.3.3.
    fn additional(&self, kind: u8, plain_bytes: usize) -> Option<Aad<[u8; 13]>> {
        let length = u16::try_from(plain_bytes).ok()?.to_be_bytes();
        let mut data = [0; 13];
        data[..8].copy_from_slice(&self.sequence.to_be_bytes());
        data[8..].copy_from_slice(&[kind, 3, 3, length[0], length[1]]);
        Some(Aad::from(data))
    }

    /// The next record.
    pub(crate) fn seal(&mut self, kind: u8, plain: &[u8]) -> Option<Vec<u8>> {
        let (nonce, additional) = (self.nonce(), self.additional(kind, plain.len())?);
        let mut body = plain.to_vec();
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), additional, &mut body).ok()?;
        self.sequence += 1;
        let explicit = if self.has_explicit_nonce { &nonce[4..] } else { &[] };
        let length = u16::try_from(explicit.len() + body.len()).ok()?.to_be_bytes();
        Some([&[kind, 3, 3][..], &length, explicit, &body].concat())
    }

    /// What is in the next record; `None`, if it is not the next one.
    pub(crate) fn open(&mut self, kind: u8, body: &[u8]) -> Option<Vec<u8>> {
        let (mut nonce, mut sealed) = (self.nonce(), body);
        if self.has_explicit_nonce {
            let (explicit, rest) = body.split_at_checked(EXPLICIT_BYTES)?;
            nonce[4..].copy_from_slice(explicit);
            sealed = rest;
        }
        let additional = self.additional(kind, sealed.len().checked_sub(self.key.algorithm().tag_len())?)?;
        let mut sealed = sealed.to_vec();
        let plain = self.key.open_in_place(Nonce::assume_unique_for_key(nonce), additional, &mut sealed).ok()?.to_vec();
        self.sequence += 1;
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::cipher::{AeadKey, Iv};

    use super::*;

    fn pair(gcm: bool) -> [RecordKey; 2] {
        let secrets = || {
            let (key, iv) = (AeadKey::from([7; 32]), Iv::from([9; 12]));
            if gcm {
                ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            } else {
                ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }
            }
        };
        [(); 2].map(|()| RecordKey::new((1, secrets())).unwrap())
    }

    #[test]
    fn what_is_sealed_opens_once_in_order_and_whole() {
        for gcm in [true, false] {
            let [mut sealing, mut opening] = pair(gcm);
            let (first, second) = (sealing.seal(22, b"first").unwrap(), sealing.seal(22, b"second").unwrap());
            assert_eq!(opening.open(22, &second[5..]), None);
            assert_eq!(opening.open(23, &first[5..]), None);
            for length in 0..first.len() - 5 {
                assert_eq!(opening.open(22, &first[5..5 + length]), None);
            }
            assert_eq!(opening.open(22, &first[5..]).unwrap(), b"first");
            assert_eq!(opening.open(22, &first[5..]), None);
            assert_eq!(opening.open(22, &second[5..]).unwrap(), b"second");
        }
    }
}
