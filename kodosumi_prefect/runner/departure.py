"""Waiting for the end of a Runner's process, whoever started it."""

import asyncio

from kodosumi_prefect.runner.aside import aside
from kodosumi_prefect.runner.cluster import Cluster, RunnerHandle, may_live, why_it_died
from kodosumi_prefect.runner.warm import CLAIM_SECONDS

RETRY_FIRST = 0.5  # seconds


async def departure(cluster: Cluster, runner: RunnerHandle) -> str:
    """Wait for the end of a Runner that may be executing a run; why it ended."""
    while True:
        try:
            # Answered when the actor ends, by an error; at once if it has nothing to do.
            await asyncio.wrap_future(runner.hello(CLAIM_SECONDS))
        except Exception as exc:
            if not may_live(exc):
                return why_it_died(exc)
            await asyncio.sleep(RETRY_FIRST)
        else:
            await aside(cluster.kill, runner)
            return "it was never given its run"
