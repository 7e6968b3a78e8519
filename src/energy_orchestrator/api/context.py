"""Who asks, and about which tenant: the two questions every route asks first.

The tenant comes from the settings; a request may name another one only if the settings know it, so a guess is
refused and learns nothing. The actor is what the audit log will say: the header `Eo-Actor`, set by a proxy that
has authenticated a person, or "local user" on a machine where reaching loopback is the authentication.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Header, Request

from energy_orchestrator.api.control_plane import ControlPlane
from energy_orchestrator.config import Settings
from energy_orchestrator.errors import DeniedError, InvalidInputError

LOCAL_USER = "local user"
ACTOR_LENGTH = 200


def _control_plane(request: Request) -> ControlPlane:
    return cast("ControlPlane", request.app.state.control_plane)


def _settings(request: Request) -> Settings:
    return cast("Settings", request.app.state.settings)


def _tenant(
    request: Request,
    eo_tenant: Annotated[str | None, Header(description="A configured tenant; default: the server's own.")] = None,
) -> str:
    settings = _settings(request)
    if eo_tenant is None:
        return settings.tenant
    if eo_tenant not in settings.known_tenants:
        raise DeniedError(
            f"tenant {eo_tenant!r} is not served here", where="Eo-Tenant", next_step="leave the header out"
        )
    return eo_tenant


def _actor(
    eo_actor: Annotated[str | None, Header(description="Who acts, for the audit log; default: local user.")] = None,
) -> str:
    actor = (eo_actor or "").strip()
    if len(actor) > ACTOR_LENGTH or not actor.isprintable():
        raise InvalidInputError(
            f"an actor has at most {ACTOR_LENGTH} printable characters", where="Eo-Actor", next_step="shorten it"
        )
    return actor or LOCAL_USER


Plane = Annotated[ControlPlane, Depends(_control_plane)]
Configured = Annotated[Settings, Depends(_settings)]
Tenant = Annotated[str, Depends(_tenant)]
Actor = Annotated[str, Depends(_actor)]
