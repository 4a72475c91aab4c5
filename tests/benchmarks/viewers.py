"""What 1,000 viewers of one live run cost the panel, beside sending them the same bytes alone.

    python -m tests.benchmarks.viewers [--viewers 1000] [--seconds 30] [--clients 4]

Starts a Postgres and a panel of its own. Viewers are connections of client processes, to the stream
that an execution's page follows; in a second part they ask for the count of open locks every
10 s as well, as pages do. Exits 1 above a limit, or if a viewer misses or repeats an event.
"""

import argparse
import asyncio
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx
import psutil
from pydantic import SecretStr

from kodosumi_prefect.database import migrate
from kodosumi_prefect.events import Event, serialize
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.benchmarks.harness import machine, panel, quantile, report

SCHEMA = "kodosumi"
RATE = 2.0  # events a second
CPU_LIMIT = 1.0  # cores
MEMORY_LIMIT = 300.0  # MB
ASKS = 10.0  # seconds between questions of a page for the count of open locks
CONNECTING = 50  # connections of one client process that are being made at once
TEXT = "A step of the agent and what it found, in some words. " * 4
# Writes what it reads on stdin, a frame a block, to whoever is connected.
BARE = """
import asyncio, sys
async def main():
    writers = []
    async def come(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        writers.append(writer)
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\n")
    server = await asyncio.start_server(come, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while True:
        frame = await lines.readuntil(b"\\n\\n")
        for writer in writers:
            writer.write(frame)
asyncio.run(main())
"""


Heard = list[tuple[int, float]]  # seqs of the events that a viewer got, and seconds from emit


class _Viewer(asyncio.Protocol):
    """One connection that notes which events come, and how late."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self._ts = 0.0
        self.open = asyncio.Event()
        self.heard: Heard = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.open.set()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                self._ts = float(line[6:].partition(b":")[0])
            elif line.startswith(b"id: "):
                self.heard.append((int(line[4:]), time.time() - self._ts))


def _view(port: int, path: str, token: str, viewers: int, asks: bool, parent: Connection) -> None:
    """A process of ``viewers``: says once all are connected, and what they heard when told to."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        await asyncio.sleep(ASKS * number / viewers)
        while True:
            await client.get("/waiting/count")
            await asyncio.sleep(ASKS)

    async def body() -> None:
        loop = asyncio.get_running_loop()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{API_KEY_HEADER}: {token}\r\n\r\n".encode()
        )
        few = asyncio.Semaphore(CONNECTING)

        async def connect() -> _Viewer:
            async with few, asyncio.timeout(120):
                _, viewer = await loop.create_connection(
                    lambda: _Viewer(request), "127.0.0.1", port
                )
                await viewer.open.wait()
            return viewer

        made = await asyncio.gather(*(connect() for _ in range(viewers)))
        url, headers = f"http://127.0.0.1:{port}", {API_KEY_HEADER: token}
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
            asking = [asyncio.create_task(ask(client, n)) for n in range(viewers if asks else 0)]
            parent.send(None)
            await asyncio.to_thread(parent.recv)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        parent.send([viewer.heard for viewer in made])

    asyncio.run(body())


class Figures(NamedTuple):
    """What was measured of one server."""

    cores: float
    memory: float  # MB
    wrong: int  # viewers that missed or repeated an event
    lags: list[float]


class _Audience:
    """Client processes with viewers of one address."""

    def __init__(self, port: int, path: str, token: str, viewers: int, clients: int, asks: bool):
        context = multiprocessing.get_context("spawn")
        self._ends: list[Connection] = []
        self._processes = []
        for n in range(clients):
            ours, theirs = context.Pipe()
            share = viewers // clients + (n < viewers % clients)
            arguments = (port, path, token, share, asks, theirs)
            self._processes.append(context.Process(target=_view, args=arguments, daemon=True))
            self._processes[-1].start()
            self._ends.append(ours)
        for end in self._ends:
            end.recv()

    def heard(self) -> list[Heard]:
        """What each viewer heard; they go away."""
        for end in self._ends:
            end.send(None)
        found = [end.recv() for end in self._ends]
        for process in self._processes:
            process.join()
        return [heard for some in found for heard in some]


