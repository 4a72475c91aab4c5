"""What a service believes about who calls it."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from kodosumi_prefect.http import identity
from kodosumi_prefect.http.identity import NoPanelKeyError, ServiceCaller, UnsignedError, sign
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import (
    INPROCESS_SCOPE,
    KEY_PATH,
    OPERATOR_SCOPE,
    SIGNATURE_HEADER,
    USER_HEADER,
    USERNAME_HEADER,
)
from tests.http_services import served_app

BASE = "http://services.example:8000/prefix"
ANN = ServiceCaller("0f0e", "Ann", BASE, "https://panel.example")


class Panel:
    """A panel as far as services know it: an address with a key, which can change."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.fetches = 0
        self.url = ""
        self.app = FastAPI()

        @self.app.get(KEY_PATH)
        def key() -> dict[str, Any]:
            self.fetches += 1
            return identity.public_jwk(self.key)

    def signed(self, method: str = "GET", path: str = "/prefix/go", **more: Any) -> dict[str, str]:
        return sign(self.key, more.pop("caller", ANN), method, path, **more)


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Panel]:
    # A panel of an earlier test may have had the same port.
    monkeypatch.setattr(identity, "_keys", {})
    made = Panel()
    with served_app(made.app) as url:
        made.url = url
        yield made


def service(settings: Settings) -> FastAPI:
    """Tells whom it believes to talk to."""
    app = FastAPI()

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def who(request: Request) -> Any:
        try:
            caller = await identity.verify(request, settings)
            assert await identity.verify(request, settings) == caller
        except UnsignedError as exc:
            return JSONResponse({"refused": str(exc), "type": type(exc).__name__}, 401)
        return {"id": caller.user_id, "name": caller.username, "url": caller.panel_url}

    return app


@pytest.fixture
def called(panel: Panel) -> Iterator[httpx.Client]:
    with (
        served_app(service(Settings(panel_url=panel.url, service_url=[BASE]))) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        yield client


def refusal(answer: httpx.Response) -> str:
    assert answer.status_code == 401, answer.text
    line = str(answer.json()["refused"])
    assert line and "\n" not in line
    return line


def test_what_the_panel_signed_is_believed(panel: Panel, called: httpx.Client):
    answer = called.get("/prefix/go", headers=panel.signed())
    assert answer.json() == {"id": "0f0e", "name": "Ann", "url": "https://panel.example"}


def test_the_signature_counts_and_not_the_headers_beside_it(panel: Panel, called: httpx.Client):
    headers = panel.signed() | {USER_HEADER: "mallory", USERNAME_HEADER: "Mallory"}
    assert called.get("/prefix/go", headers=headers).json()["id"] == "0f0e"


def test_names_of_all_alphabets_arrive(panel: Panel, called: httpx.Client):
    caller = ServiceCaller("1", "Zoë 50% \N{SNOWMAN}", BASE, "https://panel.example")
    headers = panel.signed(caller=caller)
    headers[USERNAME_HEADER].encode("ascii")
    assert called.get("/prefix/go", headers=headers).json()["name"] == caller.username


def test_bare_headers_are_refused(panel: Panel, called: httpx.Client):
    line = refusal(called.get("/prefix/go", headers=identity.unsigned_headers(ANN)))
    assert "trusted_networks" in line


def test_another_ones_signature_is_refused(panel: Panel, called: httpx.Client):
    forged = sign(Ed25519PrivateKey.generate(), ANN, "GET", "/prefix/go")
    assert "another panel" in refusal(called.get("/prefix/go", headers=forged))


def test_a_forger_who_names_the_panels_key_is_refused(panel: Panel, called: httpx.Client):
    claims = jwt.decode(panel.signed()[SIGNATURE_HEADER], options={"verify_signature": False})
    kid = identity.key_id(panel.key.public_key())
    forged = jwt.encode(
        claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"kid": kid}
    )
    headers = {SIGNATURE_HEADER: forged}
    assert "not valid" in refusal(called.get("/prefix/go", headers=headers))


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_the_token_does_not_choose_the_algorithm(
    panel: Panel, called: httpx.Client, algorithm: str
):
    good = panel.signed()[SIGNATURE_HEADER]
    claims = good.split(".")[1]
    kid = identity.key_id(panel.key.public_key())
    head = json.dumps({"alg": algorithm, "typ": "JWT", "kid": kid}).encode()
    token = f"{base64.urlsafe_b64encode(head).rstrip(b'=').decode()}.{claims}."
    token += good.split(".")[2] if algorithm == "HS256" else ""
    refusal(called.get("/prefix/go", headers={SIGNATURE_HEADER: token}))


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "....", "e30.e30.e30"])
def test_nonsense_is_refused(panel: Panel, called: httpx.Client, token: str):
    refusal(called.get("/prefix/go", headers={SIGNATURE_HEADER: token}))


