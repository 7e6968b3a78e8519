"""OTLP metrics as points named as Prometheus would name them: protobuf in, values out. Pure.

With names translated (`http.server.request.duration` in `s` is `http_server_request_duration_seconds`) one catalogue
of known servers and one way to name a metric by hand serve both ways of asking. Summaries have no temporality and
are left out; a histogram with exponential buckets is told at bounds of a fixed grid (2^(1/4) apart, from 100 us to
10,000 s), where its counts are exact.

https://opentelemetry.io/docs/specs/otel/metrics/data-model/
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.ingest.counters import Buckets

UNITS: Mapping[str, str] = {
    "s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", "min": "minutes", "h": "hours",
    "By": "bytes", "J": "joules", "%": "percent",
}  # fmt: skip
MAX_POINTS = 50_000
GRID_STEPS = range(-53, 54)
"""Exponents of 2^(1/4): 1.0e-4 to 9.7e3."""
NO_VALUE = 1
"""DataPointFlags: the point says that nothing was recorded."""


@dataclass(frozen=True, slots=True)
class Point:
    """One series' state. A counter or gauge has `value`; a histogram has buckets, count and sum."""

    name: str
    labels: Mapping[str, str]
    counts: bool
    """It only grows: a counter or a histogram, not a gauge."""
    delta: bool
    start_ns: int
    time_ns: int
    value: float = 0.0
    buckets: Buckets = field(default_factory=dict)
    count: float = 0.0
    sum: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its samples."""
        return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum")) if self.buckets else (self.name,)


@dataclass(frozen=True, slots=True)
class Sender:
    """What a resource sent. Attributes are as they came."""

    attributes: Mapping[str, str]
    points: tuple[Point, ...]
    left_out: int
    """Data points of kinds that can't be used."""


def decode(body: bytes) -> list[Sender]:
    """The resources of a request; InvalidInputError where it is none."""
    request = ExportMetricsServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise InvalidInputError(
            "not an OTLP metrics request", next_step="send ExportMetricsServiceRequest as protobuf"
        ) from error
    senders, room = [], MAX_POINTS
    for resource in request.resource_metrics:
        metrics = [metric for scope in resource.scope_metrics for metric in scope.metrics]
        room -= sum(len(getattr(metric, metric.WhichOneof("data") or "gauge").data_points) for metric in metrics)
        if room < 0:
            raise InvalidInputError(f"more than {MAX_POINTS} data points", next_step="send smaller batches")
        left_out = sum(len(metric.summary.data_points) for metric in metrics)
        points = tuple(point for metric in metrics for point in _points(metric))
        senders.append(Sender(_labels(resource.resource.attributes, str), points, left_out))
    return senders


def prometheus_name(name: str, unit: str, *, total: bool) -> str:
    """As the Prometheus exporters of OpenTelemetry name it."""
    translated = re.sub(r"[^a-zA-Z0-9_:]+", "_", name).strip("_")
    suffix = UNITS.get(unit, "")
    if suffix and not translated.endswith(f"_{suffix}"):
        translated += f"_{suffix}"
    return f"{translated}_total" if total and not translated.endswith("_total") else translated


def _points(metric: Metric) -> Iterator[Point]:
    kind = metric.WhichOneof("data")
    if kind == "gauge":
        for point in metric.gauge.data_points:
            yield from _number(metric, point, counts=False, delta=False)
    elif kind == "sum":
        delta = _is_delta(metric.sum.aggregation_temporality)
        if metric.sum.is_monotonic or not delta:
            for point in metric.sum.data_points:
                yield from _number(metric, point, counts=metric.sum.is_monotonic, delta=delta)
    elif kind == "histogram":
        delta = _is_delta(metric.histogram.aggregation_temporality)
        for it in metric.histogram.data_points:
            if not it.flags & NO_VALUE:
                yield _histogram(metric, it, _explicit(it), delta=delta)
    elif kind == "exponential_histogram":
        delta = _is_delta(metric.exponential_histogram.aggregation_temporality)
        for one in metric.exponential_histogram.data_points:
            if not one.flags & NO_VALUE:
                yield _histogram(metric, one, _exponential(one), delta=delta)


def _number(metric: Metric, point: NumberDataPoint, *, counts: bool, delta: bool) -> Iterator[Point]:
    value = float(point.as_int) if point.WhichOneof("value") == "as_int" else point.as_double
    if point.flags & NO_VALUE or not math.isfinite(value) or (counts and value < 0):
        return
    name = prometheus_name(metric.name, metric.unit, total=counts)
    times = point.start_time_unix_nano, point.time_unix_nano
    yield Point(name, _labels(point.attributes), counts, delta, *times, value=value)


def _histogram(
    metric: Metric, point: HistogramDataPoint | ExponentialHistogramDataPoint, buckets: Buckets, *, delta: bool
) -> Point:
    name = prometheus_name(metric.name, metric.unit, total=False)
    total = point.sum if point.HasField("sum") and math.isfinite(point.sum) else None
    times = point.start_time_unix_nano, point.time_unix_nano
    return Point(
        name, _labels(point.attributes), True, delta, *times, buckets=buckets, count=float(point.count), sum=total
    )


def _explicit(point: HistogramDataPoint) -> dict[float, float]:
    bounds = [*point.explicit_bounds, math.inf]
    if len(point.bucket_counts) != len(bounds):
        return {math.inf: float(point.count)}
    return dict(zip(bounds, _running(point.bucket_counts), strict=True))


def _exponential(point: ExponentialHistogramDataPoint) -> dict[float, float]:
    """Bucket i of scale s ends at 2^((i+1) / 2^s). A grid bound that is no bucket's end is left out."""
    below_nought = sum(point.negative.bucket_counts) + point.zero_count
    ends = {
        (point.positive.offset + k + 1) * 2.0 ** (2 - point.scale): done
        for k, done in enumerate(_running(point.positive.bucket_counts))
    }
    steps = sorted(ends)
    every = 2 ** max(0, 2 - point.scale)
    found, at, done = {}, 0, 0.0
    for step in GRID_STEPS:
        while at < len(steps) and steps[at] <= step:
            done = ends[steps[at]]
            at += 1
        if step % every == 0:
            found[2.0 ** (step / 4)] = below_nought + done
    return {**found, math.inf: float(point.count)}


def _running(counts: Iterable[int]) -> Iterator[float]:
    total = 0.0
    for count in counts:
        total += count
        yield total


def _is_delta(temporality: int) -> bool:
    return temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


def _labels(attributes: Iterable[KeyValue], named: type[str] | None = None) -> dict[str, str]:
    """Attributes as labels; with `named`, under the names they came with."""
    return {
        (it.key if named else re.sub(r"[^a-zA-Z0-9_]", "_", it.key)): _text(it.value)
        for it in attributes
        if it.value.WhichOneof("value") in ("string_value", "bool_value", "int_value", "double_value")
    }


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return str(getattr(value, kind)) if kind else ""
