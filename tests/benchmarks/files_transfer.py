"""A file of 1 GiB through the panel, beside ``cp``, ``fsync`` and ``sha256sum`` of the same file.

    python -m tests.benchmarks.files_transfer [--mib 1024] [--rounds 3] [--folder /var/tmp]

Starts a Postgres and a panel of its own. All of it is on the disk of ``--folder``, and what is read
first is dropped from memory before. Then eight files come and go at once, while a process asks
``/livez``.
"""

import argparse
import asyncio
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
from pydantic import SecretStr

from kodosumi_prefect.database import migrate
from kodosumi_prefect.events import Event, serialize
from kodosumi_prefect.files.storage import storage_of
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.benchmarks.file_client import MIB, FileClient, send_chunks, upload
from tests.benchmarks.harness import machine, panel, quantile, report

SCHEMA = "kodosumi"
SHARE = 1 / 3  # of the speed of cp, fsync and sha256sum together
CHUNKS = 80.0  # MB/s
MEMORY = 64.0  # MiB above idle
ANSWER = 50.0  # ms for /livez
LARGE_CHUNK = 5 * MIB  # as Kodosumi's Python client sends them
AT_ONCE = 4  # chunks in flight, as on our page
EIGHT = 8
ASKED = 0.02  # seconds between questions whether the panel lives
# Answers whatever it is asked, and does nothing else.
BARE = """
import asyncio
async def main():
    async def come(reader, writer):
        while (await reader.readline()).strip():
            await reader.readuntil(b"\\r\\n\\r\\n")
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    server = await asyncio.start_server(come, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Bench:
    """A panel, an execution and a file on a disk."""

    def __init__(self, url: str, pid: int, settings: Settings, folder: Path, size: int) -> None:
        self.settings = settings
        self.folder = folder
        self.size = size
        self.fid = _execution(settings)
        self.process = psutil.Process(pid)
        self.url = url
        self.connect = partial(FileClient, url, local_token(settings))
        self.source = folder / "source.bin"
        with self.source.open("wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))

    def beside(self) -> float:
        """Seconds of ``cp``, ``fsync`` and ``sha256sum``."""
        _drop(self.source)
        copy = self.folder / "copy.bin"
        began = time.perf_counter()
        subprocess.run(["cp", self.source, copy], check=True)
        subprocess.run(["sync", copy], check=True)
        subprocess.run(["sha256sum", copy], check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - began
        copy.unlink()
        return took

    def sent(self) -> float:
        """Seconds of an upload, until it is a file of the execution."""
        _drop(self.source)
        began = time.perf_counter()
        upload(self.connect, self.fid, self.source, LARGE_CHUNK, AT_ONCE)
        return time.perf_counter() - began

    def got(self) -> float:
        """Seconds of a download of what was sent, until it is on the disk."""
        [file] = self.connect().ask("GET", f"/files/{self.fid}/in?details=true")
        stored = storage_of(self.settings)
        for content in stored.contents("objects"):
            _drop(Path(stored.url.removeprefix("file://"), content.key))
        copy = self.folder / "got.bin"
        began = time.perf_counter()
        size = self.connect().download(f"/files/{self.fid}/{file['path']}", copy)
        took = time.perf_counter() - began
        assert size == self.size
        digest = subprocess.run(["sha256sum", copy], check=True, capture_output=True, text=True)
        assert digest.stdout.split()[0] == file["sha256"], "other bytes came than were sent"
        copy.unlink()
        return took

    def chunks(self) -> float:
        """Seconds of sending all chunks of 1 MiB."""
        client = self.connect()
        announced = {"filename": "chunks.bin", "total_chunks": self.size // MIB + 1}
        id_ = client.ask("POST", "/files/init", announced)["upload_id"]
        began = time.perf_counter()
        client.close()
        send_chunks(self.connect, id_, self.source, MIB, AT_ONCE)
        took = time.perf_counter() - began
        client.ask("DELETE", f"/files/cancel/{id_}")
        client.close()
        return took

    def eight(self) -> dict[str, list[float]]:
        """Seconds of each answer of ``/livez`` while four files come and four go.

        And those of a process that does nothing else, beside it.
        """
        bare = subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True)
        assert bare.stdout is not None
        asked = {"panel": self.url, "bare": f"http://127.0.0.1:{int(bare.stdout.readline())}"}
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        probe = context.Process(target=_probe, args=(asked, theirs), daemon=True)
        probe.start()
        theirs.close()
        ours.recv()
        command = [sys.executable, "-m", "tests.benchmarks.files_transfer", "--as-client"]
        ways = [["upload", f"eight-{n}.bin"] for n in range(EIGHT // 2)]
        ways += [["download", "source.bin"]] * (EIGHT // 2)
        given = [self.url, local_token(self.settings), self.fid, str(self.source)]
        clients = [subprocess.Popen([*command, *given, *way]) for way in ways]
        assert [client.wait() for client in clients] == [0] * EIGHT
        ours.send(None)
        answers: dict[str, list[float]] = ours.recv()
        probe.join()
        bare.terminate()
        bare.wait()
        return answers


def main(words: list[str] | None = None) -> int:
    """Measure and print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--mib", type=int, default=1024)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--folder", type=Path, default=Path("/var/tmp"))
    arguments.add_argument("--only", default="", help="sent,got,chunks,eight")
    chosen = arguments.parse_args(words)
    with _bench(chosen.folder, chosen.mib * MIB) as bench:
        _measure(bench, chosen.rounds, chosen.only.split(",") if chosen.only else None)
    return 0


