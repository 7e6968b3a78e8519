"""The API server, as far as tests speak to it: apply, get, delete, and a token of a service account."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

Object = dict[str, Any]
WITHOUT_NAMESPACE = {"Namespace", "Node", "ClusterRole", "ClusterRoleBinding", "PriorityClass"}


class Api:
    """A client with one token."""

    def __init__(self, url: str, token: str, authority: Path) -> None:
        self.url, self.token, self.authority = url, token, authority
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            verify=ssl.create_default_context(cafile=str(authority)),
            timeout=30,
            trust_env=False,
        )

    def ready(self) -> bool:
        """Whether it serves."""
        try:
            return self._client.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def apply(self, objects: Iterable[Object]) -> None:
        """Server-side apply, one after the other."""
        for one in objects:
            path = f"{collection(one['apiVersion'], one['kind'], _namespace(one))}/{one['metadata']['name']}"
            answer = self._client.patch(
                path,
                params={"fieldManager": "tests", "force": "true"},
                content=json.dumps(one),
                headers={"Content-Type": "application/apply-patch+yaml"},
            )
            _check(answer)

    def list(self, kind: str, namespace: str | None = None, api: str = "v1", labels: str = "") -> list[Object]:
        """Objects of a kind, of one namespace or of all."""
        answer = _check(self._client.get(collection(api, kind, namespace), params={"labelSelector": labels}))
        items: list[Object] = answer.json()["items"]
        return items

    def delete(self, kind: str, namespace: str | None, name: str, api: str = "v1", at_once: bool = False) -> None:
        """Away with it, and with what it owns; what is gone already is fine."""
        parameters = {"propagationPolicy": "Background"} | ({"gracePeriodSeconds": "0"} if at_once else {})
        answer = self._client.delete(f"{collection(api, kind, namespace)}/{name}", params=parameters)
        if answer.status_code != httpx.codes.NOT_FOUND:
            _check(answer)

    def token_of(self, namespace: str, account: str) -> str:
        """A new token of a service account."""
        path = f"{collection('v1', 'ServiceAccount', namespace)}/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return str(_check(self._client.post(path, json=body)).json()["status"]["token"])

    def close(self) -> None:
        """End the connections."""
        self._client.close()


def collection(api: str, kind: str, namespace: str | None) -> str:
    """`/apis/apps/v1/namespaces/shop/deployments` of `apps/v1`, `Deployment`, `shop`."""
    root = f"/apis/{api}" if "/" in api else f"/api/{api}"
    inside = f"/namespaces/{namespace}" if namespace and kind not in WITHOUT_NAMESPACE else ""
    plural = kind.lower() + ("es" if kind.endswith("s") else "s")
    return f"{root}{inside}/{plural}"


def _namespace(one: Object) -> str:
    return str(one["metadata"].get("namespace", "default"))


def _check(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise RuntimeError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
    return answer
