"""Events, their kinds, and how a Python value becomes the text that is stored."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel

MAX_DEPTH = 100  # levels of nesting kept
MAX_PARTS = 300_000  # containers and objects kept of one value
MAX_TEXT = 1_000_000  # characters kept of an object's str
WITHOUT_ATTRIBUTES = "TypeError"  # what Kodosumi writes for the type of None, dates, bytes, …
FRAME_ROWS = 1000  # kept of a data frame
FRAME_COLUMNS = 200  # likewise
FRAME_SIZE = 2_000_000  # characters of all rows that are kept
FRAME_CELL = 10_000  # characters of one cell
MAX_INT_BITS = 14_000  # Python refuses to print integers of more than 4,300 digits


class Kind(StrEnum):
    """The kind of an event. The words are Kodosumi's, ``progress`` and ``span`` are ours."""

    META = "meta"
    INPUTS = "inputs"
    AGENT = "agent"
    UPLOAD = "upload"
    DEBUG = "debug"
    STDOUT = "stdout"
    STDERR = "stderr"
    STATUS = "status"
    ERROR = "error"
    ACTION = "action"
    RESULT = "result"
    FINAL = "final"
    LOCK = "lock"
    LEASE = "lease"
    PROGRESS = "progress"
    SPAN = "span"


MAIN_KINDS = frozenset(
    {
        Kind.META,
        Kind.INPUTS,
        Kind.AGENT,
        Kind.STATUS,
        Kind.ERROR,
        Kind.ACTION,
        Kind.RESULT,
        Kind.FINAL,
        Kind.LOCK,
        Kind.LEASE,
        Kind.PROGRESS,
    }
)
STDIO_KINDS = frozenset({Kind.ERROR, Kind.STDOUT, Kind.STDERR, Kind.DEBUG, Kind.UPLOAD})
# What may be left out where there is too much; files are listed by upload events.
DROPPABLE_KINDS = STDIO_KINDS - MAIN_KINDS - {Kind.UPLOAD}


class Status(StrEnum):
    """The five words that Kodosumi clients know."""

    STARTING = "starting"
    RUNNING = "running"
    AWAITING = "awaiting"
    FINISHED = "finished"
    ERROR = "error"


TERMINAL = frozenset({Status.FINISHED, Status.ERROR})


class State(NamedTuple):
    """A Prefect state, as a ``status`` event carries it beside Kodosumi's word.

    ``ts`` is the state's own timestamp in seconds since the epoch: it orders reports of the
    same run that arrive by different ways.
    """

    id: str
    type: str
    name: str
    message: str
    ts: float


class Event(NamedTuple):
    """One thing that happened in an execution, before it has a ``seq``.

    Attributes:
        ts: seconds since the epoch when it was recorded.
        kind: a ``Kind``.
        payload: the stored text: plain, or a JSON envelope made by ``serialize``.
        attempt: Prefect's run count when it was recorded; 0 if that was not known.
        source: JSON object text naming task run, subflow, node and pid, or None.
        dedupe: events of one execution with the same key are stored once.
        state: the Prefect state a ``status`` event reports.
        note: of an ``error`` event, the one line that lists show.
    """

    ts: float
    kind: str
    payload: str
    attempt: int = 0
    source: str | None = None
    dedupe: str | None = None
    state: State | None = None
    note: str | None = None


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """``text`` as Postgres can store it: NUL becomes ␀, lone surrogates become U+FFFD."""
    if text.isascii():
        return text.replace("\x00", "␀") if "\x00" in text else text
    if _UNSTORABLE.search(text) is None:
        return text
    return _UNSTORABLE.sub(lambda m: "␀" if m.group() == "\x00" else "�", text)


def plain(value: Any) -> str:
    """``value`` as the plain text of a ``debug``, ``stdout`` or ``error`` event; never raises."""
    return clean(value if issubclass(type(value), str) else describe(value))


def describe(value: Any) -> str:
    """``str(value)``, or a note of what its ``__str__`` raised; authors' objects may raise."""
    try:
        return str(value)
    except Exception as exc:
        return f"<{type(value).__name__} without text: its __str__ raised {type(exc).__name__}>"


