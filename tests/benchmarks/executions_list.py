"""How long the list of executions takes as history grows.

    python -m tests.benchmarks.executions_list [--sizes 1000,10000,100000] [--requests 40]

Starts a Postgres and a panel of its own. One client asks for the page, one question after the
other, with each filter by itself. Exits 1 above the limit.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
from pydantic import SecretStr

from kodosumi_prefect.database import migrate
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stream.listing import Filter
from kodosumi_prefect.stream.reader import EVERYTHING
from kodosumi_prefect.stream.rows import SearchedWord
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.benchmarks.flow_list import PANEL
from tests.benchmarks.harness import machine, quantile, report

LIMIT = 100.0  # milliseconds, 95th percentile
SCHEMA = "kodosumi"
START = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=300)
BOUNDS = ("from", "to")
BARS = "bars"  # asks for what stands above the list
FLOWS, OWNERS, TAGS = 40, 25, 60
STARTS, ENDS = ("ba", "de", "fi", "go", "hu", "ka", "le"), ("lon", "ric", "tas", "vem", "zur")
WORDS = [start + end for start in STARTS for end in ENDS]

Question = list[tuple[str, str]]


def main(words: list[str] | None = None) -> int:
    """Measure every size and print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sizes", default="1000,10000,100000")
    arguments.add_argument("--requests", type=int, default=40)
    chosen = arguments.parse_args(words)
    sizes = [int(size) for size in chosen.sizes.split(",")]
    found: dict[str, list[str]] = {}
    worst = (0.0, "")
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder)) as postgres:
        migrate.upgrade(postgres.url, SCHEMA)
        command = [sys.executable, "-c", PANEL, postgres.url, folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as panel:
            try:
                assert panel.stdout is not None
                url = panel.stdout.readline().strip()
                settings = Settings(database_url=SecretStr(postgres.url), data_dir=Path(folder))
                headers = {API_KEY_HEADER: local_token(settings)}
                have = 0
                with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
                    for size in sizes:
                        fill(postgres.url, have, size)
                        have = size
                        questions = _questions(client)
                        for name, question in questions.items():
                            took = [_timed(client, question) for _ in range(chosen.requests + 3)]
                            p95 = quantile(took[3:], 0.95)
                            worst = max(worst, (p95, name))
                            line = f"{quantile(took[3:], 0.5):6.1f} {p95:6.1f}"
                            found.setdefault(name, []).append(line)
            finally:
                panel.terminate()
        plan = _plan(postgres.url, questions[worst[1]])
    report(
        f"GET /executions, p50 and p95 in ms with {', '.join(f'{size:,}' for size in sizes)} "
        f"executions (p95 at most {LIMIT:g} ms)",
        {name: "   |  ".join(lines) for name, lines in found.items()},
    )
    print(f"slowest: {worst[1]}, p95 {worst[0]:.1f} ms, with {sizes[-1]:,}:\n{plan}")
    return 0 if worst[0] <= LIMIT else 1


def fill(url: str, start: int, end: int) -> None:
    """Executions ``start`` to ``end``, oldest first; the triggers fill the listing."""
    chance = random.Random(start)
    step = SPAN / 100_000
    with psycopg.connect(url, autocommit=True) as connection:
        for n in range(OWNERS):
            connection.execute(
                "INSERT INTO kodosumi.role (id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (str(UUID(int=n + 1)), f"person{n}"),
            )
        with connection.cursor().copy(
            "COPY kodosumi.execution (fid, owner, flow_name, summary, tags, status, inputs,"
            " created_at, started_at, ended_at, attempt) FROM STDIN"
        ) as copy:
            for n in range(start, end):
                began = START + step * n
                status = chance.choices(["finished", "error", "running"], [930, 65, 5])[0]
                inputs = {"dict": {word: chance.choices(WORDS, k=12) for word in WORDS[:4]}}
                if n < 200:
                    inputs["dict"]["ancient"] = ["primordial"]
                ended = None if status == "running" else began + timedelta(seconds=n % 400)
                copy.write_row(
                    (
                        str(UUID(int=chance.getrandbits(128), version=4)),
                        str(UUID(int=min(int(chance.expovariate(0.2)), OWNERS - 1) + 1)),
                        f"flow-{min(int(chance.expovariate(0.15)), FLOWS - 1)}",
                        f"Digest number {n} of {chance.choice(WORDS)}",
                        [f"tag{min(int(chance.expovariate(0.1)), TAGS - 1)}", "all"],
                        status,
                        json.dumps(inputs),
                        began,
                        began,
                        ended,
                        1,
                    )
                )
        connection.execute(f"VACUUM ANALYZE {SCHEMA}.execution")
        connection.execute(f"VACUUM ANALYZE {SCHEMA}.listing")
        if connection.execute("SELECT to_regclass('kodosumi.listing_order')").fetchone() != (None,):
            connection.execute(f"VACUUM ANALYZE {SCHEMA}.listing_order")


def _questions(client: httpx.Client) -> dict[str, Question]:
    middle = client.get("/timeline/list", params={"pp": 500}).json()["offset"]
    return {
        "no filter": [],
        "no filter, a later page": [("before", middle)] if middle else [],
        "status error": [("status", "error")],
        "status running or awaiting": [("status", "running"), ("status", "awaiting")],
        "flow, frequent": [("flow", "flow-0")],
        "flow, rare": [("flow", f"flow-{FLOWS - 2}")],
        "owner, rare": [("owner", str(UUID(int=OWNERS - 1)))],
        "tag, frequent": [("tag", "all")],
        "tag, rare": [("tag", f"tag{TAGS - 2}")],
        "time, a day long ago": [("from", "2026-01-01T12:00Z"), ("to", "2026-01-02T12:00Z")],
        "word in all": [("q", "digest")],
        "word in some": [("q", "balon")],
        "word in one": [("q", "777")],
        "word in the oldest only": [("q", "primordial")],
        "word in none": [("q", "nothing")],
        "two words": [("q", "dig miz")],
        "somebody's name": [("q", "person3")],
        "by duration": [("sort", "-duration")],
        "by status": [("sort", "status")],
        "by name": [("sort", "name")],
        "by owner, a later page": [("sort", "owner"), *([("before", middle)] if middle else [])],
        "by name, a word in all": [("sort", "name"), ("q", "digest")],
        "bars": [(BARS, "")],
        "bars, a flow": [(BARS, ""), ("flow", "flow-0")],
        "bars, a word in some": [(BARS, ""), ("q", "balon")],
        "bars, a word in all": [(BARS, ""), ("q", "digest")],
    }


def _timed(client: httpx.Client, question: Question) -> float:
    began = time.perf_counter()
    path = "/executions/overview" if question[:1] == [(BARS, "")] else "/executions"
    client.get(path, params=question).raise_for_status()
    return (time.perf_counter() - began) * 1000


def _plan(url: str, question: Question) -> str:
    """How Postgres finds what a question asks for."""
    said = dict(question)
    queries = Queries(SCHEMA)
    with psycopg.connect(url, autocommit=True) as connection:
        asked = {"query": said.get("q", "")}
        words = connection.execute(queries["asked_words"], asked).fetchall()
        wanted = Filter(
            said.get("q", ""),
            [value for name, value in question if name == "status"],
            said.get("flow"),
            said.get("owner"),
            said.get("tag"),
            *(datetime.fromisoformat(said[n]).timestamp() if n in said else None for n in BOUNDS),
        ).parameters([SearchedWord(word, owners) for word, owners in words])
        values: dict[str, Any] = wanted | EVERYTHING._asdict()
        values |= {"at": None, "id": None, "limit": 26}
        rows = connection.execute(
            b"EXPLAIN (ANALYZE, COSTS OFF, BUFFERS OFF) " + queries["timeline"], values
        ).fetchall()
    return "\n".join(row[0] for row in rows)


def run() -> None:
    """As one of all benchmarks."""
    main([])


if __name__ == "__main__":
    print(f"measured on {machine()}")
    sys.exit(main())
