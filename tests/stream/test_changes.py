"""Changes: each once, whoever commits when, whoever reads how slowly."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from itertools import count
from typing import Any

import psycopg
import pytest

from kodosumi_prefect.database import migrate
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.events import Event, serialize
from kodosumi_prefect.stream import changes as changes_module
from kodosumi_prefect.stream.changes import Changes, Restarted, Step, Wanted
from kodosumi_prefect.stream.feed import Feed
from kodosumi_prefect.stream.position import START, Position
from kodosumi_prefect.stream.reader import Reader, Visible
from tests.locks.people import person, team
from tests.spooler.recording import entered, fresh
from tests.stream.test_feed import PATIENCE, Writer, until

ALL = Wanted()
CLOCK = count(1000.0)  # of states, each later than the one before
TOUCH = "UPDATE kodosumi.execution SET changed = pg_current_xact_id()::text::bigint WHERE fid = %s"


@pytest.fixture
def write(database: str) -> Iterator[Writer]:
    made = Writer(database)
    yield made
    made.close()


@asynccontextmanager
async def followed(url: str) -> AsyncIterator[Changes]:
    async with (
        Reader(url, "kodosumi") as reader,
        Feed(reader, url) as feed,
        Changes(reader, feed) as made,
    ):
        yield made


@pytest.fixture
async def changes(database: str) -> AsyncIterator[Changes]:
    async with followed(database) as made:
        yield made


@pytest.fixture
def connect(database: str) -> Iterator[Any]:
    """Connections whose transactions end when the test says so."""
    made: list[psycopg.Connection[Any]] = []

    def connection() -> psycopg.Connection[Any]:
        made.append(psycopg.connect(database))
        return made[-1]

    yield connection
    for one in made:
        one.close()


def state(status: str) -> Event:
    return entered(status, status.title(), next(CLOCK))


async def some(write: Writer, executions: int = 1) -> list[str]:
    fids = sorted(fresh() for _ in range(executions))
    for fid in fids:
        await write(fid, state("running"))
    return fids


async def step(changes: Changes, since: Position | None, *wanted: Any, **more: Any) -> Step:
    found = await changes.page(since, *(wanted or (Wanted(),)), **more)
    assert isinstance(found, Step)
    return found


def told(found: Step) -> list[tuple[str, str]]:
    items = [json.loads(change.item) for change, _ in found.changes]
    return [(item["fid"], item.get("status", item["kind"])) for item in items]


class Following:
    """A follower that collects what it is told."""

    def __init__(self, changes: Changes, since: Position | None, wanted: Wanted, quiet: float):
        self.steps = changes.follow(since, wanted, quiet)
        self.told: list[tuple[str, str]] = []
        self.positions: list[Position] = []

    async def until(self, changes: int) -> "Following":
        async with asyncio.timeout(PATIENCE):
            while len(self.told) < changes:
                await self.next()
        return self

    async def next(self) -> Step | Restarted:
        found = await anext(self.steps)
        if isinstance(found, Step):
            self.told += told(found)
            self.positions.append(found.position)
        return found


@asynccontextmanager
async def following(
    changes: Changes, since: Position | None = None, wanted: Wanted = ALL, quiet: float = 60
) -> AsyncIterator[Following]:
    made = Following(changes, since, wanted, quiet)
    async with aclosing(made.steps):
        await made.next()  # where it begins
        yield made


async def test_what_commits_late_comes_late_and_once(
    changes: Changes, write: Writer, connect: Any
) -> None:
    first, second = await some(write, 2)
    begin = (await step(changes, None)).position
    slow, quick = connect(), connect()
    slow.execute(TOUCH, [first])  # the older transaction
    quick.execute(TOUCH, [second])
    quick.commit()
    early = await step(changes, begin)
    assert told(early) == [(second, "running")]
    assert told(await step(changes, early.position)) == []
    slow.commit()
    late = await step(changes, early.position)
    assert told(late) == [(first, "running")]
    assert told(await step(changes, late.position)) == []
    # Whoever read nothing in between gets both, in the order of the transactions.
    assert told(await step(changes, begin)) == [(first, "running"), (second, "running")]


async def test_an_older_transaction_that_writes_after_a_newer_one_is_not_lost(
    changes: Changes, write: Writer, connect: Any
) -> None:
    [fid] = await some(write)
    begin = (await step(changes, None)).position
    slow = connect()
    slow.execute("SELECT pg_current_xact_id()")
    await write(fid, state("running"))
    early = await step(changes, begin)
    assert told(early) == [(fid, "running")]
    slow.execute(TOUCH, [fid])
    slow.commit()
    assert told(await step(changes, early.position)) == [(fid, "running")]


async def test_a_transaction_that_is_undone_is_no_change(
    changes: Changes, write: Writer, connect: Any
) -> None:
    [fid] = await some(write)
    begin = (await step(changes, None)).position
    undone = connect()
    undone.execute(TOUCH, [fid])
    undone.rollback()
    assert told(await step(changes, begin)) == []


async def test_pages_cut_through_a_large_transaction_and_lose_nothing(
    changes: Changes, write: Writer, connect: Any
) -> None:
    fids = await some(write, 7)
    begin = (await step(changes, None)).position
    slow, large = connect(), connect()
    slow.execute(TOUCH, [fids[0]])
    large.execute(TOUCH.replace("= %s", "= ANY(%s::uuid[])"), [fids[1:6]])
    large.commit()
    got: list[tuple[str, str]] = []
    found = await step(changes, begin, limit=2)
    got += told(found)
    slow.commit()  # older than the one in whose middle the page ended
    await write(fids[6], state("finished"))
    while found.changes:
        found = await step(changes, Position.parsed(str(found.position)), limit=2)
        assert len(found.changes) <= 2
        got += told(found)
    assert sorted(got) == sorted([*((fid, "running") for fid in fids[:6]), (fids[6], "finished")])


async def test_every_change_has_a_position_to_go_on_from(changes: Changes, write: Writer) -> None:
    begin = (await step(changes, None)).position
    fids = await some(write, 4)
    whole = await step(changes, begin)
    for number, (_, position) in enumerate(whole.changes):
        rest = await step(changes, Position.parsed(str(position)))
        assert [fid for fid, _ in told(rest)] == [fid for fid, _ in told(whole)][number + 1 :]
    assert sorted(fid for fid, _ in told(whole)) == fids


async def test_an_execution_comes_once_however_often_it_changed(
    changes: Changes, write: Writer
) -> None:
    begin = (await step(changes, None)).position
    [fid] = await some(write)
    for _ in range(3):
        await write(fid, state("running"))
    await write(fid, state("finished"))
    assert told(await step(changes, begin)) == [(fid, "finished")]
    assert (fid, "finished") in told(await step(changes, START))


def asks(lid: str, name: str = "approve") -> Event:
    payload = serialize({"name": name, "lid": lid, "data": None, "expires": 3e9})
    return Event(1.0, "lock", payload, 1)


def ends(lid: str, state: str) -> Event:
    return Event(2.0, "lease", serialize({"name": "approve", "lid": lid, "state": state}), 1)


async def test_locks_are_told_when_they_open_and_when_they_end(
    changes: Changes, write: Writer
) -> None:
    begin = (await step(changes, None)).position
    [fid] = await some(write)
    await write(fid, asks("a-lock"))
    opened = await step(changes, begin)
    assert told(opened) == [(fid, "awaiting"), (fid, "open")]
    lock = json.loads(opened.changes[1][0].item)
    assert (lock["lid"], lock["name"], lock["expires"]) == ("a-lock", "approve", 3e9)
    await write(fid, ends("a-lock", "expired"))
    expired = await step(changes, opened.position)
    assert told(expired) == [(fid, "running"), (fid, "expired")]
    await write(fid, asks("b-lock"), asks("c-lock"), state("finished"))
    over = await step(changes, expired.position, Wanted(kinds=frozenset({"lock"})))
    assert told(over) == [(fid, "void"), (fid, "void")]


async def test_locks_of_a_restored_database_are_told_once_it_is_upgraded(
    changes: Changes, write: Writer, database: str
) -> None:
    [fid] = await some(write)
    await write(fid, asks("a-lock"))
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE kodosumi.lock SET changed = 1000000000")
    begin = (await step(changes, None)).position
    assert told(await step(changes, START)) == [(fid, "awaiting")]
    await asyncio.to_thread(migrate.upgrade, database, "kodosumi")
    found = await step(changes, begin)
    assert told(found) == [(fid, "open")]
    assert told(await step(changes, found.position)) == []


async def test_what_was_deleted_is_told(changes: Changes, write: Writer, database: str) -> None:
    begin = (await step(changes, None)).position
    [fid] = await some(write)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM kodosumi.execution WHERE fid = %s", [fid])
        connection.execute("INSERT INTO kodosumi.deleted (fid) VALUES (%s)", [fid])
    assert told(await step(changes, begin)) == [(fid, "deletion")]


async def test_followers_get_what_they_may_see_and_asked_for(
    changes: Changes, write: Writer, connect: Any
) -> None:
    mine, yours, nobodys = await some(write, 3)
    owners = connect()
    for fid, owner in ((mine, "me"), (yours, "you")):
        owners.execute(
            "UPDATE kodosumi.execution SET owner = %s, flow_name = 'f', app_url = 'http://s/' "
            "WHERE fid = %s",
            [owner, fid],
        )
    owners.commit()
    owners.autocommit = True
    cases = {
        Wanted(): {mine, yours, nobodys},
        Wanted(Visible("me", False)): {mine},
        Wanted(Visible("me", True)): {mine, nobodys},
        Wanted(owner="you"): {yours},
        Wanted(Visible("me", True), owner="you"): set(),
        Wanted(flow="f"): {mine, yours},
        Wanted(service="http://s/", flow="f"): {mine, yours},
        Wanted(service="http://t/"): set(),
        Wanted(statuses=frozenset({"error", "open"})): set(),
        Wanted(statuses=frozenset({"running"})): {mine, yours, nobodys},
        Wanted(kinds=frozenset({"lock"})): set(),
    }
    begin = (await step(changes, None)).position
    live = {wanted: Following(changes, begin, wanted, 60) for wanted in cases}
    for each in live.values():
        await each.next()  # up to date, so that one look for all brings what comes
    for fid in (mine, yours, nobodys):
        owners.execute(TOUCH, [fid])
    for wanted, fids in cases.items():
        await live[wanted].until(len(fids))
        assert {fid for fid, _ in live[wanted].told} == fids, wanted
        assert {fid for fid, _ in told(await step(changes, begin, wanted))} == fids, wanted
        await live[wanted].steps.aclose()


async def test_locks_come_to_those_who_are_asked_as_long_as_they_are(
    changes: Changes, write: Writer, database: str
) -> None:
    ann = person(database, "ann")
    team(database, "legal", ann)
    anns = Wanted(Visible(ann, False))
    [fid] = await some(write)
    async with following(changes, wanted=anns) as live:
        begin = live.positions[0]
        await write(fid, asks("a-lock"), asks("b-lock"))
        with psycopg.connect(database, autocommit=True) as connection:
            for change in ("asked = '{owner,team:legal}'", f"handed_on = '{{{ann}}}'"):
                lock = "UPDATE kodosumi.lock SET " + change + " WHERE lid = 'a-lock'"
                connection.execute(lock.encode())
                if "asked" in change:
                    await live.until(1)
                    assert told(await step(changes, begin, anns)) == [(fid, "open")]
            connection.execute("UPDATE kodosumi.lock SET asked = '{bob}' WHERE lid = 'b-lock'")
            assert told(await step(changes, begin, anns)) == []
            assert live.told == [(fid, "open")]
            # What is asked of a team comes to who is in it when it is read, and not later.
            connection.execute("DELETE FROM kodosumi.team_member")
            connection.execute(
                "UPDATE kodosumi.lock SET asked = '{team:legal}' WHERE lid = 'b-lock'"
            )
            connection.execute("UPDATE kodosumi.lock SET asked = '{ann}' WHERE lid = 'a-lock'")
            connection.execute("UPDATE kodosumi.lock SET handed_on = '{}' WHERE lid = 'a-lock'")
            await live.until(2)
    assert live.told == [(fid, "open")] * 2


async def test_who_follows_gets_each_change_once_and_with_its_position(
    changes: Changes, write: Writer
) -> None:
    async with following(changes) as one:
        begin = one.positions[0]
        [first] = await some(write)
        await one.until(1)
        async with following(changes, one.positions[-1]) as other:
            [second] = await some(write)
            await one.until(2)
            await other.until(1)
            assert [one.told, other.told] == [
                [(first, "running"), (second, "running")],
                [(second, "running")],
            ]
            assert told(await step(changes, begin)) == one.told
            for position in (one.positions[-1], other.positions[-1]):
                assert told(await step(changes, position)) == []
    assert len(changes) == 0


async def test_a_transaction_across_looks_comes_to_followers_once(
    changes: Changes, write: Writer, connect: Any
) -> None:
    first, second, third = await some(write, 3)
    async with following(changes) as one:
        slow = connect()
        slow.execute(TOUCH, [first])
        await write(second, state("finished"))
        await one.until(1)
        async with following(changes, one.positions[-1]) as other:
            slow.commit()
            await write(third, state("finished"))
            await one.until(3)
            await other.until(2)
            assert sorted(other.told) == sorted([(first, "running"), (third, "finished")])
        assert sorted(one.told) == sorted([(second, "finished"), *other.told])
        assert told(await step(changes, one.positions[-1])) == []


async def test_a_follower_who_falls_behind_reads_on_for_itself(
    changes: Changes, write: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_module, "RING", 2)
    monkeypatch.setattr(changes_module, "GAP", 0)
    fids = await some(write, 4)
    async with following(changes) as quick, following(changes) as slow:
        for number, fid in enumerate(fids, 1):
            await write(fid, state("running"))
            await quick.until(number)
        await write(fids[0], state("finished"))
        await quick.until(5)
        await slow.until(4)
        # The first one changed twice meanwhile, and comes as it is now.
        assert slow.told == [*((fid, "running") for fid in fids[1:]), (fids[0], "finished")]
        assert len(changes._looks) <= 2


async def test_a_thousand_idle_followers_share_one_query(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_module, "SWEEP", 0.05)
    asked: list[str] = []
    fetch = Reader._fetch

    async def counted(self: Reader, factory: Any, name: str, parameters: Any) -> Any:
        asked.append(name)
        return await fetch(self, factory, name, parameters)

    async with followed(database) as changes:
        begin = (await step(changes, None)).position
        many = [Following(changes, begin, Wanted(), 60) for _ in range(1000)]
        await asyncio.gather(*(each.next() for each in many))
        monkeypatch.setattr(Reader, "_fetch", counted)
        waiting = [asyncio.create_task(each.until(1)) for each in many]
        await until(lambda: asked.count("changes_behind") >= 5)
        assert set(asked) <= {"changes_behind", "tail", "notify"}
        before = len(asked)
        with psycopg.connect(database) as connection:
            connection.execute("INSERT INTO kodosumi.execution (fid) VALUES (gen_random_uuid())")
        await asyncio.gather(*waiting)
        assert len(asked) - before < 100
        assert {len(each.told) for each in many} == {1}
        for each in many:
            await each.steps.aclose()


async def test_quiet_steps_carry_a_position_that_goes_on(changes: Changes, write: Writer) -> None:
    async with following(changes, quiet=0.01, wanted=Wanted(owner="nobody at all")) as one:
        begin = one.positions[0]
        await some(write)
        async with asyncio.timeout(PATIENCE):
            while one.positions[-1].xmax <= begin.xmax:
                await one.next()
        assert one.told == []


async def test_a_position_of_a_future_that_was_undone_restarts(
    changes: Changes, write: Writer
) -> None:
    [fid] = await some(write)
    future = Position(2**60 + 1, 2**60 + 1)
    assert isinstance(await changes.page(future, Wanted()), Restarted)
    one = Following(changes, future, Wanted(), 60)
    assert isinstance(await one.next(), Restarted)
    assert (fid, "running") in (await one.until(1)).told
    await one.steps.aclose()


def test_looking_for_changes_reads_an_index(database: str) -> None:
    query = Queries("kodosumi")["changes_behind"]
    values = {
        "xmin": 10**9,
        "seen": "1000000000:1000000000:",
        "viewer": None,
        "unowned": True,
        "owner": None,
        "xids": [],
        "keys": [],
        "flow": None,
        "service": None,
        "statuses": None,
        "kinds": ["execution", "lock", "deletion"],
        "limit": 500,
    }
    with psycopg.connect(database) as connection:
        connection.execute("SET enable_seqscan = off")
        lines = connection.execute(b"EXPLAIN " + query, values).fetchall()
    plan = "\n".join(line for (line,) in lines)
    for index in ("execution_changed", "lock_changed", "deleted_changed"):
        assert index in plan, plan
