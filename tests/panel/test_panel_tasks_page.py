"""The chart of an execution's task runs, and the events of one of them, from what Postgres has."""

import json
import re
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


def mapped(panel: Stand, *names: str) -> Run:
    """A run with a task run of each name; the n-th took n seconds."""
    run = panel.run().begin()
    for n, name in enumerate(names):
        source = json.dumps({"task_run": {"id": str(uuid4()), "name": name}})
        run.put(*(Event(1000.0 + at, "stdout", "x", 1, source=source) for at in (0, n)))
    return run


def rows_of(text: str, kind: str = "") -> list[str]:
    """The names that begin the rows of a chart."""
    found = re.findall(rf'<tr[^>]*id="{kind or "task"}-.*?</tr>', text, re.DOTALL)
    return ["".join(re.findall(r">([^<>\n]+)<", row.split("</a>")[0] + "<")) for row in found]


def test_many_task_runs_are_a_row_for_each_task_that_opens(panel: Stand) -> None:
    run = mapped(panel, *(f"convert-{n}" for n in range(250)), "load-0")
    address = f"/executions/{run.fid}/tasks"
    folded = panel.get(address).text
    assert rows_of(folded, "group") == ["convert", "load"] and rows_of(folded) == []
    assert "250 runs · shortest 0.0 s, median 2 min 4 s" in folded
    assert ">4 min 9 s<" in folded  # the longest
    one = panel.get(address, params={"open": "convert"}).text
    assert len(rows_of(one)) == 200 and "1 to 200 of 250" in one
    rest = panel.get(address, params={"open": "convert", "page": 2}).text
    assert len(rows_of(rest)) == 50 and "201 to 250 of 250" in rest
    assert len(rows_of(panel.get(address, params={"single": True}).text)) == 200


def test_the_slowest_task_run_is_one_click_away(panel: Stand) -> None:
    run = mapped(panel, "quick-0", "steady-0", "slow-0")
    address = f"/executions/{run.fid}/tasks"
    assert re.search(r"Slowest: <a [^>]*>slow-0</a>, 2\.0 s", panel.get(address).text)
    by_time = panel.get(address, params={"sort": "took"}).text
    assert rows_of(by_time) == ["slow-0", "steady-0", "quick-0"]
    assert 'aria-sort="descending"' in by_time


def test_a_task_run_leads_to_its_lines_in_the_log(panel: Stand) -> None:
    run = panel.run().begin()
    task = str(uuid4())
    said(run, task, "count-words", "of the task")
    run.lines("of the flow itself")
    text = panel.get(f"/executions/{run.fid}/tasks").text
    [link] = re.findall(r'<a data-open href="([^"]+)"', text)
    assert link.endswith(f"?tab=log&amp;task_run={task}")
    whole = panel.get(link.replace("&amp;", "&")).text
    log = whole.partition('id="panel-log"')[2].partition("</section>")[0]
    assert "of the task" in log and "of the flow itself" not in log


def test_what_tells_names_apart_is_not_cut(panel: Stand) -> None:
    long = "summarise-one-of-a-great-many-customer-records-of-"
    run = mapped(panel, f"{long}north-0", f"{long}south-0", "x")
    text = panel.get(f"/executions/{run.fid}/tasks").text
    kept = re.findall(r'<span class="kept">([^<]*)</span>', text)
    assert [any(part.endswith(end) for part in kept) for end in ("north-0", "south-0")] == [
        True
    ] * 2
    assert max(map(len, kept)) < 20  # or it does not fit beside the rest


def test_an_unknown_order_is_refused(panel: Stand) -> None:
    run = mapped(panel, "a-0")
    assert panel.get(f"/executions/{run.fid}/tasks", params={"sort": "luck"}).status_code == 422
