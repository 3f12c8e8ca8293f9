//! libFuzzer's way into [`portreeve_fuzz::detect_baselines`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::detect_baselines(data));
