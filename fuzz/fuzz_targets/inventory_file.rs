//! libFuzzer's way into [`portreeve_fuzz::inventory_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::inventory_file(data));