def _watch(
    process: psutil.Process, audience: _Audience, emit: Callable[[], int], seconds: float
) -> Figures:
    """Emit for a while, and look what the server takes for it; ``emit`` answers the event's seq."""
    time.sleep(2)  # the server settles after the rush
    sent = []
    before, began = sum(process.cpu_times()[:2]), time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        sent.append(emit())
        time.sleep(max(0.0, len(sent) / RATE - passed))
    used = sum(process.cpu_times()[:2]) - before
    cores = used / (time.perf_counter() - began)
    time.sleep(2)  # the last events arrive
    memory = process.memory_info().rss / 2**20
    # What was there before they came is not timed.
    heard = [[(seq, lag) for seq, lag in one if seq >= sent[0]] for one in audience.heard()]
    wrong = sum([seq for seq, _ in one] != sent for one in heard)
    return Figures(cores, memory, wrong, [lag for one in heard for _, lag in one])


def _panel(spooler: Spooler, settings: Settings, chosen: argparse.Namespace, asks: bool) -> Figures:
    fid, writer, number = str(uuid4()), str(uuid4()), 0

    def emit() -> int:
        nonlocal number
        number += 1
        event = Event(time.time(), "action", serialize({"action": f"{number} {TEXT}"}))
        spooler.append([Batch(fid, writer, number, {"flow_name": "watched"}, [event])])
        return number

    emit()
    assert settings.database_url is not None
    with panel(settings, settings.database_url.get_secret_value()) as (url, pid):
        port = int(url.rpartition(":")[2])
        path, token = f"/executions/{fid}/live", local_token(settings)
        audience = _Audience(port, path, token, chosen.viewers, chosen.clients, asks)
        return _watch(psutil.Process(pid), audience, emit, chosen.seconds)


def _bare(chosen: argparse.Namespace) -> Figures:
    """A process that sends frames of the same size to as many connections, no more."""
    command, pipe, number = [sys.executable, "-c", BARE], subprocess.PIPE, 0
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def emit() -> int:
            nonlocal number
            number += 1
            assert server.stdin is not None
            server.stdin.write(f"data: {time.time()}:{TEXT}\nid: {number}\n\n".encode())
            server.stdin.flush()
            return number

        try:
            port = int(server.stdout.readline())
            audience = _Audience(port, "/", "", chosen.viewers, chosen.clients, asks=False)
            return _watch(psutil.Process(server.pid), audience, emit, chosen.seconds)
        finally:
            server.terminate()
            with suppress(BrokenPipeError):
                server.stdin.close()


def main(words: list[str] | None = None) -> int:
    """Measure once and print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--viewers", type=int, default=1000)
    arguments.add_argument("--seconds", type=float, default=30.0)
    arguments.add_argument("--clients", type=int, default=4)
    chosen = arguments.parse_args(words)
    # Processes that are started inherit it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    bare = _bare(chosen)
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder)) as postgres:
        migrate.upgrade(postgres.url, SCHEMA)
        settings = Settings(
            database_url=SecretStr(postgres.url),
            data_dir=Path(folder),
            streams_per_user=chosen.viewers,  # all of them are signed in as one
        )
        spooler = Spooler(postgres.url, SCHEMA)
        streams = _panel(spooler, settings, chosen, asks=False)
        pages = _panel(spooler, settings, chosen, asks=True)
        spooler.close()

    def told(found: Figures) -> dict[str, str]:
        lags = [f"{quantile(found.lags, share) * 1e3:.0f} ms" for share in (0.5, 0.99)]
        return {
            f"processor time, of one core (at most {CPU_LIMIT:.0%})": f"{found.cores:7.1%}",
            f"resident memory (at most {MEMORY_LIMIT:g} MB)": f"{found.memory:6.0f} MB",
            "emit to viewer, p50 and p99": f"{', '.join(lags)}",
            "viewers that missed or repeated an event": f"{found.wrong:6}",
        }

    what = f"{chosen.viewers:,} viewers of a run at {RATE:g} events/s for {chosen.seconds:g} s"
    for name, found in {
        what: streams,
        f"the same, each asking for the open locks every {ASKS:g} s": pages,
        "the same frames from a bare asyncio server": bare,
    }.items():
        report(name, told(found))
    print(f"load average {os.getloadavg()[0]:.1f}")
    fine = all(
        found.cores <= CPU_LIMIT and found.memory <= MEMORY_LIMIT and not found.wrong
        for found in (streams, pages)
    )
    return 0 if fine else 1


def run() -> None:
    """As one of all benchmarks."""
    main([])


if __name__ == "__main__":
    print(f"measured on {machine()}")
    sys.exit(main())
