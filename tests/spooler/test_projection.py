"""What events mean for their execution's row, through real appends."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kodosumi_prefect.events import Event, Kind, Status
from kodosumi_prefect.spooler.append import Spooler
from tests.spooler.recording import batch, entered, fresh, row, said, stored

Append = Callable[..., dict[str, Any]]


@pytest.fixture
def fid() -> str:
    return fresh()


@pytest.fixture(params=["one batch", "a batch an event"])
def append(request: pytest.FixtureRequest, database: str, fid: str) -> Iterator[Append]:
    """Append events to the execution and return its row: the rules hold however batches are cut."""
    spooler, writer, number = Spooler(database, "kodosumi"), fresh(), 0

    def run(*events: Event) -> dict[str, Any]:
        nonlocal number
        for part in [events] if request.param == "one batch" else [[event] for event in events]:
            number += 1
            spooler.append([batch(fid, *part, writer=writer, number=number)])
        return row(database, fid)

    yield run
    spooler.close()


def starting() -> Event:
    return said(Status.STARTING, Kind.STATUS, dedupe="open:status")


def running(ts: float, attempt: int = 1) -> Event:
    return entered(Status.RUNNING, "Running", ts, attempt)


def completed(ts: float, attempt: int = 1) -> Event:
    return entered(Status.FINISHED, "Completed", ts, attempt)


def failed(ts: float, attempt: int = 1) -> Event:
    return entered(Status.ERROR, "Failed", ts, attempt)


def final(text: str, attempt: int = 1) -> Event:
    return said(text, Kind.FINAL, attempt=attempt)


def test_a_whole_run_ends_with_its_result(append: Append, database: str, fid: str) -> None:
    found = append(
        starting(),
        said('{"dict":{}}', Kind.INPUTS),
        running(10.0),
        said("work"),
        final("42"),
        completed(12.5),
    )
    assert (found["status"], found["state_type"], found["state_name"]) == (
        "finished",
        "COMPLETED",
        "Completed",
    )
    assert (found["inputs"], found["final"], found["final_attempt"]) == ('{"dict":{}}', "42", 1)
    assert (found["attempt"], found["last_seq"], found["ended_seq"]) == (1, 6, 6)
    assert (found["started_at"].timestamp(), found["ended_at"].timestamp()) == (10.0, 12.5)
    assert found["error"] is None
    assert all("late" not in (event["source"] or {}) for event in stored(database, fid))


def test_status_never_goes_backwards_and_a_superseded_state_is_not_stored(
    append: Append, database: str, fid: str
) -> None:
    found = append(completed(20.0), running(10.0), entered("starting", "Pending", 5.0), said("x"))
    assert (found["status"], found["ended_seq"], found["last_seq"]) == ("finished", 1, 2)
    assert [e["payload"] for e in stored(database, fid)] == ["finished", "x"]


def test_a_state_at_the_very_same_time_is_followed(append: Append) -> None:
    assert append(running(10.0), entered("running", "Cancelling", 10.0))["state_name"] == (
        "Cancelling"
    )


def test_timestamps_survive_the_way_through_postgres(append: Append) -> None:
    """Postgres rounds to microseconds; that must not make a state older than itself."""
    ts = 1_793_311_234.1234567
    assert append(running(ts), entered("running", "Retrying", ts))["state_name"] == "Retrying"


def test_an_opening_after_a_reported_state_changes_nothing(append: Append) -> None:
    found = append(running(10.0), starting())
    assert (found["status"], found["last_seq"]) == ("running", 2)


def test_what_comes_after_the_end_is_stored_and_marked_late(
    append: Append, database: str, fid: str
) -> None:
    found = append(running(1.0), completed(2.0), said("after", source='{"pid":7}'), said("again"))
    assert (found["ended_seq"], found["last_seq"]) == (2, 4)
    assert [event["source"] for event in stored(database, fid)][2:] == [
        {"pid": 7, "late": True},
        {"late": True},
    ]


def test_a_second_terminal_state_moves_the_end_and_is_not_late(
    append: Append, database: str, fid: str
) -> None:
    found = append(completed(1.0), said("between"), entered("error", "Crashed", 2.0))
    assert (found["status"], found["ended_seq"]) == ("error", 3)
    between, crashed = stored(database, fid)[1:]
    assert between["source"]["late"] is True
    assert "late" not in crashed["source"]


def test_a_rerun_reopens_and_clears_how_it_ended(append: Append, database: str, fid: str) -> None:
    append(running(1.0), final("old"), said("Traceback\nValueError: no", Kind.ERROR, attempt=1))
    found = append(failed(2.0))
    assert (found["status"], found["error"], found["final"]) == ("error", "ValueError: no", "old")
    found = append(running(3.0, attempt=2), said("again"))
    assert (found["status"], found["attempt"]) == ("running", 2)
    for name in ("final", "final_attempt", "error", "ended_at", "ended_seq"):
        assert found[name] is None, name
    assert found["started_at"].timestamp() == 1.0
    assert "late" not in (stored(database, fid)[-1]["source"] or {})
    found = append(final("new", attempt=2), completed(4.0, attempt=2))
    assert (found["status"], found["final"], found["final_attempt"]) == ("finished", "new", 2)
    assert (found["ended_seq"], found["error"]) == (found["last_seq"], None)


def test_result_and_error_of_the_new_attempt_survive_reopening_in_one_batch(
    append: Append,
) -> None:
    found = append(
        running(1.0),
        final("old"),
        failed(2.0),
        running(3.0, attempt=2),
        final("new", attempt=2),
        completed(4.0, attempt=2),
    )
    assert (found["final"], found["final_attempt"], found["attempt"]) == ("new", 2, 2)
    assert found["error"] is None


def test_an_older_attempts_result_and_error_are_ignored(
    append: Append, database: str, fid: str
) -> None:
    found = append(
        running(1.0, attempt=2),
        final("old", attempt=1),
        said("old", Kind.ERROR, attempt=1),
        final("new", attempt=2),
        final("old again", attempt=1),
        completed(2.0, attempt=2),
    )
    assert (found["final"], found["final_attempt"], found["error"]) == ("new", 2, None)
    assert len(stored(database, fid)) == 6


def test_attempts_never_decrease(append: Append) -> None:
    assert append(running(1.0, attempt=3), running(2.0, attempt=1))["attempt"] == 3


def test_an_error_is_shown_by_its_note_or_its_last_line(append: Append) -> None:
    assert append(said("Trace\n\nboom: no\n \n", Kind.ERROR, attempt=1))["error"] == "boom: no"
    noted = said("Trace\nboom", Kind.ERROR, attempt=1, note="short")
    assert append(noted)["error"] == "short"


def test_inputs_are_the_first_ones_and_progress_the_last(append: Append) -> None:
    found = append(
        said("a", Kind.INPUTS),
        said("b", Kind.INPUTS),
        said("10", Kind.PROGRESS),
        said("20", Kind.PROGRESS),
    )
    assert (found["inputs"], found["progress"]) == ("a", "20")


def test_progress_is_that_of_the_newest_attempt(append: Append) -> None:
    half, begun = said("50", Kind.PROGRESS, attempt=1), running(1.0)
    assert append(half, begun)["progress"] == "50"  # whose state was reported later
    assert append(half, running(2.0, attempt=2))["progress"] is None
    assert append(half)["progress"] is None
    assert append(said("10", Kind.PROGRESS, attempt=2))["progress"] == "10"
    again = entered(Status.RUNNING, "AwaitingRetry", 4.0, attempt=2)
    assert append(failed(3.0, attempt=2), again)["progress"] is None


def test_a_status_word_nobody_knows_changes_nothing(append: Append) -> None:
    found = append(running(1.0), entered("levitating", "Levitating", 2.0))
    assert (found["status"], found["last_seq"]) == ("running", 2)


def test_output_and_heartbeats_do_not_count_as_changes_that_lists_show(append: Append) -> None:
    before = append(running(1.0))["changed"]
    assert append(said("x"), said("10", Kind.PROGRESS))["changed"] == before
    assert append(completed(2.0))["changed"] > before
