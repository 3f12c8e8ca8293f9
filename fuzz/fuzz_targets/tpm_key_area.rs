//! libFuzzer's way into [`portreeve_fuzz::tpm_key_area`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::tpm_key_area(data));
