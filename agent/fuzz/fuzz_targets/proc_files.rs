#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    eo_agent::fuzzing::process_files(bytes);
    eo_agent::fuzzing::node_files(bytes);
});
