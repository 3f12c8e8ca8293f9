//! libFuzzer's way into [`portreeve_fuzz::config_toml`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::config_toml(data));
