"""The page of one execution: its tabs without a script, its windows, its search, its downloads."""

import json
import re
import traceback
from time import time as now
from uuid import uuid4

import httpx
import pytest

from kodosumi_prefect.events import Event, serialize
from tests.panel.panel_runs import Run, Stand, frames, markdown
from tests.spooler.recording import execute

NOWHERE = "00000000-0000-4000-8000-000000000000"  # the id of no execution
HTML = {"accept": "text/html"}
TABS = ["output", "trace", "tasks", "files", "log", "inputs", "raw"]
ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def shown(text: str) -> list[str]:
    """The texts of the log lines of a page or fragment."""
    return re.findall(r'<span class="text">(.*?)</span></li>', text, re.DOTALL)


def window(panel: Stand, run: Run, query: str = "", pane: str = "log") -> tuple[str, list[str]]:
    text = panel.get(f"/executions/{run.fid}/{pane}?{query}").text
    return text, shown(text)


def ends(text: str) -> tuple[str, str]:
    """Which seqs to ask with for what is before and behind."""
    found = re.search(r'data-first="(\d*)" data-last="(\d*)"', text)
    assert found is not None
    return found[1], found[2]


def test_each_tab_has_an_address_and_is_drawn_by_the_server(panel: Stand) -> None:
    run = panel.run().begin(question=42).lines("in the log")
    run.say("result", markdown("a *result*")).say("action", serialize("an action"))
    held = {
        "output": "a <em>result</em>",
        "trace": "an action",
        "log": "in the log",
        "inputs": "question",
        "raw": "&#34;an action&#34;",
    }
    for tab in TABS:
        text = panel.get(f"/executions/{run.fid}?tab={tab}").text
        assert re.findall(r'data-tab="(\w+)" aria-current="page"', text) == [tab]
        visible = re.findall(r'<section class="tab" id="panel-(\w+)"[^>]*"(?! hidden)>', text)
        assert visible == [tab]
        assert held.get(tab, "") in text
    assert 'aria-current="page">Output' in panel.get(f"/executions/{run.fid}").text
    for odd in ("nothing", ATTACK):
        answer = panel.get(f"/executions/{run.fid}", params={"tab": odd})
        assert 'aria-current="page">Output' in answer.text and "<script>a" not in answer.text


def test_tasks_are_a_fragment_of_their_own(panel: Stand) -> None:
    run = panel.run().begin()
    assert f'hx-get="/executions/{run.fid}/tasks"' in panel.get(f"/executions/{run.fid}").text


def test_windows_join_without_gap_or_overlap_in_both_directions(panel: Stand) -> None:
    run = panel.run().begin()
    run.lines(*(f"line {i}" for i in range(1700)))
    wanted = [f"line {i}" for i in range(1700)]
    text, lines = window(panel, run)
    assert (lines, ends(text)[1]) == (wanted[-500:], "")
    backwards = lines
    while first := ends(text)[0]:
        text, lines = window(panel, run, f"before={first}")
        backwards = lines + backwards
    assert backwards == wanted
    text, forwards = window(panel, run, "after=0")
    assert ends(text)[0] == ""
    while last := ends(text)[1]:
        text, lines = window(panel, run, f"after={last}")
        forwards = forwards + lines
    assert forwards == wanted
    text, lines = window(panel, run, "around=804")
    first, last = ends(text)
    assert len(lines) == 500 and lines[250] == "line 799"
    assert window(panel, run, f"before={first}")[1] + lines == wanted[49 : 799 + 250]
    assert window(panel, run, f"after={last}")[1][0] == wanted[799 + 250]


def test_a_window_in_a_later_attempt_says_so_once(panel: Stand) -> None:
    run = panel.run().begin().lines(*(f"first {i}" for i in range(499)))
    run.attempt = 2
    run.status("running").lines(*(f"second {i}" for i in range(501)))
    text, lines = window(panel, run)
    assert lines[0] == "second 1" and "Attempt 2" not in text
    text, lines = window(panel, run, f"before={ends(text)[0]}")
    assert lines[-1] == "second 0" and text.count("Attempt 2") == 1


