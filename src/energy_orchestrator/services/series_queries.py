"""The questions that services ask of the series, in ClickHouse's SQL, one constant each.

A window is named by its end; a row belongs to the window its timestamp (the end of its own interval) lies in, a row
on the edge to the earlier one. FINAL drops rows that were stored twice. `covered_seconds` is the time that rows
really cover: rates are made with it, not with the width of the window. The latency of a replica in a window is the
mean of its rows' 95th percentiles weighted by operations (their maximum would be nearer the 99th); of several
replicas the slowest counts.

`buckets` are a worker's own (`shards.py`), none of them means all; `tenants` and `hosts`, paired, are a pack of hosts.
"""

from __future__ import annotations

from energy_orchestrator.services.shards import BUCKETS

_WINDOW = (
    "toDateTime64(ceil(toUnixTimestamp64Milli(timestamp) / {window_ms:Float64}) * {window_ms:Float64} / 1000, 3, 'UTC')"
)
_SPAN = "timestamp > {start:DateTime64(3, 'UTC')} AND timestamp <= {end:DateTime64(3, 'UTC')}"
_MINE = f"(empty({{buckets:Array(UInt16)}}) OR cityHash64(tenant, host) % {BUCKETS} IN {{buckets:Array(UInt16)}})"
_PACK = "(tenant, host) IN arrayZip({tenants:Array(String)}, {hosts:Array(String)})"
_MY_WORKLOADS = _MINE.replace("host", "workload")


def of_hosts(query: str) -> str:
    """A query of a tenant, of some of its hosts only: the parameter `hosts`."""
    return query.replace(
        "WHERE tenant = {tenant:String}", "WHERE tenant = {tenant:String} AND host IN {hosts:Array(String)}"
    )


WATERMARK = "SELECT max(timestamp) AS newest, count() AS n FROM node_energy"

# A worker's own: looks back from `start` on only, since the rows of 90 days are in the table.
WATERMARK_OF_WORKER = f"""
SELECT max(timestamp) AS newest, count() AS n FROM node_energy
WHERE timestamp > {{start:DateTime64(3, 'UTC')}} AND {_MINE}
"""

TENANTS = f"SELECT DISTINCT tenant FROM node_energy WHERE {_SPAN} ORDER BY tenant"

HOSTS_OF_SPAN = f"""
SELECT tenant, host, sum(n) AS n FROM (
    SELECT tenant, host, count() AS n FROM telemetry_sample WHERE {_SPAN} AND {_MINE} GROUP BY tenant, host
    UNION ALL
    SELECT tenant, host, count() AS n FROM meter_sample WHERE meter = 'kernel' AND {_SPAN} AND {_MINE}
    GROUP BY tenant, host
) GROUP BY tenant, host ORDER BY tenant, host
"""

OLDEST_SAMPLE = f"""
SELECT min(oldest) AS oldest, sum(n) AS n FROM (
    SELECT min(timestamp) AS oldest, count() AS n FROM meter_sample
    WHERE meter = 'kernel' AND timestamp > {{start:DateTime64(3, 'UTC')}} AND {_MINE}
    UNION ALL
    SELECT min(timestamp) AS oldest, count() AS n FROM telemetry_sample
    WHERE timestamp > {{start:DateTime64(3, 'UTC')}} AND {_MINE}
) WHERE n > 0
"""

KERNEL_WINDOWS = f"""
SELECT tenant, host, {_WINDOW} AS window_end, sum(interval_seconds) AS covered_seconds,
       sum(busy_cpu_seconds) AS busy_cpu_seconds
FROM meter_sample FINAL WHERE meter = 'kernel' AND {_SPAN} AND {_PACK} GROUP BY tenant, host, window_end
"""

MISSED_WINDOWS = f"""
SELECT min(window_end) AS first, max(window_end) AS last, count() AS n FROM (
    SELECT DISTINCT tenant, host, {_WINDOW} AS window_end FROM meter_sample
    WHERE meter = 'kernel' AND {_SPAN} AND {_MINE}
) AS arrived LEFT ANTI JOIN (
    SELECT tenant, host, timestamp AS window_end FROM node_energy
    WHERE timestamp > {{start:DateTime64(3, 'UTC')}}
) AS done USING (tenant, host, window_end)
"""

