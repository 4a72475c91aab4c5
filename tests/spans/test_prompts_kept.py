"""A canary among prompts, answers, output and errors: where the policy leaves it out, it is not."""

import json
import logging
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import psycopg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prefect.settings import temporary_settings
from pydantic import SecretStr

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.adapter.crew import run_crew
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.spooler.actor_transport import ActorTransport
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import unpack
from kodosumi_prefect.spooler.route import Route
from kodosumi_prefect.spooler.transport import Backlog
from tests.panel.panel_process import free_port
from tests.services import Place, in_force

CANARY = "canary-4711"
BLACKENED = "[bird]"


def blacken(value: Any, what: str, span: str | None) -> Any:
    """The redaction of these tests."""
    return json.loads(json.dumps(value).replace(CANARY, BLACKENED))


class Agent:
    role, goal, backstory = "Keeper", f"Find {CANARY}", "Keeps."


class Task:
    """Of a crew; its agent is as CrewAI's own are."""

    description, expected_output, agent, callback = f"Look for {CANARY}", "a bird", Agent, None


class Crew:
    """As much of a crew as ours looks at: prints what it is told, as CrewAI does."""

    step_callback = task_callback = None
    tasks = (Task,)

    def kickoff(self, inputs: Any = None) -> str:
        print(f"Agent thinks: {CANARY}")
        self.step_callback({"thought": CANARY})  # type: ignore[misc]
        return "done"


@flow
def talks(tracer: Tracer) -> None:
    """Says the canary in every way there is, and fails by it."""
    with tracer.span("search", type="tool", input={"q": CANARY}) as span:
        span.set(output=[CANARY])
    with pytest.raises(ValueError), tracer.llm("m", input=CANARY):
        raise ValueError(f"refused {CANARY}")
    run_crew(Crew(), {}, tracer)
    tracer.markdown_sync(f"streamed {CANARY}")
    tracer.debug(CANARY)
    logging.getLogger("theirs").warning("logged %s", CANARY)
    raise RuntimeError(f"failed by {CANARY}")


@flow
def answers(tracer: Tracer) -> dict[str, str]:
    """Returns the canary."""
    return {"found": CANARY}


@flow
def quotes(tracer: Tracer) -> None:
    """Fails by an error that quotes what went into a span."""
    with tracer.span("parse", type="tool", input={"q": CANARY}):
        raise ValueError(f"cannot parse {CANARY}")


class Intercepted:
    """Stands for the handle of the Spooler actor: what Ray would send is pickled, then stored."""

    def __init__(self, database: str) -> None:
        self.spooler = Spooler(database, "kodosumi")
        self.sent: list[bytes] = []

    def __getattr__(self, method: str) -> Any:
        def remote(*arguments: Any) -> Any:
            self.sent.append(cloudpickle.dumps((method, arguments)))
            done: Future[Any] = Future()
            if method == "append":
                self.spooler.append(unpack(arguments[-1]))
            done.set_result((None, []) if method == "standings" else None)
            return SimpleNamespace(future=lambda: done)

        return SimpleNamespace(remote=remote)


def own(place: Place, folder: Path, **more: Any) -> Settings:
    """Settings with a data dir of its own: a process has one client each."""
    url = SecretStr(place.database)
    return place.settings.model_copy(update={"data_dir": folder, "database_url": url, **more})


def everything(database: str, fid: str) -> str:
    """All that our tables hold of an execution, but what people typed and Prefect's own words."""
    with psycopg.connect(database) as connection:
        said = connection.execute(
            "SELECT string_agg(v.kind || v.payload || coalesce(v.source::text, ''), '') "
            "FROM kodosumi.event v JOIN kodosumi.execution e ON e.id = v.execution_id "
            "WHERE e.fid = %s",
            (fid,),
        ).fetchone()
        spans = connection.execute(
            "SELECT string_agg(to_jsonb(s)::text, '') FROM kodosumi.span s "
            "JOIN kodosumi.execution e ON e.id = s.execution_id WHERE e.fid = %s",
            (fid,),
        ).fetchone()
        row = connection.execute(
            "SELECT to_jsonb(e)::text FROM kodosumi.execution e WHERE e.fid = %s", (fid,)
        ).fetchone()
    return f"{said}{spans}{row}"


def test_what_is_redacted_is_nowhere_in_postgres(place: Place, tmp_path: Path) -> None:
    changed = own(place, tmp_path, redaction=f"{__name__}:blacken")
    settings_module.reset_settings(changed)
    with use_settings(changed):
        recorded = place.run(talks)
    kept = everything(place.database, recorded.fid)
    assert CANARY not in kept
    kinds = {event.kind for event in recorded.events if BLACKENED in event.payload}
    assert kinds == {"span", "agent", "action", "result", "stdout", "debug", "error"}


