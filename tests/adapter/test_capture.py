"""What a run prints and logs is recorded once, and still goes where it went."""

import asyncio
import contextvars
import io
import logging
import logging.config
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import prefect
import pytest
from prefect import task
from prefect.flows import Flow
from prefect.task_runners import ThreadPoolTaskRunner

import kodosumi_prefect
from kodosumi_prefect import Tracer, flow
from kodosumi_prefect._compat.ray import surround_worker_logs
from kodosumi_prefect.adapter import capture
from kodosumi_prefect.scope import Scope
from kodosumi_prefect.settings import use_settings
from tests.samples import on_children
from tests.services import SAMPLES, Place


@pytest.mark.parametrize("log_prints", [False, True], ids=["print", "log_prints"])
def test_each_line_is_recorded_once_and_reaches_the_console_once(
    place: Place, log_prints: bool
) -> None:
    done = place.call("script_talk.py", *(["log"] if log_prints else []))
    assert done.returncode == 0, done.stderr
    fid = next(line for line in done.stdout.splitlines() if line.startswith("fid")).split()[1]
    recorded = place.recorded(fid)
    assert [item for item in recorded.told if item[0] not in ("status", "final")] == [
        ("stdout", "by-print"),
        # Prefect's print with log_prints does not tell where it would have gone.
        ("stdout" if log_prints else "stderr", "by-stderr"),
        ("stdout", "by-write"),
        ("debug", "by-logging"),
        ("debug", "by-run-logger"),
    ]
    console = Counter(
        word
        for line in (done.stdout + done.stderr).splitlines()
        for word in line.split()
        if word.startswith(("by-", "outside-"))
    )
    once = ("by-print", "by-stderr", "by-write", "by-logging", "by-run-logger")
    assert {word: console[word] for word in once} == dict.fromkeys(once, 1)
    assert console["outside-before"] == console["outside-after"] == 1
    assert console["outside-logging"] == 1
    assert console["by-nothing"] == 0
    assert not any("outside" in event.payload for event in recorded.events)


def test_what_threads_still_print_does_not_disturb_who_ends(place: Place) -> None:
    threads, words = 6, 2000

    @flow
    def ends_often(tracer: Tracer) -> None:
        def chat(number: int) -> None:
            for turn in range(words):
                sys.stdout.write(f"{number}.{turn}" + (" " if turn % 200 else "\n"))

        chatting = [
            threading.Thread(target=contextvars.copy_context().run, args=(chat, number))
            for number in range(threads)
        ]
        for thread in chatting:
            thread.start()
        while any(thread.is_alive() for thread in chatting):
            capture.finish(tracer.fid)

    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        recorded = place.run(ends_often)
    finally:
        sys.setswitchinterval(often)
    assert recorded.row["error"] is None
    said = Counter(word for text in recorded.of("stdout") for word in text.split())
    assert said == Counter(f"{n}.{turn}" for n in range(threads) for turn in range(words))


def test_nothing_stays_in_place_of_the_streams(place: Place) -> None:
    @flow
    def prints() -> None:
        print("inside")

    before = sys.stdout, sys.stderr, logging.getLogger().handlers[:]
    place.run(prints)
    assert (sys.stdout, sys.stderr, logging.getLogger().handlers) == before


def test_a_progress_bar_is_one_line(place: Place) -> None:
    @flow
    def bar() -> None:
        for percent in range(0, 101, 10):
            sys.stderr.write(f"\r{percent}%")
        sys.stderr.write("\n")
        sys.stdout.write("\rhalf")
        sys.stdout.write("\rwhole")

    recorded = place.run(bar)
    assert recorded.of("stderr") == ["100%"]
    assert recorded.of("stdout") == ["whole"]


def test_pieces_of_a_line_are_one_event(place: Place) -> None:
    @flow
    def pieces() -> None:
        print("one", end=" ")
        print("two", end="")
        print(" three\nfour")
        sys.stdout.write("no newline")

    recorded = place.run(pieces)
    assert "\n".join(recorded.of("stdout")) == "one two three\nfour\nno newline"
    assert recorded.told[-3:] == [
        ("stdout", "no newline"),
        ("final", '{"TypeError": "None"}'),
        ("status", "finished"),
    ]


def test_what_postgres_cannot_store_is_printed_readable(place: Place) -> None:
    @flow
    def odd(tracer: Tracer) -> str:
        logging.getLogger("author").warning("nul \x00 surrogate \udc80")
        tracer.debug("nul \x00 surrogate \udc80")
        return "nul \x00 surrogate \udc80"

    recorded = place.run(odd)
    assert recorded.of("debug") == ["nul ␀ surrogate \ufffd"] * 2
    assert recorded.final == {"str": "nul ␀ surrogate \ufffd"}


def test_ten_megabytes_are_printed_whole(place: Place) -> None:
    @flow
    def huge(tracer: Tracer) -> int:
        text = "x" * 10_000_000
        tracer.debug(text)
        sys.stdout.write(text + "\n")
        return len(text)

    recorded = place.run(huge)
    assert [len(text) for text in recorded.of("debug")] == [10_000_000]
    assert sum(len(text) for text in recorded.of("stdout")) == 10_000_000
    assert recorded.final == {"int": 10_000_000}


def test_tasks_of_a_loop_and_threads_belong_to_their_run(place: Place) -> None:
    @flow
    def busy(tracer: Tracer) -> None:
        async def say(word: str) -> None:
            await asyncio.sleep(0)
            print(word)

        async def both() -> None:
            await asyncio.gather(say("task 1"), say("task 2"))

        asyncio.run(both())
        context = contextvars.copy_context()
        for target in (lambda: print("raw thread"), lambda: context.run(print, "context thread")):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    printed = place.run(busy).of("stdout")
    assert sorted(printed) == ["context thread", "raw thread", "task 1", "task 2"]


