"""What 200 readers of one quiet run cost the panel: CPU of its process as a share of one core.

    python tests/benchmarks/sse_clients.py [--clients 200] [--seconds 20]

Starts a Postgres and a panel of its own. Exits 1 above the limit.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

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

LIMIT = 5.0  # percent of a core
SCHEMA = "kodosumi"
PANEL = """
import sys
from pathlib import Path
from pydantic import SecretStr
from kodosumi_prefect.panel.web.server import run
from kodosumi_prefect.settings import Settings
url, folder = sys.argv[1:]
settings = Settings(
    database_url=SecretStr(url), data_dir=Path(folder), port=0, streams_per_user=100_000
)
run(settings, on_ready=lambda url: print(url, flush=True))
"""


def main(words: list[str] | None = None) -> int:
    """Measure once and print the figure."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--clients", type=int, default=200)
    arguments.add_argument("--seconds", type=float, default=20.0)
    chosen = arguments.parse_args(words)
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder)) as postgres:
        migrate.upgrade(postgres.url, SCHEMA)
        spooler = Spooler(postgres.url, SCHEMA)
        fid = _quiet_run(spooler)
        command = [sys.executable, "-c", PANEL, postgres.url, folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as panel:
            try:
                assert panel.stdout is not None
                url = panel.stdout.readline().strip()
                process = psutil.Process(panel.pid)
                token = local_token(
                    Settings(database_url=SecretStr(postgres.url), data_dir=Path(folder))
                )
                share, heard = asyncio.run(
                    _measure(process, url, token, fid, chosen.clients, chosen.seconds)
                )
                memory = process.memory_info().rss / 2**20
            finally:
                panel.terminate()
        spooler.close()
    print(
        f"\n{chosen.clients} SSE clients on one quiet run, {chosen.seconds:g} s, "
        f"{os.cpu_count()} cores: panel uses {share:.2f} % of a core (limit {LIMIT:g} %), "
        f"{memory:.0f} MB; {heard} alive events arrived"
    )
    return 0 if share <= LIMIT else 1


def _quiet_run(spooler: Spooler) -> str:
    fid = str(uuid4())
    events = [
        Event(time.time(), "status", "starting"),
        Event(time.time(), "result", serialize("something to look at")),
    ]
    spooler.append([Batch(fid, str(uuid4()), 1, {"flow_name": "quiet"}, events)])
    return fid


async def _measure(
    process: psutil.Process, url: str, token: str, fid: str, clients: int, seconds: float
) -> tuple[float, int]:
    heard = 0
    connected = asyncio.Semaphore(0)
    host, port = url.removeprefix("http://").split(":")

    async def read() -> None:
        nonlocal heard
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"Host: localhost\r\n{API_KEY_HEADER}: {token}"
        writer.write(f"GET /outputs/main/{fid} HTTP/1.1\r\n{head}\r\n\r\n".encode())
        await reader.readuntil(b"id: 2\n")
        connected.release()
        while line := await reader.readline():
            heard += line.startswith(b"event: alive")

    readers = [asyncio.create_task(read()) for _ in range(clients)]
    for _ in range(clients):
        await asyncio.wait_for(connected.acquire(), 30)
    await asyncio.sleep(2)  # the panel settles after the rush
    heard = 0
    before, began = process.cpu_times(), time.perf_counter()
    await asyncio.sleep(seconds)
    after, ended = process.cpu_times(), time.perf_counter()
    for task in readers:
        task.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    used = after.user + after.system - before.user - before.system
    return 100 * used / (ended - began), heard


if __name__ == "__main__":
    sys.exit(main())