def test_the_whole_log_is_searched_in_both_directions_and_round_the_end(panel: Stand) -> None:
    run = panel.run().begin()
    needles = (3, 900, 1500)
    run.lines(*(f"A Needle {i}" if i in needles else f"hay {i}" for i in range(1600)))
    run.say("result", markdown("a needle of another tab"))

    def found(query: str) -> tuple[str, str, str]:
        text, _ = window(panel, run, query)
        hit = re.search(r'found" data-seq="(\d+)".*?class="text">(.*?)<', text)
        told = re.search(r'data-total="(\d*)" data-number="(\d*)"', text)
        assert told is not None
        return hit[2] if hit else "", told[2], told[1]

    assert found("q=needle") == ("A Needle 1500", "3", "3")
    assert found("q=needle&start=1505") == ("A Needle 900", "2", "3")
    assert found("q=needle&start=905") == ("A Needle 3", "1", "3")
    assert found("q=needle&start=8") == ("A Needle 1500", "3", "3")
    assert found("q=needle&turn=next&start=8") == ("A Needle 900", "2", "3")
    assert found("q=needle&turn=next&start=1505") == ("A Needle 3", "1", "3")
    assert found("q=needle&kind=stderr") == ("", "", "0")
    assert found("q=100%25_is_no_pattern") == ("", "", "0")
    text = panel.get(f"/executions/{run.fid}?tab=log&q=needle&start=905&turn=previous").text
    assert (
        "A Needle 3" in text
        and "1 of 3" in text
        and "id=found" in text
        and 'value="needle"' in text
    )


@pytest.mark.parametrize(
    "line",
    [
        "nee\x1b[1;31mdle",
        "\x1b[38;5;9mn\x1b[0me\x1b[4me\x1b[mdle\x1b[K",
        "\x1b]8;;http://x.example\x1b\\nee\x1b]8;;\x07dle",
        "nee\x1b7\x1b=dle",
        "nee\x1bMdle\x1b",
    ],
)
def test_words_are_found_as_they_are_read_whatever_their_colours(panel: Stand, line: str) -> None:
    run = panel.run().begin().lines("hay", line)
    text, _ = window(panel, run, "q=needle")
    read = re.sub("<.*?>", "", text)
    assert ('data-total="1"' in text) == ("needle" in read)
    assert 'data-total="0"' in window(panel, run, "q=31m")[0]


def test_a_search_can_hold_anything(panel: Stand) -> None:
    run = panel.run().begin().lines(f"it said {ATTACK}")
    for words in (ATTACK, "\x00", "'; --", "%(fid)s", "ß" * 500):
        for path in (f"/executions/{run.fid}?tab=log", f"/executions/{run.fid}/log?"):
            text = panel.get(f"{path}&{httpx.QueryParams(q=words)}").text
            assert "<script>alert" not in text and "<img" not in text
    assert "data-total" in window(panel, run, str(httpx.QueryParams(q=ATTACK)))[0]
    assert panel.get(f"/executions/{run.fid}/log", params={"q": "x" * 501}).status_code == 422


def test_a_point_in_time_leads_to_its_line(panel: Stand) -> None:
    run = panel.run().begin()
    run.lines(*(f"line {i}" for i in range(1000)))
    execute(
        panel.database,
        "UPDATE kodosumi.event SET ts = '2026-01-01Z'::timestamptz + make_interval(secs => seq) "
        f"WHERE execution_id = (SELECT id FROM kodosumi.execution WHERE fid = '{run.fid}')",
    )
    for time in ("2026-01-01T00:01:40", "2026-01-01T00:01:40Z", "2026-01-01T01:01:40+01:00"):
        text, _ = window(panel, run, str(httpx.QueryParams(time=time)))
        assert 'data-match="100"' in text
    assert 'data-match="1004"' in window(panel, run, "time=2030-01-01")[0]
    assert 'data-match="5"' in window(panel, run, "time=1980-01-01")[0]
    for odd in ("yesterday", "0001-01-01T00:00:00-14:00", "99999-01-01", "<b>"):
        text, lines = window(panel, run, str(httpx.QueryParams(time=odd)))
        assert lines[-1] == "line 999" and 'data-match=""' in text


def test_kinds_and_task_runs_narrow_a_window(panel: Stand) -> None:
    run = panel.run().begin().lines("out").say("stderr", "err").say("debug", "bug")
    source = json.dumps({"task_run": {"id": "0192", "name": "a task"}})
    run.put(run.event("stdout", "of the task", source=source))
    assert window(panel, run, "kind=stderr")[1] == ["err"]
    assert window(panel, run, "kind=stderr&kind=debug")[1] == ["err", "bug"]
    assert window(panel, run, "kind=result")[1] == ["out", "err", "bug", "of the task"]
    for name in ("0192", "a task"):
        query = str(httpx.QueryParams(task_run=name))
        assert window(panel, run, query)[1] == ["of the task"]
        assert window(panel, run, query + "&after=0")[1] == ["of the task"]
    text = panel.get(f"/executions/{run.fid}", params={"tab": "log", "task_run": ATTACK}).text
    assert "Only events of task run" in text and "<script>alert" not in text


def test_raw_shows_everything_as_it_is_stored_and_harmless(panel: Stand) -> None:
    run = panel.run().begin().say("result", markdown(ATTACK)).lines("y" * 30_000)
    text = panel.get(f"/executions/{run.fid}/raw").text
    assert text.count('class="event') == 6
    assert "<script>alert" not in text and "<img" not in text and "&lt;img" in text
    assert "30000 characters, the first 20000 shown" in text
    text = panel.get(f"/executions/{run.fid}/raw?kind=stdout").text
    assert text.count('class="event') == 1


