"""What stands before every request: who is asking through whom, and how much they may send.

A server on loopback is still within reach of every web page the user opens. The rules, each with a test:

- `Host` must be a name of ours, or a page whose DNS name was rebound to 127.0.0.1 could read everything
  (probes and metrics are exempt: a kubelet and a Prometheus come by address).
- A request that changes something must carry `Eo-Request` or a JSON content type. A browser sends neither across
  origins without asking first (a preflight), and we never answer that with permission.
- Where a browser names an `Origin`, it must be the very host and port it talks to.
- A body is bounded before it is parsed: 1 MiB, imports 64 MiB.

The headers on the way out let the page load from itself only: no inline script, no frame, no other host.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from energy_orchestrator.api.problems import problem_response
from energy_orchestrator.errors import DeniedError, EoError, InvalidInputError

BODY_LIMIT = 2**20
IMPORT_LIMIT = 64 * 2**20
IMPORT_PATH = "/api/v1/runs"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})

# d3-flame-graph adds one style element of its own when it loads; it is let in by its hash (ui/static/vendor).
FLAME_STYLE = "'sha256-PjPkXjWPssRCMzB6p5SnF25xrwIH7ThbVHWlE+SG1DE='"
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src 'self'; style-src 'self' {FLAME_STYLE}; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware with the rules above."""

    def __init__(self, app: ASGIApp, host_names: frozenset[str]) -> None:
        self._app = app
        self._host_names = host_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with a bounded body and the security headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check_host(scope["path"], headers)
            if scope["method"] not in SAFE_METHODS:
                _check_intent(headers)
                receive = await _bounded(receive, headers, _limit(scope["path"]))
        except BodyTooLargeError as error:
            await problem_response(error, 413)(scope, receive, guarded_send)
        except EoError as error:
            await problem_response(error)(scope, receive, guarded_send)
        else:
            await self._app(scope, receive, guarded_send)

    def _check_host(self, path: str, headers: Headers) -> None:
        if path in PROBES:
            return
        name = _host_name(headers.get("host", ""))
        if name not in self._host_names:
            raise DeniedError(
                f"the host name {name!r} is not one of ours",
                where="Host",
                next_step="use http://127.0.0.1, or add the name to `allowed_hosts`",
            )


class BodyTooLargeError(InvalidInputError):
    """More bytes than a request may have."""


def _host_name(netloc: str) -> str:
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower()
    except ValueError:
        return ""


def _check_intent(headers: Headers) -> None:
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise DeniedError(
            f"a page of {origin} may not change anything here", where="Origin", next_step="use the page of this server"
        )
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if "eo-request" not in headers and media_type != "application/json":
        raise DeniedError(
            "a request that changes something must show that no foreign form sent it",
            where="Eo-Request",
            next_step="send the header `Eo-Request: 1`, or a JSON body with its content type",
        )


def _limit(path: str) -> int:
    return IMPORT_LIMIT if path == IMPORT_PATH else BODY_LIMIT


async def _bounded(receive: Receive, headers: Headers, limit: int) -> Receive:
    """Read the body, at most `limit` bytes of it, and hand it on as one message."""
    declared = headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    replay: list[Message] = [{"type": "http.request", "body": b"".join(chunks), "more_body": False}]

    async def replayed() -> Message:
        return replay.pop() if replay else await receive()

    return replayed


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"the body is larger than {limit // 2**20} MiB", where="Content-Length", next_step="send it in parts"
    )
