"""Flow runs on Runners, from hand-over to the end, whatever happens to either side."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
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
from prefect.exceptions import Abort, ObjectNotFound, PrefectException
from prefect.logging import get_logger
from prefect.states import Cancelled, Crashed, Scheduled

from kodosumi_prefect.runner.aside import aside
from kodosumi_prefect.runner.cluster import (
    Cluster,
    RunnerHandle,
    Spec,
    VersionError,
    check_versions,
    may_live,
    why_it_died,
)
from kodosumi_prefect.runner.order import Facts, Order
from kodosumi_prefect.runner.ray_connection import NoRayError
from kodosumi_prefect.runner.registry import AwayError, Registry
from kodosumi_prefect.runner.warm import LEASE, WarmPool

STARTS = 3  # Runners tried for a run that none of them began
ROOM_LOOK = 5.0  # seconds between looks whether the cluster can take a Runner
INFEASIBLE_GRACE = 20.0  # seconds in which a node that is missing may come back
PAGE = 200  # flow runs Prefect returns at once
DEATH = 10.0  # seconds until Ray has told of a kill
RETRY_FIRST = 0.5  # seconds
RETRY_MOST = 10.0  # seconds

UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
PREFECT_AWAY = (httpx.HTTPError, PrefectException, OSError)

logger = get_logger("kodosumi-ray")  # shown where Prefect's own are


class CannotStartError(Exception):
    """No Runner can be had for a run; says why in one line."""


class Watched(NamedTuple):
    """A flow run that this worker answers for."""

    runner: RunnerHandle | None
    over: asyncio.Event


class Supervisor:
    """Hands flow runs to Runners and follows them to their end.

    Arguments:
        cluster: where Runners are.
        registry: who answers for what.
        warm: Runners made ahead.
        pool: name of the work pool.
        client: Prefect's, of the worker.
        start: starts a coroutine that lives as long as the worker.
        grace: seconds a cancelled run has to clean up.
        lease: seconds after which a pending run that nobody answers for was left by its worker.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        registry: Registry,
        warm: WarmPool,
        pool: str,
        client: PrefectClient,
        start: Callable[[Coroutine[Any, Any, None]], object],
        grace: float,
        lease: float,
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._warm = warm
        self._pool = pool
        self._client = client
        self._start = start
        self._grace = grace
        self._lease = lease
        self._watched: dict[UUID, Watched] = {}
        self._ending: set[UUID] = set()

    @property
    def watched(self) -> list[UUID]:
        """The flow runs that this worker answers for."""
        return list(self._watched)

    def identifier(self, runner: RunnerHandle) -> str:
        """What Prefect keeps as ``infrastructure_pid``."""
        return f"{self._cluster.namespace}:{runner.name}"

    async def execute(
        self,
        flow_run: FlowRun,
        spec: Spec,
        order: Order,
        schedule_timeout: float | None,
        on_placed: Callable[[str], None],
    ) -> str | None:
        """Have a pending flow run executed.

        Arguments:
            schedule_timeout: seconds the cluster has to make room; None for ever.
            on_placed: called with the identifier of each Runner that is tried.

        Returns:
            None once the run is over by itself, else why it has to be reported as crashed.
        """
        fid = flow_run.id
        while (before := self._watched.get(fid)) is not None:
            await before.over.wait()  # the attempt before, which somebody had run again at once
        self._watched[fid] = Watched(None, asyncio.Event())
        try:
            await self._registry.claim(
                fid, flow_run.run_count + 1, self._pool, self._cluster.namespace, mine=True
            )
        except AwayError as exc:
            logger.debug("flow run %s is not written down: %s", fid, exc)
        try:
            reason = await self._tries(flow_run, spec, order, schedule_timeout, on_placed)
        except CannotStartError as exc:
            reason = str(exc)
        except Exception:
            await self._let_go(fid)
            raise
        if reason is not None and (fid in self._ending or await self._is_over(fid)):
            reason = None
        await self._let_go(fid)
        return reason

    async def _tries(
        self,
        flow_run: FlowRun,
        spec: Spec,
        order: Order,
        schedule_timeout: float | None,
        on_placed: Callable[[str], None],
    ) -> str | None:
        why = ""
        for _ in range(STARTS):
            runner = await self._place(flow_run.id, spec, schedule_timeout, on_placed)
            try:
                outcome = await asyncio.wrap_future(runner.run(order))
            except Exception as exc:  # Ray has many ways to say that an actor is gone
                why = await self._end_of(runner) if may_live(exc) else why_it_died(exc)
            else:
                await aside(self._cluster.kill, runner)
                return outcome.message if outcome.status else None
            logger.warning("Runner %s of %s died: %s", runner.name, flow_run.id, why)
            if flow_run.id in self._ending or await self._has_begun(flow_run.id):
                return f"The run's Runner died: {why}"
            if not await self._is_pending(flow_run.id):
                return None  # scheduled anew by a worker that took us for dead
        return f"No Runner began the run in {STARTS} tries; the last one died: {why}"

    async def _place(
        self,
        fid: UUID,
        spec: Spec,
        schedule_timeout: float | None,
        on_placed: Callable[[str], None],
    ) -> RunnerHandle:
        """A Runner whose process is there, warm or new."""
        ready = self._warm.take(spec)
        if ready is not None:
            runner, facts = ready.handle, ready.facts
        else:
            try:
                runner = await aside(self._cluster.spawn, spec, LEASE)
            except (NoRayError, ValueError, TypeError, RuntimeError, OSError) as exc:
                raise CannotStartError(f"No Runner can be started: {_line(exc)}") from exc
            facts = None
        self._watched[fid] = self._watched[fid]._replace(runner=runner)
        # Written down before it gets its order: whoever comes after us finds it by this.
        await self._registry.place(fid, runner.name)
        on_placed(self.identifier(runner))
        if facts is None:
            try:
                facts = await self._arrival(runner, spec, schedule_timeout)
                check_versions(facts)
            except (CannotStartError, VersionError) as exc:
                await aside(self._cluster.kill, runner)
                raise CannotStartError(f"No Runner can be started: {exc}") from exc
        await self._registry.place(fid, runner.name, facts.node, facts.pid)
        return runner

    async def _arrival(
        self, runner: RunnerHandle, spec: Spec, schedule_timeout: float | None
    ) -> Facts:
        """Wait for a new Runner's process; tell what cannot be from what takes time."""
        arriving = asyncio.wrap_future(runner.hello(LEASE))
        began, told = time.monotonic(), False
        while True:
            waited = time.monotonic() - began
            left = ROOM_LOOK if schedule_timeout is None else schedule_timeout - waited
            done, _ = await asyncio.wait({arriving}, timeout=max(min(left, ROOM_LOOK), 0))
            if done:
                try:
                    return arriving.result()
                except Exception as exc:
                    raise CannotStartError(why_it_died(exc)) from exc
            lacks = await aside(self._cluster.lacks, spec)
            grows = lacks is not None and await aside(self._cluster.grows)
            waited = time.monotonic() - began
            if lacks is not None and not grows and waited > INFEASIBLE_GRACE:
                raise CannotStartError(f"the Ray cluster cannot run it: {lacks}")
            if schedule_timeout is not None and waited >= schedule_timeout:
                raise CannotStartError(
                    f"the Ray cluster had no room within schedule_timeout, {schedule_timeout:g} s"
                    f" ({lacks or 'its nodes are busy'})"
                )
            if not told:
                told = True
                why = f"an autoscaler may add a node: {lacks}" if grows else lacks or "for room"
                logger.info("Runner %s waits for the Ray cluster: %s", runner.name, why)

    async def cancel(self, fid: UUID) -> None:
        """See a cancelled run to its end: its Runner stops the flow, after the grace we do."""
        watched = self._watched.get(fid)
        if watched is None or fid in self._ending:
            return
        self._ending.add(fid)
        try:
            begun = await self._has_begun(fid)
            if begun:
                try:
                    async with asyncio.timeout(self._grace):
                        await watched.over.wait()
                except TimeoutError:
                    logger.warning("flow run %s did not stop within %s s", fid, self._grace)
                else:
                    return
            watched = self._watched.get(fid, watched)
            if watched.runner is not None:
                await aside(self._cluster.kill, watched.runner)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DEATH):
                        await watched.over.wait()
            how = f"after {self._grace:g} s of grace" if begun else "before it began"
            if not await self._is_over(fid):
                await self._settle(fid, Cancelled(message=f"Flow run was cancelled; killed {how}."))
        finally:
            self._ending.discard(fid)

    async def kill(self, identifier: str) -> bool:
        """End a Runner by its identifier; False if there is none of that name."""
        runner = await self._find(identifier)
        if runner is None:
            return False
        await aside(self._cluster.kill, runner)
        return True

    async def renew(self) -> None:
        """Go on answering for what is watched."""
        await self._registry.renew(self.watched)

    async def tend(self) -> None:
        """See to cancellations whose event was missed."""
        cancelling = FlowRunFilterStateType(any_=[StateType.CANCELLING])
        watched = self.watched
        for start in range(0, len(watched), PAGE):
            runs = await self._client.read_flow_runs(
                flow_run_filter=FlowRunFilter(
                    id=FlowRunFilterId(any_=watched[start : start + PAGE]),
                    state=FlowRunFilterState(type=cancelling),
                )
            )
            for run in runs:
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
            runs = await self._client.read_flow_runs(
                flow_run_filter=FlowRunFilter(
                    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNDER_WAY))
                ),
                work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[self._pool])),
                limit=PAGE,
                offset=offset,
            )
            for run in runs:
                ours = run.id in self._watched or run.id in self._ending
                if not ours and run.id not in submitting:
                    again = await self._adopt(run) or again
            if len(runs) < PAGE:
                return again
            offset += PAGE

    async def _adopt(self, run: FlowRun) -> bool:
        """Take one over; returns whether it was scheduled anew."""
        if run.state is None or (run.state.is_pending() and _age(run.state) < self._lease):
            return False
        prefix = f"{self._cluster.namespace}:"
        known = run.infrastructure_pid
        if not run.state.is_pending() and not (known or prefix).startswith(prefix):
            return False  # executed by other means, or on another cluster
        try:
            row = await self._registry.claim(
                run.id, max(run.run_count, 1), self._pool, self._cluster.namespace
            )
        except AwayError:
            # Without Postgres two workers may watch one Runner, but must not begin a run twice.
            if run.state.is_pending():
                return False
            row = {"actor_name": None}
        if row is None:
            return False  # another worker answers for it
        name = row["actor_name"] or (known or "").removeprefix(prefix)
        if not name and not known and not run.state.is_pending():
            await self._registry.forget(run.id)
            return False  # executed by other means
        runner = await self._find(prefix + name) if name else None
        if runner is not None:
            if not known:  # its worker died before it could tell
                await self._client.update_flow_run(run.id, infrastructure_pid=prefix + name)
            logger.info("Runner %s of flow run %s is found again", runner.name, run.id)
            self._watched[run.id] = Watched(runner, asyncio.Event())
            self._start(self._follow(run.id, runner))
            return False
        again = await self._conclude(run.id, "its Runner is gone, no worker saw why")
        await self._registry.forget(run.id)
        return again

    async def _follow(self, fid: UUID, runner: RunnerHandle) -> None:
        """See a Runner to its end that another worker, or this one's past life, started."""
        await self._registry.place(fid, runner.name)
        why = await self._end_of(runner)
        if fid not in self._ending:
            await self._conclude(fid, why)
        await self._let_go(fid)

    async def _end_of(self, runner: RunnerHandle) -> str:
        """Wait for the end of a Runner that may have a run in hand; why it ended."""
        while True:
            try:
                # Answered when the actor ends, by an error; at once if it has nothing to do.
                await asyncio.wrap_future(runner.hello(LEASE))
            except Exception as exc:
                if not may_live(exc):
                    return why_it_died(exc)
                await asyncio.sleep(RETRY_FIRST)
            else:
                await aside(self._cluster.kill, runner)
                return "it was left without its order"

    async def _conclude(self, fid: UUID, why: str) -> bool:
        """Tell Prefect of a run whose Runner is gone; returns whether it was scheduled anew."""
        run = await self._read(fid)
        if run is None or run.state is None or run.state.is_final():
            return False
        if run.state.is_pending():
            logger.warning("flow run %s was not begun (%s); it is scheduled anew", fid, why)
            await self._settle(fid, Scheduled(message="Its Runner was lost before it began."))
            return True
        if run.state.is_cancelling():
            await self._settle(fid, Cancelled(message=f"Flow run was cancelled; {why}."))
        elif run.state.is_running():
            await self._settle(fid, Crashed(message=f"The run's Runner died: {why}"))
        return False

    async def _has_begun(self, fid: UUID) -> bool:
        run = await self._read(fid)
        if run is None or run.state is None:
            return True  # deleted: there is nothing to begin any more
        if run.state.is_cancelling():
            return run.start_time is not None
        return not (run.state.is_pending() or run.state.is_scheduled())

    async def _is_pending(self, fid: UUID) -> bool:
        run = await self._read(fid)
        return run is not None and run.state is not None and run.state.is_pending()

    async def _is_over(self, fid: UUID) -> bool:
        run = await self._read(fid)
        return run is None or (run.state is not None and run.state.is_final())

    async def _read(self, fid: UUID) -> FlowRun | None:
        """The flow run, None if it was deleted; waits for a Prefect that is away."""
        delay = RETRY_FIRST
        while True:
            try:
                return await self._client.read_flow_run(fid)
            except ObjectNotFound:
                return None
            except PREFECT_AWAY as exc:
                logger.debug("cannot read flow run %s now: %s", fid, exc)
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_MOST)

    async def _settle(self, fid: UUID, state: State[Any]) -> None:
        """Give Prefect a state that the run's process cannot give; waits for a Prefect away."""
        delay = RETRY_FIRST
        force = not state.is_crashed()  # a run that ended by itself after all stays as it is
        while True:
            try:
                await self._client.set_flow_run_state(fid, state, force=force)
                return
            except (ObjectNotFound, Abort):
                return
            except PREFECT_AWAY as exc:
                logger.debug("cannot set flow run %s to %s now: %s", fid, state.name, exc)
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_MOST)

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
