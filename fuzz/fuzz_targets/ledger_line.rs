//! libFuzzer's way into [`portreeve_fuzz::ledger_line`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::ledger_line(data));
