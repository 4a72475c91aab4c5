"""Nobody runs code through the Prefect server of `up`: by curl, from a page, over a websocket."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from kodosumi_prefect.addresses import PrefectAccess, prefect_access, recorded_access
from kodosumi_prefect.cli.doctor.finding import Verdict
from kodosumi_prefect.cli.doctor.prefect_server import check_prefect
from kodosumi_prefect.settings import Settings, write_address
from kodosumi_prefect.stack import StackError
from kodosumi_prefect.stack.ports import free_port
from kodosumi_prefect.stack.prefect_server import (
    check_configured,
    is_healthy,
    plan_server,
    server_child,
)
from tests.e2e.running import BIN, REPOSITORY, Up
from tests.prefect_http import AUTH, AUTH_STRING
from tests.services import record_prefect, served

FORGED = (None, httpx.BasicAuth("admin", "guess"), httpx.BasicAuth("", ""))
SHELL = {"prefect.deployments.steps.run_shell_script": {"script": "touch /tmp/attacked"}}


@pytest.fixture(scope="module")
def open_prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect of somebody who gave it no authentication."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("open"))
    access = dataclasses.replace(plan_server(settings, free_port()), auth_string=None)
    with served(server_child(settings, access), settings.data_dir):
        yield access.url


@pytest.mark.parametrize("auth", FORGED)
def test_no_deployment_with_a_pull_step_is_made_without_the_auth_string(
    prefect_server: str, auth: httpx.Auth | None
) -> None:
    with httpx.Client(base_url=prefect_server, auth=AUTH, timeout=30) as owner:
        flow = owner.post("/flows/", json={"name": "attacked"}).raise_for_status().json()["id"]
        body = {"name": "attack", "flow_id": flow, "entrypoint": "a.py:a", "pull_steps": [SHELL]}
        for host in ({}, {"Host": "rebound.example"}, {"Host": "127.0.0.1/health"}):
            headers = {"Origin": "http://page.example"} | host
            with httpx.Client(
                base_url=prefect_server, auth=auth, headers=headers, timeout=30
            ) as attacker:
                answers = [
                    attacker.post("/deployments/", json=body),
                    attacker.post("/work_pools/", json={"name": "attack", "type": "process"}),
                    attacker.post("/flow_runs/", json={"flow_id": flow}),
                    attacker.post("/deployments/filter", json={}),
                    attacker.post("/block_documents/filter", json={"include_secrets": True}),
                    attacker.get("/admin/settings"),
                    attacker.get("/admin/version"),
                    attacker.post("/admin/database/clear", json={"confirm": True}),
                    attacker.get("/deployments/health"),
                    attacker.post("/health"),
                ]
            assert {answer.status_code for answer in answers} == {401}
        known = owner.post("/deployments/filter", json={}).raise_for_status().json()
        assert "attack" not in [one["name"] for one in known]


def test_pages_of_other_origins_read_nothing_and_its_own_do(prefect_server: str) -> None:
    port = httpx.URL(prefect_server).port

    def allowed(origin: str) -> tuple[str | None, str | None]:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        url = f"{prefect_server}/deployments/filter"
        before = httpx.options(url, headers=asked, timeout=30)
        answer = httpx.post(url, headers={"Origin": origin}, json={}, auth=AUTH, timeout=30)
        assert answer.status_code == 200
        name = "access-control-allow-origin"
        return before.headers.get(name), answer.headers.get(name)

    for origin in (f"http://127.0.0.1:{port}", f"http://localhost:{port}"):
        assert allowed(origin) == (origin, origin)
    for origin in ("http://page.example", "null", f"http://127.0.0.1:{port}0", "http://localhost"):
        assert allowed(origin) == (None, None)


@pytest.mark.parametrize("path", ["/events/out", "/events/in", "/logs/out"])
def test_no_websocket_speaks_without_the_auth_string(prefect_server: str, path: str) -> None:
    url = prefect_server.replace("http", "ws", 1) + path
    prefect = [Subprotocol("prefect")]
    with pytest.raises((InvalidHandshake, ConnectionClosed)), connect(url) as bare:
        bare.recv(timeout=30)
    for token in (None, "", "admin:guess"):
        with connect(url, subprotocols=prefect) as socket, pytest.raises(ConnectionClosed):
            socket.send(json.dumps({"type": "auth", "token": token}))
            # A subscriber that was let in would be told so.
            answer = json.loads(socket.recv(timeout=30))
            assert answer.get("type") == "auth_failure", answer
            socket.recv(timeout=30)
    if path != "/events/in":
        with connect(url, subprotocols=prefect) as socket:
            socket.send(json.dumps({"type": "auth", "token": AUTH_STRING}))
            assert json.loads(socket.recv(timeout=30))["type"] == "auth_success"


def test_its_pages_know_where_the_api_is_and_that_it_asks_for_a_password(
    prefect_server: str,
) -> None:
    origin = prefect_server.removesuffix("/api")
    assert not origin.endswith(":4200")
    told = httpx.get(f"{origin}/ui-settings", timeout=30).raise_for_status().json()
    assert (told["api_url"], told["auth"]) == (prefect_server, "BASIC")


def test_a_server_that_does_not_take_the_auth_string_is_not_ready(prefect_server: str) -> None:
    assert is_healthy(PrefectAccess(prefect_server, AUTH_STRING))
    assert httpx.get(f"{prefect_server}/health", timeout=30).status_code == 200
    assert not is_healthy(PrefectAccess(prefect_server, "admin:another"))
    assert not is_healthy(PrefectAccess(prefect_server))


async def test_up_does_not_start_on_a_configured_server_that_does_not_know_it(
    prefect_server: str,
) -> None:
    for auth in (None, "admin:another"):
        with (
            PrefectAccess(prefect_server, auth).in_force(),
            pytest.raises(StackError, match="answers 401; set PREFECT_API_AUTH_STRING") as told,
        ):
            await check_configured(prefect_server)
        assert "\n" not in str(told.value)
    with PrefectAccess(prefect_server, AUTH_STRING).in_force():
        await check_configured(prefect_server)


def test_the_auth_string_is_random_of_one_data_dir_and_for_its_user_only(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    one, other = (Settings(data_dir=tmp_path_factory.mktemp("data")) for _ in range(2))
    first, again = plan_server(one, 4300), plan_server(one, 4301)
    assert first.auth_string == again.auth_string
    assert first.auth_string != plan_server(other, 4300).auth_string
    assert len(str(first.auth_string)) > 40
    assert str(first.auth_string) not in repr(first)
    assert first.auth_path is not None
    assert first.auth_path.stat().st_mode & 0o077 == 0
    assert first.auth_path.parent.stat().st_mode & 0o077 == 0
    assert [path.name for path in first.auth_path.parent.iterdir()] == ["auth"]


def test_our_auth_string_goes_to_our_own_server_only(
    settings: Settings, prefect_server: str
) -> None:
    record_prefect(settings, prefect_server)
    bare = {PREFECT_API_URL: None, PREFECT_API_AUTH_STRING: None}

    def counted(url: str | None, auth: str | None = None) -> PrefectAccess | None:
        with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: auth}):
            return prefect_access(settings)

    with temporary_settings(bare):
        own = recorded_access(settings)
        assert own is not None
        assert (own.url, own.auth_string) == (prefect_server, AUTH_STRING)
        assert counted(None) == counted(prefect_server) == own
        port = httpx.URL(prefect_server).port
        for foreign in (
            "https://prefect.example/api",
            f"http://localhost:{port}/api",  # may be another's, on ::1
            f"{prefect_server}/accounts/a/workspaces/b",
            f"http://127.0.0.1:{port}@prefect.example/api",
        ):
            assert counted(foreign) == PrefectAccess(foreign)
            assert counted(foreign, "mine:own") == PrefectAccess(foreign, "mine:own")
        assert counted(prefect_server, "mine:own") == PrefectAccess(prefect_server, "mine:own")
        write_address(settings, "prefect", {"url": prefect_server})  # as before there was one
        assert counted(None) == PrefectAccess(prefect_server)


async def test_a_prefect_without_authentication_goes_on_working_and_doctor_warns(
    settings: Settings, open_prefect: str, prefect_server: str
) -> None:
    with temporary_settings({PREFECT_API_URL: open_prefect, PREFECT_API_AUTH_STRING: None}):
        access = prefect_access(settings)
        assert access == PrefectAccess(open_prefect)
        with access.in_force():
            async with get_client() as client:
                assert await client.api_version()
        findings = await check_prefect(settings)
        (warning,) = [found for found in findings if "no authentication" in found.text]
        assert warning.verdict is Verdict.WARN
        assert "PREFECT_SERVER_API_AUTH_STRING" in warning.remedy
        assert open_prefect in warning.text
    with PrefectAccess(prefect_server, AUTH_STRING).in_force():
        findings = await check_prefect(settings)
        assert [found for found in findings if "no authentication" in found.text] == []
        assert findings[0].verdict is Verdict.OK


def test_another_terminal_needs_one_line(up: Up) -> None:
    bare = {name: value for name, value in up.environment.items() if "PREFECT" not in name} | {
        "PREFECT_HOME": str(up.data_dir / "terminal"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    script = f"""
        set -e
        eval "$(kodosumi-prefect env --data-dir '{up.data_dir}')"
        prefect --no-prompt deployment ls
        kodosumi-prefect runs
        kodosumi-prefect config | grep data_dir
    """
    done = subprocess.run(
        ["bash", "-c", script],
        env=bare,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "prime-gaps" in done.stdout
    printed = up.command("kodosumi-prefect", "env").splitlines()
    assert [line.partition("=")[0] for line in printed] == [
        "export PREFECT_API_URL",
        "export PREFECT_API_AUTH_STRING",
        "export PREFECT_INTEGRATIONS_KODOSUMI_DATA_DIR",
    ]


def test_without_a_stack_there_is_nothing_to_print(up: Up, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(BIN / "kodosumi-prefect"), "env", "--data-dir", str(tmp_path)],
        env=up.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no stack runs for {tmp_path}" in done.stderr
    assert "\n" not in done.stderr.strip()
