"""Runners for runs: warm, done with another run, or new. Who waits longest is served first."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

from prefect.logging import get_logger

from kodosumi_prefect.runner.arrival import CannotStartError, Demand, DiedError, arrival
from kodosumi_prefect.runner.aside import aside
from kodosumi_prefect.runner.cluster import Cluster, RunnerHandle, VersionError, check_versions
from kodosumi_prefect.runner.ray_connection import NoRayError
from kodosumi_prefect.runner.warm import CLAIM_SECONDS, Waiting, WarmPool
from kodosumi_prefect.vocabulary import POOL_TYPE

START = 10.0  # seconds after which a new Runner is taken to wait for room, or for packages
FEWEST = 2  # new Runners that may start at once on however small a cluster
ANSWER = 5.0  # seconds that a Runner has to say that it is free

logger = get_logger(POOL_TYPE)  # shown where Prefect's own are


class GivenUpError(CannotStartError):
    """Nobody wants to run that any more."""


class Request:
    """A run that waits for a Runner.

    Attributes:
        delayed: new ones for it that are not there soon, or that died.
        own: the new one that was started for it, where it still waits for that.
    """

    def __init__(self, fid: UUID, demand: Demand) -> None:
        self.fid = fid
        self.demand = demand
        self.delayed: asyncio.Queue[RunnerHandle] = asyncio.Queue()
        self.served: asyncio.Future[Waiting] = asyncio.get_running_loop().create_future()
        self.own: Start | None = None

    def accepts(self, runner: Waiting) -> bool:
        """Whether this Runner will do, whoever it was started for."""
        spec = self.demand.spec
        return not self.served.done() and spec.key == runner.key and spec.may_wait


class Start:
    """A new Runner on its way.

    Attributes:
        handle: None until Ray has been asked for it.
        late: it takes so long that it waits for room, rather than for a processor.
        unwanted: it is to be ended as soon as there is a handle.
    """

    def __init__(self) -> None:
        self.handle: RunnerHandle | None = None
        self.late = False
        self.unwanted = False


class Supply:
    """Has a Runner for each run that asks, and starts no more at once than the cluster can.

    A start costs about a second of a processor. Many at once delay each other and the runs that
    have begun, while a Runner that becomes free costs nothing. Starts that wait for room do not
    count, so that an autoscaler soon sees all that is asked for.

    Arguments:
        processors: of the cluster, as last known.
        start: starts a coroutine that lives as long as the worker.
    """

    def __init__(
        self,
        cluster: Cluster,
        warm: WarmPool,
        processors: Callable[[], float],
        start: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._cluster = cluster
        self._warm = warm
        self._processors = processors
        self._start = start
        self._requests: list[Request] = []  # who waits longest is first
        self._starts: set[Start] = set()
        warm.pass_on = self._serve

    @property
    def short(self) -> bool:
        """Whether somebody waits."""
        return bool(self._requests)

    async def take(
        self, fid: UUID, demand: Demand, on_delay: Callable[[RunnerHandle], Awaitable[None]]
    ) -> Waiting:
        """A Runner whose process is there; the caller's from now on.

        Arguments:
            on_delay: called in the caller's task with a new one that is not there soon, or never;
                the run may get another all the same.

        Raises:
            CannotStartError: there is none for it; GivenUpError after ``give_up``.
        """
        if (ready := self._warm.take(demand.spec)) is not None:
            return ready
        request = Request(fid, demand)
        self._requests.append(request)
        self._start_more()
        telling: asyncio.Future[RunnerHandle] | None = None
        try:
            while not request.served.done() or not request.delayed.empty():
                telling = asyncio.ensure_future(request.delayed.get())
                either: set[asyncio.Future[Any]] = {request.served, telling}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if telling.done():
                    await on_delay(telling.result())
            return request.served.result()
        finally:
            if telling is not None:
                telling.cancel()
            self._requests.remove(request)
            if (own := request.own) is not None and own.late:
                self._discard(own)

    async def give(self, runner: Waiting) -> bool:
        """Take back a Runner whose run is over, for whoever waits, or to keep it warm, or to end.

        Returns:
            Whether it lives on.
        """
        if self._next(runner) is not None or self._warm.wants(runner):
            try:
                async with asyncio.timeout(ANSWER):
                    await asyncio.wrap_future(runner.handle.hello(CLAIM_SECONDS))
            except Exception as exc:  # whatever Ray raises, this Runner is of no use
                logger.debug("Runner %s is not kept: %s", runner.handle.name, _line(exc))
            else:
                if self._serve(runner) or self._warm.keep(runner):
                    return True
        await aside(self._cluster.kill, runner.handle)
        return False

    def give_up(self, fid: UUID) -> None:
        """A run that may be waiting needs no Runner any more."""
        for request in self._requests:
            if request.fid == fid and not request.served.done():
                request.served.set_exception(GivenUpError("the run is not to begin any more"))

    def _next(self, runner: Waiting) -> Request | None:
        return next((one for one in self._requests if one.accepts(runner)), None)

    def _serve(self, runner: Waiting) -> bool:
        if (request := self._next(runner)) is None:
            return False
        request.served.set_result(runner)
        return True

    def _start_more(self) -> None:
        late = sum(one.late for one in self._starts)
        # As many more as wait for room: were it not room that is lacking, they would help little.
        free = max(FEWEST, int(self._processors())) + late - (len(self._starts) - late)
        for request in self._requests:
            if free <= 0:
                return
            if request.own is None and not request.served.done():
                request.own = Start()
                self._starts.add(request.own)
                self._start(self._make(request, request.own))
                free -= 1

    async def _make(self, request: Request, start: Start) -> None:
        """Start a new Runner for a request; it goes to another if that one was served meanwhile."""
        try:
            runner = await self._arrived(request, start)
        except Exception as exc:  # whatever it is, the run must not wait for ever
            if start.handle is not None:
                await aside(self._cluster.kill, start.handle)
                if not request.served.done() and not start.late:
                    request.delayed.put_nowait(start.handle)
            if not request.served.done():
                request.served.set_exception(exc)
            elif not start.unwanted:
                logger.debug("a Runner that nobody waits for did not start: %s", exc)
        else:
            if not request.served.done():
                request.own = None
                request.served.set_result(runner)
            elif not self._serve(runner) and not self._warm.keep(runner):
                await aside(self._cluster.kill, runner.handle)
        finally:
            self._starts.discard(start)
            request.own = None
            self._start_more()

    async def _arrived(self, request: Request, start: Start) -> Waiting:
        """A Runner that has started; raises as ``take``."""
        spec = request.demand.spec
        try:
            start.handle = await aside(self._cluster.spawn, spec, CLAIM_SECONDS)
        except (NoRayError, ValueError, TypeError, RuntimeError, OSError) as exc:
            raise CannotStartError(f"No Runner can be started: {_line(exc)}") from exc
        arriving = asyncio.ensure_future(arrival(self._cluster, start.handle, request.demand))
        await asyncio.wait({arriving}, timeout=START)
        if not arriving.done():
            start.late = True
            if request.served.done():
                self._discard(start)
            else:
                request.delayed.put_nowait(start.handle)
            self._start_more()
        try:
            facts = await arriving
            check_versions(facts)
        except (CannotStartError, VersionError) as exc:
            error = DiedError if isinstance(exc, DiedError) else CannotStartError
            raise error(f"No Runner can be started: {exc}") from exc
        return Waiting(start.handle, facts, spec.key)

    def _discard(self, start: Start) -> None:
        """End a Runner that waits for room which others may need more."""
        if not start.unwanted and start.handle is not None:
            start.unwanted = True
            self._start(aside(self._cluster.kill, start.handle))


def _line(exc: BaseException) -> str:
    return " ".join(str(exc).split()) or type(exc).__name__
