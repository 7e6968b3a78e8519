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

WINDOW = (
    "toDateTime64(ceil(toUnixTimestamp64Milli(timestamp) / {window_ms:Float64}) * {window_ms:Float64} / 1000, 3, 'UTC')"
)
SPAN = "timestamp > {start:DateTime64(3, 'UTC')} AND timestamp <= {end:DateTime64(3, 'UTC')}"
MINE = f"(empty({{buckets:Array(UInt16)}}) OR cityHash64(tenant, host) % {BUCKETS} IN {{buckets:Array(UInt16)}})"
PACK = "(tenant, host) IN arrayZip({tenants:Array(String)}, {hosts:Array(String)})"
MY_WORKLOADS = MINE.replace("host", "workload")


# Of rows whose interval may be longer than a window: each counts in every window that it touches. `TOUCHING` are the
# rows of a span, `TOUCHED` makes one of each such window, `IN_SPAN` keeps those windows that are in the span.
TOUCHING = f"""{PACK}
      AND timestamp > {{start:DateTime64(3, 'UTC')}}
      AND timestamp <= {{end:DateTime64(3, 'UTC')}} + INTERVAL 60 SECOND"""
TOUCHED = """ceil(toUnixTimestamp64Milli(timestamp) / {window_ms:Float64}) AS last,
           ceil((toUnixTimestamp64Milli(timestamp) - interval_seconds * 1000 + 1) / {window_ms:Float64}) AS first,
           if(interval_seconds * 1000 <= {window_ms:Float64}, 1, least(last - first + 1, 720)) AS windows,
           (last - arrayJoin(range(toUInt32(windows)))) * {window_ms:Float64} AS window_end_ms"""
IN_SPAN = """window_end_ms > toUnixTimestamp64Milli({start:DateTime64(3, 'UTC')})
  AND window_end_ms <= toUnixTimestamp64Milli({end:DateTime64(3, 'UTC')})"""


def of_nodes(*columns: str) -> str:
    """What the newest rows of a tenant's nodes say, a row a host."""
    newest = ", ".join(f"argMax({it}, timestamp) AS {it}" for it in columns)
    return f"SELECT host, {newest} FROM inventory WHERE tenant = {{tenant:String}} AND scope = 'node' GROUP BY host"


def of_hosts(query: str) -> str:
    """A query of a tenant, of some of its hosts only: the parameter `hosts`."""
    return query.replace(
        "WHERE tenant = {tenant:String}", "WHERE tenant = {tenant:String} AND host IN {hosts:Array(String)}"
    )


WATERMARK = "SELECT max(timestamp) AS newest, count() AS n FROM node_energy"

# A worker's own: looks back from `start` on only, since the rows of 90 days are in the table.
WATERMARK_OF_WORKER = f"""
SELECT max(timestamp) AS newest, count() AS n FROM node_energy
WHERE timestamp > {{start:DateTime64(3, 'UTC')}} AND {MINE}
"""

TENANTS = f"SELECT DISTINCT tenant FROM node_energy WHERE {SPAN} ORDER BY tenant"

HOSTS_OF_SPAN = f"""
SELECT tenant, host, sum(n) AS n FROM (
    SELECT tenant, host, count() AS n FROM telemetry_sample WHERE {SPAN} AND {MINE} GROUP BY tenant, host
    UNION ALL
    SELECT tenant, host, count() AS n FROM meter_sample WHERE meter = 'kernel' AND {SPAN} AND {MINE}
    GROUP BY tenant, host
) GROUP BY tenant, host ORDER BY tenant, host
"""

OLDEST_SAMPLE = f"""
SELECT min(oldest) AS oldest, sum(n) AS n FROM (
    SELECT min(timestamp) AS oldest, count() AS n FROM meter_sample
    WHERE meter = 'kernel' AND timestamp > {{start:DateTime64(3, 'UTC')}} AND {MINE}
    UNION ALL
    SELECT min(timestamp) AS oldest, count() AS n FROM telemetry_sample
    WHERE timestamp > {{start:DateTime64(3, 'UTC')}} AND {MINE}
) WHERE n > 0
"""

_COUNTED = f"""
    SELECT tenant, host, {WINDOW} AS window_end, ifNull(workload, '') AS counted, sum(cycles) AS cycles,
           sum(cache_misses) AS cache_misses, sum(cpu_seconds) AS counted_seconds
    FROM counter_sample FINAL
    WHERE {SPAN} AND {PACK} AND cycles IS NOT NULL AND (cgroup = 'node' OR workload IS NOT NULL)
    GROUP BY tenant, host, window_end, counted
"""

