//! Which hub a device goes on to trust: what its last bundle says, until one of that bundle's signers says otherwise.

use std::time::Duration;

use portreeve_pki::TrustBundle;
use portreeve_types::UnixMillis;

use crate::failure::Failure;

/// When a device asks for the next bundle, however long its certificate lives. The hub makes one when the last is 45 days
/// old, and its keys change every 60: by then the device has heard of the next.
const REFRESH_AFTER: Duration = Duration::from_secs(50 * 86_400);

/// Whether it is time to ask for a newer bundle.
pub(super) fn is_due(held: &TrustBundle, now: UnixMillis) -> bool {
    now >= held.issued.plus(REFRESH_AFTER)
}

/// The bundle that a device keeps. That it is whole is checked; its time may be over.
pub(super) fn held(document: Option<&[u8]>) -> Result<Option<TrustBundle>, Failure> {
    let open = |document| {
        TrustBundle::open_first(document, None)
            .map_err(|why| Failure::Usage(format!("trust.jws cannot be used: {why}; restore it, or enrol anew")))
    };
    document.map(open).transpose()
}

/// What follows upon the bundle that a device keeps, if the hub offers anything new (CSA-CRD-07).
pub(super) fn next(
    held: Option<(&TrustBundle, &[u8])>,
    offered: Option<&[u8]>,
    now: UnixMillis,
) -> Result<Option<TrustBundle>, Failure> {
    let opened = match (held, offered) {
        (None, None) => return Ok(None),
        (Some((_, document)), Some(offered)) if document == offered => return Ok(None),
        (Some(_), None) => return Err(refused(&"it has none, and had one before")),
        (Some((held, _)), Some(offered)) => held.successor(offered, Some(now)),
        (None, Some(offered)) => TrustBundle::open_first(offered, Some(now)),
    };
    opened.map(Some).map_err(|why| refused(&why))
}

fn refused(why: &dyn std::fmt::Display) -> Failure {
    Failure::Refused(format!(
        "the hub's trust bundle is refused: {why}. Is it the right hub, and was it restored from a backup? If all is well \
         there, begin anew with a code: `portreeve device code NAME` on the hub"
    ))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use portreeve_pki::{Authority, GeneratedKey, generate_key, signing_key};
    use portreeve_types::KeyHash;

    use super::*;

    fn now() -> UnixMillis {
        SystemTime::now().into()
    }

    fn sealed(version: u64, by: &GeneratedKey, names: &GeneratedKey) -> Vec<u8> {
        let bundle = TrustBundle {
            version,
            issued: now(),
            expires: now().plus(Duration::from_secs(3600)),
            anchors: vec![Authority::create(now()).unwrap().root_certificate().clone()],
            pins: vec![KeyHash([1; 32]), KeyHash([2; 32])],
            signers: vec![names.public.clone()],
        };
        bundle.seal(&signing_key(&by.pkcs8_pem).unwrap()).unwrap().into_bytes()
    }

    /// ISVS-4.1.6, CSA-CRD-07: forward only, and by whom the last one named.
    #[test]
    fn a_bundle_is_followed_by_a_newer_one_of_its_signer_only() {
        let [own, other] = [(); 2].map(|()| generate_key().unwrap());
        let document = sealed(5, &own, &own);
        let bundle = held(Some(&document)).unwrap().unwrap();
        let present = Some((&bundle, &document[..]));
        let next = |offered: Option<&[u8]>| next(present, offered, now());
        assert_eq!(next(Some(&document)).unwrap(), None, "the same once more");
        assert_eq!(next(Some(&sealed(6, &own, &other))).unwrap().unwrap().version, 6);
        for bad in [sealed(4, &own, &own), sealed(5, &own, &own), sealed(6, &other, &other), b"nonsense".to_vec()] {
            assert!(matches!(next(Some(&bad)), Err(Failure::Refused(_))));
        }
        assert!(matches!(next(None), Err(Failure::Refused(_))), "a hub that says nothing any more");
    }

    /// A certificate may live for a year; nobody waits for its end to hear of the hub's next key.
    #[test]
    fn a_bundle_is_asked_for_before_its_keys_are_gone() {
        let own = generate_key().unwrap();
        let bundle = held(Some(&sealed(1, &own, &own))).unwrap().unwrap();
        let day = |days: u64| bundle.issued.plus(Duration::from_secs(days * 86_400));
        assert!(!is_due(&bundle, day(49)) && is_due(&bundle, day(50)));
    }

    #[test]
    fn a_first_bundle_is_taken_and_a_damaged_one_is_told() {
        let [own, other] = [(); 2].map(|()| generate_key().unwrap());
        assert_eq!(next(None, Some(&sealed(1, &own, &own)), now()).unwrap().unwrap().version, 1);
        assert!(matches!(next(None, Some(&sealed(1, &own, &other)), now()), Err(Failure::Refused(_))));
        assert_eq!(next(None, None, now()).unwrap(), None);
        assert!(matches!(held(Some(b"damaged")), Err(Failure::Usage(_))));
        assert_eq!(held(None).unwrap(), None);
    }
}
