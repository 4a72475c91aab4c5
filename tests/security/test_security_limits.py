"""Nobody gets the panel to take in much, to wait for long, or to have nothing left for others."""

import asyncio
import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI, Request
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.core import ServeAPI
from kodosumi_prefect.files.tokens import token_for
from kodosumi_prefect.http import limits as limit
from kodosumi_prefect.http.errors import json_error
from kodosumi_prefect.panel.executions.streams import COME_BACK
from kodosumi_prefect.panel.services import calls as services
from kodosumi_prefect.panel.services.request_body import LARGEST
from kodosumi_prefect.panel.web import connections
from kodosumi_prefect.panel.web.connections import Connections
from kodosumi_prefect.settings import MEBIBYTE, Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stream import feed
from kodosumi_prefect.stream.feed import Feed
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document, hanging, operation
from tests.panel.panel_runs import DEADLINE, Run, Stand, fetch, serving, until

STREAMS = 3  # of one account
CONNECTIONS = 40
ATTACK = 64 * MEBIBYTE
# What systems keep in the buffers of both ends, beside what is read.
BUFFERED = 16 * MEBIBYTE
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def small(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A panel with low limits."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_limits TEMPLATE template_kodosumi")
    settings = Settings(
        database_url=SecretStr(make_conninfo(postgres.url, dbname="of_limits")),
        data_dir=tmp_path_factory.mktemp("limits"),
        streams_per_user=STREAMS,
        connections=CONNECTIONS,
    )
    with serving(settings) as stand:
        yield stand


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), DEADLINE)