# A PDU or a BMC is asked less often than a window is long: its row counts for every window that its interval touches,
# as its mean over them. Energy is only ever divided by the seconds of the rows that tell energy. At tier wall a zone
# without a figure is kept, so that node_power.py can see that a part of the sum is unknown.
METER_WINDOWS = f"""
SELECT tenant, host, toDateTime64(window_end_ms / 1000, 3, 'UTC') AS window_end, meter, zone,
       assumeNotNull(tier) AS tier, sum(energy_joules) AS energy_joules, avg(power_watts) AS power_watts,
       sumIf(interval_seconds, energy_joules IS NOT NULL) AS covered_seconds
FROM (
    SELECT tenant, host, meter, zone, meter_sample.tier AS tier, meter_sample.energy_joules AS energy_joules,
           meter_sample.power_watts AS power_watts, interval_seconds,
           ceil(toUnixTimestamp64Milli(timestamp) / {{window_ms:Float64}}) AS last,
           ceil((toUnixTimestamp64Milli(timestamp) - interval_seconds * 1000 + 1) / {{window_ms:Float64}}) AS first,
           if(interval_seconds * 1000 <= {{window_ms:Float64}}, 1, least(last - first + 1, 720)) AS windows,
           (last - arrayJoin(range(toUInt32(windows)))) * {{window_ms:Float64}} AS window_end_ms
    FROM meter_sample FINAL
    WHERE {_PACK} AND tier IS NOT NULL AND (energy_joules IS NOT NULL OR power_watts IS NOT NULL OR tier = 'wall')
      AND timestamp > {{start:DateTime64(3, 'UTC')}} AND timestamp <= {{end:DateTime64(3, 'UTC')}} + INTERVAL 60 SECOND
)
WHERE window_end_ms > toUnixTimestamp64Milli({{start:DateTime64(3, 'UTC')}})
  AND window_end_ms <= toUnixTimestamp64Milli({{end:DateTime64(3, 'UTC')}})
GROUP BY tenant, host, window_end_ms, meter, zone, tier
"""

NODES_OF_TWO_TIERS = """
SELECT tenant, host FROM meter_sample
WHERE tier IS NOT NULL AND (energy_joules IS NOT NULL OR power_watts IS NOT NULL)
  AND timestamp > {start:DateTime64(3, 'UTC')}
GROUP BY tenant, host HAVING uniqExact(tier) > 1 ORDER BY tenant, host
"""

WORKLOAD_WINDOWS = f"""
SELECT tenant, host, window_end, workload, any(kind) AS workload_kind, replica,
       sum(cpu) AS cpu_seconds, sum(memory) AS mem_bytes, max(covered) AS covered_seconds
FROM (
    SELECT tenant, host, {_WINDOW} AS window_end, workload, any(workload_kind) AS kind, replica, pid,
           process_started_ms, sum(cpu_seconds) AS cpu, max(mem_bytes) AS memory, sum(interval_seconds) AS covered
    FROM telemetry_sample FINAL WHERE {_SPAN} AND {_PACK}
    GROUP BY tenant, host, window_end, workload, replica, pid, process_started_ms
)
GROUP BY tenant, host, window_end, workload, replica
"""

# What was calibrated on a better tier is told in that tier's watts.
IDLE_AT_REST = f"""
SELECT tenant, host, multiIf(position(power_source, 'calibrated on wall') > 0, 'wall',
                             position(power_source, 'calibrated on bmc') > 0, 'bmc', tier) AS told_tier,
       quantile(0.02)(node_joules / window_seconds) AS idle_watts,
       quantile(0.02)(busy_cpu_seconds / window_seconds) AS busy_cores, count() AS n
FROM node_energy
WHERE timestamp > {{start:DateTime64(3, 'UTC')}} AND tier != 'model' AND window_seconds > 0 AND {_MINE}
GROUP BY tenant, host, told_tier HAVING n >= 60
"""

# One node's own windows by a meter; those that the model spoke for would teach it nothing.
LOAD_HISTORY = """
SELECT timestamp, node_joules / window_seconds AS watts, busy_cpu_seconds / window_seconds AS busy_cores
FROM node_energy FINAL
WHERE tenant = {tenant:String} AND host = {host:String} AND tier = {tier:String}
  AND timestamp > {start:DateTime64(3, 'UTC')} AND window_seconds > 0
ORDER BY timestamp DESC LIMIT {most:UInt32}
"""

