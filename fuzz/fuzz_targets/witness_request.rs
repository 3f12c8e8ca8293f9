//! libFuzzer's way into [`portreeve_fuzz::witness_request`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::witness_request(data));
