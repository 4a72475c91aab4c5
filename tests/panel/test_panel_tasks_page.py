"""The chart of an execution's task runs, and the events of one of them, from what Postgres has."""

import json
import time
from uuid import uuid4

from kodosumi_prefect.events import Event
from tests.panel.panel_runs import Run, Stand

ATTACK = "<img src=x onerror=alert(1)>"


def said(run: Run, task: str, name: str, *texts: str) -> None:
    source = {"task_run": {"id": task, "name": name}, "node": "n1", "pid": 7}
    run.put(*(Event(time.time(), "stdout", text, 1, source=json.dumps(source)) for text in texts))


def test_a_run_without_tasks_says_so(panel: Stand) -> None:
    run = panel.run().begin()
    text = panel.get(f"/executions/{run.fid}/tasks").text
    assert "<html" in text and "o task run" in text


def test_task_runs_that_events_tell_of_are_drawn_and_lead_to_their_events(panel: Stand) -> None:
    run = panel.run().begin()
    task = str(uuid4())
    said(run, task, "count-words", "first of the task", "second of the task")
    run.lines("of the flow itself")
    text = panel.get(f"/executions/{run.fid}/tasks").text
    assert "<svg" in text and "count-words" in text and task in text
    part = panel.get(f"/executions/{run.fid}/tasks", params={"fragment": "true"}).text
    assert "<html" not in part and "count-words" in part
    for named in (task, "count-words"):
        events = panel.get(f"/executions/{run.fid}/tasks/{named}").text
        assert "second of the task" in events and "of the flow itself" not in events


def test_an_unknown_task_run_is_not_found(panel: Stand) -> None:
    run = panel.run().begin()
    assert panel.get(f"/executions/{run.fid}/tasks/{uuid4()}").status_code == 404
    assert panel.get(f"/executions/{uuid4()}/tasks").status_code == 404


def test_names_of_task_runs_stay_text(panel: Stand) -> None:
    run = panel.run().begin()
    said(run, str(uuid4()), ATTACK, ATTACK)
    text = panel.get(f"/executions/{run.fid}/tasks").text
    assert "&lt;img" in text and "<img" not in text


def test_the_chart_of_somebody_else_is_not_there(panel: Stand) -> None:
    mira = panel.person(f"mira-{uuid4().hex[:6]}")
    run = panel.run(owner="somebody else").begin()
    assert mira.client.get(f"/executions/{run.fid}/tasks").status_code == 404
    assert mira.client.get(f"/executions/{run.fid}/tasks/any").status_code == 404