def test_without_the_policy_it_is_in_all_these_places(place: Place) -> None:
    recorded = place.run(talks)
    kinds = {event.kind for event in recorded.events if CANARY in event.payload}
    assert kinds == {"span", "agent", "action", "result", "stdout", "debug", "error"}


def test_it_is_not_in_files_that_bridge_an_outage(
    place: Place, prefect_server: str, tmp_path: Path
) -> None:
    away = Settings(
        data_dir=tmp_path,
        database_url=SecretStr(f"postgresql://u:p@127.0.0.1:{free_port()}/none"),
        redaction=f"{__name__}:blacken",
        flush_timeout=0.5,
    )
    settings_module.reset_settings(away)
    with use_settings(away), temporary_settings(in_force(prefect_server)):
        talks(return_state=True)
    settings_module.reset_settings()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(BLACKENED.encode() in content for content in files)
    assert not any(CANARY.encode() in content for content in files)


def test_it_is_not_in_what_ray_carries_to_the_spooler(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Intercepted(place.database)
    transport = ActorTransport("instance", "writer", lambda: Backlog(0, 0, 0))
    transport._actor = handle
    monkeypatch.setattr(Route, "transport", lambda self: transport)
    changed = own(place, tmp_path, redaction=f"{__name__}:blacken")
    settings_module.reset_settings(changed)
    with use_settings(changed):
        recorded = place.run(talks)
    settings_module.reset_settings()
    handle.spooler.close()
    said = b"".join(handle.sent)
    assert recorded.row["status"] == "error"
    assert BLACKENED.encode() in said and CANARY.encode() not in said


def test_exporters_of_the_author_get_their_own_spans_alone(place: Place, tmp_path: Path) -> None:
    exported = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))

    @flow
    def traced(tracer: Tracer) -> None:
        with (
            provider.get_tracer("theirs").start_as_current_span("theirs") as span,
            tracer.llm("m", input=CANARY) as call,
        ):
            span.set_attribute("input.value", CANARY)
            call.set(output=CANARY)

    changed = own(place, tmp_path, span_contents="none")
    settings_module.reset_settings(changed)
    with use_settings(changed):
        recorded = place.run(traced)
    assert CANARY not in everything(place.database, recorded.fid)
    [theirs] = exported.get_finished_spans()
    assert (theirs.name, dict(theirs.attributes or {})) == ("theirs", {"input.value": CANARY})


def test_a_result_is_redacted(place: Place, tmp_path: Path) -> None:
    changed = own(place, tmp_path, redaction=f"{__name__}:blacken")
    settings_module.reset_settings(changed)
    with use_settings(changed):
        recorded = place.run(answers)
    assert recorded.state.result() == {"found": CANARY}  # the code's own is as it was
    assert CANARY not in everything(place.database, recorded.fid)
    assert json.loads(recorded.row["final"]) == {"dict": {"found": BLACKENED}}


@pytest.mark.parametrize(
    ("contents", "span_error", "run_error"),
    [
        ("none", "ValueError", "ValueError: left out: span_contents is none"),
        ("cut", "ValueErr… 28 more characters", "ValueError: cannot p… 16 more characters"),
    ],
)
def test_errors_quote_no_more_than_spans_keep(
    place: Place, tmp_path: Path, contents: str, span_error: str, run_error: str
) -> None:
    changed = own(place, tmp_path, span_contents=contents, span_content_characters=8)
    settings_module.reset_settings(changed)
    with use_settings(changed):
        recorded = place.run(quotes)
    assert CANARY not in everything(place.database, recorded.fid)
    [end] = [span for span in map(json.loads, recorded.of("span")) if span["Span"]["at"] == "end"]
    assert end["Span"]["error"] == span_error
    assert recorded.row["error"] == run_error
    assert "Traceback" in recorded.of("error")[0]


@pytest.mark.parametrize(("contents", "left"), [("none", "left out"), ("cut", "more characters")])
def test_what_a_crew_says_is_kept_as_its_spans_are(
    place: Place, tmp_path: Path, contents: str, left: str
) -> None:
    @flow
    def crewed(tracer: Tracer) -> Any:
        return run_crew(Crew(), {}, tracer)

    changed = own(place, tmp_path, span_contents=contents, span_content_characters=4)
    settings_module.reset_settings(changed)
    with use_settings(changed):
        recorded = place.run(crewed)
    said = "".join(recorded.of("agent", "action"))
    assert CANARY not in said and left in said
