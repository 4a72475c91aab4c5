"""What Postgres knows of tasks in other processes, and who may begin, wait and go on when."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.suspension import apart
from kodosumi_prefect.suspension.apart import Apart, begun, end, hold, release
from kodosumi_prefect.suspension.calls import Attempt, Call
from kodosumi_prefect.suspension.keeping import Row, keeper
from kodosumi_prefect.suspension.outcomes import VALUE
from kodosumi_prefect.suspension.under_way import UnderWay
from tests.waiting import wait_for


@pytest.fixture
def attempt(settings: Settings) -> Attempt:
    """A leg of an execution that is recorded."""
    fid = str(uuid4())
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute(
            "INSERT INTO kodosumi.execution (fid, status) VALUES (%s, 'running')", [fid]
        )
    return Attempt(fid, 1, 0)


def call(attempt: Attempt, ordinal: int, place: str = "") -> Call:
    return Call(attempt, place, "task:approve", ordinal, f"approve {ordinal}")


def at_work(attempt: Attempt, *calls: Call) -> list[Apart]:
    tasks = [Apart(one) for one in calls]
    for one in tasks:
        assert one.begin() is None
    wait_for(lambda: len(begun(attempt)) >= len(calls))
    return tasks


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    returned: list[Any] = []
    thread = threading.Thread(target=lambda: returned.append(function()), daemon=True)
    thread.start()
    return thread, returned


def ignore(_: object) -> None:
    """Nobody waits here for the end of the leg."""


def test_a_leg_is_held_only_if_nothing_is_at_work(attempt: Attempt) -> None:
    one, two = at_work(attempt, call(attempt, 0), call(attempt, 1))
    paths = {one.call.path, two.call.path}
    one.park(["a lock"], ignore)
    assert hold(attempt, paths) == ["approve 1"]
    release(attempt)
    two.park(["another"], ignore)
    assert hold(attempt, paths) == []
    assert hold(attempt, {one.call.path}) == []


def test_what_a_lost_process_left_keeps_nothing_and_what_is_nested_does(attempt: Attempt) -> None:
    outer = call(attempt, 0)
    around, _ = at_work(attempt, outer, call(attempt, 0, outer.path))
    around.park(["a lock"], ignore)
    assert hold(attempt, {outer.path}) == ["approve 0"]
    assert hold(attempt, {call(attempt, 7).path}) == []


def test_who_is_answered_while_the_leg_ends_goes_on_or_does_not(attempt: Attempt) -> None:
    (task,) = at_work(attempt, call(attempt, 0))
    task.park(["a lock"], ignore)
    assert hold(attempt, {task.call.path}) == []
    thread, returned = in_thread(task.go_on)
    thread.join(2 * apart.UNDECIDED)
    assert returned == []
    release(attempt)
    thread.join(30)
    assert returned == [None]
    assert not task.parked

    # Held as it asks to go on, and released before it asks why it may not.
    original, asked = apart.keeper(apart.get_settings()).patiently, []

    def released(query: str, values: dict[str, Any]) -> Any:
        rows = original(query, values)
        if not asked.append(query) and len(asked) == 1:
            original("release_apart", values)
        return rows

    task.park(["a lock"], ignore)
    assert hold(attempt, {task.call.path}) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apart.keeper(apart.get_settings()), "patiently", released)
        assert task.go_on() is None

    heard: list[BaseException] = []
    task.park(["a lock"], heard.append)
    assert hold(attempt, {task.call.path}) == []
    end(attempt)
    assert task.go_on() is not None
    wait_for(lambda: heard)


def test_what_has_not_begun_begins_in_the_next_leg(attempt: Attempt) -> None:
    queued = call(attempt, 0)
    keeper(apart.get_settings()).keep(Row(queued, None, None))
    keeper(apart.get_settings()).settle()
    assert hold(attempt, {queued.path}) == []
    zombie = Apart(queued)
    thread, returned = in_thread(zombie.begin)
    again = queued._replace(attempt=attempt._replace(leg=1))
    at_work(again.attempt, again)
    thread.join(30)
    assert returned[0] is not None, "its leg is over"


def test_a_task_whose_process_died_after_its_end_returns_what_was_kept(attempt: Attempt) -> None:
    (task,) = at_work(attempt, call(attempt, 0))
    keeper(apart.get_settings()).keep(Row(task.call, VALUE, b"kept"))
    keeper(apart.get_settings()).keep(Row(task.call, None, None))
    keeper(apart.get_settings()).settle()
    assert keeper(apart.get_settings()).result(task.call) == (VALUE, b"kept")
    retried = Apart(task.call)
    assert retried.begin() is None
    assert retried.finished


class Elsewhere:
    """A task in another process."""

    def __init__(self, obeys: bool, before: "Elsewhere | None" = None) -> None:
        self.over = False
        self.obeys = obeys
        self.before = before
        self.said: list[Any] = []

    @property
    def needs_others(self) -> bool:
        return self.before is not None and not self.before.over

    def is_pending(self) -> bool:
        return False

    def leave(self, signal: BaseException) -> None:
        self.said.append(signal)
        self.over = self.obeys

    def let_go(self) -> None:
        self.said.append("gone")

    def kill(self) -> None:
        self.said.append("killed")
        self.over = True


def test_what_is_elsewhere_is_busy_until_it_waits_or_needs_what_does() -> None:
    under_way, attempt = UnderWay(), Attempt("run", 1, 0)
    first = Elsewhere(obeys=True)
    then = Elsewhere(obeys=False, before=first)
    for number, one in enumerate((first, then)):
        under_way.submit(call(attempt, number), None)
        under_way.go_elsewhere(call(attempt, number).path, one)
    assert under_way.busy() == ["approve 0"]
    under_way.elsewhere()[0].parked = ["a lock"]
    assert under_way.busy() == []
    assert under_way.parked() == ["a lock"]
    signal = KeyboardInterrupt()
    under_way.leave(signal)
    assert first.said == [signal, "gone"]
    assert then.said == [signal, "killed", "gone"]
