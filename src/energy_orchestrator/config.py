"""Settings: one TOML file, the environment, flags; the later wins.

Every key exists in all three places under one name: `port` in `eo.toml`, `EO_PORT` in the environment, `--port`
where a command has the flag. The file is read as a whole before anything starts: a key nobody knows is an error
that names the closest one that exists, because a misspelt `watch_window_second` that is silently ignored is a
safety setting that is silently off. Secrets are never values here, only paths of files that hold them.

Handed to `services/` for the wiring, to `api/` for the tenant and the host names, and to `cli/`.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from energy_orchestrator.errors import InvalidInputError

PREFIX = "EO_"
DEFAULT_FILE = "eo.toml"
DEFAULT_PORT = 8321
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


def default_data_dir(working_directory: Path | None = None) -> Path:
    """`.eo` inside a checkout of this project, the user's data directory elsewhere."""
    here = working_directory or Path.cwd()
    project = here / "pyproject.toml"
    if project.is_file() and 'name = "energy-orchestrator"' in project.read_text(encoding="utf-8", errors="replace"):
        return here / ".eo"
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "energy-orchestrator"


class Settings(BaseSettings):
    """All settings with their defaults. Made by `load_settings`, which turns faults into readable errors."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    port: int = Field(DEFAULT_PORT, ge=0, le=65_535, description="Port of the page and the API; 0 takes a free one.")
    bind: str = Field("127.0.0.1", description="Address to listen on. Off loopback `allowed_hosts` must be set.")
    allowed_hosts: tuple[str, ...] = Field((), description="Names the page is reached by, besides loopback.")
    url: str | None = Field(None, description="Where clients find the server; default http://127.0.0.1:<port>.")
    data_dir: Path = Field(default_factory=default_data_dir, description="Databases, streams and keys.")
    tenant: str = Field("local", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="The default tenant.")
    tenants: tuple[str, ...] = Field((), description="Further tenants that the header `Eo-Tenant` may name.")

    workloads: Path | None = Field(None, description="Declared workloads (eo.workloads.yaml).")
    policies: Path | None = Field(None, description="Policies: named CEL rules.")
    mode: Literal["advisory", "approve", "auto"] = Field("approve", description="What may happen without a person.")

    window_seconds: float = Field(5.0, gt=0, le=3600, description="Width of an attribution window.")
    agent_enabled: bool = Field(True, description="Start the agent on this machine.")
    agent_binary: Path | None = Field(None, description="The agent; default: found beside the package or on PATH.")
    agent_interval_seconds: float = Field(2.0, ge=0.5, le=60, description="How often the agent samples.")
    agent_profile_hz: int = Field(19, ge=0, le=99, description="Stack samples a second for each CPU; 0 is none.")

    otlp_port: int | None = Field(
        None, ge=0, le=65_535, description="Take OTLP metrics (HTTP, protobuf) on this port of loopback; 4318 is usual."
    )

    annotated_operations: bool = Field(
        False, description="Read metrics that labels of this machine's containers and pods name (docs/operations.md)."
    )

    electricity_price_per_kwh: float | None = Field(None, ge=0, description="Money is shown only when this is set.")
    currency: str = Field("EUR", pattern=r"^[A-Z]{3}$", description="ISO 4217 code of the price.")
    grid_gco2e_per_kwh: float | None = Field(None, ge=0, description="Emissions are shown only when this is set.")
    embodied_kgco2e: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="Embodied emissions of a node in kgCO2e, by host, instance type, product or `*` for all.",
    )
    node_lifetime_years: float = Field(4.0, gt=0, le=50, description="Over which embodied emissions are spread.")

    analysis_windows: int = Field(12, ge=5, le=10_000, description="Windows a canary is compared over.")
    watch_window_seconds: float = Field(
        30.0, ge=0, description="How long a full rollout is watched, at least five windows."
    )

    nats_url: str | None = Field(None, description="An external NATS; default: a child process.")
    nats_credentials_file: Path | None = Field(None, description="NATS credentials.")
    kafka_brokers: tuple[str, ...] = Field((), description="Kafka as the bus in place of NATS: HOST:PORT of brokers.")
    kafka_tls: bool = Field(False, description="TLS to the brokers; implied by kafka_ca_file and kafka_cert_file.")
    kafka_ca_file: Path | None = Field(None, description="Who signed the brokers' certificates; default: the system's.")
    kafka_cert_file: Path | None = Field(None, description="Certificate for mutual TLS, with kafka_key_file.")
    kafka_key_file: Path | None = Field(None, description="Its key.")
    kafka_user: str | None = Field(None, description="Name for SASL, with kafka_password_file.")
    kafka_password_file: Path | None = Field(None, description="File with the password of kafka_user.")
    kafka_sasl_mechanism: Literal["scram-sha-512", "scram-sha-256", "plain"] = Field(
        "scram-sha-512", description="How kafka_user logs in."
    )
    postgres_url_file: Path | None = Field(None, description="File with the URL of an external Postgres.")

    @field_validator("data_dir", "workloads", "policies", "agent_binary", "postgres_url_file", mode="after")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value is not None else None

    @model_validator(mode="after")
    def _one_bus(self) -> Settings:
        if self.kafka_brokers and self.nats_url:
            raise ValueError("kafka_brokers and nats_url: there is one bus; leave one of them out")
        for one, other in (("kafka_cert_file", "kafka_key_file"), ("kafka_user", "kafka_password_file")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"{one} and {other} belong together: give both or neither")
        return self

    @model_validator(mode="after")
    def _reachable_by_name(self) -> Settings:
        if not is_loopback(self.bind) and not self.allowed_hosts:
            raise ValueError(
                f"bind: {self.bind} is reachable from the network; name the hosts in `allowed_hosts` and put a proxy "
                "that authenticates people and speaks TLS in front, or keep 127.0.0.1"
            )
        return self

    @property
    def base_url(self) -> str:
        """URL that clients use."""
        return (self.url or f"http://127.0.0.1:{self.port}").rstrip("/")

    @property
    def known_tenants(self) -> frozenset[str]:
        """Tenants a request may be about."""
        return frozenset({self.tenant, *self.tenants})

    @property
    def host_names(self) -> frozenset[str]:
        """Values of `Host` and `Origin` that are ours."""
        return LOOPBACK_NAMES | {name.lower() for name in self.allowed_hosts}


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to the address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def load_settings(file: Path | None = None, **flags: Any) -> Settings:
    """Read the file, then the environment, then flags (None means not given).

    Without `file`, `EO_CONFIG` and then `eo.toml` in the working directory are taken where they exist.
    """
    path = _chosen_file(file)
    from_file = _read_toml(path) if path else {}
    given = {name: value for name, value in flags.items() if value is not None}
    in_environment = {name for name in Settings.model_fields if os.environ.get(PREFIX + name.upper())}
    values = {name: value for name, value in from_file.items() if name not in in_environment} | given
    try:
        return Settings(**values)
    except ValidationError as error:
        raise _readable(error, path, set(given)) from error


def unknown_environment(environment: Mapping[str, str] | None = None) -> list[str]:
    """Variables named EO_* that mean nothing here; `eo doctor` shows them."""
    names = os.environ if environment is None else environment
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {"EO_CONFIG"}
    return sorted(name for name in names if name.startswith(PREFIX) and name not in known)


def _chosen_file(file: Path | None) -> Path | None:
    if file is None and os.environ.get("EO_CONFIG"):
        file = Path(os.environ["EO_CONFIG"])
    if file is not None:
        if not file.is_file():
            raise InvalidInputError("no such file", where=str(file), next_step="check --config, or leave it out")
        return file
    default = Path(DEFAULT_FILE)
    return default if default.is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"not valid TOML: {error}", where=str(path), next_step="correct that line") from error
    for key in values:
        if key not in Settings.model_fields:
            raise InvalidInputError(f"unknown key `{key}`", where=str(path), next_step=_suggestion(key))
    return values


def _suggestion(key: str) -> str:
    close = difflib.get_close_matches(key, list(Settings.model_fields), n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"take one of: {', '.join(sorted(Settings.model_fields))}"


def _readable(error: ValidationError, path: Path | None, flags: set[str]) -> InvalidInputError:
    first = error.errors(include_url=False, include_input=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    message = str(first["msg"]).removeprefix("Value error, ")
    field = Settings.model_fields.get(key)
    meaning = field.description if field and field.description else "see `eo --help`"
    return InvalidInputError(
        f"`{key}`: {message}" if key else message, where=_origin(key, path, flags), next_step=f"correct it. {meaning}"
    )


def _origin(key: str, path: Path | None, flags: set[str]) -> str:
    if key in flags:
        return f"--{key.replace('_', '-')}"
    if os.environ.get(PREFIX + key.upper()):
        return PREFIX + key.upper()
    return str(path) if path else "settings"
