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
    assert {name: body["parent"] for name, body in begun.items()} == dict.fromkeys(
        ("in-task-1", "in-task-2", "in-function", "m-1"), agent["id"]
    )
    assert len([body for body in bodies if body["at"] == "end"]) == 5
    places = {
        json.loads(event.payload)["Span"].get("name"): event.source.get("task_run")
        for event in recorded.events
        if event.kind == "span"
    }
    assert places["in-task-1"]["name"].startswith("named_task")
    assert places["agent"] is None
