#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    eo_agent::fuzzing::cgroup(bytes);
    eo_agent::fuzzing::workload_key(bytes);
    eo_agent::fuzzing::language(bytes);
});
