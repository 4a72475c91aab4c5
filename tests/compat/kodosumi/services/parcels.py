"""Hands an entrypoint all that Python has, as it can where inputs are pickled."""

import dataclasses
import datetime as dt
import decimal
import enum
import uuid

from pydantic import BaseModel

from kodosumi.core import Launch, ServeAPI
from kodosumi.core import forms as F

app = ServeAPI()


class Colour(enum.Enum):
    RED = "red"


class Address(BaseModel):
    since: dt.date
    tags: set[str] = set()


class Customer(BaseModel):
    address: Address
    former: list[Address] = []


@dataclasses.dataclass
class Parcel:
    weight: decimal.Decimal
    to: Address | None = None


HOME = Address(since=dt.date(2024, 1, 1), tags={"home"})
VALUES = {
    "moment": dt.datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC),
    "naive": dt.datetime(2024, 1, 2),
    "date": dt.date(2024, 1, 2),
    "time": dt.time(1, 2),
    "timedelta": dt.timedelta(days=1, seconds=2),
    "uuid": uuid.UUID(int=7),
    "decimal": decimal.Decimal("1.10"),
    "enum": Colour.RED,
    "bytes": b"\x00\xff",
    "set": {1},
    "frozenset": frozenset({1}),
    "tuple": (1, (2,)),
    "int keys": {1: "a", "b": {2: 3}},
    "infinity": float("-inf"),
    "none": None,
    "dataclass": Parcel(decimal.Decimal("2.5"), HOME),
    "pydantic": Customer(address=HOME, former=[HOME]),
    "list": [dt.date(2024, 1, 3), {"x": {3}}],
    "text": "text",
    "number": 7,
}


def unpack(inputs):
    return {"type": type(inputs).__name__, "repr": repr(inputs), "equal": inputs == VALUES}


@app.enter("/", F.Model(F.InputText("name"), F.Submit("Send")), summary="Parcels")
async def enter(request, inputs: dict):
    name = inputs["name"]
    return Launch(request, unpack, inputs=VALUES if name == "all" else VALUES[name])
