//! libFuzzer's way into [`portreeve_fuzz::service_greeting`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::service_greeting(data));
