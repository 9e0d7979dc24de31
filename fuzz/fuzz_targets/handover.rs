#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qyun_fuzz::durable::handover(data));
