"""Spans as authors write them: begin and end, parents, inputs and outputs, errors."""

import asyncio
import json
import os
import pickle
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from kodosumi_prefect.scope import Scope
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.spans.recording import current_span
from kodosumi_prefect.spans.span import new_id
from kodosumi_prefect.tracer import Tracer
from tests.spooler.recording import fresh


class Heard(Tracer):
    """Keeps what it records."""

    def __init__(self) -> None:
        super().__init__(Scope(fresh()))
        self.heard: list[dict[str, Any]] = []

    def _put(self, kind: Any, payload: str) -> Any:
        assert kind == "span"
        self.heard.append(json.loads(payload)["Span"])

    def of(self, at: str) -> list[dict[str, Any]]:
        return [body for body in self.heard if body["at"] == at]


@pytest.fixture
def tracer(settings: Settings) -> Iterator[Heard]:
    with use_settings(settings):
        yield Heard()


def test_begin_is_recorded_at_once_and_the_end_with_what_was_set(tracer: Heard) -> None:
    with tracer.llm("m-1", input=[{"role": "user"}], provider="p") as call:
        [begin] = tracer.heard
        call.set(output="hello", usage={"input": 3, "output": 1}, response="r-1", cost=0.5)
    [end] = tracer.of("end")
    assert begin == {
        "at": "begin",
        "id": call.id,
        "name": "m-1",
        "type": "llm",
        "model": "m-1",
        "provider": "p",
        "input": [{"role": "user"}],
    }
    assert end["usage"] == {"input": 3, "output": 1}
    assert (end["output"], end["response"], end["cost"], end["status"]) == (
        "hello",
        "r-1",
        0.5,
        "ok",
    )
    with pytest.raises(ValueError, match="usage names prompt"):
        call.set(usage={"prompt": 3})


def test_spans_lie_within_each_other_also_across_threads_and_tasks(tracer: Heard) -> None:
    async def inner(name: str) -> None:
        async with tracer.span(name):
            await asyncio.sleep(0)

    async def outer() -> None:
        async with tracer.span("outer"):
            await asyncio.gather(inner("one"), inner("two"), asyncio.to_thread(threaded))

    def threaded() -> None:
        with tracer.span("three"):
            pass

    asyncio.run(outer())
    first, *others = tracer.of("begin")
    assert "parent" not in first
    assert [body["parent"] for body in others] == [first["id"]] * 3
    with tracer.span("after"):
        pass
    assert "parent" not in tracer.of("begin")[-1]


def test_a_tracer_carries_the_span_it_was_pickled_in(tracer: Heard) -> None:
    with tracer.span("outer") as outer:
        sent = pickle.dumps(Tracer(tracer._own))
    arrived = pickle.loads(sent)
    assert arrived._place_of_spans().parent == outer.id
    # In a span of its own here, that one is the parent.
    with tracer.span("local") as local:
        assert current_span(tracer.fid) == local.id
    again = pickle.loads(pickle.dumps(arrived))
    assert again._place_of_spans().parent == outer.id


