"""`eo up`: the whole system on one machine, in one process with four kinds of children.

NATS, Postgres, the agent and the declared workloads are child processes; collector, scraper, analyzer, orchestrator,
API and page are threads of this one (chDB belongs to one process). Everything is started in the order in which it is
needed and ended in reverse; what fails while starting ends what was started before and says why.

    main thread      uvicorn (API and page), signals
    collector        an event loop: bus -> series, and the scraper of operations
    analyzer         windows -> energy every second, advice every few seconds, alerts of the last half hour,
                     the last whole hour again once an hour, fingerprints of the last hour every few minutes
    orchestrator     policies, rollouts and replicas, twice a second
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import uvicorn
from prometheus_client import CollectorRegistry
from rich.console import Console

from energy_orchestrator.analyze.estimator import default_model
from energy_orchestrator.analyze.fingerprint import FingerprintModel
from energy_orchestrator.api.app import create_app
from energy_orchestrator.config import Settings
from energy_orchestrator.decide.policy import load_policies
from energy_orchestrator.errors import ConflictError, NotFoundError, UnavailableError
from energy_orchestrator.execute.local.cgroups import CgroupLimiter
from energy_orchestrator.execute.local.processes import ProcessTable
from energy_orchestrator.execute.local.supervisor import LocalExecutor
from energy_orchestrator.ingest.operations import Target
from energy_orchestrator.model.decision import Mode
from energy_orchestrator.model.workload import Declaration
from energy_orchestrator.recommend.ranking import RankingSettings
from energy_orchestrator.services.advisor import Advisor
from energy_orchestrator.services.agent_binary import find_agent
from energy_orchestrator.services.agent_process import AgentProcess
from energy_orchestrator.services.alert_metrics import AlertMetrics
from energy_orchestrator.services.alert_stream import AlertStream
from energy_orchestrator.services.analyzer import Analyzer
from energy_orchestrator.services.annotated_targets import LOOK_SECONDS, AnnotatedTargets
from energy_orchestrator.services.batch import HourlyBatch
from energy_orchestrator.services.bus_choice import BusChoice, choose
from energy_orchestrator.services.collector import Collector
from energy_orchestrator.services.collector_metrics import CollectorMetrics
from energy_orchestrator.services.control_plane import EmbeddedControlPlane, keep_head
from energy_orchestrator.services.counting import Counting
from energy_orchestrator.services.declarations import DeclarationOf
from energy_orchestrator.services.energy_metrics import EnergyMetrics
from energy_orchestrator.services.fingerprints import Fingerprints
from energy_orchestrator.services.fleet_analysis import Task
from energy_orchestrator.services.loops import Loop, Loops
from energy_orchestrator.services.measurements import SeriesMeasurements
from energy_orchestrator.services.orchestrator import Orchestrator, OrchestratorSettings
from energy_orchestrator.services.past import RECORDS_URL_FILE, playbook_of, record_of, recorded
from energy_orchestrator.services.postgres_server import PostgresServer
from energy_orchestrator.services.sci_views import Carbon
from energy_orchestrator.services.series_views import SeriesViews
from energy_orchestrator.services.workload_file import DeclaredWorkloads, load_workloads
from energy_orchestrator.store.records.database import Database
from energy_orchestrator.store.records.fingerprints import PostgresFingerprints
from energy_orchestrator.store.records.local_desired import LocalDesiredStore
from energy_orchestrator.store.series.chdb_store import ChdbSeriesStore
from energy_orchestrator.verify.analysis import AnalysisTemplate
from energy_orchestrator.verify.judge import MIN_SAMPLES

log = logging.getLogger(__name__)

MINIMUM_FREE_BYTES = 300 * 2**20
ADVICE_SECONDS = 5.0
ALERT_SECONDS = 15.0
HEAD_SECONDS = 10.0
FINGERPRINT_SECONDS = 180.0
BATCH_LOOK_SECONDS = 30.0


def now() -> datetime:
    """The clock of the embedded services."""
    return datetime.now(UTC)


def run(settings: Settings) -> None:
    """Start everything, serve until Ctrl-C or SIGTERM, end everything."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, so that everything is ended
    console = Console(stderr=False, highlight=False)
    declared, policies = load_workloads(settings.workloads), load_policies(settings.policies)
    _prepare(settings.data_dir)
    _log_to(settings.data_dir / "logs" / "eo.log")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_one(settings.data_dir))
        started = time.monotonic()
        system = _System(settings, declared, console, stack)
        system.start(policies)
        app = create_app(system.control_plane, settings)
        server = _Server(app, settings, lambda port: _say_ready(console, settings, declared, port, started))
        server.run()
        console.print("stopping ...")
    console.print("stopped; the data stay in " + str(settings.data_dir))


