//! The file of a key that only its TPM can load: `TSS2 PRIVATE KEY`, which the OpenSSL providers and engines for TPM 2.0
//! read and write too (ASN.1 Specification for TPM 2.0 Key Files, `TPMKey` with the type `id-loadablekey`).

use pkcs8::{
    Document, LineEnding, ObjectIdentifier,
    der::{
        Decode as _, Encode as _, Reader as _, SliceReader, TagMode, TagNumber,
        asn1::{ContextSpecific, OctetStringRef},
    },
};

use super::{area::TpmKeyArea, wire, wire::handle};
use crate::{KeyError, public::der_sequence};

const LABEL: &str = "TSS2 PRIVATE KEY";
const LOADABLE_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.10.1.3");

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyFile {
    /// No passphrase is needed to use it.
    pub(crate) is_open: bool,
    pub(crate) area: TpmKeyArea,
    /// `TPM2B_PRIVATE`'s content, encrypted by the TPM.
    pub(crate) private: Vec<u8>,
}

impl KeyFile {
    pub(crate) fn parse(what: &str, text: &str) -> Result<Self, KeyError> {
        let read = Document::from_pem(text).ok().filter(|(label, _)| *label == LABEL);
        let parsed = read.and_then(|(_, document)| Self::from_der(document.as_bytes()));
        parsed.ok_or(KeyError::Damaged {
            what: what.to_owned(),
            reason: "it is no key of a TPM as this program makes them",
        })
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        let (kind, is_open, parent, public, private) = reader
            .sequence(|reader| {
                let kind = ObjectIdentifier::decode(reader)?;
                let empty = ContextSpecific::<bool>::decode_explicit(reader, TagNumber::N0)?;
                // Policies, imported keys and the like would come next: they are not ours, and end the parsing.
                let parent = u32::decode(reader)?;
                let public = OctetStringRef::decode(reader)?.as_bytes();
                let private = OctetStringRef::decode(reader)?.as_bytes();
                Ok((kind, empty.is_some_and(|empty| empty.value), parent, public, private))
            })
            .ok()?;
        reader.finish(()).ok()?;
        if kind != LOADABLE_KEY || parent != handle::OWNER {
            return None;
        }
        Some(Self { is_open, area: TpmKeyArea::parse(sized(public)?)?, private: sized(private)?.to_vec() })
    }

    pub(crate) fn to_text(&self) -> Result<String, KeyError> {
        let document = self.to_der().and_then(|der| Document::try_from(der).ok()).ok_or(KeyError::Crypto)?;
        document.to_pem(LABEL, LineEnding::LF).map_err(|_| KeyError::Crypto)
    }

    fn to_der(&self) -> Option<Vec<u8>> {
        let empty = ContextSpecific { tag_number: TagNumber::N0, tag_mode: TagMode::Explicit, value: self.is_open };
        let octets = |bytes: &[u8]| {
            let sized = wire::Writer::new().sized(bytes).done();
            OctetStringRef::new(&sized).ok()?.to_der().ok()
        };
        der_sequence(&[
            LOADABLE_KEY.to_der().ok()?,
            empty.to_der().ok()?,
            handle::OWNER.to_der().ok()?,
            octets(self.area.as_bytes())?,
            octets(&self.private)?,
        ])
    }
}

fn sized(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = wire::Reader(bytes);
    let content = reader.sized()?;
    reader.end()?;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyAlgorithm, tpm::area};

    fn key() -> KeyFile {
        // The template with a real point in the place of its two empty coordinates.
        let private = crate::private::PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let public = crate::SigningKey::public(&private).clone();
        let template = area::signing_template(KeyAlgorithm::EcdsaP256).unwrap();
        let (x, y) = public.raw()[1..].split_at(32);
        let head = &template[..template.len() - 4];
        let bytes = wire::Writer::new().bytes(head).sized(x).sized(y).done();
        let area = TpmKeyArea::parse(&bytes).unwrap();
        assert_eq!(*area.public(), public);
        KeyFile { is_open: true, area, private: vec![7; 126] }
    }

    #[test]
    fn a_file_reads_back() {
        let key = key();
        let text = key.to_text().unwrap();
        assert!(text.starts_with("-----BEGIN TSS2 PRIVATE KEY-----"));
        assert_eq!(KeyFile::parse("test", &text).unwrap(), key);
        let closed = KeyFile { is_open: false, ..key };
        assert_eq!(KeyFile::parse("test", &closed.to_text().unwrap()).unwrap(), closed);
    }

    /// Random changes, cuts and growths: what is still read is a key that may be offered to the TPM.
    #[test]
    fn mutations_are_parsed_without_harm() {
        let der = key().to_der().unwrap();
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            // xorshift: the run is the same every time.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed >> 33).unwrap()
        };
        let (mut read, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let mut mutant = der.clone();
            for _ in 0..=next() % 3 {
                let at = next() % mutant.len();
                match next() % 4 {
                    0 => mutant[at] = u8::try_from(next() & 0xff).unwrap(),
                    1 => mutant[at] ^= 1 << (next() % 8),
                    2 => mutant.truncate(at.max(1)),
                    _ => mutant.insert(at, 0xff),
                }
            }
            match KeyFile::from_der(&mutant) {
                Some(key) => {
                    assert!(TpmKeyArea::parse(key.area.as_bytes()).is_some());
                    read += 1;
                }
                None => refused += 1,
            }
        }
        assert!(read > 100 && refused > 100, "{read} {refused}");
    }

    /// Whatever a device claims: a key that could leave its TPM, decrypts, or signs only what its TPM says.
    #[test]
    fn areas_of_other_keys_are_refused() {
        let good = key().area.as_bytes().to_vec();
        for bit in 0..32 {
            let mut area = good.clone();
            let attributes = u32::from_be_bytes(area[4..8].try_into().unwrap()) ^ (1 << bit);
            area[4..8].copy_from_slice(&attributes.to_be_bytes());
            assert_eq!(TpmKeyArea::parse(&area).is_some(), bit == 10, "only noDA is free, not bit {bit}");
        }
        for length in 0..good.len() {
            assert!(TpmKeyArea::parse(&good[..length]).is_none());
        }
        assert!(TpmKeyArea::parse(&[good.as_slice(), &[0]].concat()).is_none());
        assert!(TpmKeyArea::parse(&area::storage_template()).is_none());
    }
}
