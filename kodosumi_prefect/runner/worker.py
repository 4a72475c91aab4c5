"""The Prefect worker of type ``kodosumi-ray``: runs flows as Runners on a Ray cluster."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Coroutine
from typing import Any, NoReturn, cast
from uuid import UUID

import anyio.abc
import httpx
import psycopg
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.exceptions import InfrastructureNotFound, PrefectException
from prefect.workers.base import (
    BaseWorker,
    BaseWorkerResult,
)

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.listings import is_fault
from kodosumi_prefect.process.order import Order
from kodosumi_prefect.runner.arrival import Demand
from kodosumi_prefect.runner.aside import aside
from kodosumi_prefect.runner.cluster import Cluster, LostError
from kodosumi_prefect.runner.job import KodosumiRayJobConfiguration, KodosumiRayVariables
from kodosumi_prefect.runner.ray_connection import NoRayError
from kodosumi_prefect.runner.ray_presence import RayPresence
from kodosumi_prefect.runner.registry import Registry
from kodosumi_prefect.runner.supervisor import Supervisor
from kodosumi_prefect.runner.unreadable_runs import crash_unreadable
from kodosumi_prefect.runner.warm import WarmPool
from kodosumi_prefect.settings import VERSION, check_database_urls, get_settings
from kodosumi_prefect.spooler.append import ProtocolError
from kodosumi_prefect.spooler.transport import NoDatabaseError, SpoolerAwayError
from kodosumi_prefect.vocabulary import POOL_TYPE

TENDS = 4  # times that a claim is renewed before it would lapse
ADOPTIONS = 2  # checks for runs that nobody answers for, in the time of a claim
WARM_INTERVAL = 8.0  # seconds
REFILL_PAUSE = 1.5  # seconds that a new run gets before Runners are made again
SECOND_LOOK = 0.25  # seconds after a wake-up that found nothing
FAREWELL = 5.0  # seconds for a worker's last reports at its end
RESUBSCRIBE = 2.0  # seconds


class KodosumiRayWorkerResult(BaseWorkerResult):
    """How a Runner's process ended; 0 if the flow run reached a state of its own."""