# `speed` is cycles a CPU second, by the counters, else by the clock that the kernel shows; `uneven` says that this
# clock changed within the window by more than it wavers.
KERNEL_WINDOWS = f"""
SELECT tenant, host, window_end, covered_seconds, busy_cpu_seconds,
       coalesce(cycles / nullIf(busy_cpu_seconds, 0), megahertz * 1e6) AS speed, cycles IS NOT NULL AS counted,
       cache_misses / nullIf(busy_cpu_seconds, 0) AS misses_per_second, uneven
FROM (
    SELECT tenant, host, {WINDOW} AS window_end, sum(interval_seconds) AS covered_seconds,
           sum(meter_sample.busy_cpu_seconds) AS busy_cpu_seconds,
           sumIf(frequency_mhz * meter_sample.busy_cpu_seconds, frequency_mhz IS NOT NULL)
               / nullIf(sumIf(meter_sample.busy_cpu_seconds, frequency_mhz IS NOT NULL), 0) AS megahertz,
           ifNull(max(frequency_mhz) > 1.02 * min(frequency_mhz), false) AS uneven
    FROM meter_sample FINAL WHERE meter = 'kernel' AND {SPAN} AND {PACK} GROUP BY tenant, host, window_end
) AS kernel LEFT JOIN (SELECT * FROM ({_COUNTED}) WHERE counted = '') AS node USING (tenant, host, window_end)
"""

MISSED_WINDOWS = f"""
SELECT min(window_end) AS first, max(window_end) AS last, count() AS n FROM (
    SELECT DISTINCT tenant, host, {WINDOW} AS window_end FROM meter_sample
    WHERE meter = 'kernel' AND {SPAN} AND {MINE}
) AS arrived LEFT ANTI JOIN (
    SELECT tenant, host, timestamp AS window_end FROM node_energy
    WHERE timestamp > {{start:DateTime64(3, 'UTC')}}
) AS done USING (tenant, host, window_end)
"""

# A PDU or a BMC is asked less often than a window is long: its row counts for every window that its interval touches,
# as its mean over them. Energy is only ever divided by the seconds of the rows that tell energy. A zone without a
# figure is kept, so that node_power.py can see that a part of the sum is unknown.
METER_WINDOWS = f"""
SELECT tenant, host, toDateTime64(window_end_ms / 1000, 3, 'UTC') AS window_end, meter, zone,
       assumeNotNull(tier) AS tier, sum(energy_joules) AS energy_joules, avg(power_watts) AS power_watts,
       sumIf(interval_seconds, energy_joules IS NOT NULL) AS covered_seconds
FROM (
    SELECT tenant, host, meter, zone, meter_sample.tier AS tier, meter_sample.energy_joules AS energy_joules,
           meter_sample.power_watts AS power_watts, interval_seconds,
           {TOUCHED}
    FROM meter_sample FINAL
    WHERE tier IS NOT NULL AND {TOUCHING}
)
WHERE {IN_SPAN}
GROUP BY tenant, host, window_end_ms, meter, zone, tier
"""

NODES_OF_TWO_TIERS = """
SELECT tenant, host FROM meter_sample
WHERE tier IS NOT NULL AND (energy_joules IS NOT NULL OR power_watts IS NOT NULL)
  AND timestamp > {start:DateTime64(3, 'UTC')}
GROUP BY tenant, host HAVING uniqExact(tier) > 1 ORDER BY tenant, host
"""

_WORKLOAD_WINDOWS = """
SELECT rows.*, coalesce(cycles / nullIf(counted_seconds, 0), megahertz * 1e6) AS speed, cycles IS NOT NULL AS counted,
       cache_misses / nullIf(counted_seconds, 0) AS misses_per_second
FROM (
    SELECT tenant, host, window_end, workload, any(kind) AS workload_kind, replica, sum(cpu) AS cpu_seconds,
           sum(memory) AS mem_bytes, max(covered) AS covered_seconds, sum(turns) / nullIf(sum(cpu), 0) AS megahertz
    FROM (
        SELECT tenant, host, {window} AS window_end, workload, any(workload_kind) AS kind, replica, pid,
               process_started_ms, sum(cpu_seconds) AS cpu, max(mem_bytes) AS memory, sum(interval_seconds) AS covered,
               {turns} AS turns
        FROM {samples} WHERE {span} AND {pack}
        GROUP BY tenant, host, window_end, workload, replica, pid, process_started_ms
    )
    GROUP BY tenant, host, window_end, workload, replica
) AS rows LEFT JOIN ({by_workload}) AS counters
    ON rows.tenant = counters.tenant AND rows.host = counters.host AND rows.window_end = counters.window_end
   AND rows.workload = counters.counted
"""
_PARTS = {
    "window": WINDOW,
    "span": SPAN,
    "pack": PACK,
    "by_workload": f"SELECT * FROM ({_COUNTED}) WHERE counted != ''",
}

