"""Ray functions and actors that ask."""

from typing import Any

import ray

from kodosumi_prefect import Tracer


@ray.remote(num_cpus=0)
def asks(tracer: Tracer, name: str, timeout: float | None = None) -> Any:
    return tracer.lock_sync(name, timeout=timeout)


@ray.remote(num_cpus=0)
class Asker:
    async def asks(self, tracer: Tracer, name: str) -> Any:
        return await tracer.lock(name)
