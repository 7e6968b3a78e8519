"""Joules per operation on a type of node where a workload was not measured: MLPerf's systems, clocks of one machine.

    python -m benchmarks.operations_model [--data ../shared/data] [--write]

mlperf_power: joules per sample of a task (model and scenario) on a system. A system, or all systems of the same
accelerator and CPU, is held out; then one of its tasks is told. energy_languages: joules of a run of a program in a
language at a setting of the clock; a program's runs at one setting are held out, then a language's runs at all.
The penalties were set by judgement and not changed after the figures were seen.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.mlperf_power import read
from benchmarks.report import DATA, add_write, tell
from benchmarks.telemetry_power import programs
from energy_orchestrator.analyze.estimator.operations import (
    MeasuredOperation,
    NodeProfile,
    OperationsModel,
    PredictedOperation,
)

PROFILE = {"rest_watts": 1, "cores": 3, "memory_gb": 4, "server": 5}
"""Columns of MLPerf's inputs. Of what was typed in from memory: only that some accelerators are the whole board."""
NEIGHBOURS = 3
HEAD = (
    "| question | way | asked | answered, % | factor off (median) | MAPE % | inside 90 % interval, % |\n"
    + "|---" * 7
    + "|"
)


@dataclass(frozen=True)
class Answer:
    """The truth, what the model said, and what the simple way says."""

    truth: float
    said: PredictedOperation
    simple: float | None


def mlperf(folder: Path) -> tuple[list[MeasuredOperation], dict[str, NodeProfile], dict[str, str]]:
    """Middle joules per sample by system and task; profiles and hardware of the systems."""
    runs = read(folder, boards=False)
    joules: dict[tuple[str, str], list[float]] = defaultdict(list)
    for system, task, watts, rate in zip(runs.system, runs.task, runs.watts, runs.rate, strict=True):
        joules[str(system), str(task)].append(float(watts / np.exp(rate)))
    cells = [
        MeasuredOperation(task, "sample", system, float(np.median(each))) for (system, task), each in joules.items()
    ]
    first = {str(system): row for row, system in reversed(list(enumerate(runs.system)))}
    profiles = {
        system: NodeProfile({name: float(runs.columns[row, place]) for name, place in PROFILE.items()})
        for system, row in first.items()
    }
    return cells, profiles, {system: str(runs.hardware[row]) for system, row in first.items()}


def of_systems(
    cells: Sequence[MeasuredOperation],
    profiles: Mapping[str, NodeProfile],
    group: Mapping[str, str],
    told: int,
) -> list[Answer]:
    """Each system asked about, all of its group held out but for `told` of its own tasks."""
    found = []
    for system in sorted(profiles):
        mine = [cell for cell in cells if cell.node == system]
        if len(mine) <= told:
            continue
        rest = [cell for cell in cells if group[cell.node] != group[system]]
        model = OperationsModel([*rest, *mine[:told]], profiles)
        usual = middles(rest)
        for cell in mine[told:]:
            if cell.workload in usual:
                said = model.predict(cell.workload, cell.operation, system)
                scale = [one.joules / usual[one.workload] for one in mine[:told] if one.workload in usual]
                simple = usual[cell.workload] * (float(np.median(scale)) if scale else 1.0)
                found.append(Answer(cell.joules, said, simple))
    return found


def middles(cells: Iterable[MeasuredOperation]) -> dict[str, float]:
    """Median joules of each workload."""
    joules: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        joules[cell.workload].append(cell.joules)
    return {workload: float(np.median(each)) for workload, each in joules.items()}


def clocks(folder: Path) -> tuple[list[MeasuredOperation], dict[str, np.ndarray]]:
    """Middle joules of a run of a program (the operation) in a language (the workload) at a setting of the clock (the
    node), and how each language's program uses the machine, but for how long it runs."""
    data = programs(folder)
    seconds = np.exp(data.columns[:, -1])
    joules: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    used: dict[str, list[np.ndarray]] = defaultdict(list)
    for row, (alike, program, clock) in enumerate(zip(data.alike, data.group, data.kind, strict=True)):
        joules[str(alike), str(program), str(clock)].append(float(data.watts[row] * seconds[row]))
        used[str(alike)].append(data.columns[row, :8])
    cells = [MeasuredOperation(*key, float(np.median(each))) for key, each in joules.items()]
    return cells, {name: np.median(each, axis=0) for name, each in used.items()}


def of_clocks(cells: Sequence[MeasuredOperation]) -> list[Answer]:
    """A program's runs at one setting asked, known at others; the simple way: as many joules as there."""
    found = []
    for operation, node in sorted({(cell.operation, cell.node) for cell in cells}):
        rest = [cell for cell in cells if (cell.operation, cell.node) != (operation, node)]
        model, usual = OperationsModel(rest, {}), middles(rest)
        for cell in cells:
            if (cell.operation, cell.node) == (operation, node) and cell.workload in usual:
                said = model.predict(cell.workload, operation, node)
                found.append(Answer(cell.joules, said, usual[cell.workload]))
    return found


