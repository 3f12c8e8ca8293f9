//! libFuzzer's way into [`portreeve_fuzz::csr_intake`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::csr_intake(data));
