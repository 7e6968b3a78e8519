#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    eo_agent::fuzzing::arguments(bytes);
    eo_agent::fuzzing::versions(bytes);
    eo_agent::fuzzing::attach(bytes);
});
