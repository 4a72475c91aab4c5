"""The log of an execution: columns, order, permalinks, offsets, and as a text file."""

import json
import re
from time import time as now

import pytest

from kodosumi_prefect.events import Event
from kodosumi_prefect.panel.executions import log_lines
from kodosumi_prefect.panel.executions.offsets import offset_words, read_offset
from tests.panel.panel_runs import Run, Stand, frames

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 3, in f\nOSError: gone'


def at(ts: float, text: str, kind: str = "stdout", attempt: int = 1, **source: object) -> Event:
    return Event(ts, kind, text, attempt, json.dumps(source) if source else None)


def task(name: str) -> dict[str, str]:
    return {"id": f"id-of-{name}", "name": name}


def started(panel: Stand, run: Run) -> float:
    """When offsets of a run count from."""
    text = panel.get(f"/executions/{run.fid}").text
    found = re.search(r'data-began="([0-9.]+)"', text)
    assert found is not None
    return float(found[1])


def texts(html: str) -> list[str]:
    return re.findall(r'<span class="text">(.*?)</span></li>', html, re.DOTALL)


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("+90s", 90),
        ("90", 90),
        (" + 90 s ", 90),
        ("1:30", 90),
        ("1:02:03.5", 3723.5),
        ("1h 30m", 5400),
        ("2min", 120),
        ("250ms", 0.25),
        ("1d", 86_400),
        ("", None),
        ("soon", None),
        ("90 5", None),
        ("-5s", None),
        ("1:2:3:4", None),
        ("٣s", 3),
    ],
)
def test_offsets_are_read_as_people_type_them(typed: str, seconds: float | None) -> None:
    assert read_offset(typed) == seconds


def test_offsets_are_read_back_as_they_are_written() -> None:
    written = {12.345: "+12.345", 90: "+1:30.000", 3723.5: "+1:02:03.500", -0.02: "-0.020"}
    assert {seconds: offset_words(seconds) for seconds in written} == written
    for seconds in (0.001, 59.999, 60, 3599.9994, 3600, 90_061.25):
        assert read_offset(offset_words(seconds)) == pytest.approx(seconds, abs=0.001)


def test_a_line_has_time_offset_level_task_and_a_link_to_itself(panel: Stand) -> None:
    run = panel.run().begin()
    begun = started(panel, run)
    run.put(
        at(begun + 12.345, "printed"),
        at(begun + 90, "logged", "debug", level="WARNING", task_run=task("count-1")),
    )
    html = panel.get(f"/executions/{run.fid}/log").text
    printed, logged = re.findall(r"<li .*?</li>", html)
    assert '<span class="offset">+12.345</span>' in printed and ">out</span>" in printed
    assert '<span class="offset">+1:30.000</span>' in logged
    assert 'data-level="WARNING">WARNING</span>' in logged and ">count-1</span>" in logged
    assert re.search(r'data-clock="ms">\d\d:\d\d:\d\d\.\d{3}</time>', printed)
    link = re.search(r'href="([^"]*line=\d+#found)"', printed)
    assert link is not None and "tab=log" in link[1]
    with panel.client.stream("GET", f"/executions/{run.fid}/live?after=4") as live:
        got = [next(stream) for stream in [frames(live)] for _ in range(2)]
    assert got[1].data == (
        '<span class="from">count-1</span><span class="level">WARNING</span>logged'
    )


def test_kodosumis_streams_are_without_columns(panel: Stand) -> None:
    run = panel.run().begin()
    run.put(at(now(), "logged", "debug", level="WARNING", task_run=task("count-1"))).finish()
    (line,) = (f for f in panel.whole(f"/outputs/stdio/{run.fid}") if f.event == "debug")
    assert line.data == "logged"


def test_tracebacks_are_marked_in_every_attempt(panel: Stand) -> None:
    run = panel.run().begin()
    run.put(at(now(), f"it failed\n{TRACEBACK}", "debug", level="ERROR"), at(now(), "plain"))
    run.attempt = 2
    run.status("running").fail(TRACEBACK)
    html = panel.get(f"/executions/{run.fid}/log").text
    marks = re.findall(r'<li class="line (\w+)( trace)?', html)
    assert marks == [("debug", " trace"), ("stdout", ""), ("error", " trace")]


