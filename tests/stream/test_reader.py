"""Reading back: whole, in order, in pages, and missing no change."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import psycopg
import pytest

from kodosumi_prefect.database import pool as pool_module
from kodosumi_prefect.events import Kind
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Header
from kodosumi_prefect.stream.listing import Filter
from kodosumi_prefect.stream.reader import Reader, Tail
from tests.spooler.recording import batch, entered, execute, fresh, line_to, row, said


@pytest.fixture
def spooler(database: str) -> Iterator[Spooler]:
    made = Spooler(database, "kodosumi")
    yield made
    made.close()


@pytest.fixture
async def reader(database: str) -> AsyncIterator[Reader]:
    async with Reader(database, "kodosumi") as made:
        yield made


async def test_pages_lead_through_the_whole_stream(reader: Reader, spooler: Spooler) -> None:
    fid = fresh()
    spooler.append([batch(fid, *(said(str(i)) for i in range(1, 26)))])
    seen, after, pages = [], 0, 0
    while True:
        page = await reader.page(fid, after, limit=10)
        seen += [event.payload for event in page.events]
        pages += 1
        if not page.more:
            break
        after = page.events[-1].seq
    assert seen == [str(i) for i in range(1, 26)]
    assert pages == 3


async def test_a_page_can_be_cut_by_kind_and_end(reader: Reader, spooler: Spooler) -> None:
    fid = fresh()
    events = [said(str(i), Kind.RESULT if i % 3 == 0 else Kind.STDOUT) for i in range(1, 13)]
    spooler.append([batch(fid, *events)])
    page = await reader.page(fid, 3, until=9, kinds=["result"])
    assert [(e.seq, e.kind) for e in page.events] == [(6, "result"), (9, "result")]
    assert not page.more
    assert (await reader.page(fid, 12)).events == []


async def test_an_unknown_execution_is_empty(reader: Reader) -> None:
    assert await reader.status(fresh()) is None
    assert (await reader.page(fresh())).events == []
    assert await reader.tails([fresh()]) == {}


async def test_large_events_come_in_pages_of_about_eight_megabytes(
    reader: Reader, spooler: Spooler
) -> None:
    fid, writer = fresh(), fresh()
    for number in range(1, 6):
        text = str(number) * 3_000_000
        spooler.append([batch(fid, said(text), writer=writer, number=number)])
    spooler.append([batch(fid, said("x" * 20_000_000), writer=writer, number=6)])
    sizes, after = [], 0
    while True:
        page = await reader.page(fid, after)
        sizes.append([len(event.payload) // 1_000_000 for event in page.events])
        after = page.events[-1].seq
        if not page.more:
            break
    assert sizes == [[3, 3, 3], [3, 3, 20]]
    newest = await reader.latest(fid, 7, kinds=["stdout"], limit=10)
    assert [event.seq for event in newest] == [6]


async def test_the_latest_events_before_a_seq_come_in_order(
    reader: Reader, spooler: Spooler
) -> None:
    fid = fresh()
    spooler.append([batch(fid, *(said(str(i)) for i in range(1, 11)), said("r", Kind.RESULT))])
    found = await reader.latest(fid, 9, kinds=["stdout"], limit=3)
    assert [event.seq for event in found] == [6, 7, 8]


async def test_tails_tell_where_streams_stand(reader: Reader, spooler: Spooler) -> None:
    open_one, over = fresh(), fresh()
    spooler.append([batch(open_one, said("1"), said("2"))])
    spooler.append([batch(over, entered("finished", "Completed", 1.0), said("late"))])
    assert await reader.tails([open_one, over, fresh()]) == {
        open_one: Tail(2, None),
        over: Tail(2, 1),
    }


async def test_the_timeline_is_newest_first_and_can_be_searched(
    reader: Reader, spooler: Spooler
) -> None:
    fids = [fresh() for _ in range(5)]
    for n, fid in enumerate(fids):
        spooler.append([batch(fid, header=Header(flow_name=f"Flow {n}", tags=[f"tag{n % 2}"]))])
    found = await reader.timeline(limit=2)
    assert [row.fid for row in found] == [fids[4], fids[3]]
    found = await reader.timeline(limit=2, before=fids[3])
    assert [row.fid for row in found] == [fids[2], fids[1]]
    assert [row.fid for row in await reader.timeline(filter_=Filter("TAG1 flow"))] == [
        fids[3],
        fids[1],
    ]
    assert await reader.timeline(filter_=Filter("tag1 nothing")) == []
    for literal in ("%", "_", "\\", "'"):
        assert await reader.timeline(filter_=Filter(literal)) == []


async def test_archived_executions_leave_the_timeline(
    reader: Reader, spooler: Spooler, database: str
) -> None:
    kept, hidden = fresh(), fresh()
    spooler.append([batch(kept), batch(hidden)])
    await reader.execute("set_archived", fids=[hidden], archived=True)
    assert [row.fid for row in await reader.timeline()] == [kept]
    assert await reader.matching([kept, hidden], Filter()) == {kept}


async def test_changes_miss_nothing_when_a_transaction_commits_late(
    reader: Reader, spooler: Spooler, database: str
) -> None:
    """The late one's counter is older than what was already seen: a clock would miss it."""
    slow, quick = fresh(), fresh()
    spooler.append([batch(slow), batch(quick)])
    _, counter = await reader.changes(None)
    with psycopg.connect(database) as late:
        late.execute(
            "UPDATE kodosumi.execution SET summary = 'late',"
            " changed = pg_current_xact_id()::text::bigint WHERE fid = %s",
            (slow,),
        )
        spooler.append([batch(quick, entered("running", "Running", 1.0))])
        rows, counter = await reader.changes(counter)
        assert [found.fid for found in rows] == [quick]
        rows, counter = await reader.changes(counter)
        assert slow not in {found.fid for found in rows}
        late.commit()
    rows, counter = await reader.changes(counter)
    assert slow in {found.fid for found in rows}
    assert (await reader.changes(counter))[0] == []


