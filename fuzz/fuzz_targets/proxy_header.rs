//! libFuzzer's way into [`portreeve_fuzz::proxy_header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::proxy_header(data));
