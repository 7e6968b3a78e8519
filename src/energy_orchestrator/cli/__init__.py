"""`eo`: the command line. `app` declares the commands; this is the way in and the only way out.

Every error a person is meant to read leaves here: on standard error, without a traceback, with the exit code of
its class. Whatever else is raised is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import sys

from energy_orchestrator.errors import EoError


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `eo`; always leaves by SystemExit."""
    from energy_orchestrator.cli.app import app

    try:
        app(args=arguments, prog_name="eo")
    except EoError as error:
        print_error(error)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def print_error(error: EoError) -> None:
    """The fault on one line of standard error and the next step on another."""
    place = f"{error.where}: " if error.where else ""
    print(f"Error: {place}{error.what}", file=sys.stderr)
    if error.next_step:
        print(f"  Next: {error.next_step}", file=sys.stderr)
