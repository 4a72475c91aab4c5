"""What is done is not done again, whatever fails meanwhile."""

import dataclasses
from pathlib import Path
from typing import Any

import prefect
import psycopg
import pytest
from prefect.task_runners import ThreadPoolTaskRunner

from kodosumi_prefect import flow
from kodosumi_prefect.database import migrate
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.suspension import keeping
from kodosumi_prefect.suspension.calls import Attempt, Call
from kodosumi_prefect.suspension.calls import Place as CallPlace
from kodosumi_prefect.suspension.keeping import Keeper, NeverKeptError, Row
from kodosumi_prefect.suspension.leg import current_leg
from kodosumi_prefect.suspension.reuse import obstacles
from tests.legs import Legs, suspended
from tests.services import Place
from tests.waiting import wait_for

ATTEMPT = Attempt("00000000-0000-0000-0000-000000000001", 1, 0)


def call(ordinal: int) -> Call:
    return Call(ATTEMPT, "", "task:step", ordinal, "step")


def execution(database: str) -> None:
    migrate.upgrade(database, "kodosumi")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO kodosumi.execution (fid) VALUES (%s)", (ATTEMPT.fid,))


def test_memory_is_bounded_while_the_database_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "IN_MEMORY", 1000)
    monkeypatch.setattr(keeping, "MOST_BYTES", 3000)
    keeper = Keeper(Settings(data_dir=tmp_path))
    for ordinal in range(10):
        keeper.keep(Row(call(ordinal), "value", b"x" * 500))
    wait_for(lambda: keeper._settling is None, 10, "the attempt to store")
    assert keeper._bytes <= 3500
    with pytest.raises(NeverKeptError, match="does not know the database"):
        keeper.settle()
    with pytest.raises(NeverKeptError, match="memory could not hold all of them"):
        keeper.obstacles(ATTEMPT)


def test_a_process_without_a_database_waits_for_none(tmp_path: Path) -> None:
    with pytest.raises(NeverKeptError, match="does not know the database"):
        Keeper(Settings(data_dir=tmp_path)).code_before(ATTEMPT.fid)


def test_what_an_author_s_class_says_of_itself_keeps_no_other_result_back(
    database: str, tmp_path: Path
) -> None:
    execution(database)
    keeper = Keeper(Settings(data_dir=tmp_path, database_url=database))
    for ordinal, words in enumerate(("ends \x00 here", "half \ud800 of it")):
        keeper.keep(Row(call(ordinal), None, None, words))
    place = CallPlace(ATTEMPT, "", dict)
    odd, _ = place.number("", "task:st\x00ep", "st\ud800ep", None, frozenset())
    keeper.keep(Row(odd, "value", b"x"))
    keeper.settle()
    assert keeper.result(odd) == ("value", b"x")
    assert keeper.obstacles(ATTEMPT) == [("step", "ends ␀ here", 1), ("step", "half � of it", 1)]


def test_much_is_stored_before_anybody_asks_and_once(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution(database)
    monkeypatch.setattr(keeping, "ROWS_IN_MEMORY", 10)
    keeper = Keeper(Settings(data_dir=tmp_path, database_url=database))
    for ordinal in range(11):
        keeper.keep(Row(call(ordinal), "value", b"x"))
    wait_for(lambda: not keeper._waiting, 10, "the results in the database")
    keeper.keep(Row(call(3), "value", b"y"))  # a task began anew
    keeper.keep(Row(call(11), None, None, "its result is odd"))
    keeper.keep(Row(call(12), "value", b"x" * (keeping.LARGEST + 1)))
    keeper.settle()
    assert keeper.result(call(3)) == ("value", b"y")
    finished = [call for call in keeper.calls(ATTEMPT)["", "task:step"] if call.finished]
    assert [call.ordinal for call in finished] == list(range(11))
    odd, large = sorted(why for _, why, _ in keeper.obstacles(ATTEMPT))
    assert odd == "its result is odd"
    assert "32 MiB is more than Postgres keeps of one" in large


def test_a_result_that_is_gone_is_an_error_and_no_second_run(place: Place) -> None:
    ran: list[str] = []

    @prefect.task(retries=3)
    def charge() -> str:
        ran.append("charged")
        return "receipt"

    @flow
    def shop() -> str:
        try:
            receipt = charge()
        except KodosumiError as exc:
            receipt = str(exc)
        suspended()
        return receipt

    legs = Legs(place, shop)
    assert legs.leg().is_paused()
    with psycopg.connect(place.database, autocommit=True) as connection:
        connection.execute("UPDATE kodosumi.kept_result SET content = 'spoilt'")
    assert legs.leg().is_completed()
    said = place.recorded(str(legs.id)).final["str"]
    assert "charge finished before this run was suspended, and what it returned cannot be" in said
    assert ran == ["charged"]


def test_the_flows_code_may_change_while_it_is_suspended(place: Place) -> None:
    ran: list[str] = []

    @prefect.task
    def step(word: str) -> str:
        ran.append(word)
        return word

    def code(before: str) -> Any:
        @prefect.task(name="measure")
        def measure() -> str:
            ran.append(f"measured {before}")
            return before

        @flow(name="changing")
        def changing() -> str:
            words = [measure(), step("last")]
            suspended()
            if before == "new":
                words.append(step("new"))
            return " ".join(words)

        return changing

    legs = Legs(place, code("old"))
    assert legs.leg().is_paused()
    legs.flow = code("new")
    assert legs.leg().is_completed()
    assert ran == ["measured old", "last", "new"]


def test_an_attempt_does_not_use_what_the_one_before_has_done(place: Place) -> None:
    ran: list[int] = []

    @prefect.task
    def step() -> int:
        ran.append(current_leg())
        return len(ran)

    @flow(retries=1)
    def twice() -> int:
        done = step()
        suspended()
        if len(ran) < 2:
            raise RuntimeError("the second leg fails")
        return done

    legs = Legs(place, twice)
    assert legs.leg().is_paused()
    state = legs.leg()
    if state.is_paused():  # the second attempt is suspended, too
        state = legs.leg()
    assert state.is_completed()
    recorded = place.recorded(str(legs.id))
    assert recorded.row["attempt"] == 2
    assert recorded.final == {"int": 2}
    assert len(ran) == 2


class Elsewhere(ThreadPoolTaskRunner):  # type: ignore[type-arg]
    """Runs tasks where nothing of ours is."""

    def submit(self, task: Any, parameters: Any, *args: Any, **options: Any) -> Any:
        return super().submit(prefect.task(task.fn), parameters, *args, **options)


def test_tasks_on_other_task_runners_are_an_obstacle(place: Place) -> None:
    @prefect.task
    def step() -> int:
        return 1

    @flow(task_runner=Elsewhere())
    def far() -> str:
        assert step.submit().result() == 1
        return "\n".join(obstacles())

    legs = Legs(place, far)
    assert legs.leg().is_completed()
    (line,) = place.recorded(str(legs.id)).final["str"].splitlines()
    assert line.startswith("step: what it returned is not kept: it ran in a process")


def test_results_of_classes_of_the_flows_own_file_are_theirs(place: Place) -> None:
    @dataclasses.dataclass
    class Found:
        word: str

    @prefect.task
    def find() -> Found:
        return Found("a")

    @flow
    def search() -> bool:
        found = find()
        suspended()
        return found == Found("a") and type(found).__name__ == "Found"

    assert Legs(place, search).to_its_end().final["bool"] is True