NODE_HARDWARE = """
SELECT tenant, host, argMax(cpu_threads, timestamp) AS cpu_threads, argMax(cores, timestamp) AS cores,
       argMax(sockets, timestamp) AS sockets, argMax(cpu_mhz, timestamp) AS cpu_mhz,
       argMax(memory_bytes, timestamp) AS memory_bytes, argMax(virtual, timestamp) AS virtual,
       argMax(cpu_model, timestamp) AS cpu_model
FROM inventory WHERE scope = 'node' GROUP BY tenant, host
"""

NODES = """
SELECT i.host AS host, i.cpu_model AS cpu_model, i.cpu_threads AS cpu_threads, i.memory_bytes AS memory_bytes,
       i.virtual AS virtual, i.capabilities AS capabilities, i.missing AS missing, m.last_seen AS last_seen
FROM (
    SELECT host, argMax(cpu_model, timestamp) AS cpu_model, argMax(cpu_threads, timestamp) AS cpu_threads,
           argMax(memory_bytes, timestamp) AS memory_bytes, argMax(virtual, timestamp) AS virtual,
           argMax(capabilities, timestamp) AS capabilities, argMax(missing, timestamp) AS missing
    FROM inventory WHERE tenant = {tenant:String} AND scope = 'node' GROUP BY host
) AS i LEFT JOIN (
    SELECT host, max(timestamp) AS last_seen FROM meter_sample WHERE tenant = {tenant:String} GROUP BY host
) AS m ON i.host = m.host ORDER BY host
"""

NODE_ENERGY = f"""
SELECT * FROM node_energy FINAL WHERE tenant = {{tenant:String}} AND host = {{host:String}} AND {_SPAN}
ORDER BY timestamp
"""

WORKLOAD_SPANS = f"""
SELECT host, workload, any(workload_kind) AS workload_kind, uniqExactIf(replica, replica IS NOT NULL) AS replicas,
       sum(active_joules) AS active_joules, sum(active_joules_lower) AS active_joules_lower,
       sum(active_joules_upper) AS active_joules_upper, sum(cpu_seconds) AS cpu_seconds, any(tier) AS tier
FROM workload_energy FINAL WHERE tenant = {{tenant:String}} AND {_SPAN}
GROUP BY host, workload ORDER BY sum(active_joules) DESC
"""

WORKLOAD_MEMORY = f"""
SELECT host, workload, toInt64(sum(memory)) AS mem_bytes FROM (
    SELECT host, workload, pid, process_started_ms, argMax(mem_bytes, timestamp) AS memory
    FROM telemetry_sample WHERE tenant = {{tenant:String}} AND {_SPAN}
    GROUP BY host, workload, pid, process_started_ms
) GROUP BY host, workload
"""

PEAKS = f"""
SELECT host, workload, quantile(0.95)(cpu_seconds / window_seconds) AS cpu_cores_p95, max(mem_bytes) AS mem_bytes,
       dateDiff('second', min(timestamp), max(timestamp)) AS history_seconds
FROM workload_energy FINAL WHERE tenant = {{tenant:String}} AND workload IN {{workloads:Array(String)}} AND {_SPAN}
GROUP BY host, workload
"""

YOUNGEST_REPLICA = f"""
SELECT workload, max(started) AS started_ms FROM (
    SELECT workload, replica, min(process_started_ms) AS started FROM telemetry_sample
    WHERE tenant = {{tenant:String}} AND workload_kind = 'declared' AND {_SPAN}
    GROUP BY host, workload, replica
) GROUP BY workload
"""

COVERED_SECONDS = f"""
SELECT host, sum(window_seconds) AS covered_seconds, sum(node_joules) AS node_joules, count() AS windows
FROM node_energy FINAL WHERE tenant = {{tenant:String}} AND {_SPAN} GROUP BY host
"""

COVERED_BY_WORKER = COVERED_SECONDS.replace("GROUP BY host", f"AND {_MINE} GROUP BY host ORDER BY host")

