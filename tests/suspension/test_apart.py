"""What Postgres knows of tasks in other processes, and who may begin, wait and go on when."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.client import get_client
from kodosumi_prefect.suspension import apart, ending, keeping
from kodosumi_prefect.suspension.apart import Apart, begun, end, hold, release
from kodosumi_prefect.suspension.calls import Attempt, Call
from kodosumi_prefect.suspension.ending import MarkedError, UnderWayError, leave_kept
from kodosumi_prefect.suspension.keeping import (
    Keeper,
    KeptAwayError,
    NeverKeptError,
    Row,
    keeper,
)
from kodosumi_prefect.suspension.outcomes import VALUE
from kodosumi_prefect.suspension.place import Leg
from kodosumi_prefect.suspension.records import record_of
from kodosumi_prefect.suspension.under_way import UnderWay
from kodosumi_prefect.suspension.unmarking import Unmarking
from kodosumi_prefect.task_runner import RayFuture, elsewhere
from kodosumi_prefect.task_runner.elsewhere import OnRay
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


def test_what_is_nested_in_a_task_of_the_same_process_keeps_the_leg_too(attempt: Attempt) -> None:
    outer = call(attempt, 0)
    between = call(attempt, 0, outer.path)
    around, _ = at_work(attempt, outer, call(attempt, 0, between.path))
    keeper(apart.get_settings()).keep(Row(between, None, None))
    keeper(apart.get_settings()).settle()
    around.park(["a lock"], ignore)
    assert hold(attempt, {outer.path}) == ["approve 0"]


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

    def released(query: str, values: dict[str, Any], **more: Any) -> Any:
        rows = original(query, values, **more)
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


def test_what_begins_again_while_the_leg_ends_goes_on_if_it_does_not(attempt: Attempt) -> None:
    (lost,) = at_work(attempt, call(attempt, 0))
    lost.park(["a lock"], ignore)
    hold(attempt, {lost.call.path})
    again = Apart(lost.call)
    thread, returned = in_thread(again.begin)
    thread.join(2 * apart.UNDECIDED)
    assert returned == []
    release(attempt)
    thread.join(30)
    assert returned == [None]

    again.park(["a lock"], ignore)
    hold(attempt, {lost.call.path})
    end(attempt)
    assert Apart(lost.call).begin() is not None


def test_what_ended_with_the_leg_before_is_not_over_in_this_one(attempt: Attempt) -> None:
    (before,) = at_work(attempt, call(attempt, 0))
    path = before.call.path
    before.park(["a lock"], ignore)
    hold(attempt, {path})
    end(attempt)
    now = attempt._replace(leg=1)
    again = Apart(before.call._replace(attempt=now))
    assert hold(now, {path}) == []
    thread, returned = in_thread(again.begin)
    thread.join(2 * apart.UNDECIDED)
    assert returned == []
    release(now)
    thread.join(30)
    assert returned == [None]


def test_what_postgres_never_heard_of_goes_on_with_its_answer(attempt: Attempt) -> None:
    unknown = Apart(call(attempt, 0))
    keeper(apart.get_settings()).keep(Row(unknown.call, None, None))
    keeper(apart.get_settings()).settle()
    assert not unknown.park(["a lock"], ignore)
    assert unknown.go_on() is None


def test_an_older_database_and_one_that_is_away_for_long_fail_no_task(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task,) = at_work(attempt, call(attempt, 0))
    task.park(["a lock"], ignore)
    monkeypatch.setattr(keeping, "PATIENCE", 0.0)
    query, failures = Keeper._query, [KeptAwayError("away"), KeptAwayError("away")]

    def failing(self: Keeper, *given: Any) -> Any:
        if failures:
            raise failures.pop()
        return query(self, *given)

    monkeypatch.setattr(Keeper, "_query", failing)
    assert task.go_on() is None
    assert failures == []

    def without_columns(self: Keeper, *given: Any) -> Any:
        raise NeverKeptError("run `kodosumi-prefect db upgrade`")

    monkeypatch.setattr(Keeper, "_query", without_columns)
    with pytest.raises(NeverKeptError):
        task.park(["a lock"], ignore)
    assert not task.parked
    assert task.go_on() is None
    release(attempt)


def test_what_is_held_is_released_as_soon_as_postgres_is_back(
    attempt: Attempt, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task,) = at_work(attempt, call(attempt, 0))
    task.park(["a lock"], ignore)
    hold(attempt, {task.call.path})
    ask, failures = Keeper.ask, [KeptAwayError("away")] * 2

    def failing(self: Keeper, *given: Any) -> Any:
        if failures:
            raise failures.pop()
        return ask(self, *given)

    with monkeypatch.context() as away:
        away.setattr(Keeper, "ask", failing)
        with pytest.raises(MarkedError):
            ending._release(attempt)
        Unmarking(attempt, settings, threading.Lock(), lambda: False).begin()
        wait_for(lambda: not failures)
    thread, returned = in_thread(task.go_on)
    thread.join(30)
    assert returned == [None]


def test_code_that_goes_on_after_a_nested_task_no_longer_waits(
    attempt: Attempt, settings: Settings
) -> None:
    """As with ``as_completed``, which asks no future."""
    (task,) = at_work(attempt, call(attempt, 0))
    under_way, nested = UnderWay(), call(attempt, 0, task.call.path)
    leg, looks = Leg(attempt, get_client(settings), under_way, task), threading.Event()
    under_way.submit(nested, None)
    task.park(["a lock"], ignore)
    under_way.end(nested.path)
    wait_for(lambda: not task.parked)
    assert hold(attempt, {task.call.path}) == ["approve 0"]

    release(attempt)
    task.park(["a lock"], ignore)
    leg.watched = looks.set
    assert leg.decision() is None
    assert looks.is_set(), "whether it waits for something else by now"


def test_code_that_goes_on_while_it_is_told_that_it_waits_is_at_work(
    attempt: Attempt, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = record_of(attempt, make=True)

    def goes_on(_: object) -> list[str]:
        record.under_way.submit(call(attempt, 0), None)
        return []

    monkeypatch.setattr(ending, "obstacles_of", goes_on)
    with pytest.raises(UnderWayError):
        leave_kept(attempt, get_client(settings))


def test_code_goes_on_that_waited_for_a_nested_task_no_longer_than_it_wanted(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ref:
        def future(self) -> Future[Any]:
            return Future()

    (task,) = at_work(attempt, call(attempt, 0))
    task.park(["a lock"], ignore)
    monkeypatch.setattr(apart, "current", task)
    nested: Any = RayFuture(uuid4(), Ref(), Ref())  # type: ignore[arg-type]
    nested.wait(0.01)
    assert not task.parked


def test_what_ended_since_it_was_asked_first_keeps_the_leg(attempt: Attempt) -> None:
    (task,) = at_work(attempt, call(attempt, 0))
    path = task.call.path
    task.park(["a lock"], ignore)
    assert hold(attempt, {path}, {path}) == []
    release(attempt)
    assert task.go_on() is None
    keeper(apart.get_settings()).keep(Row(task.call, VALUE, b"kept"))
    keeper(apart.get_settings()).settle()
    assert hold(attempt, {path}, {path}) == [path]


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

    def pending(self, others: Any) -> set[Any]:
        return set()

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


def test_who_waits_is_let_go_though_a_task_cannot_be_ended() -> None:
    class Lost(Elsewhere):
        def kill(self) -> None:
            raise RuntimeError("Ray is gone")

    under_way, lost = UnderWay(), Lost(obeys=False)
    under_way.submit(call(Attempt("run", 1, 0), 0), None)
    under_way.go_elsewhere(call(Attempt("run", 1, 0), 0).path, lost)
    with pytest.raises(RuntimeError):
        under_way.leave(KeyboardInterrupt())
    assert lost.said[-1] == "gone"


def test_prefect_is_asked_of_many_tasks_at_once_whether_they_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks: list[Any] = [OnRay(uuid4(), None, Future()) for _ in range(250)]  # type: ignore[arg-type]
    asked: list[int] = []

    class Client:
        def __enter__(self) -> "Client":
            return self

        def __exit__(self, *error: object) -> None:
            """Nothing is open."""

        def read_task_runs(self, task_run_filter: Any, limit: int) -> list[Any]:
            ids = task_run_filter.id.any_
            assert limit == len(ids)
            asked.append(limit)
            return [SimpleNamespace(id=each) for each in ids if each == tasks[120]._task_run_id]

    monkeypatch.setattr(elsewhere, "get_client", lambda **_: Client())
    assert tasks[0].pending(tasks) == {*tasks} - {tasks[120]}
    assert asked == [100, 100, 50]

    def away(*_: Any, **__: Any) -> Any:
        raise OSError("Prefect is away")

    monkeypatch.setattr(Client, "read_task_runs", away)
    assert tasks[0].pending(tasks) == set(), "none is known not to have begun"
