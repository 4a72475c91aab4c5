"""Spans of OpenTelemetry in a run, whichever provider makes them."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode
from opentelemetry.util._once import Once

from kodosumi_prefect import budgets
from kodosumi_prefect.adapter.at_work import at_work
from kodosumi_prefect.events import Event as RunEvent
from kodosumi_prefect.instrumentation import of_run
from kodosumi_prefect.instrumentation.opentelemetry import providers
from kodosumi_prefect.instrumentation.opentelemetry.processor import processor
from kodosumi_prefect.instrumentation.opentelemetry.providers import observe
from kodosumi_prefect.scope import Scope, entered
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.tracer import Tracer
from tests.spooler.recording import fresh


class Run:
    """A run whose span events are kept."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.scope = Scope(fresh())
        self.events: list[Any] = []
        self.asked: list[str] = []  # of budgets
        self.spent: str | None = None  # what of these says that one is spent
        self.tracer = Tracer(self.scope, self)  # type: ignore[arg-type]

    def ask(self, what: str, fid: str) -> None:
        assert fid == self.scope.fid
        self.asked.append(what)
        if what == self.spent:
            raise budgets.BudgetExceededError("The budget is spent")

    def emit(self, fid: str, event: Any) -> None:
        assert fid == self.scope.fid
        self.events.append(event)

    def emit_fields(self, fid: str, fields: Any) -> None:
        self.emit(fid, RunEvent(*fields))

    def bodies(self, at: str) -> list[dict[str, Any]]:
        bodies = [json.loads(event.payload)["Span"] for event in self.events]
        return [body for body in bodies if body["at"] == at]

    def begun(self) -> dict[str, dict[str, Any]]:
        return {body["name"]: body for body in self.bodies("begin")}

    def parents(self) -> dict[str, str | None]:
        """Names of spans and of what they lie in."""
        begun = self.begun()
        names = {body["id"]: name for name, body in begun.items()}
        return {name: names.get(body.get("parent", "")) for name, body in begun.items()}


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    run = Run(settings)
    monkeypatch.setattr(of_run, "get_client", lambda: run)
    for name in ("check", "check_now", "called"):
        monkeypatch.setattr(budgets, name, partial(run.ask, name))
    observe()
    with use_settings(settings), entered(run.scope):
        yield run


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider(shutdown_on_exit=False)


def test_spans_are_live_and_ended_with_what_they_say(run: Run, provider: TracerProvider) -> None:
    memory = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("openai")
    with tracer.start_as_current_span("chat m", attributes={"gen_ai.request.model": "m"}) as span:
        [begin] = run.bodies("begin")
        span.set_attribute("gen_ai.usage.input_tokens", 3)
        span.set_attribute("gen_ai.prompt", "hello")
    [end] = run.bodies("end")
    assert (begin["name"], begin["type"], begin["model"]) == ("chat m", "llm", "m")
    assert end["id"] == begin["id"] == trace.format_span_id(span.get_span_context().span_id)
    assert (end["usage"], end["input"], end["status"]) == ({"input": 3}, "hello", "ok")
    [exported] = memory.get_finished_spans()
    assert exported.start_time is not None and exported.end_time is not None
    assert [event.ts for event in run.events] == [
        exported.start_time / 10**9,
        exported.end_time / 10**9,
    ]
    assert dict(exported.attributes or {}) == {
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.prompt": "hello",
    }, "what goes elsewhere is as it was"


def test_spans_of_all_makers_are_one_tree(run: Run, provider: TracerProvider) -> None:
    tracer = provider.get_tracer("any")
    with tracer.start_as_current_span("outer"):
        with run.tracer.span("ours"), tracer.start_as_current_span("inner"):
            with run.tracer.span("deepest"):
                pass
            with tracer.start_as_current_span("beside"):
                pass
        with run.tracer.span("later"):
            pass
    with run.tracer.span("root"), tracer.start_as_current_span("in root"):
        pass
    assert run.parents() == {
        "outer": None,
        "ours": "outer",
        "inner": "ours",
        "deepest": "inner",
        "beside": "inner",
        "later": "outer",
        "root": None,
        "in root": "root",
    }