def test_lines_stand_in_the_order_of_commits_where_that_is_asked_for(panel: Stand) -> None:
    run = panel.run().begin()
    t = now()
    run.put(at(t + 2, "second"), at(t + 1, "first"), at(t + 3, "third"))
    path = f"/executions/{run.fid}/log"
    assert texts(panel.get(path).text) == ["first", "second", "third"]
    stored = panel.get(f"{path}?order=commit").text
    assert texts(stored) == ["second", "first", "third"] and "data-at" not in stored
    assert texts(panel.get(f"{path}?order=nonsense").text) == ["first", "second", "third"]
    page = panel.get(f"/executions/{run.fid}?tab=log&order=commit").text
    assert re.search(r'name="order" value="commit" checked', page)
    assert f"/executions/{run.fid}/log.txt?order=commit" in page


def test_a_link_to_a_line_leads_to_it_in_a_long_log(panel: Stand) -> None:
    run = panel.run().begin().lines(*(f"line {n}" for n in range(2000)))
    html = panel.get(f"/executions/{run.fid}?tab=log&line=105").text
    html = html[html.index('id="log-list"') :]
    found = re.findall(r'<li class="line stdout found" data-seq="(\d+)"[^>]* id=found', html)
    assert found == ["105"] and "line 100<" in html and "line 1999<" not in html
    for odd in (1, 99_999):  # no line of the log, and no event at all
        html = panel.get(f"/executions/{run.fid}?tab=log&line={odd}").text
        html = html[html.index('id="log-list"') :]
        assert "id=found" not in html and "line 1999<" in html


def test_an_offset_leads_to_its_line(panel: Stand) -> None:
    run = panel.run().begin()
    begun = started(panel, run)
    run.put(*(at(begun + n, f"line {n}") for n in range(200)))
    for typed in ("+90s", "1:30", "1m 30s"):
        html = panel.get(f"/executions/{run.fid}/log", params={"offset": typed}).text
        match = re.search(r'found" data-seq="\d+".*?class="text">(.*?)<', html)
        assert match is not None and match[1] == "line 90"
    html = panel.get(f"/executions/{run.fid}/log", params={"offset": "soon"}).text
    assert 'data-match=""' in html


def test_the_whole_log_is_a_text_file_in_the_order_of_its_times(panel: Stand) -> None:
    run = panel.run().begin()
    begun = started(panel, run)
    numbers = [n ^ 1 for n in range(5000)]  # each pair the wrong way round
    run.put(*(at(begun + n / 100, f"\x1b[31mline {n}\x1b[0m") for n in numbers))
    run.put(at(begun + 60, "of the task", "debug", level="INFO", task_run=task("count-1")))
    run.say("result", "{}")
    answer = panel.get(f"/executions/{run.fid}/log.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert f'filename="{run.fid}.log.txt"' in answer.headers["content-disposition"]
    lines = answer.text.splitlines()
    assert [line.rpartition("  ")[2] for line in lines[:-1]] == [f"line {n}" for n in range(5000)]
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z    \+1:00\.000  INFO      count-1  of the task",
        lines[-1],
    )
    narrowed = panel.get(f"/executions/{run.fid}/log.txt?kind=debug").text.splitlines()
    assert narrowed == lines[-1:]
    stored = panel.get(f"/executions/{run.fid}/log.txt?order=commit").text.splitlines()
    assert [line.rpartition("  ")[2] for line in stored[:2]] == ["line 1", "line 0"]


def test_no_more_than_some_lines_wait_for_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "HELD", 10)
    ordered = log_lines._Ordered(10.0)
    out = []
    for seq in range(1, 101):  # all at one time, so that none is old enough
        ordered.add(log_lines.StoredEvent(seq, 5.0, "stdout", "", 1, None))
        out += [event.seq for event in ordered.ready()]
        assert seq - len(out) <= 10
    assert out + [event.seq for event in ordered.rest()] == list(range(1, 101))


def test_a_subflows_lines_are_shown_alone_and_its_run_is_named(panel: Stand) -> None:
    run = panel.run().begin().lines("of the root")
    run.put(at(now(), "of the subflow", subflow={"id": "01-sub", "name": "hairy-wombat"}))
    page = panel.get(f"/executions/{run.fid}").text
    link = re.search(r'href="\?tab=log&amp;subflow=([^"]+)"[^>]*>hairy-wombat<', page)
    assert link is not None and link[1] == "01-sub"
    html = panel.get(f"/executions/{run.fid}/log?subflow=01-sub").text
    assert texts(html) == ["of the subflow"]
    run.put(at(now(), "of another", subflow={"id": "02-sub", "name": "second-sub"}))
    assert re.findall("hairy-wombat|second-sub", panel.get(f"/executions/{run.fid}/head").text)[
        :1
    ] == ["hairy-wombat"]
    assert "second-sub" in panel.get(f"/executions/{run.fid}/head").text
