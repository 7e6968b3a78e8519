"""The HTTP application: the port `ControlPlane` on the outside.

`create_app` is given a control plane and the settings and owns nothing else: no database, no thread, no clock.
`services/` makes the real control plane and runs the app; tests give it a simulator. Guard first, then routes,
and every error leaves as a problem document.
"""

from __future__ import annotations

from fastapi import FastAPI

from energy_orchestrator.api import changing, health, page, problems, reading
from energy_orchestrator.api.control_plane import ControlPlane
from energy_orchestrator.api.described import describe
from energy_orchestrator.api.guard import Guard
from energy_orchestrator.config import Settings

TAGS = [
    {"name": "nodes", "description": "Machines and their power, split into idle, active and unattributed."},
    {"name": "workloads", "description": "What runs, its power, and its joules per operation."},
    {"name": "recommendations", "description": "Proposed changes with bounded savings, confidence and risk."},
    {"name": "rollouts", "description": "Changes under way: canary, measurement, promotion or reversal."},
    {"name": "pauses", "description": "The kill switch over every executor."},
    {"name": "audit", "description": "The append-only log of everything that was decided and done."},
    {"name": "runs", "description": "Benchmark runs brought in from logs."},
    {"name": "health", "description": "Probes and metrics."},
]


def create_app(control_plane: ControlPlane, settings: Settings) -> FastAPI:
    """The application for uvicorn. It serves `/`, `/api/v1`, `/openapi.json`, probes and `/metrics`."""
    app = FastAPI(
        title="Energy Orchestrator",
        version="1",
        description="Joules of every workload, and changes that save them. Errors are RFC 9457 problem documents.",
        openapi_tags=TAGS,
        # The interactive pages load scripts from another host; the page and the CLI need neither.
        docs_url=None,
        redoc_url=None,
    )
    app.state.control_plane = control_plane
    app.state.settings = settings
    problems.install(app)
    for router in (reading.router, changing.router, health.router, page.router):
        app.include_router(router)
    page.mount_static(app)
    app.add_middleware(Guard, host_names=settings.host_names)
    _describe_fields(app)
    return app


def _describe_fields(app: FastAPI) -> None:
    generate = app.openapi
    # FastAPI's own way to extend the document: replace the method (its guide "Extending OpenAPI").
    app.openapi = lambda: describe(generate())  # type: ignore[method-assign]
