"""What a service says at its start, before anybody launches."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from kodosumi_prefect.core import ServeAPI
from kodosumi_prefect.keys import make_secret
from kodosumi_prefect.serve.starting import in_panel
from kodosumi_prefect.settings import PREFIX, Settings, use_settings, write_address
from tests.waiting import wait_for

TOP = Path(__file__).parents[3]
LACKING = ("PREFECT_API_URL is not set", "PANEL_URL is not set", "no secret key", "DATABASE_URL")


async def told(
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    app: ServeAPI | None = None,
    prefect: str | None = None,
) -> list[str]:
    """What a service logs at its start."""
    app = app or ServeAPI(title="Greeter")
    caplog.clear()
    with use_settings(settings), temporary_settings({PREFECT_API_URL: prefect}):
        async with app.router.lifespan_context(app):
            pass
    lines = [r for r in caplog.records if r.name.startswith("kodosumi_prefect.serve")]
    assert all(line.levelno == logging.WARNING for line in lines)
    return [line.getMessage() for line in lines]


async def test_each_thing_that_is_missing_is_one_line(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    lines = await told(Settings(data_dir=tmp_path), caplog)
    assert len(lines) == len(LACKING)
    for line, missing in zip(lines, LACKING, strict=True):
        assert line.startswith("service Greeter: ") and missing in line and "\n" not in line


async def test_nothing_is_said_of_what_is_there(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    url = "postgresql://app@db.internal/app"
    there = Settings(
        data_dir=tmp_path,
        panel_url="https://panel.example.org",
        secret_key="s" * 32,  # type: ignore[arg-type]
        database_url=url,  # type: ignore[arg-type]
    )
    assert await told(there, caplog, prefect="http://prefect.internal:4200/api") == []


async def test_a_stack_on_this_machine_lacks_nothing(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path)
    make_secret(settings)
    write_address(settings, "panel", {"url": "http://127.0.0.1:1"})
    write_address(settings, "prefect", {"url": "http://127.0.0.1:2/api"})
    write_address(settings, "postgres", {"url": "postgresql://127.0.0.1:3/x"})
    assert await told(settings, caplog) == []


async def test_the_panel_has_what_its_own_services_need(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    token = in_panel.set(True)
    try:
        assert await told(Settings(data_dir=tmp_path), caplog) == []
    finally:
        in_panel.reset(token)


async def test_what_authors_do_at_start_and_end_is_done(tmp_path: Path) -> None:
    from contextlib import asynccontextmanager

    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: ServeAPI):  # type: ignore[no-untyped-def]
        seen.append("begin")
        yield {"kept": 1}
        seen.append("end")

    app = ServeAPI(title="Greeter", lifespan=lifespan)
    with use_settings(Settings(data_dir=tmp_path)):
        async with app.router.lifespan_context(app) as state:
            assert state == {"kept": 1}
    assert seen == ["begin", "end"]


def test_under_uvicorn_the_lines_are_there_before_the_first_request(tmp_path: Path) -> None:
    foreign = (PREFIX, "KODO_", "PREFECT_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    environment |= {
        f"{PREFIX}DATA_DIR": str(tmp_path / "data"),
        "PREFECT_HOME": str(tmp_path),
        "KODO_RAY_SERVER": "auto",
        "KODO_EXEC_DIR": "x",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "tests.samples.peer_service:app", "--port", "0"],
        cwd=TOP,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    lines: list[str] = []
    assert child.stderr is not None
    try:
        for line in child.stderr:
            lines.append(line.strip())
            if "startup complete" in line:
                break
        child.terminate()
        wait_for(lambda: child.poll() is not None, 30, "the end of the service")
    finally:
        child.kill()
        child.stderr.close()
    own = [line for line in lines if line.startswith("service Peer: ")]
    for missing in (
        *LACKING,
        "KODO_RAY_SERVER is read as ray_address",
        "ignored: KODO_EXEC_DIR",
    ):
        assert sum(missing in line for line in own) == 1, (missing, lines)
    assert len(own) == len(LACKING) + 2