def test_an_expired_signature_is_refused(
    panel: Panel, called: httpx.Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(identity, "LIFETIME", -identity.LEEWAY - 1)
    assert "clocks" in refusal(called.get("/prefix/go", headers=panel.signed()))


def test_a_signature_is_good_for_at_most_a_minute():
    assert identity.LIFETIME + identity.LEEWAY <= 60


def test_a_signature_is_good_for_one_request(panel: Panel, called: httpx.Client):
    headers = panel.signed()
    assert called.get("/prefix/go", headers=headers).status_code == 200
    assert "used before" in refusal(called.get("/prefix/go", headers=headers))


def test_a_signature_is_good_for_its_own_path_and_method(panel: Panel, called: httpx.Client):
    assert "/prefix/other" in refusal(called.get("/prefix/other", headers=panel.signed()))
    refusal(called.get("/x/prefix/go", headers=panel.signed()))
    refusal(called.get("/", headers=panel.signed()))
    assert "GET" in refusal(called.post("/prefix/go", headers=panel.signed()))


def test_a_proxy_before_the_service_may_take_the_prefix_away(panel: Panel, called: httpx.Client):
    assert called.get("/go", headers=panel.signed()).status_code == 200
    assert called.get("/", headers=panel.signed(path="/prefix/")).status_code == 200
    assert called.get("/prefix/", headers=panel.signed(path="/prefix")).status_code == 200


def test_a_service_with_a_root_path_knows_its_requests(panel: Panel):
    app = service(Settings(panel_url=panel.url))
    with served_app(app, root_path="/outside") as url:
        there = replace(ANN, base=f"{url}/outside")
        headers = panel.signed(path="/outside/go", caller=there)
        answer = httpx.get(f"{url}/go", headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text


def test_the_key_is_fetched_once_and_again_when_it_has_changed(
    panel: Panel, called: httpx.Client, monkeypatch: pytest.MonkeyPatch
):
    for _ in range(3):
        assert called.get("/prefix/go", headers=panel.signed()).status_code == 200
    assert panel.fetches == 1
    panel.key = Ed25519PrivateKey.generate()
    refusal(called.get("/prefix/go", headers=panel.signed()))
    assert panel.fetches == 1, "forged key ids must not make the service ask all the time"
    monkeypatch.setattr(identity, "REFETCH", 0.0)
    assert called.get("/prefix/go", headers=panel.signed()).status_code == 200
    assert panel.fetches == 2


def test_without_its_panel_a_service_says_where_it_looked(panel: Panel):
    with served_app(service(Settings(panel_url="http://127.0.0.1:9"))) as url:
        answer = httpx.get(f"{url}/prefix/go", headers=panel.signed(), trust_env=False)
    assert "http://127.0.0.1:9" in refusal(answer)
    assert answer.json()["type"] == NoPanelKeyError.__name__


async def test_the_panels_own_process_and_trusted_networks_need_no_signature():
    def request(host: str | None, **scope: Any) -> Request:
        headers = [(k.encode(), v.encode()) for k, v in identity.unsigned_headers(ANN).items()]
        return Request(
            {"type": "http", "method": "GET", "path": "/", "headers": headers}
            | ({"client": (host, 1)} if host else {})
            | scope
        )

    nobody, near = Settings(), Settings(trusted_networks=["10.0.0.0/8", "fd00::/8"])
    inside = {INPROCESS_SCOPE: True}
    assert await identity.verify(request("192.0.2.1", **inside), nobody) == ANN
    for host in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1"):
        assert await identity.verify(request(host), near) == ANN
        with pytest.raises(UnsignedError):
            await identity.verify(request(host), nobody)
    for host in ("11.0.0.1", "::1", "testclient", None):
        with pytest.raises(UnsignedError):
            await identity.verify(request(host), near)


async def test_operators_and_who_tries_a_service_by_hand_are_told_apart(panel: Panel):
    async def verified(headers: dict[str, str], **scope: Any) -> bool:
        request = Request(
            {
                "type": "http",
                "method": "GET",
                "path": "/prefix/go",
                "query_string": b"",
                "server": ("127.0.0.1", 8000),
                "client": ("10.1.2.3", 1),
                "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
            }
            | scope
        )
        return (await identity.verify(request, settings)).operator

    bare = identity.unsigned_headers(ANN)
    settings = Settings(panel_url=panel.url, service_url=[BASE])
    assert await verified(panel.signed(operator=True))
    assert not await verified(panel.signed(operator=False))
    assert await verified(bare, **{INPROCESS_SCOPE: True, OPERATOR_SCOPE: True})
    assert not await verified(bare, **{INPROCESS_SCOPE: True})

    settings = Settings(panel_url=panel.url, trusted_networks=["10.0.0.0/8"])
    assert await verified({})  # no panel: somebody of that network
    assert await verified(panel.signed(operator=True))
    assert not await verified(panel.signed(operator=False))
    assert not await verified(bare)
    assert not await verified(bare | {SIGNATURE_HEADER: "no token"})


def test_signatures_are_forgotten_when_they_have_expired(
    panel: Panel, called: httpx.Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(identity, "_used", {"old": time.time() - 100})
    assert called.get("/prefix/go", headers=panel.signed()).status_code == 200
    assert "old" not in identity._used and len(identity._used) == 1
