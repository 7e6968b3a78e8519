"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler, each a process of its own."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from cluster.api import Api
from cluster.certificates import Authority, signing_key
from cluster.processes import free_port, running


@dataclass(frozen=True)
class ControlPlane:
    """Where it is and how one gets in, as an administrator."""

    api: Api
    authority: Authority
    kubeconfig: Path


@contextlib.contextmanager
def control_plane(programs: Path, folder: Path) -> Iterator[ControlPlane]:
    """Ready to take objects; no node yet."""
    folder.mkdir()
    authority = Authority(folder)
    key = signing_key(folder / "service-accounts.key")
    token = secrets.token_hex(16)
    users = folder / "tokens.csv"
    users.touch(mode=0o600)
    users.write_text(f'{token},admin,admin,"system:masters"\n')
    port = free_port()
    api = Api(f"https://127.0.0.1:{port}", token, authority.file)
    kubeconfig = _kubeconfig(folder / "kubeconfig", api)
    with contextlib.ExitStack() as stack:
        stack.callback(api.close)
        store = stack.enter_context(_etcd(programs, folder))
        server = stack.enter_context(running("apiserver", _apiserver(programs, authority, key, port, store), folder))
        server.until(api.ready, "the API server is ready")
        for name, own in (
            ("controllers", [f"--service-account-private-key-file={key}", f"--root-ca-file={authority.file}"]),
            ("kube-scheduler", []),
        ):
            common = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1"]
            common += [f"--secure-port={free_port()}", f"--cert-dir={folder / name}"]
            stack.enter_context(running(name, [str(programs / name), *common, *own], folder))
        yield ControlPlane(api, authority, kubeconfig)


@contextlib.contextmanager
def _etcd(programs: Path, folder: Path) -> Iterator[str]:
    url, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    command = [str(programs / "etcd"), "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"]
    command += ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peers]
    command += ["--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}", "--log-level", "warn"]

    def healthy() -> bool:
        try:
            return httpx.get(f"{url}/health", trust_env=False).is_success
        except httpx.TransportError:
            return False

    with running("etcd", command, folder) as child:
        child.until(healthy, "etcd is healthy")
        yield url


def _apiserver(programs: Path, authority: Authority, key: Path, port: int, store: str) -> list[str]:
    certificate, private = authority.server("apiserver")
    return [
        str(programs / "apiserver"),
        f"--etcd-servers={store}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={private}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        f"--token-auth-file={authority.folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        # There is no service network that it could be reached by.
        "--endpoint-reconciler-type=none",
    ]


def _kubeconfig(file: Path, api: Api) -> Path:
    cluster = {"server": api.url, "certificate-authority": str(api.authority)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": api.token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config))
    return file
