"""The wire contract as Arrow schemas, read from the same files as the Rust agent (`schemas/README.md`)."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

_TYPES: dict[str, pa.DataType] = {
    "utf8": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "list<utf8>": pa.list_(pa.string()),
    "timestamp[ms, UTC]": pa.timestamp("ms", "UTC"),
}

MAX_ROWS = 100_000
MAX_MESSAGE_BYTES = 8 * 2**20
MAX_DECOMPRESSED_BYTES = 16 * 2**20


class Kind(StrEnum):
    """The kinds of message; the last token of a subject."""

    SAMPLES = "samples"
    PROFILES = "profiles"
    INVENTORY = "inventory"
    METERS = "meters"
    OPERATIONS = "operations"
    COUNTERS = "counters"
    GPU_PROCESSES = "gpu_processes"


def contract_text(kind: Kind, version: int = 1) -> str:
    """The JSON text of a contract file, from the installed package or, in a checkout, from `schemas/`."""
    name = f"{kind.value}.v{version}.json"
    packaged = resources.files("energy_orchestrator") / "schemas" / name
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[3] / "schemas" / name).read_text(encoding="utf-8")


@cache
def contract(kind: Kind, version: int = 1) -> dict[str, Any]:
    """The parsed contract file."""
    return cast("dict[str, Any]", json.loads(contract_text(kind, version)))


@cache
def arrow_schema(kind: Kind, version: int = 1) -> pa.Schema:
    """Arrow schema of a kind, without batch metadata."""
    return pa.schema(
        [
            pa.field(entry["name"], _TYPES[entry["type"]], entry["nullable"])
            for entry in contract(kind, version)["fields"]
        ]
    )
