"""Every strategy, whatever it is shown: savings within the spend, a change that can be undone, figures to check."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_orchestrator.execute.merge_patch import merge
from energy_orchestrator.model.recommendation import Tried
from energy_orchestrator.model.units import Bounded, Tier
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.recommend.batching import MLPERF_GAP, PRIOR
from energy_orchestrator.recommend.catalogue import STRATEGIES
from energy_orchestrator.recommend.code_path import known_paths
from energy_orchestrator.recommend.observation import Alike, Finding, Observation, Peaks, WindowPoint
from energy_orchestrator.recommend.ranking import RankingSettings, recommend

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SOURCE = {"prometheus": "http://127.0.0.1:{port}/metrics"}
ALL_KNOBS: dict[str, Any] = {
    "name": "w",
    "command": ["x"],
    "replicas": 2,
    "environment": {"BATCH": "1", "THREADS": "8", "WAIT": "0"},
    "knobs": {
        "BATCH": {"meaning": "batch_size", "allowed": ["1", "4", "8", "16"]},
        "THREADS": {"meaning": "threads", "allowed": ["1", "2", "4", "8"]},
        "WAIT": {"meaning": "poll_wait", "allowed": ["0", "5", "20"]},
    },
    "operations": SOURCE,
    "limits": {"cpu": 8.0, "memory_bytes": 4_000_000_000},
    "may_stop": True,
}
FULL = Declaration.model_validate(ALL_KNOBS)
SEEN = Observation(
    tenant="local",
    host="node-a",
    workload="declared/w",
    start=NOW - timedelta(seconds=60),
    end=NOW,
    tier=Tier.MODEL,
    active_watts=Bounded(3.0, 1.0, 9.0),
    cpu_cores=0.9,
    mem_bytes=100_000_000,
    replicas=2,
    declaration=FULL,
    operations=600.0,
    queue_depth=4.0,
    queue_depth_max=15.0,
    threads=18,
    cpus_allowed=2.0,
    involuntary_per_second=120.0,
    voluntary_per_second=900.0,
    peaks=Peaks(7200.0, 0.5, 60_000_000),
)
QUIET = replace(
    SEEN,
    cpu_cores=0.001,
    operations=0.0,
    queue_depth=0.0,
    queue_depth_max=0.0,
    involuntary_per_second=0.0,
    voluntary_per_second=2.0,
    active_watts=Bounded(0.003, 0.001, 0.01),
)
SPINS = replace(SEEN, voluntary_per_second=12.0)
FINDS = {
    "batching": SEEN,
    "thread_oversubscription": SEEN,
    "busy_polling": SPINS,
    "right_size": SEEN,
    "idle_shutdown": QUIET,
    "code_path": replace(SEEN, hot_shares=(("_strptime (_strptime.py)", 0.4),)),
}


def ask(name: str, seen: Observation, measured: Sequence[float | None] = ()) -> Finding | None:
    return STRATEGIES[name][0](seen, measured)


def found(name: str, seen: Observation, measured: Sequence[float | None] = ()) -> Finding:
    finding = ask(name, seen, measured)
    assert finding is not None
    return finding


WATTS = st.tuples(*[st.floats(0, 1e5)] * 3).map(lambda three: Bounded(sorted(three)[1], min(three), max(three)))
RATES = st.floats(0, 1e6)
OBSERVATIONS = st.builds(
    replace,
    st.sampled_from([SEEN, QUIET, SPINS, replace(SEEN, declaration=None, libraries=("openblas",))]),
    active_watts=WATTS,
    cpu_cores=st.floats(0, 256),
    mem_bytes=st.integers(0, 10**12),
    replicas=st.integers(1, 64),
    operations=st.one_of(st.none(), RATES),
    queue_depth_max=st.one_of(st.none(), RATES),
    threads=st.one_of(st.none(), st.integers(1, 10_000)),
    cpus_allowed=st.one_of(st.none(), st.floats(0.1, 256)),
    involuntary_per_second=st.one_of(st.none(), RATES),
    voluntary_per_second=st.one_of(st.none(), RATES),
    points=st.lists(st.builds(WindowPoint, st.floats(0, 256), st.one_of(st.none(), RATES)), max_size=12),
    hot_shares=st.lists(st.tuples(st.sampled_from(["_strptime", "deflate_slow", "main"]), st.floats(0, 1)), max_size=3),
    alike=st.lists(
        st.builds(
            Alike,
            st.sampled_from(["declared/v", "declared/u"]),
            st.floats(-1, 1),
            st.booleans(),
            st.lists(st.tuples(st.sampled_from(["_strptime", "parse_isoformat_time", "ZSTD_x"]), st.floats(0, 1))),
        ),
        max_size=3,
    ),
    peaks=st.one_of(st.none(), st.builds(Peaks, st.floats(0, 1e6), st.floats(0, 256), st.integers(0, 10**12))),
)
MEASURED = st.lists(st.one_of(st.none(), st.floats(-0.5, 1.0)), max_size=6)


@pytest.mark.parametrize("name", STRATEGIES)
@given(seen=OBSERVATIONS, measured=MEASURED)
def test_savings_never_exceed_the_spend_and_every_figure_is_sane(
    name: str, seen: Observation, measured: list[float | None]
) -> None:
    finding = ask(name, seen, measured)
    if finding is None:
        return
    settings = RankingSettings(minimum_span_seconds=0, minimum_savings_watts=0)
    tried = [Tried(seen.workload, None, it) for it in measured]
    made = recommend([seen], {"node-a": 100.0}, lambda tenant, kind: tried, settings, lambda: "id", NOW)
    for it in made:
        assert it.expected_savings_j.value <= it.target_spend_j.value
        assert it.expected_savings_j.upper <= it.target_spend_j.upper
        assert it.expected_savings_j.lower >= 0
        assert 0 <= it.confidence <= 1
        assert it.risk_score == max(it.risk_parts.values()) <= 1
        assert math.isfinite(it.rank_score)
        assert it.explanation
        assert it.evidence


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_change_is_valid_and_its_inverse_undoes_it(name: str) -> None:
    finding = found(name, FINDS[name])
    if finding.executor == "none":
        assert merge(merge({}, finding.patch), finding.inverse) in ({}, {"code": {}})
        return
    before = FULL.model_dump(mode="json")
    after = merge(before, finding.patch)
    assert after != before
    Declaration.model_validate(after)
    assert merge(after, finding.inverse) == before


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_explanation_and_evidence_carry_figures(name: str) -> None:
    finding = found(name, FINDS[name])
    assert any(character.isdigit() for character in finding.explanation)
    assert any(isinstance(value, float | int) for _, value, _ in finding.evidence)
    assert set(finding.risk_parts) == {"availability", "latency", "blast_radius", "reversibility"}


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "right_size"])
def test_experience_moves_the_confidence(name: str) -> None:
    prior = found(name, FINDS[name]).confidence
    assert found(name, FINDS[name], [0.3] * 5).confidence > prior
    assert found(name, FINDS[name], [None] * 5).confidence < prior


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("batching", {"queue_depth_max": 0.0}),
        ("batching", {"queue_depth_max": None}),
        ("batching", {"operations": 0.0}),
        ("batching", {"declaration": None}),
        ("thread_oversubscription", {"cpus_allowed": 8.0}),
        ("thread_oversubscription", {"cpus_allowed": None}),
        ("thread_oversubscription", {"involuntary_per_second": 1.0}),
        ("thread_oversubscription", {"cpu_cores": 0.01}),
        ("busy_polling", {"voluntary_per_second": 5000.0}),
        ("busy_polling", {"cpu_cores": 0.05}),
        ("busy_polling", {"operations": None}),
        ("right_size", {"peaks": None}),
        ("right_size", {"peaks": Peaks(600.0, 0.5, 60_000_000)}),
        ("right_size", {"peaks": Peaks(7200.0, 7.0, 3_500_000_000)}),
        ("code_path", {"hot_shares": ()}),
        ("code_path", {"hot_shares": (("_strptime", 0.05),)}),
        ("code_path", {"hot_shares": (("my_strptimer", 0.9),)}),
        ("idle_shutdown", {"operations": 1.0}),
        ("idle_shutdown", {"operations": None}),
        ("idle_shutdown", {"cpu_cores": 0.5}),
        ("idle_shutdown", {"declaration": FULL.model_copy(update={"may_stop": False})}),
    ],
)
def test_without_its_evidence_a_strategy_is_silent(name: str, changed: dict[str, Any]) -> None:
    assert ask(name, replace(FINDS[name], **changed)) is None


@pytest.mark.parametrize(("queue", "proposed"), [(3.0, "4"), (9.0, "8"), (15.0, "16"), (400.0, "16")])
def test_a_batch_is_no_larger_than_the_queue_fills(queue: float, proposed: str) -> None:
    assert found("batching", replace(SEEN, queue_depth_max=queue)).patch == {"environment": {"BATCH": proposed}}


@pytest.mark.parametrize(("cpus", "proposed"), [(1.5, "1"), (2.0, "2"), (7.9, "4")])
def test_threads_become_the_most_that_have_a_cpu(cpus: float, proposed: str) -> None:
    finding = found("thread_oversubscription", replace(SEEN, cpus_allowed=cpus))
    assert finding.patch == {"environment": {"THREADS": proposed}}


def test_the_prior_of_batching_is_what_the_wall_logs_say() -> None:
    file = Path(__file__).parents[3] / "shared/data/mlperf-inference-v4.1-power/derived_summary.csv"
    if not file.is_file():
        message = f"no data: {file}"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    joules: dict[str, dict[str, float]] = {}
    with file.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            joules.setdefault(row["run"].split("/")[-2], {})[row["scenario"]] = float(row["J_per_sample"])
    gaps = sorted(1 - both["Offline"] / both["Server"] for both in joules.values() if len(both) == 2)
    assert len(gaps) == 5
    assert (gaps[2], gaps[0], gaps[-1]) == pytest.approx(
        (MLPERF_GAP.value, MLPERF_GAP.lower, MLPERF_GAP.upper), abs=6e-4
    )
    assert PRIOR.ratio.lower < MLPERF_GAP.lower
    assert PRIOR.ratio.upper > MLPERF_GAP.upper


def points(pairs: list[tuple[float, float]]) -> list[WindowPoint]:
    return [WindowPoint(cores, rate) for cores, rate in pairs]


def test_cpu_that_stays_while_the_work_changes_is_polling() -> None:
    flat = points([(0.9, 10 + 5 * (k % 3)) for k in range(12)])
    finding = found("busy_polling", replace(SEEN, points=flat))
    assert "regression" in finding.confidence_reason


def test_cpu_that_follows_the_work_is_no_polling() -> None:
    honest = points([(0.05 * rate, rate) for rate in (10, 15, 20, 12, 18, 14, 11, 19)])
    assert ask("busy_polling", replace(SEEN, points=honest)) is None


def test_a_memory_limit_leaves_room_above_the_highest_peak() -> None:
    limits = found("right_size", SEEN).patch["limits"]
    assert SEEN.peaks is not None
    assert limits["memory_bytes"] >= SEEN.peaks.mem_bytes * 1.15
    assert limits["cpu"] >= SEEN.peaks.cpu_cores_p95 * 1.15


def test_a_lower_limit_promises_no_joules() -> None:
    saved = found("right_size", SEEN).saved_watts
    assert saved.value == saved.lower == 0.0
    assert saved.upper <= 0.4 * 2 * 4.0


def test_what_idles_is_stopped_for_its_memory_and_can_be_started_again() -> None:
    finding = found("idle_shutdown", QUIET)
    assert (finding.patch, finding.inverse) == ({"replicas": 0}, {"replicas": 2})
    assert finding.saved_watts.lower == QUIET.active_watts.lower
    assert finding.saved_watts.upper == pytest.approx(0.01 + 0.4 * 0.1)


HOT = replace(
    SEEN, hot_shares=(("_strptime (_strptime.py)", 0.4),), group=7, joules_per_operation=1.5, operation="request"
)
SLOW_TOO = Alike("declared/slow", 0.9, True, (("_strptime (_strptime.py)", 0.3),))
BETTER = Alike("declared/quick", 0.7, False, (("datetime_fromisoformat (libpython3.11.so.1.0)", 0.03),), 0.6, "request")


def test_code_path_names_who_has_the_same_hot_path_and_who_runs_the_better_way() -> None:
    alone, told = found("code_path", HOT), found("code_path", replace(HOT, alike=(SLOW_TOO, BETTER)))
    assert "group" not in alone.explanation
    assert "1 more of its fingerprint group has the same hot path: declared/slow." in told.explanation
    assert (
        "declared/quick, which is like it, runs the better way already: 3% of its samples there, here 40%;"
        " 0.6 J/request there, 1.5 here" in told.explanation
    )
    evidence = {name: (value, unit) for name, value, unit in told.evidence}
    assert evidence["same hot path in its group: declared/slow"] == (1, "workloads")
    assert evidence["its share of samples there"] == (3.0, "%")
    assert evidence["energy there"] == (0.6, "J/request")
    assert told.labels == {"fingerprint_group": "7"}
    assert (told.saved_watts, told.confidence) == (alone.saved_watts, alone.confidence)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(SLOW_TOO, same_group=False), False),
        (replace(SLOW_TOO, hot_shares=(("_strptime", 0.05),)), False),
        (replace(BETTER, hot_shares=(*BETTER.hot_shares, ("_strptime", 0.2))), False),
        (replace(BETTER, hot_shares=(("datetime_fromisoformat", 0.005),)), False),
        (BETTER, True),
    ],
)
def test_code_path_says_nothing_of_those_that_tell_nothing(other: Alike, said: bool) -> None:
    assert (len(found("code_path", replace(HOT, alike=(other,))).evidence) > 3) is said


@pytest.mark.parametrize("change", [{"operation": "token"}, {"operation": None}, {"joules_per_operation": None}])
def test_energy_per_operation_is_compared_for_one_kind_of_operation_only(change: dict[str, Any]) -> None:
    told = found("code_path", replace(HOT, alike=(replace(BETTER, **change),)))
    assert "runs the better way already" in told.explanation
    assert "J/" not in told.explanation


def test_every_known_path_knows_its_better_way_apart_from_itself() -> None:
    """Names as the agent writes them, of both ways; no slow name may look better, nor the other way round."""
    seen = {
        "yaml in Python": ("fetch_more_tokens (scanner.py)", "yaml_parser_fetch_more_tokens (_yaml.cpython-311.so)"),
        "json of the standard library, decoding": (
            "_parse_object_unicode (_json.cpython-311.so)", "jiter::parse (_pydantic_core.cpython-311.so)",
        ),
        "deflate (gzip, zlib) at level 6": ("deflate_slow (libz.so.1)", "ZSTD_compressBlock_fast (libzstd.so.1)"),
        "xml.dom.minidom": ("start_element_handler (expatbuilder.py)", "treebuilder_handle_start (_elementtree.so)"),
        "csv.DictReader": ("Reader_iternext (_csv.so)", "arrow::csv::BlockParser (libarrow.so.2400)"),
        "datetime.strptime of ISO times": ("_strptime (_strptime.py)", "parse_isoformat_date (libpython3.11.so)"),
        "RSA 2048 signatures (TLS handshakes, tokens)": ("rsaz_1024_mul (libcrypto.so.3)", "ecp_nistz256_mul (x)"),
    }  # fmt: skip
    paths = known_paths()[0]
    assert {it.name for it in paths} == set(seen)
    for it in paths:
        slow, better = seen[it.name]
        assert re.search(it.functions, slow)
        assert re.search(it.better_functions, better)
        assert not any(re.search(it.functions, better) for it in paths)
        assert not any(re.search(it.better_functions, slow) for it in paths)
