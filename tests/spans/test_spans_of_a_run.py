"""Spans of a run, wherever its code is executed, are one tree."""

import json
from typing import Any

import pytest

from kodosumi_prefect.spooler.append import Spooler
from tests.samples import spending, traced
from tests.services import Place
from tests.spooler.recording import execute, row


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


def test_parallel_calls_overshoot_a_budget_by_those_under_way_at_most(ray_place: Place) -> None:
    """Twenty at once, of four functions on Ray; each is ten tokens."""
    execute(ray_place.database, "INSERT INTO kodosumi.budget (per, tokens) VALUES ('run', 600)")
    recorded = ray_place.run(spending.spending, {})
    made = recorded.final["int"]
    assert 60 <= made < 60 + spending.FUNCTIONS * spending.AT_ONCE
    assert row(ray_place.database, recorded.fid)["model_calls"] == made
    spooler = Spooler(ray_place.database, "kodosumi")
    standing = spooler.standings([recorded.fid])[recorded.fid]
    spooler.close()
    assert standing == ("spent", "run", "tokens", pytest.approx(made * 10), 600.0)