def serialize(value: Any, name: str | None = None) -> str:
    """The stored envelope of ``value``: a JSON object whose one key is the value's type name.

    Pydantic models become ``{"ClassName": {fields}}``; ``dict str int float bool`` stand under
    those names; lists and tuples become ``{"__list__": [envelopes]}``; other objects
    ``{"ClassName": {public attributes}}``, or their str if there are none to show; None and values
    without attributes, as dates, Decimals, bytes and sets, ``{"TypeError": "its str"}``. The shape
    is Kodosumi's. NaN and infinities, which JSON lacks, become the strings ``"NaN"``,
    ``"Infinity"``, ``"-Infinity"``.

    Of a data frame of pandas or polars, or of one alike, the first rows are kept:
    ``{"DataFrame": {"columns": [labels], "data": [rows], "shape": [rows, columns]}}``, with
    ``"index": [labels]`` where rows are not just numbered.
    Never raises: what cannot be read from an object is replaced by a note.

    Arguments:
        name: of the type, for a value that is JSON of something else.
    """
    if name is not None:
        return json.dumps({clean(name): _jsonable(value, _Walk())}, ensure_ascii=False)
    return json.dumps(envelope(value), ensure_ascii=False, allow_nan=False)


def json_text(value: Any) -> str:
    """``value`` as JSON without an envelope; never raises, as ``serialize``."""
    return json.dumps(_jsonable(value, _Walk()), ensure_ascii=False)


def envelope(value: Any) -> dict[str, Any]:
    """The object that ``serialize`` writes as JSON."""
    return _envelope(value, _Walk())


class _Walk:
    """The way through one value: what the current part lies in, and how many parts there were.

    Objects that refer to each other crosswise have more paths than could ever be written, so
    their depth alone is no bound; nor is their str, which walks the same paths.
    """

    def __init__(self) -> None:
        self._above: list[int] = []
        self._parts = 0

    def enter(self, value: Any) -> str | None:
        """Go into a container until ``leave``, or get the note that takes its place."""
        self._parts += 1
        if id(value) in self._above:
            return f"<{type(value).__name__}: itself>"
        if len(self._above) >= MAX_DEPTH:
            return f"<{type(value).__name__}: nested too deep to keep>"
        if self._parts > MAX_PARTS:
            return f"<{type(value).__name__}: one of too many parts to keep>"
        self._above.append(id(value))
        return None

    def leave(self) -> None:
        self._above.pop()

    def refused(self, value: Any, exc: Exception) -> str:
        """The note for a value that raised, which may be while its parts were gone into."""
        if id(value) in self._above:
            del self._above[self._above.index(id(value)) :]
        return f"<{type(value).__name__} that cannot be stored: {type(exc).__name__}>"


def _envelope(value: Any, walk: _Walk) -> dict[str, Any]:
    try:
        return _wrapped(value, walk)
    except Exception as exc:  # a hostile __getattr__, a mapping that changes while it is read
        return {type(value).__name__: walk.refused(value, exc)}


def _wrapped(value: Any, walk: _Walk) -> dict[str, Any]:
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        if (note := walk.enter(value)) is not None:
            return {type(value).__name__: note}
        items = {"__list__": [_envelope(item, walk) for item in value]}
        walk.leave()
        return items
    if isinstance(value, Mapping):
        return {"dict": _jsonable(value, walk)}
    for base in (bool, int, float, str):
        if isinstance(value, base) and not isinstance(value, Enum):
            return {base.__name__: _jsonable(value, walk)}
    if (frame := _frame(value, walk)) is not None:
        return {type(value).__name__: frame}
    fields = _fields(value)
    if fields is not None:
        return {type(value).__name__: _jsonable(fields, walk)}
    return {type(value).__name__ if _has_attributes(value) else WITHOUT_ATTRIBUTES: _text(value)}


def _has_attributes(value: Any) -> bool:
    """Whether a value could have attributes, in a dict or in slots, be there any or not."""
    return hasattr(value, "__dict__") or any("__slots__" in vars(c) for c in type(value).__mro__)


