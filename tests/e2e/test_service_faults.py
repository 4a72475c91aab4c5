"""Services that die or hang while runs are under way: runs go on, records are complete."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.e2e.running import BIN, FLOWS, REPOSITORY, Up, gone, pid_of, running_up, signed_in
from tests.e2e.ticks import Listener, Ticks, now
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


Begin = Callable[..., Ticks]


@pytest.fixture
def begin(up: Up, tmp_path: Path) -> Iterator[Begin]:
    """Start a run of a flow, and wait until all that emits in it does and is recorded."""
    begun: list[Ticks] = []

    def start(flow: str, *names: str, deployment: str = "test") -> Ticks:
        folder = tmp_path / f"run-{len(begun)}"
        folder.mkdir()
        fid = up.run(f"{flow}/{deployment}", folder=str(folder))
        begun.append(ticks := Ticks(up, fid, folder, *names))
        ticks.until_ticking()
        ticks.until_recorded()
        return ticks

    yield start
    for ticks in begun:
        ticks.stop()


def kill(process: "subprocess.Popen[str]") -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_spooler_costs_no_event(up: Up, begin: Begin):
    going_on, ending = begin("together", "flow", "task", "native"), begin("alone")
    (spooler,) = services(up, "spooler")
    os.kill(spooler["pid"], signal.SIGKILL)
    ending.stop()
    going_on.until_ticking()
    ending.finishes()
    going_on.until_recorded()
    events = going_on.finishes()
    assert gone(spooler["pid"])
    pids = {e["source"]["pid"] for e in events if "pid" in (e["source"] or {})}
    assert len(pids) == 3
    wait_for(
        lambda: {row["pid"] for row in services(up, "spooler")} - {spooler["pid"]},
        15,
        "the next Spooler to report itself",
    )


def test_a_killed_postgres_costs_no_event(up: Up, begin: Begin):
    going_on, ending = begin("together", "flow", "task", "native"), begin("alone")
    listener = Listener(up.client, going_on.fid)
    wait_for(lambda: len(listener.ids) > 50, 30, "the stream")
    before = address(up, "postgres")["pid"]
    os.kill(before, signal.SIGKILL)
    ending.stop()
    going_on.until_ticking()
    wait_for(lambda: address(up, "postgres")["pid"] != before, 30, "Postgres to be there again")
    ending.finishes()
    going_on.until_ticking()
    listener.got(going_on.finishes())


def test_a_killed_prefect_server_fails_no_run(up: Up, begin: Begin):
    going_on, ending = begin("alone"), begin("alone")
    before = address(up, "prefect")["pid"]
    for process in family(before):
        process.kill()
    ending.stop()
    going_on.until_ticking()
    going_on.until_recorded(5)  # nothing waits for Prefect

    def is_back() -> bool:
        recorded = up.data_dir / "run" / "prefect.json"
        return recorded.exists() and address(up, "prefect")["pid"] != before

    wait_for(is_back, 60, "Prefect to be there again")
    ending.finishes()
    going_on.finishes()


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("stopped")  # which takes its time during the outage
def test_a_prefect_that_hangs_for_a_minute_delays_no_event(up: Up, begin: Begin):
    going_on, ending_soon, ending_late = (begin("alone") for _ in range(3))
    with hanging(*family(address(up, "prefect")["pid"])):
        ends = time.monotonic() + OUTAGE
        ending_soon.stop()
        cancelled = up.client.post(f"/outputs/{uuid4()}/cancel")
        assert cancelled.status_code == 502, cancelled.text
        assert up.client.get(f"/outputs/tasks/{going_on.fid}").json()["complete"] is False
        assert up.client.get("/health").json()["prefect"]["status"] != "ok"
        while time.monotonic() < ends - 8:
            going_on.until_ticking()
            going_on.until_recorded(5)
        ending_late.stop()
        time.sleep(max(ends - time.monotonic(), 0))
    going_on.until_ticking()
    ending_late.finishes()
    ending_soon.finishes()
    going_on.finishes()


def test_a_client_resumes_at_the_next_panel_where_the_killed_one_stopped(up: Up, begin: Begin):
    ticks = begin("alone")
    with command(up, "panel", "--port", "0") as (panel, url):
        listener = Listener(signed_in(url), ticks.fid)
        wait_for(lambda: len(listener.ids) > 50, 30, "the stream")
        kill(panel)
    wait_for(lambda: listener.broken, 10, "the client to notice")
    heard = len(listener.ids)
    ticks.until_ticking()
    with command(up, "panel", "--port", "0") as (_, url):
        listener.client = signed_in(url)
        wait_for(lambda: len(listener.ids) > heard + 20, 30, "the stream to go on")
        listener.got(ticks.finishes())


def leader(up: Up) -> int | None:
    """The process whose observer leads."""
    pids = [row["pid"] for row in services(up, "observer") if row["info"].get("streaming")]
    return pids[-1] if len(pids) == 1 else None


def test_a_run_that_dies_with_the_leading_observer_is_reported(up: Up, begin: Begin):
    ticks = begin("alone")
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
        worker.kill()  # Prefect's own waits long for what was killed under it
        worker.wait(30)


@pytest.mark.usefixtures("process_pool")
def test_a_killed_process_of_a_process_pool_is_an_error(up: Up, begin: Begin):
    runs = [begin(flow, deployment="process") for flow in ("alone", "plain")]
    killed_at = now()
    for ticks in runs:
        os.kill(pid_of(up, ticks.fid), signal.SIGKILL)
    for ticks in runs:
        assert "-9" in ticks.ends_badly("CRASHED", killed_at)[-2]["payload"]


def test_cancelling_from_prefect_and_by_http_ends_runners(up: Up, begin: Begin):
    by_prefect, by_http = begin("alone"), begin("alone")
    pids = [pid_of(up, ticks.fid) for ticks in (by_prefect, by_http)]
    cancelled_at = now()
    answer = up.client.post(f"/outputs/{by_http.fid}/cancel")
    assert answer.status_code == 202, answer.text
    up.command("prefect", "flow-run", "cancel", by_prefect.fid)
    for ticks in (by_http, by_prefect):
        assert "Cancelled" in ticks.ends_badly("CANCELLED", cancelled_at)[-2]["payload"]
    for pid in pids:
        wait_for(lambda pid=pid: gone(pid), 20, "the Runner's process to end")


def test_a_drained_worker_ends_after_its_run_and_up_starts_the_next(up: Up, begin: Begin):
    ticks = begin("alone")
    (worker,) = services(up, "worker")
    assert "1 runs left" in up.command("kodosumi-prefect", "drain", "--no-wait")
    ticks.until_ticking(50)
    assert not gone(worker["pid"])
    ticks.finishes()
    wait_for(lambda: gone(worker["pid"]), 30, "the worker to end")
    begin("alone").finishes()


class Stopped(NamedTuple):
    """What a stack left that was stopped while a run was under way."""

    data_dir: Path
    folder: Path
    fid: str
    at: float


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Future[Stopped]"]:
    """A stack of its own, started, stopped with SIGTERM in mid-run, in a thread."""
    data_dir, folder = tmp_path_factory.mktemp("stopped"), tmp_path_factory.mktemp("ticks")

    def live() -> Stopped:
        with running_up(data_dir, keep=True) as up:
            up.command("python", str(FLOWS))
            ticks = Ticks(up, up.run("alone/test", folder=str(folder)), folder)
            ticks.until_ticking()
            ticks.until_recorded()
            runner = pid_of(up, ticks.fid)
            stopped_at = now()
        assert gone(runner)
        return Stopped(data_dir, folder, ticks.fid, stopped_at)

    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(live)
    EmbeddedPostgres(data_dir).destroy()


@pytest.mark.timeout(240)
def test_a_run_under_way_when_up_is_stopped_has_ended_at_the_next_up(stopped: "Future[Stopped]"):
    left = stopped.result(120)
    with running_up(left.data_dir, keep=True) as again:
        Ticks(again, left.fid, left.folder).ends_badly("CRASHED", left.at)
