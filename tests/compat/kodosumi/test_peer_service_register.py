"""``up --register`` and ``panel --register``: services are registered once the panel is up."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from kodosumi_prefect.cli.registering import register_sources
from kodosumi_prefect.panel.web.server import serve
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.settings import PREFIX, Settings
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document, operation
from tests.waiting import wait_for


@pytest.fixture
def service() -> Any:
    """A service with two endpoints."""
    paths = {"/a": {"get": operation("A")}, "/b": {"get": operation("B")}}
    return Faulty(**{"openapi.json": document(paths)}).app


@pytest.fixture
def base(service: Any) -> Iterator[str]:
    with served_app(service) as url:
        yield url


def registered(settings: Settings, *urls: str, patience: float = 0.0) -> list[str]:
    """What is told of sources that a panel registers at its start."""
    told: list[str] = []

    async def work() -> None:
        stop = asyncio.Event()

        async def beside(panel: State) -> None:
            try:
                await register_sources(panel, urls, told.append, patience)
            finally:
                stop.set()

        free = settings.model_copy(update={"port": 0})
        await serve(free, stop=stop, say=lambda _: None, beside=beside)

    asyncio.run(work())
    return told


def rows(settings: Settings, query: str) -> list[dict[str, Any]]:
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]


def sources(settings: Settings) -> list[str]:
    return [row["url"] for row in rows(settings, "SELECT url FROM kodosumi.source ORDER BY url")]


def audit(settings: Settings) -> list[dict[str, Any]]:
    return rows(
        settings,
        "SELECT target_id, outcome, means, actor_name FROM kodosumi.audit "
        "WHERE action = 'source_register' ORDER BY id",
    )


def test_a_source_is_registered_told_and_audited(settings: Settings, base: str) -> None:
    url = f"{base}/openapi.json"
    assert registered(settings, url, url) == [f"registered {url}: 2 endpoints"]
    assert url in sources(settings)
    [entry] = audit(settings)
    assert (entry["target_id"], entry["outcome"], entry["means"]) == (url, "ok", "cli")
    assert entry["actor_name"]


def test_a_service_that_starts_later_is_waited_for(settings: Settings, service: Any) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with ExitStack() as stack:

        def start_late() -> None:
            """Turn the first one away, and be there from then on."""
            connection, _ = listener.accept()
            listener.close()
            connection.close()
            stack.enter_context(served_app(service, port))

        starting = threading.Thread(target=start_late, daemon=True)
        starting.start()
        url = f"http://127.0.0.1:{port}/openapi.json"
        assert registered(settings, url, patience=60) == [f"registered {url}: 2 endpoints"]
        starting.join()
    assert [entry["outcome"] for entry in audit(settings)] == ["ok"]


def test_one_that_does_not_come_is_kept_and_the_others_go_on(settings: Settings, base: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        away = f"http://127.0.0.1:{closed.getsockname()[1]}/openapi.json"
    there = f"{base}/openapi.json"
    told = registered(settings, away, there)
    assert f"registered {there}: 2 endpoints" in told
    [line] = [line for line in told if away in line]
    assert "cannot be reached" in line


@pytest.mark.parametrize(
    "url", ["tests.samples.peer_service:app", "http://user:geheim@127.0.0.1:1/openapi.json"]
)
def test_what_is_no_source_is_told_and_not_kept(settings: Settings, url: str) -> None:
    [line] = registered(settings, url, patience=60)
    assert line.startswith("not registered ")
    assert "geheim" not in line
    assert url not in sources(settings)
    assert [entry["outcome"] for entry in audit(settings)] == ["refused"]


def test_the_command_registers_behind_its_ready_line(settings: Settings, base: str) -> None:
    assert settings.database_url is not None
    url = f"{base}/openapi.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {
        f"{PREFIX}DATABASE_URL": settings.database_url.get_secret_value(),
        f"{PREFIX}DATA_DIR": str(settings.data_dir),
        "KODO_EXEC_DIR": "./data",
        "PYTHONUNBUFFERED": "1",
    }
    words = ["panel", "--port", "0", "--register", url]
    child = subprocess.Popen(
        [sys.executable, "-m", "kodosumi_prefect.cli", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert child.stdout is not None
    try:
        for line in child.stdout:
            lines.append(line.strip())
            if line.startswith(("registered", "not registered")):
                break
        child.send_signal(signal.SIGTERM)
        wait_for(lambda: child.poll() is not None, 30, "the end of the panel")
    finally:
        child.kill()
        child.stdout.close()
    assert lines[-1] == f"registered {url}: 2 endpoints", lines
    assert any(line.startswith("ready http://") for line in lines), lines
    assert "without a counterpart here, and ignored: KODO_EXEC_DIR" in lines
