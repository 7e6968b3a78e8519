"""Measure the table of hot functions with a known better implementation (`recommend/data/code_paths.json`).

    python tools/measure_code_paths.py [--out FILE]

Each entry runs the same work in both ways, in turns, and keeps the ratio of CPU seconds: median, lowest and highest of
the repeats over three sizes of input. What runs here is what stands in the table; nothing is taken from a vendor's
page.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import platform
import random
import re
import subprocess
import time
import xml.dom.minidom
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pydantic_core
import yaml

from energy_orchestrator.recommend.code_path import TABLE_FILE

Work = Callable[[], object]
SIZES, REPEATS, LEAST_SECONDS = (20, 200, 2000), 5, 0.05


def _records(size: int) -> list[dict[str, Any]]:
    chosen = random.Random(size)  # noqa: S311 (input of a benchmark)
    return [
        {"id": n, "name": f"node-{n}", "watts": chosen.random() * 400, "labels": {"zone": f"z{n % 3}", "kind": "batch"}}
        for n in range(size)
    ]


def _yaml(size: int) -> tuple[Work, Work]:
    text = yaml.safe_dump(_records(size // 10 + 1))
    return lambda: yaml.load(text, yaml.SafeLoader), lambda: yaml.load(text, yaml.CSafeLoader)


def _json(size: int) -> tuple[Work, Work]:
    text = json.dumps(_records(size))
    return lambda: json.loads(text), lambda: pydantic_core.from_json(text)


def _deflate(size: int) -> tuple[Work, Work]:
    data = json.dumps(_records(size)).encode()
    slow, fast = pa.Codec("gzip", compression_level=6), pa.Codec("zstd", compression_level=3)
    return lambda: slow.compress(data), lambda: fast.compress(data)


def _minidom(size: int) -> tuple[Work, Work]:
    text = "<r>" + "".join(f'<n id="{n}"><w>{n * 3}</w></n>' for n in range(size)) + "</r>"
    return lambda: xml.dom.minidom.parseString(text), lambda: ElementTree.fromstring(text)


def _csv(size: int) -> tuple[Work, Work]:
    lines = "id,name,watts\n" + "".join(f"{n},node-{n},{n * 0.37:.3f}\n" for n in range(size * 10))
    data = lines.encode()
    return lambda: list(csv.DictReader(io.StringIO(lines))), lambda: pyarrow.csv.read_csv(pa.BufferReader(data))


def _strptime(size: int) -> tuple[Work, Work]:
    texts = [datetime(2026, 1 + n % 12, 1 + n % 28, n % 24, n % 60).isoformat() for n in range(size)]
    return (
        lambda: [datetime.strptime(it, "%Y-%m-%dT%H:%M:%S") for it in texts],
        lambda: [datetime.fromisoformat(it) for it in texts],
    )


ENTRIES: tuple[tuple[dict[str, str], Callable[[int], tuple[Work, Work]]], ...] = (
    (
        {
            "name": "yaml in Python",
            "functions": r"\b(fetch_more_tokens|scan_to_next_token|fetch_plain|scan_plain|get_single_node)\b",
            "better": "yaml.CSafeLoader (libyaml) instead of yaml.SafeLoader",
            "better_functions": r"\byaml_parser_\w+",
            "caveat": "needs PyYAML built with libyaml; the same objects come out",
        },
        _yaml,
    ),
    (
        {
            "name": "json of the standard library, decoding",
            "functions": r"\b(scanstring_unicode|_parse_object_unicode|_match_number_unicode|raw_decode)\b",
            "better": "a JSON parser in Rust: pydantic_core.from_json (measured); orjson is of the same kind",
            "better_functions": r"jiter|pydantic_core|orjson|simdjson|yyjson",
            "caveat": "other errors on bad input; large integers and NaN differ",
        },
        _json,
    ),
    (
        {
            "name": "deflate (gzip, zlib) at level 6",
            "functions": r"\b(deflate_slow|deflate_medium|longest_match|deflate_stored|compress_block)\b",
            "better": "zstd at level 3",
            "better_functions": r"\bZSTD_\w+|\bzstd\b",
            "caveat": "another format: both ends have to agree",
        },
        _deflate,
    ),
    (
        {
            "name": "xml.dom.minidom",
            "functions": r"\b(minidom|expatbuilder|start_element_handler|end_element_handler)\b",
            "better": "xml.etree.ElementTree",
            "better_functions": r"_elementtree|\btreebuilder_\w+|\bexpat_start_handler\b",
            "caveat": "another tree in the code that reads it",
        },
        _minidom,
    ),
    (
        {
            "name": "csv.DictReader",
            "functions": r"\b(DictReader\.__next__|Reader_iternext|parse_process_char)\b",
            "better": "pyarrow.csv.read_csv (columns)",
            "better_functions": r"arrow::csv",
            "caveat": "columns instead of a dict a row; types are inferred",
        },
        _csv,
    ),
    (
        {
            "name": "datetime.strptime of ISO times",
            "functions": r"\b(_strptime|_strptime_datetime)\b",
            "better": "datetime.fromisoformat",
            "better_functions": r"\b(datetime_fromisoformat|parse_isoformat_\w+)\b",
            "caveat": "ISO 8601 only",
        },
        _strptime,
    ),
)


def _cpu_seconds(work: Work, times: int) -> float:
    begun = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - begun


def _ratios(make: Callable[[int], tuple[Work, Work]]) -> list[float]:
    ratios = []
    for size in SIZES:
        slow, fast = make(size)
        times = 1
        while _cpu_seconds(fast, times) < LEAST_SECONDS / 5:
            times *= 2
        fast_times = times * 5
        times = 1
        while _cpu_seconds(slow, times) < LEAST_SECONDS / 5:
            times *= 2
        slow_times = times * 5
        for _ in range(REPEATS):
            each = _cpu_seconds(slow, slow_times) / slow_times
            ratios.append(each / (_cpu_seconds(fast, fast_times) / fast_times))
    return ratios


def _openssl() -> dict[str, Any] | None:
    """Signatures a second of RSA 2048 and ECDSA P-256, which OpenSSL measures itself in user time."""
    try:
        ratios = []
        for _ in range(3):
            command = ["openssl", "speed", "-seconds", "1", "rsa2048", "ecdsap256"]
            text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
            rsa = float(re.findall(r"rsa\s+2048 bits\s+\S+s\s+\S+s\s+(\S+)", text)[0])
            ecdsa = float(re.findall(r"256 bits ecdsa \(nistp256\)\s+\S+s\s+\S+s\s+(\S+)", text)[0])
            ratios.append(ecdsa / rsa)
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None
    entry = {
        "name": "RSA 2048 signatures (TLS handshakes, tokens)",
        "functions": r"\b(rsaz_\w+|bn_mul4x_mont\w*|bn_sqr8x\w*|bn_power5\w*|rsa_ossl_private_\w+)\b",
        "better": "an ECDSA P-256 key",
        "better_functions": r"\b(ecp_nistz256_\w+|ossl_ecdsa_\w+|ecdsa_\w+)\b",
        "caveat": "another certificate; checking a signature becomes dearer for the other side",
    }
    return entry | _bounds(ratios)


def _bounds(ratios: list[float]) -> dict[str, float]:
    return {
        "speedup": round(median(ratios), 2),
        "speedup_lower": round(min(ratios), 2),
        "speedup_upper": round(max(ratios), 2),
    }


def main() -> None:
    """Measure and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=TABLE_FILE)
    chosen = options.parse_args()
    entries = []
    for entry, make in ENTRIES:
        entries.append(entry | _bounds(_ratios(make)))
        print(
            f"{entry['name']}: {entries[-1]['speedup']} ({entries[-1]['speedup_lower']} to "
            f"{entries[-1]['speedup_upper']})"
        )
    if (signed := _openssl()) is not None:
        entries.append(signed)
        print(f"{signed['name']}: {signed['speedup']}")
    source = f"measured by tools/measure_code_paths.py, Python {platform.python_version()}, {platform.machine()}"
    chosen.out.write_text(json.dumps({"source": source, "entries": entries}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
