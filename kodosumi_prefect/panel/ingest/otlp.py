"""Spans as OpenTelemetry's protocol (OTLP) sends them over HTTP, in protobuf and in JSON.

https://opentelemetry.io/docs/specs/otlp/ has the rules; of the two encodings only ids and enums
differ, so that JSON is read by protobuf's own reader once its ids are as that expects them.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

from kodosumi_prefect.refusals import MalformedError, OversizedError, UnsupportedError

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
ENCODINGS = {"gzip": 31, "deflate": 15}  # zlib's window bits
SECOND = 1_000_000_000  # nanoseconds
FAILED, WELL = 2, 1  # codes of a span's status
TRACE_BYTES, SPAN_BYTES = 16, 8  # of ids
_IDS = frozenset({"traceId", "trace_id", "spanId", "span_id", "parentSpanId", "parent_span_id"})

MediaType = Literal["application/x-protobuf", "application/json"]


class SentSpan(NamedTuple):
    """A span that was sent.

    Attributes:
        trace, id, parent: in hexadecimal digits; ``parent`` is empty of a root.
        began, ended: epoch seconds; None where none is said.
        events: their names and attributes.
        failed: by its status; None if that is not set.
        resource: attributes of what made it.
        tracer: the name of what made it.
    """

    trace: str
    id: str
    parent: str
    name: str
    began: float | None
    ended: float | None
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    failed: bool | None
    description: str
    resource: dict[str, Any]
    tracer: str


def media_type_of(header: str) -> MediaType:
    """In what a request is written.

    Raises:
        UnsupportedError: in nothing that is read here.
    """
    name = header.partition(";")[0].strip().lower()
    if name == PROTOBUF:
        return PROTOBUF
    if name == JSON:
        return JSON
    raise UnsupportedError(f"the body is {name[:40] or 'of no type'!r}; send {PROTOBUF} or {JSON}")


def inflated(body: bytes, encoding: str, most: int) -> bytes:
    """A body as it was before it was compressed.

    Arguments:
        most: bytes that it may have.

    Raises:
        UnsupportedError: it is compressed by something else than gzip or deflate.
        MalformedError: it is damaged.
        OversizedError: it is larger.
    """
    if encoding in ("", "identity"):
        return body
    if (bits := ENCODINGS.get(encoding)) is None:
        raise UnsupportedError(f"the body is compressed by {encoding[:40]!r}; send it by gzip")
    inflating = zlib.decompressobj(bits)
    try:
        whole = inflating.decompress(body, most + 1)
    except zlib.error as exc:
        raise MalformedError(f"the body cannot be decompressed: {exc}") from exc
    if len(whole) > most:
        raise OversizedError(f"a request has at most {most:,} bytes")
    if not inflating.eof:
        raise MalformedError("the body ends in the middle of what was compressed")
    return whole


def spans_of(body: bytes, media_type: MediaType) -> tuple[list[SentSpan], int]:
    """The spans of a request, and how many have no valid ids.

    Raises:
        MalformedError: it is none.
    """
    request = _request(body, media_type)
    spans: list[SentSpan] = []
    invalid = 0
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_spans:
            for span in scoped.spans:
                if len(span.trace_id) == TRACE_BYTES and len(span.span_id) == SPAN_BYTES:
                    spans.append(_span(span, resource, scoped.scope.name))
                else:
                    invalid += 1
    return spans, invalid


def answer(media_type: MediaType, rejected: int = 0, why: str = "") -> bytes:
    """What a request is answered with that was stored, all of it or but some spans."""
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

    response = service.ExportTraceServiceResponse()
    if rejected:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = why
    return _written(response, media_type)


def refusal(media_type: MediaType, why: str) -> bytes:
    """What a request is answered with that was refused: a ``google.rpc.Status``.

    Its code is left unset, as OTLP allows, and its message has the same place on the wire as that
    of a partial success.
    """
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

    if media_type == JSON:
        return json.dumps({"message": why}).encode()
    return _written(service.ExportTracePartialSuccess(error_message=why), media_type)


def _written(message: Any, media_type: MediaType) -> bytes:
    from google.protobuf import json_format

    if media_type == JSON:
        return json.dumps(json_format.MessageToDict(message)).encode()
    written: bytes = message.SerializeToString()
    return written


def _request(body: bytes, media_type: MediaType) -> Any:
    # These take a while to import, and most panels are never sent a span.
    from google.protobuf import json_format
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service

    request = service.ExportTraceServiceRequest()
    try:
        if media_type == PROTOBUF:
            request.ParseFromString(body)
        else:
            sent = json.loads(body)
            _convert_ids(sent)
            json_format.ParseDict(sent, request, ignore_unknown_fields=True)
    except DecodeError as exc:
        raise MalformedError("the body is no ExportTraceServiceRequest in protobuf") from exc
    except (ValueError, RecursionError, json_format.ParseError) as exc:
        reason = " ".join(str(exc).split())[:200]
        raise MalformedError(f"the body is no ExportTraceServiceRequest in JSON: {reason}") from exc
    return request


def _convert_ids(sent: Any) -> None:
    """OTLP writes ids as hexadecimal digits where protobuf's JSON has base64."""
    for span in _spans_in(sent):
        for name in _IDS & span.keys():
            digits = span[name] or ""
            span[name] = base64.b64encode(bytes.fromhex(digits)).decode()


def _spans_in(sent: Any) -> Iterator[dict[str, Any]]:
    for group in _listed(sent, "resourceSpans", "resource_spans"):
        for scoped in _listed(group, "scopeSpans", "scope_spans"):
            yield from _listed(scoped, "spans", "spans")


def _listed(sent: Any, *names: str) -> Iterator[dict[str, Any]]:
    if not isinstance(sent, dict):
        raise ValueError("an object is expected")
    for name in dict.fromkeys(names):
        found = sent.get(name, [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise ValueError(f"{name} is no list of objects")
        yield from found


def _span(span: Any, resource: dict[str, Any], tracer: str) -> SentSpan:
    code = span.status.code
    return SentSpan(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex() if any(span.parent_span_id) else "",
        span.name,
        span.start_time_unix_nano / SECOND if span.start_time_unix_nano else None,
        span.end_time_unix_nano / SECOND if span.end_time_unix_nano else None,
        _attributes(span.attributes),
        [(event.name, _attributes(event.attributes)) for event in span.events],
        code == FAILED if code in (FAILED, WELL) else None,
        span.status.message,
        resource,
        tracer,
    )


def _attributes(sent: Iterable[Any]) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in sent}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return f"<{len(value.bytes_value):,} bytes>"
    return getattr(value, kind)
