"""Observers under test: in a thread of the test's process, or as the command."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from psycopg.rows import dict_row

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.observer.observer import Observer
from kodosumi_prefect.settings import PREFIX, Settings, use_settings
from tests.prefect_http import AUTH_STRING, ask_prefect
from tests.services import SAMPLES, Place, Recorded
from tests.waiting import wait_for

COMMAND = [sys.executable, "-m", "kodosumi_prefect.cli", "observer"]
STOPS_WITHIN = 10.0  # seconds


class Watch(Place):
    """A database of one test's own beside the session's Prefect server."""

    def __init__(self, settings: Settings, database: str, api_url: str) -> None:
        super().__init__(settings, database, api_url)
        self.tag = f"watched-{uuid4().hex[:8]}"

    def environment(self, **more: str) -> dict[str, str]:
        ours = {f"{PREFIX}DATABASE_URL": self.database, "PYTHONPATH": str(SAMPLES.parents[1])}
        return super().environment(**ours, **more)

    def plain(self, lines: int = 3, fails: bool = False, seconds: float = 0.0, **more: str) -> str:
        """Run the plain flow in a process of its own to its end; its flow run's id."""
        words = (str(lines), "fails" if fails else "ends", str(seconds))
        done = self.call("plain_flow.py", more.pop("tag", self.tag), *words, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    def start_plain(self, lines: int, seconds: float, **more: str) -> "subprocess.Popen[str]":
        return self.start("plain_flow.py", self.tag, str(lines), "ends", str(seconds), **more)

    def until_ended(self, fid: str, seconds: float = 30.0) -> Recorded:
        wait_for(lambda: self.known(fid), seconds, f"{fid} to be recorded")
        return super().until_ended(fid, seconds)

    def known(self, fid: str) -> bool:
        return bool(self.rows("SELECT 1 FROM kodosumi.execution WHERE fid = %s", fid))

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.database, row_factory=dict_row) as connection:
            return connection.execute(query, parameters).fetchall()  # type: ignore[arg-type]

    def observers(self) -> dict[str, dict[str, Any]]:
        """What observers say of themselves, by name."""
        rows = self.rows("SELECT * FROM kodosumi.service WHERE kind = 'observer'")
        return {row["name"]: row for row in rows}

    def until_led(self) -> None:
        """Wait until an observer leads and hears Prefect's events."""
        wait_for(
            lambda: any(row["info"].get("streaming") for row in self.observers().values()),
            20,
            "an observer to lead",
        )


def api(watch: Watch, path: str, **body: Any) -> Any:
    """What Prefect answers to a POST."""
    return ask_prefect("POST", f"{watch.api_url}{path}", json=body).raise_for_status().json()


def enter(watch: Watch, fid: str, kind: str, **state: str) -> None:
    """A flow run enters a state, as whoever runs it would say."""
    body = {"type": kind, **state}
    answer = api(watch, f"/flow_runs/{fid}/set_state", state=body, force=True)
    assert answer["status"] == "ACCEPT", answer


def made_run(watch: Watch, **fields: Any) -> str:
    """A flow run that nobody executes."""
    made = api(watch, "/flows/", name="made-by-hand")
    run = api(watch, "/flow_runs/", flow_id=made["id"], **fields)
    return str(run["id"])


@contextmanager
def observing(watch: Watch, api_url: str | None = None, **changed: Any) -> Iterator[None]:
    """An observer in a thread, which has taken the lead and ends with the block."""
    settings = watch.settings.model_copy(update={"observe_tags": [watch.tag], **changed})
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def work() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(Observer(settings).run())
        started.append((asyncio.get_running_loop(), stop))
        await stop.wait()
        await cancel_all([task])

    def body() -> None:
        with (
            use_settings(settings),
            temporary_settings(
                {PREFECT_API_URL: api_url or watch.api_url, PREFECT_API_AUTH_STRING: AUTH_STRING}
            ),
        ):
            asyncio.run(work())

    thread = threading.Thread(target=body, name="observer")
    thread.start()
    try:
        watch.until_led()
        yield
    finally:
        loop, stop = wait_for(lambda: started and started[0])
        loop.call_soon_threadsafe(stop.set)
        thread.join(STOPS_WITHIN)
        assert not thread.is_alive(), "the observer does not stop"


@contextmanager
def commanded(watch: Watch, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """`kodosumi-prefect observer`, which has said that it is ready."""
    process = subprocess.Popen(
        COMMAND,
        env=watch.environment(**environment),
        cwd=watch.settings.data_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said == "ready\n", said + process.stdout.read()
        yield process
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
