"""The process of a run and its supervisor, without Ray: how it begins, ends, and is followed up."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from kodosumi_prefect.process.environment import own_environment
from kodosumi_prefect.process.nursery import NoNurseryError, Nursery
from kodosumi_prefect.process.order import After, Order, Outcome
from kodosumi_prefect.process.supervision import Supervision
from tests.faults.cluster import gone
from tests.runner.orders import NOWHERE, ordered
from tests.services import Place
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """What processes are forked from; it ends soon after its connection."""
    made = Nursery.reach(own_environment(), f"tests-{uuid4()}")
    yield made
    made.close()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def run_of(order: Order) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(order.flow_run_id))


def noted(notes: Path, beginning: str) -> list[str]:
    if not notes.exists():
        return []
    return [line for line in notes.read_text().splitlines() if line.startswith(beginning)]


def seen(order: Order, nursery: Nursery) -> dict[str, Any]:
    """What ``looks_around`` saw."""
    assert Supervision(order, nursery).run() == Outcome(0)
    state = run_of(order).state
    assert state is not None and state.is_completed(), state
    with get_client(sync_client=True):
        found: dict[str, Any] = state.result(_sync=True)  # type: ignore[call-overload]
    return found


def test_an_exit_is_a_crash_that_tells_its_code_and_its_hooks_run_once_elsewhere(
    place: Place, nursery: Nursery, notes: Path
) -> None:
    order = ordered(place, "exits", {"notes": str(notes)})
    assert Supervision(order, nursery).run() == Outcome(0)
    state = run_of(order).state
    assert state is not None and state.is_crashed()
    assert "Process exited with status code: 7" in (state.message or "")
    (hook,) = noted(notes, "hook")
    assert hook.startswith("hook Crashed ")
    assert hook.split()[-1] != noted(notes, "pid")[0].split()[-1]
    found = place.until_ended(order.flow_run_id)
    assert "status code: 7" in found.row["error"]


def test_hooks_that_somebody_claimed_are_not_run_again(
    place: Place, nursery: Nursery, notes: Path
) -> None:
    order = ordered(place, "is_killed", {"notes": str(notes)})
    with psycopg.connect(place.database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO kodosumi.hooks_run (fid, attempt) VALUES (%s, 1)", (order.flow_run_id,)
        )
    Supervision(order, nursery).run()
    state = run_of(order).state
    assert state is not None and state.is_crashed()
    assert "SIGKILL" in (state.message or "")
    assert noted(notes, "hook") == []


def test_another_runner_sees_to_a_run_whose_supervisor_is_gone(
    place: Place, nursery: Nursery, notes: Path
) -> None:
    order = ordered(place, "exits", {"notes": str(notes)})
    after = After(None, "The run's Runner died: its node was lost")
    assert Supervision(order._replace(after=after), nursery).run() == Outcome(0)
    state = run_of(order).state
    assert state is not None and state.is_crashed()
    assert state.message == "The run's Runner died: its node was lost"
    assert noted(notes, "pid") == []
    assert len(noted(notes, "hook Crashed")) == 1


def test_hooks_of_a_cancelled_run_that_is_killed_run_before_it_is_cancelled(
    place: Place, nursery: Nursery, notes: Path
) -> None:
    order = ordered(place, "ignores", {"notes": str(notes)})
    supervision = Supervision(order, nursery)
    outcomes: list[Outcome] = []
    running = threading.Thread(target=lambda: outcomes.append(supervision.run()))
    running.start()
    wait_for(lambda: noted(notes, "pid"), 120, "the flow's code")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(order.flow_run_id), Cancelling(), force=True)
    assert supervision.end("killed after 3 s of grace")
    assert not supervision.end("again"), "it was ended already"
    running.join(120)
    assert outcomes == [Outcome(0)]
    state = run_of(order).state
    assert state is not None and state.is_cancelled()
    assert state.message == "Flow run was cancelled; killed after 3 s of grace."
    assert len(noted(notes, "hook Cancelling")) == 1


def cancelled(place: Place, nursery: Nursery, notes: Path, name: str) -> Order:
    """A run of a flow that was cancelled when its code had begun, and has ended by it."""
    order = ordered(place, name, {"notes": str(notes)})
    running = threading.Thread(target=Supervision(order, nursery).run)
    running.start()
    wait_for(lambda: noted(notes, "pid"), 120, "the flow's code")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(order.flow_run_id), Cancelling(), force=True)
    running.join(30)
    assert not running.is_alive(), "the cancellation did not arrive"
    state = run_of(order).state
    assert state is not None and state.is_cancelled(), state
    assert state.message == "Flow run was cancelled."
    (pid,) = noted(notes, "pid")
    assert noted(notes, "hook") == [f"hook Cancelling {pid.split()[-1]}"], "in the run's process"
    return order


@pytest.mark.parametrize("name", ["loses_signals", "loses_signals_async"])
def test_a_cancel_that_got_lost_in_somebodys_code_is_delivered_again(
    place: Place, nursery: Nursery, notes: Path, name: str
) -> None:
    cancelled(place, nursery, notes, name)
    assert noted(notes, "lost")


@pytest.mark.parametrize("name", ["fails_by_signals", "fails_by_signals_async", "exits_by_signals"])
def test_an_error_that_is_made_of_a_cancel_is_one(
    place: Place, nursery: Nursery, notes: Path, name: str
) -> None:
    order = cancelled(place, nursery, notes, name)
    assert place.recorded(order.flow_run_id).of("error") == [], "who cancels tells of it"


@pytest.mark.parametrize("name", ["takes_time_to_end", "takes_time_to_end_async"])
def test_a_cancel_is_delivered_once_to_code_that_is_about_to_end(
    place: Place, nursery: Nursery, notes: Path, name: str
) -> None:
    cancelled(place, nursery, notes, name)
    assert noted(notes, "cleaned up")


@pytest.mark.parametrize("forked", [True, False])
def test_a_task_in_a_thread_does_not_keep_its_flow_from_hearing_the_cancel(
    place: Place, nursery: Nursery, notes: Path, forked: bool
) -> None:
    order = ordered(place, "waits_for_a_thread", {"notes": str(notes)}, exit_grace=0.5)

    def run() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # as in Ray's threads
        Supervision(order, nursery if forked else None).run()

    running = threading.Thread(target=run)
    running.start()
    wait_for(lambda: noted(notes, "pid"), 120, "the task's code")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(order.flow_run_id), Cancelling(), force=True)
    running.join(120)
    state = run_of(order).state
    assert state is not None and state.is_cancelled()
    (pid,) = noted(notes, "pid")
    assert noted(notes, "hook") == [f"hook Cancelling {pid.split()[-1]}"], "in the run's process"


def test_threads_and_exit_functions_run_to_their_end(
    place: Place, nursery: Nursery, notes: Path
) -> None:
    order = ordered(place, "ends_late", {"notes": str(notes), "seconds": 0.5})
    assert Supervision(order, nursery).run() == Outcome(0)
    assert notes.read_text().splitlines() == ["thread ended", "atexit called"]


def test_what_does_not_end_is_cut_off_and_named(
    place: Place, nursery: Nursery, notes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parameters = {"notes": str(notes), "seconds": 300}
    order = ordered(place, "ends_late", parameters, exit_grace=0.5)
    assert Supervision(order, nursery).run() == Outcome(0)
    assert not notes.exists()
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "did not end" in line]
    assert "within 0.5 s" in line and "lingering" in line and order.flow_run_id in line


def test_a_run_sees_nothing_of_another_that_was_forked_from_the_same_process(
    place: Place, nursery: Nursery
) -> None:
    folder = place.settings.data_dir / "results"
    stored = {"PREFECT_LOCAL_STORAGE_PATH": str(folder), "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "1"}
    first, second = (
        seen(
            ordered(
                place,
                "looks_around",
                {"secret": word},
                environment={**stored, "OF_THIS_RUN": word, "TZ": zone},
            ),
            nursery,
        )
        for word, zone in (("one", "Asia/Tokyo"), ("two", "America/New_York"))
    )
    assert second["pid"] != first["pid"]
    assert second["folder"] != first["folder"]
    assert not Path(first["folder"]).exists()
    assert second["files"] == ["left"]
    assert second["secrets"] == []
    assert second["variables"] == {
        "LEFT_BY_A_RUN": "two",
        "OF_THIS_RUN": "two",
        "TZ": "America/New_York",
    }
    assert (first["zone"], second["zone"]) == ("JST", "EST")
    assert second["group"]
    assert not [name for name in second["descriptors"] if "kodosumi-nursery" in name]
    sockets = [name for name in second["descriptors"] if name.startswith("socket:")]
    assert not {*sockets} & {*first["descriptors"]}


def test_variables_that_matter_at_the_start_are_there_at_the_start(
    place: Place, nursery: Nursery
) -> None:
    folder = place.settings.data_dir / "results"
    variables = {
        "PREFECT_LOCAL_STORAGE_PATH": str(folder),
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "1",
        "PYTHONOPTIMIZE": "1",
    }
    order = ordered(place, "looks_around", {"secret": "x"}, environment=variables)
    with pytest.raises(NoNurseryError, match="matter at its start"):
        nursery.bear(own_environment() | variables, Path(), None, NOWHERE)  # type: ignore[arg-type]
    assert seen(order, nursery)["optimize"] is False


def test_what_is_forked_from_is_at_no_work_and_ends_when_nobody_needs_it() -> None:
    nursery = Nursery.reach(own_environment(), f"tests-{uuid4()}")
    pid = nursery.pid
    assert len([*Path(f"/proc/{pid}/task").iterdir()]) == 1, "threads do not survive a fork"
    held = [entry for entry in Path(f"/proc/{pid}/fd").iterdir() if int(entry.name) > 2]
    # Its sockets, and what it waits for them with.
    assert {str(entry.readlink()).partition(":")[0] for entry in held} == {"socket", "anon_inode"}
    libraries = Path(f"/proc/{pid}/maps").read_text()
    assert "_raylet" not in libraries, "it has imported Ray"
    nursery.close()
    wait_for(lambda: gone(pid), 40, "the end of the nursery")


SUPERVISES = """
import pickle, sys
from kodosumi_prefect.process.environment import own_environment
from kodosumi_prefect.process.nursery import Nursery
from kodosumi_prefect.process.supervision import Supervision
order, place = pickle.load(sys.stdin.buffer)
nursery = Nursery.reach(own_environment(), place) if place else None
assert not {"prefect", "psycopg", "pydantic", "kodosumi_prefect.settings"} & {*sys.modules}
Supervision(order, nursery).run()
"""


@pytest.mark.parametrize("forked", [True, False])
@pytest.mark.parametrize("name", ["ignores", "holds_everything"])
def test_a_run_ends_with_its_supervisor(place: Place, notes: Path, name: str, forked: bool) -> None:
    order = ordered(place, name, {"notes": str(notes)})
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISES], stdin=subprocess.PIPE)
    assert supervisor.stdin is not None
    pickle.dump((order, f"tests-{uuid4()}" if forked else None), supervisor.stdin)
    supervisor.stdin.close()
    try:
        (line,) = wait_for(lambda: noted(notes, "pid"), 120, "the flow's code")
        pid = int(line.split()[-1])
        assert (os.getpgid(pid), os.getsid(pid)) == (pid, pid)
        supervisor.send_signal(signal.SIGKILL)
        wait_for(lambda: gone(pid), 30, "the end of the run's process")
    finally:
        supervisor.kill()
        supervisor.wait()
