"""The CLI's side of the HTTP API: calls, errors rebuilt as they were raised, and short ids made whole.

A server that does not answer is `UnavailableError` and says how to start it. A problem document becomes the error
it stands for, so `eo approve` leaves with the same exit code as if it had called the control plane itself.
"""

from __future__ import annotations

import getpass
import time
from typing import Any

import httpx

from energy_orchestrator.api.problems import error_from_problem
from energy_orchestrator.errors import EoError, InvalidInputError, NotFoundError, UnavailableError

TIMEOUT_SECONDS = 60.0
Row = dict[str, Any]


class Client:
    """Calls to one server about one tenant."""

    def __init__(self, url: str, tenant: str | None = None, actor: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {"Eo-Request": "1", "Eo-Actor": actor or _user()}
        if tenant:
            headers["Eo-Tenant"] = tenant
        try:
            # The server is this machine or one the user named: a proxy from the environment is not asked.
            self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False)
        except httpx.InvalidURL as error:
            raise InvalidInputError(str(error), where="--url", next_step="give http://host:port") from error

    def get(self, path: str, **query: Any) -> Any:
        """The JSON under `/api/v1` of a path."""
        return self._call("GET", path, params={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, body: Row | None = None) -> Any:
        """The JSON that answers a change."""
        return self._call("POST", path, json=body or {})

    def whole_id(self, collection: str, prefix: str) -> str:
        """The id that starts with the prefix; an error unless there is exactly one."""
        query = {"all": True} if collection == "recommendations" else {}
        ids = [str(row["id"]) for row in self.get(f"/{collection}", **query)]
        if prefix in ids:
            return prefix
        found = [candidate for candidate in ids if candidate.startswith(prefix)] if prefix else []
        if len(found) == 1:
            return found[0]
        noun = collection.removesuffix("s")
        if not found:
            raise NotFoundError(f"no {noun} {prefix!r}", where="ID", next_step=f"see `eo {collection} list`")
        raise InvalidInputError(
            f"{prefix!r} is the start of {len(found)} ids", where="ID", next_step=f"take one of: {', '.join(found[:5])}"
        )

    def rollout_of(self, recommendation_id: str, patience_seconds: float = 60.0) -> str:
        """Id of the rollout of an approved recommendation, which the orchestrator starts a moment later."""
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline:
            row = self.get(f"/recommendations/{recommendation_id}")
            if row["rollout_id"]:
                return str(row["rollout_id"])
            time.sleep(0.5)
        raise UnavailableError(
            f"approved, but no rollout began within {patience_seconds:.0f} s",
            where=recommendation_id,
            next_step="see `eo recommendations show` for the reason, and whether the orchestrator runs",
        )

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._http.request(method, f"/api/v1{path}", **arguments)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise InvalidInputError(str(error), where=self.url, next_step="give --url http://host:port") from error
        except httpx.ConnectError as error:
            raise UnavailableError(
                "no server answers", where=self.url, next_step="start it with `eo up`, or give --url or EO_URL"
            ) from error
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the server broke off: {error!r}", where=self.url, next_step="look at its log, then try again"
            ) from error
        return _json(answer, self.url)


def _json(answer: httpx.Response, url: str) -> Any:
    try:
        body = answer.json()
    except ValueError as error:
        raise EoError(
            f"the answer (HTTP {answer.status_code}) is not JSON",
            where=url,
            next_step="check that --url points at `eo up`",
        ) from error
    if answer.is_success:
        return body
    raise error_from_problem(answer.status_code, body if isinstance(body, dict) else {})


def _user() -> str:
    try:
        # Header values are ASCII.
        return getpass.getuser().encode("ascii", "replace").decode()
    except (KeyError, OSError):
        return "local user"
