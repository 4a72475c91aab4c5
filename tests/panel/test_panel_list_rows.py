"""Rows of the list: which run each is, in any order, with counts and bars above."""

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from kodosumi_prefect.events import Event, State, serialize
from kodosumi_prefect.panel.executions.list_filter import span
from kodosumi_prefect.panel.executions.telling_inputs import telling
from tests.panel.panel_runs import STATES, Run, Stand
from tests.spooler.recording import execute

HTML = {"accept": "text/html"}


@pytest.fixture
def panel(fresh_panel: Stand) -> Stand:
    return fresh_panel


def set_row(panel: Stand, run: Run, values: str) -> None:
    execute(panel.database, f"UPDATE kodosumi.execution SET {values} WHERE fid = '{run.fid}'")


def state(run: Run, word: str, ts: float, name: str = "") -> None:
    """Let it enter a state at that time."""
    name = name or STATES[word]
    entered = State(str(uuid4()), name.upper(), name, "", ts)
    run.put(Event(ts, "status", word, run.attempt, state=entered))


def shown(panel: Stand, client: Any = None, **asked: Any) -> list[str]:
    answer = (client or panel.client).get("/executions", params=asked)
    assert answer.status_code == 200, answer.text
    return re.findall(r'<tr [^>]*data-fid="([^"]+)"', answer.text)


def row(panel: Stand, run: Run, **asked: Any) -> str:
    text = panel.get("/executions", params=asked).text
    [found] = re.findall(rf'<tr [^>]*id="e-{run.fid}".*?</tr>', text, re.S)
    return str(found)


def test_a_row_says_which_run_it_is(panel: Stand) -> None:
    run = panel.run(flow_name="digest", summary="Digest", run_name="amber-fox")
    run.begin(month="May", customer="Acme", api_key="sk-1", key="********")
    other = panel.run(flow_name="digest", summary="Digest").begin(month="May", customer="Globex")
    set_row(panel, run, "deployment_name = 'prod'")
    found = row(panel, run)
    assert "amber-fox" in found and 'href="/executions?deployment=prod"' in found
    assert (
        '<span class="key">customer:</span> <span class="value">Acme' in found
    )  # by which it differs
    assert "May" not in found and "sk-1" not in found and "***" not in found
    assert "Globex" in row(panel, other)
    assert shown(panel, deployment="prod") == shown(panel, q="amber") == [run.fid]


def test_a_retried_run_took_what_its_newest_attempt_took(panel: Stand) -> None:
    began = time.time() - 3600
    run = panel.run()
    for attempt, start, end in ((1, 0, 100), (2, 3000, 3007)):
        run.attempt = attempt
        run.put(*(run.event("stdout", f"line {n}") for n in range(20)))
        state(run, "running", began + start)
        run.put(*(run.event("stdout", f"line {n}") for n in range(500 * attempt)))
        run.say("progress", serialize({"done": attempt}))
        run.attempt = 1
        run.lines("late line of the first attempt")
        run.attempt = attempt
        if attempt == 1:
            assert "data-since" in row(panel, run)
        state(run, "error", began + end)
    took = re.search(r'<td [^>]*class="runtime"[^>]*>.*', row(panel, run))
    assert took is not None and ">7.0 s<" in took[0] and 'data-seconds="7.000"' in took[0]
    assert 'title="2 attempts, 50 min 7 s in all"' in took[0]
    text = panel.get(f"/executions/{run.fid}").text
    assert re.search(r"Took</dt><dd[^>]*><span class=\"span\">7.0 s", text)
    assert re.search(r"Attempt</dt><dd>2 .*\(50 min 7 s in all\)", text)
    # Nothing counts while the next attempt is awaited, and from its own start after that.
    state(run, "running", began + 3300, "AwaitingRetry")
    assert "data-since" not in row(panel, run) and "50 min" not in row(panel, run)
    run.attempt = 3
    state(run, "running", began + 3500)
    since = f"{datetime.fromtimestamp(began + 3500, UTC):%Y-%m-%dT%H:%M:%S}"
    assert f'data-since="{since}' in row(panel, run)


