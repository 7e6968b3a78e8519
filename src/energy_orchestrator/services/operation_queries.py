"""Energy joined with operations, in ClickHouse's SQL: of windows for the judge, of a span for people.

A replica's energy is divided by that replica's operations. What only one side knows (a replica whose counter nobody
read, operations whose energy has not come yet) counts on neither, or one failed scrape would make a workload look
dearer. Replicas are told apart where at least one name is on both sides; a source that speaks for all of a workload,
and processes that do not say which replica they are, are taken whole.

Rows of operations don't line up with windows: they count by their rate over the time that they really cover, which is
the union of their intervals, so that replicas at the same time share seconds and replicas one after the other add
them. Of the time before a replica's first row and after its last nothing is assumed.

A window without a row of energy between two that have one is that of a process too quiet to be sent: no energy, not
unknown energy.
"""

from __future__ import annotations

from energy_orchestrator.services.series_queries import SPAN, WINDOW

# Seconds that rows of operations cover together.
_COVERED = """intervalLengthSum(toUnixTimestamp64Milli(timestamp) - interval_seconds * 1000,
                             toFloat64(toUnixTimestamp64Milli(timestamp))) / 1000"""

# `name` is the replica, `who` the same where names are used, else empty for all replicas together.
_ROWS = """
WITH entries AS (
    SELECT host, workload, ifNull(replica, '') AS name, timestamp AS at, 1 AS of_energy,
           active_joules AS joules, active_joules_lower AS lower, active_joules_upper AS upper, cpu_seconds AS cpu,
           CAST(NULL, 'Nullable(Float64)') AS done, CAST(NULL, 'Nullable(Float64)') AS failed,
           CAST(NULL, 'Nullable(Float64)') AS late, toFloat64(0) AS from_ms, toFloat64(0) AS to_ms
    FROM workload_energy FINAL WHERE {wanted} {counted}
    UNION ALL
    SELECT host, workload, ifNull(replica, '') AS name, {at} AS at, 0 AS of_energy,
           0 AS joules, 0 AS lower, 0 AS upper, 0 AS cpu,
           operations AS done, errors AS failed, latency_p95_seconds AS late,
           toUnixTimestamp64Milli(timestamp) - interval_seconds * 1000 AS from_ms,
           toFloat64(toUnixTimestamp64Milli(timestamp)) AS to_ms
    FROM operation_sample FINAL WHERE {wanted}
), sides AS (
    SELECT *, max(of_energy) OVER one > min(of_energy) OVER one AS on_both FROM entries
    WINDOW one AS (PARTITION BY host, workload, name)
), named AS (
    SELECT *, if(max(on_both) OVER (PARTITION BY host, workload), name, '') AS who FROM sides
)"""

_REPLICAS = f"""tenant = {{tenant:String}} AND workload IN {{workloads:Array(String)}} AND {SPAN}
      AND ({{all:Bool}} OR has({{replicas:Array(String)}}, assumeNotNull(replica)))"""

# The latency of a replica is the mean of its rows' by operations, of several replicas the slowest counts.
REPLICA_WINDOWS = f"""{_ROWS.format(wanted=_REPLICAS, counted="", at=WINDOW)}, whole AS (
    SELECT host, workload, who, at, sum(joules) AS joules, sum(cpu) AS cpu, sum(named.done) AS done,
           sum(failed) AS failed, intervalLengthSumIf(from_ms, to_ms, of_energy = 0) / 1000 AS covered,
           sumIf(late * named.done, late IS NOT NULL) / nullIf(sumIf(named.done, late IS NOT NULL), 0) AS latency,
           minIf(from_ms, of_energy = 0) AS from_ms, max(to_ms) AS to_ms, max(of_energy) AS has_energy
    FROM named GROUP BY host, workload, who, at
), placed AS (
    SELECT *, toFloat64(toUnixTimestamp64Milli(at)) AS at_ms,
           minIf(from_ms, done IS NOT NULL) OVER ever AS first_ms, max(to_ms) OVER ever AS last_ms,
           minIf(at, has_energy = 1) OVER ever AS first_energy, maxIf(at, has_energy = 1) OVER ever AS last_energy
    FROM whole WINDOW ever AS (PARTITION BY host, workload, who)
), node AS (
    SELECT host, timestamp AS at, max(window_seconds) AS watched FROM node_energy
    WHERE tenant = {{tenant:String}} AND {SPAN} GROUP BY host, at
), measured AS (
    SELECT *, least(watched, (least(at_ms, last_ms) - greatest(at_ms - {{window_ms:Float64}}, first_ms)) / 1000)
                  AS seconds,
           done IS NOT NULL AND covered > 0 AND seconds > 0 AND at >= first_energy AND at <= last_energy AS counts
    FROM placed INNER JOIN node USING (host, at)
)
SELECT workload, at AS timestamp, sum(joules) AS active_joules, sum(cpu) AS cpu_seconds,
       sum(measured.done) AS operations, sum(failed) AS errors, max(latency) AS latency_p95_seconds,
       sumOrNullIf(measured.joules, counts) AS counted_joules,
       sumOrNullIf(measured.done * seconds / covered, counts) AS counted_operations
FROM measured GROUP BY workload, at HAVING max(has_energy) = 1 OR max(counts) ORDER BY workload, at
"""

