"""`eo recommendations plan --prices FILE.csv`: money of rented machines from the user's prices, else unknown with the
reason, never energy times the price of a kWh."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from energy_orchestrator.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples/fleet/fleet.json"
HEAD = "provider,instance_type,price_per_hour\n"


def plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> tuple[int, dict[str, Any], list[str], str]:
    """Exit code, the advice about the instance, the notes, standard error."""
    fleet = tmp_path / "fleet.json"
    fleet.write_text(json.dumps(json.loads(EXAMPLE.read_text()) | {"nodes": [], "workloads": []}))
    prices = tmp_path / "prices.csv"
    if text is not None:
        prices.write_text(text)
    given = ["--prices", str(prices)] if text is not None else []
    with pytest.raises(SystemExit) as stopped:
        main(["recommendations", "plan", "--fleet", str(fleet), "-o", "json", *given])
    printed = capsys.readouterr()
    found = json.loads(printed.out) if printed.out else {"recommendations": [{}], "notes": []}
    about = [it for it in found["recommendations"] if it.get("suggestion_type", "instance_type") == "instance_type"]
    return int(stopped.value.code or 0), about[0], found["notes"], printed.err


def test_without_prices_money_is_unknown_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(EXAMPLE.read_text())["price_per_kwh"] > 0
    _, advice, _, _ = plan(tmp_path, capsys, None)
    assert advice["expected_savings_cost"] is None
    assert "Money unknown: no price of m5.4xlarge and" in advice["explanation"]


def test_money_comes_from_the_prices_of_both_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, before, _, _ = plan(tmp_path, capsys, None)
    chosen = before["change"]["patch"]["instance_type"]
    text = f"{HEAD}aws,m5.4xlarge,0.8\naws,{chosen},0.3\naws,m9.huge,9\n"
    code, advice, notes, _ = plan(tmp_path, capsys, text)
    assert code == 0
    assert advice["expected_savings_cost"] == {"value": pytest.approx(12), "lower": pytest.approx(12),
                                               "upper": pytest.approx(12)}  # fmt: skip
    assert notes == ["prices: not in the catalogue, so not used: aws m9.huge"]
    _, half, _, _ = plan(tmp_path, capsys, f"{HEAD}aws,m5.4xlarge,0.8\n")
    assert half["expected_savings_cost"] is None
    assert f"no price of {chosen} was given" in half["explanation"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column provider, instance_type, price_per_hour"),
        ("provider,instance_type\naws,a\n", "no column price_per_hour"),
        (f"{HEAD}aws,m5.large,cheap\n", "line 2: price_per_hour 'cheap' is no price"),
        (f"{HEAD}aws,m5.large\n", "is no price"),
        (f"{HEAD}aws,m5.large,0\n", "is no price"),
        (f"{HEAD}aws,m5.large,nan\n", "is no price"),
        (f"{HEAD}aws,m5.large,1\naws,m5.large,2\n", "line 3: aws m5.large is there twice"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    code, _, _, error = plan(tmp_path, capsys, text)
    assert code == 2
    for word in said.split(": "):
        assert word in error
    assert "Next:" in error
