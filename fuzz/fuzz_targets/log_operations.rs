//! libFuzzer's way into [`portreeve_fuzz::log_operations`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::log_operations(data));
