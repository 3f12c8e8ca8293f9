//! libFuzzer's way into [`portreeve_fuzz::root_material`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::root_material(data));
