"""Runners that wait for a run: made ahead of need, or done with another."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from prefect.logging import get_logger

from kodosumi_prefect.process.order import Facts
from kodosumi_prefect.runner.aside import aside
from kodosumi_prefect.runner.cluster import (
    Cluster,
    RunnerHandle,
    Spec,
    check_versions,
    why_it_died,
)
from kodosumi_prefect.vocabulary import POOL_TYPE

CLAIM_SECONDS = 60.0  # seconds that a waiting Runner lives on without its worker
RUNNER_START_SECONDS = 120.0  # seconds for a new Runner's process to start

logger = get_logger(POOL_TYPE)  # shown where Prefect's own are


class Waiting(NamedTuple):
    """A Runner whose process has started and waits for an order."""

    handle: RunnerHandle
    facts: Facts
    key: str


class WarmPool:
    """Keeps a number of Runners ready for one spec. They hold no user code.

    Arguments:
        size: how many; 0 for none.

    Attributes:
        taken: set when a Runner went.
        pass_on: gives a Runner that was made to somebody who waits for one; whether there is one.
    """

    def __init__(self, cluster: Cluster, size: int) -> None:
        self._cluster = cluster
        self._size = size
        self._spec: Spec | None = None
        self._waiting: list[Waiting] = []
        self._trouble: str | None = None
        self.taken = asyncio.Event()
        self.pass_on: Callable[[Waiting], bool] = lambda _: False

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, runner: Waiting) -> bool:
        """Take a Runner whose run is over, and that waits for the next; False if it is not needed.

        It holds nothing of its run, which had a process of its own.
        """
        if not self.wants(runner):
            return False
        self._waiting.append(runner)
        return True

    def wants(self, runner: Waiting) -> bool:
        """Whether it is of use here."""
        spec = self._spec
        fits = spec is not None and runner.key == spec.key and spec.may_wait
        return fits and len(self._waiting) < self._size

    def want(self, spec: Spec) -> None:
        """Which Runners to keep from now on; others are ended at the next ``tend``."""
        self._spec = spec

    def take(self, spec: Spec) -> Waiting | None:
        """A Runner that fits, which is the caller's from now on."""
        for one in self._waiting:
            if one.key == spec.key and spec.may_wait:
                self._waiting.remove(one)
                self.taken.set()
                return one
        return None

    async def tend(self, refill: bool = True) -> None:
        """Renew claims, forget dead Runners, end unwanted ones.

        Arguments:
            refill: also start missing ones.
        """
        await self._renew()
        spec = self._spec
        key = spec.key if spec is not None and spec.may_wait else None
        for one in [one for one in self._waiting if one.key != key]:
            self._waiting.remove(one)
            await aside(self._cluster.kill, one.handle)
        while refill and spec is not None and key is not None and len(self._waiting) < self._size:
            if (runner := await self._make(spec)) is None:
                return
            if self.pass_on(runner):
                return  # runs wait, and have Runners started themselves
            self._waiting.append(runner)

    async def close(self) -> None:
        """End all of them."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            await aside(self._cluster.kill, one.handle)

    async def _renew(self) -> None:
        for one in list(self._waiting):
            try:
                async with asyncio.timeout(CLAIM_SECONDS / 2):
                    await asyncio.wrap_future(one.handle.hello(CLAIM_SECONDS))
            except TimeoutError:
                logger.warning("Runner %s does not answer; replacing it", one.handle.name)
            except Exception as exc:  # whatever Ray raises, this Runner is of no use
                logger.info("Runner %s is gone: %s", one.handle.name, why_it_died(exc))
            else:
                continue
            if one in self._waiting:
                self._waiting.remove(one)
                await aside(self._cluster.kill, one.handle)

    async def _make(self, spec: Spec) -> Waiting | None:
        """Start one; None, logged once, if that does not work now."""
        handle: Any = None
        try:
            handle = await aside(self._cluster.spawn, spec, CLAIM_SECONDS)
            async with asyncio.timeout(RUNNER_START_SECONDS):
                facts = await asyncio.wrap_future(handle.hello(CLAIM_SECONDS))
            check_versions(facts)
        except Exception as exc:
            slow = isinstance(exc, TimeoutError)
            why = f"not there after {RUNNER_START_SECONDS:.0f} s" if slow else why_it_died(exc)
            if why != self._trouble:
                logger.warning("cannot keep a Runner ready, runs start more slowly: %s", why)
            self._trouble = why
            if handle is not None:
                await aside(self._cluster.kill, handle)
            return None
        self._trouble = None
        return Waiting(handle, facts, spec.key)
