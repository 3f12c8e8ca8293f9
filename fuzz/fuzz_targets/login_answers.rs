//! libFuzzer's way into [`portreeve_fuzz::login_answers`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::login_answers(data));
