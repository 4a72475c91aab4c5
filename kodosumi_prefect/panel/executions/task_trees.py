"""What was read from Prefect of executions' task runs, shared by all who look at them."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.exceptions import PrefectException

from kodosumi_prefect import listings
from kodosumi_prefect.addresses import PrefectAccess, no_answer
from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.listings import PAGE, ListingPage, narrowed

MOST = 20_000  # task runs of one execution
AT_ONCE = 4  # pages asked for together
READING_SECONDS = 120.0  # seconds that reading one execution may take altogether
FRESH = 2.0  # seconds for which what was read is not read again
FRESH_OF_MANY = 10.0  # seconds, of an execution with more than one page of task runs
KEPT = 4  # executions; 20,000 task runs take some 20 MB


class TaskRow(NamedTuple):
    """What is kept of one of Prefect's task runs; ``child`` is the flow run it stands for."""

    id: UUID
    name: str
    task_key: str
    flow_run: UUID | None
    child: UUID | None
    state_type: str | None
    state_name: str | None
    start: datetime | None
    end: datetime | None
    run_count: int


@dataclass(slots=True)
class Tree:
    """What was read so far.

    Attributes:
        subflows: names by id.
        task_runs: of the root and of all subflows, by id.
        missing: why it may not be all.
    """

    subflows: dict[UUID, str] = field(default_factory=dict)
    task_runs: dict[UUID, TaskRow] = field(default_factory=dict)
    missing: str | None = None


@dataclass(slots=True)
class _Reading:
    tree: Tree
    task: asyncio.Task[None]
    ended: float = float("inf")  # of the monotonic clock

    @property
    def fresh(self) -> bool:
        many = len(self.tree.task_runs) > PAGE
        return time.monotonic() - self.ended < (FRESH_OF_MANY if many else FRESH)


class TaskTrees:
    """The task runs of executions, read once for all who ask within a few seconds.

    Thousands take longer than a page should: whoever asks gets what is there in time, reading goes
    on, and who asks again gets more.
    """

    def __init__(self) -> None:
        self._readings: OrderedDict[UUID, _Reading] = OrderedDict()

    async def of(self, root: UUID, access: PrefectAccess, seconds: float) -> Tree:
        """What Prefect tells of the flow run ``root`` in at most ``seconds``."""
        reading = self._readings.get(root)
        if reading is None or not reading.fresh:
            tree = Tree()
            reading = _Reading(tree, asyncio.create_task(_read(root, access, tree)))
            self._readings[root] = reading
            reading.task.add_done_callback(lambda _: self._end(root, reading))
        self._readings.move_to_end(root)
        while len(self._readings) > KEPT:
            _, oldest = self._readings.popitem(last=False)
            oldest.task.cancel()
        await asyncio.wait({reading.task}, timeout=seconds)
        if reading.task.done():
            return reading.tree
        read = len(reading.tree.task_runs)
        why = f"{read:,} are read so far" if read else no_answer(access, seconds)
        return Tree(dict(reading.tree.subflows), dict(reading.tree.task_runs), why)

    def reading(self, root: UUID) -> bool:
        """Whether more of it will be there soon."""
        return root in self._readings and not self._readings[root].task.done()

    async def close(self) -> None:
        """Give up what is being read."""
        await cancel_all([reading.task for reading in self._readings.values()])

    def _end(self, root: UUID, reading: _Reading) -> None:
        reading.ended = time.monotonic()
        # What failed is asked for again at once.
        if reading.tree.missing is not None and self._readings.get(root) is reading:
            del self._readings[root]


async def _read(root: UUID, access: PrefectAccess, tree: Tree) -> None:
    try:
        async with asyncio.timeout(READING_SECONDS):
            with access.in_force():
                # Making one reads certificates for some 30 ms, which streams should not wait for.
                client = await asyncio.to_thread(get_client)
                async with client:
                    await _walk(client, root, tree)
    except TimeoutError:
        tree.missing = no_answer(access, READING_SECONDS)
    except (httpx.HTTPError, PrefectException, OSError, ValueError, RuntimeError) as exc:
        tree.missing = no_answer(access, exc)


async def _walk(client: PrefectClient, root: UUID, tree: Tree) -> None:
    """Level by level through the subflows; what was read stays in ``tree`` if it breaks off."""
    level = [root]
    while level:
        below: list[UUID] = []
        for start in range(0, len(level), PAGE):
            parents = level[start : start + PAGE]
            await _read_task_runs(client, parents, tree)
            if len(tree.task_runs) >= MOST:
                tree.missing = f"there are more than {MOST:,} task runs"
                return
            async for child, name in _subflows_of(client, parents):
                if child not in tree.subflows and child != root:
                    tree.subflows[child] = name
                    below.append(child)
        level = below


async def _read_task_runs(client: PrefectClient, flow_runs: list[UUID], tree: Tree) -> None:
    """All task runs of these flow runs, the first page alone, then some pages at once."""
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=flow_runs))
    # In this order a task run that begins meanwhile comes last and shifts no page.
    order = TaskRunSort.EXPECTED_START_TIME_ASC

    async def read(limit: int, offset: int) -> list[TaskRun]:
        return await client.read_task_runs(
            flow_run_filter=chosen, sort=order, limit=limit, offset=offset
        )

    async def page_at(offset: int) -> ListingPage[TaskRun]:
        return await narrowed(read, "task run", limit=PAGE, offset=offset)

    offsets, at_once = 0, 1
    while len(tree.task_runs) < MOST:
        ahead = [offsets + n * PAGE for n in range(at_once)]
        pages = await asyncio.gather(*map(page_at, ahead))
        for batch in pages:
            tree.task_runs |= {run.id: _kept(run) for run in batch.rows}
        if any(batch.last for batch in pages):
            return
        offsets, at_once = ahead[-1] + PAGE, AT_ONCE


async def _subflows_of(
    client: PrefectClient, flow_runs: list[UUID]
) -> AsyncIterator[tuple[UUID, str]]:
    chosen = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=flow_runs))
    order = FlowRunSort.EXPECTED_START_TIME_ASC
    for offset in range(0, MOST + PAGE, PAGE):
        batch = await listings.flow_runs(
            client, sort=order, limit=PAGE, offset=offset, flow_run_filter=chosen
        )
        for run in batch.rows:
            yield run.id, run.name
        if batch.last:
            return


def _kept(run: TaskRun) -> TaskRow:
    return TaskRow(
        run.id,
        run.name,
        run.task_key,
        run.flow_run_id,
        run.state.state_details.child_flow_run_id if run.state is not None else None,
        run.state_type.value if run.state_type is not None else None,
        run.state_name,
        run.start_time,
        run.end_time,
        run.run_count,
    )
