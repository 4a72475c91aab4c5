"""Postgres away at the worst moments: flows go on and end on time, the record is complete later."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import tuple_row

from kodosumi_prefect.database import migrate
from kodosumi_prefect.settings import PREFIX
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.e2e.running import clean_environment
from tests.prefect_http import AUTH_STRING
from tests.waiting import wait_for

OUTAGE = 30.0  # seconds
SCRIPT = """
import sys, time
from kodosumi_prefect import flow

@flow
def emitting(seconds: float, tracer) -> str:
    began = time.monotonic()
    number = 0
    print("begun", flush=True)
    while time.monotonic() - began < seconds:
        tracer.debug(f"tick {number}")
        number += 1
        time.sleep(0.01)
    return f"{number} ticks"

began = time.monotonic()
result = emitting(float(sys.argv[1]))
print("result", result, round(time.monotonic() - began, 1), flush=True)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres of the test's own, to be stopped and started."""
    with_schema = EmbeddedPostgres(tmp_path / "postgres")
    url = with_schema.start()
    migrate.upgrade(url, "kodosumi")
    yield with_schema
    with_schema.destroy()


class Flow:
    """A flow in a process of its own."""

    def __init__(self, url: str, api: str, folder: Path, seconds: float) -> None:
        script = folder / "emitting.py"
        script.write_text(SCRIPT)
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(seconds)],
            env=clean_environment()
            | {
                "PREFECT_API_URL": api,
                "PREFECT_API_AUTH_STRING": AUTH_STRING,
                "PREFECT_HOME": str(folder / "client"),
                f"{PREFIX}DATABASE_URL": url,
                f"{PREFIX}DATA_DIR": str(folder / "data"),
            },
            stdout=subprocess.PIPE,
            text=True,
        )

    def begun(self) -> None:
        assert self.process.stdout is not None
        assert any(line.startswith("begun") for line in self.process.stdout)

    def result(self, seconds: float) -> tuple[int, float]:
        """How many ticks it says it emitted, and how long it took."""
        output, _ = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0
        words = next(line for line in output.splitlines() if line.startswith("result")).split()
        return int(words[1]), float(words[3])


def stored(url: str) -> list[tuple[str, list[str], str]]:
    """Status, events in order and final of every execution, checked for gaps."""
    found = []
    with psycopg.connect(url, row_factory=tuple_row) as connection:
        for execution, status, final in connection.execute(
            "SELECT id, status, final FROM kodosumi.execution ORDER BY id"
        ).fetchall():
            rows = connection.execute(
                "SELECT seq, kind, payload FROM kodosumi.event WHERE execution_id = %s "
                "ORDER BY seq",
                (execution,),
            ).fetchall()
            assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
            found.append((status, [p for _, kind, p in rows if kind == "debug"], final))
    return found


@pytest.mark.timeout(240)
def test_postgres_away_in_mid_flow_and_at_the_end_costs_nothing(
    server: EmbeddedPostgres, prefect_server: str, tmp_path: Path
):
    long = Flow(server.url, prefect_server, tmp_path, OUTAGE + 15)
    short = Flow(server.url, prefect_server, tmp_path, 6)
    long.begun()
    short.begun()
    wait_for(lambda: len(stored(server.url)) == 2, 20, "both to be recorded")
    url = server.url
    server.stop()
    away = time.monotonic()
    # Its flush waits at most 30 s, then the process ends and leaves a spill file.
    ticks_short, took = short.result(60)
    assert took < 6 + 30 + 20
    wait_for(lambda: time.monotonic() - away > OUTAGE, OUTAGE + 1, "the outage to be over")
    assert list((tmp_path / "data" / "spool").rglob("*.spool"))
    server.start()
    ticks_long, _ = long.result(60)
    by_length = sorted(stored(url), key=lambda execution: len(execution[1]))
    assert by_length[1][0] == "finished"
    assert by_length[1][1] == [f"tick {number}" for number in range(ticks_long)]
    assert by_length[1][2] == f'{{"str": "{ticks_long} ticks"}}'
    # The next process there delivers what the ended one left; here the command line does.
    done = subprocess.run(
        [sys.executable, "-m", "kodosumi_prefect.cli", "spool", "replay"],
        env=clean_environment()
        | {f"{PREFIX}DATABASE_URL": url, f"{PREFIX}DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    short_one = next(e for e in stored(url) if len(e[1]) == ticks_short)
    assert short_one[0] == "finished"
    assert short_one[1] == [f"tick {number}" for number in range(ticks_short)]
    assert short_one[2] == f'{{"str": "{ticks_short} ticks"}}'
    assert not list((tmp_path / "data" / "spool").rglob("*.spool"))


@pytest.mark.timeout(120)
def test_postgres_away_at_the_start_does_not_delay_a_flow(
    server: EmbeddedPostgres, prefect_server: str, tmp_path: Path
):
    url = server.url
    server.stop()
    flow = Flow(url, prefect_server, tmp_path, 3)
    flow.begun()
    server.start()
    ticks, took = flow.result(60)
    assert took < 3 + 20
    (execution,) = stored(url)
    assert execution[0] == "finished"
    assert execution[1] == [f"tick {number}" for number in range(ticks)]
