"""What files of runs cost: many small ones, large ones in a Runner, and listing 10,000.

    python -m tests.benchmarks.files_of_runs [--mib 1024] [--folder /var/tmp]

Starts a stack of its own. Beside the small files stands a process that writes as many to the same
disk and syncs each.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.files.content_keys import object_key
from kodosumi_prefect.files.record import StoredFile, payload_of
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch
from tests.benchmarks import file_flows
from tests.benchmarks.file_client import MIB, FileClient, upload
from tests.benchmarks.harness import machine, quantile, report
from tests.e2e.running import PASSWORD, Up, pid_of, running_up
from tests.waiting import wait_for

PROCESSES, FILES, SMALL = 4, 1000, 10 * 1024
LISTED, PER_PAGE = 10_000, 100
RATE = 300  # files a second
LISTING = 50.0  # ms
MEMORY = 64.0  # MiB above idle
ROUNDS = 3
CHUNK = 5 * MIB


class Sampled:
    """The most memory that processes take from now on, by their names."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self._processes = processes
        self._ended = threading.Event()
        self.idle = self._memory()
        self.most = dict(self.idle)
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def above(self) -> dict[str, float]:
        """MiB above what they took at first."""
        self._ended.set()
        self._thread.join()
        return {name: self.most[name] - idle for name, idle in self.idle.items()}

    def _memory(self) -> dict[str, float]:
        return {name: one.memory_info().rss / MIB for name, one in self._processes.items()}

    def _sample(self) -> None:
        while not self._ended.wait(0.05):
            try:
                now = self._memory()
            except psutil.NoSuchProcess:
                return
            self.most = {name: max(now[name], most) for name, most in self.most.items()}


def main(words: list[str] | None = None) -> int:
    """Measure and print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--mib", type=int, default=1024)
    arguments.add_argument("--folder", type=Path, default=Path("/var/tmp"))
    chosen = arguments.parse_args(words)
    # Not in the folder for temporary files, which may be in memory.
    with tempfile.TemporaryDirectory(dir=chosen.folder) as own, running_up(Path(own)) as up:
        up.command("python", file_flows.__file__, "leaves", "copies")
        beside = min(_synced(Path(own)) for _ in range(ROUNDS))
        left = [_left(up) for _ in range(ROUNDS)]
        listing = _listing(up, Path(own))
        copied, above = _copied(up, Path(own), chosen.mib)
    report(
        f"files of runs (load average {os.getloadavg()[0]:.1f})",
        {
            f"{FILES:,} files of 10 KiB from {PROCESSES} Ray processes, best of {ROUNDS}": (
                f"{FILES / min(left):8.0f} files/s   (at least {RATE})"
            ),
            "one process that writes and syncs as many, no more": f"{FILES / beside:8.0f} files/s",
            f"a page of {PER_PAGE} of {LISTED:,} files, median and p95": (
                f"{quantile(listing, 0.5) * 1e3:.0f}, {quantile(listing, 0.95) * 1e3:.0f} ms"
                f"   (at most {LISTING:.0f})"
            ),
            f"a file of {chosen.mib:,} MiB in a flow, read and left": ", ".join(
                f"{chosen.mib * MIB / seconds / 1e6:.0f} MB/s" for seconds in copied.values()
            ),
            "memory above idle meanwhile": ", ".join(
                f"{name} {size:.0f}" for name, size in above.items()
            )
            + f" MiB   (at most {MEMORY:.0f} each)",
        },
    )
    return 0


def _left(up: Up) -> float:
    """Seconds of many small files from several processes, until all are listed."""
    fid = up.run("leaves/bench", processes=PROCESSES, files=FILES, size=SMALL)
    while up.status(fid)["status"] != "finished":
        time.sleep(0.5)  # each question costs what is measured
    listed = up.client.get(f"/files/{fid}/out").json()
    assert len(listed) == FILES + PROCESSES, len(listed)
    return float(_result(up, fid))


def _result(up: Up, fid: str) -> Any:
    """What a flow returned."""
    [final] = up.events(fid, kinds="final")
    [value] = json.loads(final["payload"]).values()
    return value


def _synced(folder: Path) -> float:
    """Seconds of writing as many small files and syncing each, in one process."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        began = time.perf_counter()
        for number in range(FILES):
            with Path(own, f"{number}").open("xb") as file:
                file.write(bytes(SMALL))
                os.fsync(file.fileno())
        return time.perf_counter() - began


def _client(up: Up) -> FileClient:
    answer = up.client.post("/login", data={"name": "admin", "password": PASSWORD})
    return FileClient(up.panel, answer.raise_for_status().json()["KODOSUMI_API_KEY"])


def _listing(up: Up, data_dir: Path) -> list[float]:
    """Seconds of each page of an execution with many files."""
    fid, writer = str(uuid4()), str(uuid4())
    url = json.loads((data_dir / "run" / "postgres.json").read_text())["url"]
    spooler = Spooler(url, "kodosumi")
    for first in range(0, LISTED, 1000):
        files = [
            StoredFile(f"out/{n % 100}/file-{n:05}.txt", object_key(fid), n, "0" * 64, "text/plain")
            for n in range(first, first + 1000)
        ]
        event = Event(time.time(), Kind.UPLOAD, payload_of(files))
        spooler.append([Batch(fid, writer, first // 1000 + 1, {"flow_name": "files"}, [event])])
    spooler.close()
    client, took, seen = _client(up), [], 0
    for _ in range(ROUNDS):
        after, page = "", None
        while page is None or len(page) == PER_PAGE:
            began = time.perf_counter()
            page = client.ask("GET", f"/files/{fid}/out?details=true&limit={PER_PAGE}{after}")
            took.append(time.perf_counter() - began)
            seen += len(page)
            if page:
                after = f"&after={page[-1]['path']}"
    client.close()
    assert seen == ROUNDS * LISTED, seen
    return took


def _copied(up: Up, data_dir: Path, mib: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of reading and leaving a large file in a Runner, and memory above idle."""
    source = data_dir / "large.bin"
    with source.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(MIB))
    fid = up.run("copies/bench", name=source.name)
    up.until(fid, "running", 120)
    _until_said(up, fid, "begun")
    upload(partial(_client, up), fid, source, CHUNK, PROCESSES)
    _until_said(up, fid, "rests")
    every = psutil.Process(up.process.pid).children(recursive=True)
    named = {name: _named(every, name) for name in ("ray::Runner.run", "ray::Spooler")}
    sampled = Sampled(
        {"run": psutil.Process(pid_of(up, fid)), "panel": psutil.Process(up.process.pid), **named}
    )
    up.until(fid, "finished", 600)
    above = sampled.above()
    return _result(up, fid), above


def _until_said(up: Up, fid: str, word: str) -> None:
    wait_for(
        lambda: any(word in event["payload"] for event in up.events(fid, kinds="debug")), 300, word
    )


def _named(processes: list[psutil.Process], name: str) -> psutil.Process:
    """The process that Ray has given a name; the youngest of several."""
    found = [one for one in processes if _command(one).startswith(name)]
    return max(found, key=psutil.Process.create_time)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def run() -> None:
    """As one of all benchmarks."""
    main([])


if __name__ == "__main__":
    print(f"measured on {machine()}")
    sys.exit(main())
