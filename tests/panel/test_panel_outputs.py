"""What one execution's routes answer."""

import json
import threading
from uuid import uuid4

import pytest

from kodosumi_prefect.events import serialize
from kodosumi_prefect.spans.span import Usage, begin_payload, end_payload
from tests.panel.panel_runs import Stand, markdown, until


def test_status_of_a_finished_run_carries_the_envelope_as_json_text(panel: Stand) -> None:
    run = panel.run(
        summary="A summary",
        tags=["a", "b"],
        author="me",
        organization="us",
        version="2",
        owner="admin",
        entry_point="m:f",
        app_url="http://app",
        description="Long",
    )
    run.begin(x=1).finish(markdown("# hi"))
    found = panel.json(f"/outputs/status/{run.fid}")
    assert found.pop("timestamp") > 1_700_000_000
    assert json.loads(found.pop("final")) == {"Markdown": {"body": "# hi"}}
    assert found.pop("kodosumi_version")
    assert found.pop("links").keys() == {"flow_run", "deployment", "work_pool"}
    assert found == {
        "status": "finished",
        "fid": run.fid,
        "summary": "A summary",
        "description": "Long",
        "tags": ["a", "b"],
        "deprecated": False,
        "author": "me",
        "organization": "us",
        "version": "2",
        "app_url": "http://app",
        "entry_point": "m:f",
        "username": "admin",
        "locks": [],
        "usage": {
            "model_calls": 0,
            "tool_calls": 0,
            "errors": 0,
            "input_tokens": 0,
            "output_tokens": 0,
            "cost": 0.0,
            "unpriced_calls": 0,
        },
    }


def test_a_trace_has_spans_by_the_page_and_what_models_took(panel: Stand) -> None:
    run = panel.run().begin()
    for number in range(3):
        run.say("span", begin_payload(f"call-{number}", "ask", "llm", model=f"m-{number % 2}"))
        usage = Usage(input=10, output=1)
        run.say("span", end_payload(f"call-{number}", usage=usage, cost=0.5 if number else None))
    run.say("span", begin_payload("open", "search", "tool", parent="call-0"))
    run.finish()
    trace = panel.get(f"/outputs/trace/{run.fid}?limit=3").json()
    assert trace["usage"] == panel.get(f"/outputs/status/{run.fid}").json()["usage"]
    assert (trace["usage"]["cost"], trace["usage"]["unpriced_calls"]) == (1.0, 1)
    assert [(m["model"], m["calls"], m["input_tokens"]) for m in trace["models"]] == [
        ("m-0", 2, 20),
        ("m-1", 1, 10),
    ]
    assert [span["id"] for span in trace["items"]] == ["call-0", "call-1", "call-2"]
    assert trace["more"]
    [last] = panel.get(f"/outputs/trace/{run.fid}?after={trace['next']}").json()["items"]
    assert (last["parent"], last["ended"], last["status"]) == ("call-0", None, None)
    shown = panel.get(f"/outputs/events/{run.fid}?kinds=span").json()["items"]
    assert shown[0]["seq"] == trace["items"][0]["begin_seq"]


def test_a_running_run_has_no_final_even_if_one_is_stored(panel: Stand) -> None:
    run = panel.run().begin().say("final", serialize("early"))
    assert panel.json(f"/outputs/status/{run.fid}")["final"] is None
    assert "no result yet" in panel.json(f"/outputs/raw/{run.fid}")["Markdown"]["body"]


def test_a_failed_run_gives_the_errors_last_line(panel: Stand) -> None:
    run = panel.run().begin().say("final", serialize("early")).fail("Trace\nKeyError: 'x'\n")
    found = panel.json(f"/outputs/status/{run.fid}")
    assert found["status"] == "error"
    assert json.loads(found["final"]) == {"Text": {"body": "KeyError: 'x'"}}
    assert panel.json(f"/outputs/raw/{run.fid}") == {"Text": {"body": "KeyError: 'x'"}}


def test_the_result_of_an_earlier_attempt_is_none(panel: Stand) -> None:
    run = panel.run().begin().say("final", serialize("first"))
    run.attempt = 2
    run.status("running").status("finished")
    assert panel.json(f"/outputs/status/{run.fid}")["final"] is None


