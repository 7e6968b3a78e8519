-- One dialect for chDB and servers. Sorting keys start with the tenant and make a redelivered row identical,
-- so that ReplacingMergeTree drops what the collector's batch check let through. Wire columns carry the names,
-- order and nullability of schemas/*.v1.json; a test compares them.

CREATE TABLE IF NOT EXISTS telemetry_sample (
    timestamp DateTime64(3, 'UTC'), tenant LowCardinality(String), host LowCardinality(String),
    interval_seconds Float64, workload LowCardinality(String), workload_kind LowCardinality(String),
    replica Nullable(String), container_id Nullable(String), pod_id Nullable(String),
    pid Int32, process_started_ms Int64, command LowCardinality(String),
    cpu_seconds Float64, cpu_pct Float64, cpus_allowed Nullable(Float64), mem_bytes Int64,
    read_bytes Nullable(Int64), write_bytes Nullable(Int64), threads Int32,
    voluntary_switches Nullable(Int64), involuntary_switches Nullable(Int64),
    node_power_watts Nullable(Float64), gpu_power_watts Nullable(Float64), temp_c Nullable(Float64),
    hotspot_functions Array(String), tier LowCardinality(Nullable(String)), batch_id String
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (tenant, host, timestamp, workload, pid, process_started_ms)
TTL toDateTime(timestamp) + INTERVAL 7 DAY;

CREATE TABLE IF NOT EXISTS profile_sample (
    timestamp DateTime64(3, 'UTC'), tenant LowCardinality(String), host LowCardinality(String),
    interval_seconds Float64, workload LowCardinality(String), workload_kind LowCardinality(String),
    replica Nullable(String), container_id Nullable(String), pid Int32, process_started_ms Int64,
    stack Array(LowCardinality(String)), sample_count Int64, frequency_hz Float64, batch_id String
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (tenant, host, workload, timestamp, pid, process_started_ms, cityHash64(stack))
TTL toDateTime(timestamp) + INTERVAL 7 DAY;

CREATE TABLE IF NOT EXISTS inventory (
    timestamp DateTime64(3, 'UTC'), tenant LowCardinality(String), host LowCardinality(String),
    scope LowCardinality(String), node_type Nullable(String), cpu_model Nullable(String),
    sockets Nullable(Int32), cores Nullable(Int32), cpu_threads Nullable(Int32), cpu_mhz Nullable(Float64),
    memory_bytes Nullable(Int64), virtual Nullable(Bool), capabilities Array(String), missing Array(String),
    workload Nullable(String), workload_kind Nullable(String), replica Nullable(String), pod_id Nullable(String),
    container_id Nullable(String), pid Nullable(Int32), process_started_ms Nullable(Int64),
    image Nullable(String), checksum Nullable(String), language Nullable(String), runtime_version Nullable(String),
    command_line Nullable(String), libraries Array(String), batch_id String
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(timestamp)
ORDER BY (tenant, host, scope, ifNull(pid, 0), ifNull(process_started_ms, 0), timestamp)
TTL toDateTime(timestamp) + INTERVAL 90 DAY;

CREATE TABLE IF NOT EXISTS meter_sample (
    timestamp DateTime64(3, 'UTC'), tenant LowCardinality(String), host LowCardinality(String),
    interval_seconds Float64, meter LowCardinality(String), zone LowCardinality(String),
    tier LowCardinality(Nullable(String)), energy_joules Nullable(Float64), power_watts Nullable(Float64),
    temp_c Nullable(Float64), busy_cpu_seconds Nullable(Float64), steal_cpu_seconds Nullable(Float64),
    frequency_mhz Nullable(Float64), reason Nullable(String), batch_id String
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (tenant, host, timestamp, meter, zone)
TTL toDateTime(timestamp) + INTERVAL 30 DAY;

CREATE TABLE IF NOT EXISTS operation_sample (
    timestamp DateTime64(3, 'UTC'), tenant LowCardinality(String), host LowCardinality(String),
    interval_seconds Float64, workload LowCardinality(String), replica Nullable(String),
    operations Float64, operation LowCardinality(String), source LowCardinality(String),
    errors Nullable(Float64), latency_p50_seconds Nullable(Float64), latency_p95_seconds Nullable(Float64),
    latency_p99_seconds Nullable(Float64), queue_depth Nullable(Float64), batch_id String
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (tenant, host, workload, timestamp, ifNull(replica, ''), source)
TTL toDateTime(timestamp) + INTERVAL 30 DAY;

-- Derived by the analyzer: one row per node and window; node = idle + active + unattributed.
CREATE TABLE IF NOT EXISTS node_energy (
    timestamp DateTime64(3, 'UTC'), tenant LowCardinality(String), host LowCardinality(String),
    window_seconds Float64, tier LowCardinality(String),
    node_joules Float64, node_joules_lower Float64, node_joules_upper Float64,
    idle_joules Float64, active_joules Float64, unattributed_joules Float64,
    busy_cpu_seconds Float64, power_source String
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (tenant, host, timestamp)
TTL toDateTime(timestamp) + INTERVAL 90 DAY;

-- Derived by the analyzer: active energy of one workload (and replica) in one window.
CREATE TABLE IF NOT EXISTS workload_energy (
    timestamp DateTime64(3, 'UTC'), tenant LowCardinality(String), host LowCardinality(String),
    window_seconds Float64, workload LowCardinality(String), workload_kind LowCardinality(String),
    replica Nullable(String), tier LowCardinality(String), cpu_seconds Float64, mem_bytes Int64,
    active_joules Float64, active_joules_lower Float64, active_joules_upper Float64
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (tenant, host, workload, timestamp, ifNull(replica, ''))
TTL toDateTime(timestamp) + INTERVAL 90 DAY;
