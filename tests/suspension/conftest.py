"""Runs of deployments whose legs are executed here, as a worker of their pool would."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.flows import Flow
from prefect.states import Pending
from psycopg.rows import dict_row

from kodosumi_prefect._compat.prefect import drive
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.suspension.resuming import resume
from tests.answering import answer, locks
from tests.services import Place, Recorded


class Legs:
    """A run of a flow's deployment, leg by leg.

    Arguments:
        pool: name of the deployment's work pool; None for none.
    """

    def __init__(
        self, place: Place, flow: Flow[..., Any], pool: str | None, **parameters: Any
    ) -> None:
        self.place = place
        self.flow = flow
        with get_client(sync_client=True) as client:
            flow_id = client.create_flow(flow)
            deployment = client.create_deployment(
                flow_id, name=uuid4().hex, work_pool_name=pool, enforce_parameter_schema=False
            )
            run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        self.deployment = deployment
        self.id = run.id
        self.fid = str(run.id)

    @property
    def run(self) -> FlowRun:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(self.id)

    @property
    def row(self) -> dict[str, Any]:
        with psycopg.connect(self.place.database, row_factory=dict_row) as connection:
            query = "SELECT * FROM kodosumi.execution WHERE fid = %s"
            row = connection.execute(query, [self.fid]).fetchone()
        assert row is not None
        return row

    @property
    def recorded(self) -> Recorded:
        return self.place.recorded(self.fid)

    def leg(self) -> bool:
        """Execute a leg; whether the run was suspended at its end."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(self.id, Pending())
            run = client.read_flow_run(self.id)
        try:
            drive(self.flow, run_flow(self.flow, flow_run=run, return_type="state"))
        except Pause:
            return True
        return False

    def answer(self, result: Any) -> None:
        """Answer its oldest question."""
        lock = locks(self.place.database, self.fid)[0]
        answer(self.place.database, self.fid, lock["lid"], result)

    def resume(self) -> bool:
        """Have it go on if it is due, as panel and observer do; whether this did."""
        return asyncio.run(resumed(self.place, self.fid))


class Background:
    """A leg in a thread."""

    def __init__(self, run: Legs) -> None:
        self._thread = threading.Thread(target=copy_context().run, args=[run.leg])
        self._thread.start()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


async def resumed(place: Place, fid: str) -> bool:
    @asynccontextmanager
    async def api() -> Any:
        async with get_client() as client:
            yield client

    async with Reader(place.database, "kodosumi", 2) as reader:
        return await resume(fid, reader, api)


@pytest.fixture(scope="session")
def work_pools() -> list[str]:
    """The names of pools that were made."""
    return []


@pytest.fixture
def legs(place: Place) -> Iterator[Any]:
    """Makes runs of deployments."""
    name = f"pool-{uuid4().hex[:8]}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))

        def make(flow: Flow[..., Any], pool: str | None = name, **parameters: Any) -> Legs:
            return Legs(place, flow, pool, **parameters)

        yield make
        client.delete_work_pool(name)


def limited(deployment: UUID, limit: int) -> None:
    """Give a deployment a concurrency limit."""
    with get_client(sync_client=True) as client:
        client.request(
            "PATCH",
            "/deployments/{id}",
            path_params={"id": deployment},
            json={"concurrency_limit": limit},
        ).raise_for_status()
