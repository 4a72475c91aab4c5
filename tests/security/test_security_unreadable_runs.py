"""Runs and deployments that Prefect cannot write down, as anybody with its API can make them."""

import asyncio
import json
import logging
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client import base
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import temporary_settings

from kodosumi_prefect.keys import make_secret
from kodosumi_prefect.launch import other_schedules, schedules
from kodosumi_prefect.launch.firing import When
from kodosumi_prefect.listings import flow_runs, flow_runs_by_id, narrowed
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.panel.executions import cancellation
from kodosumi_prefect.panel.services.register import deployments
from kodosumi_prefect.process.order import Facts, Order
from kodosumi_prefect.runner.arrival import Demand
from kodosumi_prefect.runner.cluster import Cluster, RunnerHandle
from kodosumi_prefect.runner.registry import Registry
from kodosumi_prefect.runner.supervisor import Supervisor, Watched
from kodosumi_prefect.runner.warm import Waiting, WarmPool
from kodosumi_prefect.runner.worker import KodosumiRayWorker
from kodosumi_prefect.settings import Settings
from tests.observer.watching import Watch, enter, observing
from tests.prefect_http import ask_prefect
from tests.services import Place, in_force
from tests.waiting import wait_for

HUGE = '{"n": 99999999999999999999}'  # read by itself, but in no list
HALF = '{"n": "a\\ud800b"}'  # read in no way; nor is what is due of its pool
DEEP = '{"n": ' + "[" * 300 + "]" * 300 + "}"  # likewise
GOOD = '{"n": 1}'


class Prefect:
    """The session's Prefect by its API, with a work pool and what is made in it for one test."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.pool = f"unreadable-{uuid4().hex[:8]}"
        self.ask("POST", "work_pools/", {"name": self.pool, "type": "kodosumi-ray"})
        self.flow = self.ask("POST", "flows/", {"name": self.pool}).json()["id"]
        self.deployment = self.deploy("good", GOOD)

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Body as an object, or as JSON text that no library would write."""
        text = body if isinstance(body, str) else json.dumps(body if body is not None else {})
        headers = {"content-type": "application/json"}
        return ask_prefect(method, f"{self._url}/{path}", content=text, headers=headers, again=True)

    def deploy(self, name: str, parameters: str) -> str | None:
        body = (
            f'{{"name": "{name}-{self.pool}", "flow_id": "{self.flow}", "work_pool_name": '
            f'"{self.pool}", "enforce_parameter_schema": false, "parameters": {parameters}}}'
        )
        answer = self.ask("POST", "deployments/", body)
        return str(answer.json()["id"]) if answer.is_success else None

    def run(self, parameters: str, state: str = "SCHEDULED", **more: Any) -> UUID:
        """A run of the deployment, made however Prefect answers."""
        before = set(self.runs())
        body = {"state": {"type": state}, **more}
        text = json.dumps(body)[:-1] + f', "parameters": {parameters}}}'
        self.ask("POST", f"deployments/{self.deployment}/create_flow_run", text)
        [made] = set(self.runs()) - before
        return made

    def runs(self) -> list[UUID]:
        """All of the pool."""
        of_pool = {"name": {"any_": [self.pool]}}
        answer = self.ask("POST", "ui/flow_runs/history", {"work_pools": of_pool})
        return [UUID(row["id"]) for row in answer.json()]

    def enter(self, run: UUID, state: str) -> None:
        body = {"state": {"type": state}, "force": True}
        assert self.ask("POST", f"flow_runs/{run}/set_state", body).is_success

    def state(self, run: UUID) -> str:
        states = self.ask("GET", f"flow_run_states/?flow_run_id={run}").json()
        return str(max(states, key=lambda state: state["timestamp"])["type"])

    def due(self) -> httpx.Response:
        soon = (datetime.now(UTC) + timedelta(seconds=10)).isoformat()
        path = f"work_pools/{self.pool}/get_scheduled_flow_runs"
        return self.ask("POST", path, {"scheduled_before": soon})

    def clean(self) -> None:
        for run in self.runs():
            self.ask("DELETE", f"flow_runs/{run}")
        self.ask("DELETE", f"work_pools/{self.pool}")
        self.ask("DELETE", f"flows/{self.flow}")


@pytest.fixture(autouse=True)
def asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault closes the connection, and Prefect's client would wait 2 s before it asks again."""
    monkeypatch.setattr(base, "clamped_poisson_interval", lambda *_: 0.01)


@pytest.fixture
def prefect(prefect_server: str) -> Iterator[Prefect]:
    made = Prefect(prefect_server)
    try:
        yield made
    finally:
        made.clean()
        answer = made.ask("POST", "flow_runs/filter")
        assert answer.is_success, "the session's Prefect is left with a run that it cannot list"


@pytest.fixture
def watch(settings: Settings, database: str, prefect_server: str) -> Iterator[Watch]:
    with temporary_settings(in_force(prefect_server)):
        yield Watch(settings, database, prefect_server)


