"""The Debian package, the systemd unit and the example settings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.profiling import AGENT
from agent.rig import missing

pytestmark = pytest.mark.slow
DEPLOY = Path(__file__).parents[2] / "deploy" / "agent"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built package."""
    if not os.access(AGENT, os.X_OK):
        missing("the agent is not built: run `make up` or cargo build --release in agent/")
    if not shutil.which("dpkg-deb"):
        missing("dpkg-deb is needed: a Debian or Ubuntu machine")
    return build(tmp_path_factory.mktemp("deb"))


def build(out: Path) -> Path:
    """Run the script."""
    subprocess.run([str(DEPLOY / "build-deb.sh"), str(AGENT), str(out)], check=True, capture_output=True)
    return next(out.glob("*.deb"))


def test_the_package_holds_a_working_agent(package: Path, tmp_path: Path) -> None:
    """What is unpacked runs with the settings beside it, and says what the node offers."""
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path)], check=True)
    settings = tmp_path / "etc" / "eo-agent" / "agent.toml"
    command = [str(tmp_path / "usr" / "bin" / "eo-agent"), "check", "--config", str(settings), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"meters"' in done.stdout
    fields = subprocess.run(["dpkg-deb", "-f", str(package)], capture_output=True, text=True, check=True).stdout
    assert re.search(r"^Depends: libc6 \(>= 2\.\d+\)", fields, re.MULTILINE), fields
    assert settings.stat().st_mode & 0o077 == 0o040


def test_the_same_inputs_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    """A package can be made again and compared."""
    assert build(tmp_path).read_bytes() == package.read_bytes()


def test_every_key_of_the_example_is_a_key(tmp_path: Path) -> None:
    """With the comment signs removed, nothing is unknown to the agent."""
    text = re.sub(r"^#(?=[a-z_]+ =)", "", (DEPLOY / "agent.toml").read_text(), flags=re.MULTILINE)
    assert text.count("\n") > 10
    settings = tmp_path / "agent.toml"
    settings.write_text(text)
    done = subprocess.run([str(AGENT), "check", "--config", str(settings)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    settings.write_text("tenannt = 'x'\n" + text)
    done = subprocess.run([str(AGENT), "check", "--config", str(settings)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "tenannt" in done.stderr


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """systemd-analyze knows every line; the path of the program is that of this machine."""
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not here (Debian package systemd)")
    unit = tmp_path / "eo-agent.service"
    unit.write_text((DEPLOY / "eo-agent.service").read_text().replace("/usr/bin/eo-agent", str(AGENT)))
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    about_ours = [line for line in done.stderr.splitlines() if "eo-agent.service" in line]
    assert not about_ours, done.stderr
