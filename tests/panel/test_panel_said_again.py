"""What a run only says again after it was suspended: folded in the log, told to nobody twice."""

import json
import re
from time import time as now

from kodosumi_prefect.events import Event
from kodosumi_prefect.spans.span import begin_payload, end_payload
from tests.panel.panel_runs import Run, Stand, markdown


def said(run: Run, leg: int, *words: tuple[str, str]) -> None:
    source = json.dumps({"node": "n", "pid": 1} | ({"leg": leg} if leg else {}))
    run.put(*(Event(now(), kind, text, 1, source) for kind, text in words))


def suspended_once(panel: Stand) -> Run:
    run = panel.run().begin()
    said(run, 0, ("stdout", "one"), ("result", markdown("**card**")), ("stdout", "leg 0"))
    said(run, 1, ("stdout", "one"), ("result", markdown("**card**")), ("stdout", "leg 1"))
    return run.finish()


def test_clients_are_told_once(panel: Stand) -> None:
    run = suspended_once(panel)
    for name in ("stream", "main", "stdio"):
        got = [f.data for f in panel.whole(f"/outputs/{name}/{run.fid}?raw=1")]
        assert got.count("one") == (0 if name == "main" else 1)
        assert got.count(markdown("**card**")) == (0 if name == "stdio" else 1)
    events = panel.json(f"/outputs/events/{run.fid}")["items"]
    assert [e["payload"] for e in events if (e["source"] or {}).get("replayed")] == [
        "one",
        markdown("**card**"),
    ]


def test_the_log_folds_and_the_output_leaves_out(panel: Stand) -> None:
    run = suspended_once(panel)
    html = panel.get(f"/executions/{run.fid}/log").text
    lines = re.findall(r'<li class="(?:line (\w+)( again)?|divider (said-again))', html)
    assert [kind or folded for kind, _, folded in lines][:4] == [
        "stdout",
        "stdout",
        "said-again",
        "stdout",
    ]
    assert [again for kind, again, _ in lines if kind == "stdout"] == ["", "", " again", ""]
    output = panel.get(f"/executions/{run.fid}/output").text
    assert output.count("<strong>card</strong>") == 1


def test_a_row_of_the_trace_says_that_a_call_was_made_again(panel: Stand) -> None:
    run = panel.run().begin()
    for leg, id_ in enumerate(("a", "b")):
        said(run, leg, ("span", begin_payload(id_, "ask", "llm")), ("span", end_payload(id_)))
    run.finish()
    rows = [panel.get(f"/executions/{run.fid}/trace/of/{id_}") for id_ in ("a", "b")]
    assert ["Made again" in row.text for row in rows] == [False, True]
