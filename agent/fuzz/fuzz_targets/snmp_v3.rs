#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| eo_agent::fuzzing::snmp_v3(bytes));
