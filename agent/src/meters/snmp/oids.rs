//! Where PDUs keep their power: one list of tables per vendor.
//!
//! The objects and units are those of the vendors' MIBs, as read from the OID
//! maps of prometheus/snmp_exporter (`snmp.yml`). Nothing here does I/O.

use super::decode::Level;

/// 0.1 kWh.
const TENTH_KILOWATT_HOUR: f64 = 360_000.0;
const WATT_HOUR: f64 = 3_600.0;

/// `sysObjectID.0`: who made the device.
pub const SYS_OBJECT_ID: &[u64] = &[1, 3, 6, 1, 2, 1, 1, 2, 0];
/// `1.3.6.1.4.1`, after which the vendor's number follows.
pub const ENTERPRISES: &[u64] = &[1, 3, 6, 1, 4, 1];

/// A vendor's tables, and how its agents like to be asked.
#[derive(Debug)]
pub struct Vendor {
    pub name: &'static str,
    pub number: u64,
    /// Rows asked for in one request; more than an agent can stand is
    /// answered with nothing at all by some.
    pub max_repetitions: u32,
    /// By level; of several tables of one level the first that knows power is
    /// taken, the others are for models without it.
    pub tables: &'static [Table],
}

/// Power and energy of all things of one level.
#[derive(Debug)]
pub struct Table {
    pub level: Level,
    pub power: Column,
    pub energy: Option<Column>,
}

/// One column, or one kind of sensor in a column of sensors.
#[derive(Debug)]
pub struct Column {
    pub oid: &'static [u64],
    /// The last part of the index is the kind of sensor, and must be this.
    pub sensor: Option<u64>,
    /// Watts or joules of 1.
    pub unit: f64,
    /// A column of the same index that says where the decimal point is.
    pub digits: Option<&'static [u64]>,
}

const fn plain(oid: &'static [u64], unit: f64) -> Column {
    Column { oid, sensor: None, unit, digits: None }
}

const fn sensor(oid: &'static [u64], sensor: u64, unit: f64, digits: &'static [u64]) -> Column {
    Column { oid, sensor: Some(sensor), unit, digits: Some(digits) }
}

/// The vendor with this enterprise number.
pub fn vendor(number: u64) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| vendor.number == number)
}

/// Every vendor that is understood.
pub const VENDORS: &[Vendor] = &[
    Vendor { name: "APC", number: 318, max_repetitions: 20, tables: APC },
    Vendor { name: "Raritan", number: 13742, max_repetitions: 20, tables: RARITAN },
    // snmp_exporter asks Sentry 3 agents for 4 at a time (its issue 1080).
    Vendor { name: "Server Technology", number: 1718, max_repetitions: 4, tables: SERVERTECH },
];

const APC: &[Table] = &[
    // rPDU2OutletMeteredStatusPower, ...Energy
    Table {
        level: Level::Outlet,
        power: plain(&[1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 9, 4, 3, 1, 7], 1.0),
        energy: Some(plain(
            &[1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 9, 4, 3, 1, 11],
            TENTH_KILOWATT_HOUR,
        )),
    },
    // rPDU2PhaseStatusPower, in hundredths of kilowatts
    Table {
        level: Level::Phase,
        power: plain(&[1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 6, 3, 1, 7], 10.0),
        energy: None,
    },
    // rPDU2DeviceStatusPower, in hundredths of kilowatts; ...Energy
    Table {
        level: Level::Device,
        power: plain(&[1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 4, 3, 1, 5], 10.0),
        energy: Some(plain(&[1, 3, 6, 1, 4, 1, 318, 1, 1, 26, 4, 3, 1, 9], TENTH_KILOWATT_HOUR)),
    },
    // rPDUIdentDevicePowerWatts: an AP7902B answers -1 above and knows it here.
    Table {
        level: Level::Device,
        power: plain(&[1, 3, 6, 1, 4, 1, 318, 1, 1, 12, 1, 16], 1.0),
        energy: None,
    },
];

