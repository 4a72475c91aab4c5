"""Events as rows: of COPY's text format, and as parameters of one INSERT."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from kodosumi_prefect.events import State
from kodosumi_prefect.spooler.batch import Fields

NumberedEvent = tuple[int, Fields, bool]  # seq, event, whether it came after the end

LATEST_TS = 4_000_000_000  # seconds since the epoch; a later timestamp is nonsense


def line(execution: int, seq: int, event: Fields, late: bool) -> str:
    """One row in COPY's text format."""
    ts, kind, payload, attempt, source, _, state, _ = event
    if state is not None or late:
        source = _with_state(source, state, late)
    return (
        f"{execution}\t{seq}\t{_timestamp(ts)}\t{kind}\t{escape(payload)}\t"
        f"{attempt}\t{escape(source) if source else _NULL}\n"
    )


def values(execution: int, seq: int, event: Fields, late: bool) -> dict[str, Any]:
    """The same row as parameters of the query ``add_event``."""
    ts, kind, payload, attempt, source, _, state, _ = event
    if state is not None or late:
        source = _with_state(source, state, late)
    return {
        "id": execution,
        "seq": seq,
        "ts": ts,
        "kind": str(kind),
        "payload": payload,
        "attempt": attempt,
        "source": source,
    }


def _with_state(source: str | None, state: State | None, late: bool) -> str:
    """The source with the state that a status comes from, and a mark of what is late."""
    extra: dict[str, Any] = orjson.loads(source) if source else {}
    if state is not None:
        extra["state"] = dict(zip(("id", "type", "name", "message"), state[:4], strict=True))
    if late:
        extra["late"] = True
    return orjson.dumps(extra).decode()


_NULL = r"\N"


def escape(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\n" in text:
        text = text.replace("\n", "\\n")
    if "\t" in text:
        text = text.replace("\t", "\\t")
    if "\r" in text:
        text = text.replace("\r", "\\r")
    return text


def _timestamp(ts: float) -> str:
    whole, micros = divmod(round(ts * 1_000_000), 1_000_000)
    return f"{_second(whole)}.{micros:06d}+00"


@lru_cache(maxsize=8)
def _second(whole: int) -> str:
    if not 0 <= whole < LATEST_TS:
        raise ValueError(f"{whole} is not a time in seconds since 1970")
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%d %H:%M:%S")
