"""What a process sends to be stored: unpacked, and held against what it may say."""

import zlib
from typing import Annotated, Any, cast
from uuid import UUID

from pydantic import AfterValidator, AllowInfNan, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from kodosumi_prefect.events import Kind, State, clean
from kodosumi_prefect.refusals import ForbiddenError, InvalidError, OversizedError
from kodosumi_prefect.spooler.batch import KIND, PAYLOAD, Batch, Header
from kodosumi_prefect.spooler.panel_transport import MOST_BYTES

MOST_EVENTS = 50_000  # of a batch; ours have 2,000
MOST_BATCHES = 1_000
LONGEST = 1_000_000  # characters of what is no payload
_INT = 2**31 - 1
_BIGINT = 2**63 - 1


def _uuid(text: str) -> str:
    return str(UUID(text))


Text = Annotated[str, Field(max_length=LONGEST)]
Number = Annotated[float, AllowInfNan(False)]
Id = Annotated[str, Field(max_length=36), AfterValidator(_uuid)]
# The fields of an Event, in their order.
SentEvent = tuple[
    Number,
    Text,
    str,
    Annotated[int, Field(ge=0, le=_INT)],
    Text | None,
    Text | None,
    State | None,
    Text | None,
]


class SentProcess(TypedDict, total=False):
    """The process that runs the flow, as a header names it."""

    host: Text
    pid: Annotated[int, Field(ge=0, le=_BIGINT)]
    started: Number | None


class SentHeader(TypedDict, total=False):
    """What a process says of its execution. Whose it is, is for the panel to find out."""

    flow_name: Text | None
    deployment_id: Id | None
    entry_point: Text | None
    app_url: Text | None
    summary: Text | None
    description: Text | None
    tags: Annotated[list[Text], Field(max_length=1000)] | None
    author: Text | None
    organization: Text | None
    version: Text | None
    deprecated: bool | None
    process: SentProcess | None


SentBatch = tuple[
    Id,
    Id,
    Annotated[int, Field(ge=1, le=_BIGINT)],
    SentHeader,
    Annotated[list[SentEvent], Field(max_length=MOST_EVENTS)],
    bool | None,
]
_delivery: TypeAdapter[list[Any]] = TypeAdapter(
    Annotated[list[SentBatch], Field(max_length=MOST_BATCHES)]
)


def inflated(body: bytes, encoding: str) -> bytes:
    """A body as it was before it was compressed.

    Raises:
        InvalidError: it is damaged, or compressed otherwise.
        OversizedError: it is larger than a delivery may be.
    """
    if encoding in ("", "identity"):
        return body
    if encoding != "deflate":
        raise InvalidError(
            f"the body is compressed by {encoding[:40]!r}; send it by deflate or not"
        )
    inflating = zlib.decompressobj()
    try:
        whole = inflating.decompress(body, MOST_BYTES + 1)
    except zlib.error as exc:
        raise InvalidError(f"the body cannot be decompressed: {exc}") from exc
    if len(whole) > MOST_BYTES:
        raise OversizedError(f"a delivery has at most {MOST_BYTES:,} bytes")
    if not inflating.eof:
        raise InvalidError("the body ends in the middle of what was compressed")
    return whole


def batches_of(body: bytes, fid: str) -> list[Batch]:
    """A delivery of one execution.

    Raises:
        InvalidError: it is none.
        ForbiddenError: it is about another execution as well.
    """
    try:
        sent = _delivery.validate_json(body)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][:4])
        raise InvalidError(f"this is no delivery of events: {where}: {first['msg']}") from exc
    if any(batch[0] != fid for batch in sent):
        raise ForbiddenError(f"this token is good for events of execution {fid} only")
    return [_batch(batch) for batch in sent]


def opens(batches: list[Batch]) -> bool:
    """Whether this may be the first that is known of an execution."""
    return any(event[KIND] == Kind.META for batch in batches for event in batch.events)


def _batch(sent: Any) -> Batch:
    fid, writer, number, header, events, alive = sent
    stored = [
        event if clean(event[PAYLOAD]) is event[PAYLOAD] else _cleaned(event) for event in events
    ]
    return Batch(fid, writer, number, cast(Header, header), stored, alive)


def _cleaned(event: Any) -> Any:
    return (*event[:PAYLOAD], clean(event[PAYLOAD]), *event[PAYLOAD + 1 :])
