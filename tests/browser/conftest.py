"""Chromium in contexts that fail a test for whatever their consoles complain of.

Two panels to look at: ``stand``, in this process, with a database that tests write executions
into, and the one of ``up``, with Prefect, Ray and services behind it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    Page,
    expect,
    sync_playwright,
)
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.browser.chromium import ADVICE, launch
from tests.browser.looking import NAME, PASSWORD, Complaints, sign_in
from tests.e2e import running
from tests.e2e.running import Up
from tests.panel.panel_runs import Stand, serving

expect.set_options(timeout=15_000)  # milliseconds; machines of two cores are slow at times
NewContext = Callable[..., BrowserContext]


# Of the package, not of the session: while it is there, the main thread counts as running an
# event loop, and no other test could start one.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """A Chromium without a window, for all tests of this folder."""
    with sync_playwright() as playwright:
        try:
            browser = launch(playwright)
        except Error as exc:
            pytest.skip(f"no Chromium starts ({str(exc).strip().splitlines()[0]}); {ADVICE}")
        with browser:
            yield browser


@pytest.fixture(scope="package")
def shared_stand(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    """A panel that goes on through all tests of this folder; they ask for ``stand``."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE shared_by_browser_tests TEMPLATE template_kodosumi")
    settings = Settings(
        database_url=SecretStr(make_conninfo(postgres.url, dbname="shared_by_browser_tests")),
        data_dir=tmp_path_factory.mktemp("browser"),
        admin_password=SecretStr(PASSWORD),
    )
    with serving(settings) as stand:
        yield stand


@pytest.fixture
def stand(shared_stand: Stand) -> Iterator[Stand]:
    """A panel with executions that tests wrote, and no Prefect behind it."""
    try:
        yield shared_stand
    finally:
        shared_stand.close_runs()


@pytest.fixture(scope="package")
def states(chromium: Browser) -> dict[str, Any]:
    """Cookies of whoever signed in, by the panel's address."""
    return {}


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """What consoles complain of; nothing but what a test expects may be left at its end."""
    complaints = Complaints()
    yield complaints
    assert complaints.unexpected == []


@pytest.fixture
def new_context(
    chromium: Browser, complaints: Complaints, states: dict[str, Any]
) -> Iterator[NewContext]:
    """Make contexts, each a browser of its own, signed in as an operator unless told otherwise."""
    made: list[BrowserContext] = []

    def new(panel: Stand | Up, *, signed_in: bool = True, **options: Any) -> BrowserContext:
        url, password = (
            (panel.url, PASSWORD) if isinstance(panel, Stand) else (panel.panel, running.PASSWORD)
        )
        if signed_in and url not in states:
            with chromium.new_context() as first:
                sign_in(first.new_page(), url, NAME, password)
                states[url] = first.storage_state()
        if signed_in:
            options["storage_state"] = states[url]
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = chromium.new_context(base_url=url, **options)
        context.set_default_timeout(20_000)
        made.append(context)
        complaints.listen(context)
        return context

    yield new
    for context in made:
        context.close()


@pytest.fixture
def page(new_context: NewContext, stand: Stand) -> Page:
    """A page of ``stand`` for somebody signed in, light and wide."""
    return new_context(stand, color_scheme="light").new_page()


@pytest.fixture
def up_page(new_context: NewContext, up: Up) -> Page:
    """A page of ``up`` for somebody signed in."""
    return new_context(up).new_page()


@pytest.fixture
def nothing_left_open(up: Up) -> Iterator[None]:
    """Cancel what still waits for somebody at the end of a test."""
    yield
    for lock in up.client.get("/locks").raise_for_status().json()["items"]:
        up.client.post(f"/outputs/{lock['fid']}/cancel").raise_for_status()
