//! libFuzzer's way into [`portreeve_fuzz::sbom`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::sbom(data));
