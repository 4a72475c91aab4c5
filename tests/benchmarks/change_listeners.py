"""What 1,000 listeners of ``GET /changes`` cost, how soon they hear of a change, and catching up.

    python -m tests.benchmarks.change_listeners [--clients 1000] [--seconds 20] [--executions 20000]

Starts a Postgres and a panel of its own. Exits 1 above a limit.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import psycopg
from pydantic import SecretStr

from kodosumi_prefect.client import Client
from kodosumi_prefect.database import migrate
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.benchmarks.harness import machine, quantile
from tests.benchmarks.sse_clients import PANEL, SCHEMA

CORE = 5.0  # percent of a core, idle
QUERIES = 5.0  # transactions a second more than without listeners
CHANGES = 20
INSERT = (
    "INSERT INTO kodosumi.execution (fid, flow_name, summary) "
    "VALUES (gen_random_uuid(), 'listed', %s)"
)


class Listeners:
    """Clients that read what comes, each on a connection of its own."""

    def __init__(self, url: str, token: str) -> None:
        self._where = url.removeprefix("http://").split(":")
        self._head = f"Host: localhost\r\n{API_KEY_HEADER}: {token}"
        self.ready = asyncio.Semaphore(0)
        self._turns = asyncio.Semaphore(50)  # that connect at once
        self.heard: list[tuple[str, float]] = []  # summary and when
        self._more = asyncio.Condition()

    async def until(self, heard: int) -> None:
        async with asyncio.timeout(30), self._more:
            await self._more.wait_for(lambda: len(self.heard) >= heard)

    async def all_ready(self, clients: int) -> None:
        async with asyncio.timeout(60):
            for _ in range(clients):
                await self.ready.acquire()

    async def listen(self) -> None:
        async with self._turns:
            reader, writer = await asyncio.open_connection(self._where[0], int(self._where[1]))
            writer.write(f"GET /changes HTTP/1.1\r\n{self._head}\r\n\r\n".encode())
            await reader.readuntil(b"event: alive")
        self.ready.release()
        while line := await reader.readline():
            if line.startswith(b'data: {"kind"'):
                self.heard.append((json.loads(line[6:])["summary"], time.perf_counter()))
                async with self._more:
                    self._more.notify_all()


async def listened(
    url: str, token: str, database: str, panel: psutil.Process, clients: int, seconds: float
) -> dict[str, float]:
    """The figures of so many listeners."""
    listeners = Listeners(url, token)
    alone = await _quiet(panel, database, seconds)
    tasks = [asyncio.create_task(listeners.listen()) for _ in range(clients)]
    await listeners.all_ready(clients)
    await asyncio.sleep(2)  # the panel settles after the rush
    beside = await _quiet(panel, database, seconds)
    began: dict[str, float] = {}
    with psycopg.connect(database, autocommit=True) as connection:
        for number in range(CHANGES):
            name = f"change {number}"
            began[name] = time.perf_counter()
            connection.execute(
                "INSERT INTO kodosumi.execution (fid, summary) VALUES (%s, %s)", [uuid4(), name]
            )
            connection.execute("SELECT pg_notify(%s, '')", [SCHEMA])
            await listeners.until(clients * (number + 1))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    late = [1000 * (at - began[name]) for name, at in listeners.heard]
    return {
        "core": beside["core"],
        "queries": beside["queries"] - alone["queries"],
        "p50": quantile(late, 0.5),
        "p99": quantile(late, 0.99),
        "heard": len(listeners.heard),
        "memory": panel.memory_info().rss / 2**20,
    }


async def _quiet(panel: psutil.Process, database: str, seconds: float) -> dict[str, float]:
    """Percent of a core, and transactions a second."""
    before, committed = panel.cpu_times(), _commits(database)
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    after = panel.cpu_times()
    used = after.user + after.system - before.user - before.system
    return {"core": 100 * used / took, "queries": (_commits(database) - committed) / took}


def _commits(database: str) -> int:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def caught_up(url: str, token: str, database: str, executions: int) -> tuple[float, float]:
    """Seconds of all executions from the start: by plain HTTP, and by the client."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for number in range(executions):  # each in a transaction of its own, as they come to be
            connection.execute(INSERT, [f"run {number}"])
    since, items = "0", 0
    began = time.perf_counter()
    with httpx.Client(base_url=url, headers={API_KEY_HEADER: token}) as http:
        more = True
        while more:
            asked: dict[str, Any] = {"since": since, "wait": 0}
            page = http.get("/changes", params=asked).raise_for_status().json()
            since, more, items = page["next"], page["more"], items + len(page["items"])
    by_page = time.perf_counter() - began
    assert items >= executions
    began = time.perf_counter()
    with Client(url, key=token) as client:
        for number, _ in enumerate(client.changes("0"), 1):
            if number == items:
                break
    return by_page, time.perf_counter() - began


def main(words: list[str] | None = None) -> int:
    """Measure once and print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--clients", type=int, default=1000)
    arguments.add_argument("--seconds", type=float, default=20.0)
    arguments.add_argument("--executions", type=int, default=20_000)
    chosen = arguments.parse_args(words)
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder)) as postgres:
        migrate.upgrade(postgres.url, SCHEMA)
        command = [sys.executable, "-c", PANEL, postgres.url, folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as panel:
            try:
                assert panel.stdout is not None
                url = panel.stdout.readline().strip()
                token = local_token(
                    Settings(database_url=SecretStr(postgres.url), data_dir=Path(folder))
                )
                process = psutil.Process(panel.pid)
                figures = asyncio.run(
                    listened(url, token, postgres.url, process, chosen.clients, chosen.seconds)
                )
                by_page, by_client = caught_up(url, token, postgres.url, chosen.executions)
            finally:
                panel.terminate()
    print(
        f"\n{chosen.clients} listeners of /changes on {machine()}: idle {figures['core']:.2f} % of "
        f"a core (limit {CORE:g} %), {figures['queries']:.1f} queries/s in all (limit "
        f"{QUERIES:g}), {figures['memory']:.0f} MB; a change to all of them p50 "
        f"{figures['p50']:.0f} ms, p99 {figures['p99']:.0f} ms, {figures['heard']:.0f} heard; "
        f"{chosen.executions:,} executions from the start: {by_page:.1f} s by the page, "
        f"{by_client:.1f} s by the client"
    )
    return 0 if figures["core"] <= CORE and figures["queries"] <= QUERIES else 1


if __name__ == "__main__":
    sys.exit(main())
