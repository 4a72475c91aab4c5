"""Budgets: what runs, services, owners and all together may spend, and what follows from it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from kodosumi_prefect import budgets
from kodosumi_prefect.budgets import BudgetExceededError
from kodosumi_prefect.events import Event
from kodosumi_prefect.observer.budgeting import Budgeting
from kodosumi_prefect.observer.pricing import Pricing
from kodosumi_prefect.scope import Scope
from kodosumi_prefect.settings import Settings, reset_settings, use_settings
from kodosumi_prefect.spans.span import Usage
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Header
from kodosumi_prefect.spooler.client import get_client
from kodosumi_prefect.spooler.inbox import Weigh
from kodosumi_prefect.spooler.standing import Standing
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.tracer import Tracer
from tests.spans.test_span_totals import began, ended
from tests.spooler.recording import batch, execute, fresh, stored

TEN = Usage(input=8, output=2)


@pytest.fixture
def spooler(database: str) -> Iterator[Spooler]:
    made = Spooler(database, "kodosumi")
    yield made
    made.close()


@pytest.fixture
async def reader(database: str) -> AsyncIterator[Reader]:
    async with Reader(database, "kodosumi", 2) as made:
        yield made


@pytest.fixture
def recording(settings: Settings) -> Iterator[Settings]:
    """Settings in force, of a process that delivers what it recorded before its end."""
    yield settings
    get_client(settings).close()


def budget(url: str, per: str, **values: Any) -> None:
    columns = {"per": per, **values}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"INSERT INTO kodosumi.budget ({', '.join(columns)})"
            f" VALUES ({', '.join(['%s'] * len(columns))})",
            tuple(columns.values()),
        )


def spend(spooler: Spooler, fid: str, *costs: float | None, **header: Any) -> None:
    """Calls that cost so much each, of ten tokens."""
    events: list[Event] = []
    for cost in costs:
        id_ = fresh()
        events += [began(id_), ended(id_, TEN, cost=cost)]
    spooler.append([batch(fid, *events, header=Header(**header))])


def standing(spooler: Spooler, fid: str) -> Standing:
    return spooler.standings([fid])[fid]


def marks(url: str, fid: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(
            "SELECT m.near_at, m.over_at FROM kodosumi.budget_mark m JOIN kodosumi.execution e"
            " ON e.id = m.execution_id WHERE e.fid = %s",
            (fid,),
        ).fetchall()


def test_a_run_is_within_near_or_over_its_budget(spooler: Spooler, database: str) -> None:
    fid = fresh()
    spend(spooler, fid, 0.5)
    assert standing(spooler, fid).state == "free"
    budget(database, "run", dollars=1)
    assert standing(spooler, fid).state == "within"
    spend(spooler, fid, 0.3)
    assert standing(spooler, fid) == ("near", "run", "dollars", 0.8, 1.0)
    spend(spooler, fid, 0.4)
    assert standing(spooler, fid) == ("spent", "run", "dollars", pytest.approx(1.2), 1.0)


def test_tokens_are_a_budget_too_and_the_fuller_one_is_told(
    spooler: Spooler, database: str
) -> None:
    budget(database, "run", dollars=1, tokens=20)
    fid = fresh()
    spend(spooler, fid, 0.85)
    assert standing(spooler, fid).unit == "dollars"
    spend(spooler, fid, 0.0)
    assert standing(spooler, fid) == ("spent", "run", "tokens", 20.0, 20.0)


def test_a_budget_of_nothing_refuses_the_first_call(spooler: Spooler, database: str) -> None:
    budget(database, "all", tokens=0)
    fid = fresh()
    spooler.append([batch(fid, began("a", type_="agent"))])
    assert standing(spooler, fid).state == "spent"


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_counted_once_is_spent_once(spooler: Spooler, database: str, reverse: bool) -> None:
    """An agent adds up what its call took; in whichever order they end, it is one call's cost."""
    budget(database, "run", dollars=1)
    fid, writer = fresh(), fresh()
    ends = [ended("call", TEN, cost=0.6), ended("agent", TEN, cost=0.6)]
    begins = [began("agent", type_="agent"), began("call", "agent")]
    spooler.append([batch(fid, *begins, *(ends[::-1] if reverse else ends), writer=writer)])
    assert standing(spooler, fid).state == "within"
    assert [mark["near_at"] for mark in marks(database, fid)] in ([], [None])


