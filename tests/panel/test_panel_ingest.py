"""``POST /ingest``: events by a token of their execution, and of nothing else."""

import time
import zlib
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from kodosumi_prefect.events import serialize
from kodosumi_prefect.files.tokens import TOKEN_HEADER, fid_of, read_token, token_for
from kodosumi_prefect.panel.ingest.actions import MOST_AT_ONCE, MOST_OF_ONE, Load
from kodosumi_prefect.refusals import UnavailableError
from kodosumi_prefect.spooler.batch import Batch, Header, pack
from kodosumi_prefect.spooler.panel_transport import MOST_BYTES
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.panel.panel_runs import Stand
from tests.spooler.recording import batch, fresh, line_to, payloads, row, said, stored


@pytest.fixture
def fid() -> str:
    return fresh()


@pytest.fixture
def send(panel: Stand, fid: str) -> Callable[..., httpx.Response]:
    """Posts batches with the token of ``fid``, or another one."""
    http = panel.connect()

    def post(*batches: Batch, token: str | None = None, path: str = "/ingest", **more: Any) -> Any:
        headers = {TOKEN_HEADER: token or token_for(fid, panel.settings)}
        content = more.pop("content", None)
        headers |= more.pop("headers", {})
        body = pack(list(batches)) if content is None else content
        return http.post(path, content=body, headers=headers, **more)

    return post


def end(panel: Stand, fid: str, ago: str) -> None:
    """Have an execution be over for some time."""
    with psycopg.connect(panel.database, autocommit=True) as connection:
        connection.execute(
            "UPDATE kodosumi.execution SET status = 'finished', ended_at = now() - %s::interval,"
            " ended_seq = last_seq WHERE fid = %s",
            (ago, fid),
        )


def test_a_delivery_is_stored_once_however_often_it_comes(
    panel: Stand, send: Callable[..., httpx.Response], fid: str
) -> None:
    one = batch(fid, said("1"), said("2\x00"), header=Header(flow_name="elsewhere"))
    for _ in range(3):
        answer = send(one)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outcome"] is None
    two = one._replace(number=2, events=[said("3")], alive=True)
    packed = zlib.compress(pack([two]))
    assert send(content=packed, headers={"content-encoding": "deflate"}).status_code == 200
    assert payloads(panel.database, fid) == ["1", "2␀", "3"]
    assert row(panel.database, fid)["flow_name"] == "elsewhere"
    assert row(panel.database, fid)["heartbeat_at"] is not None


def test_a_gap_is_answered_as_the_spooler_raises_it(
    send: Callable[..., httpx.Response], fid: str
) -> None:
    late = batch(fid, said("4"), number=4)
    answer = send(late)
    assert answer.status_code == 409
    assert answer.json()["outcome"] == ["gap", [fid, late.writer, 4, 0]]


def test_a_token_is_good_for_its_own_execution_only(
    panel: Stand, send: Callable[..., httpx.Response], fid: str
) -> None:
    other = fresh()
    both = send(batch(fid, said("own")), batch(other, said("foreign")))
    assert both.status_code == 403
    assert f"events of execution {fid} only" in both.json()["detail"]
    assert send(batch(other, said("foreign"))).status_code == 403
    with psycopg.connect(panel.database) as connection:
        query = "SELECT count(*) FROM kodosumi.execution WHERE fid IN (%s, %s)"
        assert connection.execute(query, (fid, other)).fetchone() == (0,)


def test_without_a_token_nothing_is_taken(
    panel: Stand, send: Callable[..., httpx.Response], fid: str
) -> None:
    good, old = token_for(fid, panel.settings), token_for(fid, panel.settings, minutes=-1)
    forged = f"{fresh()}.{good.partition('.')[2]}"
    for token in ("nothing", old, forged, panel.token, good[:-3] + "AAA"):
        for path in ("/ingest", "/ingest/heartbeat", "/ingest/hello", "/ingest/standing"):
            answer = send(batch(fid, said("1")), token=token, path=path)
            assert answer.status_code == 401, (token, path, answer.text)
            assert set(answer.json()) == {"error", "path", "detail", "status_code"}
    by_key = panel.client.post("/ingest", content=pack([batch(fid, said("1"))]))
    assert by_key.status_code == 401  # an operator is no process of the run


