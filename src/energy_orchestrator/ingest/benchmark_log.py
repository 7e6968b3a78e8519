"""Logs of benchmark harnesses to run records: JSON lines or CSV, every line whole or a named problem. No I/O.

Names are matched without case; of several that are present the first listed counts, and every other column goes to
`metadata`. What harnesses call things was read off MLPerf power summaries and the energy-languages runs:

- id: run_id, id, log_sha1; else a hash of the line's content, so that a second import finds the same run
- workload: workload, benchmark, program, task, name, run
- times: started_at, start, start_time, timestamp, ts; finished_at, end, end_time. ISO 8601 with a zone, or Unix time
- duration: duration_seconds, duration_s, seconds, elapsed_seconds, elapsed_s, n_1hz (readings at 1 Hz); or
  duration_ms, energy_duration_ms, runtime_ms; else finished - started
- operations: operations, ops, requests, tokens, samples, queries, records, iterations; or a rate x duration:
  operations_per_second, ops_per_s, requests_per_s, qps, samples_per_s, tokens_per_s
- energy: energy_joules, energy_j, joules; or energy_wh, energy_kwh; or the zones pkg_j + dram_j; or mean power x
  duration: mean_watts, mean_w, avg_watts, average_watts, watts

Energy and operations that are not there are None, never 0; `energy_reason` says where the energy came from or why it
is unknown. What was counted (`operation`) and `duration_seconds` go to `metadata` with every column that has no
meaning here. `services/run_import.py` stores the records.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from energy_orchestrator.model.run import Run
from energy_orchestrator.model.units import JOULES_PER_KWH, Joules, Seconds, Watts, energy

MAX_TEXT = 1_000
_ID = ("run_id", "id", "log_sha1")
_WORKLOAD = ("workload", "benchmark", "program", "task", "name", "run")
_STARTED = ("started_at", "start", "start_time", "timestamp", "ts")
_FINISHED = ("finished_at", "end", "end_time")
_DURATION = {
    **dict.fromkeys(("duration_seconds", "duration_s", "seconds", "elapsed_seconds", "elapsed_s", "n_1hz"), 1.0),
    **dict.fromkeys(("duration_ms", "energy_duration_ms", "runtime_ms"), 0.001),
}
_OPERATIONS = {
    "operations": "operation", "ops": "operation", "requests": "request", "tokens": "token", "samples": "sample",
    "queries": "query", "records": "record", "iterations": "iteration",
}  # fmt: skip
_RATES = {
    "operations_per_second": "operation", "ops_per_s": "operation", "requests_per_s": "request", "qps": "query",
    "samples_per_s": "sample", "tokens_per_s": "token",
}  # fmt: skip
_ENERGY = {
    **dict.fromkeys(("energy_joules", "energy_j", "joules"), 1.0),
    "energy_wh": JOULES_PER_KWH / 1000,
    "energy_kwh": JOULES_PER_KWH,
}
_ZONES = ("pkg_j", "dram_j")
_POWER = dict.fromkeys(("mean_watts", "mean_w", "avg_watts", "average_watts", "watts"), 1.0)


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that was not taken."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ParsedRuns:
    """All of a log. Import `records` only when `problems` is empty, or when the operator said to leave those out."""

    name: str
    records: tuple[Run, ...]
    problems: tuple[Problem, ...]


class _LineError(ValueError):
    """Why a line is no run."""


def parse_runs(name: str, text: str) -> ParsedRuns:
    """The runs in the text of a log. Raises nothing: what is wrong stands in `problems`, by line."""
    records: dict[str, Run] = {}
    seen_at: dict[str, int] = {}
    problems: list[Problem] = []
    for line, row in _rows(text.removeprefix("\ufeff")):
        try:
            if isinstance(row, _LineError):
                raise row
            record = _record(row)
            if record.run_id in seen_at:
                raise _LineError(f"run_id {record.run_id!r} stands already on line {seen_at[record.run_id]}")
        except _LineError as error:
            problems.append(Problem(line, str(error)))
        else:
            records[record.run_id], seen_at[record.run_id] = record, line
    if not records and not problems:
        problems.append(Problem(1, "no runs: give JSON lines, or CSV with a header"))
    return ParsedRuns(name, tuple(records.values()), tuple(problems))


_Row = dict[str, Any]


def _rows(text: str) -> Iterator[tuple[int, _Row | _LineError]]:
    return _json_rows(text) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text)


def _json_rows(text: str) -> Iterator[tuple[int, _Row | _LineError]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            yield number, _LineError(f"not JSON: {str(error)[:200]}")
            continue
        if isinstance(entry, dict):
            yield number, entry
        else:
            yield number, _LineError("not a JSON object; one object a line")


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number; leave out what is unknown")


def _csv_rows(text: str) -> Iterator[tuple[int, _Row | _LineError]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                if len({name.lower() for name in header}) != len(header) or "" in header:
                    yield reader.line_num, _LineError("the header has a column twice or without a name")
                    return
            elif len(cells) != len(header):
                yield reader.line_num, _LineError(f"{len(cells)} cells where the header has {len(header)}")
            else:
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        yield reader.line_num, _LineError(f"not CSV: {error}; nothing after this line was read")


class _Fields:
    """The fields of a line by lower-case name; what nobody asked for is left as metadata."""

    def __init__(self, row: _Row) -> None:
        self._values = {name.strip().lower(): (name, value) for name, value in row.items() if _is_given(value)}
        self._used: set[str] = set()

    def first(self, names: tuple[str, ...] | Mapping[str, object]) -> tuple[str, Any] | None:
        """The first of the names that has a value."""
        for name in names:
            if name in self._values:
                self._used.add(name)
                return name, self._values[name][1]
        return None

    def number(self, names: tuple[str, ...] | Mapping[str, object]) -> tuple[str, float] | None:
        """The same as a finite number that is not negative."""
        found = self.first(names)
        return None if found is None else (found[0], _number(*found))

    def rest(self) -> dict[str, Any]:
        """All others, with an object `metadata` laid open."""
        left = {name: value for key, (name, value) in self._values.items() if key not in self._used}
        inner = left.pop("metadata", {})
        return left | (inner if isinstance(inner, dict) else {"metadata": inner})


def _record(row: _Row) -> Run:
    fields = _Fields(row)
    given_id = fields.first(_ID)
    workload = fields.first(_WORKLOAD)
    if workload is None:
        raise _LineError(f"no workload; name it in one of: {', '.join(_WORKLOAD)}")
    started, finished = _time(fields.first(_STARTED)), _time(fields.first(_FINISHED))
    if started and finished and finished < started:
        raise _LineError("finished before it started")
    duration = _duration(fields, started, finished)
    operations, operation = _operations(fields, duration)
    joules, reason = _energy(fields, duration)
    if started and finished is None and duration is not None:
        finished = _later(started, duration)
    derived = {"duration_seconds": duration, "operation": operation}
    return Run(
        run_id=_text(*given_id) if given_id else _content_id(row),
        workload=_text(*workload),
        started_at=started,
        finished_at=finished,
        operations=operations,
        energy_joules=joules,
        energy_reason=reason,
        metadata=fields.rest() | {name: value for name, value in derived.items() if value is not None},
    )


def _duration(fields: _Fields, started: datetime | None, finished: datetime | None) -> float | None:
    found = fields.number(_DURATION)
    if found is not None:
        return found[1] * _DURATION[found[0]]
    return (finished - started).total_seconds() if started and finished else None


def _operations(fields: _Fields, duration: float | None) -> tuple[float | None, str | None]:
    counted = fields.number(_OPERATIONS)
    if counted is not None:
        return counted[1], _OPERATIONS[counted[0]]
    if duration is None:
        return None, None
    rate = fields.number(_RATES)
    return (_finite("operations", rate[1] * duration), _RATES[rate[0]]) if rate is not None else (None, None)


def _energy(fields: _Fields, duration: float | None) -> tuple[float | None, str]:
    measured = fields.number(_ENERGY)
    if measured is not None:
        return _finite("energy", measured[1] * _ENERGY[measured[0]]), f"stated as {measured[0]}"
    zones = [zone for zone in (fields.number((name,)) for name in _ZONES) if zone is not None]
    if any(name == "pkg_j" for name, _ in zones):
        return math.fsum(value for _, value in zones), "sum of " + " + ".join(name for name, _ in zones)
    power = fields.number(_POWER)
    if power is None:
        return None, "the log states neither energy nor mean power"
    if duration is None:
        return None, f"{power[0]} is given, but no duration"
    return _finite("energy", energy(Watts(power[1]), Seconds(duration))), f"{power[0]} x duration"


def _finite(what: str, value: float | Joules) -> float:
    if not math.isfinite(value):
        raise _LineError(f"{what}: too large to be a number")
    return float(value)


def _is_given(value: object) -> bool:
    return value is not None and not (isinstance(value, str) and not value.strip())


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _LineError(f"{name}: {str(value)[:60]!r} is no name")
    text = str(value).strip()
    if len(text) > MAX_TEXT or not text.isprintable():
        raise _LineError(f"{name}: longer than {MAX_TEXT} characters or not printable")
    return text


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float) or "_" in str(value):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise _LineError(f"{name}: {str(value)[:60]!r} is no number") from None
    if not math.isfinite(number) or number < 0:
        raise _LineError(f"{name}: {number} cannot be; leave it out where it is unknown")
    return number


def _time(found: tuple[str, Any] | None) -> datetime | None:
    if found is None:
        return None
    name, value = found
    try:
        at = _unix_time(float(value))
    except (TypeError, ValueError, OverflowError, OSError):
        at = _iso_time(name, value)
    return at


def _unix_time(number: float) -> datetime:
    """Seconds, or milliseconds where seconds would lie after the year 5000."""
    return datetime.fromtimestamp(number / 1000 if abs(number) > 1e11 else number, UTC)


def _iso_time(name: str, value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(value.strip() if isinstance(value, str) else "")
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _LineError(f"{name}: {str(value)[:60]!r} is no time (ISO 8601 or Unix seconds)") from None
    raise _LineError(f"{name}: {str(value)[:60]!r} has no time zone; write +00:00 or Z for UTC")


def _later(started: datetime, seconds: float) -> datetime:
    try:
        return started + timedelta(seconds=seconds)
    except OverflowError:
        raise _LineError("duration: ends after the calendar does") from None


def _content_id(row: _Row) -> str:
    canonical = json.dumps(row, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()[:32]}"