def test_attempts_share_the_budget_of_their_run(spooler: Spooler, database: str) -> None:
    budget(database, "run", dollars=1)
    fid = fresh()
    for attempt in (1, 2):
        events = [began(f"a{attempt}"), ended(f"a{attempt}", TEN, cost=0.5)]
        spooler.append([batch(fid, *(e._replace(attempt=attempt) for e in events))])
    assert standing(spooler, fid).state == "spent"


@pytest.mark.parametrize(
    ("per", "same", "other"),
    [
        ("owner", {"owner": "ada"}, {"owner": "ben"}),
        ("service", {"flow_name": "research"}, {"flow_name": "digest"}),
        ("service", {"app_url": "/-/h/1/a", "flow_name": "x"}, {"app_url": "/-/h/1/b"}),
    ],
)
def test_runs_of_one_owner_or_service_share_a_day(
    spooler: Spooler, database: str, per: str, same: dict[str, str], other: dict[str, str]
) -> None:
    budget(database, per, dollars=1)
    first, second, third = fresh(), fresh(), fresh()
    spend(spooler, first, 0.6, **same)
    spend(spooler, second, 0.6, **same)
    spend(spooler, third, 0.6, **other)
    assert standing(spooler, first) == ("spent", per, "dollars", 1.2, 1.0)
    assert standing(spooler, second).state == "spent"
    assert standing(spooler, third).state == "within"


def test_a_budget_by_name_counts_in_place_of_everybodys(spooler: Spooler, database: str) -> None:
    budget(database, "run", dollars=0.1)
    budget(database, "run", name="large", dollars=10)
    budget(database, "owner", dollars=0.1)
    budget(database, "owner", name="ada")
    fid = fresh()
    spend(spooler, fid, 1.0, flow_name="large", owner="ada")
    assert standing(spooler, fid).state == "within"


def test_a_day_begins_in_the_zone_that_is_set(spooler: Spooler, database: str) -> None:
    """What was spent a day before, by the clock of the zone, is of another day."""
    budget(database, "all", dollars=1)
    execute(database, "UPDATE kodosumi.budget_rules SET zone = 'Pacific/Kiritimati'")
    fid = fresh()
    spend(spooler, fid, 2.0)
    assert standing(spooler, fid).state == "spent"
    execute(database, "UPDATE kodosumi.budget_rules SET zone = 'Pacific/Niue'")  # 25 hours behind
    assert standing(spooler, fid).state == "within"


def test_parallel_writers_wait_for_none_and_miss_nothing(database: str) -> None:
    budget(database, "all", dollars=1000)
    budget(database, "owner", dollars=1000)
    fids = [fresh() for _ in range(6)]
    together = threading.Barrier(4)

    def write(worker: int) -> None:
        own = Spooler(database, "kodosumi")
        together.wait(30)
        for number in range(5):
            batches = []
            for fid in fids:
                id_ = f"{worker}-{number}"
                events = (began(id_), ended(id_, TEN, cost=0.5))
                batches.append(batch(fid, *events, header=Header(owner="ada")))
            own.append(batches)
        own.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with psycopg.connect(database) as connection:
        spent = connection.execute("SELECT sum(dollars), sum(tokens) FROM kodosumi.spending")
        assert spent.fetchone() == (60, 1200)


@pytest.mark.parametrize(
    ("rule", "states"),
    [
        ("stop", ["spent", "spent"]),
        ("ask", ["asking", "asking"]),
        ("tokens", ["within", "spent"]),
    ],
)
async def test_an_unknown_price_is_never_taken_for_nothing(
    spooler: Spooler, database: str, reader: Reader, rule: str, states: list[str]
) -> None:
    budget(database, "run", dollars=1)
    execute(database, f"UPDATE kodosumi.budget_rules SET unpriced = '{rule}', unpriced_tokens = 20")
    fid = fresh()
    spend(spooler, fid, None)
    assert standing(spooler, fid).state == "within", "it is being looked up"
    await Pricing(Settings(), reader).look()
    assert standing(spooler, fid).state == states[0]
    spend(spooler, fid, None)
    assert standing(spooler, fid).state == states[1]
    assert standing(spooler, fid).unit == "unpriced"


