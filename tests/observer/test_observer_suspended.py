"""What a leader asks Prefect about suspended runs, of which there may be thousands."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration.base import BaseAsyncClient

from kodosumi_prefect.events import serialize
from kodosumi_prefect.observer import reconciler
from kodosumi_prefect.observer.ancestry import Ancestry
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.arrivals import Arrivals
from kodosumi_prefect.observer.chosen import Selection
from kodosumi_prefect.observer.logs import Logs
from kodosumi_prefect.observer.reconciler import Reconciler
from kodosumi_prefect.observer.recorder import Recorder
from kodosumi_prefect.observer.runs import Runs
from kodosumi_prefect.observer.subscription import Subscription
from kodosumi_prefect.spooler import client as spool
from kodosumi_prefect.stream.reader import Reader
from tests.observer.watching import Watch, api, enter, made_run
from tests.panel.panel_runs import Run
from tests.prefect_http import ask_prefect
from tests.spooler.recording import execute

COUNT = "/flow_runs/count"
READ = "/flow_runs/filter"
DEPLOYMENTS = "/deployments/filter"  # whether they are there


class Leader:
    """The part of an observer that compares runs with Prefect.

    Attributes:
        asked: the paths that were asked for since ``look`` began.
    """

    def __init__(self, watch: Watch, reader: Reader, prefect: Api) -> None:
        settings = watch.settings
        recorder, chosen = Recorder(spool.get_client(settings)), Selection(settings, prefect)
        self.asked: list[str] = []
        self._logs = Logs(reader, prefect, recorder, Ancestry(prefect))
        runs = Runs(reader, prefect, recorder, chosen, self._logs, settings.heartbeat_timeout)
        heard = Subscription(time.time())
        comparing = Reconciler(settings, reader, prefect, runs, chosen, self._logs, heard)
        self.search = comparing.search
        self._rounds = [
            comparing.look,
            self._logs.look,
            Arrivals(settings, reader, prefect).look,
        ]

    async def look(self) -> list[str]:
        """One round of each; what was asked."""
        self.asked.clear()
        for look in self._rounds:
            await look()
        return self.asked


@pytest.fixture
async def leader(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Leader]:
    monkeypatch.setattr(reconciler, "ALWAYS", 0.0)  # each look is one of those of every minute
    asks = BaseAsyncClient.request
    async with Reader(watch.database, "kodosumi", 2) as reader, Api() as prefect:
        made = Leader(watch, reader, prefect)

        async def request(self: Any, method: str, path: str, **more: Any) -> Any:
            made.asked.append(path)
            return await asks(self, method, path, **more)

        monkeypatch.setattr(BaseAsyncClient, "request", request)
        yield made


def suspended(watch: Watch) -> str:
    """A run that was suspended long ago."""
    pool = api(watch, "/work_pools/", name=f"pool-{uuid4().hex[:8]}", type="process")["name"]
    flow = api(watch, "/flows/", name="made-by-hand")["id"]
    made = api(watch, "/deployments/", name=pool, flow_id=flow, work_pool_name=pool)["id"]
    fid = str(api(watch, f"/deployments/{made}/create_flow_run", state={"type": "RUNNING"})["id"])
    details = {"pause_reschedule": True, "pause_key": "leg-0"}
    enter(watch, fid, "PAUSED", name="AwaitingInput", state_details=details)
    run = Run(watch.database)
    run.fid = fid
    run.begin().say("lock", serialize({"name": "a", "lid": fid, "expires": time.time() + 3600}))
    run.close()
    state = ask_prefect("GET", f"{watch.api_url}/flow_runs/{fid}").json()["state"]
    execute(
        watch.database,
        "UPDATE kodosumi.execution SET suspended_leg = 0, process = NULL, heartbeat_at = NULL,"
        f" resume_at = now() + interval '1 hour', state_ts = '{state['timestamp']}',"
        " status = 'awaiting', state_type = 'PAUSED', state_name = 'AwaitingInput',"
        f" created_at = now() - interval '1 hour' WHERE fid = '{fid}'",
    )
    return fid


async def test_of_suspended_runs_that_nothing_happened_to_one_count_is_asked(
    watch: Watch, leader: Leader
) -> None:
    for _ in range(3):
        suspended(watch)
    assert await leader.look() == [READ, DEPLOYMENTS]
    for _ in range(2):
        assert await leader.look() == [COUNT]
    suspended(watch)
    assert await leader.look() == [COUNT, READ, DEPLOYMENTS]  # of the one that is new
    assert await leader.look() == [COUNT]


@pytest.mark.parametrize("change", ["cancelled", "deleted", "deployment", "pool"])
async def test_what_happens_to_one_of_them_is_noticed_without_an_event(
    watch: Watch, leader: Leader, change: str
) -> None:
    fid = suspended(watch)
    suspended(watch)
    await leader.look()
    assert await leader.look() == [COUNT]
    run = ask_prefect("GET", f"{watch.api_url}/flow_runs/{fid}").json()
    gone = {
        "deleted": f"/flow_runs/{fid}",
        "deployment": f"/deployments/{run['deployment_id']}",
        "pool": f"/work_pools/{run['work_pool_name']}",
    }
    if change == "cancelled":
        enter(watch, fid, "CANCELLED")
    else:
        ask_prefect("DELETE", f"{watch.api_url}{gone[change]}").raise_for_status()
    assert READ in await leader.look()
    if change in ("deployment", "pool"):
        state = ask_prefect("GET", f"{watch.api_url}/flow_runs/{fid}").json()["state"]
        assert state["type"] == "CRASHED"
        assert "was deleted" in state["message"]
    if change == "cancelled":
        async with asyncio.timeout(30):
            while watch.recorded(fid).row["state_type"] != "CANCELLED":
                await leader.look()


async def test_runs_that_are_paused_for_long_are_looked_for_once(watch: Watch) -> None:
    paused = made_run(watch, tags=[watch.tag], state={"type": "RUNNING"})
    enter(watch, paused, "PAUSED", name="AwaitingInput")
    running = made_run(watch, tags=[watch.tag], state={"type": "RUNNING"})
    settings = watch.settings.model_copy(update={"observe_tags": [watch.tag]})

    async with Api() as prefect:

        async def found(since: float, long_paused: bool = False) -> set[str]:
            runs = Selection(settings, prefect).find(since, long_paused=long_paused)
            return {str(run.id) async for run in runs if watch.tag in run.tags}

        assert await found(0.0) == {paused, running}
        later = time.time() + 60
        assert await found(later) == {running}
        assert await found(later, long_paused=True) == {paused, running}


async def test_a_leader_looks_for_them_in_its_first_search(
    leader: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def find(_: Runs, __: float, *, long_paused: bool) -> None:
        asked.append(long_paused)

    monkeypatch.setattr(Runs, "find", find)
    for _ in range(2):
        await leader.search()
    assert asked == [True, False]
