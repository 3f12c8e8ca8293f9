//! libFuzzer's way into [`portreeve_fuzz::allow_list_devices`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::allow_list_devices(data));
