#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    eo_agent::fuzzing::snmp(bytes);
    eo_agent::fuzzing::redfish(bytes);
    eo_agent::fuzzing::prometheus(bytes);
    eo_agent::fuzzing::ipmitool(bytes);
});