def of_pool(prefect: Prefect) -> dict[str, Any]:
    return {"work_pool_filter": WorkPoolFilter(name=WorkPoolFilterName(any_=[prefect.pool]))}


def supervisor(prefect: Prefect, settings: Settings, client: PrefectClient) -> Supervisor:
    """One that has just begun, with a lease that has lapsed."""
    cluster = Cluster(settings, f"kodosumi-{uuid4()}")

    async def resolve(_: Any) -> Any:
        raise AssertionError("nothing here waits for a place")

    return Supervisor(
        cluster=cluster,
        registry=Registry(settings, "tested", 0.0),
        warm=WarmPool(cluster, 0),
        processors=lambda: 1.0,
        pool=prefect.pool,
        client=client,
        resolve=resolve,
        start=lambda work: (started.append(work.cr_frame.f_locals["fid"]), work.close()),
        grace=1.0,
        claim_seconds=0.0,
    )


started: list[UUID] = []  # runs whose cancellation began


async def test_a_list_has_all_runs_that_can_be_read_and_tells_of_the_others_once(
    place: Place, prefect: Prefect, caplog: pytest.LogCaptureFixture
) -> None:
    good = [prefect.run(GOOD) for _ in range(3)]
    huge, half, deep = prefect.run(HUGE), prefect.run(HALF), prefect.run(DEEP)
    good.append(prefect.run(GOOD))
    with caplog.at_level(logging.WARNING, "kodosumi_prefect.listings"):
        async with get_client() as client:
            for _ in range(3):
                page = await flow_runs(client, **of_pool(prefect))
                assert {run.id for run in page.rows} == {*good, huge}
                assert page.unreadable == {half, deep}
                assert page.last
            [there] = [run for run in page.rows if run.id == huge]
            assert there.parameters == {"n": 99999999999999999999}
            by_id = await flow_runs_by_id(client, [*good, huge, half, uuid4()])
            assert by_id.rows.keys() == {*good, huge}
            assert by_id.unreadable == {half}
            pages, offset = [], 0
            while not pages or not pages[-1].last:
                pages.append(
                    await flow_runs(
                        client,
                        limit=2,
                        offset=offset,
                        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
                        **of_pool(prefect),
                    )
                )
                offset += 2
            assert {run.id for page in pages for run in page.rows} == {*good, huge}
    for run in (huge, half, deep):
        assert sum(str(run) in line for line in caplog.messages) == 1
    assert len(caplog.messages) == 3


async def test_a_list_of_nothing_but_faults_is_an_outage(place: Place) -> None:
    asked = []

    async def read(limit: int, offset: int) -> list[Any]:
        asked.append(limit)
        answer = httpx.Response(500, request=httpx.Request("POST", "http://prefect"))
        raise httpx.HTTPStatusError("500", request=answer.request, response=answer)

    with pytest.raises(httpx.HTTPStatusError):
        await narrowed(read, "nothing")
    assert len(asked) < 100


async def test_a_worker_sees_cancellations_and_abandoned_runs_beside_unreadable_ones(
    place: Place, prefect: Prefect
) -> None:
    cancelled, abandoned = prefect.run(GOOD), prefect.run(GOOD)
    huge, half = prefect.run(HUGE), prefect.run(HALF)
    for run in (cancelled, huge):
        prefect.enter(run, "PENDING")  # else Prefect cancels it by itself
        prefect.enter(run, "CANCELLING")
    prefect.enter(abandoned, "PENDING")
    prefect.enter(half, "PENDING")
    async with get_client() as client:
        found = supervisor(prefect, place.settings, client)
        for run in (cancelled, huge, half):
            found._watched[run] = Watched(None, None)  # type: ignore[arg-type]
        started.clear()
        await found.tend()
        assert set(started) == {cancelled, huge}
        assert await found.adopt(set())
        await found._registry.close()
    assert prefect.state(abandoned) == "SCHEDULED"


