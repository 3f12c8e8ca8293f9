//! libFuzzer's way into [`portreeve_fuzz::tpm_question`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::tpm_question(data));
