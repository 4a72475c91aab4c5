"""Links to answer with in what webhooks get: of who is asked only, one a message."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from kodosumi_prefect import forms
from kodosumi_prefect.locks.answering import Locks
from kodosumi_prefect.locks.delegating import delegate
from kodosumi_prefect.locks.links import find_link
from kodosumi_prefect.outbox.webhooks import Webhooks
from kodosumi_prefect.panel.accounts.accounts import Accounts
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from tests.outbox.conftest import Sending
from tests.outbox.receivers import Got, Receiver, receiving, until
from tests.outbox.test_outbox import asked
from tests.panel.panel_runs import Run, fetch

Hook = Callable[..., Awaitable[Any]]
PUBLIC = "https://panel.example.org/kodosumi"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"panel_url": PUBLIC})


@pytest.fixture
def run(database: str, ann: str) -> Iterator[Run]:
    made = Run(database, owner=ann).begin()
    yield made
    made.close()


@pytest.fixture
async def bob(reader: Reader) -> AsyncIterator[str]:
    yield (await Accounts(reader).add("bob")).id


def link_of(got: Got) -> str | None:
    return got.json["data"].get("answer_link")


def token_of(got: Got) -> str:
    link = link_of(got)
    assert link is not None
    assert link.startswith(f"{PUBLIC}/answer/")
    return urlsplit(link).path.rpartition("/")[2]


def remind(database: str, lid: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO kodosumi.lock_step (execution_id, lid, step)"
            " SELECT execution_id, lid, 'reminded' FROM kodosumi.lock WHERE lid = %s",
            (lid,),
        )


async def test_who_is_asked_gets_a_link_of_their_own(
    database: str,
    receiver: Receiver,
    hook: Hook,
    sending: Sending,
    run: Run,
    reader: Reader,
    ann: str,
    bob: str,
    boss: str,
) -> None:
    with receiving() as bobs, receiving() as plain, receiving() as operators:
        await hook(with_links=True)
        await hook(owner=bob, url=bobs.url, with_links=True)
        await hook(owner=bob, url=plain.url)
        await hook(owner=boss, url=operators.url, with_links=True, everyone=True)
        async with sending():
            run.say("lock", asked("l1", link=True, ask=["bob"]))
            remind(database, "l1")
            for each in (receiver, bobs, plain, operators):
                await until(lambda each=each: len(each.got) == 2)
        # Ann owns the run, Bob is asked; operators, who may answer all, are asked nothing.
        assert [link_of(got) for got in receiver.got + plain.got + operators.got] == [None] * 6
        opened, reminded = bobs.got
        link = await find_link(reader, token_of(opened))
        assert link is not None
        assert (link.fid, link.lid, link.account, link.recipient) == (run.fid, "l1", bob, "bob")
        assert token_of(reminded) != token_of(opened)
        [audited] = fetch(
            database,
            "SELECT count(*) AS links FROM kodosumi.audit"
            " WHERE action = 'link_create' AND details ->> 'recipient' = 'bob'",
        )
        assert audited["links"] == 2


async def test_a_message_that_is_sent_again_has_the_same_link(
    database: str,
    receiver: Receiver,
    hook: Hook,
    sending: Sending,
    run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "kodosumi_prefect")
    await hook(with_links=True)
    answers = iter([(500, {}), (503, {})])
    receiver.answer = lambda got: next(answers, (200, {}))
    async with sending():
        run.say("lock", asked("l1", link=True))
        await until(lambda: len(receiver.got) == 3)
        await until(
            lambda: (
                fetch(database, "SELECT state FROM kodosumi.webhook_delivery")[0]["state"]
                == "delivered"
            )
        )
    assert len({got.body for got in receiver.got}) == 1
    assert len(fetch(database, "SELECT hash FROM kodosumi.lock_link")) == 1
    token = token_of(receiver.got[0])
    assert token not in caplog.text
    names = "SELECT tablename FROM pg_tables WHERE schemaname = 'kodosumi'"
    for table in [row["tablename"] for row in fetch(database, names)]:
        assert token not in str(fetch(database, f'SELECT * FROM kodosumi."{table}"')), table


@pytest.mark.parametrize(
    ("changed", "question"),
    [
        ({}, {}),
        ({"panel_url": "http://127.0.0.1:3370"}, {"link": True}),
        ({"answer_links": False}, {"link": True}),
        ({}, {"link": True, "elements": forms.Model(forms.InputFiles("scan")).get_model()}),
    ],
    ids=["not allowed by the run", "loopback", "switched off", "takes files"],
)
async def test_no_link_is_sent(
    receiver: Receiver,
    hook: Hook,
    sending: Sending,
    run: Run,
    database: str,
    changed: dict[str, Any],
    question: dict[str, Any],
) -> None:
    await hook(with_links=True)
    async with sending(**changed):
        run.say("lock", asked("l1", **question))
        [got] = await until(lambda: receiver.got)
    assert link_of(got) is None
    assert fetch(database, "SELECT hash FROM kodosumi.lock_link") == []


@pytest.mark.parametrize("end", ["answered", "handed on"])
async def test_a_link_that_has_ended_is_not_sent_again(
    receiver: Receiver,
    hook: Hook,
    sending: Sending,
    run: Run,
    reader: Reader,
    ann: str,
    bob: str,
    end: str,
) -> None:
    await hook("lock.opened", with_links=True)
    receiver.answer = lambda got: (500 if len(receiver.got) == 1 else 200, {})
    async with sending() as sender:
        sender._pause = lambda tries: 0.0 if ended else 0.2
        ended: list[bool] = []
        run.say("lock", asked("l1", link=True))
        await until(lambda: receiver.got)
        if end == "answered":
            await Locks(reader).answer(run.fid, "l1", {}, by="ann")
        else:
            await delegate(reader, run.fid, "l1", "bob", by=ann, name="ann", means="session")
        ended.append(True)
        await until(lambda: len(receiver.got) == 2)
    first, second = receiver.got
    assert first.id == second.id
    link = await find_link(reader, token_of(first))
    assert link is not None
    assert link.revoked == (end == "handed on")
    assert link_of(second) is None


async def test_webhooks_get_no_links_unless_it_was_said(
    webhooks: Webhooks, ann: str, receiver: Receiver
) -> None:
    made = await webhooks.add(ann, name="a", url=receiver.url, kinds=["lock.opened"])
    assert made.webhook.with_links is False
    changed = await webhooks.change(made.webhook.id, with_links=True)
    assert changed.with_links is True
