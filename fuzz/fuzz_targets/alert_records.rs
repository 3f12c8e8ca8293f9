//! libFuzzer's way into [`portreeve_fuzz::alert_records`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::alert_records(data));
