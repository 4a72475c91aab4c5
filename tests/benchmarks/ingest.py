"""Flat out through the panel's /ingest, beside a connection of one's own, in the same run.

`python -m tests.benchmarks ingest`
"""

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
from pydantic import SecretStr

from kodosumi_prefect.events import Event
from kodosumi_prefect.files.tokens import token_for
from kodosumi_prefect.keys import make_secret
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler import panel_transport
from kodosumi_prefect.spooler.client import SpoolClient
from tests.benchmarks.harness import connect, panel, report

EVENTS = 100_000
TEXT = "x" * 100
SOURCE = '{"node":"here","pid":12345}'
ROUNDS = 3
COUNT = """
SELECT count(*), max(seq) FROM kodosumi.event
WHERE execution_id = (SELECT id FROM kodosumi.execution WHERE fid = %s)
"""


def _seconds(url: str, settings: Callable[[str], Settings]) -> float:
    """From the first event to all of them being readable; the connection is there already."""
    fid = str(uuid.uuid4())
    client = SpoolClient(settings(fid))
    client.emit(fid, Event(time.time(), "debug", "first"))
    assert client.flush(60)
    began = time.perf_counter()
    for _ in range(EVENTS):
        client.emit_fields(fid, (time.time(), "debug", TEXT, 1, SOURCE, None, None, None))
    assert client.flush(300)
    with connect(url) as connection:
        count, last = connection.execute(COUNT, (fid,)).fetchone()
    took = time.perf_counter() - began
    assert count == last == EVENTS + 1, (count, last)
    client.close()
    return took


def run(settings: Settings, url: str) -> None:
    make_secret(settings)
    folder = Path(settings.data_dir) / "elsewhere"
    with panel(settings, url) as (address, pid):
        # Postgres by a URL and the panel by a token, each from a process that knows nothing else.
        ways: dict[str, Callable[[str], Settings]] = {
            "direct": lambda _: Settings(database_url=SecretStr(url), data_dir=folder),
            "ingest": lambda fid: Settings(
                data_dir=folder, panel_url=address, run_token=SecretStr(token_for(fid, settings))
            ),
        }
        for way in ways.values():
            _seconds(url, way)
        idle = psutil.Process(pid).memory_info().rss
        took: dict[str, list[float]] = {name: [] for name in (*ways, "compressed")}
        most = idle
        for _ in range(ROUNDS):
            for name, way in ways.items():
                took[name].append(_seconds(url, way))
            here, panel_transport.HERE = panel_transport.HERE, ()
            took["compressed"].append(_seconds(url, ways["ingest"]))
            panel_transport.HERE = here
            most = max(most, psutil.Process(pid).memory_info().rss)
    rates = {name: EVENTS / sorted(each)[ROUNDS // 2] for name, each in took.items()}
    report(
        f"through the panel ({EVENTS:,} events of 100 bytes, median of {ROUNDS})",
        {
            "a connection of one's own": f"{rates['direct']:10,.0f} events/s",
            "POST /ingest": f"{rates['ingest']:10,.0f} events/s",
            "beside a connection": f"{rates['ingest'] / rates['direct']:10.0%}   (at least 33 %)",
            "compressed, as to another machine": f"{rates['compressed']:10,.0f} events/s",
            "the panel's memory above idle": f"{(most - idle) / 2**20:10.0f} MiB",
        },
    )
