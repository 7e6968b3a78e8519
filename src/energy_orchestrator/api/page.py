"""The page: one document that is whole without a script, and fragments that keep it live.

`/` renders everything once. Each section then asks for its own fragment every two seconds and swaps it in only
when it differs (`ui/static/live.js`), so an opened detail, a dialog or a selection stays where it is. Buttons
post to `/ui/...`, which call the port exactly as the API does and answer with a sentence for the reader; an error
stays a problem document, which the script shows with its next step.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import energy_orchestrator.ui
from energy_orchestrator.api.context import Actor, Configured, Plane, Tenant
from energy_orchestrator.api.control_plane import ControlPlane
from energy_orchestrator.config import Settings
from energy_orchestrator.errors import InvalidInputError
from energy_orchestrator.ui import present, words

UI = Path(energy_orchestrator.ui.__file__).parent
SPAN_MINUTES = 5.0
COST_MINUTES = 60.0
ALERT_MINUTES = 60.0
MAX_ALERTS = 20
MAX_WORKLOADS = 50
MAX_ROLLOUTS = 8
MAX_PAST = 30
MAX_REASON = 1000
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


def _templates() -> Jinja2Templates:
    environment = Environment(
        loader=FileSystemLoader(UI / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words=words, present=present)
    return Jinja2Templates(env=environment)


templates = _templates()


def mount_static(app: FastAPI) -> None:
    """Serve the page's own scripts, styles and the vendored libraries."""
    app.mount("/static", StaticFiles(directory=UI / "static"), name="static")


class Sections:
    """What each section of the page needs, read from the port when it is asked for."""

    def __init__(self, plane: ControlPlane, settings: Settings, tenant: str) -> None:
        self._plane = plane
        self._settings = settings
        self._tenant = tenant

    def status(self) -> dict[str, Any]:
        """Health and pauses, for the header."""
        return {
            "tenant": self._tenant,
            "readiness": self._plane.readiness(),
            "pauses": self._plane.pauses(self._tenant, active_only=True),
        }

    def nodes(self) -> dict[str, Any]:
        """Nodes and their sum."""
        nodes = self._plane.nodes(self._tenant)
        return {"nodes": nodes, "total": present.power_sum(nodes)}

    def workloads(self, query: str = "") -> dict[str, Any]:
        """Workloads that match the search."""
        rows = self._plane.workloads(self._tenant, SPAN_MINUTES, 1000)
        found = [row for row in rows if present.matches(row, query)]
        return {"rows": found[:MAX_WORKLOADS], "found": len(found), "all": len(rows), "query": query}

    def alerts(self) -> dict[str, Any]:
        """Shifts of J/op, the newest first."""
        return {"alerts": self._plane.alerts(self._tenant, ALERT_MINUTES)[:MAX_ALERTS]}

    def recommendations(self) -> dict[str, Any]:
        """Live recommendations, and the past ones below them. What has expired is past, whatever it says."""
        rows = self._plane.recommendations(self._tenant, all_statuses=True)
        now = datetime.now(UTC)
        live = [row for row in rows if row.status in present.LIVE_STATUSES]
        stale = [row for row in live if row.status == "open" and row.expires_at <= now]
        past = [row for row in rows if row not in live] + stale
        past.sort(key=lambda row: row.created_at, reverse=True)
        return {
            "live": [row for row in live if row not in stale],
            "past": past[:MAX_PAST],
            "paused": bool(self._plane.pauses(self._tenant, active_only=True)),
            "settings": self._settings,
        }

    def rollouts(self) -> dict[str, Any]:
        """The newest rollouts."""
        return {"rollouts": self._plane.rollouts(self._tenant)[:MAX_ROLLOUTS]}


def _render(request: Request, name: str, context: dict[str, Any], **headers: str) -> Response:
    return templates.TemplateResponse(request, name, context, headers={"Cache-Control": "no-store", **headers})


@router.get("/")
def index(request: Request, plane: Plane, settings: Configured, tenant: Tenant) -> Response:
    """The whole page."""
    sections = Sections(plane, settings, tenant)
    context = sections.status() | sections.nodes() | sections.alerts() | sections.workloads()
    return _render(request, "page.html", context | sections.recommendations() | sections.rollouts())


@router.get("/ui/status")
def status(request: Request, plane: Plane, settings: Configured, tenant: Tenant) -> Response:
    """Header."""
    return _render(request, "status.html", Sections(plane, settings, tenant).status())


@router.get("/ui/nodes")
def nodes(request: Request, plane: Plane, settings: Configured, tenant: Tenant) -> Response:
    """Nodes."""
    return _render(request, "nodes.html", Sections(plane, settings, tenant).nodes())