def test_a_token_opens_no_other_route(panel: Stand, fid: str) -> None:
    run = panel.run().begin()
    token = token_for(run.fid, panel.settings)
    paths = ("/timeline/list", f"/outputs/status/{run.fid}", f"/outputs/events/{run.fid}", "/role")
    for headers in ({TOKEN_HEADER: token}, {API_KEY_HEADER: token}):
        for path in paths:
            assert panel.connect().get(path, headers=headers).status_code == 401
        cancelling = panel.connect().post(f"/outputs/{run.fid}/cancel", headers=headers)
        making = panel.connect().post(f"/outputs/{run.fid}/token", headers=headers)
        assert (cancelling.status_code, making.status_code) == (401, 401)


def test_events_are_taken_for_an_hour_after_the_end_and_marked_late(
    panel: Stand, send: Callable[..., httpx.Response], fid: str
) -> None:
    one = batch(fid, said("1"))
    assert send(one).status_code == 200
    end(panel, fid, "59 minutes")
    assert send(one._replace(number=2, events=[said("late")])).status_code == 200
    with psycopg.connect(panel.database) as connection:
        query = "SELECT last_seq, ended_seq FROM kodosumi.execution WHERE fid = %s"
        assert connection.execute(query, (fid,)).fetchone() == (2, 1)
    end(panel, fid, "61 minutes")
    refused = send(one._replace(number=3, events=[said("too late")]))
    assert refused.status_code == 403
    assert "takes no more events" in refused.json()["detail"]
    assert send(path="/ingest/heartbeat").status_code == 403
    assert payloads(panel.database, fid) == ["1", "late"]


def test_a_heartbeat_is_one_of_the_tokens_execution(
    panel: Stand, send: Callable[..., httpx.Response], fid: str
) -> None:
    other = panel.run().begin()
    with psycopg.connect(panel.database, autocommit=True) as connection:
        connection.execute("UPDATE kodosumi.execution SET heartbeat_at = NULL")
    assert send(batch(fid, said("1"))).status_code == 200
    assert send(path="/ingest/heartbeat", content=b"").status_code == 200
    assert row(panel.database, fid)["heartbeat_at"] is not None
    assert row(panel.database, other.fid)["heartbeat_at"] is None


def test_nobody_says_whose_execution_it_is(
    panel: Stand, send: Callable[..., httpx.Response], fid: str
) -> None:
    victim = panel.person(f"victim-{uuid4().hex[:8]}")
    header = Header(owner=victim.id, schedule=fresh(), flow_name="mine")
    meta = said(serialize({"fid": fid}), "meta", dedupe="open:meta")
    assert send(batch(fid, meta, header=header)).status_code == 200
    kept = row(panel.database, fid)
    assert (kept["owner"], kept["schedule_id"], kept["flow_name"]) == (None, None, "mine")
    assert victim.client.get(f"/outputs/status/{fid}").status_code == 404


