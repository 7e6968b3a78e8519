"""What the labels of a container or pod ask to be read: the source `annotation`. Pure.

Two ways to say it: `prometheus.io/scrape: "true"` with `prometheus.io/port` and `prometheus.io/path`, which many
programs carry already, and `eo.operations.port` with `eo.operations.path` and `eo.operations.server` (one of the known
servers, where an endpoint shows several). A label never names a host: which address is read is found from the
program's own process (`own_endpoints.py`). So that a label can't make more of a request than the reading of a page of
metrics, a path has letters, digits and `/._-` only, and no query.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from energy_orchestrator.errors import InvalidInputError

DEFAULT_PATH = "/metrics"
_PATH = re.compile(r"/[A-Za-z0-9/._-]{0,199}")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Asked:
    """An endpoint as labels tell it."""

    port: int
    path: str
    server: str | None


def asked_for(labels: Iterable[str]) -> Asked | None:
    """What `key=value` labels ask for; None where nothing. InvalidInputError where they can't be followed."""
    told = dict(it.partition("=")[::2] for it in labels)
    if "eo.operations.port" in told:
        prefix = "eo.operations."
    elif told.get("prometheus.io/scrape", "").lower() == "true":
        prefix = "prometheus.io/"
    else:
        return None
    if told.get(f"{prefix}scheme", "http") != "http":
        raise _wrong(f"{prefix}scheme", "only plain http is read, on this machine")
    port, path = told.get(f"{prefix}port", ""), told.get(f"{prefix}path", DEFAULT_PATH)
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65_535:
        raise _wrong(f"{prefix}port", f"{port!r} is no port")
    if not _PATH.fullmatch(path) or ".." in path:
        raise _wrong(f"{prefix}path", f"{path!r} is no path of letters, digits and `/._-`")
    return Asked(int(port), path, told.get("eo.operations.server"))


def _wrong(label: str, what: str) -> InvalidInputError:
    return InvalidInputError(what, where=f"label `{label}`", next_step="correct the label, or declare the workload")
