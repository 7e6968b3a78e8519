#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    eo_agent::fuzzing::replay_log(bytes);
    eo_agent::fuzzing::spool(bytes);
});
