"""The trace of a run: one span with what it holds, and what the page is made of."""

import json
import re
import time

import pytest

from kodosumi_prefect.events import serialize
from kodosumi_prefect.panel.html.chat import messages
from tests.panel import traced_runs
from tests.panel.panel_runs import Stand
from tests.panel.traced_runs import Said
from tests.spooler.recording import execute

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def words(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_a_span_comes_with_its_contents_to_whoever_sees_the_run(panel: Stand) -> None:
    owner = panel.person("owner-of-a-trace")
    stranger = panel.person("stranger-to-a-trace")
    run = traced_runs.agent(panel.run(owner=owner.id).begin())
    answer = panel.json(f"/outputs/trace/{run.fid}/m1")
    assert answer["span"]["model"] == "gpt-5-mini"
    assert answer["span"]["counted"] is True
    assert answer["input"] == traced_runs.ASKED
    assert answer["output"] == traced_runs.CALLS
    read = panel.json("/audit", params={"action": "contents_read", "target": run.fid})
    assert len(read["items"]) == 1
    assert owner.client.get(f"/outputs/trace/{run.fid}/m1").json() == answer
    for path in (f"/outputs/trace/{run.fid}/m1", f"/executions/{run.fid}/trace/of/m1"):
        assert stranger.client.get(path).status_code == 404
    assert panel.get(f"/outputs/trace/{run.fid}/none").status_code == 404
    execute(panel.database, "UPDATE kodosumi.event SET payload = '[]' WHERE kind = 'span'")
    assert panel.json(f"/outputs/trace/{run.fid}/m1")["input"] is None


def test_only_what_changed_of_spans_comes_again(panel: Stand) -> None:
    run = panel.run().begin()
    traced_runs.write(run, [Said("a", "agent", "agent", 0, None), Said("b", "tool", "tool", 1, 2)])
    whole = panel.json(f"/executions/{run.fid}/trace/spans?limit=1")
    assert (len(whole["rows"]), whole["more"]) == (1, True)
    rest = panel.json(f"/executions/{run.fid}/trace/spans?after={whole['next']}")
    names = rest["columns"].index("name")
    assert ([row[names] for row in rest["rows"]], rest["more"]) == (["tool"], False)
    changes = f"/executions/{run.fid}/trace/spans?changed={rest['seq']}"
    assert panel.json(changes)["rows"] == []
    [_, ended] = traced_runs.events([Said("a", "agent", "agent", 0, 3)], time.time())
    run.put(ended)
    changed = panel.json(changes)
    assert [row[names] for row in changed["rows"]] == ["agent"]
    assert changed["seq"] == rest["seq"] + 1


def test_the_tab_has_the_first_spans_and_a_linked_one_without_scripts(panel: Stand) -> None:
    run = traced_runs.agent(panel.run().begin()).finish()
    text = panel.get(f"/executions/{run.fid}?tab=trace&span=m1").text
    table = text.partition('id="trace-first"')[2].partition("</table>")[0]
    assert re.findall(r'class="depth-(\d+)".*?>([^<]+)</a>', table)[:4] == [
        ("0", "research"),
        ("1", "gpt-5-mini"),
        ("1", "search"),
        ("2", "pages of the coast"),
    ]
    assert "12.4k tokens in" in words(text) and "1 call of unknown price" in words(text)
    assert "Which towns by the <strong>sea</strong>" in text
    assert 'id="trace-empty" hidden' in text
    bare = panel.run().begin().finish()
    text = panel.get(f"/executions/{bare.fid}?tab=trace").text
    assert 'id="trace-empty">' in text and "Nothing recorded a span." in text


def test_old_links_to_reasoning_lead_to_the_trace(panel: Stand) -> None:
    run = panel.run().begin().say("action", serialize("an action"))
    answer = panel.get(f"/executions/{run.fid}?tab=reasoning&archived=true")
    assert answer.status_code == 307
    assert answer.headers["location"] == "?archived=true&tab=trace"
    task = f"/executions/{run.fid}/tasks/none"
    assert panel.get(f"{task}?view=reasoning").status_code == 404


def test_details_run_nothing_of_what_they_hold(panel: Stand) -> None:
    chat = [{"role": "user", "content": ATTACK}, {"role": ATTACK, "content": ATTACK}]
    call = {
        "role": "assistant",
        "tool_calls": [{"function": {"name": ATTACK, "arguments": ATTACK}}],
    }
    run = panel.run().begin()
    spans = [
        Said("a", ATTACK, "llm", 0, 1, None, chat[:1], call, {"status": "error", "error": ATTACK}),
        Said("b", ATTACK, "tool", 0, 1, "a", {ATTACK: ATTACK}, ATTACK, {}, ATTACK),
        Said("c", ATTACK, "tool", 0, 1, "a", chat, [ATTACK]),
    ]
    traced_runs.write(run, spans)
    run.say("stdout", ATTACK)
    for path in (*(f"trace/of/{id_}" for id_ in "abc"), "trace/totals"):
        text = panel.get(f"/executions/{run.fid}/{path}").text
        assert "<script>a" not in text and "onerror=" not in text.replace(
            "onerror=alert(1)&gt;", ""
        )
    assert "<script>a" not in panel.get(f"/executions/{run.fid}?tab=trace&span=a").text


def test_steps_and_lines_have_details_too(panel: Stand) -> None:
    run = panel.run().begin().say("action", serialize({"tool": "search"})).lines("one line")
    steps = panel.json(f"/executions/{run.fid}/trace/steps")
    [step] = steps["items"]
    assert (step["kind"], step["words"]) == ("action", "tool search")
    [line] = panel.json(f"/executions/{run.fid}/trace/steps?log=true")["items"]
    assert line["words"] == "one line"
    for each, seen in ((step, "search"), (line, "one line")):
        part = panel.get(f"/executions/{run.fid}/trace/of/~event-{each['seq']}?fragment=true")
        assert seen in words(part.text)
    for key in ("~event-1", "~event-99999", "~event-x", "~task-none"):
        assert panel.get(f"/executions/{run.fid}/trace/of/{key}").status_code == 404


def test_a_page_hears_of_spans_but_not_of_what_they_hold(panel: Stand) -> None:
    run = traced_runs.agent(panel.run().begin()).finish()
    heard = [f for f in panel.whole(f"/executions/{run.fid}/live") if f.event == "span"]
    assert len(heard) == 18
    assert {frame.data for frame in heard} == {""}
    traced = panel.whole(f"/outputs/stream/{run.fid}?spans=true")
    assert json.loads(next(f.data for f in traced if f.event == "span"))["Span"]["id"] == "a1"


CALLED = ("assistant", [("call", "search", {"q": 1})])
ANSWERED = ("tool", [("answer", "search", "found")])
CONVERSATIONS = {
    "openai": (
        {
            "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"function": {"name": "search", "arguments": '{"q": 1}'}}],
                },
                {"role": "tool", "name": "search", "content": "found"},
            ]
        },
        [("system", [("text", "", "be brief")]), ("user", [("text", "", "hi")]), CALLED, ANSWERED],
    ),
    "openai responses": (
        {
            "instructions": "be brief",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "function_call", "name": "search", "arguments": '{"q": 1}'},
                {"type": "function_call_output", "name": "search", "output": "found"},
            ],
        },
        [("system", [("text", "", "be brief")]), ("user", [("text", "", "hi")]), CALLED, ANSWERED],
    ),
    "a choice": (
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "ho"}}]},
        [("assistant", [("text", "", "ho")])],
    ),
    "anthropic": (
        {
            "system": "be brief",
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "name": "search", "input": {"q": 1}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "content": "found"}]},
            ],
        },
        [
            ("system", [("text", "", "be brief")]),
            CALLED,
            ("user", [("answer", "", "found")]),
        ],
    ),
    "opentelemetry": (
        [
            {"role": "user", "parts": [{"type": "text", "content": "hi"}]},
            {
                "role": "assistant",
                "parts": [{"type": "tool_call", "name": "search", "arguments": {"q": 1}}],
            },
        ],
        [("user", [("text", "", "hi")]), CALLED],
    ),
    "langchain": (
        [[{"lc": 1, "id": ["x", "HumanMessage"], "kwargs": {"content": "hi", "type": "human"}}]],
        [("user", [("text", "", "hi")])],
    ),
    "pydantic-ai": (
        [
            {
                "kind": "request",
                "parts": [
                    {"part_kind": "system-prompt", "content": "be brief"},
                    {"part_kind": "user-prompt", "content": "hi"},
                ],
            },
            {
                "kind": "response",
                "parts": [{"part_kind": "tool-call", "tool_name": "search", "args": '{"q": 1}'}],
            },
        ],
        [("system", [("text", "", "be brief")]), ("user", [("text", "", "hi")]), CALLED],
    ),
}


@pytest.mark.parametrize("library", CONVERSATIONS)
def test_conversations_of_any_library_are_read(library: str) -> None:
    value, wanted = CONVERSATIONS[library]
    found = messages(value)
    assert found is not None
    assert [(m.role, [tuple(part) for part in m.parts]) for m in found] == wanted


@pytest.mark.parametrize(
    "value",
    [None, "hi", 5, {}, [], {"query": "x"}, [{"town": "Nice"}], {"messages": ["hi"]}, [[[]]]],
    ids=str,
)
def test_what_is_no_conversation_is_none(value: object) -> None:
    assert messages(value) is None