/// activePower and activeEnergy of PDU2-MIB's SensorTypeEnumeration.
const ACTIVE_POWER: u64 = 5;
const ACTIVE_ENERGY: u64 = 8;
const RARITAN_OUTLET_VALUE: &[u64] = &[1, 3, 6, 1, 4, 1, 13742, 6, 5, 4, 3, 1, 4];
const RARITAN_OUTLET_DIGITS: &[u64] = &[1, 3, 6, 1, 4, 1, 13742, 6, 3, 5, 4, 1, 7];
const RARITAN_INLET_VALUE: &[u64] = &[1, 3, 6, 1, 4, 1, 13742, 6, 5, 2, 3, 1, 4];
const RARITAN_INLET_DIGITS: &[u64] = &[1, 3, 6, 1, 4, 1, 13742, 6, 3, 3, 4, 1, 7];

const RARITAN: &[Table] = &[
    // PDU2-MIB measurementsOutletSensorValue (PX2, PX3, PX4)
    Table {
        level: Level::Outlet,
        power: sensor(RARITAN_OUTLET_VALUE, ACTIVE_POWER, 1.0, RARITAN_OUTLET_DIGITS),
        energy: Some(sensor(RARITAN_OUTLET_VALUE, ACTIVE_ENERGY, WATT_HOUR, RARITAN_OUTLET_DIGITS)),
    },
    // PDU-MIB outletActivePower, outletWattHours (PX)
    Table {
        level: Level::Outlet,
        power: plain(&[1, 3, 6, 1, 4, 1, 13742, 4, 1, 2, 2, 1, 7], 1.0),
        energy: Some(plain(&[1, 3, 6, 1, 4, 1, 13742, 4, 1, 2, 2, 1, 31], WATT_HOUR)),
    },
    // PDU2-MIB measurementsInletSensorValue
    Table {
        level: Level::Device,
        power: sensor(RARITAN_INLET_VALUE, ACTIVE_POWER, 1.0, RARITAN_INLET_DIGITS),
        energy: Some(sensor(RARITAN_INLET_VALUE, ACTIVE_ENERGY, WATT_HOUR, RARITAN_INLET_DIGITS)),
    },
    // PDU-MIB inletActivePower
    Table {
        level: Level::Device,
        power: plain(&[1, 3, 6, 1, 4, 1, 13742, 4, 1, 20, 2, 1, 9], 1.0),
        energy: None,
    },
];

const SERVERTECH: &[Table] = &[
    // Sentry4-MIB st4OutletActivePower, st4OutletEnergy
    Table {
        level: Level::Outlet,
        power: plain(&[1, 3, 6, 1, 4, 1, 1718, 4, 1, 8, 3, 1, 7], 1.0),
        energy: Some(plain(&[1, 3, 6, 1, 4, 1, 1718, 4, 1, 8, 3, 1, 14], WATT_HOUR)),
    },
    // Sentry3-MIB outletPower. Its energy is left out: no source for the unit.
    Table {
        level: Level::Outlet,
        power: plain(&[1, 3, 6, 1, 4, 1, 1718, 3, 2, 3, 1, 14], 1.0),
        energy: None,
    },
    // Sentry4-MIB st4PhaseActivePower, st4PhaseEnergy
    Table {
        level: Level::Phase,
        power: plain(&[1, 3, 6, 1, 4, 1, 1718, 4, 1, 5, 3, 1, 8], 1.0),
        energy: Some(plain(&[1, 3, 6, 1, 4, 1, 1718, 4, 1, 5, 3, 1, 13], TENTH_KILOWATT_HOUR)),
    },
    // Sentry4-MIB st4InputCordActivePower, st4InputCordEnergy
    Table {
        level: Level::Device,
        power: plain(&[1, 3, 6, 1, 4, 1, 1718, 4, 1, 3, 3, 1, 3], 1.0),
        energy: Some(plain(&[1, 3, 6, 1, 4, 1, 1718, 4, 1, 3, 3, 1, 10], TENTH_KILOWATT_HOUR)),
    },
    // Sentry3-MIB infeedPower
    Table {
        level: Level::Device,
        power: plain(&[1, 3, 6, 1, 4, 1, 1718, 3, 2, 2, 1, 12], 1.0),
        energy: None,
    },
];
