"""One set of rules for what is stored, whoever executes it."""

import ast
from pathlib import Path

import pytest

import kodosumi_prefect
from kodosumi_prefect.database.connection import connect, connect_async
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.events import Event, Kind, serialize
from kodosumi_prefect.locks.answering import AnsweredError, Locks
from kodosumi_prefect.spooler.open_locks import Answer
from kodosumi_prefect.spooler.steps import Steps, execute, execute_async
from kodosumi_prefect.spooler.storing import lock_execution, store_answer, store_batches, wake_ups
from kodosumi_prefect.stream.reader import Reader
from tests.answering import SOMEBODY
from tests.locks.test_answering import completed, lock, running
from tests.spooler.recording import batch, fresh, row, said, stored

QUERIES = Queries("kodosumi")
# What changes an execution's stream and row; each is named in one module.
WRITES = {
    *("create_execution", "finish_batch", "advance", "project", "mark_seen", "open_lock"),
    *("end_locks", "lease_lock"),
}


def answered(fid: str) -> Steps[list[str]]:
    execution = yield from lock_execution(fid)
    assert execution is not None
    told = {"name": "approve", "lid": "a", "result": "yes"}
    lease = Event(5.0, Kind.LEASE, serialize(told), 1, '{"answered_by":{"id":"x"}}')
    given = Answer('"yes"', SOMEBODY)
    return (yield from store_answer(execution, fid, "a", given, lease, {"a": 1, "b": 1}))


async def stored_by(driver: str, url: str, make) -> list[str]:
    if driver == "execute":
        with connect(url) as connection, connection.transaction():
            return execute(connection.cursor(), QUERIES, make)
    async with await connect_async(url) as connection, connection.transaction():
        return await execute_async(connection, QUERIES, make)


async def test_both_ways_to_execute_store_the_same(database: str) -> None:
    streams, rows = [], []
    for driver in ("execute", "execute_async"):
        fid, writer = fresh(), fresh()
        events = (running(1.0), lock("a", expires=9e8), lock("b", expires=9e8), said("\\.\t\n"))
        settled = await stored_by(
            driver, database, store_batches([batch(fid, *events, writer=writer)], False)
        )
        assert settled == []
        assert await stored_by(driver, database, answered(fid)) == ["a"]
        late = [completed(6.0), said("late")]
        last = batch(fid, *late, writer=writer, number=2)
        assert await stored_by(driver, database, store_batches([last], False)) == ["b"]
        names = ("seq", "kind", "payload", "attempt")
        streams.append([[event[name] for name in names] for event in stored(database, fid)])
        found = row(database, fid)
        rows.append([found[name] for name in ("status", "last_seq", "open_locks", "attempt")])
    assert streams[0] == streams[1]
    assert rows[0] == rows[1] == ["finished", 8, 0, 1]


@pytest.mark.parametrize("driver", ["execute", "execute_async"])
async def test_what_postgres_refuses_gets_its_placeholder_either_way(
    database: str, driver: str
) -> None:
    fid = fresh()
    events = [said("before"), said("\x00"), said("after")]
    await stored_by(driver, database, store_batches([batch(fid, *events)], one_by_one=True))
    payloads = [event["payload"] for event in stored(database, fid)]
    assert (payloads[0], payloads[2]) == ("before", "after")
    assert "refused" in payloads[1]


async def test_an_answer_and_the_end_of_the_run_leave_no_gap(database: str) -> None:
    fid = fresh()
    await stored_by(
        "execute", database, store_batches([batch(fid, running(1.0), lock("a"))], False)
    )
    async with Reader(database, "kodosumi") as reader:
        desk = Locks(reader)
        await desk.answer(fid, "a", {"x": 1}, by=SOMEBODY)
        with pytest.raises(AnsweredError):
            await desk.answer(fid, "a", {"x": 2}, by=SOMEBODY)
    assert [event["seq"] for event in stored(database, fid)] == [1, 2, 3, 4, 5]
    assert row(database, fid)["status"] == "running"


def test_whoever_waits_for_a_lock_is_woken_first() -> None:
    assert wake_ups("s", ["f"], ["l"]) == [
        {"channel": "s_lease", "fids": ["l"]},
        {"channel": "s", "fids": ["f"]},
    ]
    assert wake_ups("s", [], []) == []


def test_one_module_writes_streams() -> None:
    package = Path(kodosumi_prefect.__file__).parent
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in WRITES
    }
    assert users == {"spooler/storing.py"}
