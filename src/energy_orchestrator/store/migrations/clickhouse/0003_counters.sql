-- What CPU counters counted (schemas/counters.v1.json), where a kernel gives them.

CREATE TABLE IF NOT EXISTS counter_sample (
    timestamp DateTime64(3, 'UTC'), tenant LowCardinality(String), host LowCardinality(String),
    interval_seconds Float64, cgroup String, workload LowCardinality(Nullable(String)),
    workload_kind LowCardinality(Nullable(String)), container_id Nullable(String), pod_id Nullable(String),
    cpu_seconds Nullable(Float64), cycles Nullable(Float64), instructions Nullable(Float64),
    cache_misses Nullable(Float64), counted_share Nullable(Float64), batch_id String
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (tenant, host, timestamp, cgroup)
TTL toDateTime(timestamp) + INTERVAL 7 DAY;
