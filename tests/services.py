"""Prefect, Ray and a database for runs: each started once a session, at its first use."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import psycopg
import pytest
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.flows import Flow
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row, namedtuple_row

from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.settings import PREFIX, Settings, use_settings, write_address
from kodosumi_prefect.stack.child import Child, RunningChild
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stack.keeper import end_family
from kodosumi_prefect.stack.ports import free_port
from kodosumi_prefect.stack.prefect_server import plan_server, server_child
from kodosumi_prefect.stack.ray_head import plan_ray, ray_child
from tests import prefect_database
from tests.https_receiver import HttpsReceiver, receiving_https
from tests.prefect_http import AUTH_STRING, ask_prefect
from tests.waiting import wait_for

TESTS = Path(__file__).parent
SAMPLES = TESTS / "samples"
DRAINED_WITHIN = 10.0  # seconds for Prefect's logs and events of this process to be sent


@contextmanager
def served(child: Child, log_dir: Path) -> Iterator[RunningChild]:
    """A service that is ready, and ends with all its processes."""
    running = RunningChild(child, log_dir)
    try:
        deadline = time.monotonic() + child.timeout
        while child.ready is not None and not child.ready():
            assert running.exit_code is None, running.failure(f"ended with {running.exit_code}")
            assert time.monotonic() < deadline, running.failure("is not ready")
            time.sleep(0.05)
        yield running
    finally:
        end_family(running.record, running.popen.poll)


@pytest.fixture(scope="session")
def https_receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsReceiver]:
    """Whom the session's Prefect server reaches by any https address."""
    with receiving_https(tmp_path_factory.mktemp("https")) as receiver:
        yield receiver


@pytest.fixture(scope="session")
def prefect_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data dir of the session's Prefect server."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def prefect_server(prefect_data: Path, https_receiver: HttpsReceiver) -> Iterator[str]:
    """The API URL of a Prefect server of this session's own, which wants ``AUTH``."""
    settings = Settings(data_dir=prefect_data)
    prefect_database.put_into(settings.data_dir)
    (settings.data_dir / "prefect" / "auth").write_text(AUTH_STRING)
    access = plan_server(settings, free_port())
    child = server_child(settings, access)
    child = replace(child, env={**child.env, **https_receiver.environment})
    with served(child, settings.data_dir):
        prefect_database.take_from(settings.data_dir)
        yield access.url
        # Else they would go on sending to this server what belongs to the next one.
        for delivery in (EventsWorker, APILogWorker):
            delivery.drain_all(timeout=DRAINED_WITHIN, at_exit=False)


def record_prefect(settings: Settings, url: str) -> None:
    """Write the session's Prefect server down in a data dir, as `up` does with its own."""
    path = settings.data_dir / "auth-of-prefect"
    path.write_text(AUTH_STRING)
    write_address(settings, "prefect", {"url": url, "auth_path": str(path)})


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, postgres: EmbeddedPostgres) -> Settings:
    """Settings of a data dir in which a database is recorded, as `up` does it."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE runs TEMPLATE template_kodosumi")
    settings = Settings(data_dir=tmp_path_factory.mktemp("site"), heartbeat_interval=1.0)
    write_address(settings, "postgres", {"url": make_conninfo(postgres.url, dbname="runs")})
    return settings


@pytest.fixture(scope="session")
def ray_cluster(site: Settings, prefect_server: str) -> Iterator[str]:
    """The address of a Ray of this session's own, recorded in the data dir of ``site``."""
    head = plan_ray(site)
    environment = {
        f"{PREFIX}DATA_DIR": str(site.data_dir),
        "PREFECT_API_URL": prefect_server,
    }
    with served(ray_child(head, environment), site.data_dir / "logs") as running:
        write_address(site, "ray", head.recorded(running.popen.pid))
        yield head.address
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        write_address(site, "ray", None)


class Event(NamedTuple):
    """An event as it is stored."""

    seq: int
    kind: str
    payload: str
    attempt: int
    source: dict[str, Any] | None

    @property
    def value(self) -> Any:
        """What its envelope holds."""
        (value,) = orjson.loads(self.payload).values()
        return value


class Recorded(NamedTuple):
    """An execution as the database has it, and Prefect's state if it was run here."""

    fid: str
    row: dict[str, Any]
    events: list[Event]
    state: State[Any] | None = None

    def of(self, *kinds: str) -> list[str]:
        """The payloads of some kinds, in order."""
        return [event.payload for event in self.events if event.kind in kinds]

    @property
    def told(self) -> list[tuple[str, str]]:
        """Kinds and payloads but for the long ones every stream begins with."""
        return [(e.kind, e.payload) for e in self.events if e.kind not in ("meta", "inputs")]

    @property
    def final(self) -> Any:
        """The stored result, read from its envelope."""
        return orjson.loads(self.row["final"]) if self.row["final"] is not None else None


