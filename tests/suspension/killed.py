"""Processes that are killed at a step: one line of JSON each, its exit code is the answer.

They are forked of this one, which has imported what they need.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, SyncPrefectClient, get_client
from prefect.flow_engine import run_flow

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect._compat.prefect import drive
from kodosumi_prefect.locks import held
from kodosumi_prefect.locks.answering import Locks
from kodosumi_prefect.locks.held import Held
from kodosumi_prefect.observer.observer import Observer
from kodosumi_prefect.settings import database_url, get_settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.suspension import ending, resuming
from tests.answering import answer, locks

CLAIM = 1.0  # seconds in which whoever resumes a run does so alone


@flow(retries=1)
def asks(tracer: Tracer) -> Any:
    return tracer.lock_sync("approve", suspend=True)


def end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(owner: Any, method: str, behind: bool, only: str | None = None) -> None:
    """Have this process killed in front of, or behind, a call of a method.

    Arguments:
        only: if its first argument is this one.
    """
    call = getattr(owner, method)
    is_async = asyncio.iscoroutinefunction(call)

    def is_meant(arguments: tuple[Any, ...]) -> bool:
        return only is None or only in arguments[:2]

    async def later(*arguments: Any, **more: Any) -> Any:
        if is_meant(arguments) and not behind:
            end()
        found = await call(*arguments, **more)
        if is_meant(arguments):
            end()
        return found

    def now(*arguments: Any, **more: Any) -> Any:
        if is_meant(arguments) and not behind:
            end()
        found = call(*arguments, **more)
        if is_meant(arguments):
            end()
        return found

    setattr(owner, method, later if is_async else now)


def kill_once_it_is_stored() -> None:
    """And nobody was told, which is said along with it."""
    held.wake_ups = lambda *_: []
    kill_at(Locks, "answer", behind=True)


def url() -> str:
    found = database_url(get_settings())
    assert found is not None
    return found


def answer_it(fid: str) -> None:
    (lock,) = locks(url(), fid)
    answer(url(), fid, lock["lid"], "yes")


def execute_leg(fid: str) -> None:
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(fid))
    drive(asks, run_flow(asks, flow_run=run, return_type="state"))


def resume(fid: str) -> None:
    @asynccontextmanager
    async def api() -> AsyncIterator[PrefectClient]:
        async with get_client() as client:
            yield client

    async def look() -> None:
        async with Reader(url(), "kodosumi", 2) as reader:
            await resuming.resume(fid, reader, api)

    asyncio.run(look())


def observe(_: str) -> None:
    """The whole observer, which finds that run among others."""
    asyncio.run(Observer(get_settings()).run())


def answered_meanwhile(fid: str) -> None:
    """Somebody answers in the moment in which Prefect suspends the run."""
    set_state = ending._set

    def answered(*arguments: Any) -> Any:
        state = set_state(*arguments)
        answer_it(fid)
        return state

    ending._set = answered


Step = Callable[[str], None]
SUSPENDING: dict[str, Step] = {
    "before its row says so": lambda _: kill_at(Spooler, "query", False, "suspend"),
    "before Prefect suspends it": lambda _: kill_at(ending, "_set", behind=False),
    "once Prefect suspended it": lambda _: kill_at(ending, "_set", behind=True),
    "before it resumes itself": lambda fid: (
        answered_meanwhile(fid),
        kill_at(SyncPrefectClient, "resume_flow_run", behind=False),
    )[-1],
    "once it resumed itself": lambda fid: (
        answered_meanwhile(fid),
        kill_at(SyncPrefectClient, "resume_flow_run", behind=True),
    )[-1],
}
RESUMING: dict[str, Step] = {
    "once it claimed the run": lambda _: kill_at(PrefectClient, "read_flow_run", behind=False),
    "before Prefect resumes it": lambda _: kill_at(PrefectClient, "resume_flow_run", behind=False),
    "once Prefect resumed it": lambda _: kill_at(PrefectClient, "resume_flow_run", behind=True),
    "once the row says so": lambda _: kill_at(Reader, "execute", True, "not_suspended"),
}
OBSERVING: dict[str, Step] = {
    "before it claims the run": lambda _: kill_at(Reader, "values", False, "claim_resuming"),
    "once it claimed the run": lambda _: kill_at(Reader, "values", True, "claim_resuming"),
    **{step: RESUMING[step] for step in list(RESUMING)[1:]},
}
ANSWERING: dict[str, Step] = {
    "before the answer is stored": lambda _: kill_at(Held, "store", behind=True),
    "once the answer is stored": lambda _: kill_once_it_is_stored(),
}
WORK: dict[str, tuple[dict[str, Step], Step]] = {
    "leg": (SUSPENDING, execute_leg),
    "resume": (RESUMING, resume),
    "observe": (OBSERVING, observe),
    "answer": (ANSWERING, answer_it),
}


def body(what: str, step: str, fid: str) -> None:
    steps, work = WORK[what]
    ending.CLAIM = resuming.CLAIM = CLAIM
    steps[step](fid)
    work(fid)


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            body(**json.loads(line))
            os._exit(0)  # it was not killed
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
