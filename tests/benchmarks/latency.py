"""From emit to arrival at an SSE client, beside a commit and its notification alone."""

import asyncio
import threading
import time

import httpx
import psycopg
from prefect.runtime import flow_run

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.benchmarks.harness import connect, panel, quantile, report

SECONDS = 20
RATE = 50  # events a second
TEXT = "x" * 100


@flow
def steady(address: str, token: str, tracer: Tracer) -> list[float]:
    """Emit at a steady rate while a client in another thread follows; seconds from emit to it."""
    tracer.flush_sync()
    fid = str(flow_run.get_id())
    found: list[float] = []
    ready = threading.Event()
    follower = threading.Thread(target=follow, args=(address, token, fid, found, ready))
    follower.start()
    ready.wait(10)
    for number in range(RATE * SECONDS):
        tracer.debug(f"{time.time():.6f} {number} {TEXT}")
        time.sleep(1 / RATE)
    follower.join(10)
    return found


def follow(address: str, token: str, fid: str, found: list[float], ready: threading.Event) -> None:
    url = f"{address}/outputs/stream/{fid}"
    with httpx.stream("GET", url, headers={API_KEY_HEADER: token}, timeout=30) as response:
        for line in response.iter_lines():
            ready.set()
            if not line.startswith("data: ") or TEXT not in line:
                continue
            arrived = time.time()
            sent = float(line.partition(":")[2].partition(":")[2].split()[0])
            found.append(arrived - sent)
            if len(found) == RATE * SECONDS:
                return


async def bare(url: str) -> list[float]:
    """Seconds from before an insert's commit to its notification, on connections of their own."""
    found: list[float] = []
    listening = await psycopg.AsyncConnection.connect(url, autocommit=True)
    await listening.execute("LISTEN bench")
    with connect(url) as writing:
        writing.execute("CREATE TABLE IF NOT EXISTS bench_one (at float8)")
        for _ in range(RATE * 4):
            began = time.perf_counter()
            await asyncio.to_thread(writing.execute, "INSERT INTO bench_one VALUES (1)")
            await asyncio.to_thread(writing.execute, "NOTIFY bench")
            async for _note in listening.notifies(stop_after=1):
                found.append(time.perf_counter() - began)
            await asyncio.sleep(1 / RATE)
    await listening.close()
    return found


def run(settings: Settings, url: str) -> None:
    alone = asyncio.run(bare(url))
    with panel(settings, url) as (address, _):
        ours = steady(address, local_token(settings))
    assert len(ours) == RATE * SECONDS, f"{len(ours)} events arrived"

    def both(share: float) -> str:
        return f"{quantile(ours, share) * 1e3:6.1f} ms   ({quantile(alone, share) * 1e3:.1f} ms)"

    report(
        f"emit to SSE client at {RATE} events/s (commit plus NOTIFY alone)",
        {
            "p50 (at most 10 ms)": both(0.5),
            "p99 (at most 40 ms)": both(0.99),
            "longest": both(1.0),
        },
    )