WORKLOAD_WINDOWS = _WORKLOAD_WINDOWS.format(
    samples="telemetry_sample FINAL", turns="CAST(NULL, 'Nullable(Float64)')", **_PARTS
)

# The same where the clock changed within a window: each row of a process counts by the clock of its moment.
WORKLOAD_WINDOWS_BY_CLOCK = _WORKLOAD_WINDOWS.format(
    samples=f"""(
            SELECT * FROM telemetry_sample FINAL WHERE {SPAN} AND {PACK}
        ) AS sample LEFT JOIN (
            SELECT tenant, host, timestamp, any(frequency_mhz) AS frequency_mhz FROM meter_sample
            WHERE meter = 'kernel' AND {SPAN} AND {PACK} GROUP BY tenant, host, timestamp
        ) AS clock USING (tenant, host, timestamp)""",
    turns="if(countIf(frequency_mhz IS NULL) > 0, NULL, sum(cpu_seconds * frequency_mhz))",
    **_PARTS,
)

# What was calibrated on a better tier is told in that tier's watts; bins are of loads a fifth apart. `hosts`, paired
# with `tenants`: of these only. sumMap leaves out sums of nought, so the CPUs of a bin are summed with one each.
IDLE_AT_REST = f"""
SELECT tenant, host, told_tier, quantile(0.02)(watts) AS idle_watts, quantile(0.02)(cores) AS busy_cores, count() AS n,
       sumMap([bin], [toFloat64(1)]).2 AS windows_of_bins, sumMap([bin], [watts]).2 AS watts_of_bins,
       sumMap([bin], [toFloat64(1) + cores]).2 AS shifted_cores,
       arrayMap((shifted, windows) -> shifted - windows, shifted_cores, windows_of_bins) AS cores_of_bins
FROM (
    SELECT tenant, host, multiIf(position(power_source, 'calibrated on wall') > 0, 'wall',
                                 position(power_source, 'calibrated on bmc') > 0, 'bmc', tier) AS told_tier,
           node_joules / window_seconds AS watts, busy_cpu_seconds / window_seconds AS cores,
           toInt32(round(4 * log2(greatest(cores, 0.01)))) AS bin
    FROM node_energy
    WHERE timestamp > {{start:DateTime64(3, 'UTC')}} AND tier != 'model' AND node_joules > 0 AND window_seconds > 0
      AND {MINE} AND (empty({{hosts:Array(String)}}) OR {PACK})
)
GROUP BY tenant, host, told_tier HAVING n >= 60
"""

MEMORY_AT_REST = f"""
SELECT tenant, host, meter, zone, quantile(0.02)(energy_joules / interval_seconds) AS rest_watts
FROM meter_sample
WHERE timestamp > {{start:DateTime64(3, 'UTC')}} AND energy_joules IS NOT NULL AND interval_seconds > 0
  AND endsWith(zone, 'dram') AND {MINE}
GROUP BY tenant, host, meter, zone
"""

# One node's own windows by a meter; those that the model spoke for would teach it nothing.
LOAD_HISTORY = """
SELECT timestamp, node_joules / window_seconds AS watts, busy_cpu_seconds / window_seconds AS busy_cores
FROM node_energy FINAL
WHERE tenant = {tenant:String} AND host = {host:String} AND tier = {tier:String}
  AND timestamp > {start:DateTime64(3, 'UTC')} AND window_seconds > 0
ORDER BY timestamp DESC LIMIT {most:UInt32}
"""

# One row for each machine that a node's name stood for since `start`.
NODE_HARDWARE = """
SELECT tenant, host, cpu_model, sockets, cores, cpu_threads, virtual, min(timestamp) AS since, max(timestamp) AS until,
       argMax(cpu_mhz, timestamp) AS cpu_mhz, argMax(memory_bytes, timestamp) AS memory_bytes
FROM inventory WHERE scope = 'node' AND timestamp > {start:DateTime64(3, 'UTC')}
GROUP BY tenant, host, cpu_model, sockets, cores, cpu_threads, virtual ORDER BY tenant, host, since
"""

