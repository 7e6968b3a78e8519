"""J/op by version and node type, in ClickHouse's SQL: energy, operations and what ran, of one workload by window."""

from __future__ import annotations

from energy_orchestrator.services.series_queries import MY_WORKLOADS, SPAN, WINDOW

_OF_WORKLOAD = "tenant = {tenant:String} AND workload = {workload:String}"

COST_ENERGY = f"""
SELECT host, replica, {WINDOW} AS window_end, groupUniqArray(toString(tier)) AS tiers,
       sum(active_joules) AS active_joules, sum(active_joules_lower) AS active_joules_lower,
       sum(active_joules_upper) AS active_joules_upper, sum(window_seconds) AS covered_seconds
FROM workload_energy FINAL WHERE {_OF_WORKLOAD} AND {SPAN} GROUP BY host, replica, window_end
"""

COST_OPERATIONS = f"""
SELECT host, replica, {WINDOW} AS window_end, any(operation) AS operation, sum(operations) AS operations,
       sum(interval_seconds) AS covered_seconds
FROM operation_sample FINAL WHERE {_OF_WORKLOAD} AND {SPAN} GROUP BY host, replica, window_end
"""

# Candidates: what names a version is looked at where J/op is told by version.
SEVERAL_VERSIONS = f"""
SELECT workload FROM inventory
WHERE tenant = {{tenant:String}} AND scope = 'process' AND workload IS NOT NULL AND {MY_WORKLOADS}
  AND workload IN (SELECT workload FROM operation_sample WHERE tenant = {{tenant:String}} AND {SPAN})
GROUP BY workload
HAVING uniqExact(image_digest) > 1 OR uniqExact(image) > 1 OR uniqExact(checksum) > 1
ORDER BY workload LIMIT {{most:UInt32}}
"""

# What used the CPU in each window, with what names its version. Process rows are joined with the inventory by process,
# so it does not matter when the inventory told of it.
COST_PROGRAMS = f"""
SELECT host, replica, window_end, ifNull(program, seen_command) AS command, image_digest, image, checksum,
       sum(cpu) AS cpu_seconds
FROM (
    SELECT host, replica, {WINDOW} AS window_end, pid, process_started_ms, any(command) AS seen_command,
           sum(cpu_seconds) AS cpu
    FROM telemetry_sample FINAL WHERE {_OF_WORKLOAD} AND host IN {{hosts:Array(String)}} AND {SPAN}
    GROUP BY host, replica, window_end, pid, process_started_ms
) AS used LEFT JOIN (
    SELECT host, assumeNotNull(pid) AS pid, assumeNotNull(process_started_ms) AS process_started_ms,
           argMax(command_line, timestamp) AS program, argMax(inventory.image_digest, timestamp) AS image_digest,
           argMax(inventory.image, timestamp) AS image, argMax(inventory.checksum, timestamp) AS checksum
    FROM inventory WHERE {_OF_WORKLOAD} AND scope = 'process' AND host IN {{hosts:Array(String)}}
    GROUP BY host, pid, process_started_ms
) AS known USING (host, pid, process_started_ms)
GROUP BY host, replica, window_end, command, image_digest, image, checksum
"""

# When each node was first seen as what it is: the best name that is known of it, and each change of it.
NODE_TYPES = """
SELECT host, at, name FROM (
    SELECT host, timestamp AS at, name,
           row_number() OVER (PARTITION BY host ORDER BY timestamp) AS place,
           lagInFrame(name) OVER (PARTITION BY host ORDER BY timestamp) AS before
    FROM (
        SELECT host, timestamp, if(sum(instance_type IS NOT NULL) OVER (PARTITION BY host) > 0, instance_type, nullIf(
                   arrayStringConcat(arrayFilter(part -> part != '', [ifNull(node_type, ''), ifNull(cpu_model, ''),
                       ifNull(concat(toString(cpu_threads), ' threads'), '')]), ', '), '')) AS name
        FROM inventory WHERE tenant = {tenant:String} AND scope = 'node' AND host IN {hosts:Array(String)}
          AND timestamp > {since:DateTime64(3, 'UTC')} AND timestamp <= {end:DateTime64(3, 'UTC')}
    ) WHERE name IS NOT NULL
) WHERE place = 1 OR name != before ORDER BY host, at
"""

# The meter's bounds of each workload's energy, as factors of it.
WORKLOAD_BOUNDS = f"""
SELECT workload, sum(active_joules_lower) / sum(active_joules) AS low,
       sum(active_joules_upper) / sum(active_joules) AS high
FROM workload_energy FINAL
WHERE tenant = {{tenant:String}} AND workload IN {{workloads:Array(String)}} AND {SPAN}
GROUP BY workload HAVING sum(active_joules) > 0
"""
