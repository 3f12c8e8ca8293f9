//! libFuzzer's way into [`portreeve_fuzz::audit_evidence`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::audit_evidence(data));