_ALL = f"tenant = {{tenant:String}} AND {SPAN}"
_COUNTED = f"AND workload IN (SELECT workload FROM operation_sample WHERE {_ALL})"

# Of each replica the energy between its first row of operations and its last, and its rate times the seconds that its
# node was watched then.
OPERATION_SPANS = f"""{_ROWS.format(wanted=_ALL, counted=_COUNTED, at="timestamp")}, placed AS (
    SELECT *, toFloat64(toUnixTimestamp64Milli(at)) AS at_ms,
           minIf(from_ms, of_energy = 0) OVER ever AS first_ms, max(to_ms) OVER ever AS last_ms
    FROM named WINDOW ever AS (PARTITION BY host, workload, who)
), of_replica AS (
    SELECT host, workload, who, any(first_ms) AS first_ms, any(last_ms) AS last_ms,
           sum(placed.done) AS done, sum(failed) AS failed,
           intervalLengthSumIf(from_ms, to_ms, of_energy = 0) / 1000 AS covered,
           countIf(of_energy AND at_ms > first_ms AND at_ms <= last_ms) AS windows,
           sumIf(placed.joules, of_energy AND at_ms > first_ms AND at_ms <= last_ms) AS joules,
           sumIf(placed.lower, of_energy AND at_ms > first_ms AND at_ms <= last_ms) AS lower,
           sumIf(placed.upper, of_energy AND at_ms > first_ms AND at_ms <= last_ms) AS upper
    FROM placed GROUP BY host, workload, who HAVING covered > 0
), node AS (
    SELECT host, groupArray(toUnixTimestamp64Milli(timestamp)) AS ends, groupArray(window_seconds) AS lengths
    FROM node_energy FINAL WHERE {_ALL} GROUP BY host
), measured AS (
    SELECT *, arraySum((end, length) -> if(end > first_ms AND end <= last_ms, length, 0), ends, lengths) AS watched,
           windows > 0 AND watched > 0 AS counts
    FROM of_replica LEFT JOIN node USING (host)
), asked AS (
    SELECT host, workload, any(operation) AS operation,
           {_COVERED} AS covered_seconds,
           quantile(0.9)(latency_p95_seconds) AS latency_p95_seconds, avg(queue_depth) AS queue_depth,
           max(queue_depth) AS queue_depth_max
    FROM operation_sample FINAL WHERE {_ALL} GROUP BY host, workload
)
SELECT host, workload, operation, operations, errors, covered_seconds, latency_p95_seconds, queue_depth,
       queue_depth_max, counted_joules, counted_joules_lower, counted_joules_upper, counted_operations
FROM asked INNER JOIN (
    SELECT host, workload, sum(measured.done) AS operations, sum(failed) AS errors,
           sumOrNullIf(measured.joules, counts) AS counted_joules,
           sumOrNullIf(measured.lower, counts) AS counted_joules_lower,
           sumOrNullIf(measured.upper, counts) AS counted_joules_upper,
           sumOrNullIf(measured.done * watched / covered, counts) AS counted_operations
    FROM measured GROUP BY host, workload
) AS costs USING (host, workload)
"""

_ON_NODES = f"tenant = {{tenant:String}} AND host IN {{hosts:Array(String)}} AND {SPAN}"

NODE_WINDOWS = f"""
SELECT host, timestamp, tier, node_joules, busy_cpu_seconds, window_seconds FROM node_energy FINAL WHERE {_ON_NODES}
ORDER BY timestamp, host
"""

OPERATIONS_ON_NODES = f"""
SELECT host, window_end, sum(done / nullIf(covered, 0)) AS operations_per_second FROM (
    SELECT host, {WINDOW} AS window_end, replica, sum(operations) AS done,
           {_COVERED} AS covered
    FROM operation_sample FINAL WHERE {_ON_NODES} AND workload = {{workload:String}}
    GROUP BY host, window_end, replica
) GROUP BY host, window_end HAVING operations_per_second IS NOT NULL
"""