def head(method: str, path: str, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    for name, value in headers.items():
        lines.append(f"{name if name == API_KEY_HEADER else name.replace('_', '-')}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def pushed(url: str, path: str, *, announced: bool, **headers: str) -> tuple[int, bytes]:
    """How many bytes of an attack a server takes before it hangs up, and what it answers."""
    piece = b"x" * 65536
    if announced:
        begin, part = head("POST", path, Content_Length=str(ATTACK), **headers), piece
    else:
        begin = head("POST", path, Transfer_Encoding="chunked", **headers)
        part = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    sent = 0
    with connect(url) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        client.sendall(begin)
        try:
            while sent < ATTACK:
                client.sendall(part)
                sent += len(piece)
        except ConnectionError:
            pass
        return sent, everything(client)


def everything(client: socket.socket) -> bytes:
    """What comes until the other end hangs up."""
    got = b""
    try:
        while piece := client.recv(65536):
            got += piece
    except ConnectionError:
        pass
    return got


def refusal(answer: httpx.Response, status: int) -> str:
    """The detail of an error of our shape."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert list(body) == ["error", "path", "detail", "status_code"]
    assert body["status_code"] == status
    return str(body["detail"])


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(
    "path", ["/api/login", "/login", "/role", "/outputs", "/flow/register", "/-/host/1/-/x"]
)
def test_a_body_without_end_is_not_taken_in(small: Stand, path: str, announced: bool) -> None:
    sent, answer = pushed(small.url, path, announced=announced)
    assert sent < limit.LINGER_BYTES + BUFFERED
    if b"\r\n\r\n" in answer:  # nothing comes through where the connection was reset before
        assert answer.split()[1] in (b"413", b"401")
        assert b"connection: close" in answer


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(
    ("path", "size"),
    [
        *(("/login", 16), ("/api/login", 16), ("/role", 16), ("/account/password", 16)),
        *(("/users", 16), ("/keys", 16), ("/outputs", 1024), ("/flow/register", 1024)),
        *(("/executions/bulk", 1024), ("/schedules/change", 1024), ("/anything", 1024)),
        *(("/waiting/a/b", 8192), ("/services/x", 8192), (f"/lock/{UNKNOWN}/l", 8192)),
        ("/-/h/1/-/x", 16384),
    ],
)
def test_each_address_has_a_limit_before_it_is_known_who_asks(
    small: Stand, path: str, size: int, announced: bool
) -> None:
    with small.connect() as client:

        def post(length: int) -> httpx.Response:
            body = b"x" * length
            return client.post(path, content=body if announced else iter([body[:9], body[9:]]))

        fits = post(size * 1024)
        assert fits.status_code not in (408, 413)
        shown = f"{size} KB" if size < 1024 else f"{size // 1024} MB"
        # Chunked, only who reads it knows how long it is, which nobody does for strangers.
        if announced or path == "/api/login":
            detail = refusal(post(size * 1024 + 1), 413)
            assert f"larger than {shown};" in detail


def test_an_operators_chunked_body_is_counted_too(small: Stand) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path, headers in (("/role", {}), ("/flow/register", {}), ("/account/password", form)):
        pieces = iter([b"x" * 65536] * 32)
        refusal(small.client.post(path, content=pieces, headers=headers), 413)


def test_people_get_a_page_about_it(small: Stand) -> None:
    with small.connect() as client:
        answer = client.post("/login", content=b"x" * 20_000, headers={"Accept": "text/html"})
    assert answer.status_code == 413
    assert answer.headers["content-type"].startswith("text/html")
    assert "larger than 16 KB" in answer.text
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    "begin",
    [
        head("POST", "/api/login", Content_Length="1000") + b"{",
        head("POST", "/api/login", Transfer_Encoding="chunked") + b"1\r\n{\r\n",
    ],
)
def test_a_body_that_does_not_go_on_is_given_up(
    small: Stand, begin: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit, "GRACE", 0.2)
    with connect(small.url) as client:
        client.sendall(begin)
        answer = everything(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status_code"] == 408


def test_a_large_body_that_falls_silent_is_given_up_soon(
    small: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that lost its network says nothing; what it sent before earns it no hours."""
    run = small.run().begin()
    path = f"/run-files/{run.fid}/contents"
    begin = head(
        "POST",
        path,
        Content_Length=str(10**9),
        kodosumi_run_token=token_for(run.fid, small.settings),
    )
    with connect(small.url) as client:
        client.sendall(begin + bytes(4 * MEBIBYTE))
        folder = small.settings.data_dir / "files" / "partial"
        until(lambda: any(each.stat().st_size > MEBIBYTE for each in folder.glob("*")))
        monkeypatch.setattr(limit, "SILENCE", 0.2)
        client.sendall(bytes(MEBIBYTE))
        answer = everything(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    until(lambda: not list(folder.glob("*")))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /livez HTT",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /livez HTTP/1.1\r\nHost: loc",
    ],
)
def test_who_does_not_come_to_the_point_is_hung_up_on_and_streams_are_not(
    small: Stand, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small.run().begin()
    with small.stream(f"/outputs/stream/{run.fid}") as stream:
        coming = stream.iter_text()
        assert "starting" in next(coming)
        monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.2)
        with connect(small.url) as client:
            client.sendall(said)
            answer = everything(client)  # ends when the panel hangs up
        assert answer.count(b"HTTP/1.1 200") == said.count(b"\r\n\r\n")
        run.lines("still there")
        assert any("still there" in text for text in coming)


def test_many_idle_connections_shut_nobody_out(small: Stand) -> None:
    run = small.run().begin()
    with small.stream(f"/outputs/stream/{run.fid}") as stream, ExitStack() as stack:
        coming = stream.iter_text()
        assert "starting" in next(coming)
        idle = [stack.enter_context(connect(small.url)) for _ in range(2 * CONNECTIONS)]
        assert httpx.get(f"{small.url}/livez", trust_env=False).status_code == 200
        # The oldest had to go; what is of use goes on.
        for client in idle[: CONNECTIONS - 5]:
            assert everything(client) == b""
        run.lines("still there")
        assert any("still there" in text for text in coming)


class _Line:
    """A connection as a server knows it."""

    def __init__(self, address: str, *, busy: bool = False) -> None:
        self.client = (address, 1)
        self.cycle = type("Cycle", (), {"response_complete": False})() if busy else None
        self.transport = self
        self.gone = False

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.gone = True


def test_who_holds_most_connections_loses_one_for_each_new_one() -> None:
    door = Connections(10)
    rude = [_Line("192.0.2.1", busy=True) for _ in range(8)]
    kind = [_Line(f"198.51.100.{number}") for number in range(2)]
    for line in [*rude, *kind]:
        door.came(line)
    another = _Line("192.0.2.1", busy=True)
    door.came(another)
    assert another.gone, "of the one who holds most, nothing but what is under way was there"
    newcomer = _Line("203.0.113.1")
    door.came(newcomer)
    assert [line.gone for line in rude] == [True] + [False] * 7
    assert not newcomer.gone and not any(line.gone for line in kind)
    assert len(door) == 10
    for line in [*rude, *kind, another, newcomer]:
        door.left(line)
    assert len(door) == 0


@pytest.mark.parametrize(
    ("soft", "hard", "most", "allowed"),
    [
        (1024, 20000, 1000, 1256),  # more are asked for
        (1024, 1024, 768, 1024),  # no more can be had
        (20000, 20000, 1000, 20000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1000, resource.RLIM_INFINITY),
    ],
)
def test_no_more_connections_are_taken_than_files_can_be_open(
    soft: int, hard: int, most: int, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))
    assert connections.most_connections(1000) == most
    assert limits[-1] == (allowed, hard)


WAYS = (
    "/outputs/stream/{fid}",
    "/outputs/main/{fid}",
    "/outputs/stdio/{fid}?raw=1",
    "/executions/{fid}/live",
    "/outputs/stream/{unknown}?extended=true",
    "/outputs/status/{unknown}?extended=true",
)


