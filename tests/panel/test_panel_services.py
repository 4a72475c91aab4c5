"""Services behind the panel: what passes to them and back, and what happens when they fail."""

import asyncio
import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import jwt
import pytest
from jwt.algorithms import OKPAlgorithm
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from kodosumi_prefect.panel.services.forwarded_headers import request_headers, response_headers
from kodosumi_prefect.panel.services.request_body import LARGEST
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import KEY_PATH
from tests.http_services import served_app
from tests.panel import faulty_services as faults
from tests.panel.faulty_services import Faulty, document, operation
from tests.panel.impatient import TIMEOUT, failure, impatient
from tests.panel.panel_runs import Stand, serving, until


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, postgres: Any) -> Iterator[Stand]:
    """One panel with little patience."""
    with serving(impatient(postgres, "of_proxy_tests", tmp_path_factory.mktemp("proxy"))) as stand:
        yield stand


class Registered:
    """A service behind a panel: its endpoint ``/go`` answers what ``answer`` says."""

    def __init__(self, panel: Stand, stack: ExitStack, **documented: Any) -> None:
        self.service = Faulty(**{"openapi.json": document(**documented)})
        self.url = stack.enter_context(served_app(self.service.app))
        self.port = int(self.url.rpartition(":")[2])
        self.panel = panel
        answer = panel.client.post("/flow/register", json={"url": f"{self.url}/openapi.json"})
        [endpoint] = answer.json()
        self.path = str(endpoint["url"])
        self.uid = str(endpoint["uid"])
        self.name = str(endpoint["base_url"])

    def answer(self, value: Any) -> None:
        self.service.answers["/go"] = value

    def get(self, **options: Any) -> httpx.Response:
        return self.panel.get(self.path, **options)

    def post(self, **options: Any) -> httpx.Response:
        return self.panel.client.post(self.path, **options)


@pytest.fixture
def behind(panel: Stand) -> Iterator[Registered]:
    with ExitStack() as stack:
        yield Registered(panel, stack)


async def echo(request: Request) -> Response:
    """What arrived."""
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "query": request.url.query,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body": (await request.body()).decode(),
        }
    )


def test_a_request_arrives_as_it_was_sent(behind: Registered):
    behind.answer(echo)
    query = "a=1+2&a=%20&b=%C3%BC&c"
    url = f"{behind.path}?{query}"
    got = behind.panel.client.post(url, json={"name": "Ann"}, headers={"X-Own": "7"}).json()
    assert (got["method"], got["path"], got["query"]) == ("POST", "/go", query)
    assert json.loads(got["body"]) == {"name": "Ann"}
    assert ["x-own", "7"] in got["headers"] and ["content-type", "application/json"] in got[
        "headers"
    ]
    assert behind.get().json()["method"] == "GET"
    assert ["content-length", "0"] not in behind.get().json()["headers"]


def test_chunked_bodies_arrive(behind: Registered):
    behind.answer(echo)
    answer = behind.post(content=iter([b"one ", b"two"]))
    assert answer.json()["body"] == "one two"


def test_who_somebody_is_to_the_panel_stays_there(behind: Registered):
    behind.answer(echo)
    private = {
        "Cookie": f"kodosumi_jwt={behind.panel.token}",
        "Authorization": "Bearer secret",
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-User": "mallory",
        "X-Real-IP": "10.0.0.1",
        "Forwarded": "for=10.0.0.1",
        "x-kodosumi-user": "mallory",
        "x-kodosumi_user": "mallory",
        "X_Kodosumi_User": "mallory",
        "x-kodosumi-signature": "forged",
        "x-kodosumi-endpoint": "forged",
        "Connection": "x-hop, keep-alive",
        "X-Hop": "1",
        "TE": "trailers",
        "x-kodosumi-schedule": '{"interval": 3600}',
    }
    headers = behind.get(headers=private).json()["headers"]
    names = [name for name, _ in headers]
    assert len(names) == len(set(names))
    known = dict(headers)
    assert known["x-kodosumi-schedule"] == '{"interval": 3600}'
    assert known["x-kodosumi-endpoint"] == behind.uid
    assert known["host"] == behind.url.removeprefix("http://")
    assert not {n.lower() for n in private} & set(names) - {
        *("x-kodosumi-schedule", "x-kodosumi-endpoint", "x-kodosumi_user"),
        *("x-kodosumi-signature", "connection"),
    }
    text = json.dumps(headers)
    assert "mallory" not in text and behind.panel.token not in text and "secret" not in text
    assert "forged" not in text and "10.0.0.1" not in text