def test_an_unpriced_call_does_not_matter_to_a_budget_in_tokens(
    spooler: Spooler, database: str
) -> None:
    budget(database, "run", tokens=1000)
    execute(database, "UPDATE kodosumi.budget_rules SET unpriced = 'stop'")
    fid = fresh()
    spend(spooler, fid, None)
    execute(database, "UPDATE kodosumi.model_price SET looked_up_at = now()")
    assert standing(spooler, fid).state == "within"


def following(settings: Settings, reader: Reader) -> Budgeting:
    api: Any = None  # nothing that is asked for here is Prefect's
    return Budgeting(settings, reader, api, get_client(settings))


async def test_budgets_of_the_settings_come_and_go_and_leave_those_of_others(
    recording: Settings, database: str, reader: Reader
) -> None:
    budget(database, "owner", dollars=3)
    more = {"budget_run_dollars": 1.0, "budget_day_tokens": 5, "budget_owner_day_dollars": 9.0}
    await following(recording.model_copy(update=more), reader).set_budgets()
    found = {row["per"]: row for row in await reader.rows("budgets")}
    assert {per: row["source"] for per, row in found.items()} == {
        "run": "settings",
        "all": "settings",
        "owner": "operator",
    }
    assert found["owner"]["dollars"] == 3
    await following(recording, reader).set_budgets()
    assert [row["per"] for row in await reader.rows("budgets")] == ["owner"]


async def test_a_run_is_told_once_that_its_budget_is_nearly_spent_and_spent(
    spooler: Spooler, recording: Settings, database: str, reader: Reader
) -> None:
    budget(database, "run", dollars=1)
    fid = fresh()
    follow = following(recording, reader)
    spend(spooler, fid, 0.9)
    for _ in range(2):
        await follow.look()
    spooler.append([batch(fid, began("under-way"))])
    spend(spooler, fid, 0.4)
    for _ in range(2):
        await follow.look()
    told = [event["payload"] for event in stored(database, fid) if event["kind"] == "stderr"]
    assert told == [
        "Budget nearly spent: $0.9000 of $1.00 for this run",
        "Budget spent: $1.30 of $1.00 for this run; 1 call was under way when it was spent,"
        " and may add to it",
    ]


async def test_a_call_is_refused_once_the_budget_is_spent(
    recording: Settings, database: str
) -> None:
    """Without anything having been asked between a call's end and the next one's begin."""
    budget(database, "run", dollars=1)
    fid = fresh()
    with use_settings(recording):
        tracer = Tracer(Scope(fid))
        calls = 0
        with pytest.raises(BudgetExceededError, match=r"\$1.20 of \$1.00 for this run"):
            while True:
                with tracer.llm("m-1") as call:
                    calls += 1
                    call.set(usage=TEN, cost=0.6)
        assert calls == 2
        with pytest.raises(BudgetExceededError):
            async with tracer.llm("m-1"):
                pass
        with tracer.span("search", type="tool"):
            pass


def test_a_later_answer_counts_though_an_earlier_one_is_read_behind_it(
    recording: Settings,
) -> None:
    """As two threads of a run may, which asked one after the other."""
    fid = fresh()
    with use_settings(recording):
        earlier, later = Weigh(fid), Weigh(fid)
        earlier.standing = Standing("near", "run", "tokens", 9.0, 10.0)
        later.standing = Standing("spent", "run", "tokens", 11.0, 10.0)
        for weigh in (earlier, later):
            weigh.passed.set()
        with pytest.raises(BudgetExceededError, match="11 of 10 tokens for this run"):
            budgets._verdict(fid, later)
        with pytest.raises(BudgetExceededError):
            budgets._verdict(fid, earlier)


def test_who_must_not_wait_is_refused_by_an_answer_that_is_there(recording: Settings) -> None:
    fid = fresh()
    with use_settings(recording):
        weigh = budgets._of(get_client(), fid).asked = Weigh(fid)
        budgets.check_now(fid)
        weigh.standing = Standing("spent", "run", "tokens", 11.0, 10.0)
        weigh.passed.set()
        with pytest.raises(BudgetExceededError, match="11 of 10 tokens for this run"):
            budgets.check_now(fid)


