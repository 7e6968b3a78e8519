"""The view by reservation, in ClickHouse's SQL: idle of nodes, what workloads used and what they may use."""

from __future__ import annotations

from energy_orchestrator.services.series_queries import SPAN, WINDOW, of_nodes

# For the view by reservation: what each node spent at rest, and its size.
SCI_NODES = f"""
SELECT host, {WINDOW} AS window_end, sum(window_seconds) AS covered_seconds, sum(idle_joules) AS idle_joules,
       sum(node_joules) AS node_joules, sum(node_joules_lower) AS node_joules_lower,
       sum(node_joules_upper) AS node_joules_upper, sum(unattributed_joules) AS unattributed_joules
FROM node_energy FINAL WHERE tenant = {{tenant:String}} AND {SPAN} GROUP BY host, window_end
ORDER BY host, window_end
"""

SCI_WORKLOADS = f"""
SELECT host, window_end, workload, any(workload_kind) AS workload_kind, max(replicas) AS replicas,
       sum(active_joules) AS active_joules, sum(active_joules_lower) AS active_joules_lower,
       sum(active_joules_upper) AS active_joules_upper, sum(cpu_seconds) AS cpu_seconds, avg(memory) AS mem_bytes
FROM (
    SELECT host, {WINDOW} AS window_end, workload, timestamp, any(workload_energy.workload_kind) AS workload_kind,
           greatest(1, uniqExact(replica)) AS replicas, sum(workload_energy.active_joules) AS active_joules,
           sum(workload_energy.active_joules_lower) AS active_joules_lower,
           sum(workload_energy.active_joules_upper) AS active_joules_upper,
           sum(workload_energy.cpu_seconds) AS cpu_seconds, sum(mem_bytes) AS memory
    FROM workload_energy FINAL WHERE tenant = {{tenant:String}} AND {SPAN}
    GROUP BY host, window_end, workload, timestamp
) GROUP BY host, window_end, workload ORDER BY host, window_end, workload
"""

# CPUs that a replica may use, where all its processes may use the same: a quota or a set of CPUs of its own.
SCI_ALLOWED = f"""
SELECT host, workload, groupArray(allowed) AS cpus_allowed FROM (
    SELECT host, workload, replica, assumeNotNull(max(telemetry_sample.cpus_allowed)) AS allowed FROM telemetry_sample
    WHERE tenant = {{tenant:String}} AND workload_kind != 'kernel' AND {SPAN}
    GROUP BY host, workload, replica
    HAVING min(cpus_allowed) = max(cpus_allowed)
) GROUP BY host, workload
"""

SCI_SIZES = of_nodes("cpu_threads", "memory_bytes", "instance_type", "node_type")

# Operations while energy is known of: the newest seconds are not analysed yet.
SCI_OPERATIONS = f"""
SELECT workload, any(operation) AS operation, sum(operations) AS operations
FROM operation_sample FINAL
WHERE tenant = {{tenant:String}} AND {SPAN}
  AND timestamp > (SELECT min(timestamp - toIntervalMillisecond(toUInt64(window_seconds * 1000))) FROM node_energy
                   WHERE tenant = {{tenant:String}} AND {SPAN})
  AND timestamp <= (SELECT max(timestamp) FROM node_energy WHERE tenant = {{tenant:String}} AND {SPAN})
GROUP BY workload
"""