class _System:
    """Parts in the order of their start; each registers its own end on the stack."""

    control_plane: EmbeddedControlPlane

    def __init__(
        self, settings: Settings, declared: DeclaredWorkloads, console: Console, stack: contextlib.ExitStack
    ) -> None:
        self._settings = settings
        self._declared = declared
        self._console = console
        self._stack = stack
        self._registry = CollectorRegistry()
        self._agent: AgentProcess | None = None
        self._bus = choose(settings)

    def start(self, policies: object) -> None:
        """Start all parts."""
        settings, stack = self._settings, self._stack
        with self._step("Postgres (records)"):
            database = self._database()
        with self._step("chDB (series)"):
            series = ChdbSeriesStore(settings.data_dir / "chdb")
            stack.callback(series.close)
            series.migrate()
        with self._step(f"{self._bus.name} (bus)"):
            self._start_bus()
        executor = self._executor(database)
        measurements = SeriesMeasurements(series, settings.window_seconds)
        orchestrator = Orchestrator(
            database,
            {executor.name: executor},
            self._declaration_of(executor),
            policies,  # type: ignore[arg-type]
            measurements,
            self._orchestrator_settings(),
            now,
        )
        advisor = Advisor(
            series,
            measurements,
            self._declaration_of(executor),
            playbook_of(database),
            self._ranking(),
            record=record_of(database),
            fingerprints=PostgresFingerprints(database),
        )
        self._registry.register(EnergyMetrics(series, sorted(settings.known_tenants)))
        loops = Loops()
        stack.callback(loops.stop)
        head_file = settings.data_dir / "audit-head"
        with self._step("collector, analyzer, orchestrator"):
            annotated = self._annotated(series)
            counting = Counting(self._targets(executor, annotated), lambda: self._declared.by_key, annotated)
            bus = _BusLoop(self._bus, series, CollectorMetrics(self._registry), counting, settings)
            loops.add(bus)
            if annotated is not None:
                loops.add(Loop("labels", LOOK_SECONDS, annotated.look))
            analyzer = Analyzer(series, default_model(), settings.window_seconds, now)
            loops.add(Loop("analyzer", 1.0, analyzer.run_once))
            loops.add(Loop("advisor", ADVICE_SECONDS, lambda: self._advise(advisor, orchestrator)))
            streams = [AlertStream(series, it, settings.window_seconds) for it in sorted(settings.known_tenants)]
            batch = HourlyBatch(series, database, self._task_of(executor, database), now)
            loops.add(Loop("batch", BATCH_LOOK_SECONDS, batch.run_if_due))
            told = AlertMetrics()
            self._registry.register(told)
            loops.add(Loop("alerts", max(ALERT_SECONDS, settings.window_seconds), lambda: _tell_alerts(streams, told)))
            fingerprints = Fingerprints(series, PostgresFingerprints(database), now, FingerprintModel.shipped())
            tenants = sorted(settings.known_tenants)
            loops.add(Loop("fingerprints", FINGERPRINT_SECONDS, lambda: fingerprints.run_once(tenants)))
            loops.add(Loop("orchestrator", 0.4, orchestrator.tick))
            loops.add(Loop("supervisor", 1.0, lambda: self._keep(executor)))
            loops.add(Loop("audit head", HEAD_SECONDS, lambda: _keep_head(database, head_file)))
            loops.start()
        stack.callback(executor.stop_all)
        stack.callback(loops.stop_one, "supervisor")
        with self._step("agent"):
            self._start_agent()
        self.control_plane = EmbeddedControlPlane(
            database,
            SeriesViews(
                series,
                self._declaration_of(executor),
                settings.window_seconds,
                bus.uncounted,
                Carbon(settings.grid_gco2e_per_kwh, settings.embodied_kgco2e, settings.node_lifetime_years),
            ),
            fingerprints,
            orchestrator,
            self._declaration_of(executor),
            lambda: {**loops.states(), **counting.states(), **self._children()},
            self._registry,
            head_file,
            now,
        )

    # -- parts ----------------------------------------------------------------------------------------------

    def _database(self) -> Database:
        settings = self._settings
        if settings.postgres_url_file is not None:
            url = settings.postgres_url_file.read_text(encoding="utf-8").strip()
        else:
            server = PostgresServer(settings.data_dir / "postgres")
            url = server.start()
            self._stack.callback(server.stop)
            # For `eo recommendations plan --records` and `eo analyze --records` on this machine.
            (settings.data_dir / RECORDS_URL_FILE).write_text(url + "\n", encoding="utf-8")
        database = Database(url)
        database.open()
        self._stack.callback(database.close)
        return database

    def _start_bus(self) -> None:
        """Our own server, or a look at another: a wrong address or login is told before anything else starts."""
        server = self._bus.server
        if server is not None:
            server.start()
            self._stack.callback(server.stop)
            return

        async def look() -> None:
            await (await self._bus.connect()).close()

        asyncio.run(look())

    def _executor(self, database: Database) -> LocalExecutor:
        instance = _instance(self._settings.data_dir)
        return LocalExecutor(
            self._settings.tenant,
            self._declared.by_key,
            self._declared.folder,
            LocalDesiredStore(database),
            ProcessTable(instance, self._settings.data_dir / "logs"),
            CgroupLimiter(instance),
        )

    def _start_agent(self) -> None:
        settings = self._settings
        if not settings.agent_enabled:
            return
        binary = find_agent(settings.agent_binary)
        if binary is None:
            raise UnavailableError(
                "the agent is not built", where="eo-agent", next_step="run `make up`, or name it by EO_AGENT_BINARY"
            )
        arguments = ["--tenant", settings.tenant, "--spool-dir", str(settings.data_dir / "spool")]
        arguments += ["--interval-seconds", str(settings.agent_interval_seconds)]
        arguments += ["--profile-hz", str(settings.agent_profile_hz)]
        arguments += self._bus.agent_arguments()
        self._agent = AgentProcess(binary, arguments, settings.data_dir / "logs" / "agent.log")
        self._agent.start()
        self._stack.callback(self._agent.stop)

    def _orchestrator_settings(self) -> OrchestratorSettings:
        settings = self._settings
        # One disturbed or slow window on a busy single machine is no verdict; at scale the limits are Argo's 0.
        template = AnalysisTemplate(
            count=settings.analysis_windows,
            interval_seconds=settings.window_seconds,
            failure_limit=1,
            inconclusive_limit=3,
        )
        watch = max(MIN_SAMPLES, round(settings.watch_window_seconds / settings.window_seconds))
        return OrchestratorSettings(mode=Mode(settings.mode), analysis=template, watch_windows=watch)

    def _ranking(self) -> RankingSettings:
        return RankingSettings(
            price_per_kwh=self._settings.electricity_price_per_kwh, gco2e_per_kwh=self._settings.grid_gco2e_per_kwh
        )

    # -- what the loops do ----------------------------------------------------------------------------------

    def _advise(self, advisor: Advisor, orchestrator: Orchestrator) -> None:
        for tenant in sorted(self._settings.known_tenants):
            orchestrator.store_found(advisor.recommend(tenant, now()))

    def _task_of(self, executor: LocalExecutor, database: Database) -> Callable[[datetime, datetime], Task]:
        def task_of(start: datetime, end: datetime) -> Task:
            tenants = sorted(self._settings.known_tenants)
            declared = {(self._settings.tenant, key): executor.declaration(key) for key in self._declared.by_key}
            past = recorded(database, tenants, end)
            return Task(start, end, self._settings.window_seconds, declared, self._ranking(), past)

        return task_of

    def _keep(self, executor: LocalExecutor) -> None:
        executor.reconcile()
        if self._agent is not None:
            self._agent.keep()
        server = self._bus.server
        if server is not None and not server.alive():
            log.warning("the bus ended; starting it again")
            server.start()

    def _children(self) -> dict[str, str]:
        parts = {}
        if self._bus.server is not None:
            parts["bus"] = "ok" if self._bus.server.alive() else "ended; it is started again"
        if self._agent is not None:
            parts["agent"] = "ok" if self._agent.alive() else "ended; it is started again"
        return parts

    def _declaration_of(self, executor: LocalExecutor) -> DeclarationOf:
        def declaration_of(tenant: str, workload: str) -> Declaration:
            if tenant != self._settings.tenant:
                raise NotFoundError(f"{workload!r} is not declared for tenant {tenant!r}")
            return executor.declaration(workload)

        return declaration_of

    def _annotated(self, series: ChdbSeriesStore) -> AnnotatedTargets | None:
        settings = self._settings
        if not settings.annotated_operations:
            return None
        return AnnotatedTargets(series, settings.tenant, os.uname().nodename)

    @staticmethod
    def _targets(executor: LocalExecutor, annotated: AnnotatedTargets | None) -> Callable[[], list[Target]]:
        def targets() -> list[Target]:
            found = list(annotated.targets()) if annotated is not None else []
            for workload in executor.workloads:
                source = executor.declaration(workload).operations
                if source is not None and source.otlp is None:
                    found += [Target(workload, spec.name, spec.port, source) for spec in executor.specs(workload)]
            return found

        return targets

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        with self._console.status(f"starting {name} ..."):
            yield
        self._console.print(f"  {name}: {time.monotonic() - begun:.1f} s")


