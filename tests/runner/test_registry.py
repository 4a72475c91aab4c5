"""Which worker answers for which flow run: leases in real Postgres."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from kodosumi_prefect.database import channels
from kodosumi_prefect.database.worker_messages import Message, parse
from kodosumi_prefect.runner.registry import AwayError, KnownRunner, Registry
from kodosumi_prefect.settings import Settings, database_url

POOL, NAMESPACE = "agents", "kodosumi-test"


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[Callable[..., Registry]]:
    """Registries of workers by name, with leases of their own length."""
    async with AsyncExitStack() as stack:

        def make(name: str, lease: float = 60.0, used: Settings = settings) -> Registry:
            made = Registry(used, name, lease)
            stack.push_async_callback(made.close)
            return made

        yield make


def row_of(settings: Settings, fid: UUID) -> dict[str, object] | None:
    with psycopg.connect(database_url(settings) or "", row_factory=dict_row) as connection:
        found = connection.execute(
            "SELECT *, lease_until > now() AS held FROM kodosumi.runner WHERE fid = %s", (fid,)
        )
        return found.fetchone()


async def test_of_two_workers_one_answers_for_a_run(worker, settings):
    one, two, fid = worker("one"), worker("two"), uuid4()
    assert await one.claim(fid, 1, POOL, NAMESPACE) == KnownRunner(None, None)
    assert await two.claim(fid, 1, POOL, NAMESPACE) is None
    await one.place(fid, "runner-7", "node-1", 4711)
    assert await one.claim(fid, 1, POOL, NAMESPACE) == KnownRunner("runner-7", 4711)
    row = row_of(settings, fid)
    assert row is not None
    assert (row["state"], row["pid"], row["worker"]) == ("running", 4711, "one")


async def test_many_workers_that_claim_at_once_get_one_winner(worker):
    fid = uuid4()
    registries = [worker(f"worker-{number}") for number in range(8)]
    won = await asyncio.gather(*(one.claim(fid, 1, POOL, NAMESPACE) for one in registries))
    assert len([row for row in won if row is not None]) == 1


async def test_a_lapsed_lease_lets_another_take_over_with_the_name_of_the_runner(worker):
    one, two, fid = worker("one", lease=0.0), worker("two"), uuid4()
    await one.claim(fid, 1, POOL, NAMESPACE)
    await one.place(fid, "runner-7")
    assert await two.claim(fid, 1, POOL, NAMESPACE) == KnownRunner("runner-7", None)
    assert await one.claim(fid, 1, POOL, NAMESPACE) is None
    await one.place(fid, "runner-8")  # too late: it is not this worker's any more
    await one.forget(fid)
    assert await two.claim(fid, 1, POOL, NAMESPACE) == KnownRunner("runner-7", None)


async def test_what_prefect_hands_over_is_ours_whoever_had_the_attempt_before(worker, settings):
    one, two, fid = worker("one"), worker("two"), uuid4()
    await one.claim(fid, 1, POOL, NAMESPACE)
    await one.place(fid, "runner-7", "node-1", 4711)
    assert await two.claim(fid, 2, POOL, NAMESPACE, mine=True) == KnownRunner(None, None)
    row = row_of(settings, fid)
    assert row is not None
    assert (row["attempt"], row["state"], row["pid"], row["worker"]) == (2, "starting", None, "two")


async def test_renewing_holds_a_lease_and_leaving_gives_it_up(worker, settings):
    one, fid = worker("one"), uuid4()
    await one.claim(fid, 1, POOL, NAMESPACE)
    await one.report({"pool": POOL})
    await one.renew([fid])
    assert row_of(settings, fid)["held"]
    await one.leave()
    assert not row_of(settings, fid)["held"]
    with psycopg.connect(database_url(settings) or "") as connection:
        assert connection.execute("SELECT FROM kodosumi.service").rowcount == 0


async def test_without_postgres_only_claims_say_so(worker, settings, caplog):
    nowhere = settings.model_copy(
        update={"database_url": SecretStr("postgresql://x@127.0.0.1:1/x?connect_timeout=1")}
    )
    one, fid = worker("one", used=nowhere), uuid4()
    with pytest.raises(AwayError):
        await one.claim(fid, 1, POOL, NAMESPACE)
    for _ in range(3):
        await one.place(fid, "runner-7")
        await one.renew([fid])
        await one.report({})
        await one.forget(fid)
    told = [record for record in caplog.records if "does not answer the worker" in record.message]
    assert len(told) == 1


async def test_messages_arrive_after_a_first_none(worker, settings):
    one = worker("one")
    messages = one.messages()
    async with asyncio.timeout(20):
        assert await anext(messages) is None
        with psycopg.connect(database_url(settings) or "", autocommit=True) as connection:
            for payload in (Message("wake", POOL).payload(), "nonsense", '{"later": "x"}'):
                connection.execute(
                    "SELECT pg_notify(%s, %s)", (channels.workers("kodosumi"), payload)
                )
            drain = Message("drain", 'wörker "1"').payload()
            connection.execute("SELECT pg_notify(%s, %s)", (channels.workers("kodosumi"), drain))
        assert await anext(messages) == Message("wake", POOL)
        assert await anext(messages) == Message("drain", 'wörker "1"')
    await messages.aclose()


@pytest.mark.parametrize("payload", ["", "[]", "{}", '{"wake": 1}', '{"a": "b", "c": "d"}', "null"])
def test_what_is_no_message_is_none(payload: str):
    assert parse(payload) is None
