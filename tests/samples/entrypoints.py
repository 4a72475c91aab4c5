"""Entrypoints as authors write them, for tests of launches."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from prefect import task
from pydantic import BaseModel

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.response import Markdown


def plain(inputs: dict[str, Any], tracer: Tracer) -> Markdown:
    tracer.debug("plain")
    print("printed")
    return Markdown(f"# {inputs['name']}")


async def other_order(tracer: Tracer, inputs: dict[str, Any]) -> dict[str, Any]:
    await tracer.debug("async")
    await asyncio.sleep(0)
    return dict(inputs)


def only_tracer(tracer: Tracer) -> str:
    tracer.debug(tracer.fid)
    return "tracer"


def nothing() -> str:
    return "nothing"


def fails(inputs: dict[str, Any]) -> None:
    raise KodosumiError("no such document")


async def fails_async(inputs: dict[str, Any]) -> None:
    raise ValueError("of the author")


def items(inputs: dict[str, Any]) -> Iterator[int]:
    yield 1
    yield 2


async def async_items(inputs: dict[str, Any]) -> AsyncIterator[int]:
    yield 1
    yield 2


@task
def part(number: int, tracer: Tracer) -> int:
    tracer.debug(f"part {number}")
    return number * 2


def in_tasks(inputs: dict[str, Any], tracer: Tracer) -> list[int]:
    return [part(number, tracer) for number in range(2)]


def tells_secret(inputs: dict[str, Any]) -> int:
    """Secrets arrive; the result says no more than how long."""
    return len(inputs["password"]) * 1000 + len(inputs["again"]["key"])


def measures(inputs: dict[str, Any]) -> int:
    return len(inputs["text"])


def flaky(inputs: dict[str, Any], tracer: Tracer) -> str:
    from prefect.runtime import flow_run

    if flow_run.run_count < 3:
        raise RuntimeError("not yet")
    return "at last"


class Order(BaseModel):
    count: int


@flow(summary="Typed", tags=["typed"], retries=1)
def typed(order: Order, tracer: Tracer, word: str = "x") -> str:
    tracer.debug("typed")
    return word * order.count


@flow
def takes_inputs(inputs: dict[str, Any]) -> int:
    return len(inputs)


class Crew:
    """What looks like a crew."""

    def kickoff(self, inputs: dict[str, Any] | None = None) -> str:
        return f"kicked off with {inputs}"


crew = Crew()
number = 7
