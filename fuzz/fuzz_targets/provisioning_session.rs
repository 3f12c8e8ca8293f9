//! libFuzzer's way into [`portreeve_fuzz::provisioning_session`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::provisioning_session(data));
