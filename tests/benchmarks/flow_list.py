"""How long `GET /flow` takes with many endpoints.

    python -m tests.benchmarks.flow_list [--endpoints 1000] [--requests 300]

Starts a Postgres and a panel of its own. Lists are asked one after the other by one
client: first pages, later pages, searches and tags in turn. Exits 1 above the limit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import psycopg
from pydantic import SecretStr

from kodosumi_prefect.database import migrate
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.panel.services.register.reading import ListedEndpoint
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.benchmarks.harness import quantile

LIMIT = 30.0  # milliseconds, 95th percentile
SCHEMA = "kodosumi"
PANEL = """
import sys
from pathlib import Path
from pydantic import SecretStr
from kodosumi_prefect.panel.web.server import run
from kodosumi_prefect.settings import Settings
url, folder = sys.argv[1:]
settings = Settings(database_url=SecretStr(url), data_dir=Path(folder), port=0)
run(settings, on_ready=lambda url: print(url, flush=True))
"""


def main(words: list[str] | None = None) -> int:
    """Measure once and print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--endpoints", type=int, default=1000)
    arguments.add_argument("--requests", type=int, default=300)
    chosen = arguments.parse_args(words)
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder)) as postgres,
    ):
        migrate.upgrade(postgres.url, SCHEMA)
        fill_endpoints(postgres.url, chosen.endpoints)
        command = [sys.executable, "-c", PANEL, postgres.url, folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as panel:
            try:
                assert panel.stdout is not None
                url = panel.stdout.readline().strip()
                settings = Settings(database_url=SecretStr(postgres.url), data_dir=Path(folder))
                headers = {API_KEY_HEADER: local_token(settings)}
                process = psutil.Process(panel.pid)
                with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
                    _lists(client, 20)
                    before = sum(process.cpu_times()[:2])
                    lists = _lists(client, chosen.requests)
                    used = (sum(process.cpu_times()[:2]) - before) * 1000 / (chosen.requests + 2)
            finally:
                panel.terminate()
    p95 = quantile(lists, 0.95)
    print(
        f"\nGET /flow with {chosen.endpoints} endpoints, {chosen.requests} requests, "
        f"{os.cpu_count()} cores: p50 {quantile(lists, 0.5):.1f} ms, p95 {p95:.1f} ms "
        f"(limit {LIMIT:g} ms); {used:.1f} ms of the panel's CPU each; "
        f"load average {os.getloadavg()[0]:.1f}"
    )
    return 0 if p95 <= LIMIT else 1


def fill_endpoints(url: str, endpoints: int) -> None:
    """A source with so many endpoints."""
    found = [
        ListedEndpoint(
            method="GET",
            url=f"/-/service{n % 50}/8000/-/endpoint/{n}",
            base_url=f"http://service{n % 50}:8000",
            target=f"http://service{n % 50}:8000/endpoint/{n}",
            summary=f"{('Digest', 'Review', 'Translate', 'Plan')[n % 4]} number {n}",
            description="What it does, in some sentences. " * 10,
            author="somebody@example.org",
            tags=[f"tag{n % 20}", "all"],
        ).row()
        for n in range(endpoints)
    ]
    queries = Queries(SCHEMA)
    with psycopg.connect(url, autocommit=True) as connection:
        source = {"url": "http://not.there.example/openapi.json", "kind": "openapi"}
        row = connection.execute(queries["add_source"], source).fetchone()
        assert row is not None
        connection.execute(
            queries["store_source"],
            {"id": row[0], "endpoints": json.dumps(found), "failed": [], "trouble": None},
        )
        connection.execute(f"ANALYZE {SCHEMA}.endpoint")  # type: ignore[arg-type]


def _lists(client: httpx.Client, requests: int) -> list[float]:
    first = client.get("/flow").json()
    offset = client.get("/flow", params={"pp": 500}).json()["offset"] or first["offset"]
    questions = (
        {},
        {"pp": "50", "offset": offset},
        {"q": "digest 7"},
        {"q": "nothing-like-it"},
        {"tag": "tag7"},
    )
    return [_timed(client, "/flow", questions[n % len(questions)]) for n in range(requests)]


def _timed(client: httpx.Client, path: str, question: dict[str, str]) -> float:
    began = time.perf_counter()
    client.get(path, params=question).raise_for_status()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    sys.exit(main())
