//! libFuzzer's way into [`portreeve_fuzz::case_export`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::case_export(data));