def test_code_of_an_event_loop_is_refused_while_somebody_is_asked(recording: Settings) -> None:
    fid = fresh()

    async def calls() -> None:
        with Tracer(Scope(fid)).llm("m-1"):
            raise AssertionError("it was made")

    with use_settings(recording):
        weigh = budgets._of(get_client(), fid).asked = Weigh(fid)
        weigh.standing = Standing("asking", "run", "tokens", 11.0, 10.0)
        weigh.passed.set()
        with pytest.raises(BudgetExceededError, match=r"Somebody is asked .*check_async"):
            asyncio.run(calls())


def call_until_refused(url: str, data_dir: Path, fid: str) -> int:
    """In a process of its own: five threads that call models; how many calls were made."""

    def calls() -> int:
        made = 0
        with suppress(BudgetExceededError):
            while True:
                with tracer.llm("m-1") as call:
                    call.set(usage=TEN)
                made += 1
        return made

    settings = Settings(database_url=SecretStr(url), data_dir=data_dir)
    reset_settings(settings)
    tracer = Tracer(Scope(fid))
    with ThreadPoolExecutor(5) as pool:
        made = sum(pool.map(lambda _: calls(), range(5)))
    get_client().close()
    return made


def test_twenty_calls_at_once_overshoot_by_those_under_way_at_most(
    database: str, tmp_path: Path, spooler: Spooler
) -> None:
    budget(database, "run", tokens=600)
    fid = fresh()
    spooler.append([batch(fid, began("root", type_="agent"))])
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        asked = [pool.submit(call_until_refused, database, tmp_path, fid) for _ in range(4)]
        made = sum(one.result(120) for one in asked)
    assert 60 <= made < 80
    assert standing(spooler, fid) == ("spent", "run", "tokens", 10.0 * made, 600.0)


async def test_a_call_goes_on_once_somebody_allows_more(
    recording: Settings, database: str, reader: Reader
) -> None:
    budget(database, "run", dollars=1, at_limit="ask")
    fid = fresh()
    with use_settings(recording):
        tracer = Tracer(Scope(fid))
        async with tracer.llm("m-1") as call:
            call.set(usage=TEN, cost=1.5)
        next_call = asyncio.create_task(budgets.check_async(fid))
        follow = following(recording, reader)
        await follow.look()
        while not (opened := open_locks(database, fid)):
            await follow.look()
        assert not next_call.done()
        answer(database, opened[0], '{"more": 1}')
        await follow.look()
        await next_call
        async with tracer.llm("m-1") as call:
            call.set(usage=TEN, cost=0.6)
        last = asyncio.create_task(budgets.check_async(fid))
        await follow.look()
        while not (again := open_locks(database, fid)):
            await follow.look()
        assert again != opened
        answer(database, again[0], '{"more": 0}')
        await follow.look()
        with pytest.raises(BudgetExceededError, match=r"\$2.10 of \$2.00"):
            await last


def open_locks(url: str, fid: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT l.lid FROM kodosumi.lock l JOIN kodosumi.execution e ON e.id = l.execution_id"
            " WHERE e.fid = %s AND l.state = 'open'",
            (fid,),
        )
        return [lid for (lid,) in rows]


def answer(url: str, lid: str, result: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE kodosumi.lock SET state = 'leased', result = %s WHERE lid = %s", (result, lid)
        )


async def test_without_budgets_a_call_asks_seldom(recording: Settings, database: str) -> None:
    fid = fresh()
    with use_settings(recording):
        tracer = Tracer(Scope(fid))
        with tracer.llm("m-1"):
            pass
        client = get_client()
        asked: list[str] = []
        weigh = client.weigh
        client.weigh = lambda fid: asked.append(fid) or weigh(fid)  # type: ignore[method-assign,func-returns-value]
        for _ in range(100):
            with tracer.llm("m-1"):
                pass
        assert asked == []


def test_while_the_database_is_away_calls_are_made(recording: Settings) -> None:
    away = {"database_url": None, "data_dir": recording.data_dir / "nothing"}
    with use_settings(recording.model_copy(update=away)), Tracer(Scope(fresh())).llm("m-1"):
        pass
