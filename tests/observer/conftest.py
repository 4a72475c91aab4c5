"""A database of its own for each test, beside the session's Prefect server."""

from collections.abc import Iterator

import pytest
from prefect.settings import temporary_settings

from kodosumi_prefect.settings import Settings
from tests.observer.watching import Watch
from tests.services import in_force


@pytest.fixture
def watch(settings: Settings, database: str, prefect_server: str) -> Iterator[Watch]:
    """Settings in force in this process, as `place`, with an empty database."""
    with temporary_settings(in_force(prefect_server)):
        yield Watch(settings, database, prefect_server)
