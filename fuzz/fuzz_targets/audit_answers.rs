//! libFuzzer's way into [`portreeve_fuzz::audit_answers`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::audit_answers(data));
