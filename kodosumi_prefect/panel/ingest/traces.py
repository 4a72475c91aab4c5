"""Storing spans that other programs send by OpenTelemetry's protocol, each in its execution."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import orjson

from kodosumi_prefect.events import Event, Kind, clean
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.ingest.actions import Ingest
from kodosumi_prefect.panel.ingest.otlp import MediaType, SentSpan, inflated, spans_of
from kodosumi_prefect.refusals import (
    ForbiddenError,
    InvalidError,
    NotFoundError,
    OversizedError,
    RefusedError,
    UnavailableError,
)
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spans.otel import begin_of, end_of, told
from kodosumi_prefect.spans.otel.dialects import is_left_out, is_pending
from kodosumi_prefect.spans.span import LONGEST_NAME
from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.spooler.panel_transport import MOST_BYTES
from kodosumi_prefect.stream.reader import Reader

FID, PARENT = "kodosumi.fid", "kodosumi.parent"  # attributes: the execution, the span above
EVENTS = 2_000  # of a batch
AHEAD = 60.0  # seconds that another clock may be ahead of ours
AGAIN_SECONDS = 2.0


class Sender(NamedTuple):
    """Who sends spans: by a token of an execution, or by an account.

    Attributes:
        fid: of the token.
    """

    fid: str | None
    user: User | None


class Stored(NamedTuple):
    """What became of a request.

    Attributes:
        rejected: spans that were not taken.
        why: of the first of these.
    """

    rejected: int
    why: str


class _Rejected:
    """Spans that are not taken, and why."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.first: RefusedError | None = None

    def add(self, refusal: RefusedError, count: int) -> None:
        self.first = self.first or refusal
        self.reasons[refusal.detail] += count


async def store(
    ingest: Ingest,
    settings: Settings,
    reader: Reader,
    sender: Sender,
    body: AsyncIterator[bytes],
    media_type: MediaType,
    encoding: str,
) -> Stored:
    """Store the spans of a request, and all or nothing of those of one execution.

    A request that is sent again changes nothing: the events of a span are stored once.

    Raises:
        MalformedError, OversizedError, UnsupportedError: it is none that is read here.
        InvalidError, ForbiddenError, NotFoundError: no span of it was taken.
        UnavailableError: it can be sent again.
    """
    who = sender.fid or (sender.user.id if sender.user is not None else "")
    with ingest.loaded(who) as load:
        content = bytearray()
        async for piece in body:
            load(len(piece))
            content += piece
            if len(content) > MOST_BYTES:
                raise OversizedError(f"a request has at most {MOST_BYTES:,} bytes")
        async with ingest.unpacking:
            whole = await asyncio.to_thread(inflated, bytes(content), encoding, MOST_BYTES)
            load(max(len(whole) - len(content), 0))
            spans, invalid = await asyncio.to_thread(spans_of, whole, media_type)
        rejected = _Rejected()
        if invalid:
            rejected.add(InvalidError("a span without a valid trace id and span id"), invalid)
        taken = await _taken(ingest, settings, reader, sender, spans, rejected)
        del spans
        if rejected.first is not None and not taken:
            raise rejected.first
        async with ingest.unpacking:
            batches = await asyncio.to_thread(_batches, taken, settings)
        if batches and (outcome := await ingest.store(batches, len(whole))) is not None:
            which, values = outcome
            raise UnavailableError(
                f"the spans are not stored: {which}: {values[-1]}", retry_after=AGAIN_SECONDS
            )
    return Stored(rejected.reasons.total(), next(iter(rejected.reasons), ""))


async def _taken(
    ingest: Ingest,
    settings: Settings,
    reader: Reader,
    sender: Sender,
    spans: Iterable[SentSpan],
    rejected: _Rejected,
) -> dict[str, list[SentSpan]]:
    """Spans by the execution that they are stored in."""
    named: dict[str, list[SentSpan]] = {}
    for span in spans:
        named.setdefault(_named(span) or sender.fid or "", []).append(span)
    taken: dict[str, list[SentSpan]] = {}
    for name, sent in named.items():
        try:
            fid = _fid(name, sender)
            if sender.user is not None:
                await _admit(ingest, settings, reader, sender.user, fid)
        except RefusedError as refusal:
            rejected.add(refusal, len(sent))
        else:
            taken.setdefault(fid, []).extend(sent)
    return taken