async def test_changes_miss_nothing_under_many_writers(database: str, reader: Reader) -> None:
    """Every execution's last status is seen by a client that only ever asks for changes."""
    fids = [fresh() for _ in range(40)]
    seen: dict[str, str] = {}
    over = asyncio.Event()

    def write(mine: list[str]) -> None:
        spooler = Spooler(database, "kodosumi")
        for fid in mine:
            writer = fresh()
            for number, (status, name) in enumerate(
                [("starting", "Pending"), ("running", "Running"), ("finished", "Completed")], 1
            ):
                event = entered(status, name, float(number))
                spooler.append([batch(fid, event, writer=writer, number=number)])
        spooler.close()

    async def watch(counter: int) -> None:
        while True:
            last = over.is_set()
            rows, counter = await reader.changes(counter, limit=7)
            seen.update((found.fid, found.status) for found in rows)
            if last and not rows:
                return

    _, counter = await reader.changes(None)
    watching = asyncio.create_task(watch(counter))
    await asyncio.gather(*(asyncio.to_thread(write, fids[n::4]) for n in range(4)))
    over.set()
    await asyncio.wait_for(watching, 30)
    assert seen == dict.fromkeys(fids, "finished")


async def test_changes_go_on_while_an_old_transaction_holds_the_horizon(
    reader: Reader, spooler: Spooler, database: str
) -> None:
    """A bulk load elsewhere in the cluster must not hide changes behind the first page."""
    with psycopg.connect(database) as old:
        old.execute("SELECT pg_current_xact_id()")
        _, counter = await reader.changes(None)
        fids = [fresh() for _ in range(12)]
        for fid in fids:
            spooler.append([batch(fid, entered("running", "Running", 1.0))])
        seen: set[str] = set()
        for _ in range(12):
            rows, counter = await reader.changes(counter, limit=5)
            seen |= {found.fid for found in rows}
        assert seen == set(fids)


async def test_a_counter_from_another_database_starts_anew(reader: Reader) -> None:
    rows, counter = await reader.changes(2**60)
    assert rows == []
    assert counter < 2**60


