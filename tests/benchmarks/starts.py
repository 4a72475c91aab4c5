"""From creating a flow run to its first event at a subscriber: warm, cold, Prefect's process."""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from prefect.client.orchestration import get_client

from kodosumi_prefect.addresses import recorded_access
from kodosumi_prefect.settings import PREFIX, Settings
from kodosumi_prefect.stack.child import Child
from kodosumi_prefect.stream.feed import Feed
from kodosumi_prefect.stream.reader import Reader, StoredEvent
from tests.benchmarks.harness import quantile, report
from tests.e2e.running import BIN, FLOWS, Up, running_up
from tests.services import served
from tests.waiting import wait_for

WARM_RUNS = 12
OTHER_RUNS = 5
DEPLOY = """
import sys
from prefect import flow
source, pool = sys.argv[1:]
found = flow.from_source(source.rpartition("/")[0], source.rpartition("/")[2] + ":ticking")
found.deploy(name=pool, work_pool_name=pool, print_next_steps=False)
"""


def run() -> None:
    with tempfile.TemporaryDirectory() as folder, running_up(Path(folder)) as up:
        url = json.loads((Path(folder) / "run" / "postgres.json").read_text())["url"]
        up.command("python", str(FLOWS))
        warm = asyncio.run(starts(up, url, "test", WARM_RUNS, "kodosumi"))
        with worker(up, "cold", "kodosumi-ray"):
            cold = asyncio.run(starts(up, url, "cold", OTHER_RUNS))
        with worker(up, "plain", "process"):
            plain = asyncio.run(starts(up, url, "plain", OTHER_RUNS))
    report(
        "creating a run to its first own event at a subscriber",
        {
            "warm Runner, p50 (at most 1.0 s)": f"{quantile(warm, 0.5):6.2f} s",
            "warm Runner, longest": f"{quantile(warm, 1.0):6.2f} s",
            "cold Runner, p50": f"{quantile(cold, 0.5):6.2f} s",
            "Prefect's process worker, p50": f"{quantile(plain, 0.5):6.2f} s",
        },
    )


@contextmanager
def worker(up: Up, pool: str, type_: str) -> Iterator[None]:
    """A further worker on a pool of its own, without warm Runners, with `ticking` deployed."""
    environment = {**up.environment, f"{PREFIX}WARM_RUNNERS": "0"}
    argv = [str(BIN / "prefect"), "worker", "start", "--type", type_, "--pool", pool]
    log = up.data_dir / "logs" / f"{pool}.log"
    child = Child(pool, argv, environment, ready=lambda: " started!" in log.read_text())
    with served(child, log.parent):
        up.command("python", "-c", DEPLOY, str(FLOWS), pool)
        yield


async def starts(
    up: Up, url: str, name: str, count: int, warm_pool: str | None = None
) -> list[float]:
    """Seconds of ``count`` starts, one after the other, of the deployment ``ticking/NAME``."""
    found = []
    with recorded_access(Settings(data_dir=up.data_dir)).in_force():
        async with (
            get_client() as client,
            Reader(url, "kodosumi", 2) as reader,
            Feed(reader, url) as feed,
        ):
            deployment = await client.read_deployment_by_name(f"ticking/{name}")
            for _ in range(count + 1):
                if warm_pool is not None:
                    await asyncio.to_thread(until_warm, url, warm_pool)
                began = time.perf_counter()
                run = await client.create_flow_run_from_deployment(
                    deployment.id, parameters={"ticks": 1}
                )
                taken = None
                async for item in feed.subscribe(str(run.id)):
                    if taken is None and isinstance(item, StoredEvent) and item.kind == "debug":
                        taken = time.perf_counter() - began
                assert taken is not None, f"{run.id} ended without an event of its own"
                found.append(taken)
    return found[1:]  # the first one warms the server up


def until_warm(url: str, pool: str) -> None:
    """Wait until the pool's worker says that it has a Runner ready."""

    def ready() -> bool:
        with psycopg.connect(url) as connection:
            rows = connection.execute(
                "SELECT 1 FROM kodosumi.service WHERE kind = 'worker'"
                " AND info->>'pool' = %s AND (info->>'warm')::int > 0",
                (pool,),
            ).fetchall()
        return bool(rows)

    wait_for(ready, 60, "a warm Runner")
