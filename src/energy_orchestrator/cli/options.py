"""The options that commands share, and what they turn into."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from energy_orchestrator.cli.client import Client
from energy_orchestrator.cli.output import Output
from energy_orchestrator.config import Settings, load_settings

Url = Annotated[str | None, typer.Option("--url", help="The server; default EO_URL, then http://127.0.0.1:8321.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="A configured tenant; default: the server's own.")]
Format = Annotated[Output, typer.Option("--output", "-o", help="A table for people, JSON for programs.")]
Config = Annotated[Path | None, typer.Option("--config", help="Settings; default EO_CONFIG, then ./eo.toml.")]
Records = Annotated[
    Path | None,
    typer.Option("--records", metavar="FILE", help="File with the URL of the records' Postgres; `eo up`: records.url."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]

_chosen: dict[str, Path | None] = {"config": None}


def choose_config(path: Path | None) -> None:
    """Remember `eo --config FILE` for the command that follows."""
    _chosen["config"] = path


def settings(config: Path | None = None, **flags: object) -> Settings:
    """Settings from the file, the environment and the flags of this call."""
    return load_settings(config or _chosen["config"], **flags)


def connect(url: str | None, tenant: str | None = None) -> Client:
    """A client of the server that the flags, the environment or the file name."""
    return Client(settings(url=url).base_url, tenant)
