"""Spans of a run, wherever its code is executed, are one tree."""

import json
from typing import Any

from tests.samples import traced
from tests.services import Place


def test_spans_of_all_processes_of_a_run_lie_in_one_tree(ray_place: Place) -> None:
    recorded = ray_place.run(traced.traced, {})
    bodies = [json.loads(payload)["Span"] for payload in recorded.of("span")]
    begun: dict[str, dict[str, Any]] = {b["name"]: b for b in bodies if b["at"] == "begin"}
    agent = begun.pop("agent")
    assert "parent" not in agent
    names = {body["id"]: name for name, body in begun.items()} | {agent["id"]: "agent"}
    assert {name: names[body["parent"]] for name, body in begun.items()} == {
        "around": "agent",
        "in-function": "around",
        "theirs": "in-function",
        "m-1": "around",
        **{f"own-{number}": "around" for number in (1, 2)},
        **{f"in-task-{number}": f"own-{number}" for number in (1, 2)},
    }
    assert len([body for body in bodies if body["at"] == "end"]) == len(names)
    places = {
        json.loads(event.payload)["Span"].get("name"): event.source.get("task_run")
        for event in recorded.events
        if event.kind == "span"
    }
    assert places["in-task-1"]["name"].startswith("named_task")
    assert places["agent"] is None
