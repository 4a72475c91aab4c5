"""From a human's answer to the flow's next line, and what open locks cost while nobody answers."""

import asyncio
import threading
import time

import httpx

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.benchmarks.harness import panel, quantile, report

ROUNDS = 100
OPEN = 500
QUIET = 20.0  # seconds


@flow
async def asks(tracer: Tracer) -> list[float]:
    """Ask one question after the other; when the line after each was reached."""
    reached = []
    for number in range(ROUNDS):
        await tracer.lock(f"number {number}")
        reached.append(time.time())
    return reached


def answers(client: httpx.Client, given: list[float]) -> None:
    """Answer each lock that opens; when each answer was posted."""
    while len(given) < ROUNDS:
        for lock in client.get("/locks").json()["items"]:
            time.sleep(0.05)  # people are slower
            given.append(time.time())
            client.post(f"/lock/{lock['fid']}/{lock['lid']}", json={}).raise_for_status()
        time.sleep(0.01)


@flow
async def holds(tracer: Tracer) -> tuple[float, float]:
    """Processor seconds of this process in a quiet time without locks, and with many open."""
    tracer.debug("begun")
    await asyncio.sleep(2)
    before = time.process_time()
    await asyncio.sleep(QUIET)
    without = time.process_time() - before
    asked = [asyncio.create_task(tracer.lock(f"{number}")) for number in range(OPEN)]
    await asyncio.sleep(5)
    before = time.process_time()
    await asyncio.sleep(QUIET)
    held = time.process_time() - before
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    return without, held


def run(settings: Settings, url: str) -> None:
    given: list[float] = []
    with (
        panel(settings, url) as (address, _),
        httpx.Client(
            base_url=address, headers={API_KEY_HEADER: local_token(settings)}, trust_env=False
        ) as client,
    ):
        human = threading.Thread(target=answers, args=(client, given))
        human.start()
        reached = asyncio.run(asks())
        human.join()
    took = [after - before for before, after in zip(given, reached, strict=True)]
    without, held = asyncio.run(holds())
    report(
        "from POST /lock to the flow's next line",
        {
            "p50 (at most 100 ms)": f"{quantile(took, 0.5) * 1e3:6.1f} ms",
            "p99": f"{quantile(took, 0.99) * 1e3:6.1f} ms",
            f"processor for {QUIET:.0f} s without a lock": f"{without * 1e3:6.0f} ms",
            f"processor for {QUIET:.0f} s with {OPEN} open locks": f"{held * 1e3:6.0f} ms",
        },
    )
