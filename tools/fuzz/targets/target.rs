//! One binary per target: each is called by the target's name.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sunstar_fuzz::run(env!("CARGO_BIN_NAME"), input));
