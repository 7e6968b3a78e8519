from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.serving import serving
from api.simulator import Simulator
from energy_orchestrator.api.app import create_app
from energy_orchestrator.cli import main
from energy_orchestrator.config import Settings


@dataclass(frozen=True)
class Said:
    """What a run of `eo` left: its exit code and both outputs."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Said]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the developer's own; an empty working directory."""
    for name in ("EO_CONFIG", "EO_URL", "EO_PORT", "EO_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def plane() -> Simulator:
    return Simulator()


@pytest.fixture
def server(plane: Simulator) -> Iterator[str]:
    with serving(create_app(plane, Settings())) as url:
        yield url


@pytest.fixture
def eo(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Said(int(left.value.code or 0), out, err)

    return run


@pytest.fixture
def served(eo: Run, server: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`eo` with EO_URL at a server over the simulator."""
    monkeypatch.setenv("EO_URL", server)
    return eo
