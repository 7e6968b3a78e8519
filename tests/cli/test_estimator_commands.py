"""`eo estimator predict`: good rows get watts, bad rows a reason, bad files an error that says what to do."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.analyze.estimator.prediction_table import ADDED, LIMITS, OPTIONAL, REQUIRED, predict_rows
from energy_orchestrator.cli import main

GOOD = {
    **{"cpu_model": "Intel Xeon Gold 6454S", "sockets": "1", "cores": "32", "threads": "64", "mhz": "2200"},
    **{"memory_gb": "128", "year": "2023", "load_pct": "50"},
}


def code(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code or 0


def run(tmp_path: Path, rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    file = tmp_path / "machines.csv"
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    assert code(["estimator", "predict", str(file)]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_a_machine_gets_watts_with_an_interval_and_keeps_its_other_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run(tmp_path, [{**GOOD, "id": f"n{load}", "load_pct": str(load)} for load in (0, 50, 100)], capsys)
    watts = [float(row["watts"]) for row in rows]
    assert watts == sorted(watts)
    assert [row["id"] for row in rows] == ["n0", "n50", "n100"]
    assert all(float(row["watts_lower"]) < float(row["watts"]) < float(row["watts_upper"]) for row in rows)


def test_readings_narrow_the_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = {**GOOD, "one_reading_load_pct": "100", "one_reading_watts": "304"}
    both = {**GOOD, "idle_watts": "98.2", "full_watts": "304"}
    blind, with_one, with_both = run(tmp_path, [GOOD, one, both], capsys)

    def width(row: dict[str, str]) -> float:
        return float(row["watts_upper"]) / float(row["watts_lower"])

    assert width(with_both) < width(with_one) < width(blind)


BAD = [
    ({"load_pct": "140"}, "load_pct is 140"),
    ({"load_pct": ""}, "load_pct is missing"),
    ({"cores": "many"}, "no number: many"),
    ({"cores": "nan"}, "outside"),
    ({"memory_gb": "1e99"}, "outside"),
    ({"cores": "128"}, "more cores than threads"),
    ({"sockets": "-1"}, "outside"),
    ({"sockets": "1.5"}, "whole number"),
    ({"idle_watts": "300", "full_watts": "200"}, "not above idle_watts"),
    ({"one_reading_watts": "200"}, "half a reading"),
    ({"cpu_model": "", "year": ""}, "all missing"),
]


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_a_row_that_cannot_be_right_gets_a_reason_and_no_watts(change: dict[str, str], reason: str) -> None:
    (answer,) = predict_rows(default_model(), [{**GOOD, **change}])
    assert answer["watts"] == answer["watts_lower"] == answer["watts_upper"] == ""
    assert reason in answer["reason"]


CELL = st.one_of(
    st.just(""), st.sampled_from(["1", "2", "64", "nan", "inf", "-3", "x", "1e308", "0"]), st.text(max_size=6)
)


@given(st.lists(st.fixed_dictionaries(dict.fromkeys((*REQUIRED, *OPTIONAL), CELL)), max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_row_gets_ordered_watts_or_a_reason(rows: list[dict[str, str]]) -> None:
    answers = predict_rows(default_model(), rows)
    assert len(answers) == len(rows)
    for answer in answers:
        assert answer["reason"]
        if answer["watts"]:
            assert 0 < float(answer["watts_lower"]) <= float(answer["watts"]) <= float(answer["watts_upper"])


def test_what_is_unknown_may_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = run(tmp_path, [{**GOOD, "mhz": "", "memory_gb": ""}], capsys)
    assert row["watts"]
    assert "unknown: mhz, memory_gb" in row["reason"]


def test_missing_columns_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("cpu_model,cores\nx,1\n")
    assert code(["estimator", "predict", str(tmp_path / "a.csv")]) == 2
    assert "sockets" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "\n", "{}", '{"version": 99}', "not json"])
def test_a_model_file_that_is_none_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, rows = tmp_path / "m.json", tmp_path / "a.csv"
    model.write_text(text)
    rows.write_text(",".join(REQUIRED) + "\n")
    assert code(["estimator", "predict", str(rows), "--model", str(model)]) == 2
    assert "eo estimator train" in capsys.readouterr().err


def test_training_without_data_says_where_it_looked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["estimator", "train", "--data", str(tmp_path)]) == 5
    assert "--data DIR" in capsys.readouterr().err


def test_every_number_column_has_limits() -> None:
    assert set(LIMITS) == {*REQUIRED, *OPTIONAL} - {"cpu_model"}


def test_the_example_of_the_manual_is_what_the_command_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manual = (Path(__file__).parents[2] / "docs/estimator.md").read_text(encoding="utf-8")
    given_rows, answer = (block.split("```")[0] for block in manual.split("```csv\n")[1:])
    (tmp_path / "machines.csv").write_text(given_rows)
    assert code(["estimator", "predict", str(tmp_path / "machines.csv")]) == 0
    assert capsys.readouterr().out == answer


def test_the_manual_names_every_column() -> None:
    manual = (Path(__file__).parents[2] / "docs/estimator.md").read_text(encoding="utf-8")
    assert [name for name in (*REQUIRED, *OPTIONAL, *ADDED) if f"`{name}`" not in manual] == []


HEADER = "cpu_model,sockets,cores,threads,mhz,memory_gb,year,load_pct"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("cpu_model;sockets;cores\nX;1;2\n", "separated by semicolons or tabs"),
        (HEADER.replace("cpu_model", "CPU_Model") + "\n", "in lower case"),
    ],
)
def test_a_table_that_cannot_be_read_is_an_error_that_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "machines.csv").write_text(text)
    assert code(["estimator", "predict", str(tmp_path / "machines.csv")]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Intel Xeon Gold 6454S,1,32,64,2200,128,2023,50,5", "more cells than the header"),
        ("Intel Xeon Gold 6454S,1,32", "fewer cells than the header"),
    ],
)
def test_a_row_that_does_not_fit_its_header_gets_no_watts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    (tmp_path / "machines.csv").write_text(f"{HEADER}\n{line}\n")
    assert code(["estimator", "predict", str(tmp_path / "machines.csv")]) == 0
    answer = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert answer["watts"] == ""
    assert said in answer["reason"]


def test_a_row_may_leave_out_optional_cells_at_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "machines.csv").write_text(f"{HEADER},tdp_watts\n{','.join(GOOD.values())}\n")
    assert code(["estimator", "predict", str(tmp_path / "machines.csv")]) == 0
    assert next(csv.DictReader(io.StringIO(capsys.readouterr().out)))["watts"]


def test_a_model_file_of_another_version_is_named_with_the_command_that_makes_it_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "machines.csv").write_text(f"{HEADER}\n{','.join(GOOD.values())}\n")
    (tmp_path / "old.json").write_text('{"version": 2}')
    asked = ["estimator", "predict", str(tmp_path / "machines.csv"), "--model", str(tmp_path / "old.json")]
    assert code(asked) == 2
    said = "".join(capsys.readouterr().err.split())
    assert f"trainitagain:eoestimatortrain--out{tmp_path / 'old.json'}" in said


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "machines.csv").write_text(f"{HEADER}\n{','.join(GOOD.values())}\n")
    asked = ["estimator", "predict", str(tmp_path / "machines.csv"), "--out", str(tmp_path / "none" / "x.csv")]
    assert code(asked) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_joules_per_operation_are_added_to_the_rows_that_lack_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [f"w{w},request,n{n},{(w + 1) / (n + 1) * (1 + 0.02 * ((w * n) % 3))}" for w in range(5) for n in range(4)]
    text = "\n".join(
        ["workload,operation,node_type,joules_per_operation", *cells[1:], "w0,request,n0,", "x,request,n0,"]
    )
    (tmp_path / "operations.csv").write_text(text + "\n")
    assert code(["estimator", "operations", str(tmp_path / "operations.csv")]) == 0
    *_, asked, unknown = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(asked["predicted_lower"]) < 1.0 < float(asked["predicted_upper"])
    assert unknown["predicted_joules"] == ""
    assert "measured nowhere" in unknown["reason"]


def test_a_table_of_operations_without_its_columns_is_an_error_that_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "operations.csv").write_text("workload,joules\n")
    assert code(["estimator", "operations", str(tmp_path / "operations.csv")]) == 2
    assert "lacks the columns operation, node_type, joules_per_operation" in " ".join(capsys.readouterr().err.split())
