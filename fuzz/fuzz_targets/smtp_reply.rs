//! libFuzzer's way into [`portreeve_fuzz::smtp_reply`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::smtp_reply(data));
