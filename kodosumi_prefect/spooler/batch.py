"""What a writer hands to the spooler: frozen batches, and what is known about their execution."""

from typing import Any, NamedTuple, TypedDict

import orjson

from kodosumi_prefect.events import Event, State, clean

# The fields of an Event in their order; an Event is one. Many thousand of them wait at times, and
# plain tuples of plain values are nothing to the garbage collector, unlike named ones.
Fields = tuple[Any, ...]
KIND, PAYLOAD, DEDUPE = (Event._fields.index(name) for name in ("kind", "payload", "dedupe"))

PROTOCOL = 1  # of batches; the database names the oldest one it still accepts


class Header(TypedDict, total=False):
    """What a writer knows of an execution: fills its row, and makes it if nobody did before.

    ``process`` is ``{"host", "pid", "started"}`` of the process that runs the flow; ``schedule``
    the id of the deployment schedule that made the run, whose owner is that of the schedule;
    ``run_name`` the flow run's own.
    """

    owner: str | None
    flow_name: str | None
    deployment_id: str | None
    entry_point: str | None
    app_url: str | None
    summary: str | None
    description: str | None
    tags: list[str] | None
    author: str | None
    organization: str | None
    version: str | None
    deprecated: bool | None
    process: dict[str, Any] | None
    schedule: str | None
    run_name: str | None


class Batch(NamedTuple):
    """Events of one execution from one writer. Never re-cut once it was sent.

    Attributes:
        fid: the execution, a UUID as text.
        writer: the writer, a UUID as text.
        number: 1 for a writer's first batch of an execution, then without a gap.
        header: what the writer knows of the execution.
        events: the fields of an ``Event`` each, in the order of emission; may be empty.
        alive: True counts as a heartbeat of the execution's own process, False says that this
            process is done with it, None says neither.
    """

    fid: str
    writer: str
    number: int
    header: Header
    events: list[Fields]
    alive: bool | None = None


def pack(batches: list[Batch]) -> bytes:
    """One delivery as a line of JSON, for a spill file."""
    try:
        return orjson.dumps(batches, default=tuple, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, which is not UTF-8
        return orjson.dumps(_clean(batches), option=orjson.OPT_APPEND_NEWLINE)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def unpack(line: bytes) -> list[Batch]:
    """The delivery that ``pack`` wrote.

    Raises:
        ValueError: the line is damaged, as the last one of a killed process may be.
    """
    try:
        return [_batch(fields) for fields in orjson.loads(line)]
    except (TypeError, IndexError) as exc:
        raise ValueError(f"not a delivery: {exc}") from exc


def _batch(fields: list[Any]) -> Batch:
    fid, writer, number, header, events, alive = fields
    return Batch(fid, writer, number, header, [_event(e) for e in events], alive)


def _event(fields: list[Any]) -> Event:
    ts, kind, payload, attempt, source, dedupe, state, note = fields
    return Event(ts, kind, payload, attempt, source, dedupe, State(*state) if state else None, note)
