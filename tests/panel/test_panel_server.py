"""Where the panel listens, what it refuses, and how it starts and stops."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

import kodosumi_prefect.panel
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.panel.web.app import PanelError
from kodosumi_prefect.panel.web.server import serve
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.panel.panel_runs import Run, Stand, serving, until

PROGRAM = """
import sys
from pydantic import SecretStr
from kodosumi_prefect.panel.web import server
from kodosumi_prefect.settings import Settings
settings = Settings(database_url=SecretStr(sys.argv[1]), port=0, data_dir=sys.argv[2])
server.STOP_TIMEOUT = 60
server.run(settings, on_ready=lambda url: print(url, flush=True))
print("stopped", "ray" in sys.modules)
"""


async def _refusal(settings: Settings, **changes: object) -> str:
    changed = settings.model_copy(update={"port": 0, **changes})
    with pytest.raises(PanelError) as caught:
        await serve(changed, stop=asyncio.Event())
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("host", ["192.0.2.1", "", "no such name"])
async def test_an_address_of_others_is_refused(settings: Settings, host: str) -> None:
    line = await _refusal(settings, host=host)
    assert host in line
    assert "--host" in line or "127.0.0.1" in line


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.5"])
def test_loopback_is_served(
    settings: Settings, host: str, start_panel: Callable[..., Stand]
) -> None:
    stand = start_panel(settings.model_copy(update={"host": host}))
    assert stand.json("/livez") == {"status": "alive"}


async def test_a_taken_port_is_named(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = await _refusal(settings, port=port)
    assert str(port) in line
    assert "--port" in line


async def test_an_old_schema_is_refused_with_the_way_out(settings: Settings) -> None:
    assert "db upgrade" in await _refusal(settings, database_schema="nothing_here")


async def test_a_database_that_is_away_is_named(settings: Settings, database: str) -> None:
    away = SecretStr(make_conninfo(database, port=1))
    assert "127.0.0.1:1" in await _refusal(settings, database_url=away)
    wrong = SecretStr(make_conninfo(database, password="wrong"))
    line = await _refusal(settings, database_url=wrong)
    assert "password" in line and "wrong" not in line
    assert "kodosumi-prefect up" in await _refusal(settings, database_url=None)


def test_a_request_in_another_sites_name_is_refused(panel: Stand) -> None:
    answer = panel.get("/timeline/list", headers={"Host": "evil.example"})
    assert answer.status_code == 421
    for host in ("localhost", "127.0.0.1:9", "[::1]:80", "panel.localhost"):
        assert panel.get("/livez", headers={"Host": host}).status_code == 200
    assert panel.get("/livez", headers={"Host": "[::1"}).status_code == 421


def test_sigterm_ends_the_process_promptly_with_streams_open(
    settings: Settings, database: str
) -> None:
    run = Run(database).begin()
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, database, str(settings.data_dir)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        headers = {API_KEY_HEADER: local_token(settings)}
        address = f"{url}/outputs/stream/{run.fid}"
        with httpx.stream("GET", address, headers=headers, trust_env=False) as response:
            next(response.iter_bytes())
            child.send_signal(signal.SIGTERM)
            assert child.wait(30) == 0
        assert child.stdout.read() == "stopped False\n"
    finally:
        child.kill()
        child.wait()
        run.close()


def test_the_panel_never_imports_the_runner() -> None:
    folder = Path(kodosumi_prefect.panel.__file__).parent
    for file in folder.rglob("*.py"):
        assert "kodosumi_prefect.runner" not in file.read_text(), file


def test_the_database_connections_are_given_back(settings: Settings, database: str) -> None:
    with serving(settings) as stand:
        stand.json("/timeline/list")
    # A transaction would see the same connections for ever.
    with psycopg.connect(database, autocommit=True) as connection:
        count = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        until(lambda: connection.execute(count).fetchone() == (0,))
