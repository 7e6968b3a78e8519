"""Prometheus text: names and samples in it. Pure.

Only lines of the names asked for are parsed: an endpoint may show a thousand others. A counter that is declared
(`# TYPE`) without a sample is kept as declared: so clients show one with labels before its first use, and there it
is 0, not unknown.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from energy_orchestrator.errors import InvalidInputError

_TYPE = re.compile(r"^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|histogram|summary)\s*$", re.MULTILINE)
_NAME = re.compile(r"^[a-zA-Z_:][a-zA-Z0-9_:]*", re.MULTILINE)
_PARTS = {"counter": ("", "_total"), "histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}


@dataclass(frozen=True, slots=True)
class Sample:
    """One series' value."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Exposition:
    """Samples by name, and the names of all counters that are declared."""

    samples: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    declared: Collection[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Names:
    """What an endpoint exposes: every name that a sample has or may have, and those that are counters."""

    all: frozenset[str]
    counters: frozenset[str]


def names_in(text: str) -> Names:
    """Every name in the text."""
    seen = set(_NAME.findall(text))
    counters = {name for kind, name in _types(text) if kind == "counter"}
    counters |= {f"{name}_total" for name in counters if f"{name}_total" in seen}
    return Names(frozenset(seen | _declared(text)), frozenset(counters))


def parse(text: str, names: Collection[str]) -> Exposition:
    """The samples of these names; InvalidInputError where the text is not in the format."""
    wanted = re.compile(rf"^(?:{'|'.join(map(re.escape, sorted(names)))})[{{ \t].*$", re.MULTILINE)
    found: dict[str, list[Sample]] = {}
    try:
        for family in text_string_to_metric_families("\n".join(wanted.findall(text)) + "\n"):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(Sample(sample.labels, float(sample.value)))
    except (ValueError, KeyError, IndexError) as error:
        raise InvalidInputError(
            f"not in the Prometheus text format: {str(error)[:200]}", next_step="check what the endpoint answers"
        ) from error
    return Exposition(found, _declared(text) & set(names))


def _declared(text: str) -> set[str]:
    return {name + part for kind, name in _types(text) for part in _PARTS[kind]}


def _types(text: str) -> list[tuple[str, str]]:
    return [(match[2], match[1]) for match in _TYPE.finditer(text)]
