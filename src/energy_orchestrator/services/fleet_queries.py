"""What runs where, over a span of a tenant, in ClickHouse's SQL: for the fleet file that placement reads."""

from __future__ import annotations

from energy_orchestrator.services.series_queries import SPAN, of_nodes

_OF_TENANT = f"tenant = {{tenant:String}} AND {SPAN}"

LIVE_NODES = f"""
SELECT host, cpu_threads, memory_bytes, cpu_model, instance_type, idle_watts, watts_a_core FROM (
    SELECT host, sum(idle_joules) / sum(window_seconds) AS idle_watts,
           sum(active_joules + unattributed_joules) / nullIf(sum(busy_cpu_seconds), 0) AS watts_a_core
    FROM node_energy FINAL WHERE {_OF_TENANT} GROUP BY host HAVING sum(window_seconds) > 0
) AS energy INNER JOIN (
    {of_nodes("cpu_threads", "memory_bytes", "cpu_model", "instance_type")}
) AS machine USING (host) ORDER BY host
"""

# A workload is quiet in the windows that it has no row of: they count as none of its mean.
LIVE_WORKLOADS = f"""
SELECT host, workload, any(kind) AS workload_kind, quantile(0.95)(cores) AS cores_p95,
       sum(cpu) / any(node_seconds) AS mean_cores, max(memory) AS mem_bytes
FROM (
    SELECT host, workload, timestamp, any(workload_kind) AS kind, sum(cpu_seconds) AS cpu,
           sum(cpu_seconds) / any(window_seconds) AS cores, sum(mem_bytes) AS memory
    FROM workload_energy FINAL WHERE {_OF_TENANT} AND window_seconds > 0 GROUP BY host, workload, timestamp
) AS windows INNER JOIN (
    SELECT host, sum(window_seconds) AS node_seconds FROM node_energy FINAL WHERE {_OF_TENANT} GROUP BY host
) AS node USING (host)
GROUP BY host, workload ORDER BY workload, host
"""

LIVE_REPLICAS = """
SELECT host, workload, uniqExact(coalesce(replica, pod_id, container_id, '')) AS replicas FROM telemetry_sample
WHERE tenant = {tenant:String} AND timestamp > {lately:DateTime64(3, 'UTC')}
GROUP BY host, workload
"""

OWNERS = """
SELECT workload, argMax(owner, timestamp) AS owner FROM inventory
WHERE tenant = {tenant:String} AND scope = 'process' AND owner IS NOT NULL GROUP BY workload
"""