COUNTED_WORKLOADS = f"""
SELECT DISTINCT workload FROM operation_sample WHERE tenant = {{tenant:String}} AND {_SPAN} AND {_MY_WORKLOADS}
ORDER BY workload
"""

OPERATION_SPANS = f"""
SELECT host, workload, any(operation) AS operation, sum(operations) AS operations, sum(errors) AS errors,
       sum(interval_seconds) / greatest(1, uniqExact(replica)) AS covered_seconds,
       quantile(0.9)(latency_p95_seconds) AS latency_p95_seconds, avg(queue_depth) AS queue_depth,
       max(queue_depth) AS queue_depth_max
FROM operation_sample FINAL WHERE tenant = {{tenant:String}} AND {_SPAN} GROUP BY host, workload
"""

INVENTORY_SPANS = """
SELECT host, workload, anyLast(language) AS language, anyLast(image) AS image,
       arrayDistinct(arrayFlatten(groupArray(20)(libraries))) AS libraries
FROM inventory WHERE tenant = {tenant:String} AND scope = 'process'
GROUP BY host, workload
"""

VERSIONS = """
SELECT workload, coalesce(image_digest, image) AS version, min(timestamp) AS first_seen
FROM inventory WHERE tenant = {tenant:String} AND scope = 'process' AND coalesce(image_digest, image) IS NOT NULL
GROUP BY workload, version ORDER BY workload, first_seen
"""

HOTSPOTS = f"""
SELECT workload, topK(5)(stack[-1]) AS functions, sum(sample_count) AS samples
FROM profile_sample WHERE tenant = {{tenant:String}} AND {_SPAN} AND length(stack) > 0 GROUP BY workload
"""

KNOWN_FUNCTIONS = f"""
SELECT workload, function, sum(sample_count) AS samples FROM (
    SELECT workload, sample_count, arrayJoin(arrayDistinct(stack)) AS function
    FROM profile_sample FINAL WHERE tenant = {{tenant:String}} AND {_SPAN} AND length(stack) > 0
) WHERE match(function, {{pattern:String}}) GROUP BY workload, function ORDER BY samples DESC LIMIT 20 BY workload
"""

STACKS = f"""
SELECT stack, sum(sample_count) AS samples FROM profile_sample FINAL
WHERE tenant = {{tenant:String}} AND workload = {{workload:String}} AND {_SPAN}
GROUP BY stack ORDER BY sum(sample_count) DESC LIMIT 20000
"""

FINGERPRINT_STACKS = f"""
SELECT workload, stack, sum(sample_count) AS samples FROM profile_sample FINAL
WHERE tenant = {{tenant:String}} AND {_SPAN} AND length(stack) > 0
GROUP BY workload, stack ORDER BY workload, samples DESC LIMIT 2000 BY workload
"""

# Switches are NULL where no process of the workload shows them.
FINGERPRINT_USES = f"""
SELECT workload, tick, sum(cpu) AS cpu_seconds, sum(memory) AS resident_bytes, sum(tasks) AS threads,
       sum(switches) AS voluntary_switches
FROM (
    SELECT workload, toStartOfInterval(timestamp, INTERVAL 10 SECOND) AS tick, host, pid, sum(cpu_seconds) AS cpu,
           avg(mem_bytes) AS memory, max(threads) AS tasks, sum(voluntary_switches) AS switches
    FROM telemetry_sample FINAL WHERE tenant = {{tenant:String}} AND {_SPAN} GROUP BY workload, tick, host, pid
) GROUP BY workload, tick ORDER BY workload, tick
"""

REPLICA_ENERGY = f"""
SELECT workload, timestamp, sum(active_joules) AS active_joules, sum(cpu_seconds) AS cpu_seconds,
       any(window_seconds) AS covered_seconds
FROM workload_energy FINAL
WHERE tenant = {{tenant:String}} AND workload IN {{workloads:Array(String)}} AND {_SPAN}
  AND ({{all:Bool}} OR has({{replicas:Array(String)}}, assumeNotNull(replica)))
GROUP BY workload, timestamp ORDER BY workload, timestamp
"""

