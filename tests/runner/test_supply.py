"""Who gets which Runner, and how many start at once; on the session's Ray, with a slow one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

import pytest

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.runner import supply
from kodosumi_prefect.runner.arrival import CannotStartError, Demand, DiedError
from kodosumi_prefect.runner.cluster import Cluster, RunnerHandle, Spec
from kodosumi_prefect.runner.supply import GivenUpError, Supply
from kodosumi_prefect.runner.warm import Waiting, WarmPool
from tests.services import Place
from tests.waiting import wait_for

LIMIT = 120.0  # seconds
ROOM = Demand(Spec(), None)
NO_ROOM = Demand(Spec(resources={"nowhere": 1}), None)


class Counting(Cluster):
    """A cluster that counts, and whose Runners can be told to come late."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.spawned: list[RunnerHandle] = []
        self.killed: set[str] = set()

    def spawn(self, spec: Spec, claim_seconds: float) -> RunnerHandle:
        handle = super().spawn(spec, claim_seconds)
        self.spawned.append(handle)
        return handle

    def kill(self, runner: RunnerHandle) -> None:
        self.killed.add(runner.name)
        super().kill(runner)

    def grows(self) -> bool:
        return True  # what nobody has room for waits


class Bench:
    """A supply with what it needs, and the Runners that waiting runs were told of."""

    def __init__(self, place: Place, size: int = 0) -> None:
        self.cluster = Counting(place.settings, f"kodosumi-supply-{uuid4()}")
        self.warm = WarmPool(self.cluster, size)
        self.warm.want(Spec())
        self.tasks: list[asyncio.Task[Any]] = []
        self.supply = Supply(self.cluster, self.warm, lambda: 0.0, self.start)
        self.late: dict[UUID, list[str]] = {}

    def start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    def take(self, demand: Demand = ROOM) -> "tuple[UUID, asyncio.Task[Waiting]]":
        fid = uuid4()

        async def on_delay(runner: RunnerHandle) -> None:
            # Prefect's worker knows a run by the task that asks for its Runner.
            assert asyncio.current_task() is taking
            self.late.setdefault(fid, []).append(runner.name)

        taking = self.start(self.supply.take(fid, demand, on_delay))
        return fid, taking

    async def until(self, condition: Callable[[], object]) -> None:
        await asyncio.to_thread(wait_for, condition, LIMIT)


@pytest.fixture
async def bench(ray_place: Place, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(supply, "START", LIMIT)  # nothing is late on a machine that is busy
    made = Bench(ray_place)
    yield made
    await made.warm.close()
    await cancel_all(made.tasks)
    for handle in made.cluster.spawned:
        if handle.name not in made.cluster.killed:
            made.cluster.kill(handle)


async def test_runs_that_come_at_once_share_few_runners(bench: Bench) -> None:
    taken = [bench.take()[1] for _ in range(6)]
    await bench.until(lambda: len(bench.cluster.spawned) == supply.FEWEST)
    order = []
    for _ in taken:
        await bench.until(lambda: any(task.done() and task not in order for task in taken))
        (done, *_) = [task for task in taken if task.done() and task not in order]
        order.append(done)
        await bench.supply.give(done.result())
    assert not bench.supply.short
    names = {task.result().handle.name for task in taken}
    assert len(names) < len(taken)
    # Whoever came later was not served before all that came earlier and had no start of their own.
    assert order.index(taken[-1]) > order.index(taken[2])
    await bench.until(lambda: bench.cluster.killed == {one.name for one in bench.cluster.spawned})


async def test_a_free_runner_serves_who_waits_longest_and_the_one_on_its_way_the_next(
    bench: Bench,
) -> None:
    _, first = bench.take()
    free = await first
    waiting = [bench.take()[1] for _ in range(supply.FEWEST + 1)]
    await asyncio.sleep(0)
    assert await bench.supply.give(free)
    assert (await waiting[0]).handle.name == free.handle.name
    others = [await task for task in waiting[1:]]
    assert {one.handle.name for one in others}.isdisjoint({free.handle.name})
    assert bench.late == {}, "nobody was told of a Runner that came in time"


async def test_a_runner_that_nobody_waits_for_any_more_is_kept_or_ended(ray_place: Place) -> None:
    for size in (1, 0):
        bench = Bench(ray_place, size)
        fid, taken = bench.take()
        await bench.until(lambda bench=bench: bench.cluster.spawned)
        bench.supply.give_up(fid)
        with pytest.raises(GivenUpError):
            await taken
        assert not bench.supply.short
        (handle,) = bench.cluster.spawned
        if size:
            await bench.until(lambda bench=bench: len(bench.warm))
            _, taken = bench.take()
            assert (await taken).handle.name == handle.name
            bench.cluster.kill(handle)
        else:
            await bench.until(lambda bench=bench: bench.cluster.killed)
        await cancel_all(bench.tasks)


async def test_what_waits_for_room_keeps_nobody_else_from_starting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supply, "START", 0.5)
    stuck = [bench.take(NO_ROOM) for _ in range(3 * supply.FEWEST)]
    # All of them are asked for, so that an autoscaler sees them; a later worker finds each.
    await bench.until(lambda: len(bench.late) == len(stuck))
    await bench.take()[1]
    # A Runner of theirs that has become free serves one, and the place it waited in is given up.
    (fid, taken), *_ = stuck
    own = bench.late[fid][0]
    bench.supply.give_up(fid)
    with pytest.raises(GivenUpError):
        await taken
    await bench.until(lambda: own in bench.cluster.killed)
    assert not any(task.done() for _, task in stuck[1:])


async def test_a_start_that_fails_is_told_to_whom_it_was_for(bench: Bench) -> None:
    fid, killed = bench.take()
    _, impossible = bench.take(Demand(Spec(resources={"nowhere": 1}), 0.2))
    _, refused = bench.take(Demand(Spec(resources={"CPU": 1}), None))
    _, later = bench.take()
    await bench.until(lambda: bench.cluster.spawned)
    await bench.until(lambda: impossible.done() and refused.done())
    with pytest.raises(CannotStartError, match="no room within schedule_timeout"):
        await impossible
    with pytest.raises(CannotStartError, match="No Runner can be started"):
        await refused
    assert (await later).handle.name != (await killed).handle.name
    assert fid not in bench.late


async def test_a_runner_that_dies_as_it_starts_is_told_as_such(bench: Bench) -> None:
    fid, taken = bench.take()
    await bench.until(lambda: bench.cluster.spawned)
    bench.cluster.kill(bench.cluster.spawned[0])
    with pytest.raises(DiedError):
        await taken
    assert bench.late[fid] == [bench.cluster.spawned[0].name], "a later worker looks for it"