async def test_plain_events_are_no_changes(reader: Reader, spooler: Spooler) -> None:
    fid, writer = fresh(), fresh()
    spooler.append([batch(fid, writer=writer)])
    _, counter = await reader.changes(None)
    spooler.append([batch(fid, said("x"), writer=writer, number=2)])
    spooler.heartbeat([fid])
    assert (await reader.changes(counter))[0] == []


async def test_reading_goes_on_after_the_database_was_away(
    database: str, spooler: Spooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "POOL_TIMEOUT", 1.0)
    fid = fresh()
    spooler.append([batch(fid, said("1"))])
    with line_to(database) as line:
        async with Reader(line.url, "kodosumi") as reader:
            assert (await reader.page(fid)).events
            line.cut()
            began = time.monotonic()
            with pytest.raises(psycopg.OperationalError):
                await reader.page(fid)
            assert time.monotonic() - began < 5
            line.restore()
            async with asyncio.timeout(15):
                while True:
                    with suppress(psycopg.OperationalError):  # takes a second each time
                        assert (await reader.page(fid)).events
                        break


async def test_connections_that_went_stale_while_idle_cost_no_error(
    database: str, spooler: Spooler
) -> None:
    fid = fresh()
    spooler.append([batch(fid, said("1"))])
    async with Reader(database, "kodosumi") as reader:
        await asyncio.gather(*(reader.page(fid) for _ in range(6)))
        execute(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        pages = await asyncio.gather(*(reader.page(fid) for _ in range(6)))
        assert all(page.events for page in pages)


async def test_live_executions_tell_silent_processes_from_living_ones(
    reader: Reader, spooler: Spooler, database: str
) -> None:
    live, silent, over = fresh(), fresh(), fresh()
    spooler.append([batch(live, alive=True), batch(silent, alive=True)])
    spooler.append([batch(over, entered("finished", "Completed", 1.0))])
    execute(
        database,
        f"UPDATE kodosumi.execution SET heartbeat_at = now() - interval '1 min'"
        f" WHERE fid = '{silent}'",
    )
    rows = await reader.live(25.0)
    assert {one.fid: one.stale for one in rows} == {live: False, silent: True}
    assert row(database, over)["status"] == "finished"


async def test_a_search_is_of_words_by_their_beginning(reader: Reader, spooler: Spooler) -> None:
    fid = fresh()
    header = Header(flow_name="nightly-report", summary="Zoë's Sheep (v2.1)", tags=["eu/west"])
    spooler.append(
        [batch(fid, said('{"dict": {"text": "one\\ntwo"}}', Kind.INPUTS), header=header)]
    )
    for query in (
        "night",
        "REPORT",
        "nightly-report",
        "zoë",
        "sheep v2",
        "west",
        "two",
        fid,
        fid[:9],
    ):
        assert [row.fid for row in await reader.timeline(filter_=Filter(query))] == [fid], query
    for query in ("ightly", "heep", "ntwo", "nightly goat", "& | !", "':*", "\\"):
        assert await reader.timeline(filter_=Filter(query)) == [], query


async def test_what_every_batch_changes_leaves_the_listing_alone(
    reader: Reader, spooler: Spooler, database: str
) -> None:
    """Else each line of a flow would be sorted into the indexes of lists."""
    fid, writer = fresh(), fresh()
    spooler.append([batch(fid, said("1"), entered("running", "Running", 1.0), writer=writer)])

    def version() -> list[tuple[object, ...]]:
        with psycopg.connect(database) as connection:
            return connection.execute("SELECT xmin, ctid FROM kodosumi.listing").fetchall()

    before = version()
    spooler.append([batch(fid, said("2"), writer=writer, number=2, alive=True)])
    progress = said('{"done": 1}', Kind.PROGRESS)
    spooler.append([batch(fid, progress, writer=writer, number=3, alive=True)])
    assert version() == before
    spooler.append([batch(fid, entered("finished", "Completed", 2.0), writer=writer, number=4)])
    assert version() != before
    assert [row.fid for row in await reader.timeline(filter_=Filter("finished"))] == [fid]