class Place:
    """Where tests run flows: Prefect, data dir and database, and what was recorded there."""

    def __init__(self, settings: Settings, database: str, api_url: str) -> None:
        self.settings = settings
        self.database = database
        self.api_url = api_url

    def run(self, flow: Flow[..., Any], *args: Any, **kwargs: Any) -> Recorded:
        """Run a sync flow to its end; what was recorded by then."""
        state = flow(*args, **kwargs, return_state=True)
        return self.recorded(str(state.state_details.flow_run_id))._replace(state=state)

    async def run_async(self, flow: Flow[..., Any], *args: Any, **kwargs: Any) -> Recorded:
        """Run an async flow to its end; what was recorded by then."""
        state = await flow(*args, **kwargs, return_state=True)
        return self.recorded(str(state.state_details.flow_run_id))._replace(state=state)

    def recorded(self, fid: str) -> Recorded:
        """What the database has of an execution now; checks that its seq has no gap."""
        with psycopg.connect(self.database) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            row = (
                connection.cursor(row_factory=dict_row)
                .execute("SELECT * FROM kodosumi.execution WHERE fid = %s", (fid,))
                .fetchone()
            )
            assert row is not None, f"{fid} is not recorded"
            stored = connection.execute(
                "SELECT seq, kind, payload, attempt, source FROM kodosumi.event"
                " WHERE execution_id = %s ORDER BY seq",
                (row["id"],),
            ).fetchall()
        events = [Event(*found) for found in stored]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert row["last_seq"] == len(events)
        return Recorded(fid, row, events)

    def has(self, fid: str) -> bool:
        """Whether an execution is recorded by now."""
        with psycopg.connect(self.database) as connection:
            query = "SELECT FROM kodosumi.execution WHERE fid = %s"
            return connection.execute(query, (fid,)).fetchone() is not None

    def fids(self, flow_name: str) -> list[str]:
        """The executions of a flow, oldest first."""
        with psycopg.connect(self.database, row_factory=namedtuple_row) as connection:
            found = connection.execute(
                "SELECT fid::text FROM kodosumi.execution WHERE flow_name = %s ORDER BY id",
                (flow_name,),
            )
            return [row.fid for row in found]

    def until_ended(self, fid: str, seconds: float = 30.0) -> Recorded:
        """Wait until an execution's stream is over."""
        return wait_for(
            lambda: found if (found := self.recorded(fid)).row["ended_seq"] else None,
            seconds,
            f"the end of {fid}",
        )

    def environment(self, **more: str) -> dict[str, str]:
        """For processes that run flows here."""
        names = ("PATH", "HOME", "LANG", "PYTHONPATH", "SSL_CERT_FILE")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        return {
            **kept,
            "PREFECT_API_URL": self.api_url,
            "PREFECT_API_AUTH_STRING": AUTH_STRING,
            "PREFECT_HOME": str(self.settings.data_dir / "home"),
            f"{PREFIX}DATA_DIR": str(self.settings.data_dir),
            "PYTHONUNBUFFERED": "1",
            **more,
        }

    def void_locks(self) -> None:
        """Nobody waits any more: the next test finds no locks but its own."""
        with psycopg.connect(self.database) as connection:
            connection.execute("UPDATE kodosumi.lock SET state = 'void' WHERE state = 'open'")

    def start(self, script: str | Path, *args: str, **more: str) -> "subprocess.Popen[str]":
        """Start ``python script`` of ``tests/samples``; ``more`` goes into its environment."""
        return subprocess.Popen(
            [sys.executable, str(SAMPLES / script), *args],
            env=self.environment(**more),
            cwd=self.settings.data_dir,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(
        self, script: str | Path, *args: str, seconds: float = 60, **more: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run ``python script`` of ``tests/samples`` to its end."""
        with self.start(script, *args, **more) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                out, err = process.communicate()
                raise AssertionError(f"{script} did not end:\n{out}\n{err}") from None
        return subprocess.CompletedProcess(script, process.returncode, out, err)


def in_force(api_url: str) -> dict[Any, Any]:
    """Prefect's settings for flows that run in the test's process."""
    return {
        PREFECT_API_URL: api_url,
        PREFECT_API_AUTH_STRING: AUTH_STRING,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # ending its thread takes Prefect a second a run
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }


@pytest.fixture
def place(site: Settings, postgres: EmbeddedPostgres, prefect_server: str) -> Iterator[Place]:
    """The session's Prefect and database, in force in this process."""
    settings_module.reset_settings(site)
    try:
        with use_settings(site), temporary_settings(in_force(prefect_server)):
            found = Place(site, make_conninfo(postgres.url, dbname="runs"), prefect_server)
            try:
                yield found
            finally:
                found.void_locks()
    finally:
        settings_module.reset_settings()


@pytest.fixture
def ray_place(place: Place, ray_cluster: str) -> Place:
    """``place`` with a Ray cluster."""
    return place


@pytest.fixture
def no_pools(place: Place) -> None:
    """A Prefect without the work pools that other tests left there."""

    def all_gone() -> bool:
        pools = ask_prefect("POST", f"{place.api_url}/work_pools/filter", json={})
        for pool in pools.raise_for_status().json():
            ask_prefect("DELETE", f"{place.api_url}/work_pools/{pool['name']}")
        return pools.json() == []

    wait_for(all_gone, 60, "no work pools")
