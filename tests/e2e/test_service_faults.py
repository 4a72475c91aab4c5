"""Services that die or hang while runs are under way: runs go on, records are complete."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

from tests.e2e.running import BIN, FLOWS, REPOSITORY, Up, gone, pid_of, running_up
from tests.e2e.ticks import Ticks, now, started
from tests.waiting import wait_for

OUTAGE = 60.0  # seconds that Prefect hangs


def address(up: Up, service: str) -> dict[str, Any]:
    """What a service of the stack wrote down about itself."""
    found: dict[str, Any] = json.loads((up.data_dir / "run" / f"{service}.json").read_text())
    return found


def query(up: Up, text: str, *parameters: Any) -> list[dict[str, Any]]:
    with psycopg.connect(address(up, "postgres")["url"], row_factory=dict_row) as connection:
        return connection.execute(text, parameters).fetchall()  # type: ignore[arg-type]


def services(up: Up, kind: str) -> list[dict[str, Any]]:
    """Services of a kind that said something just now, by their own word."""
    return query(
        up,
        "SELECT * FROM kodosumi.service WHERE kind = %s AND seen_at > now() - interval '15 s'",
        kind,
    )


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@contextmanager
def hanging(*processes: psutil.Process) -> Iterator[None]:
    """These processes stand still inside the block."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@contextmanager
