"""What went into a span and came out of it: it is in the span's two events, and nowhere else."""

import asyncio
from typing import Any, NamedTuple

import orjson

from kodosumi_prefect.events import Kind
from kodosumi_prefect.stream.reader import Reader, StoredEvent
from kodosumi_prefect.stream.rows import StoredSpan

LONG = 100_000  # characters of a payload from which on reading it leaves the event loop


class Contents(NamedTuple):
    """None where nothing was kept.

    Attributes:
        source: where the event of the begin, or else the end, came from.
    """

    input: Any
    output: Any
    source: dict[str, Any] | None


async def contents(reader: Reader, fid: str, span: StoredSpan) -> Contents:
    """The contents of a span of an execution."""
    begin, end = await asyncio.gather(
        _event(reader, fid, span.begin_seq), _event(reader, fid, span.end_seq)
    )
    first = begin or end
    given = await _read(begin, "input")
    if given is None:  # what instrumentations only say at its end
        given = await _read(end, "input")
    return Contents(given, await _read(end, "output"), first.source if first else None)


async def _event(reader: Reader, fid: str, seq: int | None) -> StoredEvent | None:
    if seq is None:
        return None
    batch = await reader.page(fid, seq - 1, until=seq, kinds=[Kind.SPAN], limit=1)
    return batch.events[0] if batch.events else None


async def _read(event: StoredEvent | None, key: str) -> Any:
    if event is None:
        return None
    if len(event.payload) < LONG:
        return _content(event.payload, key)
    return await asyncio.to_thread(_content, event.payload, key)


def _content(payload: str, key: str) -> Any:
    try:
        return orjson.loads(payload)["Span"].get(key)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # retention put something else in its place