async def test_what_async_flows_say_at_once_is_kept_apart(place: Place) -> None:
    inside = asyncio.Barrier(2)

    @flow
    async def one(name: str) -> None:
        await inside.wait()
        for number in range(20):
            print(f"{name} {number}")
            await asyncio.sleep(0)

    recorded = await asyncio.gather(place.run_async(one, "a"), place.run_async(one, "b"))
    for name, run in zip("ab", recorded, strict=True):
        assert run.of("stdout") == [f"{name} {number}" for number in range(20)]


def test_two_flows_in_threads_are_kept_apart(place: Place) -> None:
    inside = threading.Barrier(2, timeout=20)

    @task
    def work(name: str) -> None:
        print(f"{name} task")

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def one(name: str) -> str:
        inside.wait()
        for number in range(50):
            print(f"{name} {number}")
            sys.stdout.write(f"{name} part ")
        print()
        logging.getLogger("author").warning(f"{name} logs")
        work.submit(name).result()
        kodosumi_prefect.tracer.debug(f"{name} traces")
        inside.wait()
        return name

    found = {}

    def run(name: str) -> None:
        found[name] = place.run(one, name)

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(run, name)) for name in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in "ab":
        said = "\n".join(found[name].of("stdout", "debug", "stderr"))
        other = {"a": "b", "b": "a"}[name]
        assert f"{other} " not in said
        assert f"{name} 49" in said
        assert f"{name} task" in said
        assert f"{name} logs" in said
        assert f"{name} traces" in said
        assert found[name].final == {"str": name}


def test_a_plain_flow_beside_ours_is_not_taken_for_it(place: Place) -> None:
    inside = threading.Barrier(2, timeout=20)
    found = {}

    @flow
    def ours() -> None:
        inside.wait()
        inside.wait()

    @prefect.flow
    def plain_beside() -> None:
        inside.wait()
        print("printed by the plain one")
        logging.getLogger("author").warning("logged by the plain one")
        kodosumi_prefect.tracer.debug("traced by the plain one")
        print("printed after that")
        inside.wait()

    def run(made: Flow) -> None:
        found[made.name] = place.run(made)

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(run, made))
        for made in (ours, plain_beside)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["ours"].of("stdout", "stderr", "debug") == []
    plain = found["plain-beside"]
    assert plain.of("stdout", "stderr", "debug") == [
        "traced by the plain one",
        "printed after that",
    ]


def test_a_plain_subflow_prints_into_our_stream(place: Place) -> None:
    @prefect.flow
    def plain_child() -> None:
        print("printed below")
        kodosumi_prefect.tracer.debug("traced below")

    @flow
    def ours_above() -> None:
        plain_child()

    recorded = place.run(ours_above)
    assert recorded.of("stdout", "debug") == ["printed below", "traced below"]


def test_capturing_can_be_turned_off(place: Place) -> None:
    @flow
    def uncaptured(tracer: Tracer) -> None:
        print("printed")
        logging.getLogger("author").warning("logged")
        tracer.debug("traced")

    with use_settings(place.settings.model_copy(update={"capture": False})):
        recorded = place.run(uncaptured)
    assert recorded.of("stdout", "stderr", "debug") == ["traced"]


@pytest.fixture
def fork_server() -> Iterator[None]:
    """What the fork server of a test started with ends with it."""
    yield
    forkserver._forkserver._stop()


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_what_child_processes_say_is_recorded_to_the_end(
    place: Place, fork_server: None, method: str
) -> None:
    @flow
    def parent() -> list[str]:
        sys.stdout.write("the parent's own ")
        done = on_children.talks_in_children(method)
        print("line")
        return done

    recorded = place.run(parent)
    assert recorded.row["error"] is None
    said = recorded.of("stdout", "stderr", "debug")
    lines = sorted(line for text in said for line in text.splitlines())
    assert lines == sorted([*on_children.SAID_IN_CHILDREN, "the parent's own line"])
    pids = {e.source["pid"] for e in recorded.events if e.source and "child" in e.payload}
    assert len(pids) == on_children.CHILDREN


def test_a_flow_runs_where_stdout_and_stderr_are_closed(place: Place, tmp_path: Path) -> None:
    script = [sys.executable, str(SAMPLES / "script_configures.py"), str(tmp_path / "fid")]
    subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *script],
        env=place.environment(),
        cwd=place.settings.data_dir,
        check=True,
        timeout=60,
    )
    recorded = place.recorded((tmp_path / "fid").read_text())
    assert recorded.row["status"] == "finished"
    assert recorded.of("stdout", "stderr", "debug") == ["configured", "printed", "to stderr"]


def test_what_ray_prints_of_its_workers_is_nobodys_in_whichever_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who disconnects prints what Ray had held back as repetitions; the workers recorded it."""
    worker = pytest.importorskip("ray._private.worker")
    monkeypatch.setattr(worker, "print_worker_logs", worker.print_worker_logs)
    scope = Scope("00000000-0000-4000-8000-000000000001", 1)
    monkeypatch.setattr(capture, "owners", [lambda: scope])
    owners = []

    class Screen(io.StringIO):
        def write(self, text: str) -> int:
            owners.append(capture.owner())
            return super().write(text)

    screen = Screen()
    surround_worker_logs(capture.said_elsewhere)
    worker.print_worker_logs({"pid": 7, "ip": "", "lines": ["part 2"], "is_err": False}, screen)
    assert "part 2" in screen.getvalue()
    assert set(owners) == {None}
    assert capture.owner() is scope