def test_runs_of_before_have_rows_as_well(panel: Stand) -> None:
    run = panel.run(flow_name=None)  # as a writer that knows nothing of it
    run.put()
    assert run.fid in row(panel, run)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (
            ['{"dict": {"a": 1, "b": 2}}', '{"dict": {"a": 1, "b": 3}}'],
            [[("b", "2")], [("b", "3")]],
        ),
        (['{"dict": {"a": 1}}', None], [[("a", "1")], []]),
        (['{"dict": {"password": "x", "b": "y"}}'], [[("b", "y")]]),
        (['{"dict": {"a": "**********", "b": true}}'], [[("b", "yes")]]),
        (['{"dict": {"inputs": {"customer": "Acme"}}}'], [[("customer", "Acme")]]),
        (['{"dict": {"a": "whole", "b": {"c": "cut'], [[("a", "whole")]]),
        (['{"dict": {"a": ["no scalar"], "b": "  "}}', "[1]", "{", "no JSON"], [[], [], [], []]),
    ],
)
def test_inputs_that_tell_a_run_from_its_neighbours(
    inputs: list[str | None], told: list[list[tuple[str, str]]]
) -> None:
    assert telling([("flow", text) for text in inputs]) == told


def test_neighbours_are_runs_of_the_same_flow() -> None:
    found = telling([("a", '{"dict": {"x": 1, "y": 5}}'), ("b", '{"dict": {"x": 2, "y": 5}}')])
    assert found == [[("x", "1")], [("x", "2")]]


def test_tags_stand_in_the_order_given_and_all_can_be_opened(panel: Stand) -> None:
    tags = ["zeta", "alpha", *(f"t{n}" for n in range(9))]
    found = row(panel, panel.run(tags=tags).begin())
    assert re.findall(r'class="tag"[^>]*>([^<]+)<', found) == tags
    assert ">+10</summary>" in found and 'aria-label="10 more tags"' in found


def test_an_error_has_the_row_below_to_itself(panel: Stand) -> None:
    run = panel.run().begin().fail("Traceback\nValueError: no such ledger")
    text = panel.get("/executions").text
    [why] = re.findall(rf'<tr [^>]*id="w-{run.fid}".*?</tr>', text, re.S)
    assert "ValueError: no such ledger" in why and 'colspan="8"' in why


def made(panel: Stand) -> dict[str, Run]:
    """Three runs whose orders by anything differ; the first was recorded last but began first."""
    zoe, ann = panel.person("Zoe"), panel.person("ann")
    runs = {
        "b": panel.run(summary="beta", flow_name="x", owner=zoe.id).begin().finish(),
        "c": panel.run(summary="Gamma", flow_name="z", owner=ann.id).begin().fail(),
        "a": panel.run(summary="Alpha", flow_name="y").begin(),
    }
    begun = {"a": "2026-01-01", "b": "2026-01-02", "c": "2026-01-03"}
    for name, run in runs.items():
        took = {"b": "2 h", "c": "1 h"}.get(name)
        ended = f", ended_at = timestamptz '{begun[name]}' + interval '{took}'" if took else ""
        set_row(panel, run, f"started_at = '{begun[name]}'{ended}")
    return runs


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", "cba"),
        ("started", "abc"),
        ("-started", "cba"),
        ("-duration", "abc"),  # what runs goes on since January
        ("duration", "cba"),
        ("name", "abc"),
        ("-name", "cba"),
        ("owner", "acb"),
        ("-owner", "bca"),
        ("flow", "bac"),
        ("status", "acb"),
        ("-status", "bca"),
    ],
)
def test_a_list_is_sorted_by_what_it_shows(panel: Stand, sort: str, order: str) -> None:
    runs = made(panel)
    assert shown(panel, sort=sort) == [runs[name].fid for name in order]


