"""The estimator's figures as Markdown: its section of docs/accuracy.md and the model card. Pure text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from energy_orchestrator.analyze.estimator.evaluation import Score
from energy_orchestrator.analyze.estimator.intervals import CLASSES

PLAIN = ("near", "near_right", "near_count", "near_mape", "usual_full", "other_vendors")
"""Figures that go into the section as they are."""
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
        **{name: value for name, value in parts.items() if name in PLAIN},
        floor=next(one.mape for one in parts["alike"] if one.part == "full"),
        unseen_listed=table(parts["unseen_listed"]),
        untouched=table(parts["untouched"]),
        one_end=table(parts["one_end"]),
        levels=table(parts["levels"]),
        levels_other=table(parts["levels_other"]),
        shift=shift_table(parts["shift"]),
        split="\n".join(
            f"- {years}: by {half:.3f} at half load, by {most:.3f} at most"
            for years, (most, half) in parts["split"].items()
        ),
        last=_last_shift(parts["shift"]),
        alike="\n".join(
            f"  - {one.part}: the logarithm deviates by {one.deviation:.2f}; the median of the others is "
            f"{one.mape:.1f} % off (mean of {one.servers} servers)"
            for one in parts["alike"]
        ),
    )


def _last_shift(scores: Sequence[tuple[str, Score]]) -> str:
    """The newest machines at full load: the model on all, and beside the baseline on the machines that both answer."""
    years = scores[-1][0]
    full = [score for named, score in scores if named == years and score.watts == "full"]
    baseline = next(score for score in full if "baseline" in score.way)
    models = [score for score in full if "baseline" not in score.way]
    every, same = models[0], models[-1]
    return (
        f"{years}, full load: on the {same.n} machines whose TDP is listed the model misses by {same.mape:.1f} %, the\n"
        f"baseline by {baseline.mape:.1f} %; on all {every.n} the model misses by {every.mape:.1f} %, and the baseline "
        f"has no answer for {every.n - baseline.n}.\nInside the 90 % interval: {every.inside:.1f} %; asked: 85 or more."
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
        other_vendors=parts["other_vendors"],
        files=files,
        widths=widths,
        newer_idle=100 * intervals["newer"][0],
        newer_full=100 * intervals["newer"][1],
        unseen=table([*parts["unseen"], *parts["one_end"]]),
    )


NODE = """## Node power without a meter (tier `model`)

Made by `eo estimator evaluate` from the SPECpower results of March 2026 ({servers} servers, {cpus} CPU models; two
chassis of 384 single-chip nodes left out; memory given in TB and threads that the cores cannot have are put right).
TDPs are codecarbon's list, which names the CPU of {listed:.1f} % of the servers; of {near} more servers it has a CPU
with a near name, whose TDP is taken. Asked about its own CPUs, each left out, such neighbours have the same TDP to
10 % in {near_right:.0f} % of {near_count} cases and miss by {near_mape:.1f} % in the mean. `TDP guessed` does without
the list. MAPE = mean of |predicted / measured - 1|. `worst tenth`: coverage in the worst tenth of servers, by threads,
by year and by watts. A baseline is fitted on the same folds.

**What can be scored.** This file has two wall readings of a server: at rest and at full load. These two are scored
truthfully. Loads between are only simulated (below); no figure for them here is a measurement.

CPU model unseen, nothing measured. Ten folds; all servers of a CPU model are in one fold. The interval of a fold
comes from the errors of the other nine:

{unseen}

Aim: 10 % at full load. Without the {other_vendors} servers of other makers than Intel and AMD, of which no list has a
TDP, the first line's full load is {usual_full:.1f} %. What a model can know is bounded: a server is {floor:.1f} % off
the median of the others with the same CPU and as many sockets (last lines of this section). If every interval held
90 % exactly, the worst of thirty tenths would still show about 84 % of 108 servers, and 78 % of 27, by chance.

The same where the list has the TDP (elsewhere give `tdp_watts`):

{unseen_listed}

Settings were chosen on 70 % of the CPU models (by a hash of the name). The same figures on the other 30 %. No setting
was chosen on their errors, but they were looked at once: that names are matched to near ones, and memory in TB put
right, came of reading the largest errors of all. The groups of the intervals were chosen after coverage over all CPU
models had been looked at:

