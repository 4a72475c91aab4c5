"""Types of one value each: how they are written as JSON, and read again."""

import base64
import ipaddress
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import SecretBytes, SecretStr, TypeAdapter

from kodosumi_prefect.forms.bounds import LEAST, MOST

LONGEST_DECIMAL = 14_000  # bits; Python reads no longer integers in decimal


class Scalar(NamedTuple):
    """A type whose values are a text in JSON, or another scalar.

    Attributes:
        kind: its name in the list of types.
    """

    kind: str
    base: type[Any]
    text_of: Callable[[Any], Any]
    value_of: Callable[[Any], Any]


def integer(value: int) -> int | str:
    """As JSON's number, if everybody on the way takes it."""
    value = int(value)
    if LEAST <= value <= MOST:
        return value
    return str(value) if value.bit_length() < LONGEST_DECIMAL else hex(value)


def finite(value: float) -> float | str:
    value = float(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _with_zone(moment: Any) -> str:
    """ISO 8601, with the zone's name behind it as in RFC 9557 if it has one."""
    zone = moment.tzinfo
    key = getattr(zone, "key", None) if isinstance(zone, ZoneInfo) else None
    return f"{moment.isoformat()}[{key}]" if key else str(moment.isoformat())


def moment_of(kind: Any, text: str) -> Any:
    """A date, time or datetime of its text; of two equal hours in autumn the right one."""
    plain, _, zone = text.removesuffix("]").partition("[")
    moment = kind.fromisoformat(plain)
    if not zone:
        return moment
    offset = moment.utcoffset()
    placed = moment.replace(tzinfo=ZoneInfo(zone))
    if offset is not None and placed.utcoffset() != offset:
        placed = placed.replace(fold=1)
    return placed


def _base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _secret_bytes(text: str) -> SecretBytes:
    return SecretBytes(_from_base64(text))


_DURATION: TypeAdapter[timedelta] = TypeAdapter(timedelta)
_ADDRESSES: list[type[Any]] = [
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
]
_ALL = [
    Scalar("datetime", datetime, _with_zone, lambda text: moment_of(datetime, text)),
    Scalar("date", date, date.isoformat, date.fromisoformat),
    Scalar("time", time, _with_zone, lambda text: moment_of(time, text)),
    Scalar(
        "timedelta",
        timedelta,
        lambda value: _DURATION.dump_python(value, mode="json"),
        _DURATION.validate_python,
    ),
    Scalar("UUID", UUID, str, UUID),
    Scalar("Decimal", Decimal, str, Decimal),
    Scalar("Fraction", Fraction, str, Fraction),
    Scalar("complex", complex, str, complex),
    Scalar("bytes", bytes, _base64, _from_base64),
    Scalar("bytearray", bytearray, _base64, lambda text: bytearray(_from_base64(text))),
    Scalar("SecretStr", SecretStr, SecretStr.get_secret_value, SecretStr),
    Scalar(
        "SecretBytes", SecretBytes, lambda value: _base64(value.get_secret_value()), _secret_bytes
    ),
    Scalar("Path", type(Path()), str, Path),
    Scalar("PurePosixPath", PurePosixPath, str, PurePosixPath),
    Scalar("PureWindowsPath", PureWindowsPath, str, PureWindowsPath),
    Scalar("ZoneInfo", ZoneInfo, lambda zone: zone.key, ZoneInfo),
    *(Scalar(kind.__name__, kind, str, kind) for kind in _ADDRESSES),
    # Of JSON's own types: values beyond JSON, and classes that derive from them.
    Scalar("str", str, str.__str__, str),
    Scalar("int", int, integer, lambda number: int(str(number), 0)),
    Scalar("float", float, finite, float),
]
KINDS = {one.kind: one for one in _ALL}
SCALARS = {one.base: one for one in _ALL}
BASES = tuple(one.base for one in _ALL)