def test_a_service_is_told_who_asks_under_the_panels_signature(behind: Registered):
    behind.answer(echo)
    person = behind.panel.person("Zoë")
    known = dict(person.client.get(behind.path).json()["headers"])
    assert known["x-kodosumi_user"] == person.id
    assert known["x-kodosumi_base"] == behind.url
    assert known["x-kodosumi-url"] == behind.panel.url
    nobody = behind.panel.connect()
    key = OKPAlgorithm.from_jwk(nobody.get("/.well-known/kodosumi/key").json())
    claims = jwt.decode(known["x-kodosumi-signature"], key, algorithms=["EdDSA"])  # type: ignore[arg-type]
    assert (claims["sub"], claims["name"], claims["operator"]) == (person.id, "Zoë", False)
    assert (claims["base"], claims["url"]) == (behind.url, behind.panel.url)
    assert (claims["method"], claims["path"]) == ("GET", "/go")
    assert claims["exp"] - time.time() <= 60
    assert nobody.get(behind.path).status_code == 401


def test_the_panels_own_address_is_what_people_use(behind: Registered, settings: Settings):
    behind.answer(echo)
    trusting = {"proxy_networks": ["127.0.0.1"], "database_url": behind.panel.settings.database_url}
    forwarded = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "panel.example",
        "X-Forwarded-Prefix": "/agents",
        "X-Forwarded-For": "192.0.2.7",
    }
    changes = {**trusting, "data_dir": behind.panel.settings.data_dir}
    with serving(settings.model_copy(update=changes)) as panel:
        known = dict(panel.get(behind.path, headers=forwarded).json()["headers"])
        assert known["x-kodosumi-url"] == "https://panel.example/agents"
    changes["panel_url"] = "https://configured.example/"
    with serving(settings.model_copy(update=changes)) as panel:
        known = dict(panel.get(behind.path).json()["headers"])
        assert known["x-kodosumi-url"] == "https://configured.example"


def test_only_registered_endpoints_are_called(behind: Registered):
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.2)
        port = other.getsockname()[1]
        for path in (f"/-/127.0.0.1/{port}/-/go", f"/-/127.0.0.1/{port}", "/-/", "/-/x"):
            failure(behind.panel.get(path), 404)
        with pytest.raises(TimeoutError):
            other.accept()
    before = list(behind.service.asked)
    base = behind.path.removesuffix("go")
    for path in ("other", "go/below", "go/../other", "go%2F..%2Fother", "go%00", "", "GO"):
        failure(behind.panel.get(base + path), 404)
    assert behind.service.asked == before


def test_a_slash_too_many_does_not_matter(behind: Registered):
    behind.answer({"ok": True})
    assert behind.panel.get(f"{behind.path}/").json() == {"ok": True}


def test_only_an_endpoints_own_methods_pass(panel: Stand):
    with ExitStack() as stack:
        put = Registered(panel, stack, paths={"/go": {"put": operation("Put")}})
        put.answer(echo)
        assert panel.client.put(put.path).json()["method"] == "PUT"
        answer = panel.client.delete(put.path)
        assert answer.status_code == 405 and "PUT" in answer.headers["allow"]
        assert panel.client.options(put.path).status_code == 405


