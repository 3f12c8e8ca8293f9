//! libFuzzer's way into [`portreeve_fuzz::ledger_page`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::ledger_page(data));
