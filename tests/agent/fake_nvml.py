"""A FAKE NVIDIA driver library for tests: no GPU is at hand. It is the agent's own fake (agent/src/meters/nvml/
fake_nvml.c), built by the C compiler and found by the agent as the driver's would be; what it answers is made from a
profile of NVIDIA's mocknvml."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .rig import missing

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "agent" / "src" / "meters" / "nvml" / "fake_nvml.c"
PROFILES = ROOT.parent / "shared" / "data" / "nvidia-mocknvml" / "pkg" / "gpu" / "mocknvml" / "configs"
STEP_SECONDS = 2
"""The counter of energy goes on by so many seconds of the profile's power at each look."""


@dataclass(frozen=True)
class Profile:
    """What a profile says of its GPUs; NVML's `not supported` is None."""

    name: str
    uuids: list[str]
    milliwatts: int
    millijoules: int | None
    celsius: int
    mig_instances: int

    @property
    def step_millijoules(self) -> int:
        """Of each look."""
        return self.milliwatts * STEP_SECONDS

    def text(self, of_gpu: dict[int, Iterable[str]] | None = None) -> str:
        """For the library; with more lines about some GPUs, by index."""
        lines = []
        for index, uuid in enumerate(self.uuids):
            lines += [f"gpu {uuid}", f"power {self.milliwatts}", f"temperature {self.celsius}"]
            if self.millijoules is not None:
                lines.append(f"energy {self.millijoules} {self.step_millijoules}")
            if self.mig_instances:
                lines.append("mig 0")
            lines += (of_gpu or {}).get(index, [])
        return "\n".join(lines) + "\n"


def profile_names() -> list[str]:
    """Of all profiles there are, e.g. `h100`."""
    return sorted(file.stem.removeprefix("mock-nvml-config-") for file in PROFILES.glob("*.yaml"))


def profile(name: str) -> Profile:
    """One of NVIDIA's profiles."""
    file = PROFILES / f"mock-nvml-config-{name}.yaml"
    if not file.is_file():
        missing(f"{file} is missing: data for tests lies beside the checkout")
    whole: dict[str, Any] = yaml.safe_load(file.read_text())
    gpu = whole["device_defaults"]
    return Profile(
        name,
        [device["uuid"] for device in whole["devices"]],
        gpu["power"]["current_draw_mw"],
        gpu["power"].get("total_energy_consumption_mj"),
        gpu["thermal"]["temperature_gpu_c"],
        gpu["mig"]["max_gpu_instances"],
    )


def build(folder: Path) -> dict[str, str]:
    """The library in this folder, and the environment in which a program finds it. What it answers stands in
    `fake_nvml.txt` beside it."""
    compiler = shutil.which("cc")
    if compiler is None:
        missing("no C compiler (cc) to build the fake library with")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return {"LD_LIBRARY_PATH": str(folder)}