def test_raw_is_the_envelope_as_stored(panel: Stand) -> None:
    run = panel.run().begin().finish('{"dict": {"b": 1, "a": 2.50}}')
    answer = panel.get(f"/outputs/raw/{run.fid}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == '{"dict": {"b": 1, "a": 2.50}}'


def test_html_is_a_page_with_the_result_rendered(panel: Stand) -> None:
    run = panel.run(summary="Sums").begin().finish(markdown("**bold** <script>x</script>"))
    answer = panel.get(f"/outputs/html/{run.fid}")
    assert answer.headers["content-type"].startswith("text/html")
    assert "<strong>bold</strong>" in answer.text
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    "area", ["status", "stream", "main", "stdio", "raw", "html", "events", "tasks"]
)
def test_an_unknown_fid_is_404_and_a_malformed_one_too(panel: Stand, area: str) -> None:
    for fid, code in ((str(uuid4()), 404), ("not-a-uuid", 404), ("%00", 404)):
        answer = panel.get(f"/outputs/{area}/{fid}")
        assert answer.status_code == code
        body = answer.json()
        assert set(body) == {"error", "path", "detail", "status_code"}
        assert body["status_code"] == code
        assert body["path"].startswith(f"/outputs/{area}/")


def test_extended_waits_for_an_execution_that_is_not_there_yet(panel: Stand) -> None:
    run = panel.run()
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(panel.json(f"/outputs/status/{run.fid}?extended=true"))
    )
    asking.start()
    assert panel.get(f"/outputs/status/{run.fid}").status_code == 404
    run.begin()
    asking.join(10)
    assert answers[0]["status"] in ("starting", "running")


def test_events_come_by_the_page_with_a_cursor_that_misses_nothing(panel: Stand) -> None:
    run = panel.run().begin().lines(*(f"line {i}" for i in range(25)))
    seen, cursor, more = [], 0, True
    while more:
        found = panel.json(f"/outputs/events/{run.fid}", params={"after": cursor, "limit": 7})
        assert len(found["items"]) <= 7
        seen += found["items"]
        cursor, more = found["next"], found["more"]
    assert [item["seq"] for item in seen] == list(range(1, 30))
    assert set(seen[0]) == {"seq", "timestamp", "kind", "payload", "attempt", "source"}
    assert seen[-1]["payload"] == "line 24"
    run.lines("later")
    found = panel.json(f"/outputs/events/{run.fid}", params={"after": cursor})
    assert [item["payload"] for item in found["items"]] == ["later"]


def test_events_of_chosen_kinds_leave_no_gap_behind(panel: Stand) -> None:
    run = panel.run().begin().lines("a", "b").say("result", serialize(1)).lines("c")
    path = f"/outputs/events/{run.fid}"
    found = panel.json(path, params={"kinds": "result,status"})
    assert [item["kind"] for item in found["items"]] == ["status", "status", "result"]
    assert found["next"] == 8
    assert panel.get(path, params={"kinds": "nonsense"}).status_code == 422
    beyond = panel.json(path, params={"after": 999, "limit": 1})
    assert beyond["reset"] and beyond["items"][0]["seq"] == 1


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=99999999999999999999", "limit=0"])
def test_a_bad_cursor_is_422(panel: Stand, query: str) -> None:
    run = panel.run().begin()
    answer = panel.get(f"/outputs/events/{run.fid}?{query}")
    assert answer.status_code == 422
    assert query.split("=")[0] in answer.json()["detail"]


def test_an_unforeseen_error_has_an_id_and_no_traceback(
    panel: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = panel.run().begin()

    async def broken(*_) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(panel.app.state.panel.reader, "status", broken)
    answer = panel.get(f"/outputs/status/{run.fid}")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    number = answer.json()["detail"].split()[2].rstrip(",")
    until(lambda: number in caplog.text)
    assert "secret detail" in caplog.text


def test_what_does_not_exist_is_json_too(panel: Stand) -> None:
    assert panel.get("/nowhere").json() == {
        "error": "Not Found",
        "path": "/nowhere",
        "detail": "Not Found",
        "status_code": 404,
    }
    assert panel.client.post("/timeline/list").json()["status_code"] == 405


def test_a_large_event_can_be_read_in_every_way(panel: Stand) -> None:
    big = "x" * 3_000_000
    run = panel.run().begin().lines(big).finish(markdown(big))
    assert panel.json(f"/outputs/events/{run.fid}")["items"][4]["payload"] == big
    assert panel.whole(f"/outputs/stream/{run.fid}")[4].data == big
    assert len(panel.get(f"/executions/{run.fid}").text) < 1_000_000
