"""Build the catalogue of instance types that `recommend/instance_type.py` chooses from.

    python tools/build_instance_catalogue.py [--data ../shared/data] [--out FILE]

From Cloud Carbon Footprint's coefficients (cloud-carbon-footprint/ccf-coefficients @ b0032d928c78, Apache-2.0): sizes
of instance types, watts per virtual CPU at rest and at full load by architecture (from SPECpower results), 0.392 W a
gigabyte of memory. A type whose architecture is not named in the data is left out: no guess. `basis` says `measured`
where SPECpower has servers of the architecture and `stand_in` where the coefficients reuse another one's (Graviton
stands on EPYC 2nd Gen) or rest on very few (EPYC 5th Gen: more than twice any other). The data has no prices, so
`price_per_hour` is empty; a fleet file may give them. Same data, same bytes.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator
from pathlib import Path

from energy_orchestrator.recommend.instance_type import CATALOGUE_FILE, COLUMNS

ROOT = Path(__file__).parents[1]
WATTS_PER_GB = 0.392
STAND_IN = ("Graviton", "EPYC 5th Gen")
ARCHITECTURES = (
    (r"Graviton4", "Graviton4"),
    (r"Graviton3E", "Graviton3E"),
    (r"Graviton3", "Graviton3"),
    (r"Graviton2", "Graviton2"),
    (r"Granite Rapids", "Granite Rapids"),
    (r"Emerald Rapids|858\dC", "Emerald Rapids"),
    (r"Sapphire Rapids|84\d\dC", "Sapphire Rapids"),
    (r"Ice Lake|83\d\dC", "Ice Lake"),
    (r"Cascade Lake|82(52|59|75|73|80)", "Cascade Lake"),
    (r"Skylake|81\d\d|P-8175", "Skylake"),
    (r"EPYC 9R45", "EPYC 5th Gen"),
    (r"EPYC 9", "EPYC 4th Gen"),
    (r"EPYC 7(R13|B13)", "EPYC 3rd Gen"),
    (r"EPYC 7(R32|B12)", "EPYC 2nd Gen"),
    (r"EPYC 7571", "EPYC 1st Gen"),
    (r"Broadwell|E5-2686 v4|E7-8880 v4", "Broadwell"),
    (r"Haswell|E5-26\d\d v3|E7[- ]8880 ?v3", "Haswell"),
    (r"E5-26\d\d v2", "Ivy Bridge"),
    (r"E5-26(70|65)$", "Sandy Bridge"),
)
Row = tuple[str, str, float, float, str]


def main() -> None:
    """Write the file."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    options.add_argument("--out", type=Path, default=CATALOGUE_FILE)
    chosen = options.parse_args()
    folder = chosen.data / "ccf-coefficients"
    if not folder.is_dir():
        raise SystemExit(f"no data: {folder}. Next: name its parent folder with --data")
    lines = sorted({line for row in _types(folder) if (line := _line(row, _coefficients(folder, row[0])))})
    with chosen.out.open("w", encoding="utf-8", newline="") as file:
        file.write(
            "# Built by tools/build_instance_catalogue.py from cloud-carbon-footprint/ccf-coefficients @ b0032d928c78"
            " (Apache-2.0). Do not edit.\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(lines)
    print(f"{len(lines)} instance types in {chosen.out}")


def _types(folder: Path) -> Iterator[Row]:
    for provider, file, names in (
        ("aws", "aws-instances-latest-2026", ("Instance Type", "vCPUs", "Memory (GiB)", "Platform CPU Name")),
        ("gcp", "gcp-instances-latest-2026", ("Instance Type", "Instance vCPU", "Instance Memory", "CPU Name")),
        ("azure", "azure-instances", ("Virtual Machine", "Instance vCPUs", "Instance Memory", "Microarchitecture")),
    ):
        with (folder / f"data/{file}.csv").open(encoding="utf-8-sig") as text:
            for row in csv.DictReader(text):
                name, vcpus, memory, cpu = (row[column].strip() for column in names)
                if row.get("Instance GPUs") not in (None, "", "0", "N/A"):
                    continue
                try:
                    yield provider, name, float(vcpus), float(memory), cpu
                except ValueError:
                    continue


def _coefficients(folder: Path, provider: str) -> dict[str, tuple[float, float]]:
    with (folder / f"output/coefficients-{provider}-use.csv").open(encoding="utf-8") as text:
        return {row["Architecture"]: (float(row["Min Watts"]), float(row["Max Watts"])) for row in csv.DictReader(text)}


def _line(row: Row, watts: dict[str, tuple[float, float]]) -> tuple[str, ...] | None:
    provider, name, vcpus, memory, cpu = row
    known = [architecture for pattern, architecture in ARCHITECTURES if re.search(pattern, cpu, re.IGNORECASE)]
    architecture = cpu if cpu in watts else (known[0] if known else "")
    if architecture not in watts or vcpus <= 0 or _accelerated(name):
        return None
    least, most = watts[architecture]
    held = WATTS_PER_GB * memory
    basis = "stand_in" if architecture.startswith(STAND_IN) else "measured"
    isa = "arm64" if architecture.startswith("Graviton") else "x86_64"
    figures = (f"{least * vcpus + held:.2f}", f"{most * vcpus + held:.2f}")
    return (provider, name, f"{vcpus:g}", f"{memory:g}", architecture, isa, *figures, "", basis)


def _accelerated(name: str) -> bool:
    """GPU and accelerator families: their watts are not those of the CPU."""
    return re.match(r"(p\d|g\d|gr\d|inf\d|trn\d|dl\d|vt\d|f\d|a2-|a3-|a4-|g2-|NC|ND|NV)", name) is not None


if __name__ == "__main__":
    main()
