"""Tasks whose values say in which process they are unpacked."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture


class Parcel:
    """A value that notes its name in the process that gets it from another one."""

    opened: ClassVar[list[str]] = []  # in this process

    def __init__(self, name: str, weight: int = 1) -> None:
        self.name = name
        self.weight = weight

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        Parcel.opened.append(self.name)


class Ticket:
    """Holds a future where Prefect does not look for futures."""

    def __init__(self, future: PrefectFuture[Any]) -> None:
        self.future = future


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("an Unpicklable stays where it is")


@task(cache_policy=NO_CACHE)
def pack(name: str, weight: int = 1) -> Parcel:
    return Parcel(name, weight)


@task(cache_policy=NO_CACHE)
async def pack_async(name: str, weight: int = 1) -> Parcel:
    return Parcel(name, weight)


@task(cache_policy=NO_CACHE)
def pack_three(name: str) -> Any:
    """A generator of parcels."""
    for number in range(3):
        yield Parcel(f"{name}{number}")


@task(cache_policy=NO_CACHE)
def weigh(parcel: Parcel, times: int = 1) -> int:
    return parcel.weight * times


@task(cache_policy=NO_CACHE)
def weigh_all(parcels: Sequence[Parcel], more: dict[str, Any]) -> int:
    return sum(parcel.weight for parcel in [*parcels, *more["deep"]])


@task(cache_policy=NO_CACHE)
def was_opened(name: str) -> bool:
    """Whether this process unpacked it."""
    return name in Parcel.opened


@task(cache_policy=NO_CACHE)
def redeem(ticket: Ticket) -> int:
    weight: int = ticket.future.result().weight
    return weight


@task(cache_policy=NO_CACHE)
def told(outcome: Any) -> str:
    return repr(outcome)


@task(cache_policy=NO_CACHE)
def lose() -> Unpicklable:
    return Unpicklable()


@task(retries=1)
def second_time(marker: str) -> str:
    if Path(marker).exists():
        return "done"
    Path(marker).touch()
    raise ValueError("the first time")


@task(cache_policy=NO_CACHE)
def die() -> None:
    os._exit(3)


@task(cache_policy=NO_CACHE)
def process_id() -> int:
    return os.getpid()
