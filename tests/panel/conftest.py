"""Panels that really listen, in threads of the test's process."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.panel.system import metrics
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty
from tests.panel.panel_runs import Stand, serving
from tests.panel.registering import Start


@pytest.fixture(scope="session")
def shared_panel(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    """A panel that runs through the session; tests ask for ``panel``."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE shared_by_panel_tests TEMPLATE template_kodosumi")
    url = SecretStr(make_conninfo(postgres.url, dbname="shared_by_panel_tests"))
    with serving(Settings(database_url=url, data_dir=tmp_path_factory.mktemp("panel"))) as stand:
        yield stand


@pytest.fixture
def panel(shared_panel: Stand) -> Iterator[Stand]:
    """One panel for all tests that only look at executions of their own."""
    try:
        yield shared_panel
    finally:
        shared_panel.close_runs()  # each holds a connection of the one Postgres


@pytest.fixture
def fresh_panel(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """A panel whose database holds nothing."""
    monkeypatch.setattr(metrics, "DATABASE_ANSWER_SECONDS", 20)
    with serving(settings) as stand:
        yield stand


@pytest.fixture
def start_panel() -> Iterator[Callable[..., Stand]]:
    """Start further panels, with other settings."""
    with ExitStack() as stack:
        yield lambda settings, **options: stack.enter_context(serving(settings, **options))


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a service; it and its address."""
    with ExitStack() as stack:

        def begin(port: int = 0, **answers: Any) -> tuple[Faulty, str]:
            service = Faulty(**answers)
            return service, stack.enter_context(served_app(service.app, port))

        yield begin
