"""Flows of every signature that an entrypoint may have. Each says what it got."""

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field

from kodosumi_prefect import Tracer, flow


class Order(BaseModel):
    item: str
    count: int = 1


@dataclass
class Receipt:
    item: str
    price: float


@flow
def inputs_then_tracer(inputs: dict[str, Any], tracer: Tracer) -> str:
    tracer.debug(f"got {inputs}")
    return inputs["name"]


@flow
def tracer_then_inputs(tracer: Tracer, inputs: dict[str, Any]) -> str:
    tracer.debug(f"got {inputs}")
    return inputs["name"]


@flow
def untyped(inputs, tracer):
    tracer.debug(f"got {inputs}")
    return inputs["name"]


@flow
def only_inputs(inputs: dict[str, Any]) -> str:
    return inputs["name"]


@flow
def only_tracer(tracer: Tracer) -> str:
    tracer.debug("got nothing")
    return "Ada"


@flow
def nothing() -> str:
    return "Ada"


@flow
async def asynchronous(inputs: dict[str, Any], tracer: Tracer) -> str:
    await tracer.debug(f"got {inputs}")
    return inputs["name"]


@flow
def typed(name: str, tracer: Tracer, count: int = 2, *, loud: bool = False) -> str:
    tracer.debug(f"got {name!r} {count!r} {loud!r}")
    return name


@flow
def keyword_tracer(name: str = "Ada", *, tracer: Tracer) -> str:
    tracer.debug(f"got {name!r}")
    return name


@flow
def many(*names: str, tracer: Tracer, **more: int) -> str:
    tracer.debug(f"got {names!r} {more!r}")
    return names[0] if names else "Ada"


@flow
def modelled(order: Order, tracer: Tracer) -> Receipt:
    tracer.debug(f"got {order!r}")
    return Receipt(order.item, 2.5 * order.count)


@flow
def bounded(count: Annotated[int, Field(ge=1, le=9)], tracer: Tracer) -> int:
    return count


@flow
def generator(count: int, tracer: Tracer) -> Generator[int, None, str]:
    for number in range(count):
        tracer.debug(f"giving {number}")
        yield number
    return "done"


@flow
async def async_generator(count: int, tracer: Tracer) -> AsyncGenerator[int, None]:
    for number in range(count):
        await tracer.debug(f"giving {number}")
        yield number


class Shop:
    name = "corner"

    @flow
    @classmethod
    def open(cls, inputs: dict[str, Any], tracer: Tracer) -> str:
        tracer.debug(f"got {cls.name} {inputs}")
        return inputs["name"]

    @flow
    @staticmethod
    def close(inputs: dict[str, Any], tracer: Tracer) -> str:
        tracer.debug(f"got {inputs}")
        return inputs["name"]

    @flow
    def visit(self, inputs: dict[str, Any], tracer: Tracer) -> str:
        tracer.debug(f"got {self.name} {inputs}")
        return inputs["name"]
