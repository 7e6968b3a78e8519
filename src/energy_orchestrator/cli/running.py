"""`eo up` and `eo doctor`: start everything on this machine, and say beforehand what would be missing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from energy_orchestrator.cli import doctor as checks
from energy_orchestrator.cli import output
from energy_orchestrator.cli.options import Config, Format, settings
from energy_orchestrator.cli.output import Output
from energy_orchestrator.errors import ConflictError, UnavailableError

Port = Annotated[int | None, typer.Option("--port", help="Port of the page and the API; default 8321.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Databases, streams and keys.")]


def up(
    config: Config = None,
    port: Port = None,
    bind: Annotated[str | None, typer.Option("--bind", help="Address to listen on; default loopback.")] = None,
    data_dir: DataDir = None,
    workloads: Annotated[Path | None, typer.Option("--workloads", help="Declared workloads (YAML).")] = None,
    policies: Annotated[Path | None, typer.Option("--policies", help="Policies (YAML with CEL).")] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="advisory, approve or auto.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="The tenant served.")] = None,
    otlp_port: Annotated[
        int | None, typer.Option("--otlp-port", help="Take OTLP metrics on this port of loopback; default off.")
    ] = None,
) -> None:
    """Start everything on this machine and serve the page, until Ctrl-C."""
    chosen = settings(
        config,
        port=port,
        bind=bind,
        data_dir=data_dir,
        workloads=workloads,
        policies=policies,
        mode=mode,
        tenant=tenant,
        otlp_port=otlp_port,
    )
    require_free(chosen.bind, chosen.port)
    from energy_orchestrator.services.all_in_one import run

    run(chosen)


def require_free(address: str, port: int) -> None:
    """ConflictError where something else listens on the port, before anything is started."""
    try:
        checks.listen_once(address, port)
    except OSError as error:
        raise ConflictError(
            f"cannot listen on port {port}: {error.strerror}",
            where=f"{address}:{port}",
            next_step="stop what listens there, or choose another with --port or EO_PORT",
        ) from error


def doctor(config: Config = None, port: Port = None, data_dir: DataDir = None, form: Format = Output.TABLE) -> None:
    """Check this machine. Exits 3 when something that `eo up` needs is missing."""
    found = checks.examine(settings(config, port=port, data_dir=data_dir))
    if form is Output.JSON:
        output.print_json([check.as_dict() for check in found])
    else:
        output.print_table(
            ("", "Check", "Found", "How to get it"),
            [(output.toned(check.verdict), check.name, check.found, check.remedy) for check in found],
            empty="",
        )
    missing = [check.name for check in found if check.verdict is checks.Verdict.MISSING]
    if missing:
        raise UnavailableError(
            f"missing: {', '.join(missing)}", where="this machine", next_step="see the column `How to get it`"
        )
