"""Waiting for a Runner's process: distinguishes what is impossible from what takes time."""

import asyncio
import time
from typing import NamedTuple

from prefect.logging import get_logger

from kodosumi_prefect.process.order import Facts
from kodosumi_prefect.runner.aside import aside
from kodosumi_prefect.runner.cluster import Cluster, RunnerHandle, Spec, died, why_it_died
from kodosumi_prefect.runner.warm import CLAIM_SECONDS
from kodosumi_prefect.vocabulary import POOL_TYPE

ROOM_LOOK = 5.0  # seconds between checks whether the cluster can take a Runner
ANSWER = 3.0  # seconds that a Runner that was found has to answer, however late it is by then
INFEASIBLE_GRACE = 20.0  # seconds in which a node that is missing may come back

logger = get_logger(POOL_TYPE)  # shown where Prefect's own are


class CannotStartError(Exception):
    """No Runner can be had for a run; says why in one line."""


class NoRoomError(CannotStartError):
    """The cluster has no place for the Runner, which waits on."""


class DiedError(CannotStartError):
    """The Runner's process died before it got its run; another may live."""


class Demand(NamedTuple):
    """What a flow run asks of the cluster.

    Attributes:
        schedule_timeout: seconds the cluster has to make room; None for ever.
    """

    spec: Spec
    schedule_timeout: float | None


async def arrival(
    cluster: Cluster, runner: RunnerHandle, demand: Demand, before: float = 0.0
) -> Facts:
    """Wait until a Runner's process has started.

    Arguments:
        before: seconds of ``schedule_timeout`` that are over already. The Runner may have found
            its place in them, and is asked in any case.

    Raises:
        NoRoomError: no node can ever take it, or none could in time.
        CannotStartError: it died, or its environment could not be set up.
    """
    spec, schedule_timeout = demand
    arriving = asyncio.wrap_future(runner.hello(CLAIM_SECONDS))
    arriving.add_done_callback(_heard)
    began, logged = time.monotonic(), False
    if before:
        await asyncio.wait({arriving}, timeout=ANSWER)
    while True:
        waited = time.monotonic() - began
        left = ROOM_LOOK if schedule_timeout is None else schedule_timeout - before - waited
        done, _ = await asyncio.wait({arriving}, timeout=max(min(left, ROOM_LOOK), 0))
        if done:
            try:
                return arriving.result()
            except Exception as exc:
                raise (DiedError if died(exc) else CannotStartError)(why_it_died(exc)) from exc
        lacks = await aside(cluster.lacks, spec)
        grows = lacks is not None and await aside(cluster.grows)
        waited = time.monotonic() - began
        if lacks is not None and not grows and waited > INFEASIBLE_GRACE:
            raise NoRoomError(f"the Ray cluster cannot run it: {lacks}")
        if schedule_timeout is not None and before + waited >= schedule_timeout:
            raise NoRoomError(
                f"the Ray cluster had no room within schedule_timeout, {schedule_timeout:g} s"
                f" ({lacks or 'its nodes are busy'})"
            )
        if not logged:
            logged = True
            why = f"an autoscaler may add a node: {lacks}" if grows else lacks or "for room"
            logger.info("Runner %s waits for the Ray cluster: %s", runner.name, why)


def _heard(arriving: "asyncio.Future[Facts]") -> None:
    """Read the late error of a Runner that was given up, so that asyncio does not log it."""
    if not arriving.cancelled():
        arriving.exception()
