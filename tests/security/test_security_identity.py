"""Attacks with what the panel signs: a service that is no friend sends it on, or changes it."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.core import ServeAPI, forms
from kodosumi_prefect.events import serialize
from kodosumi_prefect.http import identity
from kodosumi_prefect.http.audience import another_service
from kodosumi_prefect.http.body import SIGNED
from kodosumi_prefect.http.identity import ServiceCaller
from kodosumi_prefect.panel.services.request_body import LARGEST
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.vocabulary import SIGNATURE_HEADER
from tests.answering import locks
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document, operation
from tests.panel.panel_runs import Run, Stand, serving

PATHS = {"/go": {"post": operation("Go")}}


def honest_service() -> ServeAPI:
    """Says whom it did something for; and asks with a form of its own."""
    app = ServeAPI(title="Honest")

    @app.post("/go", entry=True)
    async def go(request: Request) -> Any:
        size = len(await request.body())
        return {"for": request.state.caller.username, "size": size}

    @app.post("/posted", entry=True)
    async def posted(request: Request) -> Any:
        return {"for": request.state.caller.username, "form": dict(await request.form())}

    @app.post("/other", entry=True)
    async def other(request: Request) -> Any:
        return {"for": request.state.caller.username}

    @app.lock("approve")
    async def approve() -> forms.Model:
        return forms.Model(forms.InputText("verdict"))

    return app


class Thief:
    """A service that keeps what it is sent, to use it elsewhere."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.service = Faulty(**{"openapi.json": document(PATHS), "go": self._keep})
        self.app = self.service.app

    async def _keep(self, request: Request) -> Response:
        self.requests.append((dict(request.headers), await request.body()))
        return JSONResponse({"result": None, "elements": []})


class Scene(NamedTuple):
    """A panel, two services that it has registered, and a person who uses both."""

    panel: Stand
    honest: str
    thief: Thief
    thief_url: str
    client: httpx.Client
    caller: ServiceCaller

    def through_panel(self, base: str, path: str, **options: Any) -> httpx.Response:
        port = base.rpartition(":")[2]
        return self.client.post(f"/-/127.0.0.1/{port}/-{path}", **options)

    def signed(
        self, method: str = "POST", path: str = "/go", base: str | None = None, **more: Any
    ) -> dict[str, str]:
        """Headers as the panel makes them for the person."""
        key = self.panel.app.state.panel.services.key
        caller = replace(self.caller, base=base or self.honest)
        return identity.sign(key, caller, method, path, **more)

    def sent(self, method: str, target: str, headers: dict[str, str], **more: Any) -> Any:
        """A request that does not come by the panel."""
        return httpx.request(method, self.honest + target, headers=headers, trust_env=False, **more)