def test_the_heading_says_the_order_and_turns_it_round(panel: Stand) -> None:
    panel.run().begin()
    text = panel.get("/executions?sort=-duration&flow=some-flow").text
    assert re.search(r'class="runtime" aria-sort="descending"><a href="([^"]+)"', text)
    assert 'href="/executions?flow=some-flow&amp;sort=duration"' in text
    assert text.count("aria-sort") == 1
    assert panel.get("/executions?sort=colour").status_code == 422


@pytest.mark.parametrize("sort", ["started", "-duration", "name", "-name", "-status", "owner"])
def test_pages_of_any_order_lead_to_both_ends(panel: Stand, sort: str) -> None:
    for n in range(55):
        panel.run(flow_name="many", summary=f"run {n % 7}").begin().finish()
        panel.close_runs()
    set_all = "UPDATE kodosumi.execution SET ended_at = started_at + (id % 5) * interval '1 s'"
    execute(panel.database, set_all)
    path, pages = f"/executions?sort={sort}", []
    while path:
        text = panel.get(path).text
        pages.append(re.findall(r'data-fid="([^"]+)"', text))
        found = re.search(r'href="([^"]+)" rel="next"', text)
        path = found[1].replace("&amp;", "&") if found else ""
    assert [len(page) for page in pages] == [25, 25, 5]
    assert len({fid for page in pages for fid in page}) == 55
    for expected in (pages[1], pages[0]):
        back = re.search(r'href="([^"]+)" rel="prev"', text)
        assert back is not None
        text = panel.get(back[1].replace("&amp;", "&")).text
        assert re.findall(r'data-fid="([^"]+)"', text) == expected


def test_cancelled_and_failed_are_two_filters(panel: Stand) -> None:
    failed, cancelled = panel.run().begin().fail(), panel.run().begin().cancel()
    assert shown(panel, status="error") == [failed.fid]
    assert shown(panel, status="cancelled") == [cancelled.fid]
    assert shown(panel, status=["error", "cancelled"]) == [cancelled.fid, failed.fid]
    counted = panel.json("/executions/count", params={"status": "cancelled"})
    assert counted == {"count": 1, "more": False}


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("Acme failed last night", "?q=Acme&last=night&status=error"),
        ("runs that failed", "?q=runs&status=error"),
        ("cancelled yesterday", "?last=yesterday&status=cancelled"),
        ('"failed" Acme', None),
        ("Acme", None),
    ],
)
def test_what_is_typed_is_understood_as_a_filter(
    panel: Stand, typed: str, address: str | None
) -> None:
    answer = panel.get("/executions", params={"q": typed}, follow_redirects=False)
    assert answer.headers.get("location") == (address and f"executions{address}")
    assert answer.status_code == (303 if address else 200)


def test_last_night_is_the_readers(panel: Stand) -> None:
    midnight = datetime(2026, 5, 5, tzinfo=UTC)
    assert span("night", midnight + timedelta(hours=10)) == (
        (midnight - timedelta(hours=6)).timestamp(),
        (midnight + timedelta(hours=8)).timestamp(),
    )
    assert span("yesterday", midnight + timedelta(hours=1))[1] == midnight.timestamp()
    run = panel.run().begin()
    assert shown(panel, last="today", zone="Pacific/Auckland") == [run.fid]
    assert shown(panel, last="yesterday", zone="Pacific/Auckland") == []
    asked = {"q": "yesterday", "zone": "Pacific/Auckland"}  # as a form with scripts sends it
    answer = panel.get("/executions", params=asked, follow_redirects=False)
    assert answer.headers["location"] == "executions?zone=Pacific%2FAuckland&last=yesterday"
    for zone in ("Nowhere", "../etc/passwd", "\x00"):
        assert panel.get("/executions", params={"last": "night", "zone": zone}).status_code == 422