@pytest.mark.parametrize("way", WAYS)
def test_somebody_with_all_their_streams_open_gets_no_more_and_others_do(
    small: Stand, way: str
) -> None:
    greedy, other = (
        small.person(f"{name} {way}".replace("/", " "), operator=True)
        for name in ("greedy", "other")
    )
    run = small.run().begin()
    path = way.format(fid=run.fid, unknown=UNKNOWN)
    with ExitStack() as stack:
        open_ones = [stack.enter_context(connect(small.url)) for _ in range(STREAMS)]
        for one in open_ones:
            one.sendall(head("GET", path, **{API_KEY_HEADER: greedy.token}))
        seats = small.app.state.panel.streams.seats
        until(lambda: seats[greedy.id] == STREAMS)
        for further in WAYS:
            refused = greedy.client.get(further.format(fid=run.fid, unknown=UNKNOWN))
            assert f"{STREAMS} streams" in refusal(refused, 429)
            assert refused.headers["retry-after"] == str(COME_BACK)
        assert greedy.client.get(f"/outputs/status/{run.fid}").status_code == 200
        with other.client.stream("GET", f"/outputs/stream/{run.fid}") as stream:
            assert stream.status_code == 200
            assert "starting" in next(stream.iter_text())
        assert other.client.get("/executions").status_code == 200
        open_ones[0].close()
        until(lambda: seats[greedy.id] < STREAMS)
        with greedy.client.stream("GET", f"/outputs/stream/{run.fid}") as stream:
            assert stream.status_code == 200
    until(lambda: not seats[greedy.id])


def test_requests_of_one_to_slow_services_leave_room_for_others(
    small: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "OF_ONE", 2)
    greedy, other = (small.person(f"{name} of services") for name in ("greedy", "other"))
    under_way = small.app.state.panel.services.under_way
    paths = {"/go": {"get": operation("Go")}, "/slow": {"get": operation("Slow")}}
    service = Faulty(**{"openapi.json": document(paths), "go": {}, "slow": hanging})
    with served_app(service.app) as url, ExitStack() as stack:
        found = small.client.post("/flow/register", json={"url": f"{url}/openapi.json"}).json()
        go, slow = sorted(item["url"] for item in found)
        for _ in range(2):
            client = stack.enter_context(connect(small.url))
            client.sendall(head("GET", slow, **{API_KEY_HEADER: greedy.token}))
        until(lambda: under_way[greedy.id] == 2)
        refused = greedy.client.get(go)
        assert "2 requests of this account" in refusal(refused, 429)
        assert refused.headers["retry-after"] == str(services.COME_BACK)
        assert other.client.get(go).json() == {}
        stack.close()
        until(lambda: greedy.id not in under_way)
        assert greedy.client.get(go).json() == {}


async def test_many_streams_that_catch_up_leave_connections_to_everybody_else(
    settings: Settings, database: str
) -> None:
    run = await asyncio.to_thread(Run, database)
    await asyncio.to_thread(run.begin)
    connected = 8
    async with Reader(database, "kodosumi", connected) as reader, Feed(reader, database) as follow:

        async def one() -> Any:
            async for item in follow.subscribe(run.fid):
                return item

        locker = await psycopg.AsyncConnection.connect(database)
        async with locker:
            await locker.execute("LOCK TABLE kodosumi.event IN ACCESS EXCLUSIVE MODE")
            streams = [asyncio.create_task(one()) for _ in range(4 * connected)]
            waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            deadline = time.monotonic() + DEADLINE
            while (await asyncio.to_thread(fetch, database, waiting))[0]["n"] < feed.READS:
                assert time.monotonic() < deadline
            for _ in range(connected):
                await reader.execute("roles")  # raises PoolTimeout if streams hold all connections
        items = await asyncio.gather(*streams)
        assert {item.seq for item in items} == {1}
    await asyncio.to_thread(run.close)


@pytest.fixture
def service(settings: Settings) -> Iterator[str]:
    """A service under uvicorn, with a route of its own beside its endpoints."""
    app = ServeAPI(title="limited")

    @app.post("/own")
    async def own(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    less = settings.model_copy(update={"service_body_bytes": MEBIBYTE})
    settings_module.reset_settings(less)
    with served_app(app) as url:
        yield url


@pytest.mark.parametrize("announced", [True, False])
def test_a_service_has_a_limit_of_its_own_on_every_route(service: str, announced: bool) -> None:
    sent, _ = pushed(service, "/own", announced=announced)
    assert sent < LARGEST + limit.LINGER_BYTES + BUFFERED  # what a panel hands on at most
    body = b"x" * (MEBIBYTE + 1)
    with httpx.Client(base_url=service, trust_env=False) as client:

        def post(content: bytes) -> httpx.Response:
            return client.post("/own", content=content if announced else iter([content]))

        assert post(body[1:]).json() == {"size": MEBIBYTE}
        assert "larger than 1 MB" in refusal(post(body), 413)


def test_a_handler_that_makes_its_own_of_a_cut_body_does_not_hide_it() -> None:
    app = FastAPI()

    @app.post("/")
    async def swallow(request: Request) -> str:
        try:
            await request.body()
        except Exception:
            return "all is well"
        return "whole"

    guarded: Callable[..., Any] = limit.BodyLimit(app, lambda _: 10, json_error)
    with served_app(guarded) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.post("/", content=iter([b"12345"] * 2)).json() == "whole"
        assert client.post("/", content=iter([b"12345"] * 3)).status_code == 413