def _measure(bench: Bench, rounds: int, only: list[str] | None = None) -> None:
    upload(bench.connect, bench.fid, bench.source, LARGE_CHUNK, AT_ONCE)  # imports, connections
    time.sleep(2)
    idle = _memory(bench.process)
    ways: dict[str, Callable[[], float]] = {
        "cp": bench.beside,
        "sent": bench.sent,
        "got": bench.got,
        "chunks": bench.chunks,
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    used: dict[str, list[float]] = {name: [] for name in ways}
    most: dict[str, float] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            if only and name not in only:
                continue
            before = _processor(bench.process)
            with _sampled(bench.process, most, name):
                took[name].append(way())
            used[name].append(_processor(bench.process) - before)
    answers = {"panel": [0.0], "bare": [0.0]}
    if not only or "eight" in only:
        with _sampled(bench.process, most, "eight"):
            answers = bench.eight()
    best = {name: min(each, default=float("nan")) for name, each in took.items()}
    rate = {name: bench.size / seconds / 1e6 for name, seconds in best.items()}
    cpu = {name: bench.size / MIB / min(each, default=1) for name, each in used.items()}
    above = {name: peak - idle for name, peak in most.items()}
    report(
        f"files through the panel ({bench.size / 2**20:,.0f} MiB, best of {rounds},"
        f" load average {os.getloadavg()[0]:.1f})",
        {
            "cp, fsync and sha256sum": f"{rate['cp']:8.0f} MB/s",
            "upload, in chunks of 5 MiB": _beside(rate, "sent"),
            "download": _beside(rate, "got"),
            "chunks of 1 MiB": f"{rate['chunks']:8.0f} MB/s   (at least {CHUNKS:.0f})",
            "what a core of the panel alone would do": ", ".join(
                f"{name} {each:,.0f}" for name, each in cpu.items() if name != "cp"
            )
            + " MiB/s",
            "the panel's memory above idle": ", ".join(
                f"{name} {size:.0f}" for name, size in above.items()
            )
            + f" MiB   (at most {MEMORY:.0f})",
            f"/livez beside {EIGHT} at once: median, p99, longest": (
                f"{_spread(answers['panel'])}   (at most {ANSWER:.0f})"
            ),
            "a process that does nothing else, at the same time": _spread(answers["bare"]),
        },
    )


def _beside(rate: dict[str, float], name: str) -> str:
    share = rate[name] / rate["cp"]
    return f"{rate[name]:8.0f} MB/s, {share:.0%} of that   (at least {SHARE:.0%})"


def _spread(seconds: list[float]) -> str:
    shares = [f"{quantile(seconds, share) * 1e3:.0f}" for share in (0.5, 0.99, 1.0)]
    return f"{', '.join(shares)} ms of {len(seconds)}"


@contextmanager
def _bench(folder: Path, size: int) -> Iterator[Bench]:
    # Not in the folder for temporary files, which may be in memory.
    with tempfile.TemporaryDirectory(dir=folder) as own, EmbeddedPostgres(Path(own)) as postgres:
        migrate.upgrade(postgres.url, SCHEMA)
        settings = Settings(database_url=SecretStr(postgres.url), data_dir=Path(own))
        with panel(settings, postgres.url) as (url, pid):
            yield Bench(url, pid, settings, Path(own), size)
        shutil.rmtree(Path(own) / "files", ignore_errors=True)


def _execution(settings: Settings) -> str:
    fid = str(uuid4())
    assert settings.database_url is not None
    spooler = Spooler(settings.database_url.get_secret_value(), SCHEMA)
    event = Event(time.time(), "action", serialize({"action": "begun"}))
    spooler.append([Batch(fid, str(uuid4()), 1, {"flow_name": "files"}, [event])])
    spooler.close()
    return fid


def _drop(path: Path) -> None:
    """Have a file be on its disk, and not in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _processor(process: psutil.Process) -> float:
    """Seconds of processor that a process has taken."""
    return float(sum(process.cpu_times()[:2]))


def _memory(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / MIB


@contextmanager
def _sampled(process: psutil.Process, most: dict[str, float], name: str) -> Iterator[None]:
    """Notes the most memory that a process takes meanwhile."""
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.05):
            most[name] = max(most.get(name, 0.0), _memory(process))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _probe(asked: dict[str, str], parent: Connection) -> None:
    """A process that asks whether servers live, until it is told to end."""

    async def ask() -> dict[str, list[float]]:
        took: dict[str, list[float]] = {name: [] for name in asked}
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            for url in asked.values():
                await client.get(f"{url}/livez")
            parent.send(None)
            while not parent.poll():
                for name, url in asked.items():
                    began = time.perf_counter()
                    (await client.get(f"{url}/livez")).raise_for_status()
                    took[name].append(time.perf_counter() - began)
                    await asyncio.sleep(ASKED)
        return took

    parent.send(asyncio.run(ask()))


def _as_client(url: str, token: str, fid: str, source: str, way: str, name: str) -> None:
    """A process that sends or gets one file."""
    connect = partial(FileClient, url, token)
    if way == "upload":
        upload(connect, fid, Path(source), LARGE_CHUNK, AT_ONCE, name)
        return
    with tempfile.TemporaryDirectory(dir=Path(source).parent) as folder:
        connect().download(f"/files/{fid}/in/{name}", Path(folder, name))


def run() -> None:
    """As one of all benchmarks."""
    main([])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-client"]:
        _as_client(*sys.argv[2:])
        sys.exit()
    print(f"measured on {machine()}")
    sys.exit(main())