def of_neighbours(cells: Sequence[MeasuredOperation], used: Mapping[str, np.ndarray]) -> list[Answer]:
    """A program in a language that was never run, from the languages that use the machine most alike."""
    scale = np.std(list(used.values()), axis=0) + 1e-9
    found = []
    for workload in sorted(used):
        mine = [cell for cell in cells if cell.workload == workload]
        rest = [cell for cell in cells if cell.workload != workload]
        others = {cell.workload for cell in rest if cell.operation == mine[0].operation}
        apart = {name: float(np.linalg.norm((used[name] - used[workload]) / scale)) for name in others}
        near = sorted(apart, key=lambda name: (apart[name], name))[:NEIGHBOURS]
        if near:
            model = OperationsModel(rest, {})
            alike = [(name, 1 / (1 + apart[name])) for name in near]
            usual = float(np.median([cell.joules for cell in rest if cell.operation == mine[0].operation]))
            found += [
                Answer(cell.joules, model.predict(workload, cell.operation, cell.node, alike), usual) for cell in mine
            ]
    return found


def lines(question: str, answers: Sequence[Answer]) -> list[str]:
    """Two lines of the table: the model where it answers, and the simple way on the same rows."""
    given = [answer for answer in answers if answer.said.value is not None]
    share = 100 * len(given) / len(answers) if answers else 0.0
    start = f"| {question}"
    if not given:
        return [f"{start} | model | {len(answers)} | {share:.0f} | - | - | - |"]
    truth = np.array([answer.truth for answer in given])
    value = np.array([answer.said.value.value for answer in given if answer.said.value])
    inside = [
        answer.said.value.lower <= answer.truth <= answer.said.value.upper for answer in given if answer.said.value
    ]
    simple = np.array([answer.simple for answer in given], dtype=np.float64)
    return [
        f"{start} | {way} | {len(answers)} | {share:.0f} | {np.exp(np.median(np.abs(np.log(said / truth)))):.2f} "
        f"| {100 * np.mean(np.abs(said / truth - 1)):.0f} | {covered} |"
        for way, said, covered in (
            ("model", value, f"{100 * np.mean(inside):.1f}"),
            ("simple (baseline), same rows", simple, "-"),
        )
    ]


def section(folder: Path) -> str:
    """The section `operations`."""
    cells, profiles, hardware = mlperf(folder)
    same = {system: system for system in profiles}
    table = [HEAD]
    for unseen, group in (("system", same), ("hardware", hardware)):
        for told in (0, 1):
            answers = of_systems(cells, profiles, group, told)
            question = f"MLPerf, {unseen} unseen, {'one of its tasks known' if told else 'nothing measured'}"
            table += lines(question, answers)
    runs, used = clocks(folder)
    table += lines("energy_languages, program unseen at this clock", of_clocks(runs))
    table += lines("energy_languages, language never run, by neighbours", of_neighbours(runs, used))
    return SECTION.format(
        table="\n".join(table), systems=len(profiles), hardware=len(set(hardware.values())), cells=len(cells)
    )


SECTION = """## Joules per operation where a workload was not measured

Made by `python -m benchmarks.operations_model --write`. The model is that of
`eo estimator operations`; its penalties were set before these figures were seen, and not changed. One thing was: with
the width of a well-known node, 75 % lay inside where one task was known; now the width goes by how much is known.

- mlperf_power: joules per sample of {cells} pairs of task and system ({systems} systems, {hardware} kinds of hardware);
  of a system the model is told cores, memory, the TDP of a listed CPU, server or board.
- energy_languages: joules of a run of a program in a language, at three settings of the clock.
- `simple`: the median of the workload elsewhere, scaled by the one known task where there is one; at another clock, as
  many joules; for a language never run, the median of the program's others.
- `answered`: the rest got a reason, since the interval would have been wider than ten times each way, or too little was
  measured. Intervals come from the table that the model is fitted to, never from what is asked.

{table}

Where neighbours speak the interval is too narrow, on few answers; most get a reason, as languages differ by orders of
magnitude. On a system of which nothing is measured the median of the others is as near in the middle and worse in the
mean: one task measured there is worth more than its profile.

What these figures do not cover: no public data has one workload on servers of different CPUs by joules, so SPECpower's
operations per watt, the physical part of a node's profile, is an assumption here and not tested.
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    add_write(parser)
    asked = parser.parse_args()
    tell("operations", section(asked.data), asked.write)


if __name__ == "__main__":
    main()
