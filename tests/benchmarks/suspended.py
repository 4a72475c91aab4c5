"""From an answer to the flow's next line, in process and suspended; what 10,000 questions cost.

`python -m tests.benchmarks suspended`; it takes about five minutes.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from tests.answering import locks
from tests.benchmarks.harness import connect, progress, quantile, report
from tests.benchmarks.starts import until_warm
from tests.benchmarks.suspended_rows import copy_suspended
from tests.e2e.running import Up, running_up
from tests.waiting import wait_for

ROUNDS = 15
LEGS = 10  # rounds of a run that is suspended
READING = 2.0  # seconds that people take to answer; Prefect shows by then that the run waits
OPEN = 10_000
REQUESTS = 60
QUIET = 60.0  # seconds: what is done once a minute is done in it
SETTLES = 20.0  # seconds
SPOOLER = "ray::SpoolerActor"  # the title of its process
FLOW = """
import time
from kodosumi_prefect import Tracer, flow

@flow
def asks(rounds: int, suspend: bool, tracer: Tracer) -> int:
    for number in range(rounds):
        tracer.lock_sync("approve", suspend=suspend)
        tracer.debug(f"behind {number} {time.time():.6f}")
    return rounds
"""
DEPLOY = """
import sys
from prefect import flow
found = flow.from_source(sys.argv[1], "asking.py:asks")
found.deploy(name="bench", work_pool_name="kodosumi", print_next_steps=False)
"""


def run() -> None:
    with tempfile.TemporaryDirectory() as folder, running_up(Path(folder)) as up:
        url = json.loads((Path(folder) / "run" / "postgres.json").read_text())["url"]
        (Path(folder) / "asking.py").write_text(FLOW)
        up.command("python", "-c", DEPLOY, folder)
        progress(f"{ROUNDS} answers to a run that waits in its process")
        in_process = answered(up, url, ROUNDS, suspend=False)
        bare = bare_round_trips(url)
        progress(f"{LEGS} answers to a run that is suspended")
        suspended = answered(up, url, LEGS, suspend=True)
        fid = up.run("asks/bench", rounds=1, suspend=True)
        wait_for(lambda: rests(url, fid), 120, "the run to be suspended", every=0.1)
        progress(f"{SETTLES + QUIET:.0f} s without answers")
        time.sleep(SETTLES)
        idle = processor(up)
        empty = [seconds(up, "/waiting") for _ in range(REQUESTS)]
        progress(f"{SETTLES + QUIET:.0f} s with {OPEN:,} suspended runs")
        copy_suspended(url, Path(folder) / "prefect" / "prefect.db", fid, OPEN)
        time.sleep(SETTLES)
        held = processor(up)
        pages = [seconds(up, "/waiting") for _ in range(REQUESTS)]
    figures = {
        "in process, p50 (at most 20 ms)": f"{quantile(in_process, 0.5) * 1e3:7.1f} ms",
        "in process, p95": f"{quantile(in_process, 0.95) * 1e3:7.1f} ms",
        "in process, longest": f"{quantile(in_process, 1.0) * 1e3:7.1f} ms",
        "an UPDATE and a NOTIFY alone, p50": f"{quantile(bare, 0.5) * 1e3:7.1f} ms",
        "suspended, with a warm Runner, p50 (at most 1.5 s)": f"{quantile(suspended, 0.5):7.2f} s",
        "suspended, p95": f"{quantile(suspended, 0.95):7.2f} s",
        "suspended, longest": f"{quantile(suspended, 1.0):7.2f} s",
    }
    report("from an answer to the flow's next line", figures)
    ratio = quantile(pages, 0.5) / quantile(empty, 0.5)
    figures = {
        "/waiting, p95 (at most 100 ms)": f"{quantile(pages, 0.95) * 1e3:7.1f} ms",
        "/waiting, p50 by that without a question": f"{ratio:7.2f}",
    }
    for name in held:
        before, after = idle.get(name, 0.0), held[name]
        label = f"processor of {name} in {QUIET:.0f} s, one and {OPEN:,}"
        figures[label] = f"{before:5.2f} s  {after:5.2f} s"
    report(f"{OPEN:,} suspended questions", figures)


def answered(up: Up, url: str, rounds: int, *, suspend: bool) -> list[float]:
    """Seconds from each answer to the line behind its question."""
    fid = up.run("asks/bench", rounds=rounds, suspend=suspend)
    given = []
    for _ in range(rounds):
        (lock,) = wait_for(lambda: locks(url, fid), 180, "its question")
        if suspend:
            wait_for(lambda: is_suspended(up, fid), 120, "the run to be suspended", every=0.1)
            until_warm(url, "kodosumi")
        else:
            time.sleep(READING)
        given.append(time.time())
        up.client.post(f"/lock/{fid}/{lock['lid']}", json={}).raise_for_status()
        time.sleep(0.2)  # not to ask the panel meanwhile
        wait_for(lambda: len(behind(up, fid)) >= len(given), 120, "its next line", every=0.2)
    return [after - before for before, after in zip(given, behind(up, fid), strict=True)]


def behind(up: Up, fid: str) -> list[float]:
    """When the line behind each question was reached last."""
    said = [e["payload"].split() for e in up.events(fid, kinds="debug")]
    reached: dict[str, float] = {}
    for words in said:
        if words[0] == "behind":
            reached.setdefault(words[1], float(words[2]))
    return list(reached.values())


def is_suspended(up: Up, fid: str) -> bool:
    state = up.prefect_state(fid)
    return bool(state["state_details"]["pause_reschedule"])


def rests(url: str, fid: str) -> bool:
    """Whether our row says that the run is suspended, as Prefect's says."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT suspended_leg IS NOT NULL AND state_type = 'PAUSED'"
            " FROM kodosumi.execution WHERE fid = %s",
            (fid,),
        ).fetchone()
    return found is not None and bool(found[0])


def bare_round_trips(url: str) -> list[float]:
    """Seconds of a commit and a notification, on a connection that is there."""
    took = []
    with connect(url) as connection:
        for _ in range(REQUESTS):
            began = time.perf_counter()
            connection.execute("UPDATE kodosumi.service SET seen_at = seen_at")
            connection.execute("SELECT pg_notify('bare', '')")
            took.append(time.perf_counter() - began)
    return took


def seconds(up: Up, path: str) -> float:
    began = time.perf_counter()
    up.client.get(path).raise_for_status()
    return time.perf_counter() - began


@contextmanager
def measured(processes: dict[int, str], found: dict[str, float]) -> Iterator[None]:
    before = {pid: spent(pid) for pid in processes}
    yield
    for pid, name in processes.items():
        found[name] = found.get(name, 0.0) + max(spent(pid) - before[pid], 0.0)


def spent(pid: int) -> float:
    """Processor seconds of a process; none once it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def processor(up: Up) -> dict[str, float]:
    """Processor seconds of what `up` runs, in a quiet time."""
    records = json.loads((up.data_dir / "run" / "children.json").read_text())["records"]
    processes = {record["pid"]: record["name"] for record in records}
    processes[up.process.pid] = "up (panel and observer)"
    for pid, name in list(processes.items()):
        if pid != up.process.pid:
            for child in psutil.Process(pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    is_spooler = SPOOLER in " ".join(child.cmdline())
                    processes[child.pid] = "the Spooler" if is_spooler else name
    found: dict[str, float] = {}
    with measured(processes, found):
        time.sleep(QUIET)
    return found