REPLICA_OPERATIONS = f"""
SELECT workload, window_end, sum(done) AS operations, sum(failed) AS errors, avg(covered) AS covered_seconds,
       max(latency) AS latency_p95_seconds
FROM (
    SELECT workload, {_WINDOW} AS window_end, host, replica, sum(operations) AS done, sum(errors) AS failed,
           sum(interval_seconds) AS covered,
           sumIf(latency_p95_seconds * operations, latency_p95_seconds IS NOT NULL)
               / nullIf(sumIf(operations, latency_p95_seconds IS NOT NULL), 0) AS latency
    FROM operation_sample FINAL
    WHERE tenant = {{tenant:String}} AND workload IN {{workloads:Array(String)}} AND {_SPAN}
      AND ({{all:Bool}} OR has({{replicas:Array(String)}}, assumeNotNull(replica)))
    GROUP BY workload, window_end, host, replica
)
GROUP BY workload, window_end ORDER BY workload, window_end
"""

NEIGHBOURS = f"""
SELECT workload, uniqExactIf(timestamp, timestamp <= {{changed:DateTime64(3, 'UTC')}}) AS before,
       uniqExactIf(timestamp, timestamp > {{changed:DateTime64(3, 'UTC')}}) AS after
FROM operation_sample
WHERE tenant = {{tenant:String}} AND {_SPAN} AND operations > 0 AND workload != {{workload:String}} AND host IN (
    SELECT host FROM workload_energy WHERE tenant = {{tenant:String}} AND workload = {{workload:String}} AND {_SPAN}
)
GROUP BY workload HAVING before > 0 AND after > 0 ORDER BY least(before, after) DESC, workload LIMIT 20
"""

PROCESS_BEHAVIOUR = f"""
SELECT host, workload, max(threads) AS threads, min(cpus_allowed) AS cpus_allowed,
       sum(involuntary) AS involuntary_per_second, sum(voluntary) AS voluntary_per_second
FROM (
    SELECT host, workload, pid, process_started_ms, max(threads) AS threads, min(cpus_allowed) AS cpus_allowed,
           sumIf(involuntary_switches, involuntary_switches IS NOT NULL)
               / greatest(0.001, sumIf(interval_seconds, involuntary_switches IS NOT NULL)) AS involuntary,
           if(countIf(voluntary_switches IS NOT NULL) = 0, NULL,
              sumIf(voluntary_switches, voluntary_switches IS NOT NULL)
                  / greatest(0.001, sumIf(interval_seconds, voluntary_switches IS NOT NULL))) AS voluntary
    FROM telemetry_sample FINAL WHERE tenant = {{tenant:String}} AND {_SPAN}
    GROUP BY host, workload, pid, process_started_ms
)
GROUP BY host, workload
"""

ENERGY_TOTALS = """
SELECT tenant, host, tier, sum(node_joules) AS node_joules, sum(idle_joules) AS idle_joules,
       sum(active_joules) AS active_joules, sum(unattributed_joules) AS unattributed_joules
FROM node_energy FINAL WHERE tenant = {tenant:String} GROUP BY tenant, host, tier
"""

# Of the newest hour: by how much idle, workloads and unattributed of a window miss or exceed the node, at worst.
CONSERVATION = """
SELECT n.host AS host,
       max(abs(n.node_joules - n.idle_joules - n.unattributed_joules - w.active_joules) / n.node_joules) AS worst
FROM (
    SELECT host, timestamp, node_joules, idle_joules, unattributed_joules FROM node_energy FINAL
    WHERE tenant = {tenant:String} AND node_joules > 0 AND timestamp > (
        SELECT max(timestamp) FROM node_energy WHERE tenant = {tenant:String}) - INTERVAL 1 HOUR
) AS n
LEFT JOIN (
    SELECT host, timestamp, sum(active_joules) AS active_joules FROM workload_energy FINAL
    WHERE tenant = {tenant:String} AND timestamp > (
        SELECT max(timestamp) FROM node_energy WHERE tenant = {tenant:String}) - INTERVAL 1 HOUR
    GROUP BY host, timestamp
) AS w ON n.host = w.host AND n.timestamp = w.timestamp
GROUP BY n.host
"""

WORKLOAD_TOTALS = """
SELECT host, workload, tier, sum(active_joules) AS active_joules
FROM workload_energy FINAL WHERE tenant = {tenant:String} GROUP BY host, workload, tier
ORDER BY sum(active_joules) DESC LIMIT 1000
"""
