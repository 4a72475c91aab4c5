"""Events of one task run, subflow, node or process."""

import json
from typing import Any

import pytest

from kodosumi_prefect.panel.executions import api as outputs
from tests.panel.panel_runs import Run, Stand

TASK = {"id": "7f0c8a52-9d0e-4c39-8a3e-0d5a8e1f6b01", "name": "count-primes-0"}
SUBFLOW = {"id": "7f0c8a52-9d0e-4c39-8a3e-0d5a8e1f6b02", "name": "eager-fox"}


def from_(run: Run, text: str, kind: str = "stdout", **source: Any) -> Any:
    return run.event(kind, text, source=json.dumps(source) if source else None)


@pytest.fixture
def run(panel: Stand) -> Run:
    run = panel.run()
    return run.put(
        from_(run, "of the flow", node="head", pid=10),
        from_(run, "of the task", node="n1", pid=11, task_run=TASK),
        from_(run, "of the subflow", node="n1", pid=12, subflow=SUBFLOW),
        from_(run, "of its task", "debug", node="n2", pid=11, subflow=SUBFLOW, task_run=TASK),
        from_(run, "of nobody"),
    )


def texts(panel: Stand, run: Run, **query: Any) -> list[str]:
    found = panel.json(f"/outputs/events/{run.fid}", params=query)
    return [item["payload"] for item in found["items"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"task_run": TASK["id"]}, ["of the task", "of its task"]),
        ({"task_run": TASK["name"]}, ["of the task", "of its task"]),
        ({"subflow": SUBFLOW["id"]}, ["of the subflow", "of its task"]),
        ({"subflow": SUBFLOW["name"], "task_run": TASK["name"]}, ["of its task"]),
        ({"node": "n1"}, ["of the task", "of the subflow"]),
        ({"pid": 11}, ["of the task", "of its task"]),
        ({"pid": 11, "node": "n2", "kinds": "debug"}, ["of its task"]),
        ({"pid": 11, "kinds": "stdout"}, ["of the task"]),
        ({"pid": 11, "after": 2}, ["of its task"]),
        ({"task_run": "nobody"}, []),
        ({"task_run": "a\x00'b"}, []),
        ({}, ["of the flow", "of the task", "of the subflow", "of its task", "of nobody"]),
    ],
)
def test_filters_by_source_go_together(
    panel: Stand, run: Run, query: dict[str, Any], expected: list[str]
) -> None:
    assert texts(panel, run, **query) == expected


def test_the_limit_counts_what_fits_the_filter(panel: Stand, run: Run) -> None:
    path = f"/outputs/events/{run.fid}"
    first = panel.json(path, params={"pid": 11, "limit": 1})
    assert [item["seq"] for item in first["items"]] == [2]
    assert (first["next"], first["more"]) == (2, True)
    second = panel.json(path, params={"pid": 11, "limit": 1, "after": first["next"]})
    assert [item["seq"] for item in second["items"]] == [4]
    last = panel.json(path, params={"pid": 11, "limit": 1, "after": second["next"]})
    assert (last["items"], last["next"], last["more"]) == ([], 5, False)


def test_a_filter_that_nothing_fits_moves_the_cursor_on(
    panel: Stand, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "SPAN", 2)
    path = f"/outputs/events/{run.fid}"
    first = panel.json(path, params={"node": "n2"})
    assert (first["items"], first["next"], first["more"]) == ([], 2, True)
    second = panel.json(path, params={"node": "n2", "after": 2})
    assert [item["seq"] for item in second["items"]] == [4]
    assert (second["next"], second["more"]) == (4, True)
    last = panel.json(path, params={"node": "n2", "after": 4})
    assert (last["items"], last["next"], last["more"]) == ([], 5, False)


def test_a_pid_that_is_no_number_is_422(panel: Stand, run: Run) -> None:
    answer = panel.get(f"/outputs/events/{run.fid}", params={"pid": "x"})
    assert answer.status_code == 422
    assert "pid" in answer.json()["detail"]
