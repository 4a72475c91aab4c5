"""Server-sent events: their form, resuming, and readers that come, go and dawdle."""

import re
import socket
import threading
import time
from collections.abc import Callable
from itertools import islice

import pytest

from kodosumi_prefect.events import serialize
from kodosumi_prefect.panel.executions import streams
from kodosumi_prefect.panel.executions.streams import CHUNK, OUTBOX_BYTES
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spans.span import begin_payload, end_payload
from kodosumi_prefect.stream import feed
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.panel.panel_runs import Frame, Stand, frames, markdown, until


def test_the_whole_stream_comes_in_order_and_ends_with_eof(panel: Stand) -> None:
    run = panel.run().begin().lines("one", "two\nlines\n").finish()
    got = panel.whole(f"/outputs/stream/{run.fid}")
    assert [f.id for f in got] == ["1", "2", "3", "4", "5", "6", "7", "8", "8"]
    assert [f.event for f in got] == [
        "status",
        "inputs",
        "meta",
        "status",
        "stdout",
        "stdout",
        "final",
        "status",
        "eof",
    ]
    assert got[5].data == "two\nlines\n"
    assert abs(got[4].ts - time.time()) < 60


def test_spans_come_to_who_asks_for_them(panel: Stand) -> None:
    run = panel.run().begin()
    run.say("span", begin_payload("a", "ask", "llm"))
    run.lines("one").say("span", end_payload("a")).finish()
    known = [f.event for f in panel.whole(f"/outputs/stream/{run.fid}")]
    traced = [f.event for f in panel.whole(f"/outputs/stream/{run.fid}?spans=true")]
    assert traced.count("span") == 2
    assert [event for event in traced if event != "span"] == known
    for name in ("main", "stdio"):
        assert "span" not in [f.event for f in panel.whole(f"/outputs/{name}/{run.fid}")]


