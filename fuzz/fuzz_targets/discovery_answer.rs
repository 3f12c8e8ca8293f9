//! libFuzzer's way into [`portreeve_fuzz::discovery_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::discovery_answer(data));
