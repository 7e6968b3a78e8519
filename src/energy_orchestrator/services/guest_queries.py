"""Virtual machines whose host is watched too, in ClickHouse's SQL.

A guest's agent tells the machine's UUID with its node row, the host's agent tells it with the process that runs the
guest. Both must be of one tenant: what a provider's host draws is not told to its customers.
"""

from __future__ import annotations

from energy_orchestrator.services.series_queries import PACK, SPAN

_SINCE = "timestamp > {start:DateTime64(3, 'UTC')} - INTERVAL 1 DAY AND vm_uuid IS NOT NULL"
_GUESTS = f"""
    SELECT tenant, host AS guest, lower(assumeNotNull(argMax(vm_uuid, timestamp))) AS uuid FROM inventory
    WHERE scope = 'node' AND {_SINCE} GROUP BY tenant, guest
"""
_MACHINES = f"""
    SELECT DISTINCT tenant, host, assumeNotNull(workload) AS workload, lower(assumeNotNull(vm_uuid)) AS uuid
    FROM inventory WHERE scope = 'process' AND workload IS NOT NULL AND {_SINCE}
"""

GUESTS = f"""
SELECT DISTINCT guests.tenant AS tenant, guest AS host FROM ({_GUESTS}) AS guests
INNER JOIN ({_MACHINES}) AS machines ON guests.tenant = machines.tenant AND guests.uuid = machines.uuid
"""

# While a guest moves it runs on two hosts: their shares are added.
GUEST_WINDOWS = f"""
SELECT energy.tenant AS tenant, guest, timestamp AS window_end, arrayStringConcat(groupUniqArray(energy.host), ', ')
           AS hosts,
       argMax(tier, active_joules) AS tier, sum(active_joules) AS active_joules,
       sum(active_joules_lower) AS active_joules_lower, sum(active_joules_upper) AS active_joules_upper
FROM (SELECT * FROM workload_energy FINAL WHERE {SPAN}) AS energy
INNER JOIN ({_MACHINES}) AS machines
    ON energy.tenant = machines.tenant AND energy.host = machines.host AND energy.workload = machines.workload
INNER JOIN ({_GUESTS}) AS guests ON machines.tenant = guests.tenant AND machines.uuid = guests.uuid
WHERE {PACK.replace("(tenant, host)", "(energy.tenant, guest)")}
GROUP BY tenant, guest, window_end
"""
