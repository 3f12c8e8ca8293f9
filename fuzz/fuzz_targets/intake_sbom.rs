//! libFuzzer's way into [`portreeve_fuzz::intake_sbom`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::intake_sbom(data));