def _tell_alerts(streams: list[AlertStream], metrics: AlertMetrics) -> None:
    """New shifts of J/op into the log and the metrics; the page and the API show them all."""
    for stream in streams:
        found = stream.look(now())
        fresh = stream.fresh(found)
        metrics.keep(stream.tenant, found, fresh)
        for alert in fresh:
            log.warning("alert: %s of %s: %s", alert.workload, alert.tenant, alert.message)


class _BusLoop(Loop):
    """An event loop in a thread: collector, and what counts operations. Connects again after a failure."""

    def __init__(
        self,
        bus: BusChoice,
        series: ChdbSeriesStore,
        metrics: CollectorMetrics,
        counting: Counting,
        settings: Settings,
    ) -> None:
        super().__init__("collector", 1.0, self._collect)
        self._bus, self._series, self._metrics = bus, series, metrics
        self._counting, self._settings = counting, settings

    def uncounted(self, tenant: str, workload: str) -> str | None:
        """Why the operations of a workload are not known, as far as its source is to blame."""
        return self._counting.problem_of(workload) if tenant == self._settings.tenant else None

    def _collect(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        bus = await self._bus.connect()
        ended = asyncio.Event()
        collector = Collector(bus, self._series, clock=now, metrics=self._metrics)
        tasks = [asyncio.create_task(collector.run(ended))]
        tasks.append(asyncio.create_task(self._counting.run(bus, self._settings, os.uname().nodename, ended)))
        self.succeeded()
        try:
            while not self.stopping.is_set() and not any(task.done() for task in tasks):
                await asyncio.sleep(0.2)
                self.succeeded()
        finally:
            ended.set()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await bus.close()
        for result in results:
            if isinstance(result, BaseException):
                raise result


class _Server(uvicorn.Server):
    """Says the address once it listens."""

    def __init__(self, app: object, settings: Settings, ready: Callable[[int], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,  # type: ignore[arg-type]
                host=settings.bind,
                port=settings.port,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=3,
                server_header=False,
            )
        )
        self._ready = ready

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """As uvicorn, then the address."""
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            self._ready(self.servers[0].sockets[0].getsockname()[1])

    def run(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Until a signal; uvicorn raises it again afterwards, which would skip our own ending."""
        with contextlib.suppress(KeyboardInterrupt):
            super().run(sockets)  # type: ignore[arg-type]


def _say_ready(console: Console, settings: Settings, declared: DeclaredWorkloads, port: int, started: float) -> None:
    console.print(f"ready after {time.monotonic() - started:.1f} s\n")
    console.print(f"  page      http://{settings.bind}:{port}/", soft_wrap=True)
    console.print(f"  data      {settings.data_dir}", soft_wrap=True)
    if declared.by_key:
        console.print(f"  declared  {', '.join(d.name for d in declared.by_key.values())}", soft_wrap=True)
    if settings.otlp_port:
        console.print(f"  OTLP      http://127.0.0.1:{settings.otlp_port}/v1/metrics", soft_wrap=True)
    if os.geteuid() != 0:
        console.print(
            "  as a plain user: other users' processes show CPU and memory only; no system-wide profiles, no cgroup "
            "limits unless delegated",
            soft_wrap=True,
        )
    console.print("  first watts in about 10 s, recommendations after 30 s of data; Ctrl-C stops everything\n")


def _keep_head(database: Database, file: Path) -> None:
    with database.transaction() as connection:
        keep_head(connection, file)


def _prepare(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        (data_dir / "logs").mkdir(exist_ok=True)
        free = shutil.disk_usage(data_dir).free
    except OSError as error:
        raise UnavailableError(
            f"{error.strerror}", where=f"data_dir {data_dir}", next_step="choose a folder you may write: --data-dir"
        ) from error
    if free < MINIMUM_FREE_BYTES:
        raise UnavailableError(
            f"only {free / 2**20:.0f} MiB free, {MINIMUM_FREE_BYTES // 2**20} are needed",
            where=f"data_dir {data_dir}",
            next_step="free some space, or choose another disk: --data-dir",
        )


@contextlib.contextmanager
def _only_one(data_dir: Path) -> Iterator[TextIO]:
    """A second `eo up` on the same data would write over the first."""
    with (data_dir / "lock").open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConflictError(
                "another `eo up` uses this data folder",
                where=str(data_dir),
                next_step="stop it, or choose another with --data-dir",
            ) from error
        yield lock


def _instance(data_dir: Path) -> str:
    file = data_dir / "instance"
    if not file.exists():
        file.write_text(uuid.uuid4().hex[:12], encoding="ascii")
    return file.read_text(encoding="ascii").strip()


def _log_to(file: Path) -> None:
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