def _fields(value: Any) -> dict[str, Any] | None:
    """The public attributes of a model, dataclass, named tuple or plain object, else None."""
    try:
        if isinstance(value, BaseModel):
            extra = value.__pydantic_extra__ or {}
            return {name: getattr(value, name) for name in type(value).model_fields} | extra
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return dict(value._asdict())
        if isinstance(value, type | Enum | BaseException | date | time) or callable(value):
            return None
        attributes = getattr(value, "__dict__", None)
        if not attributes or type(value).__module__ == "builtins":
            return None
        public = {k: v for k, v in attributes.items() if not str(k).startswith("_")}
        return public or None
    except Exception:  # an author's property or __getattr__ may raise anything
        return None


def _bears(value: object, name: str) -> bool:
    """Whether a class of this name is among a value's; its library need not be imported."""
    return any(base.__name__ == name for base in type(value).__mro__)


def _text(value: Any) -> str:
    """The str of an object; of a long series, which may be set to print all, its beginning."""
    more = ""
    if _bears(value, "Series") and hasattr(value, "head") and len(value) > FRAME_ROWS:
        more = f"\n… the first {FRAME_ROWS:,} of {len(value):,} rows"
        value = value.head(FRAME_ROWS)
    return _cut(plain(value), MAX_TEXT) + more


def _cut(text: str, size: int) -> str:
    left = len(text) - size
    return text if left <= 0 else f"{text[:size]}… {left:,} more characters"


def _frame(value: Any, walk: _Walk) -> dict[str, Any] | None:
    """The first rows of a data frame; None if it is none, or is not like those of today."""
    if not _bears(value, "DataFrame"):
        return None
    try:
        shape = [int(length) for length in value.shape]
        _, _ = shape
        head = value.head(FRAME_ROWS)
        index: list[Any] | None = None
        if hasattr(head, "iloc"):  # pandas
            head = head.iloc[:, :FRAME_COLUMNS]
            labels, index = head.columns.tolist(), head.index.tolist()
            rows = list(head.itertuples(index=False, name=None))
        else:  # polars
            labels = head.columns[:FRAME_COLUMNS]
            rows = head.select(labels).rows()
        numbered = index is None or index == list(range(len(index)))
    except Exception:  # a class that only has the name
        return None
    data: list[list[Any]] = []
    size = 0
    for row in rows:
        cells = [_small(_jsonable(cell, walk)) for cell in row]
        size += len(json.dumps(cells))
        if data and size > FRAME_SIZE:
            break
        data.append(cells)
    frame = {"columns": [_key(label) for label in labels], "data": data, "shape": shape}
    return (
        frame
        if numbered or index is None
        else frame | {"index": [_key(i) for i in index[: len(data)]]}
    )


def _small(cell: Any) -> Any:
    """A cell of a table, cut if it is as long as a document."""
    if isinstance(cell, dict | list):
        text = json.dumps(cell, ensure_ascii=False)
        return cell if len(text) <= FRAME_CELL else _cut(text, FRAME_CELL)
    return _cut(cell, FRAME_CELL) if isinstance(cell, str) else cell


def _jsonable(value: Any, walk: _Walk) -> Any:
    """``value`` as JSON types; cycles and what is too deep or too much become notes."""
    try:
        return _json(value, walk)
    except Exception as exc:
        return walk.refused(value, exc)


def _json(value: Any, walk: _Walk) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _jsonable(value.value, walk)
    if isinstance(value, str):
        return clean(str.__str__(value))
    if isinstance(value, int):
        return int(value) if int(value).bit_length() < MAX_INT_BITS else hex(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if (frame := _frame(value, walk)) is not None:
        return frame
    content = _content(value)
    if content is None:
        return _text(value)
    if (note := walk.enter(value)) is not None:
        return note
    content_json: Any
    if isinstance(content, Mapping):
        content_json = {_key(k): _jsonable(v, walk) for k, v in _items(content)}
    else:
        content_json = [_jsonable(item, walk) for item in content]
    walk.leave()
    return content_json


def _content(value: Any) -> Any:
    """What a container or object is made of: a mapping or an iterable; None if it is neither."""
    if isinstance(value, Mapping | list | set | frozenset):
        return value
    if isinstance(value, tuple):
        return value._asdict() if hasattr(value, "_asdict") else value
    return _fields(value)


def _items(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    try:
        return list(value.items())
    except Exception as exc:
        return [("error", f"its items() raised {type(exc).__name__}")]


def _key(key: Any) -> str:
    return clean(key if type(key) is str else describe(key))
