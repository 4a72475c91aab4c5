"""Asks a human whatever comes; interrupted by signals."""

import asyncio
import signal
import sys

from kodosumi_prefect import Tracer, flow


@flow
def asks_and_waits(tracer: Tracer) -> None:
    tracer.lock_sync("never answered")


@flow
async def asks_and_awaits(tracer: Tracer) -> None:
    await tracer.lock("never answered")


if __name__ == "__main__":
    # Whoever started the tests in the background had their children ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.argv[1] == "sync":
        asks_and_waits()
    else:
        asyncio.run(asks_and_awaits())
