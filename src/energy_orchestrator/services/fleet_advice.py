"""Advice for a fleet that is described in a file: reads it, runs the strategies that need more than live data carries,
and gives what may be done together and what was withheld. Needs no server and changes nothing.

Large fleets are planned in parts of `PART_NODES` nodes (dealt out by load), each cut into blocks by `placement.plan`,
so that memory grows with the part and not with nodes x workloads.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import yaml
from pydantic import ValidationError

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.model.fleet import FleetFile, ImageRuns, NodeSpec
from energy_orchestrator.model.recommendation import SuggestionType
from energy_orchestrator.recommend.batch_sweep import batch_sweep
from energy_orchestrator.recommend.image import image
from energy_orchestrator.recommend.instance_type import InstanceType, instance_type, shipped_catalogue
from energy_orchestrator.recommend.placement.advice import fleet_of, placement
from energy_orchestrator.recommend.placement.plan import Limits, plan_placement
from energy_orchestrator.recommend.playbook import Measured
from energy_orchestrator.recommend.power_cap import power_cap
from energy_orchestrator.recommend.ranking import RankingSettings, recommendation
from energy_orchestrator.recommend.schedule_shift import schedule_shift, shift_jobs
from energy_orchestrator.recommend.selection import Candidate, ChurnLimits, Selection, select
from energy_orchestrator.recommend.subject import Found
from energy_orchestrator.services.past import Past, told
from energy_orchestrator.services.price_file import Prices, priced

NOTHING = Past()
MAX_BYTES = 512 * 2**20
PART_NODES = 400
Progress = Callable[[str, int, int], None]
"""What is done, how much of it, of how much."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What was found. `notes` say what could not be looked at, and why."""

    selection: Selection
    notes: tuple[str, ...]