NODES = f"""
SELECT i.host AS host, i.cpu_model AS cpu_model, i.cpu_threads AS cpu_threads, i.memory_bytes AS memory_bytes,
       i.virtual AS virtual, i.capabilities AS capabilities, i.missing AS missing, m.last_seen AS last_seen
FROM (
    {of_nodes("cpu_model", "cpu_threads", "memory_bytes", "virtual", "capabilities", "missing")}
) AS i LEFT JOIN (
    SELECT host, max(timestamp) AS last_seen FROM meter_sample WHERE tenant = {{tenant:String}} GROUP BY host
) AS m ON i.host = m.host ORDER BY host
"""

NODE_ENERGY = f"""
SELECT * FROM node_energy FINAL WHERE tenant = {{tenant:String}} AND host = {{host:String}} AND {SPAN}
ORDER BY timestamp
"""

WORKLOAD_SPANS = f"""
SELECT host, workload, any(workload_kind) AS workload_kind, uniqExactIf(replica, replica IS NOT NULL) AS replicas,
       sum(active_joules) AS active_joules, sum(active_joules_lower) AS active_joules_lower,
       sum(active_joules_upper) AS active_joules_upper, sum(cpu_seconds) AS cpu_seconds, any(tier) AS tier
FROM workload_energy FINAL WHERE tenant = {{tenant:String}} AND {SPAN}
GROUP BY host, workload ORDER BY sum(active_joules) DESC
"""

WORKLOAD_MEMORY = f"""
SELECT host, workload, toInt64(sum(memory)) AS mem_bytes FROM (
    SELECT host, workload, pid, process_started_ms, argMax(mem_bytes, timestamp) AS memory
    FROM telemetry_sample WHERE tenant = {{tenant:String}} AND {SPAN}
    GROUP BY host, workload, pid, process_started_ms
) GROUP BY host, workload
"""

PEAKS = f"""
SELECT host, workload, quantile(0.95)(cpu_seconds / window_seconds) AS cpu_cores_p95, max(mem_bytes) AS mem_bytes,
       dateDiff('second', min(timestamp), max(timestamp)) AS history_seconds
FROM workload_energy FINAL WHERE tenant = {{tenant:String}} AND workload IN {{workloads:Array(String)}} AND {SPAN}
GROUP BY host, workload
"""

YOUNGEST_REPLICA = f"""
SELECT workload, max(started) AS started_ms FROM (
    SELECT workload, replica, min(process_started_ms) AS started FROM telemetry_sample
    WHERE tenant = {{tenant:String}} AND workload_kind = 'declared' AND {SPAN}
    GROUP BY host, workload, replica
) GROUP BY workload
"""

COVERED_SECONDS = f"""
SELECT host, sum(window_seconds) AS covered_seconds, sum(node_joules) AS node_joules, count() AS windows
FROM node_energy FINAL WHERE tenant = {{tenant:String}} AND {SPAN} GROUP BY host
"""

COVERED_BY_WORKER = COVERED_SECONDS.replace("GROUP BY host", f"AND {MINE} GROUP BY host ORDER BY host")

COUNTED_WORKLOADS = f"""
SELECT DISTINCT workload FROM operation_sample WHERE tenant = {{tenant:String}} AND {SPAN} AND {MY_WORKLOADS}
ORDER BY workload
"""

OPERATION_NAMES = f"""
SELECT workload, any(operation) AS operation FROM operation_sample
WHERE tenant = {{tenant:String}} AND workload IN {{workloads:Array(String)}} AND {SPAN}
GROUP BY workload HAVING uniqExact(operation) = 1
"""

INVENTORY_SPANS = """
SELECT host, workload, anyLast(language) AS language, anyLast(image) AS image,
       arrayDistinct(arrayFlatten(groupArray(20)(libraries))) AS libraries
FROM inventory WHERE tenant = {tenant:String} AND scope = 'process'
GROUP BY host, workload
"""

# Processes of workloads that lived after `since` (agents tell of each every five minutes), and what names a version.
STARTED_PROCESSES = """
SELECT workload, host, process_started_ms, ifNull(argMax(command_line, timestamp), '') AS command,
       argMax(inventory.image_digest, timestamp) AS image_digest, argMax(inventory.image, timestamp) AS image,
       argMax(inventory.checksum, timestamp) AS checksum
FROM inventory
WHERE tenant = {tenant:String} AND scope = 'process' AND workload IN {workloads:Array(String)}
  AND timestamp > {since:DateTime64(3, 'UTC')} AND process_started_ms IS NOT NULL
GROUP BY workload, host, pid, process_started_ms
"""