class KodosumiRayWorker(
    BaseWorker[KodosumiRayJobConfiguration, KodosumiRayVariables, KodosumiRayWorkerResult]
):
    """Runs the flows of a work pool on a Ray cluster.

    Example:
        ```bash
        prefect work-pool create --type kodosumi-ray agents
        prefect worker start --type kodosumi-ray --pool agents
        ```

    Each flow run is executed by a Runner, a detached Ray actor: it outlives the worker. A worker
    that comes back finds its Runners; one that does not is replaced by another of its pool.
    """

    type = POOL_TYPE
    job_configuration = KodosumiRayJobConfiguration
    job_configuration_variables = KodosumiRayVariables
    _description = "Execute flow runs on a Ray cluster, with Kodosumi's event stream in Postgres."
    _display_name = "Kodosumi on Ray"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = get_settings()
        check_database_urls(self._settings)
        self._registry = Registry(self._settings, self.name, self._settings.worker_lease)
        self._cluster: Cluster | None = None
        self._presence: RayPresence | None = None
        self._warm: WarmPool | None = None
        self._supervisor: Supervisor | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._children: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._reasons: dict[UUID, str] = {}
        self._draining = False
        self._serves = False  # whether it takes runs, not only talks to Prefect for somebody
        self._instance: str | None = None
        self._spooler_trouble: str | None = None
        self._began = time.time()

    @classmethod
    def get_default_base_job_template(cls) -> dict[str, Any]:
        """What a new pool of this type starts with; ``deployments/base-job-template.json``."""
        template = super().get_default_base_job_template()
        # A Runner executes flows and no commands, and has a name of its own.
        for name in ("command", "name"):
            template["job_configuration"].pop(name)
            template["variables"]["properties"].pop(name)
        return template

    async def start(self, *args: Any, **kwargs: Any) -> None:
        """Take runs until told to end, as ``prefect worker start`` does."""
        self._serves = True
        await super().start(*args, **kwargs)

    async def _initialize_after_sync(self) -> None:
        await super()._initialize_after_sync()
        if self._work_pool is None or self._supervisor is not None or not self._serves:
            return
        if self._work_pool.type != self.type:
            await asyncio.sleep(0)  # what Prefect has just begun begins, and can be cancelled
            # Its message alone is shown: Prefect's command would print the traceback of an error.
            raise SystemExit(
                f"work pool {self._work_pool_name} is of type {self._work_pool.type}, this worker "
                f"needs one of type {self.type}; create another, or delete this one and start again"
            )
        # The pool's id: a pool that was deleted and made anew has nothing to do with the old one.
        self._cluster = Cluster(self._settings, f"kodosumi-{self._work_pool.id}")
        self._presence = RayPresence(self._cluster, self._start_child, lambda: self._logger)
        self._warm = WarmPool(self._cluster, self._settings.warm_runners)
        self._supervisor = Supervisor(
            cluster=self._cluster,
            registry=self._registry,
            warm=self._warm,
            processors=self._processors,
            pool=self._work_pool_name,
            client=self.client,
            resolve=self._asked,
            start=self._start_child,
            grace=self._settings.cancel_grace,
            claim_seconds=self._settings.worker_lease,
        )
        loops = (
            self._answer(),
            self._tend(),
            self._keep_warm(),
            self._be_woken(),
            self._hear(),
            self._listen(),
        )
        for loop in loops:
            task = asyncio.create_task(loop)
            task.add_done_callback(self._loop_ended)
            self._loops.append(task)

    async def teardown(self, *exc_info: Any) -> None:
        await cancel_all([*self._loops, *self._children])
        self._loops.clear()
        self._supervisor = None
        try:
            async with asyncio.timeout(FAREWELL):
                await self._registry.leave()
                await self._registry.close()
                if self._warm is not None:
                    await self._warm.close()
        except TimeoutError:
            self._logger.warning("the worker ends without deregistering from Postgres and Ray")
        await super().teardown(*exc_info)

    async def run(
        self,
        flow_run: FlowRun,
        configuration: KodosumiRayJobConfiguration,
        task_status: "anyio.abc.TaskStatus[Any] | None" = None,
    ) -> KodosumiRayWorkerResult:
        """Have a pending flow run executed, and wait until it is over."""
        assert self._supervisor is not None
        placed = ""

        def on_placed(identifier: str) -> None:
            nonlocal placed
            self._start_child(self._registry.report(self._info()))
            if task_status is not None and not placed:
                task_status.started(identifier)
            elif placed != identifier:
                self._start_child(self._name_infrastructure(flow_run.id, identifier))
            placed = identifier

        reason = await self._supervisor.execute(
            flow_run,
            configuration.demand(),
            configuration.order(flow_run, self._instance),
            on_placed,
        )
        if not placed and reason is not None:
            raise RuntimeError(reason)
        if not placed and task_status is not None:
            task_status.started("")  # cancelled before it had a Runner
        if reason is not None:
            self._reasons[flow_run.id] = reason
        return KodosumiRayWorkerResult(identifier=placed, status_code=0 if reason is None else 1)

    async def submit(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse a flow that is no deployment's, before anything is made for it.

        Prefect's would store it with a command that loads and executes it, and Runners execute no
        commands.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            f"work pools of type {self.type} run deployments and no flows that are bound to or "
            "submitted to a pool; deploy the flow and use run_deployment"
        )

    async def kill_infrastructure(
        self,
        infrastructure_pid: str,
        configuration: KodosumiRayJobConfiguration,
        grace_seconds: int = 30,
    ) -> None:
        """End a Runner.

        Raises:
            InfrastructureNotFound: there is none of that name.
        """
        assert self._supervisor is not None
        if not await self._supervisor.kill(infrastructure_pid):
            raise InfrastructureNotFound(f"there is no Runner {infrastructure_pid}")

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Begin what is scheduled, unless this worker drains or has no Ray yet."""
        if self._draining or not await self._has_ray():
            return []
        return await super().get_and_submit_flow_runs()

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        try:
            return await super()._get_scheduled_flow_runs()
        except Exception as exc:
            if not is_fault(exc) or self._supervisor is None:
                raise
            if not await crash_unreadable(self.client, self._work_pool_name):
                raise
        return await super()._get_scheduled_flow_runs()

    async def _propose_crashed_state(
        self, flow_run: FlowRun, message: str, client: Any = None
    ) -> None:
        # The superclass knows the exit code only.
        message = self._reasons.pop(flow_run.id, message)
        await super()._propose_crashed_state(flow_run, message, client)

    async def _give_worker_labels_to_flow_run(self, flow_run_id: UUID) -> None:
        # The run need not wait for that.
        self._start_child(super()._give_worker_labels_to_flow_run(flow_run_id))

    async def _cancel_run(self, flow_run_id: UUID) -> None:
        # The superclass only handles runs that were not started.
        if self._supervisor is not None and flow_run_id in self._supervisor.watched:
            await self._supervisor.cancel(flow_run_id)
            return
        flow_run = await self.client.read_flow_run(flow_run_id)
        if flow_run.infrastructure_pid is None:
            await super()._cancel_run(flow_run_id)

    async def _name_infrastructure(self, flow_run_id: UUID, identifier: str) -> None:
        await self.client.update_flow_run(flow_run_id, infrastructure_pid=identifier)

    async def _asked(self, flow_run: FlowRun) -> tuple[Demand, Order]:
        configuration = await self.job_configuration.resolve_for_flow_run(
            flow_run,
            client=self.client,
            work_pool=self.work_pool,
            worker_name=self.name,
            worker_id=self.backend_id,
        )
        return configuration.demand(), configuration.order(flow_run, self._instance)

    async def _has_ray(self) -> bool:
        """Whether runs are to be begun now."""
        if self._presence is None:
            return True  # not set up yet; the superclass knows that
        try:
            return await self._presence.answers()
        except LostError as exc:
            await self._give_up(f"the Ray cluster was restarted while this worker ran: {exc}")

    @property
    def _ray_answers(self) -> bool:
        """Whether it did when runs were last looked for."""
        return self._presence is None or self._presence.away_since is None

    def _processors(self) -> float:
        """Of the cluster, as last looked at."""
        nodes = self._presence.nodes if self._presence is not None else []
        return sum(float(node["resources"].get("CPU", 0)) for node in nodes)

    async def _give_up(self, why: str) -> NoReturn:
        """End this process, to be started again: a process connects to one Ray in its life.

        At once, because what is under way on a cluster that is gone would keep it from ending.
        """
        self._logger.critical("%s; the worker ends, start it again", why)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self._registry.leave()
        logging.shutdown()
        os._exit(1)

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._logger.error("a loop of the worker failed", exc_info=error)
            self._start_child(self._give_up(f"a loop failed, {type(error).__name__}: {error}"))

    def _start_child(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that lives as long as the worker."""
        task = asyncio.create_task(work)
        self._children.add(task)
        task.add_done_callback(self._child_ended)

    def _child_ended(self, task: asyncio.Task[None]) -> None:
        self._children.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._logger.error("a task of the worker failed", exc_info=error)

    async def _answer(self) -> None:
        """Renew claims and report this worker, whatever the other loops wait for."""
        supervisor = cast(Supervisor, self._supervisor)
        claim_seconds = self._settings.worker_lease
        while True:
            await supervisor.renew()
            await self._registry.report(self._info())
            if self._draining and not supervisor.watched and not self._submitting_flow_run_ids:
                self._logger.info("drained: the worker ends")
                os.kill(os.getpid(), signal.SIGTERM)
                return
            await asyncio.sleep(
                min(claim_seconds / TENDS, 1.0) if self._draining else claim_seconds / TENDS
            )

    async def _tend(self) -> None:
        """Handle cancellations, and runs that nobody answers for."""
        supervisor = cast(Supervisor, self._supervisor)
        claim_seconds = self._settings.worker_lease
        adopted_at = -claim_seconds
        while True:
            try:
                if self._ray_answers:
                    await supervisor.tend()
                    if time.monotonic() - adopted_at >= claim_seconds / ADOPTIONS:
                        adopted_at = time.monotonic()
                        await self._have_spooler()
                        if await supervisor.adopt(set(self._submitting_flow_run_ids)):
                            self._wake.set()
            except NoRayError:
                pass  # logged when runs were looked for
            except (httpx.HTTPError, PrefectException, OSError, RuntimeError) as exc:
                self._logger.warning(
                    "cannot supervise runs now, trying again: %s", " ".join(str(exc).split())
                )
            await asyncio.sleep(claim_seconds / TENDS)

    async def _have_spooler(self) -> None:
        """Have the cluster's Spooler; without it Ray's processes keep what they record."""
        await aside(cast(Cluster, self._cluster).connect)
        # Imports Ray.
        from kodosumi_prefect.spooler.actor import ensure_spooler

        try:
            address = await aside(ensure_spooler, self._settings)
        except (psycopg.Error, NoDatabaseError, ProtocolError, SpoolerAwayError) as exc:
            trouble = " ".join(str(exc).split())
            if trouble != self._spooler_trouble:
                self._logger.warning("no Spooler on Ray now, trying again: %s", trouble)
            self._spooler_trouble = trouble
            return
        self._spooler_trouble = None
        self._instance = address.instance

    async def _keep_warm(self) -> None:
        assert self._warm is not None
        while True:
            if self._ray_answers and not self._draining:
                try:
                    configuration = await self.job_configuration.from_template_and_values(
                        base_job_template=self.work_pool.base_job_template,
                        values={},
                        client=self.client,
                    )
                    self._warm.want(cast(KodosumiRayJobConfiguration, configuration).spec())
                    await self._warm.tend(refill=not cast(Supervisor, self._supervisor).short)
                    await self._registry.report(self._info())
                except (httpx.HTTPError, PrefectException, OSError, ValueError) as exc:
                    self._logger.warning(
                        "cannot keep a Runner ready now, runs start more slowly: %s", exc
                    )
            elif self._draining:
                await self._warm.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WARM_INTERVAL):
                    await self._warm.taken.wait()
            self._warm.taken.clear()
            await asyncio.sleep(REFILL_PAUSE)

    async def _be_woken(self) -> None:
        """Look for runs as soon as a message announces some."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                if not await self.get_and_submit_flow_runs():
                    await asyncio.sleep(SECOND_LOOK)
                    await self.get_and_submit_flow_runs()
            except (httpx.HTTPError, PrefectException, OSError) as exc:
                self._logger.debug("woken, but cannot look for runs: %s", exc)

    async def _hear(self) -> None:
        """Prefect's events: something was scheduled in this pool, by whomever."""
        filter_ = EventFilter(
            event=EventNameFilter(
                name=[
                    "prefect.flow-run.Scheduled",
                    "prefect.flow-run.Late",
                    "prefect.flow-run.AwaitingRetry",
                    "prefect.flow-run.Resuming",
                ]
            ),
            any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{self.work_pool.id}"]),
        )
        while True:
            try:
                async with get_events_subscriber(filter=filter_) as subscriber:
                    self._wake.set()
                    async for _ in subscriber:
                        self._wake.set()
            except Exception as exc:  # sockets fail in many ways, and polling continues
                self._logger.debug("cannot receive events from Prefect now: %s", exc)
            await asyncio.sleep(RESUBSCRIBE)

    async def _listen(self) -> None:
        """Messages of this database: our own launches, and orders to drain."""
        async for message in self._registry.messages():
            if message is None or (message.what == "wake" and message.whom == self._work_pool_name):
                self._wake.set()
            elif message.what == "drain" and message.whom == self.name and not self._draining:
                self._logger.info("draining: no new runs are taken")
                self._draining = True
                await self._registry.report(self._info())

    def _info(self) -> dict[str, Any]:
        return {
            "pool": self._work_pool_name,
            "runs": len(self._supervisor.watched) if self._supervisor else 0,
            "warm": len(self._warm) if self._warm else 0,
            "draining": self._draining,
            "ray": self._ray_answers,
            "cluster": self._presence.nodes if self._presence and self._ray_answers else [],
            "limit": self._limit,
            "used": self._presence.used if self._presence and self._ray_answers else {},
            "version": VERSION,
        }
