use std::time::Duration;

use aws_lc_rs::hmac;

/// How old or how far ahead a signature may be when its receiver checks it. Longer than any clock should be off, and
/// shorter than what replays are good for.
pub const SIGNATURE_WINDOW: Duration = Duration::from_secs(300);

/// The value of `Portreeve-Signature` for a webhook's body: `t=<unix seconds>,v1=<hex>`, where the second part is
/// HMAC-SHA-256 (RFC 2104) under the shared secret over the seconds in decimal, a full stop, and the body as it is sent.
///
/// A receiver computes the same and compares in constant time, refuses a `t` that is more than [`SIGNATURE_WINDOW`]
/// from its own clock, and passes over an `Idempotency-Key` that it has seen already. Each attempt is signed anew.
#[must_use]
pub fn signature(secret: &[u8], unix_s: u64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(unix_s.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    format!("t={unix_s},v1={}", hex::encode(context.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef`.
    #[test]
    fn the_signature_is_what_openssl_computes() {
        let made = signature(b"0123456789abcdef", 1_700_000_000, br#"{"a":1}"#);
        assert_eq!(made, "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23");
    }

    #[test]
    fn secret_time_and_body_all_count() {
        let one = signature(b"0123456789abcdef", 12, b"3.x");
        for other in [
            signature(b"0123456789abcdeF", 12, b"3.x"),
            signature(b"0123456789abcdef", 13, b"3.x"),
            signature(b"0123456789abcdef", 12, b"3.y"),
            signature(b"0123456789abcdef", 123, b".x"),
        ] {
            assert_ne!(one.split_once(",v1="), other.split_once(",v1="));
            assert_ne!(one.split(",v1=").nth(1), other.split(",v1=").nth(1));
        }
    }
}
