"""What the benchmarks share: services of their own, and figures side by side."""

import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from kodosumi_prefect.database import migrate
from kodosumi_prefect.settings import PREFIX, Settings, reset_settings
from kodosumi_prefect.stack import Stack


@contextmanager
def services() -> Iterator[tuple[Settings, str]]:
    """Postgres and Prefect in a temporary data dir: the settings, and the Postgres URL."""
    with tempfile.TemporaryDirectory(prefix="kodosumi-bench-") as folder:
        # An address keeps the stack from starting Ray, which no benchmark here needs.
        settings = Settings(data_dir=Path(folder), ray_address="auto")
        stack = Stack(settings, on_progress=lambda *_: None, worker=False)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()

        def wait(coroutine: object) -> object:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

        wait(stack.start())
        try:
            url = stack.database_url
            migrate.upgrade(url, settings.database_schema)
            reset_settings(settings)
            with stack.prefect.in_force():
                yield settings, url
        finally:
            wait(stack.stop())
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


@contextmanager
def panel(settings: Settings, url: str) -> Iterator[tuple[str, int]]:
    """A panel in a process of its own: its address and process id."""
    environment = os.environ | {
        f"{PREFIX}DATABASE_URL": url,
        f"{PREFIX}DATA_DIR": str(settings.data_dir),
        f"{PREFIX}STREAMS_PER_USER": str(settings.streams_per_user),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "kodosumi_prefect.cli", "panel", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if line.startswith("ready "):
                break
        else:
            raise RuntimeError("the panel did not start")
        yield line.split()[1], process.pid
    finally:
        process.terminate()
        process.wait(20)


def quantile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the values lie."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def report(name: str, figures: dict[str, str]) -> None:
    """Print one benchmark's figures."""
    print(f"\n{name}")
    for label, figure in figures.items():
        print(f"  {label:<58} {figure}")


def progress(what: str) -> None:
    """Say what is measured now, beside the figures."""
    print(f"  … {what}", file=sys.stderr, flush=True)


def machine() -> str:
    """What the figures were measured on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, prepare_threshold=None)