HOTSPOTS = f"""
SELECT workload, topK(5)(stack[-1]) AS functions, sum(sample_count) AS samples
FROM profile_sample WHERE tenant = {{tenant:String}} AND {SPAN} AND length(stack) > 0 GROUP BY workload
"""

KNOWN_FUNCTIONS = f"""
SELECT workload, function, sum(sample_count) AS samples FROM (
    SELECT workload, sample_count, arrayJoin(arrayDistinct(stack)) AS function
    FROM profile_sample FINAL WHERE tenant = {{tenant:String}} AND {SPAN} AND length(stack) > 0
) WHERE match(function, {{pattern:String}}) GROUP BY workload, function ORDER BY samples DESC LIMIT 40 BY workload
"""

STACKS = f"""
SELECT stack, sum(sample_count) AS samples FROM profile_sample FINAL
WHERE tenant = {{tenant:String}} AND workload = {{workload:String}} AND {SPAN}
GROUP BY stack ORDER BY sum(sample_count) DESC LIMIT 20000
"""

# By bucket the rows that the next two give, at most.
FINGERPRINT_BUCKETS = f"""
SELECT toInt32(cityHash64(tenant, workload) % {BUCKETS}) AS bucket,
       toInt64(sum(least(n, 2000) + {{ticks:Float64}})) AS n
FROM (
    SELECT tenant, workload, count() AS n FROM profile_sample
    WHERE tenant = {{tenant:String}} AND {SPAN} AND {MY_WORKLOADS} AND length(stack) > 0
      AND workload_kind != 'unattributed'
    GROUP BY tenant, workload
) GROUP BY bucket ORDER BY bucket
"""

FINGERPRINT_STACKS = f"""
SELECT workload, stack, sum(sample_count) AS samples FROM profile_sample FINAL
WHERE tenant = {{tenant:String}} AND {SPAN} AND {MY_WORKLOADS} AND length(stack) > 0
  AND workload_kind != 'unattributed'
GROUP BY workload, stack ORDER BY workload, samples DESC LIMIT 2000 BY workload
"""

# Switches are NULL where no process of the workload shows them.
FINGERPRINT_USES = f"""
SELECT workload, tick, sum(cpu) AS cpu_seconds, sum(memory) AS resident_bytes, sum(tasks) AS threads,
       sum(switches) AS voluntary_switches
FROM (
    SELECT workload, toStartOfInterval(timestamp, INTERVAL 10 SECOND) AS tick, host, pid, sum(cpu_seconds) AS cpu,
           avg(mem_bytes) AS memory, max(threads) AS tasks, sum(voluntary_switches) AS switches
    FROM telemetry_sample FINAL
    WHERE tenant = {{tenant:String}} AND {SPAN} AND {MY_WORKLOADS} AND workload IN (
        SELECT workload FROM profile_sample WHERE tenant = {{tenant:String}} AND {SPAN} AND {MY_WORKLOADS}
    )
    GROUP BY workload, tick, host, pid
) GROUP BY workload, tick ORDER BY workload, tick
"""

NEIGHBOURS = f"""
SELECT workload, uniqExactIf(timestamp, timestamp <= {{changed:DateTime64(3, 'UTC')}}) AS before,
       uniqExactIf(timestamp, timestamp > {{changed:DateTime64(3, 'UTC')}}) AS after
FROM operation_sample
WHERE tenant = {{tenant:String}} AND {SPAN} AND operations > 0 AND workload != {{workload:String}} AND host IN (
    SELECT host FROM workload_energy WHERE tenant = {{tenant:String}} AND workload = {{workload:String}} AND {SPAN}
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
    FROM telemetry_sample FINAL WHERE tenant = {{tenant:String}} AND {SPAN}
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

# Processes of containers and pods of a host that were told of lately (agents do every five minutes), with their labels.
LABELLED_PROCESSES = """
SELECT workload, any(replica) AS replica, pid, process_started_ms, argMax(inventory.labels, timestamp) AS labels
FROM inventory
WHERE tenant = {tenant:String} AND host = {host:String} AND scope = 'process'
  AND workload_kind IN {kinds:Array(String)} AND timestamp > now64(3) - INTERVAL 11 MINUTE
  AND arrayExists(label -> startsWith(label, 'prometheus.io/') OR startsWith(label, 'eo.operations.'), inventory.labels)
GROUP BY workload, pid, process_started_ms ORDER BY workload, pid
"""
