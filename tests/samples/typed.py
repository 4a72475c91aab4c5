"""Values of the types that inputs may have, and entrypoints that look whether they came whole."""

import enum
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path, PureWindowsPath
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    PrivateAttr,
    RootModel,
    SecretStr,
    field_validator,
)
from pydantic.dataclasses import dataclass as checked_dataclass

BERLIN = ZoneInfo("Europe/Berlin")
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Way(enum.StrEnum):
    POST = enum.auto()


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Odd(enum.Enum):
    """Members whose values are what nothing else is equal to."""

    FIRST = object()
    PAIR = (1, date(2026, 1, 1))


class Point(NamedTuple):
    x: int
    y: float = 0.5


class Name(str):
    """A text of a class of its own."""


@dataclass
class Plain:
    name: str
    due: date
    tags: set[str] = field(default_factory=set)
    count: int = None  # type: ignore[assignment]  # as authors write it
    total: int = field(init=False, default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    inner: Plain
    values: tuple[int, ...] = ()


@dataclass(eq=False)
class WithoutEquality:
    value: int


@checked_dataclass
class Checked:
    when: datetime


class Address(BaseModel):
    street: str
    extra: dict[int, str] = {}


class Order(BaseModel):
    model_config = ConfigDict(extra="allow")

    number: int = Field(alias="orderNumber")
    name: str = Field(validation_alias=AliasChoices("title", "label"))
    id: UUID = Field(default_factory=uuid.uuid4)
    at: datetime | None = None
    to: Address | None = None
    sloppy: int = None  # type: ignore[assignment]
    key: SecretStr = SecretStr("")

    @field_validator("number", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return int(value)


class Express(Order):
    fast: bool = True


class Lines(RootModel[list[Address]]):
    pass


class Outer:
    class Inner(BaseModel):
        value: frozenset[int]


class Several(BaseModel, Generic[T]):
    items: list[T]


class Private(BaseModel):
    name: str
    _count: int = PrivateAttr(default=0)


class Doubling(BaseModel):
    """Its validator changes what it made before."""

    value: int

    @field_validator("value")
    @classmethod
    def _value(cls, value: int) -> int:
        return value * 2


@dataclass
class WithInitVar:
    value: int
    seed: InitVar[int] = 3

    def __post_init__(self, seed: int) -> None:
        self.value += seed


def plain() -> Plain:
    value = Plain("Ada", date(2026, 1, 2), {"a", "b"})
    value.total = 7
    return value


def order(kind: type[Order] = Order) -> Order:
    return kind(
        orderNumber="7",
        title="pencils",
        id=UUID(int=7),
        at=datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        to=Address(street="Main", extra={1: "one"}),
        key=SecretStr("of the order"),
        more={"unknown": (1, 2)},
    )


VALUES: dict[str, Any] = {
    "text": "ä\N{SNOWMAN}",
    "none": None,
    "true": True,
    "float": 0.1,
    "datetime": datetime(2026, 11, 29, 12, 30, 1, 5),
    "utc": datetime(2026, 11, 29, tzinfo=UTC),
    "offset": datetime(2026, 11, 29, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "first of two": datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
    "second of two": datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    "date": date(1, 1, 1),
    "time": time(23, 59, 59, 999999),
    "time of a zone": time(12, tzinfo=BERLIN),
    "timedelta": timedelta(days=-3, microseconds=7),
    "longest": timedelta.max,
    "uuid": UUID(int=5),
    "decimal": Decimal("1.10"),
    "decimal nan": Decimal("NaN"),
    "nan": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "beyond 64 bits": 2**70,
    "beyond decimal": -(2**20000),
    "complex": 1 - 2j,
    "fraction": Fraction(1, 3),
    "bytes": bytes(range(256)),
    "bytearray": bytearray(b"\0a"),
    "set": {1, "a", (2, 3)},
    "frozenset": frozenset({date(2026, 1, 1)}),
    "tuple": (1, [2, (3,)]),
    "empty": [(), set(), {}, []],
    "int keys": {1: "a", "1": "b", None: "c", (1, 2): {2.5: "d"}, Colour.RED: "e"},
    "enum": Colour.BLUE,
    "int enum": Level.HIGH,
    "str enum": Way.POST,
    "flags": Rights.READ | Rights.WRITE,
    "odd enum": [Odd.FIRST, Odd.PAIR],
    "dataclass": plain(),
    "frozen dataclass": Frozen(inner=plain(), values=(1, 2)),
    "without equality": WithoutEquality(3),
    "pydantic dataclass": Checked(when=datetime(2026, 1, 1, tzinfo=UTC)),
    "model": order(),
    "derived in place of its base": [order(Express)],
    "root model": Lines([Address(street="a"), Address(street="b")]),
    "nested class": Outer.Inner(value=frozenset({1, 2})),
    "named tuple": Point(1),
    "text of a class": Name("x"),
    "ordered": OrderedDict([("b", 1), ("a", 2)]),
    "default": defaultdict(list, {"a": [1]}),
    "counter": Counter("abca"),
    "deque": deque([1, (2,)], maxlen=5),
    "path": Path("/a/b"),
    "windows": PureWindowsPath("c:/a"),
    "address": [IPv4Address("10.0.0.1"), IPv6Network("2001:db8::/32")],
    "url": HttpUrl("https://example.org/a?b=c"),
    "zone": BERLIN,
    "secret": SecretStr("typed"),
    # What looks like a tag, a reference or a template of somebody's is data.
    "like a type": {"$type": "datetime", "value": "2026-01-01", "types": [[["a"], "UUID"]]},
    "like a block": {"$ref": "x", "\\$ref": "y", "__prefect_kind": "jinja", "template": "{{ a }}"},
}


def differences(one: Any, other: Any, place: str = "inputs") -> list[str]:
    """Where two values differ, in value or type."""
    if type(one) is not type(other):
        return [f"{place}: {type(one).__name__} is not {type(other).__name__}"]
    if isinstance(one, BaseModel):
        pairs = (dict(one) | (one.model_extra or {}), dict(other) | (other.model_extra or {}))
        unset = [] if one.model_fields_set == other.model_fields_set else [f"{place}: set"]
        return unset + differences(*pairs, place)
    if isinstance(one, dict):
        keys = differences(list(one), list(other), f"{place}.keys")
        return keys or [d for k in one for d in differences(one[k], other[k], f"{place}.{k}")]
    if isinstance(one, list | tuple | deque):
        if len(one) != len(other):
            return [f"{place}: length"]
        pairs_of = enumerate(zip(one, other, strict=True))
        return [d for i, pair in pairs_of for d in differences(*pair, f"{place}[{i}]")]
    if isinstance(one, WithoutEquality):
        return differences(one.value, other.value, place)
    if isinstance(one, datetime | time) and (one.tzinfo, one.fold) != (other.tzinfo, other.fold):
        return [f"{place}: {one!r} is not {other!r}"]
    return [] if one == other or repr(one) == repr(other) else [f"{place}: {one!r}, not {other!r}"]


# Those without secrets, which are deleted when their run is over.
OPEN = {name: VALUES[name] for name in VALUES if "secret" not in name and "model" not in name}
del OPEN["derived in place of its base"]


def compare(inputs: Any) -> list[str]:
    """An entrypoint that gets ``VALUES``, whatever text they have."""
    return differences(inputs, VALUES | {"text": inputs["text"]})


def compare_open(inputs: Any) -> list[str]:
    """An entrypoint that gets ``OPEN``."""
    return differences(inputs, OPEN | {"text": inputs["text"]})


WHOLE: dict[str, Any] = {
    name: VALUES[name]
    for name in ("none", "datetime", "bytes", "tuple", "set", "int keys", "dataclass", "model")
} | {"text": "text", "list": [1, {2}], "number": 3, "enum": Colour.RED, "large": list("ab" * 9_999)}


def which(inputs: Any) -> list[str]:
    """The names of those of ``WHOLE`` that the inputs are."""
    return [name for name, value in WHOLE.items() if not differences(inputs, value)]


def by_name(street: str, extra: dict[int, str]) -> list[str]:
    """An entrypoint that takes an ``Address`` by its fields."""
    return differences((street, extra), ("Main", {1: "one"}))