def test_what_a_service_says_passes_and_what_could_harm_does_not(behind: Registered):
    harm = {
        "Set-Cookie": "kodosumi_jwt=mine; Path=/",
        "Clear-Site-Data": '"*"',
        "Access-Control-Allow-Origin": "*",
        "Content-Security-Policy": "script-src *",
        "X-Frame-Options": "ALLOWALL",
        "Refresh": "0; url=https://elsewhere.example",
        "Link": "</x.js>; rel=preload",
        "WWW-Authenticate": "Basic",
        "Strict-Transport-Security": "max-age=1",
        "Service-Worker-Allowed": "/",
        "Server": "mine",
        "Keep-Alive": "timeout=5",
    }
    good = {"kodosumi_launch": "f1d", "X-Kodosumi-Thing": "1", "ETag": '"7"', "Retry-After": "3"}
    behind.answer(JSONResponse({"a": 1}, 418, headers={**harm, **good}))
    answer = behind.get()
    assert (answer.status_code, answer.json()) == (418, {"a": 1})
    assert good.items() <= {n: answer.headers.get(n) for n in good}.items()
    for name, value in harm.items():
        assert answer.headers.get(name) != value, name
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not answer.cookies
    # Nor do they go along with the next request.
    behind.answer(echo)
    assert "cookie" not in dict(behind.get().json()["headers"])


@pytest.mark.parametrize(
    "kind",
    [
        *("text/html", "TEXT/HTML; charset=utf-8", "application/xhtml+xml", "image/svg+xml"),
        *("text/javascript", "application/javascript", "text/css", "text/xml", "application/wasm"),
        *("", "nonsense", "application/pdf", "multipart/x-mixed-replace"),
    ],
)
def test_what_a_browser_would_run_is_given_as_a_file(kind: str):
    headers = dict(response_headers([(b"Content-Type", kind.encode())] if kind else []))
    assert headers[b"content-type"] == b"application/octet-stream"
    assert headers[b"content-disposition"] == b"attachment"
    assert b"sandbox" in headers[b"content-security-policy"]


def test_a_file_keeps_its_name(behind: Registered):
    named = {"content-disposition": 'attachment; filename="a.html"'}
    behind.answer(Response("<script>", headers=named, media_type="text/html"))
    answer = behind.get()
    assert answer.headers["content-disposition"] == named["content-disposition"]
    assert answer.headers["content-type"] == "application/octet-stream"
    behind.answer(
        Response("<b>", headers={"content-disposition": "inline"}, media_type="text/html")
    )
    assert behind.get().headers["content-disposition"] == "attachment"


def test_headers_named_in_connection_are_dropped():
    headers = [(b"Connection", b"x-one, Close"), (b"X-One", b"1"), (b"X-Two", b"2")]
    assert request_headers(headers, ["x-three"]) == [(b"x-two", b"2")]
    assert request_headers([(b"X-Three", b"3")], ["x-three"]) == []


