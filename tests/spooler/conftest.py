"""Spool clients over a way to the database that can be cut."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.client import SpoolClient
from tests.spooler.recording import (
    Line,
    fresh,
    line_to,
)


@pytest.fixture
def line(database: str) -> Iterator[Line]:
    """The way to the database, which can be cut."""
    with line_to(database) as made:
        yield made


@pytest.fixture
def make(line: Line, tmp_path: Path) -> Iterator[Callable[..., SpoolClient]]:
    """Makes clients that write over ``line``; keywords change their settings."""
    made: list[SpoolClient] = []

    def build(**changes: Any) -> SpoolClient:
        values = {"database_url": SecretStr(line.url), "data_dir": tmp_path} | changes
        made.append(SpoolClient(Settings(**values)))
        return made[-1]

    yield build
    line.cut()
    for client in made:
        client.settings = client.settings.model_copy(update={"flush_timeout": 0.0})
        client.close()


@pytest.fixture
def fid() -> str:
    return fresh()
