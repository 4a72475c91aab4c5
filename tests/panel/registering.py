"""The register of a panel, as its API and its tables tell it."""

from collections.abc import Callable
from typing import Any

import psycopg

from kodosumi_prefect.settings import Settings
from tests.panel.faulty_services import Faulty
from tests.panel.panel_runs import Stand

Start = Callable[..., tuple[Faulty, str]]


def register(panel: Stand, *urls: str) -> list[dict[str, Any]]:
    answer = panel.client.post("/flow/register", json={"url": list(urls)})
    assert answer.status_code == 201, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def listed(panel: Stand, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = panel.json("/flow", params={"pp": 500, **query})["items"]
    return items


def trouble(panel: Stand, url: str) -> str | None:
    sources = panel.json("/flow/register")["sources"]
    return next(source["trouble"] for source in sources if source["url"] == url)


def rows(settings: Settings, query: str, *values: Any) -> list[tuple[Any, ...]]:
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, values or None)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []
