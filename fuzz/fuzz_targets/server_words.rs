//! libFuzzer's way into [`portreeve_fuzz::server_words`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::server_words(data));
