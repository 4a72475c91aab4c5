"""clean: what ended long ago goes, and nothing else does."""

import asyncio
from collections.abc import Iterator

import orjson
import psycopg
import pytest

from kodosumi_prefect.cli.clean import clean
from kodosumi_prefect.cli.output import CommandError, console
from kodosumi_prefect.database import migrate, retention
from kodosumi_prefect.database.retention import Retention
from kodosumi_prefect.events import serialize
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.stream.feed import End, Feed
from kodosumi_prefect.stream.reader import Reader, StoredEvent
from tests.panel.panel_runs import Run
from tests.spooler.recording import execute, stored

TABLES = ("execution", "event", "writer", "seen", "runner")


class Past:
    """Executions of a database that ended some days ago."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs: list[Run] = []

    def run(self, days: float | None, *lines: str) -> str:
        """One that ended so long ago, with lines of stdout; with None it is not over."""
        run = Run(self.url).begin().lines(*lines).say("result", serialize("kept"))
        self.runs.append(run)
        if days is not None:
            run.finish()
            execute(
                self.url,
                f"UPDATE kodosumi.execution SET ended_at = now() - interval '{days} days'"
                f" WHERE fid = '{run.fid}'",
            )
        else:
            # Begun long ago, and even ended once: a retry runs.
            execute(
                self.url,
                "UPDATE kodosumi.execution SET created_at = '2020-01-01', ended_at = '2020-01-02',"
                f" started_at = '2020-01-01' WHERE fid = '{run.fid}'",
            )
        return run.fid

    def count(self, table: str) -> int:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(f"SELECT count(*) FROM kodosumi.{table}").fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def past(settings: Settings, database: str) -> Iterator[Past]:
    made = Past(database)
    yield made
    for run in made.runs:
        run.close()


def cleaned(settings: Settings, *, dry_run: bool = False, **days: float) -> str:
    """What the command prints."""
    with use_settings(settings.model_copy(update=days)), console.capture() as said:
        clean(dry_run=dry_run)
    return said.get()


def test_executions_that_ended_long_ago_go_with_all_that_belongs_to_them(
    past: Past, settings: Settings
) -> None:
    old = past.run(40, "a", "b")
    execute(past.url, f"INSERT INTO kodosumi.runner (fid, attempt) VALUES ('{old}', 1)")
    said = cleaned(settings, retention_days=30)
    assert "deleted 1 executions that ended more than 30 days ago, with 9 events" in said
    assert {table: past.count(table) for table in TABLES} == dict.fromkeys(TABLES, 0)


def test_younger_and_live_executions_are_not_touched(past: Past, settings: Settings) -> None:
    fids = [past.run(29, "young"), past.run(None, "live"), past.run(31, "old")]
    before = [stored(past.url, fid) for fid in fids]
    cleaned(settings, retention_days=30, retention_stdio_days=29.5)
    assert [stored(past.url, fid) for fid in fids] == [before[0], before[1], []]
    assert past.count("execution") == 2


def test_a_dry_run_counts_the_same_and_deletes_nothing(past: Past, settings: Settings) -> None:
    for days in (40, 40, 10, 1, None):
        past.run(days, "a", "b")
    days = {"retention_days": 30, "retention_stdio_days": 7}
    before = {table: past.count(table) for table in TABLES}
    would = cleaned(settings, dry_run=True, **days)
    assert {table: past.count(table) for table in TABLES} == before
    assert "would delete 2 executions" in would
    assert "would delete 2 stdio events" in would
    assert cleaned(settings, **days) == would.replace("would delete", "deleted")
    assert "deleted 0 executions" in cleaned(settings, **days)


def test_stdio_goes_earlier_and_the_rest_still_reads_in_order(
    past: Past, settings: Settings
) -> None:
    fid = past.run(10, *(f"line {i}" for i in range(50)))
    main = [event for event in stored(past.url, fid) if event["kind"] != "stdout"]
    said = cleaned(settings, retention_stdio_days=7)
    assert "deleted 50 stdio events" in said
    assert stored(past.url, fid) == main

    async def followed() -> list[int]:
        seen = []
        async with Reader(past.url, "kodosumi") as reader, Feed(reader, past.url) as feed:
            async for item in feed.subscribe(fid):
                if isinstance(item, StoredEvent):
                    seen.append(item.seq)
                elif isinstance(item, End):
                    break
        return seen

    assert asyncio.run(asyncio.wait_for(followed(), 20)) == [event["seq"] for event in main]


CANARY = "canary-4711"


def said_by_a_model(past: Past, days: float) -> tuple[str, list[str]]:
    """An execution whose spans and actions hold a canary; and its other payloads."""
    run = Run(past.url).begin()
    past.runs.append(run)
    for number in range(3):
        span = {"id": f"s-{number}", "name": "m", "type": "llm", "input": [CANARY]}
        run.say("span", orjson.dumps({"Span": {"at": "begin", **span}}).decode())
        usage = {"output": {"text": CANARY}, "usage": {"input": 3, "output": 1}}
        run.say(
            "span", orjson.dumps({"Span": {"at": "end", "id": f"s-{number}", **usage}}).decode()
        )
    run.say("span", '{"Span": {"at": "begin", "id": "plain", "name": "without", "type": "tool"}}')
    run.say("action", serialize({"AgentFinish": CANARY}))
    run.say("result", serialize("kept"))
    run.finish()
    execute(
        past.url,
        f"UPDATE kodosumi.execution SET ended_at = now() - interval '{days} days' "
        f"WHERE fid = '{run.fid}'",
    )
    others = [e["payload"] for e in stored(past.url, run.fid) if CANARY not in e["payload"]]
    return run.fid, others


def test_prompts_and_answers_go_earlier_and_all_else_stays(
    past: Past, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PORTION_CONTENTS", 3)
    old, others = said_by_a_model(past, 10)
    young, _ = said_by_a_model(past, 1)
    before = {fid: stored(past.url, fid) for fid in (old, young)}
    would = cleaned(settings, dry_run=True, content_retention_days=7)
    assert "would delete prompts and answers of up to" in would
    assert stored(past.url, old) == before[old]
    said = cleaned(settings, content_retention_days=7)
    assert "deleted prompts and answers of 7 events of 1 executions" in said
    after = stored(past.url, old)
    assert CANARY not in str(after)
    same = ("seq", "ts", "kind", "attempt", "source")
    assert [[e[key] for key in same] for e in after] == [
        [e[key] for key in same] for e in before[old]
    ]
    assert [e["payload"] for e in after if e["payload"] in others] == others
    spans = [orjson.loads(e["payload"])["Span"] for e in after if e["kind"] == "span"]
    assert spans[1]["usage"] == {"input": 3, "output": 1}
    assert stored(past.url, young) == before[young]
    assert "answers of 0 events of 0" in cleaned(settings, content_retention_days=7)


def test_what_a_late_writer_adds_goes_the_next_time(past: Past, settings: Settings) -> None:
    old, _ = said_by_a_model(past, 10)
    cleaned(settings, content_retention_days=7)
    past.runs[-1].say("action", serialize({"AgentFinish": CANARY}))
    assert CANARY in str(stored(past.url, old))
    cleaned(settings, content_retention_days=7)
    assert CANARY not in str(stored(past.url, old))


def test_many_executions_go_in_small_portions(
    past: Past, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        past.run(40, "a", "b")
    monkeypatch.setattr(retention, "PORTION", 3)
    with Retention(past.url, "kodosumi", dry_run=True) as dry:
        assert [part.executions for part in dry.executions(30)] == [3, 2]
    monkeypatch.setattr(retention, "PORTION_EVENTS", 10)
    with Retention(past.url, "kodosumi") as wet:
        assert [part.executions for part in wet.executions(30)] == [2, 2, 1]
    assert past.count("event") == 0


def test_an_execution_that_is_being_written_is_left_for_the_next_time(
    past: Past, settings: Settings
) -> None:
    fid = past.run(40)
    with psycopg.connect(past.url) as writer:
        writer.execute("SELECT 1 FROM kodosumi.execution WHERE fid = %s FOR UPDATE", (fid,))
        assert "deleted 0 executions" in cleaned(settings, retention_days=30)
    assert "deleted 1 executions" in cleaned(settings, retention_days=30)


def test_an_event_that_comes_after_its_execution_was_deleted_is_stored(
    past: Past, settings: Settings
) -> None:
    fid = past.run(40, "old")
    cleaned(settings, retention_days=30)
    late = Run(past.url)
    late.fid = fid
    late.lines("late").close()
    assert [event["payload"] for event in stored(past.url, fid)] == ["late"]


def partitions(past: Past) -> set[str]:
    with psycopg.connect(past.url) as connection:
        rows = connection.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'kodosumi.event'::regclass"
        ).fetchall()
    return {row[0] for row in rows}


def at_number(past: Past, number: int) -> None:
    """Let the next execution have this internal id."""
    execute(past.url, f"ALTER TABLE kodosumi.execution ALTER COLUMN id RESTART WITH {number}")


def test_partitions_go_when_all_of_their_executions_did(past: Past, settings: Settings) -> None:
    past.run(40, "old")
    at_number(past, 1500)
    young = past.run(10, "young")
    at_number(past, 2500)
    past.run(40, "old")
    at_number(past, 4500)
    past.run(40, "old")
    assert partitions(past) == {f"event_{n}" for n in (0, 1, 2, 3, 4, 5)}
    assert "partitions" not in cleaned(settings, dry_run=True, retention_days=30)
    # The newest execution's partition and the one before stay: new executions may come there.
    assert "dropped 2 empty partitions" in cleaned(settings, retention_days=30)
    assert partitions(past) == {"event_1", "event_3", "event_4", "event_5"}
    assert len(stored(past.url, young)) == 8
    past.run(None, "next")


def test_a_partition_that_is_read_is_left_and_nobody_waits_for_long(
    past: Past, settings: Settings
) -> None:
    past.run(40, "old")
    at_number(past, 4500)
    past.run(None, "live")
    with psycopg.connect(past.url) as reader:
        reader.execute("SELECT count(*) FROM kodosumi.event")
        assert "partitions" not in cleaned(settings, retention_days=30)
    assert "dropped 1 empty partitions" in cleaned(settings, retention_days=30)


def test_an_event_after_its_partition_was_dropped_is_stored(past: Past, settings: Settings) -> None:
    old = past.run(40, "old")
    at_number(past, 4500)
    past.run(None, "live")
    cleaned(settings, retention_days=30)
    assert "event_0" not in partitions(past)
    late = Run(past.url)
    late.fid = old
    late.lines("late").close()
    assert [event["payload"] for event in stored(past.url, old)] == ["late"]


def test_who_follows_changes_is_told_what_was_deleted(past: Past, settings: Settings) -> None:
    gone, back = past.run(40, "old"), past.run(40, "old")

    async def changes(since: int | None) -> tuple[set[str], int]:
        async with Reader(past.url, "kodosumi") as reader:
            _, counter = await reader.changes(since)
            return set(await reader.deleted(since)), counter

    _, counter = asyncio.run(changes(None))
    assert asyncio.run(changes(counter))[0] == set()
    cleaned(settings, retention_days=30)
    found, later = asyncio.run(changes(counter))
    assert found == {gone, back}
    late = Run(past.url)
    late.fid = back
    late.lines("late").close()
    assert asyncio.run(changes(counter))[0] == {gone}
    execute(past.url, "UPDATE kodosumi.deleted SET deleted_at = now() - interval '8 days'")
    cleaned(settings, retention_days=30)
    assert past.count("deleted") == 0
    assert later > counter


def test_runners_go_whose_worker_never_came_back_unless_their_run_is_not_over(
    past: Past, settings: Settings
) -> None:
    over, live, young = past.run(2), past.run(None), past.run(2)
    deleted = "0198c0de-0000-7000-8000-000000000000"
    execute(
        past.url,
        "INSERT INTO kodosumi.runner (fid, attempt, lease_until) VALUES "
        + ", ".join(
            f"('{fid}', 1, now() - interval '{hours} hours')"
            for fid, hours in ((over, 25), (live, 25), (young, 23), (deleted, 25))
        ),
    )
    cleaned(settings, dry_run=True, retention_days=30)
    assert past.count("runner") == 4
    cleaned(settings, retention_days=30)
    with psycopg.connect(past.url) as connection:
        rows = connection.execute("SELECT fid::text FROM kodosumi.runner").fetchall()
    assert {fid for (fid,) in rows} == {live, young}


def test_without_settings_nothing_is_deleted(past: Past, settings: Settings) -> None:
    past.run(4000)
    with pytest.raises(CommandError, match="retention is off; set retention_days"):
        cleaned(settings)
    assert past.count("execution") == 1


def test_a_writer_has_the_rights_to_clean(past: Past, database: str) -> None:
    past.run(40, "a")
    execute(database, migrate.grants("kodosumi"))
    execute(database, "ALTER ROLE kodosumi_writer PASSWORD 'a-password'")
    url = psycopg.conninfo.make_conninfo(database, user="kodosumi_writer", password="a-password")
    try:
        at_number(past, 4500)
        past.run(None, "live")
        with Retention(url, "kodosumi") as made:
            assert [part.executions for part in made.executions(30)] == [1]
            assert list(made.partitions()) == ["event_0"]
        assert past.count("writer") == 1
    finally:
        for role in ("owner", "writer", "reader"):
            execute(database, f"DROP OWNED BY kodosumi_{role} CASCADE; DROP ROLE kodosumi_{role}")
