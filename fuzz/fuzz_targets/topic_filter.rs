//! libFuzzer's way into [`portreeve_fuzz::topic_filter`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::topic_filter(data));
