"""Panels with little patience: their settings, and what they say of a service that fails."""

from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.settings import Settings

TIMEOUT = 4.0  # seconds that the panel waits for a service


def impatient(postgres: Any, database: str, data_dir: Path) -> Settings:
    """Settings of a panel whose ``database`` is made by this."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database} TEMPLATE template_kodosumi")
    url = SecretStr(make_conninfo(postgres.url, dbname=database))
    return Settings(database_url=url, data_dir=data_dir, service_timeout=TIMEOUT)


def failure(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "path", "detail", "status_code"}
    assert "Traceback" not in answer.text and "\n" not in body["detail"]
    return str(body["detail"])
