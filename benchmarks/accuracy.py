"""Every section of docs/accuracy.md made again, one command after another: `make accuracy`.

    python -m benchmarks.accuracy [--list] [--only NAME ...]

A generator is a command of its own that renews its sections with `--write`; this module only knows which there are, in
the order of the page, and says at the end which of them failed. One that fails leaves its sections as they were.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import ACCURACY, DATA

ROOT = ACCURACY.parents[1]


@dataclass(frozen=True)
class Generator:
    """A command and the sections that it writes; `minutes` on two free cores, about."""

    name: str
    sections: tuple[str, ...]
    minutes: float
    arguments: tuple[str, ...] = ()
    needs_data: bool = False
    module: str = ""

    @property
    def command(self) -> list[str]:
        """Arguments of Python."""
        if self.module:
            return ["-m", self.module, *self.arguments]
        return ["-m", f"benchmarks.{self.name}", *self.arguments, "--write"]


PLACEMENT = ("placement-backtest", "placement-backtest-google", "placement-backtest-alibaba")
GENERATORS = (
    Generator("estimator", ("estimator",), 0.4, ("estimator", "evaluate"), True, "energy_orchestrator.cli"),
    Generator("training_scale", ("training scale",), 0.5, needs_data=True),
    Generator("calibration", ("meters", "calibration"), 0.1, needs_data=True),
    Generator("idle", ("idle",), 0.1, needs_data=True),
    Generator("telemetry_power", ("telemetry",), 0.1, needs_data=True),
    Generator("mlperf_power", ("mlperf",), 0.2, needs_data=True),
    Generator("operations_model", ("operations",), 1.3, needs_data=True),
    Generator("attribution", ("attribution",), 0.1),
    Generator("savings", ("savings",), 0.4),
    Generator("change_points", ("change-points",), 0.7),
    Generator("operation_cost", ("operation-cost",), 0.4),
    Generator("advice_report", ("confidence", "measured-sweeps"), 0.1, needs_data=True),
    Generator("backtest", PLACEMENT, 17, ("--days", "14")),
    Generator("fingerprints", ("fingerprints",), 0.1),
    Generator("fingerprint_scale", ("fingerprint scale",), 1, ("--also-one",)),
    Generator("fleet_scale", ("fleet scale",), 17, ("--serve-one",)),
)


def chosen(names: Sequence[str]) -> list[Generator]:
    """Those of the names, or all, in the order of the page."""
    return [it for it in GENERATORS if not names or it.name in names]


def run(generator: Generator, place: str) -> str:
    """Why it failed; empty when it did not."""
    words = " ".join(generator.command)
    print(f"[{place}] {generator.name}: python {words} (about {generator.minutes:g} min)", flush=True)
    if generator.needs_data and not DATA.is_dir():
        return f"needs the shared data, and {DATA} is not there"
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, *generator.command], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    print(f"[{place}] {generator.name}: {time.perf_counter() - begun:.0f} s", flush=True)
    return f"ended with {done.returncode}; what it said is above. Again: python {words}" if done.returncode else ""


def main() -> None:
    """Run them; the exit code is 1 when any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="say what there is and end")
    names = [it.name for it in GENERATORS]
    parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="NAME", help="of these generators only")
    asked = parser.parse_args()
    wanted = chosen(asked.only)
    if asked.list:
        for it in wanted:
            data = ", needs the shared data" if it.needs_data else ""
            print(f"{it.name}: {', '.join(it.sections)} (about {it.minutes:g} min{data})")
        return
    reasons = [(it.name, run(it, f"{place}/{len(wanted)}")) for place, it in enumerate(wanted, 1)]
    failed = [(name, why) for name, why in reasons if why]
    print(f"{len(wanted) - len(failed)} of {len(wanted)} renewed docs/accuracy.md")
    for name, why in failed:
        print(f"FAILED {name}: {why}")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
