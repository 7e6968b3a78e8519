"""Fixtures of the whole-flow tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.system import AGENT, System, demo_on_free_ports, running


@pytest.fixture(scope="session")
def agent() -> None:
    """The built agent."""
    if not os.access(AGENT, os.X_OK):
        if os.environ.get("CI") == "true":
            pytest.fail("the agent is not built")
        pytest.skip("the agent is not built: run `make up` or cargo build --release in agent/")


@pytest.fixture(scope="module")
def demo(agent: None) -> Iterator[System]:
    """The demo under load, with short analyses.

    Not below pytest's own folder: as root, Postgres runs as another user, and pytest closes that folder to others.
    """
    with tempfile.TemporaryDirectory(prefix="eo-flow-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = demo_on_free_ports(folder, {"inference", "matrix-batch", "poller", "idle-cache", "load"})
        with running(System(folder, file, EO_ANALYSIS_WINDOWS="6", EO_WATCH_WINDOW_SECONDS="25")) as system:
            yield system