def command(up: Up, *words: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`kodosumi-prefect WORDS` beside the stack, and its line that it is ready."""
    process = subprocess.Popen(
        [str(BIN / "kodosumi-prefect"), *words],
        env=up.environment,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready"), line + process.stdout.read()
        yield process, line.removeprefix("ready").strip()
    finally:
        process.kill()
        process.communicate()


def kill(process: "subprocess.Popen[str]") -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_spooler_costs_no_event(up: Up, tmp_path: Path):
    ticks = started(up, tmp_path, "flow", "task", "native", flow="together")
    (spooler,) = services(up, "spooler")
    os.kill(spooler["pid"], signal.SIGKILL)
    ticks.until_ticking()
    ticks.until_recorded()
    assert psutil.pid_exists(spooler["pid"]) is False
    ticks.finishes()
    sources = {e["source"]["pid"] for e in up.events(ticks.fid, kinds="debug")}
    assert len(sources) == 3
    wait_for(
        lambda: [row["pid"] for row in services(up, "spooler")] not in ([], [spooler["pid"]]),
        15,
        "the next Spooler's report",
    )


def test_a_killed_postgres_costs_no_event(up: Up, tmp_path: Path):
    ticks = started(up, tmp_path, "flow", "task", "native", flow="together")
    before = address(up, "postgres")["pid"]
    os.kill(before, signal.SIGKILL)
    ticks.until_ticking()
    wait_for(lambda: address(up, "postgres")["pid"] != before, 30, "Postgres to be there again")
    ticks.until_ticking()
    ticks.finishes()


def test_a_killed_prefect_server_fails_no_run(up: Up, tmp_path: Path):
    ticks = started(up, tmp_path)
    before = address(up, "prefect")["pid"]
    os.kill(before, signal.SIGKILL)
    ticks.until_ticking()
    ticks.until_recorded(2)  # nothing waits for Prefect
    wait_for(
        lambda: (
            (up.data_dir / "run" / "prefect.json").exists()
            and address(up, "prefect")["pid"] != before
        ),
        60,
        "Prefect to be there again",
    )
    ticks.finishes()


@pytest.mark.timeout(240)
def test_a_prefect_that_hangs_for_a_minute_delays_no_event(up: Up, tmp_path: Path):
    going_on, ending_soon, ending_late = (
        started(up, tmp_path / name) for name in ("on", "soon", "late")
    )
    with hanging(*family(address(up, "prefect")["pid"])):
        ends = time.monotonic() + OUTAGE
        ending_soon.stop()
        while time.monotonic() < ends - 8:
            going_on.until_ticking()
            going_on.until_recorded(2)
        ending_late.stop()
        time.sleep(max(ends - time.monotonic(), 0))
    going_on.until_ticking()
    ending_late.finishes()
    ending_soon.finishes()
    going_on.finishes()


class Listener(threading.Thread):
    """A client of a panel's stream that keeps what it got, and goes on where it stopped."""

    def __init__(self, fid: str) -> None:
        super().__init__(daemon=True)
        self._fid = fid
        self.panel = ""
        self.ids: list[int] = []
        self.ended = False
        self.broken = 0

    def run(self) -> None:
        while not self.ended:
            panel = self.panel
            try:
                self._listen(panel)
            except httpx.HTTPError:
                self.broken += 1
            wait_for(lambda p=panel: self.ended or self.panel != p, 60, "another panel")

    def _listen(self, panel: str) -> None:
        headers = {"Last-Event-ID": str(self.ids[-1])} if self.ids else {}
        url = f"{panel}/outputs/stream/{self._fid}"
        with httpx.stream("GET", url, headers=headers, timeout=30) as response:
            name, number = "", None
            for line in response.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    number = int(value)
                elif not line and name:
                    if name == "eof":
                        self.ended = True
                        return
                    if number is not None:
                        self.ids.append(number)
                    name, number = "", None


def test_a_client_resumes_at_the_next_panel_where_the_killed_one_stopped(up: Up, tmp_path: Path):
    ticks = started(up, tmp_path)
    listener = Listener(ticks.fid)
    with command(up, "panel", "--port", "0") as (panel, url):
        listener.panel = url
        listener.start()
        wait_for(lambda: len(listener.ids) > 50, 30, "the stream")
        kill(panel)
    wait_for(lambda: listener.broken, 10, "the client to notice")
    heard = len(listener.ids)
    ticks.until_ticking()
    with command(up, "panel", "--port", "0") as (_, url):
        listener.panel = url
        wait_for(lambda: len(listener.ids) > heard + 20, 30, "the stream to go on")
        events = ticks.finishes()
        listener.join(30)
    assert listener.ended
    assert listener.ids == [event["seq"] for event in events]


def leader(up: Up) -> int | None:
    """The process whose observer leads."""
    pids = [row["pid"] for row in services(up, "observer") if row["info"].get("streaming")]
    return pids[-1] if len(pids) == 1 else None


def test_a_run_that_dies_with_the_leading_observer_is_reported(up: Up, tmp_path: Path):
    ticks = started(up, tmp_path)
    runner = pid_of(up, ticks.fid)
    with command(up, "observer") as (observer, _):
        with hanging(psutil.Process(up.process.pid)):
            # The lock is lost with its connection, and the one standing by does not stand still.
            query(
                up,
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                " AND granted AND pid IN (SELECT pid FROM pg_stat_activity"
                " WHERE application_name = 'kodosumi-observer')",
            )
            wait_for(
                lambda: any(
                    row["pid"] == observer.pid and row["info"].get("streaming")
                    for row in services(up, "observer")
                ),
                20,
                "the standalone observer to lead",
            )
        wait_for(lambda: leader(up) == observer.pid, 20, "up's observer to stand by")
        kill(observer)
        killed_at = now()
        os.kill(runner, signal.SIGKILL)
    events = ticks.ends_badly("CRASHED", killed_at)
    assert "SIGKILL" in next(e["payload"] for e in events if e["kind"] == "error")
    wait_for(lambda: leader(up) == up.process.pid, 20, "up's observer to lead")


@pytest.fixture(scope="module")
def process_pool(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A worker of Prefect's own type, with flows deployed on its pool."""
    up.command("prefect", "work-pool", "create", "--type", "process", "processes")
    up.command("python", str(FLOWS), "processes")
    folder = tmp_path_factory.mktemp("process-worker")
    with (folder / "log").open("wb") as log:
        worker = subprocess.Popen(
            [str(BIN / "prefect"), "worker", "start", "--pool", "processes"],
            env=up.environment | {"TMPDIR": str(folder)},
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(30)


@pytest.mark.usefixtures("process_pool")
def test_a_killed_process_of_a_process_pool_is_an_error(up: Up, tmp_path: Path):
    ours = Ticks(up, up.run("alone/process", folder=str(tmp_path)), tmp_path)
    other = tmp_path / "plain"
    other.mkdir()
    plain = Ticks(up, up.run("plain/process", folder=str(other)), other)
    for ticks in (ours, plain):
        ticks.until_ticking()
        ticks.until_recorded()
    killed_at = now()
    for ticks in (ours, plain):
        os.kill(pid_of(up, ticks.fid), signal.SIGKILL)
    for ticks in (ours, plain):
        events = ticks.ends_badly("CRASHED", killed_at)
        assert "Crashed" in events[-2]["payload"] or "-9" in events[-2]["payload"]


def test_cancelling_from_prefect_and_by_http_ends_runners(up: Up, tmp_path: Path):
    by_prefect = started(up, tmp_path / "prefect")
    by_http = started(up, tmp_path / "http")
    pids = [pid_of(up, ticks.fid) for ticks in (by_prefect, by_http)]
    cancelled_at = now()
    answer = httpx.post(f"{up.panel}/outputs/{by_http.fid}/cancel")
    assert answer.status_code == 202, answer.text
    up.command("prefect", "flow-run", "cancel", by_prefect.fid)
    for ticks in (by_http, by_prefect):
        events = ticks.ends_badly("CANCELLED", cancelled_at)
        assert "Cancelled" in events[-2]["payload"]
    for pid in pids:
        wait_for(lambda pid=pid: gone(pid), 20, "the Runner's process to end")


def test_a_drained_worker_ends_after_its_run_and_up_starts_the_next(up: Up, tmp_path: Path):
    ticks = started(up, tmp_path / "first")
    (worker,) = services(up, "worker")
    said = up.command("kodosumi-prefect", "drain", "--no-wait")
    assert "1 runs to go" in said
    ticks.until_ticking(50)
    assert not gone(worker["pid"])
    ticks.finishes()
    wait_for(lambda: gone(worker["pid"]), 30, "the worker to end")
    started(up, tmp_path / "next").finishes()


@pytest.mark.timeout(240)
def test_a_run_under_way_when_up_is_stopped_has_ended_at_the_next_up(tmp_path: Path):
    folder = tmp_path / "ticks"
    with running_up(tmp_path / "up", keep=True) as up:
        up.command("python", str(FLOWS))
        ticks = started(up, folder)
        runner = pid_of(up, ticks.fid)
        stopped_at = now()
    assert gone(runner)
    with running_up(tmp_path / "up") as again:
        came_back = time.monotonic()
        Ticks(again, ticks.fid, folder).ends_badly("CRASHED", stopped_at)
        assert time.monotonic() - came_back < 60
