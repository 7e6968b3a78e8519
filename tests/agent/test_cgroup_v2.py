"""Pods and containers on a system that has cgroup v2 only, as most nodes do: the same tests, in a guest that has no
other. The kernel is Debian's in QEMU (this machine's holds the v1 controllers), the container runtime is real.

As root on Debian; installs QEMU and downloads a kernel the first time. Some two minutes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from agent import guest
from agent.cri_pods import install_lacking
from agent.profiling import needs_agent_and_root
from agent.rig import AGENT
from agent.simulated import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

STORM = "test_their_time_is_their_workloads[storm-source0]"
TESTS = f"tests/agent/test_container_names.py 'tests/agent/test_short_lived.py::{STORM}'"
SCRIPT = """
grep -q memory /sys/fs/cgroup/cgroup.controllers && ! grep -q '^cgroup ' /proc/mounts || exit 70
cd {root}
export CI=true EO_AGENT={agent} PATH={path}
exec {python} -m pytest -q -m '' -p no:cacheprovider --junitxml /run/results/tests.xml {tests}
"""


def test_pods_are_named_and_short_lives_counted_where_cgroups_are_v2(tmp_path: Path) -> None:
    """Every test of the runtime's names passes there, and that of a storm of short lives; none is skipped."""
    needs_agent_and_root()
    install_lacking()  # the guest reads this machine's files and has no network
    agent, path = AGENT.resolve(), os.environ["PATH"]
    ended = guest.run(SCRIPT.format(root=ROOT, agent=agent, path=path, python=sys.executable, tests=TESTS), tmp_path)
    told = f"exit {ended.exit}\n{ended.output[-6000:]}\n{ended.console[-1500:]}"
    assert ended.exit == 0, told
    suite = ElementTree.parse(tmp_path / "tests.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("skipped")) == ("4", "0"), told
