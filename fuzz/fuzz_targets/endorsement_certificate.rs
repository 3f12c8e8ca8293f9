//! libFuzzer's way into [`portreeve_fuzz::endorsement_certificate`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::endorsement_certificate(data));
