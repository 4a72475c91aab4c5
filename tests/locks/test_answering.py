"""Locks: opened by events, answered once, void with what they belong to; and hearing of it."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from kodosumi_prefect.events import Event, Kind, Status, serialize
from kodosumi_prefect.locks.answering import AnsweredError, Locks
from kodosumi_prefect.locks.held import UnknownLockError
from kodosumi_prefect.locks.sealing import MASK, masked
from kodosumi_prefect.locks.waiting import Waiter
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import pack, unpack
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.stream.settled_locks import Leases, Settled
from tests.answering import answer, locks
from tests.spooler.recording import batch, entered, execute, fresh, line_to, row, said, stored
from tests.waiting import wait_for

Append = Callable[..., dict[str, Any]]


def lock(lid: str, name: str = "approve", attempt: int = 1, **more: Any) -> Event:
    told = {"name": name, "lid": lid, "data": None, "expires": time.time() + 60} | more
    return said(serialize(told), Kind.LOCK, attempt=attempt)


def ended(lid: str, state: str = "expired") -> Event:
    told = {"name": "approve", "lid": lid, "result": None, "state": state}
    return said(serialize(told), Kind.LEASE, attempt=1)


def running(ts: float, attempt: int = 1) -> Event:
    return entered(Status.RUNNING, "Running", ts, attempt)


def completed(ts: float, attempt: int = 1) -> Event:
    return entered(Status.FINISHED, "Completed", ts, attempt)


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
            one = batch(fid, *part, writer=writer, number=number)
            spooler.append([one])
            spooler.append([unpack(pack([one]))[0]])  # as a retry or a spill file brings it again
        return row(database, fid)

    yield run
    spooler.close()


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Locks]:
    async with Reader(database, "kodosumi", 6) as reader:
        yield Locks(reader)


def words(database: str, fid: str) -> list[str]:
    """The stream in short: each kind, of a status its word."""
    return [e["payload"] if e["kind"] == "status" else e["kind"] for e in stored(database, fid)]


def states(database: str, fid: str) -> dict[str, str]:
    return {found["lid"]: found["state"] for found in locks(database, fid, None)}


def test_an_execution_awaits_while_a_lock_is_open(append: Append, database: str, fid: str) -> None:
    found = append(running(1.0), lock("a", data={"x": 1}), said("meanwhile"))
    assert (found["status"], found["open_locks"]) == ("awaiting", 1)
    found = append(ended("a"))
    assert (found["status"], found["open_locks"]) == ("running", 0)
    expected = ["running", "lock", "awaiting", "stdout", "lease", "running"]
    assert words(database, fid) == expected
    (kept,) = locks(database, fid, None)
    assert (kept["name"], json.loads(kept["data"]), kept["state"]) == (
        "approve",
        {"x": 1},
        "expired",
    )
    assert [e["seq"] for e in stored(database, fid)] == list(range(1, 7))
    assert found["last_seq"] == 6


def test_several_locks_make_one_wait(append: Append, database: str, fid: str) -> None:
    found = append(running(1.0), lock("a"), lock("b"), ended("a"))
    assert (found["status"], found["open_locks"]) == ("awaiting", 1)
    assert append(ended("b", "void"))["status"] == "running"
    assert words(database, fid).count("awaiting") == 1
    assert states(database, fid) == {"a": "expired", "b": "void"}


def test_no_heartbeat_and_no_state_of_a_running_run_hides_the_wait(
    append: Append, database: str, fid: str
) -> None:
    append(running(1.0), lock("a"))
    spooler = Spooler(database, "kodosumi")
    spooler.heartbeat([fid])
    spooler.close()
    assert row(database, fid)["status"] == "awaiting"
    found = append(entered(Status.RUNNING, "Cancelling", 2.0), said("{}", Kind.PROGRESS))
    assert (found["status"], found["state_name"], found["open_locks"]) == (
        "awaiting",
        "Cancelling",
        1,
    )
    assert words(database, fid)[-3:] == ["running", "awaiting", "progress"]
    found = append(running(1.5))  # late
    assert (found["status"], found["open_locks"]) == ("awaiting", 1)


def test_a_lock_may_come_before_the_state(append: Append, database: str, fid: str) -> None:
    opening = said(Status.STARTING, Kind.STATUS, dedupe="open:status")
    assert append(lock("a"), opening, running(1.0))["status"] == "awaiting"
    assert append(ended("a"))["status"] == "running"


def test_prefect_s_own_pause_stays_awaiting(append: Append) -> None:
    paused = entered(Status.AWAITING, "Paused", 2.0)
    assert append(running(1.0), lock("a"), paused, ended("a"))["status"] == "awaiting"
    assert append(running(3.0))["status"] == "running"


@pytest.mark.parametrize("end", ["finished", "error"])
def test_the_end_voids_what_is_open(append: Append, database: str, fid: str, end: str) -> None:
    found = append(running(1.0), lock("a"), lock("b"), ended("a"), entered(end, "End", 2.0))
    assert (found["status"], found["open_locks"]) == (end, 0)
    assert states(database, fid) == {"a": "expired", "b": "void"}
    assert words(database, fid)[-1] == end
    assert append(lock("late"))["status"] == end
    assert states(database, fid)["late"] == "void"


def test_a_new_attempt_voids_locks_of_the_one_before(
    append: Append, database: str, fid: str
) -> None:
    retrying = entered(Status.RUNNING, "AwaitingRetry", 2.0, 1)
    assert append(running(1.0), lock("a"), retrying)["open_locks"] == 1
    found = append(running(3.0, 2), lock("forgotten", attempt=1), lock("b", attempt=2))
    assert (found["status"], found["open_locks"]) == ("awaiting", 1)
    assert states(database, fid) == {"a": "void", "forgotten": "void", "b": "open"}


def test_a_lock_event_that_tells_no_lock_is_only_an_event(
    append: Append, database: str, fid: str
) -> None:
    odd = [said("nonsense", Kind.LOCK), said('{"dict": {"lid": 1}}', Kind.LOCK)]
    odd += [lock("x" * 5000), lock("a", expires="soon"), lock("b", expires=9e30)]
    found = append(running(1.0), *odd, said("after"))
    assert (found["status"], found["open_locks"], found["last_seq"]) == ("running", 0, 7)
    assert locks(database, fid, None) == []


def test_text_that_postgres_refuses_elsewhere_spoils_no_lock(
    append: Append, database: str, fid: str
) -> None:
    refused = said("late", Kind.RESULT)._replace(ts=9e11)
    found = append(running(1.0), lock("a", name="a\0b", data="\0"), refused, lock("b"), ended("b"))
    assert (found["status"], found["open_locks"], found["last_seq"]) == ("awaiting", 1, 6)
    assert [e["seq"] for e in stored(database, fid)] == [1, 2, 3, 4, 5, 6]
    assert states(database, fid) == {"a": "open", "b": "expired"}


def test_a_schema_without_locks_still_takes_events(append: Append, database: str, fid: str) -> None:
    execute(database, "DROP TABLE kodosumi.lock CASCADE")
    found = append(running(1.0), lock("a"), said("on"), completed(2.0))
    assert (found["status"], found["open_locks"], found["ended_seq"]) == (
        "finished",
        0,
        found["last_seq"],
    )


async def test_an_answer_is_stored_with_who_gave_it(
    append: Append, database: str, fid: str, desk: Locks
) -> None:
    await asyncio.to_thread(append, running(1.0), lock("a"), lock("b"))
    await desk.answer(fid, "a", {"ok": True}, by="7", name="ann")
    found = row(database, fid)
    assert (found["status"], found["open_locks"]) == ("awaiting", 1)
    await desk.answer(fid, "b", None, by="7", name="ann")
    found = row(database, fid)
    assert (found["status"], found["open_locks"], found["last_seq"]) == ("running", 0, 7)
    assert words(database, fid)[-3:] == ["lease", "lease", "running"]
    lease = stored(database, fid)[-3]
    assert json.loads(lease["payload"])["dict"] == {
        "name": "approve",
        "lid": "a",
        "result": {"ok": True},
    }
    assert lease["source"] == {"answered_by": {"id": "7", "name": "ann"}}
    first, _ = locks(database, fid, None)
    assert (first["state"], first["answered_by"], json.loads(first["result"])) == (
        "leased",
        "7",
        {"ok": True},
    )
    # What the run says afterwards goes on behind it, and its own giving up comes too late.
    found = append(said("on"), ended("a"))
    assert (found["last_seq"], states(database, fid)["a"]) == (8, "leased")


async def test_an_answer_takes_two_round_trips_to_the_database(
    append: Append, database: str, fid: str
) -> None:
    append(running(1.0), lock("a"))
    with line_to(database) as line:
        async with Reader(line.url, "kodosumi", 1) as reader:
            desk = Locks(reader)
            await desk.read(fid, "a")
            before = line.round_trips
            await desk.answer(fid, "a", {"x": 1}, by="ann", name="Ann")
            assert line.round_trips == before + 2  # the lock is read; the rest is written
    assert locks(database, fid, "leased")


async def test_of_many_answers_at_once_one_wins(
    append: Append, database: str, fid: str, desk: Locks
) -> None:
    await asyncio.to_thread(append, running(1.0), lock("a"))
    given = await asyncio.gather(
        *(desk.answer(fid, "a", n, by=str(n)) for n in range(6)), return_exceptions=True
    )
    losers = [one for one in given if isinstance(one, BaseException)]
    winners = [n for n, one in enumerate(given) if one not in losers]
    assert len(winners) == 1
    assert all(isinstance(one, AnsweredError) for one in losers)
    assert words(database, fid).count("lease") == 1
    [answered] = locks(database, fid, None)
    assert answered["answered_by"] == str(winners[0])


async def test_answers_that_come_too_late_are_refused_with_the_reason(
    append: Append, database: str, fid: str, desk: Locks
) -> None:
    past = lock("past", expires=time.time() - 1)
    await asyncio.to_thread(append, running(1.0), past, lock("gone"), ended("gone"), lock("open"))
    for lid in ("past", "gone"):
        with pytest.raises(AnsweredError, match="has expired"):
            await desk.answer(fid, lid, 1, by="7")
    with pytest.raises(UnknownLockError):
        await desk.answer(fid, "unknown", 1, by="7")
    with pytest.raises(UnknownLockError):
        await desk.answer(fresh(), "open", 1, by="7")
    await asyncio.to_thread(append, completed(2.0))
    with pytest.raises(AnsweredError, match="over"):
        await desk.answer(fid, "open", 1, by="7")
    assert row(database, fid)["status"] == "finished"


async def test_events_and_answers_at_once_leave_no_gap(
    database: str, fid: str, desk: Locks
) -> None:
    spooler, writer = Spooler(database, "kodosumi"), fresh()
    lids = [f"l{n}" for n in range(20)]
    spooler.append([batch(fid, running(1.0), *(lock(lid) for lid in lids), writer=writer)])

    def talk() -> None:
        for number in range(2, 60):
            spooler.append([batch(fid, said(str(number)), writer=writer, number=number)])

    talking = asyncio.create_task(asyncio.to_thread(talk))
    await asyncio.gather(*(desk.answer(fid, lid, 1, by="7") for lid in lids))
    await talking
    spooler.close()
    found = row(database, fid)
    assert (found["status"], found["open_locks"]) == ("running", 0)
    assert [e["seq"] for e in stored(database, fid)] == list(range(1, found["last_seq"] + 1))
    assert words(database, fid).count("running") == 2


async def test_what_is_settled_is_heard_at_once(append: Append, database: str, fid: str) -> None:
    leases = Leases(database, "kodosumi")
    await asyncio.to_thread(append, running(1.0), lock("a"), lock("b"))
    waiting = asyncio.create_task(leases.settled({"a": fid, "b": fid}, 20))
    other = asyncio.create_task(leases.settled({"b": fid, "unknown": fid}, 20))
    await asyncio.to_thread(wait_for, lambda: leases.connected)
    began = time.monotonic()
    await asyncio.to_thread(answer, database, fid, "a", 1)
    assert await waiting == [Settled("a", "leased", "1")]
    assert time.monotonic() - began < 5
    await asyncio.to_thread(append, completed(2.0))
    assert await other == [Settled("b", "void", None)]
    assert await leases.settled({"a": fid}, 20) == [Settled("a", "leased", "1")]  # from before
    assert await leases.settled({"unknown": fid}, 0.1) == []
    await leases.close()


def at(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(url)})


def test_who_waits_through_an_outage_hears_what_was_answered_in_it(
    append: Append, database: str, fid: str, settings: Settings
) -> None:
    append(running(1.0), lock("a"))
    with line_to(database) as line:
        future = Waiter(at(settings, line.url)).wait(fid, "a")
        wait_for(lambda: line.connections)
        line.cut()
        answer(database, fid, "a", {"x": 1})
        line.restore()
        assert future.result(20) == Settled("a", "leased", '{"x": 1}')


def test_a_restart_of_postgres_changes_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    from kodosumi_prefect.database import migrate

    server = EmbeddedPostgres(tmp_path_factory.mktemp("restarted"))
    url = server.start()
    try:
        migrate.upgrade(url, "kodosumi")
        settings = Settings(database_url=SecretStr(url), data_dir=tmp_path_factory.mktemp("data"))
        spooler, fid = Spooler(url, "kodosumi"), fresh()
        spooler.append([batch(fid, running(1.0), lock("a"))])
        spooler.close()
        future = Waiter(settings).wait(fid, "a")
        wait_for(lambda: listening(url))
        server.stop()
        assert server.start() == url
        answer(url, fid, "a", "yes")
        assert future.result(30) == Settled("a", "leased", '"yes"')
    finally:
        server.destroy()


def listening(url: str) -> int:
    with psycopg.connect(url, application_name="looking") as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kodosumi-prefect'"
            " AND datname = current_database()"
        ).fetchone()
    return int(count)


def test_five_hundred_open_locks_cost_one_connection_and_no_processor(
    append: Append, database: str, fid: str, settings: Settings
) -> None:
    lids = [f"l{n}" for n in range(500)]
    append(running(1.0), *(lock(lid) for lid in lids[:50]))
    held = listening(database)
    others = set(threading.enumerate())
    waiter = Waiter(settings)
    futures = [waiter.wait(fid, lid) for lid in lids]
    wait_for(lambda: listening(database) == held + 1)
    threading.Event().wait(2.5)  # notifications have proved to arrive by then
    (thread,) = (one for one in threading.enumerate() if one not in others)
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    before = time.clock_gettime(clock)
    threading.Event().wait(3.0)
    assert time.clock_gettime(clock) - before < 0.1
    assert listening(database) == held + 1
    assert not any(future.done() for future in futures)
    answer(database, fid, "l7", "l7")
    assert json.loads(futures[7].result(10).result or "") == "l7"
    for lid in lids:
        waiter.forget(lid)
    wait_for(lambda: listening(database) == held, 15)


async def test_several_who_ask_in_the_same_moment_are_all_heard(database: str, fid: str) -> None:
    leases = Leases(database, "kodosumi")
    try:
        for turn in range(30):
            asked = []
            for number in range(4):
                asked.append(asyncio.create_task(leases.settled({f"{turn}-{number}": fid}, 0.05)))
                await asyncio.sleep(0)
            assert await asyncio.gather(*asked) == [[]] * 4
    finally:
        await leases.close()


def test_what_was_typed_as_a_password_is_masked_wherever_an_answer_has_it() -> None:
    result = {"token": "x", "auth": {"token": "hush"}, "bearer": ["Bearer hush", 3], "name": "ann"}
    shown = {"token": MASK, "auth": {"token": MASK}, "bearer": [f"Bearer {MASK}", 3], "name": "ann"}
    assert masked(result, {"token"}, ["hush"]) == shown
    assert masked("hush", {"token"}, ["hush"]) == MASK