@pytest.fixture(scope="module")
def stage(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_identity_attacks TEMPLATE template_kodosumi")
    url = SecretStr(make_conninfo(postgres.url, dbname="of_identity_attacks"))
    settings = Settings(database_url=url, data_dir=tmp_path_factory.mktemp("panel"))
    thief = Thief()
    with ExitStack() as stack:
        panel = stack.enter_context(serving(settings))
        honest = stack.enter_context(served_app(honest_service()))
        thief_url = stack.enter_context(served_app(thief.app))
        for base in (honest, thief_url):
            done = panel.client.post("/flow/register", json={"url": f"{base}/openapi.json"})
            assert done.is_success, done.text
        mira = panel.person("Mira")
        caller = ServiceCaller(mira.id, mira.name, honest, panel.url)
        yield Scene(panel, honest, thief, thief_url, mira.client, caller)


@pytest.fixture
def scene(stage: Scene) -> Iterator[Scene]:
    """The scene, with services that know their panel."""
    settings = stage.panel.settings.model_copy(update={"panel_url": stage.panel.url})
    settings_module.reset_settings(settings)
    yield stage
    settings_module.reset_settings()


def refusal(answer: httpx.Response) -> str:
    assert answer.status_code == 401, answer.text
    line = str(answer.json()["detail"])
    assert "\n" not in line
    return line


def test_a_service_cannot_use_a_signature_at_another_one(scene: Scene) -> None:
    body = b'{"what": "the thief chose"}'
    assert scene.through_panel(scene.thief_url, "/go", content=body).status_code == 200
    headers, stolen = scene.thief.requests[-1]
    assert stolen == body
    line = refusal(
        scene.sent("POST", "/go", {SIGNATURE_HEADER: headers[SIGNATURE_HEADER]}, content=body)
    )
    assert scene.thief_url in line and scene.honest.removeprefix("http://") in line
    assert "service_url" in line
    # Nor by saying that it is the thief who is asked: the Host header is the sender's.
    assert scene.through_panel(scene.thief_url, "/go", content=body).status_code == 200
    again = {SIGNATURE_HEADER: scene.thief.requests[-1][0][SIGNATURE_HEADER]}
    disguised = again | {"host": scene.thief_url.removeprefix("http://")}
    assert scene.thief_url in refusal(scene.sent("POST", "/go", disguised, content=body))


def test_a_signature_is_for_one_path_query_method_and_body(scene: Scene) -> None:
    body = b'{"n": 1}'
    attempts: list[tuple[str, str, bytes, str]] = [
        ("POST", "/other", body, "/go"),
        ("POST", "/go?n=2", body, "query"),
        ("PUT", "/go", body, ""),
        ("POST", "/go", b'{"n": 2}', "body"),
        ("POST", "/go", b"", "body"),
        ("POST", "/go", body + b" " * SIGNED, "body"),
        ("POST", "//go", body, ""),
    ]
    for method, target, sent, why in attempts:
        answer = scene.sent(method, target, scene.signed(body=body), content=sent)
        assert answer.status_code in (401, 404, 405), (method, target, answer.text)
        if why:
            assert why in refusal(answer), (method, target)
    large = scene.sent("POST", "/go", scene.signed(body=None), content=body)
    assert "larger body" in refusal(large)
    query = scene.sent("POST", "/go", scene.signed(body=body, query="n=1"), content=body)
    assert "query" in refusal(query)
    posted = scene.signed(path="/posted", body=b"n=1")
    assert "body" in refusal(scene.sent("POST", "/posted", posted, data={"n": 2}))
    right = scene.signed(body=body, query="n=1")
    assert scene.sent("POST", "/go?n=1", right, content=body).json()["for"] == "Mira"
    assert "used before" in refusal(scene.sent("POST", "/go?n=1", right, content=body))


def test_an_expired_signature_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "LIFETIME", -identity.LEEWAY - 1)
    assert "expired" in refusal(scene.sent("POST", "/go", scene.signed()))


def test_signatures_for_endpoints_and_for_locks_are_not_exchanged(scene: Scene) -> None:
    fid, lid = uuid4(), "a-lock"
    lock = f"/_lock_/{fid}/{lid}"
    answer = scene.sent("GET", lock, scene.signed("GET", lock, purpose="endpoint"))
    assert "endpoint" in refusal(answer)
    answer = scene.sent("POST", "/go", scene.signed(purpose="lock"))
    assert "lock" in refusal(answer)
    # An endpoint may be registered at such a path, to have the panel tell what a lock asks.
    stolen = scene.signed("POST", lock, base=scene.thief_url)
    asked = scene.panel.connect().get(
        f"/lock/{fid}/{lid}/facts", headers={SIGNATURE_HEADER: stolen[SIGNATURE_HEADER]}
    )
    assert asked.status_code == 401


def test_a_panel_of_an_older_version_has_to_be_upgraded_first(scene: Scene) -> None:
    key = scene.panel.app.state.panel.services.key
    now = int(time.time())
    claims = {
        "sub": scene.caller.user_id,
        "name": "Mira",
        "operator": False,
        "base": scene.honest,
        "url": scene.panel.url,
        "method": "POST",
        "path": "/go",
        "iat": now,
        "exp": now + 45,
        "jti": uuid4().hex,
    }
    headers = {"kid": identity.key_id(key.public_key())}
    token = jwt.encode(claims, key, algorithm="EdDSA", headers=headers)
    assert "upgrade the panel first" in refusal(
        scene.sent("POST", "/go", {SIGNATURE_HEADER: token})
    )


def test_a_service_of_an_older_version_believes_the_panel(scene: Scene) -> None:
    token = scene.signed()[SIGNATURE_HEADER]
    # Just as such a service reads it, which names no audience.
    claims = jwt.decode(
        token,
        scene.panel.app.state.panel.services.key.public_key(),
        algorithms=["EdDSA"],
        leeway=15,
        options={"require": ["sub", "exp", "iat", "jti"]},
    )
    known = {"sub", "name", "operator", "base", "url", "method", "path", "iat", "exp", "jti"}
    assert known <= claims.keys()
    assert (claims["base"], claims["path"]) == (scene.honest, "/go")


