#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    eo_agent::fuzzing::code_names(bytes);
    eo_agent::fuzzing::go_table(bytes);
});