def test_all_events_are_downloaded_as_json_lines(panel: Stand) -> None:
    run = panel.run(flow_name="exported").begin()
    run.lines(*(f"line {i}\nand \u2028 more" for i in range(1200))).finish()
    answer = panel.get(f"/executions/{run.fid}/events.jsonl")
    assert answer.headers["content-type"].startswith("application/jsonl")
    assert f'filename="{run.fid}.jsonl"' in answer.headers["content-disposition"]
    lines = [json.loads(line) for line in answer.content.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, 1207))
    assert lines[:1000] == panel.json(f"/outputs/events/{run.fid}")["items"]


def test_the_error_is_told_in_a_line_with_its_traceback_folded(panel: Stand) -> None:
    run = panel.run().begin().fail("Traceback (most recent)\n  deep\nKeyError: 'x'")
    text = panel.get(f"/executions/{run.fid}").text
    assert '<p class="message">KeyError: &#39;x&#39;</p>' in text
    folded = re.search(r"<details><summary>Traceback</summary>(.*?)</details>", text, re.DOTALL)
    assert folded is not None and "deep" in folded[1]
    text = panel.get(f"/executions/{run.fid}?tab=trace").text
    assert "<summary>KeyError: &#39;x&#39;</summary>" in text


def test_a_group_of_errors_is_told_by_those_in_it(panel: Stand) -> None:
    try:
        raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])
    except ExceptionGroup as exc:
        text = "".join(traceback.format_exception(exc))
    run = panel.run().begin().fail(text)
    line = "ValueError: one; KeyError: &#39;two&#39;"
    assert f"<summary>{line}</summary>" in panel.get(f"/executions/{run.fid}?tab=trace").text
    status = panel.json(f"/outputs/status/{run.fid}")
    assert json.loads(status["final"]) == {"Text": {"body": "ValueError: one; KeyError: 'two'"}}
    with panel.client.stream("GET", f"/executions/{run.fid}/live") as live:
        (error,) = (frame.data for frame in frames(live) if frame.event == "error")
    assert error.startswith(f'<span class="said" hidden>{line.replace("&#39;", "&#x27;")}</span>')


def spoken(ts: float, text: str, task: str | None = None, attempt: int = 1) -> Event:
    source = json.dumps({"task_run": {"id": task, "name": f"{task}-name"}}) if task else None
    return Event(ts, "stdout", text, attempt, source)


def log_lines(text: str) -> list[str]:
    return re.findall(r'<span class="text">(.*?)</span>', text)


def test_lines_of_tasks_that_spoke_at_once_stand_in_the_order_of_their_times(panel: Stand) -> None:
    run = panel.run().begin()
    t = now()
    run.put(spoken(t + 7, "b2", "b"), spoken(t + 9, "b3", "b"))
    run.put(spoken(t + 4, "a1", "a"), spoken(t + 8, "a2", "a"), spoken(t + 9, "root"))
    text = panel.get(f"/executions/{run.fid}/log").text
    assert log_lines(text) == ["a1", "b2", "a2", "b3", "root"]
    assert (
        re.findall(r'<span class="from" title="[^"]*">(.*?)</span>', text)
        == ["a-name", "b-name"] * 2
    )
    raw = panel.get(f"/executions/{run.fid}/raw").text
    seqs = [int(seq) for seq in re.findall(r'data-seq="(\d+)"', raw)]
    assert seqs == sorted(seqs)
    with panel.client.stream("GET", f"/executions/{run.fid}/live?after=4") as live:
        first = next(frame for frame in frames(live) if frame.event == "stdout")
    assert first.data == '<span class="from">b-name</span>b2'


def test_what_comes_hours_late_stands_near_where_it_was_stored(panel: Stand) -> None:
    run = panel.run().begin()
    t = now()
    lines = [spoken(t + second, f"now {second}") for second in range(30)]
    run.put(*lines, spoken(t - 7200, "late 1"), spoken(t - 7199, "late 2"), spoken(t + 30, "then"))
    shown = log_lines(panel.get(f"/executions/{run.fid}/log").text)
    assert shown.index("late 1") + 1 == shown.index("late 2")
    assert shown[shown.index("late 1") - 1] == "now 19"
    assert shown[-1] == "then"


def test_the_times_of_one_attempt_do_not_mix_with_those_of_another(panel: Stand) -> None:
    run = panel.run().begin()
    t = now()
    run.put(spoken(t + 5, "w1"), spoken(t + 4, "w2", attempt=2), spoken(t + 3, "w3"))
    text = panel.get(f"/executions/{run.fid}/log").text
    assert re.findall("w1|Attempt 2|w2|w3", text) == ["w1", "Attempt 2", "w3", "w2"]


