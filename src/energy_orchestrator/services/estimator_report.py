"""The estimator's figures as Markdown: its section of docs/accuracy.md and the model card. Pure text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from energy_orchestrator.analyze.estimator.evaluation import Score
from energy_orchestrator.analyze.estimator.intervals import CLASSES

HEAD = "| way | watts | n | MAPE % | median % | bias % | inside 90 % interval, % | worst tenth, % |\n"
HEAD += "|---|---|---|---|---|---|---|---|"


def table(scores: Sequence[Score]) -> str:
    """Scores as a Markdown table."""
    return "\n".join([HEAD, *map(_row, scores)])


def _row(score: Score, way: str | None = None) -> str:
    figures = f"{score.mape:.1f} | {score.median:.1f} | {score.bias:+.1f}"
    covered = " | ".join("-" if part is None else f"{part:.1f}" for part in (score.inside, score.worst_tenth))
    return f"| {way or score.way} | {score.watts} | {score.n} | {figures} | {covered} |"


def shift_table(scores: Sequence[tuple[str, Score]]) -> str:
    """The same with the years before the way."""
    return "\n".join([HEAD, *(_row(score, f"{years}: {score.way}") for years, score in scores)])


def node_section(parts: Mapping[str, Any]) -> str:
    """The section `estimator`."""
    return NODE.format(
        servers=parts["servers"],
        cpus=parts["cpus"],
        listed=parts["listed"],
        unseen=table(parts["unseen"]),
        unseen_listed=table(parts["unseen_listed"]),
        untouched=table(parts["untouched"]),
        one_end=table(parts["one_end"]),
        levels=table(parts["levels"]),
        levels_other=table(parts["levels_other"]),
        shift=shift_table(parts["shift"]),
    )


def model_card(document: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """What stands beside the model file."""
    trained = document["trained_on"]
    files = "\n".join(f"- `{name}`, SHA-256 `{value}`" for name, value in trained["sha256"].items())
    intervals = document["intervals"]
    widths = "\n".join(
        f"| {name} | {100 * intervals['idle'][index]:.0f} | {100 * intervals['full'][index]:.0f} |"
        for index, name in enumerate(CLASSES)
    )
    return CARD.format(
        version=document["version"],
        sha256=document["sha256"],
        servers=trained["servers"],
        cpus=trained["cpus"],
        last_year=document["range"]["last_year"],
        files=files,
        widths=widths,
        unseen=table([*parts["unseen"], *parts["one_end"]]),
    )


NODE = """## Node power without a meter (tier `model`)

Made by `eo estimator evaluate` from the SPECpower results of March 2026 ({servers} servers, {cpus} CPU models; two
chassis of 384 single-chip nodes left out). TDPs are codecarbon's list, which names the CPU of {listed:.1f} % of the
servers. MAPE = mean of |predicted / measured - 1|. `worst tenth`: coverage in the worst tenth of servers, by threads,
by year and by watts. A baseline is fitted on the same folds.

**What can be scored.** This file has two wall readings of a server: at rest and at full load. These two are scored
truthfully. Loads between are only simulated (below); no figure for them here is a measurement.

CPU model unseen, nothing measured. Ten folds; all servers of a CPU model are in one fold. The interval of a fold
comes from the errors of the other nine:

{unseen}

The same where the list has the TDP (elsewhere give `tdp_watts`):

{unseen_listed}

Settings were chosen on 70 % of the CPU models (by a hash of the name). The same figures on the other 30 %, which no
choice has seen:

{untouched}

One reading of the machine, at the other end. `prediction scaled` = the prediction times reading over predicted:

{one_end}

All eleven loads, **simulated**: ends as measured, the shape between drawn for each server from the published spread
(statistics of 619 servers), 1 % noise on the reading. Since 2018 that spread has two humps, and the model takes AMD
for the upper one; that is inferred from the vendors' shares, not measured. If it is true:

{levels}

If a curve's place in the spread had nothing to do with the vendor (the pessimistic case):

{levels_other}

Newer machines from older ones: trained on results up to the first year, tested on CPU models that appear after it, up
to the second. How much the interval widens beyond the newest generation was chosen on the first three; the last one
decided nothing (but the length scales of the Gaussian process were chosen on CPUs of all years):

{shift}

What these figures do not cover:
- A virtual machine gets its threads' share of a typical server since 2018, its 5 to 95 % range widened by 1.5 both
  ways. No public data measures guests against the wall; this is an assumption and the tier says `model`.
- SPECpower machines are tuned and lean. Servers with GPUs, many disks or full memory draw more.
- Identical CPUs differ: among servers of one CPU model the logarithm of full watts deviates by 0.10 and that of idle
  watts by 0.20 (boards, fans, supplies, memory), so without a reading no model gets far below 8 % and 15 %.
"""

CARD = """# Model card: node power

Version {version}, SHA-256 of the content `{sha256}`. Made by `eo estimator train`; do not edit.

**For**: watts at the wall of a server without a meter, from CPU, cores, memory, age and load, with a 90 % interval;
better with one or two readings. **Not for**: servers with accelerators (GPUs draw more than all else and are not in
the data), storage shelves, laptops, phones and boards; billing; a virtual machine's share (assumed, not measured);
Arm servers but with a wide interval (7 of them in the data); single components.

**Data**: {servers} SPECpower_ssj2008 results ({cpus} CPU models, to {last_year}), statistics of load curves, a list
of TDPs. SPECpower machines are tuned by their makers, so real ones draw rather more than less.

{files}

**Method**: log(watts / (sockets x TDP)) at rest and at full load; mean of boosted trees (monotone in cores, threads a
core and memory) and a Gaussian process; loads between by the published mean curve; readings by a Kalman filter.
Watts never fall with the load, by construction. **Split**: ten folds, a CPU model never in two of them; settings
chosen on 70 % of the CPU models.

**Errors held out** (simple baselines beside):

{unseen}

**Intervals**: conformal by group, from the errors held out. Half-widths of the logarithm, in %:

| group | idle | full |
|---|---|---|
{widths}

Widened, with the reason in words: x 1.3 and 0.1 more a year beyond the newest generation seen; x 1.5 for machines
unlike all trained on; x 1.5 where clock, memory, cores or sockets were guessed. Levels between the ends and the three
factors of 1.5 are assumptions, not measurements; docs/accuracy.md says which figures are simulated.
"""
