"""Runs whose spans tests and benchmarks write, as agents would have."""

import time
from typing import Any, NamedTuple
from uuid import uuid4

from kodosumi_prefect.events import Event, Kind, serialize
from kodosumi_prefect.events import json_text as text_of
from kodosumi_prefect.spans.span import Usage, begin_payload, end_payload
from tests.panel.panel_runs import Run, Stand

BATCH = 2000  # events of one transaction


class Said(NamedTuple):
    """A span: from when to when in seconds of its run; ``end`` None if it never ended."""

    id: str
    name: str
    type: str
    begin: float
    end: float | None
    parent: str | None = None
    input: Any = None
    output: Any = None
    more: dict[str, Any] = {}  # noqa: RUF012 -- nobody changes it
    model: str | None = None
    source: str | None = None
    attempt: int = 1


def events(spans: list[Said], began: float) -> list[Event]:
    """Both events of each, in the order of their times."""
    found: list[Event] = []
    for span in spans:
        contents = None if span.input is None else text_of(span.input)
        payload = begin_payload(
            span.id, span.name, span.type, parent=span.parent, model=span.model, contents=contents
        )
        at = began + span.begin
        found.append(Event(at, Kind.SPAN, payload, span.attempt, source=span.source))
        if span.end is None:
            continue
        contents = None if span.output is None else text_of(span.output)
        more = {"status": "ok"} | span.more
        payload = end_payload(span.id, began=at, model=span.model, contents=contents, **more)
        found.append(Event(began + span.end, Kind.SPAN, payload, span.attempt, source=span.source))
    return sorted(found, key=lambda event: event.ts)


def write(run: Run, spans: list[Said], began: float | None = None, *more: Event) -> Run:
    """Put spans, and other events at their times, into a run that has begun."""
    began = time.time() - 60 if began is None else began
    all_ = sorted([*events(spans, began), *more], key=lambda event: event.ts)
    for start in range(0, len(all_), BATCH):
        run.put(*all_[start : start + BATCH])
    return run


ASKED = [
    {"role": "system", "content": "You answer with what you found, and say where."},
    {"role": "user", "content": "Which towns by the **sea** have the most sun?"},
]
CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "function": {"name": "search", "arguments": '{"query": "sunny towns"}'}}
    ],
}
TOWNS = [{"town": "Nice", "hours": 2724.5}, {"town": "Split", "hours": 2631.0}]
ANSWER = "1. **Nice**, 2,724 hours a year\n2. **Split**, 2,631 hours\n\n<script>alert(1)</script>"


def agent(run: Run, began: float | None = None) -> Run:
    """An agent that asked a model, two tools at once and a person, in a run of a minute."""
    began = time.time() - 60 if began is None else began
    task = serialize_task("summarise-1")
    usage = {"usage": Usage(812, 64, 500, 20), "cost": 0.0042}
    spans = [
        Said("a1", "research", "agent", 0.2, 58.0, None, {"topic": "sun"}, ANSWER),
        Said("m1", "gpt-5-mini", "llm", 0.4, 4.1, "a1", ASKED, CALLS, usage, "gpt-5-mini"),
        Said("t1", "search", "tool", 4.2, 9.8, "a1", {"query": "sunny towns"}, TOWNS),
        Said("r1", "pages of the coast", "retrieval", 4.5, 9.0, "t1", "sunny towns", TOWNS),
        Said("e1", "text-embedding-3-small", "embedding", 4.6, 5.0, "r1", "sunny towns", None,
             {"usage": Usage(3), "cost": 0.00000006}, "text-embedding-3-small"),
        Said("t2", "weather", "tool", 4.2, 6.0, "a1", {"town": "Nice"}, None,
             {"status": "error", "error": "TimeoutError: the station did not answer in 1.5 s"}),
        Said("c1", "summarise", "chain", 30.0, 50.0, "a1"),
        Said("m2", "summary", "llm", 31.0, 49.0, "c1", ASKED, ANSWER,
             {"usage": Usage(10_812, 1764)}, "local-model", task),
        Said("m3", "gpt-5-mini", "llm", 51.0, 57.5, "a1", ASKED, ANSWER, usage, "gpt-5-mini"),
    ]  # fmt: skip
    lid = str(uuid4())
    lock = {"name": "approve", "lid": lid, "title": "Is this fine?", "data": None}
    lease = {"name": "approve", "lid": lid, "result": {"fine": True}}
    more = [
        Event(began + 3.0, "action", serialize({"tool": "search", "query": "sunny"}), 1),
        Event(began + 10.5, "lock", serialize(lock), 1),
        Event(began + 29.0, "lease", serialize(lease), 1),
        Event(began + 5.5, "stdout", "asking the station", 1),
        Event(began + 40.0, "stdout", "a line of the task", 1, source=task),
    ]
    return write(run, spans, began, *more)


def serialize_task(name: str) -> str:
    """The source of events of a task run of this name."""
    return text_of({"task_run": {"id": str(uuid4()), "name": name}, "node": "node-1", "pid": 7})


def many(run: Run, spans: int, began: float | None = None) -> Run:
    """Agents with a model call and tools below each, ``spans`` in all."""
    began = time.time() - 3600 if began is None else began
    said, step = [], 3500 / spans
    usage: dict[str, Any] = {"usage": Usage(800, 60), "cost": 0.001}
    failed: dict[str, Any] = {"status": "error", "error": "ValueError: no"}
    for n in range(spans):
        at = n * step
        if n % 10 == 0:
            said.append(Said(f"s{n}", f"agent {n}", "agent", at, at + 10 * step))
            continue
        top, model = f"s{n - n % 10}", n % 3 == 1
        more = usage if model else failed if n % 97 == 0 else {}
        said.append(
            Said(f"s{n}", "gpt-5-mini" if model else f"tool {n}", "llm" if model else "tool",
                 at, at + step * 0.9, top, f"question {n}", f"answer {n}", more,
                 "gpt-5-mini" if model else None)
        )  # fmt: skip
    return write(run, said, began)


def odd(stand: Stand) -> Run:
    """Two attempts; spans that never end, end too early, of a wrong clock, circle or type."""
    run = stand.run(summary="Odd").begin()
    began = time.time() - 100
    write(
        run, [Said("o1", "first try", "agent", 0, 9), Said("o2", "m", "llm", 1, None, "o1")], began
    )
    run.fail()
    run.attempt = 2
    run.status("running")
    spans = [
        Said("p1", "second try", "agent", 20, 60, attempt=2),
        Said("p2", "never ends", "tool", 21, None, "p1", attempt=2),
        Said("p3", "ends before it began", "tool", 22, 21.5, "p1", attempt=2),
        Said("p5", "no such type", "dance", 23, 24, "p1", attempt=2),
        Said("p6", "circle one", "tool", 25, 26, "p7", attempt=2),
        Said("p7", "circle two", "tool", 25, 27, "p6", attempt=2),
        Said("p8", "nobody's child", "tool", 28, 29, "gone", attempt=2),
        Said("p9", "longer than what it is in", "tool", 59, 66, "p1", attempt=2),
    ]
    late = events([Said("p4", "an hour ahead", "tool", 3630, 3640, "p1", attempt=2)], began)
    those = events(spans, began)
    place = next(n for n, event in enumerate(those) if '"p5"' in event.payload)
    run.put(*those[:place], *late, *those[place:])
    return run.finish()
