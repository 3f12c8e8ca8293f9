//! libFuzzer's way into [`portreeve_fuzz::coap_message`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::coap_message(data));