def load_fleet(path: Path) -> FleetFile:
    """Read the file, JSON or YAML.

    Raises:
        InvalidInputError: naming the file and the field.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInputError(f"larger than {MAX_BYTES >> 20} MiB", where=str(path), next_step="split the fleet")
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise InvalidInputError(str(error.strerror), where=str(path), next_step="check the path") from error
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"neither JSON nor YAML: {error}", where=str(path), next_step="correct the file"
        ) from error
    try:
        return FleetFile.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInputError(
            str(first["msg"]).removeprefix("Value error, "),
            where=f"{path}: {place}" if place else str(path),
            next_step="correct it; see docs/fleet-file.md and examples/fleet/fleet.json",
        ) from error


def advise(
    file: FleetFile,
    now: datetime,
    seconds: float,
    churn: ChurnLimits,
    progress: Progress,
    before: Past = NOTHING,
    prices: Prices | None = None,
) -> Advice:
    """All strategies on the file, ranked, without conflicts.

    Args:
        before: what is known of past changes beside the file's own `changes`.
        prices: of instance types; without, only those that the file tells.

    Raises:
        InvalidInputError: a job or an instance type that can't be handled.
    """
    numbers, past = count(1), told(file.changes, file.tenant, now, before)
    settings = RankingSettings(price_per_kwh=file.price_per_kwh, gco2e_per_kwh=file.gco2e_per_kwh)

    def playbook(kind: SuggestionType) -> list[float | None]:
        return [it.saved_share for it in past.playbook(file.tenant, kind)]

    found, notes = _placements(file, now, seconds, progress, playbook(SuggestionType.PLACEMENT))
    catalogue, note = priced(shipped_catalogue(), prices or {})
    notes += [note] if note else []
    found += _from_points(file, now, playbook, catalogue)
    fleet_watts = _fleet_watts(file, found)
    candidates = [
        Candidate(
            recommendation(it, fleet_watts, settings, f"plan-{next(numbers)}", now, past.record),
            it.subject.claims,
            it.finding.restarted_replicas if it.finding.suggestion_type is SuggestionType.PLACEMENT else 0,
        )
        for it in found
    ]
    return Advice(select(candidates, churn, past.changed_at, past.moved_today, now), tuple(notes))


def _tries(past: Past, tenant: str, kind: SuggestionType) -> Measured:
    """All count alike: a file does not tell who is like whom."""
    return [it.saved_share for it in past.playbook(tenant, kind)]


def _placements(
    file: FleetFile, now: datetime, seconds: float, progress: Progress, measured: Measured
) -> tuple[list[Found], list[str]]:
    found: list[Found] = []
    notes: list[str] = []
    if not file.nodes:
        return found, notes
    if not any(it.may_sleep for it in file.nodes):
        notes.append("placement: no node has `may_sleep: true`, so nothing can be switched off")
    parts, horizon = list(_parts(file)), file.horizon_hours * 3600
    greedy_blocks = blocks = 0
    for number, nodes in enumerate(parts):
        progress("placement", number, len(parts))
        fleet = fleet_of(file, nodes)
        limits = Limits(
            horizon_seconds=horizon, max_moves=file.max_moves // len(parts), total_seconds=seconds / len(parts)
        )
        plan = plan_placement(fleet, limits, time.monotonic)
        greedy_blocks, blocks = greedy_blocks + plan.greedy_blocks, blocks + plan.blocks
        notes += [f"placement: {rule}; the plan could not mend it" for rule in plan.unrelieved]
        if not plan.unrelieved:
            found += placement(fleet, plan, horizon, measured, file.tenant, now)
    progress("placement", len(parts), len(parts))
    if greedy_blocks:
        notes.append(
            f"placement: {greedy_blocks} of {blocks} blocks were placed greedily, for lack of time (--seconds)"
        )
    return found, notes


def _parts(file: FleetFile) -> Iterable[list[NodeSpec]]:
    """Parts of at most PART_NODES, each with full and empty nodes."""
    load: dict[str, float] = defaultdict(float)
    for it in file.workloads:
        for node, replicas in it.on.items():
            load[node] += replicas * it.cpu_cores
    order = sorted(file.nodes, key=lambda node: (load[node.name], node.name))
    number = -(-len(order) // PART_NODES)
    return (order[start::number] for start in range(number))


def _from_points(
    file: FleetFile,
    now: datetime,
    playbook: Callable[[SuggestionType], Measured],
    catalogue: Sequence[InstanceType],
) -> list[Found]:
    images: dict[str, list[ImageRuns]] = defaultdict(list)
    for it in file.images:
        images[it.workload].append(it)
    caps, batches, types, kinds, shifted = (
        playbook(kind)
        for kind in (
            SuggestionType.POWER_CAP,
            SuggestionType.BATCHING,
            SuggestionType.INSTANCE_TYPE,
            SuggestionType.IMAGE,
            SuggestionType.SCHEDULE_SHIFT,
        )
    )
    made: list[Found | None] = [power_cap(it, caps, file.tenant, now) for it in file.power_sweeps]
    made += [batch_sweep(it, batches, file.tenant, now) for it in file.batch_sweeps]
    made += [image(runs, kinds, file.tenant, now) for runs in images.values()]
    made += [instance_type(it, catalogue, types, file.tenant, now) for it in file.instances]
    if file.forecast is not None and file.jobs:
        shifts = shift_jobs(file.jobs, file.forecast, file.shift_by, file.job_capacity_watts)
        made += [schedule_shift(it, file.forecast, file.shift_by, shifted, file.tenant, now) for it in shifts]
    return [it for it in made if it is not None]


def _fleet_watts(file: FleetFile, found: Sequence[Found]) -> float:
    """Power of the fleet for ranking: the nodes' where they are described, else of all targets together."""
    load: dict[str, float] = defaultdict(float)
    for it in file.workloads:
        for node, replicas in it.on.items():
            load[node] += replicas * (it.cpu_cores if it.mean_cores is None else it.mean_cores)
    nodes = sum(
        it.idle_watts + (it.full_watts - it.idle_watts) * min(1.0, load[it.name] / it.cpu_cores)
        for it in file.nodes
        if not it.asleep
    )
    return nodes + sum(
        it.finding.spent_watts.value for it in found if it.finding.suggestion_type is not SuggestionType.PLACEMENT
    )
