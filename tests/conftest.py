"""What the tests share: one Postgres a session, a fresh database a test."""

import os
import signal
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import tests.bytecode  # isort: skip
import tests.cheaper  # isort: skip  # noqa: F401  (before Prefect is imported)
import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.database import migrate
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.stack import embedded_postgres
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres

pytest_plugins = ["tests.services", "tests.e2e.stack"]
# Their assertions say what they compared, too.
pytest.register_assert_rewrite("tests.e2e.ticks", "tests.faults.pool")

_numbers = count(1)
# A database of a test need not survive the machine. Files that are never synced make one in a tenth
# of the time, and taking it away waits for no disk.
UNSYNCED = {"fsync": "off", "full_page_writes": "off"}
WORKERS_END = 90.0  # seconds that workers may take to stop what they started
# Tiers, the dearest first, by the fixture that starts what they need; "pure" needs nothing.
TIERS = {
    "browser": "chromium",
    "stack": "up",
    "ray": "ray_cluster",
    "prefect": "prefect_server",
    "postgres": "postgres",
}
# Groups of tests that one worker runs one after the other, and the fixtures of the session that
# start what they share; it ends once the last of them has run. The longest group first.
GROUPS = {
    "up": {"up", "chromium"},
    "prefect": {"prefect_server"},
    "ray": {"ray_cluster", "prefect_server"},
    "browser": {"chromium"},
    "observer": {"prefect_server"},
    "runs": {"prefect_server"},
    "suspension": {"prefect_server"},
    "unreadable": {"prefect_server"},
}
# Files that have a Prefect server of their own: what they leave there would slow others down, or
# one server for all of them would still be waited for when everything else has run.
OWN_PREFECT = {
    "tests/adapter/": "runs",
    "tests/runner/": "runs",
    "tests/stack/": "runs",
    "tests/suspension/": "suspension",
    "tests/locks/": "suspension",
    "tests/outbox/": "suspension",
    "tests/upgrade/": "suspension",
    "tests/observer/": "observer",
    "tests/e2e/test_outages.py": "observer",
    "tests/security/test_security_unreadable_runs.py": "unreadable",
}


def pytest_configure(config: pytest.Config) -> None:
    """Ended by SIGTERM, a session still stops what it started; a worker by Ctrl-C, too."""
    ends = [signal.SIGTERM, signal.SIGINT] if hasattr(config, "workerinput") else [signal.SIGTERM]

    def interrupted(*_: object) -> None:
        for number in ends:  # once is enough: what it starts to stop, it stops
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    def in_fork() -> None:
        """A fork stops nothing, and what its main thread does must not lose the signal."""
        for number in ends:
            if signal.getsignal(number) is interrupted:
                signal.signal(number, signal.SIG_DFL)

    for number in ends:
        signal.signal(number, interrupted)
    os.register_at_fork(after_in_child=in_fork)


_workers: list[subprocess.Popen[bytes]] = []  # of pytest-xdist


@pytest.hookimpl(optionalhook=True)
def pytest_testnodeready(node: Any) -> None:
    _workers.append(node.gateway._io.popen)


def pytest_keyboard_interrupt() -> None:
    """Have workers stop what they started; xdist would kill them after 10 s.

    The process of a worker stays until we end, so what counts is that it has no children.
    """
    until = time.monotonic() + WORKERS_END
    for worker in _workers:
        worker.terminate()
    for worker in _workers:
        with suppress(psutil.NoSuchProcess):
            while psutil.Process(worker.pid).children() and time.monotonic() < until:
                time.sleep(0.1)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """What a test printed goes to the session as UTF-8, which has no halves of characters."""
    return _whole_characters((yield))


def _whole_characters(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_whole_characters(k): _whole_characters(v) for k, v in value.items()}
        case list() | tuple():
            return type(value)(_whole_characters(one) for one in value)
    return value


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a test by the beginning of a text that is as long as a page."""
    if isinstance(val, str) and len(val) > 80:
        return f"{val[:40]}… of {len(val)}"
    return None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test with its tier, and keep those together that share what takes long to start."""
    item.add_marker(tier_of(item))
    item.add_marker(pytest.mark.xdist_group(group_of(item)))


def tier_of(item: pytest.Item) -> str:
    """The dearest thing that a test starts, by its file's own mark or else its fixtures."""
    own = next((mark.name for mark in item.iter_markers() if mark.name in TIERS), None)
    if own is not None:
        return own
    needed = getattr(item, "fixturenames", ())
    return next((tier for tier, fixture in TIERS.items() if fixture in needed), "pure")


def group_of(item: pytest.Item) -> str:
    """The group whose stack a test shares; else its file."""
    needed = {*getattr(item, "fixturenames", ())}
    file = item.location[0]
    if "up" in needed:
        return "up"
    if "chromium" in needed:
        return "browser"
    if "ray_cluster" in needed:
        return "ray"
    if "prefect_server" in needed:
        return next((own for path, own in OWN_PREFECT.items() if file.startswith(path)), "prefect")
    return file


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have groups stand together: before all others if there are workers, else behind them.

    The rest stands by what it costs, so that workers end at about the same time.
    """
    ranks = {group: rank for rank, group in enumerate(GROUPS)}
    tiers = {tier: rank for rank, tier in enumerate([*TIERS, "pure"], len(GROUPS))}

    def rank(item: pytest.Item) -> int:
        return ranks.get(group_of(item), tiers[tier_of(item)])

    parallel = hasattr(config, "workerinput") or bool(config.getoption("numprocesses", None))
    items.sort(key=rank if parallel else lambda item: -rank(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """End a stack when the last test of its group has run, and not with the session.

    After the test's own fixtures: if the stack does not end as it should, that is this test's
    fault and no other's.
    """
    yield
    group = group_of(item)
    if nextitem is None or group_of(nextitem) == group:
        return
    for name in GROUPS.get(group, ()):
        for definition in item.session._fixturemanager.getfixturedefs(name, item) or ():
            if definition.scope == "session":
                definition.finish(item._request)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running Postgres of this session's own, with a migrated template database."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in UNSYNCED.items():
            patch.setitem(embedded_postgres.SERVER_SETTINGS, name, value)
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
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_kodosumi STRATEGY file_copy")
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
