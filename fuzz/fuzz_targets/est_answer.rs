//! libFuzzer's way into [`portreeve_fuzz::est_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::est_answer(data));
