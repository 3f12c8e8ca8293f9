//! libFuzzer's way into [`portreeve_fuzz::signing_request`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::signing_request(data));
