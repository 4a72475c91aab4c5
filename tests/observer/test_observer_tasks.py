"""Task runs that are heard of before their execution is there lose nothing by waiting."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import State, StateType

from kodosumi_prefect.observer import tasks as module
from kodosumi_prefect.observer.changes import TaskChange
from kodosumi_prefect.observer.tasks import TaskRunRecorder
from kodosumi_prefect.stream.rows import KnownExecution

ROW = KnownExecution(
    fid="a",
    status="running",
    state_type="RUNNING",
    state_ts=0.0,
    attempt=1,
    process=None,
    opened=True,
    has_error=False,
    stale=False,
    closing=False,
)


class Ancestry:
    """Every flow run is a root."""

    def learn_task(self, task_run: str, name: str) -> None: ...

    async def root(self, flow_run: str) -> str | None:
        return flow_run


class Recorder:
    def __init__(self) -> None:
        self.names: list[str] = []

    def task(self, fid: str, change: TaskChange, attempt: int, subflow: Any) -> None:
        self.names.append(change.name)


class Executions:
    """The rows that Postgres has; the first to ask after ``slow`` was set waits for it."""

    def __init__(self) -> None:
        self.rows: dict[str, KnownExecution] = {}
        self.slow: asyncio.Event | None = None
        self.asked = asyncio.Event()
        self.trouble: Exception | None = None

    async def known(self, fids: list[str]) -> dict[str, KnownExecution]:
        slow, self.slow = self.slow, None
        if slow is not None:
            self.asked.set()
            await slow.wait()
        if self.trouble is not None:
            raise self.trouble
        return {fid: self.rows[fid] for fid in fids if fid in self.rows}


def change(name: str, flow_run: str) -> TaskChange:
    state: State[Any] = State(type=StateType.RUNNING, timestamp=datetime.now(UTC))  # type: ignore[arg-type]
    return TaskChange(str(uuid4()), name, state, flow_run)


def task_runs(executions: Executions) -> tuple[TaskRunRecorder, Recorder]:
    recorder = Recorder()
    runs = TaskRunRecorder(None, recorder, Ancestry(), executions.known)  # type: ignore[arg-type]
    return runs, recorder


async def settled(runs: TaskRunRecorder) -> None:
    """Look again, after the pause that a look in vain is followed by."""
    await asyncio.sleep(module.FIRST_PAUSE * 1.1)
    await runs.again()


async def test_what_comes_while_waiting_ones_are_looked_at_is_kept() -> None:
    executions = Executions()
    runs, recorder = task_runs(executions)
    await runs.take([change("first", "a")])
    await asyncio.sleep(module.FIRST_PAUSE * 1.1)
    answers = executions.slow = asyncio.Event()
    looking = asyncio.create_task(runs.again())
    await executions.asked.wait()
    await runs.take([change("second", "a")])
    answers.set()
    await looking
    executions.rows["a"] = ROW
    await settled(runs)
    await settled(runs)
    assert sorted(recorder.names) == ["first", "second"]


@pytest.mark.parametrize("trouble", [httpx.ReadTimeout("late"), ValueError("ours")])
async def test_those_that_wait_survive_an_outage(trouble: Exception) -> None:
    executions = Executions()
    runs, recorder = task_runs(executions)
    await runs.take([change("first", "a")])
    executions.trouble = trouble
    with pytest.raises(type(trouble)):
        await settled(runs)
    executions.trouble, executions.rows["a"] = None, ROW
    await settled(runs)
    assert recorder.names == ["first"]


async def test_a_run_that_is_no_execution_is_given_up_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "EXECUTION_ROW_SECONDS", module.FIRST_PAUSE * 1.05)
    executions = Executions()
    runs, recorder = task_runs(executions)
    await runs.take([change("first", "a")])
    await settled(runs)
    executions.rows["a"] = ROW
    await settled(runs)
    assert recorder.names == []


async def test_of_too_many_that_wait_those_go_that_waited_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAITING", 2)
    executions = Executions()
    runs, recorder = task_runs(executions)
    await runs.take([change("first", "a")])
    await settled(runs)  # looked at again, and still older than the others
    for name in ("second", "third"):
        await runs.take([change(name, "a")])
    executions.rows["a"] = ROW
    await settled(runs)
    assert sorted(recorder.names) == ["second", "third"]