def _named(span: SentSpan) -> str | None:
    name = span.attributes.get(FID) or span.resource.get(FID)
    return None if name is None else str(name)


def _fid(name: str, sender: Sender) -> str:
    if not name:
        raise InvalidError(f"which execution? set {FID} in the resource, or send a token of it")
    try:
        fid = str(UUID(name))
    except ValueError:
        raise InvalidError(f"{FID} is {name[:40]!r}; it is the id of an execution") from None
    if sender.fid is not None and fid != sender.fid:
        raise ForbiddenError(f"this token is good for spans of execution {sender.fid} only")
    return fid


async def _admit(ingest: Ingest, settings: Settings, reader: Reader, user: User, fid: str) -> None:
    row = await reader.status(fid, user.sees(settings))
    if row is None:
        raise NotFoundError(f"there is no execution {fid}")
    if not user.owns(row.owner):
        raise ForbiddenError(f"only the owner of execution {fid} and operators may do this")
    await ingest.known(fid)


def _batches(taken: dict[str, list[SentSpan]], settings: Settings) -> list[Batch]:
    batches: list[Batch] = []
    for fid, spans in taken.items():
        events = _events(spans, settings)
        writer = str(uuid4())
        for number, start in enumerate(range(0, len(events), EVENTS), 1):
            piece: list[Any] = events[start : start + EVENTS]
            batches.append(Batch(fid, writer, number, {}, piece))
    return batches


def _events(spans: list[SentSpan], settings: Settings) -> list[Event]:
    """The events of spans of one execution; those of which others tell are left out."""
    above = {span.id: span.parent for span in spans if not _is_shown(span)}
    times = [moment for span in spans for moment in (span.began, span.ended) if moment]
    now = time.time()
    # A clock that is ahead is set right, with what it took kept; one behind cannot be told.
    ahead = max(times, default=now) - now
    shift = ahead if ahead > AHEAD else 0.0
    events: list[Event] = []
    for span in spans:
        if span.id not in above:
            events += _events_of(span, _parent(span, above), shift, now, settings)
    return events


def _is_shown(span: SentSpan) -> bool:
    return not is_left_out(span.tracer) and not is_pending(span.attributes)


def _parent(span: SentSpan, above: dict[str, str]) -> str | None:
    parent = span.parent
    for _ in range(len(above) + 1):
        if parent not in above:
            break
        parent = above[parent]
    named = span.attributes.get(PARENT) or span.resource.get(PARENT)
    return parent or (str(named) if named else None)


def _events_of(
    span: SentSpan, parent: str | None, shift: float, now: float, settings: Settings
) -> Iterable[Event]:
    began = now if span.began is None else span.began - shift
    source = _source(span.resource)
    said = told(
        clean(span.name),
        span.attributes,
        span.events,
        failed=span.failed,
        description=span.description or None,
    )
    key = f"otlp:{span.trace}:{span.id}"
    begin = begin_of(said, span.id, parent, settings)
    yield Event(began, Kind.SPAN, begin, source=source, dedupe=f"{key}:begin")
    if span.ended is not None:
        ended = max(began, span.ended - shift)
        end = end_of(said, span.id, settings, began=began, begin=said)
        yield Event(ended, Kind.SPAN, end, source=source, dedupe=f"{key}:end")


def _source(resource: dict[str, Any]) -> str | None:
    """Where spans come from, as far as that is said."""
    node = resource.get("host.name") or resource.get("service.name")
    pid = resource.get("process.pid")
    parts: dict[str, Any] = {}
    if isinstance(node, str):
        parts["node"] = clean(node)[:LONGEST_NAME]
    if isinstance(pid, int) and not isinstance(pid, bool):
        parts["pid"] = pid
    return orjson.dumps(parts).decode() if parts else None
