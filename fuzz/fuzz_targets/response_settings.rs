//! libFuzzer's way into [`portreeve_fuzz::response_settings`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::response_settings(data));
