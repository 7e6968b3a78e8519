"""Probes and metrics, for kubelets and Prometheus: alive, ready, and in numbers.

`/healthz` says that the process answers. `/readyz` says which parts work and is 503 until all do, so a load
balancer waits while the embedded databases start.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from energy_orchestrator.api.context import Plane
from energy_orchestrator.api.control_plane import Readiness

router = APIRouter(tags=["health"])
EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/healthz", response_class=PlainTextResponse)
def healthz() -> PlainTextResponse:
    """The process answers."""
    return PlainTextResponse("ok\n")


@router.get("/readyz", responses={503: {"model": Readiness}}, response_model=Readiness)
def readyz(plane: Plane) -> JSONResponse:
    """The parts, and whether each works."""
    readiness = plane.readiness()
    return JSONResponse(readiness.model_dump(), status_code=200 if readiness.ready else 503)


@router.get("/metrics", response_class=Response)
def metrics(plane: Plane) -> Response:
    """Prometheus text format."""
    return Response(plane.prometheus_metrics(), media_type=EXPOSITION_TYPE)
