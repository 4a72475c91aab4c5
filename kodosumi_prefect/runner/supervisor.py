"""Flow runs on Runners, from hand-over to the end, whatever happens to either side."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.logging import get_logger
from prefect.states import Cancelled, Crashed

from kodosumi_prefect.listings import PAGE, flow_runs
from kodosumi_prefect.process.order import After, Order
from kodosumi_prefect.runner.arrival import (
    CannotStartError,
    Demand,
    DiedError,
    NoRoomError,
    arrival,
)
from kodosumi_prefect.runner.aside import aside
from kodosumi_prefect.runner.cluster import (
    Cluster,
    RunnerHandle,
    Spec,
    check_versions,
    may_live,
    why_it_died,
)
from kodosumi_prefect.runner.departure import departure
from kodosumi_prefect.runner.flow_runs import FlowRuns
from kodosumi_prefect.runner.registry import AwayError, KnownRunner, Registry
from kodosumi_prefect.runner.supply import Supply
from kodosumi_prefect.runner.warm import CLAIM_SECONDS, Waiting, WarmPool
from kodosumi_prefect.suspension.leg import leg_of, next_attempt
from kodosumi_prefect.vocabulary import POOL_TYPE

STARTS = 3  # Runners tried for a run that none of them began
DEATH = 10.0  # seconds until Ray has reported a kill
AFTERMATH = 90.0  # seconds for the hooks of a run whose process is gone
ANSWER = 5.0  # seconds that a Runner has to end its run's process

UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]

logger = get_logger(POOL_TYPE)  # shown where Prefect's own are


class Over(asyncio.Event):
    """Set once nobody watches a flow run any more.

    Attributes:
        why: its Runner died, and it may be left as it was; None if it ended by itself.
    """

    why: str | None = None


class Watched(NamedTuple):
    """A flow run that this worker answers for."""

    runner: RunnerHandle | None
    over: Over


class Asked(NamedTuple):
    """What a flow run asks of the cluster, and what its Runner is told."""

    demand: Demand
    order: Order


class Supervisor:
    """Hands flow runs to Runners and follows them to their end.

    Arguments:
        cluster: where Runners are.
        registry: who answers for what.
        warm: Runners made ahead.
        processors: of the cluster, as last known.
        pool: name of the work pool.
        client: Prefect's, of the worker.
        resolve: what a flow run asks for and what its Runner is told, by its job variables.
        start: starts a coroutine that lives as long as the worker.
        grace: seconds a cancelled run has to clean up.
        claim_seconds: after which a pending run that nobody answers for was left by its worker.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        registry: Registry,
        warm: WarmPool,
        processors: Callable[[], float],
        pool: str,
        client: PrefectClient,
        resolve: Callable[[FlowRun], Awaitable[tuple[Demand, Order]]],
        start: Callable[[Coroutine[Any, Any, None]], object],
        grace: float,
        claim_seconds: float,
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._supply = Supply(cluster, warm, processors, start)
        self._pool = pool
        self._client = client
        self._flow_runs = FlowRuns(client)
        self._resolve = resolve
        self._start = start
        self._grace = grace
        self._claim_seconds = claim_seconds
        self._watched: dict[UUID, Watched] = {}
        self._ending: set[UUID] = set()

    @property
    def watched(self) -> list[UUID]:
        """The flow runs that this worker answers for."""
        return list(self._watched)

    @property
    def short(self) -> bool:
        """Whether runs wait for a Runner."""
        return self._supply.short

    def identifier(self, runner: RunnerHandle) -> str:
        """What Prefect keeps as ``infrastructure_pid``."""
        return f"{self._cluster.namespace}:{runner.name}"

    async def execute(
        self,
        flow_run: FlowRun,
        demand: Demand,
        order: Order,
        on_placed: Callable[[str], None],
    ) -> str | None:
        """Have a pending flow run executed.

        Arguments:
            on_placed: called with the identifier of each Runner that is tried.

        Returns:
            None once the run is over by itself, else why it has to be reported as crashed.
        """
        fid = flow_run.id
        while (before := self._watched.get(fid)) is not None:
            await before.over.wait()  # the previous attempt, which somebody retried at once
        self._watched[fid] = Watched(None, Over())
        try:
            await self._registry.claim(
                fid,
                next_attempt(flow_run),
                self._pool,
                self._cluster.namespace,
                leg=leg_of(flow_run),
                mine=True,
            )
        except AwayError as exc:
            logger.debug("flow run %s could not be written to Postgres: %s", fid, exc)
        try:
            reason = await self._tries(flow_run, demand, order, on_placed)
        except CannotStartError as exc:
            reason = str(exc)
        except Exception:
            await self._let_go(fid)
            raise
        if reason is not None and (
            fid in self._ending or await self._flow_runs.is_left(fid, leg_of(flow_run))
        ):
            reason = None
        await self._let_go(fid)
        return reason

    async def _tries(
        self,
        flow_run: FlowRun,
        demand: Demand,
        order: Order,
        on_placed: Callable[[str], None],
    ) -> str | None:
        why, fid = "", flow_run.id
        for start in range(STARTS):
            try:
                place = await self._place(fid, demand, on_placed)
            except DiedError as exc:
                if start > 0 or fid in self._ending:
                    raise
                logger.warning("trying another Runner for flow run %s: %s", flow_run.id, exc)
                continue
            runner = place.handle
            try:
                outcome = await asyncio.wrap_future(runner.run(order))
            except Exception as exc:  # Ray has many ways to say that an actor is gone
                why = await departure(self._cluster, runner) if may_live(exc) else why_it_died(exc)
            else:
                await self._release(flow_run.id, place)
                return outcome.message if outcome.status else None
            logger.warning("Runner %s of flow run %s died: %s", runner.name, flow_run.id, why)
            if fid in self._ending:
                self._watched[fid].over.why = why  # whoever cancels it sees to the rest
                return f"The run's Runner died: {why}"
            if await self._flow_runs.is_left(fid, leg_of(flow_run)):
                return None
            if await self._flow_runs.has_begun(flow_run.id):
                reason = f"The run's Runner died: {why}"
                await self._see_to(flow_run.id, reason, demand, order)
                return reason
            if not await self._flow_runs.is_pending(flow_run.id):
                return None  # rescheduled by a worker that took us for dead
        return f"No Runner began the run in {STARTS} tries; the last one died: {why}"

    async def _place(self, fid: UUID, demand: Demand, on_placed: Callable[[str], None]) -> Waiting:
        """A Runner whose process is there, warm or new."""

        async def name(runner: RunnerHandle) -> None:
            """A later worker finds a run that waits by its Runner."""
            self._watched[fid] = self._watched[fid]._replace(runner=runner)
            await self._registry.place(fid, runner.name)
            on_placed(self.identifier(runner))

        place = await self._supply.take(fid, demand, name)
        runner, facts = place.handle, place.facts
        self._watched[fid] = self._watched[fid]._replace(runner=runner)
        # Stored before it gets its order: a later worker finds it by this.
        await self._registry.place(fid, runner.name, facts.node, facts.pid)
        on_placed(self.identifier(runner))
        return place

    async def _release(self, fid: UUID, place: Waiting) -> None:
        """Keep a Runner whose run is over for another, or end it."""
        # Nobody ends it for this run any more.
        self._watched[fid] = self._watched[fid]._replace(runner=None)
        await self._supply.give(place)

    async def _see_to(self, fid: UUID, why: str, demand: Demand, order: Order) -> None:
        """Have a new Runner do what is left to do for a run whose own is gone: hooks and state.

        Nothing that fails here matters: the state is set without hooks then.
        """
        if await self._flow_runs.is_over(fid):
            return
        runner: RunnerHandle | None = None
        try:
            if await aside(self._cluster.lacks, demand.spec) is not None:
                # Its node may be what was lost. Hooks need its packages, and little else.
                anywhere = Spec(runtime_env=demand.spec.runtime_env)
                demand = demand._replace(spec=anywhere)
            runner = await aside(self._cluster.spawn, demand.spec, CLAIM_SECONDS)
            async with asyncio.timeout(AFTERMATH):
                check_versions(await arrival(self._cluster, runner, demand))
                await asyncio.wrap_future(runner.run(order._replace(after=After(None, why))))
        except Exception as exc:  # Ray has many ways to fail
            logger.warning("hooks of flow run %s are not run: %s", fid, why_it_died(exc))
        finally:
            if runner is not None:
                await aside(self._cluster.kill, runner)

    async def cancel(self, fid: UUID) -> None:
        """See a cancelled run to its end: its Runner stops the flow, after the grace we do."""
        watched = self._watched.get(fid)
        if watched is None or fid in self._ending:
            return
        self._ending.add(fid)
        try:
            begun = await self._flow_runs.has_begun(fid)
            if begun:
                try:
                    async with asyncio.timeout(self._grace):
                        await watched.over.wait()
                except TimeoutError:
                    logger.warning(
                        "flow run %s did not stop within %s s; killing its Runner", fid, self._grace
                    )
                else:
                    await self._end_what_died(fid, watched.over)
                    return
            watched = self._watched.get(fid, watched)
            how = f"after {self._grace:g} s of grace" if begun else "before it began"
            if begun and watched.runner is not None:
                await self._end_process(fid, watched, f"killed {how}")
            if not begun:
                self._supply.give_up(fid)
            watched = self._watched.get(fid, Watched(None, watched.over))
            if watched.runner is not None and not watched.over.is_set():
                await aside(self._cluster.kill, watched.runner)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DEATH):
                        await watched.over.wait()
                run = await self._flow_runs.read(fid) if begun else None
                if run is not None and (asked := await self._asked(run)) is not None:
                    await self._see_to(fid, f"killed {how}", asked.demand, asked.order)
            if not await self._flow_runs.is_over(fid):
                await self._flow_runs.settle(
                    fid, Cancelled(message=f"Flow run was cancelled; killed {how}.")
                )
        finally:
            self._ending.discard(fid)

    async def _end_what_died(self, fid: UUID, over: Over) -> None:
        """See to a cancelled run whose Runner died before it could."""
        if over.why is None:
            return
        run = await self._flow_runs.read(fid)
        if run is not None:
            await self._conclude(run, over.why)

    async def _end_process(self, fid: UUID, watched: Watched, why: str) -> None:
        """Have a Runner end its run's process and see to the rest; returns once it did, or cannot.

        Its process ended, the run's ``on_cancellation`` hooks are run in another one.
        """
        assert watched.runner is not None
        try:
            ending = watched.runner.end(why, fid)
            if ending is None:
                return  # of an older release
            async with asyncio.timeout(ANSWER):
                if not await asyncio.wrap_future(ending):
                    return
            async with asyncio.timeout(AFTERMATH):
                await watched.over.wait()
        except Exception as exc:  # Ray has many ways to fail
            logger.debug("Runner %s cannot end its run: %s", watched.runner.name, _line(exc))

    async def kill(self, identifier: str) -> bool:
        """End a Runner by its identifier; False if there is none of that name."""
        runner = await self._find(identifier)
        if runner is None:
            return False
        await aside(self._cluster.kill, runner)
        return True

    async def renew(self) -> None:
        """Keep answering for watched runs."""
        await self._registry.renew(self.watched)

    async def tend(self) -> None:
        """See to cancellations whose event was missed."""
        cancelling = FlowRunFilterStateType(any_=[StateType.CANCELLING])
        watched = self.watched
        for start in range(0, len(watched), PAGE):
            page = await flow_runs(
                self._client,
                flow_run_filter=FlowRunFilter(
                    id=FlowRunFilterId(any_=watched[start : start + PAGE]),
                    state=FlowRunFilterState(type=cancelling),
                ),
            )
            for run in page.rows:
                if run.id not in self._ending:
                    self._start(self.cancel(run.id))

    async def adopt(self, submitting: set[UUID]) -> bool:
        """Look after runs of the pool that nobody answers for, since their worker is gone.

        Arguments:
            submitting: runs that this worker is about to begin.

        Returns:
            Whether a run was scheduled anew.
        """
        again = False
        offset = 0
        while True:
            page = await flow_runs(
                self._client,
                offset=offset,
                flow_run_filter=FlowRunFilter(
                    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNDER_WAY))
                ),
                work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[self._pool])),
            )
            for run in page.rows:
                ours = run.id in self._watched or run.id in self._ending
                if not ours and run.id not in submitting:
                    again = await self._adopt(run) or again
            if page.last:
                break
            offset += PAGE
        await self._adopt_waiting()
        return again

    async def _adopt_waiting(self) -> None:
        """Look after runs that wait for people on a Runner, which table ``runner`` knows.

        Prefect knows many more that are paused: those that wait without one.
        """
        lapsed = await self._registry.lapsed(self._pool, self._cluster.namespace)
        waiting = [fid for fid in lapsed if fid not in self._watched and fid not in self._ending]
        paused = FlowRunFilterStateType(any_=[StateType.PAUSED])
        for start in range(0, len(waiting), PAGE):
            page = await flow_runs(
                self._client,
                flow_run_filter=FlowRunFilter(
                    id=FlowRunFilterId(any_=waiting[start : start + PAGE]),
                    state=FlowRunFilterState(type=paused),
                ),
            )
            for run in page.rows:
                await self._adopt(run)

    async def _adopt(self, run: FlowRun) -> bool:
        """Take one over; returns whether it was scheduled anew."""
        if run.state is None or (run.state.is_pending() and _age(run.state) < self._claim_seconds):
            return False
        prefix = f"{self._cluster.namespace}:"
        known = run.infrastructure_pid
        if not run.state.is_pending() and not (known or prefix).startswith(prefix):
            return False  # executed by other means, or on another cluster
        try:
            row = await self._registry.claim(
                run.id,
                max(run.run_count, 1),
                self._pool,
                self._cluster.namespace,
                leg=leg_of(run),
            )
        except AwayError:
            # Without Postgres two workers may watch one Runner, but must not begin a run twice.
            if run.state.is_pending():
                return False
            row = KnownRunner(None, None)
        if row is None:
            return False  # another worker answers for it
        name = row.actor_name or (known or "").removeprefix(prefix)
        if not name and not known and not run.state.is_pending():
            await self._registry.forget(run.id)
            return False  # executed by other means
        runner = await self._find(prefix + name) if name else None
        if runner is not None:
            # Only a Runner that was seen to be there is given an order.
            waits = run.state.is_pending() and row.pid is None
            asked = await self._asked(run) if waits else None
            if not known:  # its worker died before it could report it
                await self._client.update_flow_run(run.id, infrastructure_pid=prefix + name)
            logger.info(
                "taking over Runner %s of flow run %s, which is still alive", runner.name, run.id
            )
            self._watched[run.id] = Watched(runner, Over())
            self._start(self._follow(run, runner, asked.demand if asked is not None else None))
            return False
        again = await self._conclude(run, "its Runner is gone for an unknown reason")
        await self._registry.forget(run.id)
        return again

    async def _conclude(self, run: FlowRun, why: str) -> bool:
        """See to a run whose Runner is gone; returns whether it was scheduled anew."""
        if await self._flow_runs.is_left(run.id, leg_of(run)):
            return False
        begun = await self._flow_runs.has_begun(run.id)
        if begun and (asked := await self._asked(run)) is not None:
            reason = f"The run's Runner died: {why}"
            await self._see_to(run.id, reason, asked.demand, asked.order)
        return await self._flow_runs.conclude(run.id, why)

    async def _asked(self, run: FlowRun) -> "Asked | None":
        """What a run of another worker asks for; None if that is no longer known."""
        try:
            return Asked(*await self._resolve(run))
        except (httpx.HTTPError, OSError):
            raise  # read again the next time
        except Exception as exc:  # users' templates and blocks fail in many ways
            logger.warning(
                "cannot read the job variables of flow run %s, it waits without "
                "schedule_timeout: %s",
                run.id,
                _line(exc),
            )
            return None

    async def _follow(self, run: FlowRun, runner: RunnerHandle, waits: Demand | None) -> None:
        """See a Runner to its end that another worker, or this one's past life, started.

        Arguments:
            waits: what it asks for if it may still wait for its place.
        """
        await self._registry.place(run.id, runner.name)
        try:
            if waits is not None:
                await self._wait_for_room(run, runner, waits)
            why = await departure(self._cluster, runner)
        except NoRoomError as exc:
            await aside(self._cluster.kill, runner)
            reason = f"No Runner can be started: {exc}"
            if run.id not in self._ending and not await self._flow_runs.is_over(run.id):
                await self._flow_runs.settle(run.id, Crashed(message=reason))
        else:
            if run.id in self._ending:
                self._watched[run.id].over.why = why
            else:
                await self._conclude(run, why)
        await self._let_go(run.id)

    async def _wait_for_room(self, run: FlowRun, runner: RunnerHandle, demand: Demand) -> None:
        """Wait until a Runner that was found has a place, no longer than its run allows.

        Raises:
            NoRoomError: there is none for it.
        """
        age = _age(run.state) if run.state is not None else 0.0
        try:
            await arrival(self._cluster, runner, demand, before=age)
        except NoRoomError:
            # Unless it has begun after all: Postgres may have been away when it arrived.
            if await self._flow_runs.is_pending(run.id):
                raise
        except CannotStartError as exc:
            logger.info("Runner %s died before it got its run: %s", runner.name, exc)

    async def _find(self, identifier: str) -> RunnerHandle | None:
        namespace, _, name = identifier.partition(":")
        if namespace != self._cluster.namespace or not name:
            return None
        return await aside(self._cluster.find, name)

    async def _let_go(self, fid: UUID) -> None:
        await self._registry.forget(fid)
        watched = self._watched.pop(fid, None)
        if watched is not None:
            watched.over.set()


def _age(state: State[Any]) -> float:
    return time.time() - state.timestamp.timestamp()


def _line(exc: BaseException) -> str:
    return " ".join(str(exc).split()) or type(exc).__name__
