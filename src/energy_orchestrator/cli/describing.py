"""`eo recommendations describe`: what really runs, as the fleet file that `eo recommendations plan` reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from energy_orchestrator.cli import options, output
from energy_orchestrator.cli.options import Tenant, Url, connect
from energy_orchestrator.errors import InvalidInputError


def describe(
    hours: Annotated[
        float, typer.Option(min=0.02, max=24 * 30, help="How far back; a week knows a week's peaks.")
    ] = 24,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write it there; default: print it.")] = None,
    series_url: Annotated[str | None, typer.Option(help="A ClickHouse server, asked without `eo up`.")] = None,
    credentials: Annotated[Path | None, typer.Option(help="File with user:password of that server.")] = None,
    url: Url = None,
    tenant: Tenant = None,
) -> None:
    """Nodes and workloads that really run, as a fleet file to complete and to plan with."""
    if series_url is None:
        row = connect(url, tenant).get("/fleet", minutes=hours * 60)
    else:
        row = _from_series(series_url, credentials, tenant or options.settings().tenant, hours)
    if out is None:
        output.print_json(row)
    else:
        try:
            out.write_text(output.json_text(row) + "\n", encoding="utf-8")
        except OSError as error:
            raise InvalidInputError(
                f"can't be written: {error.strerror}", where=str(out), next_step="name another --out"
            ) from error
    from energy_orchestrator.services.live_fleet import UNTOLD

    output.hint(UNTOLD)


def _from_series(url: str, credentials: Path | None, tenant: str, hours: float) -> dict[str, Any]:
    from energy_orchestrator.services.fleet_analysis import Place
    from energy_orchestrator.services.live_fleet import live_fleet

    now = datetime.now(UTC)
    with Place(url, credentials_file=credentials).open() as series:
        found = live_fleet(series, tenant, now - timedelta(hours=hours), now)
        return found.model_dump(mode="json", exclude_defaults=True)
