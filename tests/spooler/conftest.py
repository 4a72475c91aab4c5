"""Spool clients over a way to the database that can be cut."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from kodosumi_prefect.files import access
from kodosumi_prefect.files.tokens import token_for
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.client import SpoolClient
from tests.panel.panel_runs import serving
from tests.spooler.recording import (
    Line,
    fresh,
    line_to,
)


@pytest.fixture
def line(
    request: pytest.FixtureRequest, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Line]:
    """The way to the database, which can be cut; or to a panel, or from a panel to it."""
    where = getattr(request, "param", "database")
    with ExitStack() as stack:
        direct = stack.enter_context(line_to(database))
        if where == "database":
            yield direct
            return
        panel = Settings(
            database_url=SecretStr(database if where == "panel" else direct.url),
            data_dir=tmp_path_factory.mktemp("panel"),
        )
        stand = stack.enter_context(serving(panel))
        near = stack.enter_context(line_to(stand.url, lambda fid: token_for(fid, panel)))
        if where == "panel":
            yield near
            return
        direct.settings = near.settings  # type: ignore[method-assign]
        yield direct


@pytest.fixture
def make(line: Line, tmp_path: Path, fid: str) -> Iterator[Callable[..., SpoolClient]]:
    """Makes clients that write over ``line``; keywords change their settings."""
    made: list[SpoolClient] = []

    def build(**changes: Any) -> SpoolClient:
        data_dir = changes.pop("data_dir", tmp_path)
        made.append(SpoolClient(line.settings(data_dir, fid, **changes)))
        return made[-1]

    yield build
    line.cut()
    for client in made:
        client.settings = client.settings.model_copy(update={"flush_timeout": 0.0})
        client.close()


@pytest.fixture
def fid() -> str:
    return fresh()


@pytest.fixture(autouse=True)
def nothing_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own: no tracer of another test arrived here."""
    monkeypatch.setattr(access, "_arrived", {})
