"""What the tests share: one Postgres a session, a fresh database a test."""

import signal
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.spooler import migrate
from kodosumi_prefect.spooler.embedded import EmbeddedPostgres

pytest_plugins = ["tests.services", "tests.e2e.stack"]
# Their assertions say what they compared, too.
pytest.register_assert_rewrite("tests.e2e.ticks", "tests.faults.pool")

_numbers = count(1)


def pytest_configure() -> None:
    """Ended by SIGTERM, a session still stops what it started."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running Postgres of this session's own, with a migrated template database."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    url = server.start()
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE template_kodosumi")
        migrate.upgrade(make_conninfo(url, dbname="template_kodosumi"), "kodosumi")
        yield server
    finally:
        server.destroy()


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database with our schema and nothing in it."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_kodosumi")
    try:
        yield make_conninfo(postgres.url, dbname=name)
    finally:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings in force that point at ``database`` and a data dir of the test's own."""
    made = Settings(database_url=SecretStr(database), data_dir=tmp_path_factory.mktemp("data"))
    settings_module.reset_settings(made)
    try:
        with use_settings(made):
            yield made
    finally:
        settings_module.reset_settings()