async def test_a_run_whose_runner_dies_while_it_is_cancelled_is_seen_to_at_once(
    place: Place, prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, ends = prefect.run(GOOD), Future[Any]()
    for state in ("PENDING", "RUNNING", "CANCELLING"):
        prefect.enter(run, state)
    runner = cast(RunnerHandle, SimpleNamespace(name="dying", run=lambda order: ends))

    async def placed(*_: Any) -> Waiting:
        return Waiting(runner, cast(Facts, None), "key")

    async with get_client() as client:
        found = supervisor(prefect, place.settings, client)
        monkeypatch.setattr(found, "_place", placed)
        flow_run = await client.read_flow_run(run)
        demand, order = cast(Demand, None), cast(Order, None)
        executed = asyncio.create_task(found.execute(flow_run, demand, order, lambda _: None))
        cancelled = asyncio.create_task(found.cancel(run))
        await asyncio.to_thread(wait_for, lambda: run in found._ending)
        ends.set_exception(RuntimeError("its machine is on fire"))
        await cancelled
        assert await executed is None
        await found._registry.close()
        last = (await client.read_flow_run(run)).state
    assert last is not None and last.is_cancelled()
    assert last.message == "Flow run was cancelled; its machine is on fire."


@pytest.mark.parametrize("parameters", [HALF, DEEP])
async def test_a_run_that_keeps_workers_from_all_others_is_reported_as_crashed(
    place: Place, prefect: Prefect, parameters: str
) -> None:
    good = prefect.run(GOOD)
    bad = prefect.run(parameters)
    assert prefect.due().status_code == 500
    worker = KodosumiRayWorker(work_pool_name=prefect.pool)
    async with get_client() as client:
        worker._client = client
        worker._supervisor = supervisor(prefect, place.settings, client)
        found = await worker._get_scheduled_flow_runs()
        assert [entry.flow_run.id for entry in found] == [good]
    assert prefect.state(bad) == "CRASHED"
    assert prefect.due().is_success


async def test_runs_are_cancelled_beside_unreadable_ones_and_those_as_well(
    place: Place, prefect: Prefect
) -> None:
    good, huge, half = prefect.run(GOOD), prefect.run(HUGE), prefect.run(HALF)
    for run in (good, huge, half):
        assert await cancellation.cancel(run, "tested") in ("Cancelled", "Cancelling")
    assert {prefect.state(run) for run in (good, huge, half)} == {"CANCELLED"}


def test_an_observer_records_what_runs_beside_unreadable_runs(
    watch: Watch, prefect: Prefect
) -> None:
    huge, half = prefect.run(HUGE), prefect.run(HALF)
    good = prefect.run(GOOD)
    for run in (huge, half, good):
        prefect.enter(run, "RUNNING")  # before anybody observes, so that lists have to tell
    # Nobody executes them: an observer would report that before slow lists are through.
    with observing(watch, heartbeat_timeout=600):
        for run in (good, huge):
            wait_for(lambda run=run: watch.known(str(run)), 30, f"{run} to be recorded")
        enter(watch, str(good), "COMPLETED")
        enter(watch, str(half), "COMPLETED")
        assert watch.until_ended(str(good)).row["status"] == "finished"
        later = prefect.run(GOOD)
        prefect.enter(later, "RUNNING")
        enter(watch, str(later), "COMPLETED")
        assert watch.until_ended(str(later)).row["status"] == "finished"


async def test_deployments_and_schedules_are_listed_beside_unreadable_ones(
    place: Place, prefect: Prefect
) -> None:
    make_secret(place.settings)
    assert prefect.deployment is not None
    when = await When.of({"interval": 3600})
    settings = place.settings.model_copy(update={"register_work_pools": [prefect.pool]})
    owner = str(uuid4())
    mine = await schedules.create(
        prefect.deployment, when, {"n": 1}, Owner(owner, "ada"), settings=settings
    )
    spoilt_one = prefect.deploy("spoilt", GOOD)
    assert spoilt_one is not None
    other = await schedules.create(
        spoilt_one, when, {"n": 1}, Owner(owner, "ada"), settings=settings
    )
    text = f'[{{"active": false, "schedule": {{"interval": 3600}}, "parameters": {HALF}}}]'
    prefect.ask("POST", f"deployments/{spoilt_one}/schedules", text)
    try:
        assert prefect.ask("POST", "deployments/filter").status_code == 500
        assert [each.deployment_id for each in await deployments.find(settings)] == [
            prefect.deployment
        ]
        assert [row["id"] for row in await schedules.schedules_of(owner, settings)] == [mine]
        assert isinstance(await other_schedules.others([mine], settings), list)
        times = await other_schedules.next_times([prefect.deployment, spoilt_one], [], settings)
        assert times.keys() == {prefect.deployment}
    finally:
        for row in prefect.ask("GET", f"deployments/{prefect.deployment}").json()["schedules"]:
            await schedules.delete(row["id"], None, settings)
        kept = await schedules.remembered(owner, settings)
        prefect.ask("DELETE", f"deployments/{spoilt_one}")
    # What cannot be read now was not taken for deleted.
    assert [row["id"] for row in kept] == [other]


async def test_what_cannot_be_read_is_left_out_of_any_list(place: Place, prefect: Prefect) -> None:
    names = [f"spoilt-{number}" for number in range(7)]
    made = {name: prefect.deploy(name, GOOD) for name in names}
    text = f'[{{"active": false, "schedule": {{"interval": 3600}}, "parameters": {HALF}}}]'
    prefect.ask("POST", f"deployments/{made['spoilt-3']}/schedules", text)
    async with get_client() as client:

        async def read(limit: int, offset: int) -> list[DeploymentResponse]:
            return await client.read_deployments(limit=limit, offset=offset, **of_pool(prefect))

        try:
            page = await narrowed(read, "deployment")
        finally:
            prefect.ask("DELETE", f"deployments/{made['spoilt-3']}")
    assert page.last
    assert {str(row.id) for row in page.rows} == {
        *(id_ for name, id_ in made.items() if name != "spoilt-3"),
        prefect.deployment,
    }
