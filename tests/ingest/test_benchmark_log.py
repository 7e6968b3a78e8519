"""Benchmark logs of real shapes and broken ones: every line is a whole record or a problem with its number."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.ingest.benchmark_log import parse_runs
from energy_orchestrator.model.run import Run

# Two lines each, as published: MLPerf Inference 4.1 power (mlcommons, Apache-2.0; derived summary) and
# nicovank/Energy-Languages (Apache-2.0).
MLPERF = """\
run,scenario,log_sha1,duplicate_of,window,tz_offset_h,n_1hz,mean_w,idle_floor_w,max_w,samples_per_s,tokens_per_s,\
mean_latency_ns,J_per_sample,J_per_token
closed/NVIDIA/resnet50/Offline,Offline,9dd745779c,,power_begin..power_end,0,653,4954.0,2371.6,5115.9,556234,,\
22931953717,0.00891,
closed/NVIDIA/llama2-70b-99/Offline,Offline,059a76e540,,power_begin..power_end,0,3116,6153.0,2406.5,6219.0,86.7369,\
25262.1,1585266607369,70.93849,0.24357
"""
LANGUAGES = """\
config,language,benchmark,run,runtime_ms,perf_count_hw_cache_references,perf_count_hw_cache_misses,\
perf_count_sw_task_clock,n_samples,energy_duration_ms,pkg_j,dram_j,max_rss
docker-default,C as C++,fannkuch-redux,0,2654,3686139,462575,43249331121,3,2653,968.1998901367188,30.445068359375,
docker-default,C as C++,fannkuch-redux,1,2478,3393550,539797,42513312652,3,2477,754.6911010742188,,
"""


def only(text: str) -> Run:
    parsed = parse_runs("log", text)
    assert parsed.problems == ()
    (record,) = parsed.records
    return record


def problem(text: str) -> tuple[int, str]:
    parsed = parse_runs("log", text)
    assert parsed.records == ()
    (found,) = parsed.problems
    return found.line, found.reason


def test_mlperf_power_summaries_give_the_published_joules_per_sample() -> None:
    parsed = parse_runs("summary.csv", MLPERF)
    assert parsed.problems == ()
    resnet, llama = parsed.records
    assert (resnet.run_id, resnet.workload, resnet.metadata["operation"]) == (
        "9dd745779c", "closed/NVIDIA/resnet50/Offline", "sample",
    )  # fmt: skip
    for record, published in ((resnet, 0.00891), (llama, 70.93849)):
        assert record.energy_joules is not None
        assert record.operations is not None
        assert record.energy_joules / record.operations == pytest.approx(published, rel=1e-3)
    assert resnet.energy_reason == "mean_w x duration"
    assert resnet.metadata["scenario"] == "Offline"
    assert resnet.started_at is None


def test_energy_languages_runs_sum_the_zones_that_were_read() -> None:
    both, package_only = parse_runs("runs.csv", LANGUAGES).records
    assert both.energy_joules == pytest.approx(998.644958)
    assert both.energy_reason == "sum of pkg_j + dram_j"
    assert (package_only.energy_joules, package_only.energy_reason) == (754.6911010742188, "sum of pkg_j")
    assert (both.workload, both.metadata["duration_seconds"]) == ("fannkuch-redux", 2.653)
    assert both.operations is None
    assert "operation" not in both.metadata
    assert both.metadata["language"] == "C as C++"
    assert both.run_id != package_only.run_id


def test_a_json_line_with_everything() -> None:
    record = only(
        '{"run_id": "r1", "workload": "declared/matrix", "started_at": "2026-03-01T12:00:00+01:00",'
        ' "finished_at": "2026-03-01T11:01:00Z", "operations": 120, "energy_joules": 600.5,'
        ' "metadata": {"commit": "abc"}, "threads": 8}'
    )
    assert record == Run(
        "r1", "declared/matrix", datetime(2026, 3, 1, 11, tzinfo=UTC), datetime(2026, 3, 1, 11, 1, tzinfo=UTC),
        120.0, 600.5, "stated as energy_joules",
        {"threads": 8, "commit": "abc", "operation": "operation", "duration_seconds": 60.0},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "joules"),
    [
        ({"energy_kwh": 0.5}, 1_800_000.0),
        ({"energy_wh": "2"}, 7_200.0),
        ({"MEAN_WATTS": 50, "duration_ms": 2000}, 100.0),
        ({"watts": 50, "start": 1_700_000_000, "end": 1_700_000_004_000}, 200.0),
        ({"watts": 50}, None),
        ({"dram_j": 5}, None),
        ({}, None),
    ],
)
def test_energy_in_other_units_or_from_power_or_unknown_with_a_reason(
    fields: dict[str, object], joules: float | None
) -> None:
    record = only(json.dumps({"workload": "w"} | fields))
    assert record.energy_joules == joules
    assert record.energy_reason


def test_the_end_follows_from_the_duration() -> None:
    record = only('{"workload": "w", "ts": 1700000000, "seconds": 10}')
    assert record.finished_at == datetime.fromtimestamp(1_700_000_010, UTC)


def test_the_same_content_has_the_same_id_under_any_name_and_order() -> None:
    one, two = only('{"workload": "w", "ops": 1}'), only('{"ops": 1, "workload": "w"}')
    assert one.run_id == two.run_id
    assert one.run_id != only('{"workload": "w", "ops": 2}').run_id


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{broken", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ("{}", "no workload"),
        ('{"workload": ""}', "no workload"),
        ('{"workload": ["a"]}', "no name"),
        ('{"workload": "a\\u0000b"}', "not printable"),
        ('{"workload": "w", "energy_j": "much"}', "energy_j: 'much' is no number"),
        ('{"workload": "w", "energy_j": -1}', "cannot be"),
        ('{"workload": "w", "energy_j": NaN}', "no JSON number"),
        ('{"workload": "w", "energy_j": 1e999}', "cannot be"),
        ('{"workload": "w", "ops": true}', "no number"),
        ('{"workload": "w", "ops": "1_000"}', "no number"),
        ('{"workload": "w", "watts": 1e308, "seconds": 1e308}', "too large"),
        ('{"workload": "w", "start": "2026-03-01T12:00:00"}', "no time zone"),
        ('{"workload": "w", "start": "yesterday"}', "no time"),
        ('{"workload": "w", "start": 20, "end": 10}', "finished before"),
        ('{"workload": "w", "start": 20, "seconds": 1e12}', "calendar"),
    ],
)
def test_a_malformed_line_is_reported_and_not_half_taken(line: str, reason: str) -> None:
    number, told = problem(line)
    assert number == 1
    assert reason in told


def test_good_lines_stand_beside_problems_that_have_their_numbers() -> None:
    text = '{"workload": "a"}\n\n{oops\n{"workload": "b", "run_id": "x"}\n{"workload": "c", "run_id": "x"}\n'
    parsed = parse_runs("log", text)
    assert [record.workload for record in parsed.records] == ["a", "b"]
    assert [(found.line, found.reason[:8]) for found in parsed.problems] == [(3, "not JSON"), (5, "run_id '")]
    assert "line 4" in parsed.problems[1].reason


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "no runs"),
        ("workload,ops\n", 1, "no runs"),
        ("workload,ops\nw,1,2\n", 2, "3 cells"),
        ("workload,Workload\nw,1\n", 1, "twice"),
        ('workload,ops\n"w,1\n', 2, "not CSV"),
        ("a line of prose\nanother\n", 2, "no workload"),
    ],
)
def test_broken_csv(text: str, line: int, reason: str) -> None:
    number, told = problem(text)
    assert number == line
    assert reason in told


@given(st.text(max_size=200))
def test_any_text_gives_records_or_problems(text: str) -> None:
    parsed = parse_runs("log", text)
    assert parsed.records or parsed.problems


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.lists(st.integers()))
NAMES = st.sampled_from(
    ["run_id", "workload", "start", "end", "seconds", "ops", "qps", "joules", "watts", "pkg_j", "x"]
)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_any_object_gives_a_sound_record_or_a_problem(row: dict[str, object]) -> None:
    parsed = parse_runs("log", json.dumps(row))
    assert len(parsed.records) + len(parsed.problems) == 1
    for record in parsed.records:
        for value in (record.energy_joules, record.operations, record.metadata.get("duration_seconds")):
            assert value is None or (math.isfinite(value) and value >= 0)
        assert record.started_at is None or record.started_at.tzinfo is not None
