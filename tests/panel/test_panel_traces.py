"""``POST /v1/traces``: spans by OpenTelemetry's protocol, in the execution that they name."""

import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry import trace as otel
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from kodosumi_prefect.files.tokens import TOKEN_HEADER, token_for
from kodosumi_prefect.panel.ingest import traces
from kodosumi_prefect.panel.ingest.otlp import JSON, PROTOBUF, SentSpan
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spans.span import begin_payload, end_payload
from kodosumi_prefect.spooler.panel_transport import MOST_BYTES
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.panel.panel_runs import Run, Stand
from tests.panel.test_panel_ingest import end
from tests.spooler.recording import fresh

SECOND = 10**9
TRACE = "5b8efff798038103d269b633813fc60c"


def spans_of(panel: Stand, fid: str) -> dict[str, dict[str, Any]]:
    return {span["name"]: span for span in panel.json(f"/outputs/trace/{fid}")["items"]}


def events_of(panel: Stand, fid: str) -> list[dict[str, Any]]:
    return list(panel.json(f"/outputs/events/{fid}?kinds=span")["items"])


def sent(*spans: dict[str, Any], **resource: Any) -> dict[str, Any]:
    """A request in JSON, with as many resources as there are executions named."""
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in resource.items()]
    group = {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": list(spans)}]}
    return {"resourceSpans": [group]}


def span(number: int, name: str = "x", **more: Any) -> dict[str, Any]:
    now = time.time_ns()
    return {
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        "name": name,
        "startTimeUnixNano": str(now - SECOND),
        "endTimeUnixNano": str(now),
        **more,
    }


@pytest.fixture
def run(panel: Stand) -> Run:
    return panel.run().begin()


@pytest.fixture
def send(panel: Stand) -> Iterator[Callable[..., httpx.Response]]:
    """Posts as an operator, or as whom headers say."""
    with panel.connect() as http:

        def post(body: Any, headers: dict[str, str] | None = None, **more: str) -> httpx.Response:
            who = headers if headers is not None else {API_KEY_HEADER: panel.token}
            kind = {"content-type": more.pop("kind", JSON)}
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            return http.post("/v1/traces", content=content, headers={**who, **kind, **more})

        yield post


def test_an_exporter_of_opentelemetry_by_an_api_key(panel: Stand, run: Run) -> None:
    exporter = OTLPSpanExporter(
        f"{panel.url}/v1/traces",
        headers={API_KEY_HEADER: panel.token},
        compression=Compression.Gzip,
    )
    resource = Resource({"kodosumi.fid": run.fid, "host.name": "elsewhere", "process.pid": 7})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    kept: list[Any] = []

    class Both(SimpleSpanProcessor):
        def on_end(self, span: Any) -> None:
            kept.append(span)

    provider.add_span_processor(Both(exporter))
    tracer = provider.get_tracer("their.agent")
    kind = {"openinference.span.kind": "AGENT"}
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.model": "m",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.input.messages": '[{"role": "user"}]',
    }
    agent = tracer.start_as_current_span("agent", attributes=kind)
    with agent, tracer.start_as_current_span("chat m") as call:
        call.set_attributes(said)
        call.set_status(otel.Status(otel.StatusCode.ERROR, "Cut: off"))
    with provider.get_tracer("prefect").start_as_current_span("flow run"):
        pass
    for _ in range(2):  # as after an answer that was lost
        assert exporter.export(kept).name == "SUCCESS"
    exporter.shutdown()
    assert len(events_of(panel, run.fid)) == 4
    found = spans_of(panel, run.fid)
    assert found.keys() == {"agent", "chat m"}
    chat = found["chat m"]
    assert (chat["parent"], chat["type"], chat["model"]) == (found["agent"]["id"], "llm", "m")
    assert (chat["status"], chat["error"], chat["input_tokens"]) == ("error", "Cut: off", 12)
    [begin, *_] = events_of(panel, run.fid)
    assert (begin["source"]["node"], begin["source"]["pid"]) == ("elsewhere", 7)