@pytest.mark.parametrize("size", [0, 10, SIGNED, SIGNED + 1, 4 * SIGNED])
@pytest.mark.parametrize("chunked", [False, True])
def test_what_the_panel_sends_arrives_whole_and_is_believed(
    scene: Scene, size: int, chunked: bool
) -> None:
    body = b"x" * size
    content: Any = (body[at : at + 65536] for at in range(0, size, 65536)) if chunked else body
    answer = scene.through_panel(scene.honest, "/go?a=1+2&b=%C3%BC&c", content=content)
    assert answer.json() == {"for": "Mira", "size": size}
    assert scene.through_panel(scene.honest, "/posted", data={"a": "b c"}).json() == {
        "for": "Mira",
        "form": {"a": "b c"},
    }


def test_too_large_a_body_is_refused_as_before(scene: Scene) -> None:
    content = (b"x" * SIGNED for _ in range(LARGEST // SIGNED + 1))
    answer = scene.through_panel(scene.honest, "/go", content=content)
    assert answer.status_code == 413, answer.text


def test_locks_of_the_service_are_shown_and_answered(scene: Scene) -> None:
    run = Run(scene.panel.database, owner=scene.caller.user_id, app_url=scene.honest).begin()
    told = {"name": "approve", "lid": str(uuid4()), "data": None, "expires": time.time() + 60}
    run.say("lock", serialize(told))
    [lock] = locks(scene.panel.database, run.fid)
    where = f"/lock/{run.fid}/{lock['lid']}"
    assert [element["name"] for element in scene.client.get(where).json()] == ["verdict"]
    done = scene.client.post(where, json={"verdict": "yes"})
    assert done.json() == {"result": {"verdict": "yes"}}, done.text
    run.close()


HERE = ("10.0.0.6", 8000)


@pytest.mark.parametrize(
    ("base", "server", "path", "root"),
    [
        ("http://10.0.0.6:8000", HERE, "/go", ""),
        ("http://10.0.0.6:8000/", HERE, "/go/", ""),
        ("http://[::ffff:10.0.0.6]:8000", HERE, "/go", ""),
        ("http://10.0.0.6:8000", ("::ffff:10.0.0.6", 8000), "/go", ""),
        ("http://[fd00::6]:8000", ("fd00::6", 8000), "/go", ""),
        ("http://localhost:8000", ("127.0.0.1", 8000), "/go", ""),
        ("http://localhost:8000", ("::1", 8000), "/go", ""),
        ("http://a.localhost:8000", ("127.0.0.1", 8000), "/go", ""),
        ("http://0.0.0.0:8000", ("127.0.0.1", 8000), "/go", ""),
        ("http://10.0.0.6", ("10.0.0.6", 80), "/go", ""),
        ("https://10.0.0.6", ("10.0.0.6", 443), "/go", ""),
        ("http://This-Machine:8000", HERE, "/go", ""),
        ("http://10.0.0.6:8000/a", HERE, "/a/go", "/a"),  # as Ray Serve has it
        ("http://10.0.0.6:8000/a", HERE, "/go", "/a"),  # FastAPI's own root_path
    ],
)
def test_without_settings_a_service_knows_where_it_was_reached(
    monkeypatch: pytest.MonkeyPatch, base: str, server: Any, path: str, root: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "this-machine")
    scope = {"server": server, "path": path, "root_path": root}
    signed = "/a/go" if "/a" in base.removeprefix("http://a.") else "/go"
    assert another_service(scope, base, signed, []) is None


@pytest.mark.parametrize(
    ("base", "signed", "server", "path", "root"),
    [
        ("http://10.0.0.7:8000", "/go", HERE, "/go", ""),
        ("http://10.0.0.6:8001", "/go", HERE, "/go", ""),
        ("http://10.0.0.6", "/go", HERE, "/go", ""),
        ("http://localhost:8000", "/go", HERE, "/go", ""),
        ("http://127.0.0.2:8000", "/go", ("127.0.0.1", 8000), "/go", ""),
        ("http://localhost:8000", "/go", ("127.0.0.2", 8000), "/go", ""),
        # Whoever owns a name may have it lead here; so names are not looked up.
        ("http://localhost.localdomain:8000", "/go", ("127.0.0.1", 8000), "/go", ""),
        ("http://thief.example:8000", "/go", HERE, "/go", ""),
        ("http://10.0.0.6:8000", "/go", None, "/go", ""),
        ("http://10.0.0.6:8000", "/go", ("/run/service.sock", None), "/go", ""),
        ("http://10.0.0.6:8000", "/go", ("testserver", 80), "/go", ""),
        ("nonsense", "/go", HERE, "/go", ""),
        ("http://[", "/go", HERE, "/go", ""),
        ("ftp://10.0.0.6:8000", "/go", HERE, "/go", ""),
        # Two applications of one Ray Serve.
        ("http://10.0.0.6:8000/b", "/b/go", HERE, "/a/go", "/a"),
        ("http://10.0.0.6:8000", "/go", HERE, "/a/go", "/a"),
        ("http://10.0.0.6:8000/b", "/a/go", HERE, "/a/go", "/a"),
        ("http://10.0.0.6:8000/a/b", "/a/b/go", HERE, "/go", "/a"),
        ("http://10.0.0.6:8000/x", "/x/go", HERE, "/go", ""),
    ],
)
def test_without_settings_a_service_refuses_what_may_be_for_another(
    base: str, signed: str, server: Any, path: str, root: str
) -> None:
    scope = {"server": server, "path": path, "root_path": root}
    line = another_service(scope, base, signed, [])
    assert line is not None and "\n" not in line and "signature is for" in line


SERVE = ["https://serve.example/a", "https://serve.example/b", "https://serve.example/outer/a"]


@pytest.mark.parametrize(
    ("base", "signed", "path", "root", "own"),
    [
        ("https://serve.example/a", "/a/go", "/a/go", "/a", True),
        ("https://serve.example/a", "/a/go", "/go", "", True),
        ("https://serve.example/a", "/a", "/", "", True),
        ("https://serve.example/a", "/a/go", "/a/go", "", True),
        ("https://serve.example/outer/a", "/outer/a/go", "/a/go", "/a", True),
        # Applications of one Ray Serve, which share their environment.
        ("https://serve.example/b", "/b/go", "/a/go", "/a", False),
        ("https://serve.example/b", "/b/a/go", "/a/go", "/a", False),
        ("https://serve.example/a", "/a/go", "/other", "", False),
        ("https://serve.example/a", "/ab/go", "/b/go", "", False),
        ("https://serve.example", "/go", "/go", "", False),
        ("http://serve.example/a", "/a/go", "/a/go", "/a", False),
    ],
)
def test_a_service_that_is_told_its_addresses_knows_which_paths_lead_to_it(
    base: str, signed: str, path: str, root: str, own: bool
) -> None:
    scope = {"server": HERE, "path": path, "root_path": root}
    assert (another_service(scope, base, signed, SERVE) is None) is own


def test_the_setting_says_where_a_service_behind_a_proxy_is(scene: Scene) -> None:
    base = "https://agents.example.org/honest"
    settings = settings_module.get_settings()
    known = settings.model_copy(update={"service_url": ["http://10.0.0.6:8000", f"{base}/"]})
    assert base in refusal(scene.sent("POST", "/go", scene.signed(path="/honest/go", base=base)))
    settings_module.reset_settings(known)
    answer = scene.sent("POST", "/go", scene.signed(path="/honest/go", base=base))
    assert answer.json()["for"] == "Mira"
    for other in ("https://agents.example.org/thief", "https://agents.example.org", scene.honest):
        headers = scene.signed(path=f"{httpx.URL(other).path.rstrip('/')}/go", base=other)
        line = refusal(scene.sent("POST", "/go", headers))
        assert other in line and base in line and "service_url" in line
    for path in ("/go", "/thief/go", "/honest/x/go", "/honest/other"):
        assert path in refusal(scene.sent("POST", "/go", scene.signed(path=path, base=base)))


@pytest.mark.parametrize(
    "url", ["agents.example.org", "ftp://x", "http://", "http://u:p@x", "http://x:0"]
)
def test_what_is_no_address_of_a_service_is_refused_by_name(url: str) -> None:
    with pytest.raises(ValidationError, match="not the address of a service"):
        Settings(service_url=url)  # type: ignore[arg-type]


def test_several_addresses_are_read_from_text() -> None:
    urls = ["http://a:8000", "http://b:8000/x"]
    assert Settings(service_url=", ".join(urls)).service_url == urls  # type: ignore[arg-type]
    assert Settings(service_url=json.dumps(urls)).service_url == urls  # type: ignore[arg-type]
