//! A glance at DER before it is decoded.

/// How deep elements of certificates, requests and their like are nested; honest ones are below 12.
const DEPTH_MAX: usize = 24;

const SET: u8 = 0x31;
/// The attributes of a request: a set under an implicit tag. Where it is explicit, it holds one element.
const CONTEXT_0: u8 = 0xa0;
const CONSTRUCTED: u8 = 0x20;

/// Whether the elements of every set are in the order that DER demands (X.690 §11.6), and nothing is nested without end.
///
/// The decoder puts sets in order as it reads them, by insertion: of eight kilobytes in reverse it makes fifty
/// milliseconds of work. What is in order already costs it nothing, so this is asked first of what strangers send.
pub(crate) fn is_in_order(der: &[u8]) -> bool {
    elements_in_order(der, false, DEPTH_MAX)
}

fn elements_in_order(mut rest: &[u8], of_set: bool, depth: usize) -> bool {
    let mut last: &[u8] = &[];
    while let Some((tag, header_bytes, total_bytes)) = element(rest) {
        let (whole, behind) = rest.split_at(total_bytes);
        if of_set && whole < last {
            return false;
        }
        let is_set = matches!(tag, SET | CONTEXT_0);
        if tag & CONSTRUCTED != 0 && (depth == 0 || !elements_in_order(&whole[header_bytes..], is_set, depth - 1)) {
            return false;
        }
        (last, rest) = (whole, behind);
    }
    rest.is_empty()
}

/// Tag, length of the header and of the whole of the first element; `None` if there is none that is whole.
fn element(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&tag, &first) = (bytes.first()?, bytes.get(1)?);
    let (header_bytes, length) = match first {
        0..=0x7f => (2, usize::from(first)),
        0x81..=0x83 => {
            let length_bytes = usize::from(first & 0x7f);
            let digits = bytes.get(2..2 + length_bytes)?;
            (2 + length_bytes, digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)))
        }
        _ => return None,
    };
    let total_bytes = header_bytes + length;
    (total_bytes <= bytes.len()).then_some((tag, header_bytes, total_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_an_order_and_sequences_do_not() {
        assert!(is_in_order(&[0x31, 6, 2, 1, 1, 2, 1, 2]));
        assert!(is_in_order(&[0x31, 6, 2, 1, 1, 2, 1, 1]), "whether it may be twice is not for here to say");
        assert!(!is_in_order(&[0x31, 6, 2, 1, 2, 2, 1, 1]));
        assert!(is_in_order(&[0x30, 6, 2, 1, 2, 2, 1, 1]));
        assert!(!is_in_order(&[0x30, 8, 0x31, 6, 2, 1, 2, 2, 1, 1]));
        assert!(!is_in_order(&[0xa0, 6, 2, 1, 2, 2, 1, 1]));
    }

    #[test]
    fn fragments_and_bottomless_pits_are_refused() {
        for bad in [&[0x30][..], &[0x30, 1], &[0x30, 0x80, 0, 0], &[0x30, 0x84, 0, 0, 0, 0], &[0x30, 0x82, 0]] {
            assert!(!is_in_order(bad), "{bad:02x?}");
        }
        let nested = |depth: usize| {
            (0..depth).fold(Vec::new(), |inner: Vec<u8>, _| {
                let length = u8::try_from(inner.len()).unwrap();
                [&[0x30, length][..], &inner].concat()
            })
        };
        assert!(is_in_order(&nested(DEPTH_MAX)));
        assert!(!is_in_order(&nested(DEPTH_MAX + 1)));
    }
}
