//! libFuzzer's way into [`portreeve_fuzz::ocsp_request`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::ocsp_request(data));
