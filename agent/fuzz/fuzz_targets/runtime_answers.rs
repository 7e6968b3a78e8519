#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    eo_agent::fuzzing::cri(bytes);
    eo_agent::fuzzing::docker(bytes);
    eo_agent::fuzzing::kubelet(bytes);
});
