"""Errors as RFC 9457 problem documents.

The status comes from the class of the error and from nothing else. A problem keeps the three parts of an
`EoError` apart (`what`, `where`, `next_step`), so that the CLI can rebuild the very error it stands for and the
page can show the next step on a line of its own. What is not an `EoError` is a fault of ours: the reader gets
no internals, the log gets all of them.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from energy_orchestrator.errors import (
    ConflictError,
    DeniedError,
    EoError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger(__name__)

NAMES: dict[type[EoError], str] = {
    InvalidInputError: "invalid-input",
    UnavailableError: "unavailable",
    DeniedError: "denied",
    NotFoundError: "not-found",
    ConflictError: "conflict",
}


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(description="`urn:energy-orchestrator:problem:` and the class of the error.")
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="The whole message.")
    what: str = Field(description="What is wrong, in one sentence.")
    where: str | None = Field(None, description="The field, file, line or address concerned.")
    next_step: str | None = Field(None, description="What to do about it.")


def problem_response(error: EoError, status: int | None = None) -> JSONResponse:
    """The response for an error; `status` where HTTP has a finer word than the class."""
    code = status or error.http_status
    name = next((name for kind, name in NAMES.items() if isinstance(error, kind)), "internal")
    problem = Problem(
        type=f"urn:energy-orchestrator:problem:{name}",
        title=HTTPStatus(code).phrase,
        status=code,
        detail=error.describe(),
        what=error.what,
        where=error.where,
        next_step=error.next_step,
    )
    headers = {"Retry-After": "2"} if isinstance(error, UnavailableError) else None
    return JSONResponse(problem.model_dump(), status_code=code, media_type=MEDIA_TYPE, headers=headers)


def error_from_problem(status: int, problem: dict[str, object]) -> EoError:
    """The error a problem document stands for; the inverse of `problem_response`."""
    name = str(problem.get("type", "")).rpartition(":")[2]
    kind = next((kind for kind, known in NAMES.items() if known == name), None) or _by_status(status)
    where, next_step = problem.get("where"), problem.get("next_step")
    return kind(
        str(problem.get("what") or problem.get("title") or f"the server answered {status}"),
        where=str(where) if where else None,
        next_step=str(next_step) if next_step else None,
    )


def _by_status(status: int) -> type[EoError]:
    return next((kind for kind in NAMES if kind.http_status == status), EoError)


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""

    @app.exception_handler(EoError)
    def _ours(_request: Request, error: EoError) -> JSONResponse:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return problem_response(_from_validation(error))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        kind = _by_status(error.status_code)
        shown = kind(str(error.detail), where=request.url.path, next_step="see /openapi.json for what exists")
        return problem_response(shown, error.status_code)

    @app.exception_handler(Exception)
    def _fault(request: Request, error: Exception) -> JSONResponse:
        log.error("unhandled error on %s %s", request.method, request.url.path, exc_info=error)
        return problem_response(
            EoError("an internal error", where=request.url.path, next_step="the server's log has the details")
        )


def _from_validation(error: RequestValidationError) -> InvalidInputError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return InvalidInputError(str(first["msg"]), where=where, next_step="see /openapi.json for what is allowed")