def test_pages_of_the_log_hold_every_line_once(panel: Stand) -> None:
    run = panel.run().begin()
    t = now()
    run.put(*(spoken(t + number + 5 * (number % 2), f"line {number}") for number in range(1200)))
    path, found = f"/executions/{run.fid}/log", []
    before = ""
    while True:
        text = panel.get(f"{path}?{before}").text
        found += log_lines(text)
        first = re.search(r'data-first="(\d+)"', text)
        if first is None:
            break
        before = f"before={first[1]}"
    assert sorted(found) == sorted(f"line {number}" for number in range(1200))


def test_output_holds_the_errors_of_earlier_attempts_and_the_last_one_once(panel: Stand) -> None:
    run = panel.run().begin().say("result", markdown("first part"))
    run.say("error", "Traceback of one\nOSError: gone")
    run.attempt = 2
    run.status("running").say("result", markdown("second part"))

    def output() -> str:
        return panel.get(f"/executions/{run.fid}/output").text

    assert re.findall("OSError|first part|Attempt 2|second part", output()) == [
        "first part",
        "OSError",
        "OSError",
        "Attempt 2",
        "second part",
    ]
    assert "<summary>OSError: gone</summary>" in output()
    run.fail("Traceback of two\nValueError: no")
    assert "ValueError" not in output() and "OSError: gone" in output()
    text = panel.get(f"/executions/{run.fid}").text
    assert text.count("Traceback of one") == text.count("Traceback of two") == 1


def test_one_stream_brings_all_kinds_rendered(panel: Stand) -> None:
    run = panel.run().begin().lines("<b>").say("result", markdown("**x**")).finish()
    got = panel.whole(f"/executions/{run.fid}/live?after=4")
    assert [f.event for f in got] == ["stdout", "result", "final", "status", "eof"]
    assert got[0].data == "&lt;b&gt;" and "<strong>x</strong>" in got[1].data


def test_only_who_may_gets_buttons_that_change_something(fresh_panel: Stand) -> None:
    panel = fresh_panel
    panel.app.state.panel.settings.unowned = "all"
    mira = panel.person("Mira")
    own = panel.run(owner=mira.id).begin()
    open_to_all = panel.run().begin()
    assert 'data-ask="cancel"' in mira.client.get(f"/executions/{own.fid}").text
    text = mira.client.get(f"/executions/{open_to_all.fid}").text
    assert "data-ask" not in text and 'id="ask-' not in text
    for act in ("cancel", "archive"):
        answer = mira.client.post(f"/executions/{open_to_all.fid}/{act}")
        assert answer.status_code == 403
    own.finish()
    text = mira.client.get(f"/executions/{own.fid}").text
    assert 'data-ask="cancel"' not in text and 'data-ask="archive"' in text
    text = mira.client.get(f"/executions/{own.fid}?ask=archive").text
    assert re.search(r'<dialog id="ask-archive"[^>]* open>', text)


def test_archiving_leads_back_to_the_list_and_its_page_says_so(panel: Stand) -> None:
    run = panel.run(summary=f"Put away {ATTACK}").begin().finish()
    answer = panel.client.post(f"/executions/{run.fid}/archive")
    assert answer.status_code == 303
    base = httpx.URL(f"{panel.url}/executions/{run.fid}/archive")
    assert base.join(answer.headers["location"]).path == "/executions"
    answer = panel.get(f"/executions/{run.fid}", headers=HTML)
    assert answer.status_code == 410 and "This execution is archived" in answer.text
    assert "<script>alert" not in answer.text and 'href="/executions"' in answer.text
    again = re.search(r'href="([^"]+\?archived=true)"', answer.text)
    assert again is not None and panel.get(again[1]).status_code == 200


@pytest.mark.parametrize("fid", [NOWHERE, "no-fid"])
def test_what_is_not_there_is_told_plainly_with_a_way_back(panel: Stand, fid: str) -> None:
    answer = panel.get(f"/executions/{fid}", headers=HTML)
    assert answer.status_code in (404, 422)
    assert fid in answer.text and 'href="/executions">All executions' in answer.text


def test_somebody_elses_execution_looks_like_one_that_is_not_there(fresh_panel: Stand) -> None:
    mira, noor = fresh_panel.person("Mira"), fresh_panel.person("Noor")
    run = fresh_panel.run(owner=mira.id).begin().finish("secret")
    execute(fresh_panel.database, "UPDATE kodosumi.execution SET archived_at = now()")
    other = str(uuid4())
    foreign = noor.client.get(f"/executions/{run.fid}", headers=HTML)
    unknown = noor.client.get(f"/executions/{other}", headers=HTML)
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.text.replace(run.fid, other) == unknown.text
    assert "belongs to somebody else" in foreign.text
