//! libFuzzer's way into [`portreeve_fuzz::policy_text`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::policy_text(data));
