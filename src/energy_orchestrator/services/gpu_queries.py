"""Who used GPUs, and what they draw at rest, in ClickHouse's SQL. Their energy is in `series_queries.METER_WINDOWS`."""

from __future__ import annotations

from energy_orchestrator.services.series_queries import IN_SPAN, MINE, TOUCHED, TOUCHING

# A process may be there for a part of the window, and its use be unknown for a part of that: the known part stands for
# it. The use of a workload is known where it is known of all its processes. A row longer than a window counts in each
# that it touches, as in METER_WINDOWS.
GPU_PROCESS_WINDOWS = f"""
SELECT tenant, host, window_end, zone, mig_instance, workload, any(kind) AS workload_kind, replica,
       if(countIf(busy IS NULL) = 0, sum(busy), NULL) AS busy_seconds, sum(memory) AS memory_bytes,
       max(slices) AS compute_slices, count() AS processes
FROM (
    SELECT tenant, host, toDateTime64(window_end_ms / 1000, 3, 'UTC') AS window_end, zone, mig_instance, workload,
           any(workload_kind) AS kind, replica, pid, process_started_ms, max(memory_bytes) AS memory,
           max(compute_slices) AS slices,
           sum(sm_utilization_ratio * interval_seconds)
               / nullIf(sumIf(interval_seconds, sm_utilization_ratio IS NOT NULL), 0)
               * least(sum(interval_seconds), {{window_ms:Float64}} / 1000) AS busy
    FROM (
        SELECT *, {TOUCHED} FROM gpu_process_sample FINAL WHERE {TOUCHING}
    )
    WHERE {IN_SPAN}
    GROUP BY tenant, host, window_end_ms, zone, mig_instance, workload, replica, pid, process_started_ms
)
GROUP BY tenant, host, window_end, zone, mig_instance, workload, replica
"""

# At rest: no process was on the GPU, or none used it. Both kinds of row come from one look and have one timestamp.
GPU_AT_REST = f"""
SELECT tenant, host, zone, quantile(0.02)(watts) AS lowest_watts,
       if(countIf(used = 0) >= 60, quantileIf(0.02)(watts, used = 0), NULL) AS rest_watts
FROM (
    SELECT tenant, host, zone, timestamp, assumeNotNull(power_watts) AS watts FROM meter_sample
    WHERE meter = 'nvml' AND power_watts IS NOT NULL AND timestamp > {{start:DateTime64(3, 'UTC')}} AND {MINE}
) AS boards LEFT JOIN (
    SELECT DISTINCT tenant, host, zone, timestamp, 1 AS used FROM gpu_process_sample
    WHERE timestamp > {{start:DateTime64(3, 'UTC')}} AND {MINE}
      AND (sm_utilization_ratio IS NULL OR sm_utilization_ratio > 0)
) AS busy USING (tenant, host, zone, timestamp)
GROUP BY tenant, host, zone HAVING count() >= 60
"""