def test_compressed_answers_pass_as_they_are(behind: Registered):
    behind.answer(faults.compressed({"a": "b" * 1000}))
    answer = behind.get(headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json() == {"a": "b" * 1000}


@pytest.mark.parametrize("target", ["/go", "/elsewhere", "https://elsewhere.example/"])
def test_redirects_are_not_followed(behind: Registered, target: str):
    behind.answer(faults.redirect(target))
    assert behind.name in failure(behind.get(follow_redirects=False), 502)


def test_a_service_that_hangs_is_named_after_its_time(behind: Registered):
    behind.answer(faults.hanging)
    began = time.monotonic()
    assert behind.name in failure(behind.get(), 504)
    assert TIMEOUT <= time.monotonic() - began < TIMEOUT + 10
    until(lambda: behind.port in faults.LEFT)


def test_a_service_that_is_gone_is_named(panel: Stand):
    with ExitStack() as stack:
        service = Registered(panel, stack)
    assert service.name in failure(service.get(), 502)
    assert service.name in failure(service.post(json={}), 502)


@pytest.mark.parametrize(
    "said",
    [
        *(b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        *(b"HTTP/1.1 200", b"HTTP/1.1 999999 Odd\r\n\r\n", b"\x00\x01\x02\r\n\r\n"),
    ],
)
def test_a_service_that_talks_nonsense_is_named(panel: Stand, said: bytes):
    with ExitStack() as stack:
        service = Registered(panel, stack)
    port = service.port
    with _talking(port, said):
        assert service.name in failure(service.get(), 502)


def test_an_answer_that_breaks_off_does_not_look_whole(panel: Stand):
    with ExitStack() as stack:
        service = Registered(panel, stack)
    port = service.port
    start = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with _talking(port, start + b"5\r\nhello\r\n"), pytest.raises(httpx.RemoteProtocolError):
        service.get()


def _talking(port: int, said: bytes) -> Any:
    """A server that says this to everybody and hangs up."""
    import threading
    from contextlib import contextmanager

    @contextmanager
    def talking() -> Iterator[None]:
        with socket.create_server(("127.0.0.1", port)) as server:

            def talk() -> None:
                with suppress(OSError):
                    while True:
                        connection, _ = server.accept()
                        with connection:
                            connection.recv(65536)
                            connection.sendall(said)

            thread = threading.Thread(target=talk, daemon=True)
            thread.start()
            yield
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)

    return talking()


def test_a_large_answer_streams_in_little_memory(behind: Registered):
    behind.answer(faults.large)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = 0
    with behind.panel.client.stream("GET", behind.path) as answer:
        for piece in answer.iter_raw():
            size += len(piece)
    assert size > faults.LARGE * len(faults.MEBIBYTE)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 40 * 1024, f"{grown // 1024} MB more"  # client, panel and service together


def test_an_answer_comes_piece_by_piece(behind: Registered):
    go_on = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def two(_: Request) -> Response:
        async def pieces() -> Any:
            loops.append(asyncio.get_running_loop())
            yield b"one"
            await go_on.wait()
            yield b"two"

        return StreamingResponse(pieces(), media_type="text/event-stream")

    behind.answer(two)
    with behind.panel.client.stream("GET", behind.path) as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"one"
        loops[0].call_soon_threadsafe(go_on.set)
        assert b"".join(pieces) == b"two"


def test_who_hangs_up_stops_the_service(behind: Registered):
    stopped = []

    async def endless(_: Request) -> Response:
        async def pieces() -> Any:
            try:
                while True:
                    yield b"x"
                    await asyncio.sleep(0.01)
            finally:
                stopped.append("streaming")

        return StreamingResponse(pieces(), media_type="text/plain")

    behind.answer(endless)
    with behind.panel.client.stream("GET", behind.path) as answer:
        next(answer.iter_raw())
    until(lambda: stopped)
    behind.answer(faults.hanging)
    with pytest.raises(httpx.ReadTimeout):
        behind.get(timeout=TIMEOUT / 4)
    until(lambda: behind.port in faults.LEFT, TIMEOUT / 2)


@pytest.mark.parametrize("announced", [True, False])
def test_bodies_that_are_too_large_are_refused(behind: Registered, announced: bool):
    behind.answer(echo)
    body = b"x" * (LARGEST + 1)
    answer = behind.post(content=body if announced else iter([body[:100], body[100:]]))
    assert "16 MB" in failure(answer, 413)
    assert len(behind.post(content=b"x" * 5_000_000).json()["body"]) == 5_000_000


def test_many_requests_at_once_all_come_through(behind: Registered):
    async def ask() -> list[int]:
        headers = {"KODOSUMI_API_KEY": behind.panel.token}
        async with httpx.AsyncClient(
            base_url=behind.panel.url, headers=headers, timeout=20, trust_env=False
        ) as client:
            answers = await asyncio.gather(
                *(client.post(behind.path, json={"n": n}) for n in range(50))
            )
        return sorted(json.loads(answer.json()["body"])["n"] for answer in answers)

    behind.answer(echo)
    assert asyncio.run(ask()) == list(range(50))


def test_the_key_is_public(panel: Stand):
    answer = panel.connect().get(KEY_PATH)
    assert answer.status_code == 200
    key = answer.json()
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
    assert "d" not in key
