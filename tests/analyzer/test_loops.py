"""A loop says how it fares, with its own interval in mind."""

from __future__ import annotations

import time

import pytest

from energy_orchestrator.services import loops
from energy_orchestrator.services.loops import Loop


def test_a_loop_of_minutes_is_not_called_silent_between_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop("slow", 180.0, lambda: None)
    assert loop.state() == "starting"
    loop.succeeded()
    begun = time.monotonic()
    monkeypatch.setattr(loops.time, "monotonic", lambda: begun + 200)
    assert loop.state() == "ok"
    monkeypatch.setattr(loops.time, "monotonic", lambda: begun + 300)
    assert loop.state() == "silent for 300 s"