def _fields(**changed: Any) -> list[Any]:
    return list(said("x")._replace(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"ts": "then"},
        {"ts": None},
        {"kind": 7},
        {"payload": {"a": 1}},
        {"attempt": -1},
        {"attempt": 2**40},
        {"source": []},
        {"state": ["short"]},
    ],
    ids=str,
)
def test_what_is_no_event_is_refused_and_stores_nothing(
    panel: Stand, send: Callable[..., httpx.Response], fid: str, changed: dict[str, Any]
) -> None:
    one = batch(fid, said("before"))
    assert send(one).status_code == 200
    bad = one._replace(number=2, events=[said("beside"), _fields(**changed)])
    answer = send(bad)
    assert answer.status_code == 422, answer.text
    assert "no delivery of events" in answer.json()["detail"]
    assert payloads(panel.database, fid) == ["before"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[[1]]",
        b"[" * 200_000,
        b'[["%s"]]' % (b"x" * 50),
        b"\xff\xfe",
        b'[["\\ud800"]]',
        b"[NaN]",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_bodies_of_any_kind_are_refused(send: Callable[..., httpx.Response], body: bytes) -> None:
    assert send(content=body).status_code == 422


@pytest.mark.parametrize(
    "field",
    [
        {"process": {"host": "here", "pid": "../self"}},
        {"deployment_id": "no id"},
        {"tags": "abc"},
        {"flow_name": "x" * 1_000_001},
    ],
    ids=lambda field: next(iter(field)),
)
def test_headers_that_are_none_are_refused(
    send: Callable[..., httpx.Response], fid: str, field: Header
) -> None:
    assert send(batch(fid, said("x"), header=field)).status_code == 422


def test_what_is_too_large_is_refused_compressed_or_not(
    panel: Stand, send: Callable[..., httpx.Response], fid: str
) -> None:
    huge = b" " * (MOST_BYTES + 1)
    assert send(content=huge).status_code == 413
    bomb = zlib.compress(huge, 9)
    assert len(bomb) < 20_000
    assert send(content=bomb, headers={"content-encoding": "deflate"}).status_code == 413
    deflate = {"content-encoding": "deflate"}
    assert send(content=b"no deflate", headers=deflate).status_code == 422
    assert send(content=zlib.compress(b"[]" * 9)[:-4], headers=deflate).status_code == 422
    assert send(content=b"[]", headers={"content-encoding": "br"}).status_code == 422
    whole = batch(fid, said("y" * (MOST_BYTES - 2000)))
    assert send(whole).status_code == 200
    assert panel.app.state.panel.ingest._load._bytes == {}


def test_no_more_is_taken_into_memory_than_there_may_be() -> None:
    load = Load()
    load.take("a", MOST_OF_ONE)
    with pytest.raises(UnavailableError):
        load.take("a", 1)
    left = MOST_AT_ONCE - MOST_OF_ONE
    load.take("b", left)
    with pytest.raises(UnavailableError):
        load.take("c", 1)
    load.give_back("a", MOST_OF_ONE)
    load.take("c", 1)
    load.give_back("b", left)
    load.give_back("c", 1)
    assert load._bytes == {}


def test_postgres_that_is_away_is_told_without_saying_where_it_is(
    panel: Stand, start_panel: Callable[..., Stand], database: str, settings: Any, fid: str
) -> None:
    with line_to(database) as line:
        through = settings.model_copy(
            update={"database_url": type(settings.database_url)(line.url)}
        )
        stand = start_panel(through)
        headers = {TOKEN_HEADER: token_for(fid, settings)}
        http = stand.connect()
        one = batch(fid, said("1"))
        assert http.post("/ingest", content=pack([one]), headers=headers).status_code == 200
        line.cut()
        away = http.post(
            "/ingest", content=pack([one._replace(number=2, events=[said("2")])]), headers=headers
        )
        assert away.status_code == 503
        assert "127.0.0.1" not in away.text
        assert str(line.url).rpartition("port=")[2].split()[0] not in away.text
        line.restore()
        until = time.monotonic() + 20
        while (
            http.post(
                "/ingest",
                content=pack([one._replace(number=2, events=[said("2")])]),
                headers=headers,
            ).status_code
            != 200
        ):
            assert time.monotonic() < until
    assert payloads(database, fid) == ["1", "2"]


def test_owner_and_operators_make_tokens_and_nobody_else(panel: Stand) -> None:
    one, two = (panel.person(f"token-{uuid4().hex[:8]}") for _ in range(2))
    run = panel.run(owner=one.id).begin()
    path = f"/outputs/{run.fid}/token"
    made = one.client.post(path, json={"minutes": 5})
    assert made.status_code == 201, made.text
    body = made.json()
    assert fid_of(body["token"]) == run.fid
    read = read_token(body["token"], panel.settings)
    assert read.fid == run.fid
    assert abs(read.until - (time.time() + 300)) < 60
    assert body["panel_url"].startswith("http")
    assert two.client.post(path).status_code == 404
    assert panel.connect().post(path).status_code == 401
    assert panel.client.post(path).status_code == 201
    assert one.client.post(path, json={"minutes": 0}).status_code == 422
    assert one.client.post(path, json={"minutes": 10**9}).status_code == 422
    unknown = f"/outputs/{fresh()}/token"
    assert one.client.post(unknown).status_code == 404
    assert panel.client.post(unknown).status_code == 201  # a run that nobody recorded yet
    end(panel, run.fid, "2 hours")
    assert one.client.post(path).status_code == 403
    entries = panel.json("/audit", params={"action": "run_token"})
    told = [
        (each["actor_name"], each["outcome"])
        for each in entries["items"]
        if each["target_id"] == run.fid
    ]
    assert (one.name, "ok") in told
    assert body["token"] not in str(entries)


def test_a_whole_stream_comes_in_order(
    panel: Stand, send: Callable[..., httpx.Response], fid: str
) -> None:
    writer = fresh()
    for number in range(1, 21):
        texts = [said(f"{number}.{line}") for line in range(50)]
        sent = send(batch(fid, *texts, writer=writer, number=number))
        assert sent.status_code == 200
    found = stored(panel.database, fid)
    assert [event["seq"] for event in found] == list(range(1, 1001))
    assert [event["payload"] for event in found] == [
        f"{number}.{line}" for number in range(1, 21) for line in range(50)
    ]