def overview(panel: Stand, client: Any = None, **asked: Any) -> str:
    answer = (client or panel.client).get("/executions/overview", params=asked)
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def test_counts_and_bars_follow_the_filter(panel: Stand) -> None:
    made(panel)
    panel.run(flow_name="else").begin().cancel()
    text = overview(panel, sort="name", **{"from": "2026-01-01", "to": "2026-01-05"})
    assert "<b>3</b> executions" in text and "<b>1</b> finished" in text and "cancelled" not in text
    bars = re.findall(r'<a id="bar-([^"]+)" href="([^"]+)" aria-label="([^"]+)"', text)
    assert [words for _, _, words in bars] == ["1 running", "1 finished", "1 error"]
    since, address, _ = bars[1]
    assert since == "2026-01-02T00:00:00+00:00" and "sort=name" in address
    query = dict(re.findall(r"(from|to)=([^&]+)", address.replace("&amp;", "&")))
    span_of_bar = {
        name: value.replace("%3A", ":").replace("%2B", "+") for name, value in query.items()
    }
    [only] = shown(panel, **span_of_bar)
    assert only == shown(panel, status="finished")[0]
    # The counts of others stay to be chosen; the bars are those of the status.
    text = overview(panel, status="error", **{"from": "2026-01-01", "to": "2026-01-05"})
    assert "<b>1</b> running" in text and text.count('id="bar-') == 1


def test_bars_hold_what_began_at_either_end_of_all_time(panel: Stand) -> None:
    made(panel)
    text = overview(panel)
    assert len(re.findall(r'id="bar-', text)) >= 1
    assert sum(int(n) for n in re.findall(r"(\d+) (?:running|finished|error)\"", text)) >= 1
    assert "<b>0</b> executions" in overview(panel, q="nothing")


def test_people_count_their_own(panel: Stand) -> None:
    mira = panel.person("Mira")
    panel.run(owner=mira.id).begin()
    panel.run(owner=panel.person("Noor").id).begin()
    assert "<b>1</b> execution\n" in overview(panel, mira.client).replace("</a>", "\n")


def test_all_that_run_are_offered_to_be_cancelled_once_there_is_a_filter(panel: Stand) -> None:
    panel.run(flow_name="stuck").begin()
    panel.run(flow_name="stuck").begin().finish()
    text = overview(panel, flow="stuck")
    assert 'data-stop-all="1"' in text and "Cancel all 1 that run or wait" in text
    assert "flow=stuck&amp;status=starting&amp;status=running&amp;status=awaiting" in text
    assert "data-stop-all" not in overview(panel)


def test_without_scripts_the_chart_is_a_link_away(panel: Stand) -> None:
    panel.run().begin()
    text = panel.get("/executions").text
    assert '<noscript><p><a href="/executions?chart=true">' in text
    assert 'class="bars"' in panel.get("/executions?chart=true").text.split("<table")[0]


def test_empty_lists_say_what_to_do_next(panel: Stand) -> None:
    text = panel.get("/executions").text
    assert "No executions yet" in text and 'href="/services">Run a service' in text
    text = panel.get("/executions?q=nobody&status=error&last=day").text
    assert 'href="/executions?status=error&amp;last=day">“nobody”</a>' in text
    assert 'href="/executions?q=nobody&amp;last=day">error</a>' in text
    assert 'href="/executions?q=nobody&amp;status=error">last 24 h</a>' in text


def test_how_high_rows_are_is_remembered(panel: Stand) -> None:
    panel.run().begin()
    with panel.connect(panel.token) as client:
        assert "comfortable owned" not in client.get("/executions").text
        assert "comfortable owned" in client.get("/executions?rows=comfortable").text
        assert "comfortable owned" in client.get("/executions").text
        client.get("/executions?rows=compact")
        assert "comfortable owned" not in client.get("/executions").text


def test_changes_are_those_of_the_page(panel: Stand) -> None:
    one, two = panel.run(flow_name="a").begin(), panel.run(flow_name="b").begin()
    since = panel.json("/timeline/changes")["timestamp"]
    one.cancel()
    two.finish()
    loaded = datetime.now(UTC).timestamp()
    new = panel.run(flow_name="a").begin().cancel()
    asked = {"since": since, "status": "cancelled", "loaded": loaded}
    found = panel.json("/executions/changes", params=asked)
    assert sorted(found["update"]) == sorted([one.fid, new.fid])
    assert (found["new"], found["delete"]) == ([new.fid], [two.fid])
