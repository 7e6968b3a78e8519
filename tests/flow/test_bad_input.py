"""Wrong input at the front door: a clear error that names the field and the next step, and nothing started."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from flow.system import System

pytestmark = pytest.mark.slow


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path, None)


def test_an_unknown_configuration_key_is_named(system: System, tmp_path: Path) -> None:
    file = tmp_path / "eo.toml"
    file.write_text("watch_window_second = 3\n", encoding="utf-8")
    done = system.eo("up", "--config", str(file))
    assert done.returncode == 2
    assert "watch_window_second" in done.stderr
    assert "did you mean `watch_window_seconds`" in done.stderr


def test_a_port_in_use_is_named(system: System) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = system.eo("up", "--port", str(port))
    assert done.returncode == 6
    assert str(port) in done.stderr
    assert "--port" in done.stderr
    assert not system.data_dir.exists()


def test_a_knob_value_outside_its_range_is_named(system: System, tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(
        "workloads:\n  - name: a\n    command: [sleep, '9']\n    environment: {B: '3'}\n"
        "    knobs: {B: {allowed: ['1', '2']}}\n",
        encoding="utf-8",
    )
    done = system.eo("up", "--workloads", str(file))
    assert done.returncode == 2
    for word in ("workloads.a", "environment.B", "allowed: 1, 2"):
        assert word in done.stderr
    assert not (system.data_dir / "postgres").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_named_before_anything_starts(system: System, tmp_path: Path) -> None:
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail("can't mount a tmpfs")
        pytest.skip("can't mount a tmpfs")
    try:
        done = system.eo("up", "--data-dir", str(small))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert done.returncode == 3
    assert "free" in done.stderr
    assert "--data-dir" in done.stderr


def test_no_server_says_how_to_start_one(system: System) -> None:
    done = system.eo("nodes")
    assert done.returncode == 3
    assert "eo up" in done.stderr
