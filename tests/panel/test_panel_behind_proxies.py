"""The configurations of nginx and Caddy in docs/how-to/reverse-proxy.md, as they stand there."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.ports import free_port
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.http_services import served_app
from tests.panel.panel_runs import Stand, fetch, frames

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "reverse-proxy.md").read_text()
PASSWORD = "long enough to guess"
MIRA = "mira@example.com"
OWN, BY_PROXY = 0, 1  # which of a program's two configurations

AROUND_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
{server}
}}
"""
AROUND_CADDY = "{{\n    admin off\n    auto_https off\n}}\n{server}"


class Proxy(NamedTuple):
    """A running proxy: its address, and clients of it."""

    url: str

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False)


Front = Callable[..., Proxy]


@pytest.fixture(params=["nginx", "caddy"])
def program(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture
def front(program: str, tmp_path: Path) -> Iterator[Front]:
    """Start the proxy as the page configures it, before a panel."""
    with ExitStack() as running:

        def start(stand: Stand, which: int, signs_in: str = "", path: str = "") -> Proxy:
            port = free_port()
            block = re.findall(
                rf"```{'nginx' if program == 'nginx' else 'caddyfile'}\n(.*?)```", PAGE, re.DOTALL
            )[which]
            block = block.replace("127.0.0.1:3370", stand.url.removeprefix("http://"))
            block = block.replace("127.0.0.1:4180", signs_in.removeprefix("http://"))
            argv = _configured(program, block, port, path, tmp_path)
            running.enter_context(_started(argv, port, tmp_path))
            return Proxy(f"http://127.0.0.1:{port}{path}")

        yield start


def _configured(program: str, block: str, port: int, path: str, folder: Path) -> list[str]:
    """Without TLS, on a port; below a path as the page says it."""
    if program == "nginx":
        block = re.sub(r"\n +ssl_certificate.*", "", block)
        block = block.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
        if path:
            block = block.replace("location / {", f"location {path}/ {{")
            block = block.replace('X-Forwarded-Prefix "";', f"X-Forwarded-Prefix {path};")
        text = AROUND_NGINX.format(folder=folder, server=block)
        (folder / "conf").write_text(text)
        return ["nginx", "-p", str(folder), "-c", str(folder / "conf"), "-e", "stderr"]
    block = block.replace("agents.example.com", f"http://127.0.0.1:{port}", 1)
    if path:
        block = block.replace("    reverse_proxy", f"    handle {path}/* {{\n    reverse_proxy")
        block = block.replace("-X-Forwarded-Prefix", f"X-Forwarded-Prefix {path}") + "}\n"
    (folder / "conf").write_text(AROUND_CADDY.format(server=block))
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "conf")]


@contextmanager
def _started(argv: list[str], port: int, folder: Path) -> Iterator[None]:
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=folder, env=os.environ | {"HOME": str(folder)}, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False)
                break
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def proxied(settings: Settings, start_panel: Callable[..., Stand]) -> Stand:
    return start_panel(settings.model_copy(update={"proxy_networks": ["127.0.0.1/32"]}))


@pytest.fixture
def by_proxy(settings: Settings, start_panel: Callable[..., Stand]) -> Stand:
    values = {"proxy_networks": ["127.0.0.1/32"], "auth": "proxy"}
    return start_panel(settings.model_copy(update=values), signed_in=False)


@pytest.fixture
def oauth2_proxy() -> Iterator[str]:
    """Answers as oauth2-proxy does: who has its cookie is signed in."""
    app = FastAPI()

    @app.get("/oauth2/auth")
    def auth(request: Request) -> Response:
        if request.cookies.get("_oauth2_proxy") != "of Mira":
            return Response(status_code=401)
        return Response(status_code=202, headers={"X-Auth-Request-Email": MIRA})

    @app.get("/oauth2/sign_in")
    def sign_in() -> Response:
        return Response("sign in at your provider", status_code=403)

    with served_app(app) as url:
        yield url


def test_streams_and_sign_in_pass_and_nobodys_word_counts_but_the_proxys(
    proxied: Stand, front: Front
) -> None:
    proxy = front(proxied, OWN)
    lies = {"X-Forwarded-Prefix": "/evil", "X-Forwarded-For": "192.0.2.9"}
    with proxy.client(**lies) as client:
        person = {"name": "Mira", "password": PASSWORD, "email": None}
        assert proxied.client.post("/role", json=person).status_code == 201
        answer = client.post("/login", data={"name": "Mira", "password": PASSWORD, "redirect": "/"})
        assert answer.headers["location"] == "/"
        # As a browser sends it: a page of this address may, one of another may not.
        origin = {"Origin": proxy.url, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/keys", json={"name": "k"}, headers=origin).status_code == 201
        other = {"Origin": "https://elsewhere.example"}
        assert client.post("/keys", json={"name": "k"}, headers=other).status_code == 403
        client.post("/login", data={"name": "Mira", "password": "no"})
    failed = str(fetch(proxied.database, "SELECT key FROM kodosumi.login_failure"))
    assert "192.0.2.9" not in failed
    run = proxied.run().begin()
    with (
        proxy.client(**{API_KEY_HEADER: proxied.token}) as client,
        client.stream("GET", f"/outputs/stream/{run.fid}") as response,
    ):
        events = frames(response)
        assert next(events).data == "starting"
        run.lines("said while somebody listens")  # the run goes on: nothing else flushes it
        assert next(e.data for e in events if e.event == "stdout").startswith("said while")


def test_below_a_path_links_lead_there(proxied: Stand, front: Front) -> None:
    proxy = front(proxied, OWN, path="/agents")
    with proxy.client(Accept="text/html") as client:
        assert client.get("/executions").headers["location"].startswith("/agents/login?")
        page = client.get("/executions", headers={API_KEY_HEADER: proxied.token})
        assert 'href="/agents/static/panel.css"' in page.text


def test_the_proxy_says_who_is_signed_in_and_nobody_else_does(
    by_proxy: Stand, front: Front, oauth2_proxy: str
) -> None:
    proxy = front(by_proxy, BY_PROXY, signs_in=oauth2_proxy)
    with proxy.client() as client:
        for headers in ({}, {"X-Forwarded-User": "admin"}, {"X-Forwarded-User": MIRA}):
            answer = client.get("/timeline/list", headers=headers)
            assert answer.status_code in (302, 401, 403), headers
        client.cookies.set("_oauth2_proxy", "of Mira")
        lying = {"X-Forwarded-User": "admin"}
        assert client.get(f"/role/{MIRA}", headers=lying).json()["name"] == MIRA
        key = client.post("/keys", json={"name": "of a program"}).json()["key"]
    with proxy.client(**{API_KEY_HEADER: key}) as program:
        assert program.get(f"/role/{MIRA}").json()["name"] == MIRA
        assert (
            program.get(f"/role/{MIRA}", headers={"X-Forwarded-User": "admin"}).status_code == 200
        )
    with proxy.client(**{API_KEY_HEADER: "kp_guessed"}) as guesser:
        for headers in ({}, {"X-Forwarded-User": MIRA}):
            assert guesser.get("/timeline/list", headers=headers).status_code == 401
    names = {row["name"] for row in fetch(by_proxy.database, "SELECT name FROM kodosumi.role")}
    assert names == {MIRA}
