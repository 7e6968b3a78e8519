-- What processes used of GPUs (schemas/gpu_processes.v1.json), where a node has any.

CREATE TABLE IF NOT EXISTS gpu_process_sample (
    timestamp DateTime64(3, 'UTC'), tenant LowCardinality(String), host LowCardinality(String),
    interval_seconds Float64, gpu LowCardinality(String), zone LowCardinality(String),
    mig_instance LowCardinality(Nullable(String)), gpu_instance_id Nullable(Int32),
    compute_instance_id Nullable(Int32), mig_profile LowCardinality(Nullable(String)),
    compute_slices Nullable(Int32), gpu_compute_slices Nullable(Int32), workload LowCardinality(Nullable(String)),
    workload_kind LowCardinality(Nullable(String)), replica Nullable(String), container_id Nullable(String),
    pod_id Nullable(String), pid Nullable(Int32), process_started_ms Nullable(Int64),
    sm_utilization_ratio Nullable(Float64), memory_bytes Nullable(Int64), reason Nullable(String), batch_id String
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (tenant, host, timestamp, gpu, ifNull(mig_instance, ''), ifNull(pid, 0))
TTL toDateTime(timestamp) + INTERVAL 7 DAY;
