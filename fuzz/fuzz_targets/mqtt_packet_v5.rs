//! libFuzzer's way into [`portreeve_fuzz::mqtt_packet_v5`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portreeve_fuzz::mqtt_packet_v5(data));