@router.get("/ui/workloads")
def workloads(
    request: Request,
    plane: Plane,
    settings: Configured,
    tenant: Tenant,
    q: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Workloads."""
    return _render(request, "workloads.html", Sections(plane, settings, tenant).workloads(q))


@router.get("/ui/alerts")
def alerts(request: Request, plane: Plane, settings: Configured, tenant: Tenant) -> Response:
    """Alerts."""
    return _render(request, "alerts.html", Sections(plane, settings, tenant).alerts())


@router.get("/ui/workloads/cost")
def cost_dialog(request: Request, plane: Plane, tenant: Tenant, workload: str) -> Response:
    """J/op of a workload by version and node type."""
    cost = plane.workload_cost(tenant, workload, "both", COST_MINUTES)
    return _render(request, "dialog_cost.html", {"cost": cost, "minutes": COST_MINUTES})


@router.get("/ui/recommendations")
def recommendations(request: Request, plane: Plane, settings: Configured, tenant: Tenant) -> Response:
    """Recommendations."""
    return _render(request, "recommendations.html", Sections(plane, settings, tenant).recommendations())


@router.get("/ui/rollouts")
def rollouts(request: Request, plane: Plane, settings: Configured, tenant: Tenant) -> Response:
    """Rollouts."""
    return _render(request, "rollouts.html", Sections(plane, settings, tenant).rollouts())


@router.get("/ui/recommendations/{recommendation_id}/{act}")
def decision_dialog(
    request: Request, plane: Plane, settings: Configured, tenant: Tenant, recommendation_id: str, act: str
) -> Response:
    """The dialog that confirms an approval, with the difference, or takes the reason of a refusal."""
    if act not in {"approve", "refuse"}:
        raise InvalidInputError(f"no dialog {act!r}", where="path", next_step="use approve or refuse")
    found = plane.recommendation(tenant, recommendation_id)
    return _render(request, f"dialog_{act}.html", {"row": found, "settings": settings})


@router.get("/ui/pause")
def pause_dialog(request: Request) -> Response:
    """The dialog that takes the reason of a pause."""
    return _render(request, "dialog_pause.html", {})


async def _reason(request: Request) -> str:
    form = parse_qs((await request.body()).decode("utf-8", errors="replace"))
    reason = form.get("reason", [""])[0].strip()
    if not reason or len(reason) > MAX_REASON:
        raise InvalidInputError(
            f"a reason of 1 to {MAX_REASON} characters is needed", where="reason", next_step="say why, in a few words"
        )
    return reason


Reason = Annotated[str, Depends(_reason)]


def _done(request: Request, sentence: str) -> Response:
    return _render(request, "notice.html", {"sentence": sentence}, **{"HX-Trigger": "refresh"})


@router.post("/ui/recommendations/{recommendation_id}/approve")
def approve(request: Request, plane: Plane, tenant: Tenant, actor: Actor, recommendation_id: str) -> Response:
    """Approve from the page."""
    row = plane.approve(tenant, recommendation_id, actor)
    return _done(request, f"Approved: {present.summary(row)}. The rollout appears under Rollouts.")


@router.post("/ui/recommendations/{recommendation_id}/refuse")
def refuse(
    request: Request,
    plane: Plane,
    tenant: Tenant,
    actor: Actor,
    recommendation_id: str,
    reason: Reason,
) -> Response:
    """Refuse from the page."""
    row = plane.refuse(tenant, recommendation_id, actor, reason)
    return _done(request, f"Refused: {present.summary(row)}.")


@router.post("/ui/rollouts/{rollout_id}/abort")
def abort(request: Request, plane: Plane, tenant: Tenant, actor: Actor, rollout_id: str) -> Response:
    """Abort from the page."""
    row = plane.abort_rollout(tenant, rollout_id, actor)
    return _done(request, f"Aborted: {row.workload} goes back to its old values.")


@router.post("/ui/rollouts/{rollout_id}/retry")
def retry(request: Request, plane: Plane, tenant: Tenant, actor: Actor, rollout_id: str) -> Response:
    """Repeat an inconclusive step from the page."""
    row = plane.retry_rollout(tenant, rollout_id, actor)
    return _done(request, f"Repeated: {row.workload} is measured again.")


@router.post("/ui/pause")
def pause(request: Request, plane: Plane, tenant: Tenant, actor: Actor, reason: Reason) -> Response:
    """Pause from the page."""
    plane.pause(tenant, actor, reason)
    return _done(request, "Paused: nothing will be changed until someone resumes.")


@router.post("/ui/resume")
def resume(request: Request, plane: Plane, tenant: Tenant, actor: Actor) -> Response:
    """Resume from the page."""
    plane.resume(tenant, actor)
    return _done(request, "Resumed.")
