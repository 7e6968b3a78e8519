"""Bring a log of benchmark runs into the database of a running orchestrator.

    python tools/import_benchmark_runs_log_to_db.py runs.jsonl              # all of it, or nothing
    python tools/import_benchmark_runs_log_to_db.py runs.jsonl --dry-run    # check only

Thin on purpose: the server parses and stores, in one transaction, so that a malformed line (named by its number, exit
code 2) leaves nothing half imported, and the same file a second time changes nothing.
"""

from __future__ import annotations

import typer

from energy_orchestrator.cli import print_error
from energy_orchestrator.cli.acting import import_runs
from energy_orchestrator.errors import EoError


def main() -> None:
    """Entry point."""
    try:
        typer.run(import_runs)
    except EoError as error:
        print_error(error)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