def test_a_parent_that_is_named_counts(run: Run, provider: TracerProvider) -> None:
    tracer = provider.get_tracer("any")
    root = tracer.start_span("root")
    within_root = trace.set_span_in_context(root)
    with run.tracer.span("ours"), tracer.start_as_current_span("inner"):
        tracer.start_span("named", context=within_root).end()
    root.end()
    # It ended, and is the parent nevertheless.
    tracer.start_span("late", context=within_root).end()
    sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    remote = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True, trace_flags=sampled))
    with run.tracer.span("here"):
        tracer.start_span("called", context=trace.set_span_in_context(remote)).end()
    parents = run.parents()
    assert (parents["named"], parents["late"], parents["called"]) == ("root", "root", "here")
    ends = [body["id"] for body in run.bodies("end")]
    assert len(ends) == len(set(ends)) == 7


def test_spans_of_threads_and_tasks_belong_to_the_run(run: Run, provider: TracerProvider) -> None:
    tracer = provider.get_tracer("any")

    async def work() -> None:
        with tracer.start_as_current_span("agent"):
            await asyncio.gather(asyncio.to_thread(span, "threaded"), task("one"), task("two"))

    async def task(name: str) -> None:
        await asyncio.sleep(0)
        span(name)

    def span(name: str) -> None:
        with tracer.start_as_current_span(name):
            pass

    def with_context(context: otel_context.Context) -> None:
        otel_context.attach(context)
        span("raw")

    asyncio.run(work())
    assert run.parents() == {"agent": None, "threaded": "agent", "one": "agent", "two": "agent"}
    # A thread that only got OpenTelemetry's context, and one that got nothing.
    with tracer.start_as_current_span("outer"):
        given = otel_context.get_current()
        thread = threading.Thread(target=with_context, args=(given,))
        thread.start()
        thread.join()
    with at_work(run.scope):
        thread = threading.Thread(target=span, args=("lone",))
        thread.start()
        thread.join()
    assert run.parents()["raw"] == "outer"
    assert run.parents()["lone"] is None


def test_what_is_recorded_by_other_means_is_left_out(run: Run, provider: TracerProvider) -> None:
    prefect, other = provider.get_tracer("prefect"), provider.get_tracer("any")
    with run.tracer.span("ours"):
        with prefect.start_as_current_span("flow run"), other.start_as_current_span("tool"):
            pass
        with provider.get_tracer("prefecture").start_as_current_span("other"):
            pass
    assert run.parents() == {"ours": None, "tool": "ours", "other": "ours"}


def test_a_source_that_is_off_records_nothing(
    run: Run, provider: TracerProvider, settings: Settings
) -> None:
    off = settings.model_copy(update={"span_sources_off": ["opentelemetry"]})
    with use_settings(off), provider.get_tracer("any").start_as_current_span("x"):
        pass
    assert run.events == []


def test_contents_are_cut_or_left_out_before_they_are_recorded(
    run: Run, provider: TracerProvider, settings: Settings
) -> None:
    canary = "canary" + "x" * 10_000_000
    said = {"input.value": canary, "output.value": canary, "openinference.span.kind": "TOOL"}
    tracer = provider.get_tracer("any")
    none = settings.model_copy(update={"span_contents": "none"})
    with use_settings(none), tracer.start_as_current_span("none", attributes=said):
        pass
    assert all("canary" not in event.payload for event in run.events)
    cut = settings.model_copy(update={"span_contents": "cut", "span_content_characters": 6})
    with use_settings(cut), tracer.start_as_current_span("cut", attributes=said):
        pass
    assert run.bodies("begin")[-1]["input"] == "canary… 10,000,000 more characters"
    with tracer.start_as_current_span("full", attributes=said):
        pass
    assert run.bodies("end")[-1]["output"] == canary


def test_calls_of_models_ask_for_the_budget(run: Run, provider: TracerProvider) -> None:
    tracer = provider.get_tracer("any")

    def call() -> None:
        said = {"gen_ai.operation.name": "chat"}
        with tracer.start_as_current_span("chat m", attributes=said):
            pass

    async def calls() -> None:
        call()

    with tracer.start_as_current_span("no call"):
        call()
    asyncio.run(calls())
    assert run.asked == ["check", "called", "check_now", "called"]
    run.events.clear()
    run.spent = "check"
    with pytest.raises(budgets.BudgetExceededError):
        call()
    run.spent = "check_now"
    with pytest.raises(budgets.BudgetExceededError):
        asyncio.run(calls())
    assert run.events == []