def test_a_forked_process_makes_ids_of_its_own() -> None:
    came, went = os.pipe()
    if (child := os.fork()) == 0:
        os.write(went, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(came) as pipe, os.fdopen(went, "w"):
        assert pipe.read(16) not in {new_id() for _ in range(5)}


def test_spans_follow_the_settings_in_force(tracer: Heard, settings: Settings) -> None:
    with tracer.span("one", input="secret"):
        pass
    bare = settings.model_copy(update={"span_contents": "none"})
    with use_settings(bare), tracer.span("two", input="secret"):
        pass
    assert ["input" in begin for begin in tracer.of("begin")] == [True, False]


def test_a_span_of_another_run_is_no_parent(tracer: Heard) -> None:
    other = Heard()
    with tracer.span("mine"), other.span("theirs"):
        pass
    assert "parent" not in other.of("begin")[0]


def test_decorated_functions_of_each_kind(tracer: Heard) -> None:
    @tracer.span(type="tool")
    def add(a: int, b: int = 2) -> int:
        return a + b

    @tracer.span("named", type="tool")
    async def later(a: int) -> int:
        await asyncio.sleep(0)
        return a

    assert add(1) == 3
    assert asyncio.run(later(5)) == 5
    one, two = tracer.of("begin")
    assert (one["name"], one["type"], one["input"]) == ("add", "tool", {"a": 1})
    assert (two["name"], two["input"]) == ("named", {"a": 5})
    assert [end["output"] for end in tracer.of("end")] == [3, 5]
    with pytest.raises(TypeError):
        add()  # type: ignore[call-arg]
    assert tracer.of("end")[-1]["status"] == "error"


def test_who_reads_a_generator_is_not_in_its_span(tracer: Heard) -> None:
    @tracer.span()
    def pieces() -> Iterator[str | None]:
        yield current_span(tracer.fid)
        with tracer.span("within"):
            yield "x"

    @tracer.span()
    async def later() -> AsyncIterator[str | None]:
        yield current_span(tracer.fid)
        yield "x"

    async def read() -> str | None:
        items = later()
        inside = await anext(items)
        assert current_span(tracer.fid) is None
        await items.aclose()
        return inside

    reader = pieces()
    inside = next(reader)
    assert current_span(tracer.fid) is None
    assert next(reader) == "x"
    assert list(reader) == []
    first, within = tracer.of("begin")
    assert first["id"] == inside == within["parent"]
    assert asyncio.run(read()) == tracer.of("begin")[-1]["id"]
    assert [end["status"] for end in tracer.of("end")] == ["ok"] * 3


def test_how_a_span_ends(tracer: Heard) -> None:
    with pytest.raises(ValueError, match="no"), tracer.span("fails"):
        raise ValueError("no\nand more")

    async def cancelled() -> None:
        async with tracer.span("cancelled"):
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            await asyncio.sleep(1)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    with tracer.span("told") as span:
        span.set(error="the tool said no")
    assert [(end["status"], end.get("error")) for end in tracer.of("end")] == [
        ("error", "ValueError: no"),
        ("cancelled", None),
        ("error", "the tool said no"),
    ]


def test_an_end_in_another_context_is_an_end(tracer: Heard) -> None:
    span = tracer.span("moved")
    span.__enter__()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(copy_context().run, span.__exit__, None, None, None).result()
    span.end()
    assert len(tracer.of("end")) == 1


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.mark.parametrize(
    "value",
    [Hostile(), "\ud800", "\x00", float("nan"), {1: {2: b"x"}}, "x" * 10_000_000],
    ids=range(6),
)
def test_any_content_is_kept_somehow(tracer: Heard, value: Any) -> None:
    with tracer.span("odd \ud800\x00", input=value) as span:
        span.set(output=value)
    assert len(tracer.heard) == 2


def test_names_that_are_no_texts_do_not_end_a_run(tracer: Heard) -> None:
    odd: Any = Hostile()
    with tracer.span(odd, type=odd, model=odd, provider=odd) as span:
        span.set(model=odd, response=odd, error=odd, cost=odd)
    begin, end = tracer.heard
    assert begin["name"].startswith("<Hostile without text")
    assert (begin["type"], end["status"]) == ("custom", "error")


def test_what_is_kept_of_contents(tracer: Heard, settings: Settings) -> None:
    def record(**more: Any) -> tuple[Any, Any]:
        tracer.heard.clear()
        with use_settings(settings.model_copy(update=more)):
            tracer._client = None
            with tracer.span("s", input={"secret": "x" * 100}) as span:
                span.set(output="y" * 100)
        begin, end = tracer.heard
        return begin.get("input"), end.get("output")

    assert record(span_contents="none") == (None, None)
    cut_in, cut_out = record(span_contents="cut", span_content_characters=20)
    assert cut_in.startswith('{"secret": "xxxx')
    assert cut_out == "y" * 20 + "… 80 more characters"
    redact = f"{__name__}:redact"
    assert record(redaction=redact) == ({"secret": "********"}, None)
    failing = f"{__name__}:fail"
    assert record(redaction=failing) == ("left out: redaction failed",) * 2
    tracer.heard.clear()
    changed = settings.model_copy(update={"redaction": f"{__name__}:named"})
    with use_settings(changed), tracer.span(type="tool") as span:
        span.set(output=1)
    assert tracer.of("end")[0]["output"] == "tool"
    missing = "no.such.module:redact"
    assert record(redaction=missing) == ("left out: redaction failed",) * 2


class Emitted:
    """Stands for the spool client: keeps what a tracer would send."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.said: list[tuple[str, str]] = []

    def emit_fields(self, fid: str, fields: Any, alive: bool | None = None) -> None:
        self.said.append((fields[1], fields[2]))


def test_the_redaction_sees_all_that_is_said_before_anything_keeps_it(settings: Settings) -> None:
    def said(redaction: str) -> list[tuple[str, str]]:
        changed = settings.model_copy(update={"redaction": redaction})
        emitted = Emitted(changed)
        with use_settings(changed):
            tracer = Tracer(Scope(fresh()))
            tracer._client = emitted  # type: ignore[assignment]
            tracer.debug("a canary flew")
            tracer.action({"text": "canary"})
            tracer.result("no bird")
            tracer.markdown_sync("a *canary*")
            with tracer.span("s", input="canary") as span:
                span.set(output="canary")
        return emitted.said

    found = said(f"{__name__}:without_canaries")
    assert "canary" not in str(found)
    assert [kind for kind, _ in found] == ["debug", "action", "result", "result", "span", "span"]
    assert found[0] == ("debug", "a *** flew")
    assert json.loads(found[1][1]) == {"dict": {"text": "***"}}
    assert json.loads(found[2][1]) == {"str": "no bird"}
    assert json.loads(found[3][1]) == {"Markdown": {"body": "a *****"}}
    nothing = said(f"{__name__}:nothing")
    assert [kind for kind, _ in nothing] == ["span", "span"]
    assert "canary" not in str(nothing)
    failed = said(f"{__name__}:fail")
    assert failed[0] == ("debug", "left out: redaction failed")
    assert json.loads(failed[1][1]) == {"str": "left out: redaction failed"}


def without_canaries(value: Any, what: str, span: str | None) -> Any:
    return json.loads(json.dumps(value).replace("canary", "***"))


def nothing(value: Any, what: str, span: str | None) -> Any:
    return None


def redact(value: Any, direction: str, span: str) -> Any:
    assert span == "s"
    return {"secret": "********"} if direction == "input" else None


def named(value: Any, direction: str, span: str) -> Any:
    return span


def fail(value: Any, direction: str, span: str) -> Any:
    raise RuntimeError(str(value))
