//! Everruns' bodies of arbitrary bytes. What must hold stands in `fuzz/src/decode_everruns.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agent_session_exporter_fuzz::decode_everruns::run(data));