def test_json_by_a_token_of_the_execution(
    panel: Stand, run: Run, send: Callable[..., httpx.Response]
) -> None:
    token = {TOKEN_HEADER: token_for(run.fid, panel.settings)}
    endless = span(2, "endless", parentSpanId=f"{1:016X}")
    del endless["endTimeUnixNano"]
    usage = {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}}
    body = sent(span(1, "first", attributes=[usage], newField=[1]), endless)
    answer = send(gzip.compress(json.dumps(body).encode()), token, **{"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()) == (200, {}), answer.text
    assert answer.headers["content-type"] == JSON, answer.text
    found = spans_of(panel, run.fid)
    assert found["first"]["input_tokens"] == 12
    assert found["endless"]["parent"] == f"{1:016x}"
    assert found["endless"]["ended"] is None
    for _ in range(2):
        assert send(body, token).status_code == 200
    assert len(events_of(panel, run.fid)) == 3
    above = [{"key": "kodosumi.parent", "value": {"stringValue": f"{1:016x}"}}]
    assert send(sent(span(3, "below", attributes=above)), token).status_code == 200
    assert spans_of(panel, run.fid)["below"]["parent"] == f"{1:016x}"


def test_who_may_send(panel: Stand, run: Run, send: Callable[..., httpx.Response]) -> None:
    mine = panel.person(f"sender-{fresh()[:8]}")
    theirs, own = panel.run(owner=fresh()).begin(), panel.run(owner=mine.id).begin()
    by_key = {API_KEY_HEADER: mine.token}

    def status(fid: str | None, headers: dict[str, str]) -> int:
        named = {} if fid is None else {"kodosumi.fid": fid}
        return send(sent(span(1), **named), headers).status_code

    assert status(own.fid, by_key) == 200
    assert status(theirs.fid, by_key) == 404
    assert status(run.fid, by_key) == 404, "nobody's is for operators"
    assert status(fresh(), by_key) == 404
    assert status(None, by_key) == status("nonsense", by_key) == 422
    assert status(own.fid, {}) == 401
    assert status(own.fid, {TOKEN_HEADER: "nothing"}) == 401
    token = {TOKEN_HEADER: token_for(own.fid, panel.settings)}
    assert status(theirs.fid, token) == 403
    assert status(None, token) == 200
    end(panel, own.fid, "61 minutes")
    assert status(own.fid, by_key) == status(None, token) == 403
    assert not events_of(panel, theirs.fid)


def test_what_is_not_taken_is_counted(
    panel: Stand, run: Run, send: Callable[..., httpx.Response]
) -> None:
    nobody = [{"key": "kodosumi.fid", "value": {"stringValue": fresh()}}]
    body = sent(
        span(1, "good"),
        span(2, attributes=nobody),
        span(3, attributes=nobody),
        span(4, spanId="ab"),
        **{"kodosumi.fid": run.fid},
    )
    answer = send(body)
    assert answer.status_code == 200, answer.text
    partial = answer.json()["partialSuccess"]
    assert partial["rejectedSpans"] == "3"
    assert "valid trace id" in partial["errorMessage"]
    assert spans_of(panel, run.fid).keys() == {"good"}
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for fid, number in ((run.fid, 1), ("nonsense", 2)):
        made = Span(trace_id=b"t" * 16, span_id=bytes([number] * 8), name=f"proto {number}")
        made.attributes.add(key="kodosumi.fid").value.string_value = fid
        spans.append(made)
    answer = send(request.SerializeToString(), kind=PROTOBUF)
    assert (answer.status_code, answer.headers["content-type"]) == (200, PROTOBUF)
    read = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert read.rejected_spans == 1 and "nonsense" in read.error_message
    del spans[0]
    refused = send(request.SerializeToString(), kind=PROTOBUF)
    assert refused.status_code == 422
    # A google.rpc.Status, whose message has this place.
    assert "nonsense" in ExportTracePartialSuccess.FromString(refused.content).error_message
    assert send(b"", kind=PROTOBUF).status_code == 200


def test_what_cannot_be_read(send: Callable[..., httpx.Response]) -> None:
    def answers(body: Any, **more: str) -> tuple[int, str]:
        answer = send(body, **more)
        return answer.status_code, answer.text

    packed = {"content-encoding": "gzip"}
    for body, headers, status, words in (
        (b"{}", {"kind": "text/plain"}, 415, "'text/plain'; send application/x-protobuf"),
        (b"{}", {"content-encoding": "br"}, 415, "compressed by 'br'"),
        (b"{}", packed, 400, "cannot be decompressed"),
        (gzip.compress(b"{}")[:-9], packed, 400, "ends in the middle"),
        (gzip.compress(b" " * (MOST_BYTES + 1)), packed, 413, f"{MOST_BYTES:,} bytes"),
        (b" " * (MOST_BYTES + 1), {}, 413, "larger than 16 MB"),
        (b"\xff\xff", {"kind": PROTOBUF}, 400, "no ExportTraceServiceRequest in protobuf"),
        (b"{", {}, 400, "no ExportTraceServiceRequest in JSON"),
        (b"[]", {}, 400, "an object is expected"),
        ({"resourceSpans": [7]}, {}, 400, "resourceSpans is no list of objects"),
        (sent(span(1, spanId="xyz")), {}, 400, "non-hexadecimal"),
        (sent(span(1, name=7)), {}, 400, "name"),
        (b"[" * 100_000, {}, 400, "no ExportTraceServiceRequest in JSON"),
    ):
        found = answers(body, **headers)
        assert found[0] == status and words in found[1], (str(body)[:40], found)


def test_protobuf_is_never_taken_for_json(
    panel: Stand, run: Run, send: Callable[..., httpx.Response]
) -> None:
    """Its first byte is a newline, and its second, a length, may be a brace or a bracket."""
    token = {TOKEN_HEADER: token_for(run.fid, panel.settings)}
    for length in map(ord, "[{"):
        for size in range(length):
            request = ExportTraceServiceRequest()
            made = request.resource_spans.add().scope_spans.add().spans.add()
            made.trace_id, made.span_id, made.name = b"t" * 16, b"s" * 8, "n" * size
            body = request.SerializeToString()
            if body[1] == length:
                break
        else:
            raise AssertionError("no name is that long")
        assert send(body, token, kind=PROTOBUF).status_code == 200
        assert send(zlib.compress(body), token, kind=PROTOBUF, **{"content-encoding": "deflate"})


def test_what_went_in_may_be_said_at_the_end(panel: Stand, run: Run) -> None:
    begin = begin_payload("a1", "openai.chat", "llm")
    end = end_payload("a1", input_contents='["hello"]', contents='"hi"')
    run.put(run.event("span", begin), run.event("span", end))
    found = panel.json(f"/outputs/trace/{run.fid}/a1")
    assert (found["input"], found["output"]) == (["hello"], "hi")


def made(number: int, began: float, ended: float | None, **attributes: Any) -> SentSpan:
    name = f"span {number}"
    return SentSpan(
        *(TRACE, f"{number:016x}", "", name, began, ended, attributes, [], None, "", {}, "")
    )


def bodies(spans: Iterable[SentSpan], settings: Settings) -> list[tuple[float, dict[str, Any]]]:
    events = traces._events(list(spans), settings)
    return [(event.ts, json.loads(event.payload)["Span"]) for event in events]


def test_odd_times_and_numbers(settings: Settings) -> None:
    now = time.time()
    backwards = made(1, now - 10, now - 20, **{"gen_ai.usage.input_tokens": -5})
    (began, _), (ended, last) = bodies([backwards], settings)
    assert began == ended == now - 10
    assert "usage" not in last
    ahead = [made(2, now + 3590, now + 3600), made(3, now + 3595, now + 3598)]
    times = [moment for moment, _ in bodies(ahead, settings)]
    assert times == pytest.approx([now - 10, now, now - 5, now - 2], abs=5)
    assert [end - times[0] for end in times] == pytest.approx([0, 10, 5, 8])
    behind = [moment for moment, _ in bodies([made(4, now - 3600, now - 3590)], settings)]
    assert behind == pytest.approx([now - 3600, now - 3590])
    [(moment, _)] = bodies([made(5, 0.0, None)._replace(began=None)], settings)
    assert moment >= now


def test_contents_follow_the_panels_settings(settings: Settings) -> None:
    said = {"openinference.span.kind": "TOOL", "input.value": "canary", "output.value": "canary"}
    now = time.time()
    both = bodies([made(1, now, now, **said)], settings)
    assert [body.get("input") or body.get("output") for _, body in both] == ["canary"] * 2
    none = settings.model_copy(update={"span_contents": "none"})
    assert "canary" not in json.dumps(bodies([made(1, now, now, **said)], none))


def test_children_of_spans_that_are_left_out_lie_above_them(settings: Settings) -> None:
    now = time.time()
    agent, hidden, tool = (made(number, now, now) for number in (1, 2, 3))
    hidden = hidden._replace(parent=agent.id, tracer="prefect")
    tool = tool._replace(parent=hidden.id)
    circle = [span._replace(parent=hidden.id) for span in (agent, hidden, tool)]
    begun = [body for _, body in bodies([agent, hidden, tool], settings) if body["at"] == "begin"]
    assert [(body["name"], body.get("parent")) for body in begun] == [
        ("span 1", None),
        ("span 3", agent.id),
    ]
    assert len(bodies(circle, settings)) == 4