{untouched}

One reading of the machine, at the other end. `prediction scaled` = the prediction times reading over predicted:

{one_end}

All eleven loads, **simulated**: ends as measured, the shape between drawn for each server from the published spread
(statistics of 619 servers), 1 % noise on the reading. These figures flatter: the model's curve is the mean of the very
statistics that the true curves are drawn from, draws end at the spread's 5 and 95 % (rarer curves never occur), the
intervals are not cross-fitted, and where idle and full are known two of the eleven loads are the readings themselves.
They check the arithmetic, not the curve.

Since 2018 that spread has two humps, and the model takes AMD for the upper one. That is inferred from the vendors'
shares with the help of remembered SPEC results, not measured. Mixed by those shares, the two curves miss the published
mean of the share of dynamic power:
{split}

If it is true:

{levels}

If a curve's place in the spread had nothing to do with the vendor (the pessimistic case):

{levels_other}

Newer machines from older ones: trained on results up to the first year, tested on CPU models that appear after it, up
to the second. The width of the interval for newer machines comes from the training years alone: from what models
trained to 2, 4 and 6 years before their end missed of the three years after. That trees alone speak for newer CPUs was
chosen on the first three shifts, with the fourth in the same look, where it helps full load and hurts idle; the length
scales of the Gaussian process were chosen on CPUs of all years.
{last}

{shift}

What these figures do not cover:
- A virtual machine gets its threads' share of a typical server since 2018, its 5 to 95 % range widened by 1.5 both
  ways. No public data measures guests against the wall; this is an assumption and the tier says `model`.
- SPECpower machines are tuned and lean. Servers with GPUs, many disks or full memory draw more.
- Identical CPUs differ (boards, fans, supplies, memory). Among servers of one CPU model and as many sockets:
{alike}

  A model that is told memory and age may do a little better than that median; none without a reading does much.
"""

CARD = """# Model card: node power

Version {version}, SHA-256 of the content `{sha256}`. Made by `eo estimator train`; do not edit.

**For**: watts at the wall of a server without a meter, from CPU, cores, memory, age and load, with a 90 % interval;
better with one or two readings. **Not for**: servers with accelerators (GPUs draw more than all else and are not in
the data), storage shelves, laptops, phones and boards; billing; a virtual machine's share (assumed, not measured);
servers of other makers than Intel and AMD, Arm's among them, but with a wide interval ({other_vendors} in the data);
single components.

**Data**: {servers} SPECpower_ssj2008 results ({cpus} CPU models, to {last_year}), statistics of load curves, a list
of TDPs. SPECpower machines are tuned by their makers, so real ones draw rather more than less.

{files}

**Method**: log(watts / (sockets x TDP)) at rest and at full load; weighted mean of boosted trees (monotone in cores,
threads a core and memory) and a Gaussian process, which is not monotone and can say fewer watts for more cores or
memory, and so can the whole; trees alone for a CPU newer than all. A TDP that the list lacks is taken from the CPU
nearest by name. Loads between by the published mean curve; readings by a Kalman filter. Watts never fall with the
load, by construction. **Split**: ten folds, a CPU model never in two of them; settings chosen on 70 % of the CPU
models, the groups of the intervals after a look at the coverage of all.

**Newer machines** than all trained on: docs/accuracy.md has four shifts in time. On the newest, full watts are better
than the median ratio to sockets x TDP; watts at rest are worth little more than their interval says.

**Errors held out** (simple baselines beside):

{unseen}

**Intervals**: conformal by group, from the errors held out. Half-widths of the logarithm, in %:

| group | idle | full |
|---|---|---|
{widths}

A generation newer than all seen: {newer_idle:.0f} and {newer_full:.0f} % at least, from what models trained to earlier
years missed of later ones, and a tenth more for each year beyond the third (assumed). Widened, with the reason in
words: x 1.5 for machines unlike all trained on; x 1.5 where clock, memory, cores or sockets were guessed. Levels
between the ends and the factors of 1.5 are assumptions, not measurements; docs/accuracy.md says which figures are
simulated.
"""
