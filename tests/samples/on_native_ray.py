"""Functions and actors of plain Ray, that get a tracer or not."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray

from kodosumi_prefect import Tracer


@ray.remote(num_cpus=0)
def told(tracer: Tracer, word: str) -> str:
    print(f"prints {word}")
    tracer.debug(f"traces {word}")
    logging.getLogger("author").warning(f"logs {word}")
    return word


@ray.remote(num_cpus=0)
def way(tracer: Tracer) -> tuple[bool, bool]:
    """Whether there is access to a panel here, and whether events go through it."""
    from kodosumi_prefect.files.access import given_access
    from kodosumi_prefect.settings import get_settings
    from kodosumi_prefect.spooler.client import get_client

    tracer.debug("traces")
    tracer.flush_sync(20)
    given = given_access(tracer.fid, get_settings())
    return given is not None, get_client()._delivery.route.panel is not None


@ray.remote(num_cpus=0)
def told_of_threads(tracer: Tracer, word: str) -> None:
    thread = threading.Thread(target=print, args=(f"thread prints {word}",))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(logging.getLogger("author").warning, f"pool logs {word}").result()


@ray.remote(num_cpus=0)
def untold(word: str) -> str:
    print(f"prints {word}")
    return word


@ray.remote(num_cpus=0)
def nested(arguments: dict[str, Any]) -> str:
    arguments["tracer"].debug(f"traces {arguments['word']}")
    print(f"prints {arguments['word']}")
    return ray.get(told.remote(arguments["tracer"], f"deep {arguments['word']}"))


@ray.remote(num_cpus=0)
class Teller:
    def __init__(self, tracer: Tracer | None = None) -> None:
        self.tracer = tracer
        if tracer is not None:
            tracer.debug("actor begins")

    def told(self, tracer: Tracer, word: str) -> str:
        print(f"prints {word}")
        tracer.debug(f"traces {word}")
        return word

    def untold(self, word: str) -> str:
        print(f"prints {word}")
        return word

    def keeps(self, word: str) -> str:
        assert self.tracer is not None
        self.tracer.debug(f"traces {word}")
        return word


@ray.remote(num_cpus=0)
class AsyncTeller:
    def __init__(self) -> None:
        self.inside = asyncio.Barrier(2)

    async def told(self, tracer: Tracer, word: str) -> str:
        await tracer.debug(f"traces {word}")
        await self.inside.wait()
        print(f"prints {word}")
        await asyncio.sleep(0)
        print(f"prints {word} again")
        return word

    async def untold(self, word: str) -> str:
        await self.inside.wait()
        print(f"prints {word}")
        return word