def test_eof_comes_at_once_when_the_run_is_over(
    settings: Settings, start_panel: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SWEEP", 60)
    monkeypatch.setattr(feed, "POLL", 60)
    stand = start_panel(settings, quiet=60)
    run = stand.run().begin().finish()
    assert [f.event for f in stand.whole(f"/outputs/stream/{run.fid}?after=6")] == ["eof"]


def test_main_and_stdio_bring_their_kinds_rendered_unless_raw(panel: Stand) -> None:
    run = panel.run().begin().lines("<b>").say("result", markdown("**x**")).fail("<oops>")
    main = panel.whole(f"/outputs/main/{run.fid}")
    assert [f.event for f in main[4:]] == ["result", "error", "status", "eof"]
    assert "<strong>x</strong>" in main[4].data
    assert "&lt;oops&gt;" in main[5].data
    assert main[6].data == "error"
    stdio = panel.whole(f"/outputs/stdio/{run.fid}")
    assert [(f.event, f.data) for f in stdio[:1]] == [("stdout", "&lt;b&gt;")]
    assert [f.event for f in stdio] == ["stdout", "error", "eof"]
    raw = panel.whole(f"/outputs/main/{run.fid}?raw")
    assert raw[4].data == markdown("**x**")
    assert panel.whole(f"/outputs/stdio/{run.fid}?raw=1")[0].data == "<b>"


def test_events_arrive_while_the_run_goes_on(panel: Stand) -> None:
    run = panel.run().begin()
    with panel.stream(f"/outputs/stream/{run.fid}") as response:
        coming = frames(response)
        assert [f.id for f in islice(coming, 4)] == ["1", "2", "3", "4"]
        run.lines("now")
        got = next(f for f in coming if f.event != "alive")
        assert (got.id, got.data) == ("5", "now")
        run.finish()
        assert [f.event for f in coming if f.event != "alive"] == ["final", "status", "eof"]


@pytest.mark.parametrize("how", ["header", "query", "both"])
def test_resuming_loses_and_repeats_nothing(panel: Stand, how: str) -> None:
    run = panel.run().begin().lines(*(str(i) for i in range(3000))).finish()
    path = f"/outputs/stream/{run.fid}"
    got: list[Frame] = []
    while not got or got[-1].event != "eof":
        last = got[-1].id if got else "0"
        headers = {"Last-Event-ID": last} if how != "query" else {}
        params = {"header": {}, "query": {"after": last}, "both": {"after": 1}}[how]
        with panel.stream(path, params=params, headers=headers) as response:
            got += islice(frames(response), 700)
    assert [int(f.id) for f in got[:-1]] == list(range(1, 3007))


def test_alive_has_id_0_and_leaves_the_readers_cursor_alone(panel: Stand) -> None:
    run = panel.run().begin()
    with panel.stream(f"/outputs/stream/{run.fid}") as response:
        text = ""
        pieces = response.iter_text()
        while text.count("event: alive") < 2:
            text += next(pieces)
    # An EventSource remembers the last id it saw, be it in a block without data.
    assert re.search(r"event: alive\ndata: [\d.]+:service alive\nid: 0\n\nid: 4\n\n", text)
    run.finish()
    again = panel.whole(f"/outputs/stream/{run.fid}", headers={"Last-Event-ID": "4"})
    assert [f.id for f in again] == ["5", "6", "6"]


def test_a_cursor_beyond_the_end_gets_reset_and_a_replay(panel: Stand) -> None:
    run = panel.run().begin().finish()
    got = panel.whole(f"/outputs/stream/{run.fid}?after=500")
    assert [(f.event, f.id) for f in got[:2]] == [("reset", "0"), ("status", "1")]
    assert got[-1].event == "eof"


@pytest.mark.parametrize("cursor", ["-1", "x", "1.5", "9" * 30, "²"])
def test_a_bad_cursor_is_422_before_the_stream_starts(panel: Stand, cursor: str) -> None:
    run = panel.run().begin()
    for area in ("stream", "main", "stdio"):
        path = f"/outputs/{area}/{run.fid}"
        asked = panel.get(path, headers={"Last-Event-ID": cursor.encode()})
        assert asked.status_code == 422, asked.text
        asked = panel.get(path, params={"after": cursor})
        assert asked.status_code == 422
        assert asked.json()["status_code"] == 422


def test_a_rerun_goes_on_in_the_same_stream(panel: Stand) -> None:
    run = panel.run().begin().fail()
    first = panel.whole(f"/outputs/stream/{run.fid}")
    run.attempt = 2
    run.status("running").finish()
    second = panel.whole(f"/outputs/stream/{run.fid}?after={first[-1].id}")
    assert [f.data for f in second] == ["running", serialize("done"), "finished", "end of stream"]


def test_many_readers_of_one_run_all_get_everything(panel: Stand) -> None:
    run = panel.run().begin()
    results: list[list[str]] = []

    def read() -> None:
        with (
            panel.connect(panel.token) as client,
            client.stream("GET", f"/outputs/main/{run.fid}") as response,
        ):
            results.append([f.id for f in frames(response) if f.event not in ("alive", "eof")])

    readers = [threading.Thread(target=read) for _ in range(20)]
    for reader in readers:
        reader.start()
    until(lambda: len(panel.app.state.panel.streams) == 20)
    for i in range(50):
        run.say("result", serialize(i))
    run.finish()
    for reader in readers:
        reader.join(20)
    assert results == [[str(i) for i in range(1, 57)]] * 20
    until(lambda: len(panel.app.state.panel.streams) == 0)


def test_a_slow_reader_costs_no_memory_and_holds_up_nobody(panel: Stand) -> None:
    run = panel.run().begin()
    for i in range(40):
        run.lines(*(f"{i} {'x' * 10_000}" for _ in range(50)))
    run.finish()
    host, port = panel.url.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        slow.connect((host, int(port)))
        head = f"Host: localhost\r\n{API_KEY_HEADER}: {panel.token}"
        slow.sendall(f"GET /outputs/stream/{run.fid} HTTP/1.0\r\n{head}\r\n\r\n".encode())
        opened = panel.app.state.panel.streams._open
        until(lambda: any(one.outbox._size >= OUTBOX_BYTES for one in opened.values()))
        assert len(panel.whole(f"/outputs/stream/{run.fid}")) == 2007
        held = max(one.outbox._size for one in opened.values())
        assert held < OUTBOX_BYTES + CHUNK
        data = bytearray()
        while piece := slow.recv(1 << 20):
            data += piece
    assert data.count(b"\nid: ") == 2007
    assert b"id: 2006" in data[-40:]


def test_a_reader_that_goes_away_is_forgotten(panel: Stand) -> None:
    run = panel.run().begin()
    with panel.stream(f"/outputs/stream/{run.fid}") as response:
        reader = frames(response)  # kept: what is thrown away closes the connection
        next(reader)
        assert len(panel.app.state.panel.streams) == 1
    until(lambda: len(panel.app.state.panel.streams) == 0)
    until(lambda: panel.app.state.panel.feed.subscribers == 0)


def test_stopping_the_panel_ends_open_streams_at_once(
    settings: Settings, start_panel: Callable[..., Stand]
) -> None:
    stand = start_panel(settings, quiet=60)
    run = stand.run().begin()
    state = stand.app.state.panel
    with stand.stream(f"/outputs/stream/{run.fid}") as response:
        coming = frames(response)
        assert next(coming).id == "1"
        loop = next(iter(state.streams._open)).get_loop()
        loop.call_soon_threadsafe(state.streams.close)
        assert [f.id for f in coming] == ["2", "3", "4"]


def test_streams_end_for_those_who_may_not_read_them_any_more(
    settings: Settings, start_panel: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "REVIEW", 0.1)
    stand = start_panel(settings)
    owner, operator = stand.person("asker"), stand.person("operator", operator=True)
    run = stand.run(owner=owner.id).begin()
    path = f"/outputs/stream/{run.fid}"
    key = stand.client.post("/keys", json={"name": "of a program"}).json()
    program = stand.connect(key["key"])
    with (
        owner.client.stream("GET", path) as one,
        operator.client.stream("GET", path) as other,
        program.stream("GET", path) as by_key,
        stand.stream(path) as third,
    ):
        disabled, demoted, revoked = frames(one), frames(other), frames(by_key)
        lasting = frames(third)
        for coming in (disabled, demoted, revoked, lasting):
            assert [next(coming).id for _ in range(4)] == ["1", "2", "3", "4"]
        for person, change in ((owner, {"active": False}), (operator, {"operator": False})):
            changed = stand.client.put(f"/role/{person.id}", json=change)
            assert changed.status_code == 200, changed.text
        assert stand.client.delete(f"/keys/{key['id']}").is_success
        for coming in (disabled, demoted, revoked):
            assert {frame.event for frame in coming} <= {"alive"}
        run.finish()
        assert [frame.event for frame in lasting if frame.event != "alive"][-1] == "eof"
    assert owner.client.get(path).status_code == 401
    assert operator.client.get(path).status_code == 404
    assert program.get(path).status_code == 401
    program.close()
