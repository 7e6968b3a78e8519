"""kill -9 of a real orchestrator on a real Postgres, in the middle of a change of real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from energy_orchestrator.audit.chain import verify
from energy_orchestrator.model.rollout import Rollout
from energy_orchestrator.services.orchestrator import Orchestrator
from energy_orchestrator.store.records import audit_log, recommendations, rollouts
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.store.records.local_desired import LocalDesiredStore
from execute.orchestrator_program import build, clock
from execute.programs import KEY, TENANT, Bench, declaration
from records.examples import advice
from records.shared import new_url

PROGRAM = Path(__file__).parent / "orchestrator_program.py"


class Site:
    """A database, two replicas, and an orchestrator that is started and killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, new_url()
        declared = declaration(folder)
        (folder / "declaration.json").write_text(declared.model_dump_json())
        self.database = Database(self.url, pool_size=2)
        self.database.open()
        self.bench = Bench(folder, declared, LocalDesiredStore(self.database))
        self.bench.converge()
        self.process: subprocess.Popen[bytes] | None = None

    def approve(self, ratio: float) -> Orchestrator:
        people, _ = build(self.url, self.folder, ratio)
        one = advice(workload=KEY, at=clock(), life=timedelta(days=1))
        people.store_found([one])
        people.approve(TENANT, one.id, "ada")
        return people

    def start(self, ratio: float, point: str = "", number: int = 0) -> None:
        given = {"url": self.url, "folder": str(self.folder), "ratio": ratio, "point": point, "number": number}
        self.process = subprocess.Popen([sys.executable, str(PROGRAM), json.dumps(given)])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def rollout(self) -> Rollout | None:
        with self.database.transaction() as connection:
            listed = rollouts.listed(connection, TENANT)
        assert len(listed) <= 1
        return listed[0] if listed else None

    def until(self, met: Callable[[], bool], seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline, self.rollout()
            assert self.process is None or self.process.poll() is None, "the orchestrator ended by itself"
            time.sleep(0.05)

    def finished(self) -> bool:
        rollout = self.rollout()
        return rollout is not None and rollout.phase.finished

    def status(self) -> str:
        with self.database.transaction() as connection:
            every = ["open", "approved", "executing", "successful", "reverted", "failed"]
            return recommendations.listed(connection, TENANT, every)[0].status.value

    def audit_is_whole(self) -> bool:
        with self.database.transaction() as connection:
            return verify(audit_log.entries(connection), {"database": audit_log.head(connection)}).ok


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.kill()
    made.bench.executor.stop_all(timeout_seconds=3)
    made.database.close()


def killed_at(site: Site, ratio: float, point: str, number: int) -> None:
    """Approve a change, let the orchestrator die at a point, start it again and wait for the end."""
    site.approve(ratio)
    site.start(ratio, point, number)
    assert site.process is not None
    assert site.process.wait(40) == -signal.SIGKILL
    site.start(ratio)
    site.until(site.finished)
    site.kill()


slow = pytest.mark.slow
# Acts of a successful rollout: apply to the canary, smoke, apply to all, smoke.
SUCCESS = [
    pytest.param("after_store", 2, marks=slow),
    ("after_act", 1),
    pytest.param("before_store", 1, marks=slow),
    pytest.param("before_store", 2, marks=slow),
    pytest.param("after_finish", 1, marks=slow),
    pytest.param("after_act", 2, marks=slow),
    pytest.param("after_act", 3, marks=slow),
    pytest.param("after_finish", 3, marks=slow),
    pytest.param("after_store", 6, marks=slow),
]


@pytest.mark.parametrize(("point", "number"), SUCCESS)
def test_killed_on_the_way_to_success_it_ends_the_same(site: Site, point: str, number: int) -> None:
    killed_at(site, 0.5, point, number)
    rollout = site.rollout()
    assert rollout is not None
    assert (rollout.phase, site.status()) == ("Successful", "successful")
    # Every replica was restarted exactly once.
    assert site.bench.starts()[2:] == [("echo-1", "8"), ("echo-0", "8")]
    assert site.bench.executor.observe(TENANT, KEY).converged
    assert site.audit_is_whole()


# Acts of a failing one: apply to the canary, smoke, revert.
FAILURE = [("after_act", 3), pytest.param("after_finish", 2, marks=slow), pytest.param("after_finish", 3, marks=slow)]


@pytest.mark.parametrize(("point", "number"), FAILURE)
def test_killed_on_the_way_back_it_restores_the_pre_image(site: Site, point: str, number: int) -> None:
    killed_at(site, 2.0, point, number)
    rollout = site.rollout()
    assert rollout is not None
    assert (rollout.phase, site.status()) == ("Failed", "reverted")
    assert site.bench.starts()[2:] == [("echo-1", "8"), ("echo-1", "1")]
    assert site.bench.executor.observe(TENANT, KEY).converged
    assert site.audit_is_whole()


@slow
def test_a_pause_outlives_a_kill(site: Site) -> None:
    people = site.approve(0.5)
    site.start(0.5)
    site.until(lambda: (it := site.rollout()) is not None and it.scope_percent > 0)
    people.pause(TENANT, "ada", "heat wave")
    site.kill()
    stopped = site.bench.starts()
    site.start(0.5)
    site.until(lambda: (it := site.rollout()) is not None and it.paused_at is not None)
    assert len(site.bench.starts()) - len(stopped) <= 1  # one that was being replaced may come up again
    people.resume(TENANT, "ada")
    site.until(site.finished)
    site.kill()
    assert site.status() == "successful"
    assert site.bench.starts()[2:] == [("echo-1", "8"), ("echo-0", "8")]
