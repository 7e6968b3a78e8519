"""Routes that change something: approve, refuse, propose, abort, retry, pause, resume, import.

All pass the guard (no foreign page can send them), all name an actor for the log, and all leave the deciding to
the port: an approval that a policy denies, or that comes after the advice has expired, comes back as a problem.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from energy_orchestrator.api.context import Actor, Plane, Tenant
from energy_orchestrator.api.control_plane import PauseView, RecommendationView, RolloutView
from energy_orchestrator.api.problems import Problem

REFUSALS: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "A policy, a pause or a missing right forbids it."},
    404: {"model": Problem, "description": "There is no such thing."},
    409: {"model": Problem, "description": "Its state does not allow this: expired, decided or executed before."},
    422: {"model": Problem, "description": "The input is wrong; nothing was changed."},
}
router = APIRouter(prefix="/api/v1", responses=REFUSALS)

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class Body(BaseModel):
    """A request body: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class Refusal(Body):
    """Why a recommendation is refused; strategies learn from it."""

    reason: Reason = Field(description="Why not, in words for people.")


class Proposal(Body):
    """A change that a person proposes for a declared workload."""

    workload: str = Field(min_length=1, description="Workload key, e.g. `declared/inference`.")
    environment: dict[str, str] = Field({}, description="Knobs to set; each must be declared and in its range.")
    replicas: int | None = Field(None, ge=0, le=64, description="New number of replicas.")
    reason: str = Field("", max_length=1000, description="Why, for the log.")


class PauseRequest(Body):
    """Stop every executor."""

    reason: Reason = Field(description="Why everything stops.")


class RunsImport(Body):
    """A log of benchmark runs."""

    name: str = Field(min_length=1, max_length=300, description="Name of the file, for messages.")
    text: str = Field(description="The log as text.")
    dry_run: bool = Field(False, description="Check only; store nothing.")


@router.post("/recommendations", tags=["recommendations"], status_code=201)
def propose(plane: Plane, tenant: Tenant, actor: Actor, body: Proposal) -> RecommendationView:
    """Propose a change; it takes the same way as the system's own advice."""
    return plane.propose(tenant, body.workload, body.environment, body.replicas, actor, body.reason)


@router.post("/recommendations/{recommendation_id}/approve", tags=["recommendations"])
def approve(plane: Plane, tenant: Tenant, actor: Actor, recommendation_id: str) -> RecommendationView:
    """Approve: the change is tried as a canary, measured, and kept or reverted."""
    return plane.approve(tenant, recommendation_id, actor)


@router.post("/recommendations/{recommendation_id}/refuse", tags=["recommendations"])
def refuse(plane: Plane, tenant: Tenant, actor: Actor, recommendation_id: str, body: Refusal) -> RecommendationView:
    """Refuse with a reason."""
    return plane.refuse(tenant, recommendation_id, actor, body.reason)


@router.post("/rollouts/{rollout_id}/abort", tags=["rollouts"])
def abort(plane: Plane, tenant: Tenant, actor: Actor, rollout_id: str) -> RolloutView:
    """End a rollout that is under way and put the old values back."""
    return plane.abort_rollout(tenant, rollout_id, actor)


@router.post("/rollouts/{rollout_id}/retry", tags=["rollouts"])
def retry(plane: Plane, tenant: Tenant, actor: Actor, rollout_id: str) -> RolloutView:
    """Repeat a step that was inconclusive."""
    return plane.retry_rollout(tenant, rollout_id, actor)


@router.post("/pauses", tags=["pauses"], status_code=201)
def pause(plane: Plane, tenant: Tenant, actor: Actor, body: PauseRequest) -> PauseView:
    """Stop every executor within a second, until someone resumes."""
    return plane.pause(tenant, actor, body.reason)


@router.post("/pauses/resume", tags=["pauses"])
def resume(plane: Plane, tenant: Tenant, actor: Actor) -> list[PauseView]:
    """Lift every pause in force; gives those that were lifted."""
    return plane.resume(tenant, actor)


@router.delete("/pauses", tags=["pauses"])
def lift(plane: Plane, tenant: Tenant, actor: Actor) -> list[PauseView]:
    """The same as `resume`."""
    return plane.resume(tenant, actor)


@router.post("/runs", tags=["runs"])
def import_runs(plane: Plane, tenant: Tenant, body: RunsImport) -> dict[str, Any]:
    """Import benchmark runs; importing a file twice changes nothing."""
    return plane.import_runs(tenant, body.name, body.text, dry_run=body.dry_run)
