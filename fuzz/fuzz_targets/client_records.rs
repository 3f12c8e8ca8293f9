//! libFuzzer's way into [`portreeve_fuzz::client_records`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::client_records(data));