class Failing(SpanExporter):
    """As of a collector that is away."""

    def export(self, spans: Any) -> SpanExportResult:
        raise ConnectionError("nobody is there")


def test_an_exporter_that_fails_costs_the_run_nothing(run: Run, provider: TracerProvider) -> None:
    provider.add_span_processor(SimpleSpanProcessor(Failing()))
    memory = InMemorySpanExporter()
    with provider.get_tracer("any").start_as_current_span("before"):
        # Added after the first span, and heard of all the same.
        provider.add_span_processor(SimpleSpanProcessor(memory))
    assert [span.name for span in memory.get_finished_spans()] == ["before"]
    provider.shutdown()
    provider.force_flush()
    with provider.get_tracer("any").start_as_current_span("after"):
        pass
    assert [body["at"] for body in run.bodies("end")] == ["end", "end"]


def test_what_fails_here_does_not_reach_the_code(
    run: Run,
    provider: TracerProvider,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(of_run, "get_client", fails)
    monkeypatch.setattr(processor, "_failed", False)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            with provider.get_tracer("any").start_as_current_span("x"):
                pass
    assert [record.message for record in caplog.records] == [
        "a span of OpenTelemetry was not recorded; others may be neither"
    ]


def test_odd_ends(run: Run, provider: TracerProvider) -> None:
    tracer = provider.get_tracer("any")
    tracer.start_span("endless")
    hour = 3600 * 10**9
    back = tracer.start_span("back", start_time=10 * hour)
    back.end(end_time=9 * hour)
    back.end()
    parent = tracer.start_span("parent")
    child = tracer.start_span("child", context=trace.set_span_in_context(parent))
    parent.end()
    child.end()
    processor.on_end(child)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no"), tracer.start_as_current_span("failed"):
        raise ValueError("no")
    told = tracer.start_span("told")
    told.set_status(Status(StatusCode.ERROR, "too\nbad"))
    told.end()
    ends = run.bodies("end")
    names = {body["id"]: name for name, body in run.begun().items()}
    assert [names[body["id"]] for body in ends[:3]] == ["back", "parent", "child"]
    by_name = {names[body["id"]]: body for body in ends}
    assert "endless" not in by_name
    assert by_name["back"]["began"] == 10 * 3600
    assert run.events[2].ts == 10 * 3600, "nothing ends before it began"
    assert by_name["failed"]["error"] == "ValueError: no"
    assert by_name["told"]["error"] == "too"


def test_a_span_that_began_before_anybody_listened(run: Run) -> None:
    context = trace.SpanContext(1, 0xABC, is_remote=False)
    processor.on_end(
        ReadableSpan("early", context, start_time=10**9, end_time=2 * 10**9, events=[Event("e")])
    )
    assert run.parents() == {"early": None}
    assert [event.ts for event in run.events] == [1.0, 2.0]


def test_spans_outside_of_runs_are_nobodys(settings: Settings, provider: TracerProvider) -> None:
    observe()
    with use_settings(settings), provider.get_tracer("any").start_as_current_span("x"):
        assert processor._around("") is None


def test_a_global_provider_may_be_set_later_and_is_the_authors(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It can be set once in a process, so whether it was is as at its start.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    early = trace.get_tracer("early")  # as a module of the author's has it

    def spans() -> list[str]:
        run.events.clear()
        for name, tracer in (("early", early), ("late", trace.get_tracer("late"))):
            with tracer.start_as_current_span(name):
                pass
        return list(run.begun())

    assert spans() == ["early", "late"]
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider), "none is set"
    with trace.get_tracer("prefect").start_as_current_span("x") as span:
        assert not span.is_recording(), "Prefect's own stay as they are"
    memory = InMemorySpanExporter()
    theirs = TracerProvider(shutdown_on_exit=False)
    theirs.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(theirs)
    assert trace.get_tracer_provider() is theirs
    assert spans() == ["early", "late"]
    assert [span.name for span in memory.get_finished_spans()] == ["early", "late"]


def test_nobody_is_heard_where_the_author_switches_opentelemetry_off(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setattr(providers, "_ours", None)
    with trace.ProxyTracer("any").start_as_current_span("x"):
        pass
    assert run.events == []


def test_proxies_are_as_they_were_without_the_sdk(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "_ours", None)
    monkeypatch.setattr(providers, "find_spec", lambda name: None)
    with trace.ProxyTracer("any").start_as_current_span("x"):
        pass
    assert run.events == []
