"""Webhooks as receivers get them: signed, in order, again after a failure, and nobody waits."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.locks.answering import Locks
from kodosumi_prefect.observer import delivering
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.delivering import PAUSES, Delivering, pause_after
from kodosumi_prefect.observer.outbox_bell import OutboxBell
from kodosumi_prefect.observer.prefect_events import PrefectEvents
from kodosumi_prefect.observer.telling import Telling
from kodosumi_prefect.outbox.posting import Posted
from kodosumi_prefect.outbox.webhooks import Webhooks
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from tests.outbox.conftest import Sending
from tests.outbox.receivers import Receiver, receiving, until
from tests.outbox.test_outbox import asked
from tests.panel.panel_runs import Run
from tests.spooler.recording import execute

Hook = Callable[..., Awaitable[Any]]


@pytest.fixture
def run(database: str, ann: str) -> Iterator[Run]:
    made = Run(database, owner=ann, summary="Invoices").begin()
    yield made
    made.close()


def sent(url: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(
            "SELECT d.*, o.kind FROM kodosumi.webhook_delivery d"
            " JOIN kodosumi.outbox o ON o.id = d.outbox_id ORDER BY d.id"
        ).fetchall()


def states(url: str) -> list[str]:
    return [row["state"] for row in sent(url)]


async def test_a_receiver_can_tell_who_sent_what_and_when(
    receiver: Receiver, hook: Hook, sending: Sending, run: Run
) -> None:
    made = await hook()
    async with sending():
        run.say("lock", asked("l1", title="Approve it", question="Pay **5**?"))
        [got] = await until(lambda: receiver.got)
    read = Verifier(made.secret).verify(got.body, got.headers)
    assert read["type"] == "kodosumi.lock.opened"
    assert abs(time.time() - float(got.headers["webhook-timestamp"])) < 60
    assert got.headers["content-type"] == "application/json"
    data = read["data"]
    assert data["link"].endswith(f"/waiting/{run.fid}/l1")
    assert (data["title"], data["execution_title"]) == ("Approve it", "Invoices")
    assert (data["execution"], data["lock"], data["flow"]) == (run.fid, "l1", "some-flow")
    assert data.keys().isdisjoint({"question", "data"})
    with pytest.raises(WebhookVerificationError):
        Verifier(made.secret).verify(got.body.replace("Approve", "Refuse"), got.headers)


async def test_what_a_question_asks_is_told_only_if_that_was_chosen(
    receiver: Receiver, hook: Hook, sending: Sending, run: Run, reader: Reader
) -> None:
    await hook(with_data=True)
    async with sending():
        run.say("lock", asked("l1", question="Pay **5**?"))
        run.say("lock", asked("l2", question="x" * 20_000))
        await Locks(reader).answer(run.fid, "l1", {"secret": "sesame"}, by="ann")
        await until(lambda: len(receiver.got) == 3)
    first, large, answered = (got.json["data"] for got in receiver.got)
    assert (first["question"], first["data"]) == ("Pay **5**?", {"amount": 5})
    assert large["data_left_out"]
    assert "question" not in large
    assert "sesame" not in str(answered)


async def test_what_failed_is_tried_again_with_the_same_id_and_in_order(
    database: str, receiver: Receiver, hook: Hook, sending: Sending, run: Run, ann: str
) -> None:
    await hook()
    answers = iter([(500, {}), (429, {}), (200, {}), (503, {})])
    receiver.answer = lambda got: next(answers, (204, {}))
    run.say("lock", asked("l1"))
    run.finish()
    async with sending():
        await until(lambda: states(database) == ["delivered"] * 2)
    assert receiver.kinds() == ["lock.opened"] * 3 + ["execution.finished"] * 2
    assert len({got.id for got in receiver.got[:3]}) == 1
    assert len({got.id for got in receiver.got}) == 2
    assert [row["tries"] for row in sent(database)] == [3, 2]


async def test_an_answer_after_the_time_out_is_followed_by_the_same_id(
    database: str, receiver: Receiver, hook: Hook, sending: Sending, run: Run
) -> None:
    await hook()

    def late(got: Any) -> tuple[int, dict[str, str]]:
        if len(receiver.got) == 1:
            time.sleep(0.6)
        return 200, {}

    receiver.answer = late
    run.finish()
    async with sending(webhook_timeout=0.3):
        await until(lambda: states(database) == ["delivered"])
    first, second = receiver.got
    assert first.id == second.id
    assert first.body == second.body


async def test_a_sender_that_is_killed_leaves_what_it_began_to_the_next_one(
    database: str,
    receiver: Receiver,
    hook: Hook,
    sending: Sending,
    run: Run,
    reader: Reader,
    settings: Settings,
) -> None:
    """Once it had claimed, and once it had sent and not noted that."""
    await hook()
    run.say("lock", asked("l1"))
    run.finish()
    killed = Delivering(settings, reader, OutboxBell(settings))
    [claimed] = await killed.claim()
    assert claimed.kind == "lock.opened"
    assert await killed.claim() == []  # neither that nor what follows it
    async with sending():
        await until(lambda: states(database) == ["delivered"] * 2)
    assert receiver.kinds() == ["lock.opened", "execution.finished"]
    assert [row["tries"] for row in sent(database)] == [2, 1]
    # The note of the one that was killed comes after all: it changes nothing.
    which = {"id": claimed.id, "tries": claimed.tries, "status": 500}
    await reader.execute("delivery_failed", **which, trouble="late", pause=1.0, gone=False)
    assert states(database) == ["delivered"] * 2


async def test_what_was_begun_and_never_noted_is_sent_again_by_the_same_sender(
    database: str,
    receiver: Receiver,
    hook: Hook,
    sending: Sending,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivering, "LEASE", -4.8)  # beside a time-out of 5 s
    await hook()
    run.finish()
    async with sending() as sender:
        posts = iter([Posted(200, None)])
        whole = sender._note

        async def lost(delivery: Any, posted: Posted) -> bool:
            return next(posts, None) is not None or await whole(delivery, posted)

        monkeypatch.setattr(sender, "_note", lost)
        await until(lambda: states(database) == ["delivered"])
    assert len(receiver.got) > 1  # more often where a try takes longer than the lease
    assert len({got.id for got in receiver.got}) == 1


async def test_a_slow_and_a_dead_receiver_hold_up_nobody_else(
    database: str, receiver: Receiver, hook: Hook, sending: Sending, run: Run, ann: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody, receiving() as slow:
        slow.answer = lambda got: (time.sleep(0.5), (200, {}))[1]
        await hook(url=slow.url)
        await hook(url=f"http://127.0.0.1:{nobody.getsockname()[1]}/")
        await hook()
        runs = [Run(database, owner=ann).begin() for _ in range(12)]
        async with sending():
            for one in runs:
                one.finish()
            await until(lambda: len(receiver.got) == 12)
            assert len(slow.got) < 12
        for one in runs:
            one.close()


async def test_after_a_day_it_is_set_aside_and_can_be_sent_again(
    database: str,
    receiver: Receiver,
    hook: Hook,
    sending: Sending,
    run: Run,
    webhooks: Webhooks,
) -> None:
    made = await hook()
    receiver.answer = lambda got: (500, {})
    run.say("lock", asked("l1"))
    async with sending():
        await until(lambda: sent(database)[0]["tries"] > 1)
        execute(
            database,
            "UPDATE kodosumi.webhook_delivery SET began_at = now() - interval '1 day'",
        )
        await until(lambda: states(database) == ["set_aside"])
        [row] = sent(database)
        assert (row["status"], row["trouble"]) == (500, "it answered 500")
        run.finish()  # what follows is not held up by it
        receiver.answer = lambda got: (200, {})
        await until(lambda: states(database) == ["set_aside", "delivered"])
        assert await webhooks.send_again(made.webhook.id) == 1
        await until(lambda: states(database) == ["delivered"] * 2)
    opened = [got for got in receiver.got if got.kind == "lock.opened"]
    assert len({got.id for got in opened}) == 1


def test_pauses_grow_for_a_day() -> None:
    pauses = [pause_after(tries) for tries in range(1, len(PAUSES) + 3)]
    assert all(after > before for before, after in pairwise(PAUSES))
    assert pauses[0] < 10
    assert pauses[-1] > 10_000


async def test_a_receiver_that_says_gone_gets_no_more(
    database: str, receiver: Receiver, hook: Hook, sending: Sending, run: Run, webhooks: Webhooks
) -> None:
    made = await hook()
    receiver.answer = lambda got: (410, {})
    run.say("lock", asked("l1"))
    async with sending():
        await until(lambda: states(database) == ["set_aside"])
    run.finish()
    assert states(database) == ["set_aside"]
    webhook = await webhooks.one(made.webhook.id, None)
    assert (webhook.active, webhook.paused_because) == (False, "it answered 410")
    assert (await webhooks.change(webhook.id, active=True)).paused_because is None


async def test_both_secrets_sign_while_one_is_rotated(
    database: str, receiver: Receiver, hook: Hook, sending: Sending, run: Run, webhooks: Webhooks
) -> None:
    made = await hook()
    new = await webhooks.rotate(made.webhook.id)
    assert new.secret != made.secret
    async with sending():
        run.say("lock", asked("l1"))
        [got] = await until(lambda: receiver.got)
        for secret in (made.secret, new.secret):
            Verifier(secret).verify(got.body, got.headers)
        execute(database, "UPDATE kodosumi.webhook SET old_until = now()")
        run.finish()
        await until(lambda: len(receiver.got) == 2)
    later = receiver.got[1]
    Verifier(new.secret).verify(later.body, later.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(made.secret).verify(later.body, later.headers)


async def test_secrets_are_encrypted_at_rest(database: str, hook: Hook, settings: Settings) -> None:
    made = await hook()
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT secret FROM kodosumi.webhook").fetchone()
    assert row is not None
    assert made.secret.encode() not in row[0]
    assert panel_keys(settings).webhooks.decrypt(row[0]).decode() == made.secret


async def test_an_account_that_is_disabled_or_no_operator_any_more_gets_nothing(
    database: str, receiver: Receiver, hook: Hook, sending: Sending, run: Run, boss: str
) -> None:
    await hook()
    await hook(owner=boss, everyone=True)
    run.say("lock", asked("l1"))
    execute(database, "UPDATE kodosumi.role SET active = name <> 'ann', operator = false")
    async with sending() as sender:
        assert await sender.claim() == []
    assert receiver.got == []


async def test_what_goes_wrong_in_telling_prefect_stops_no_webhook(
    settings: Settings,
    reader: Reader,
    hook: Hook,
    receiver: Receiver,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(_: PrefectEvents) -> int:
        raise KeyError("of a kind that nobody foresaw")

    monkeypatch.setattr(PrefectEvents, "look", broken)
    changed = {"webhook_networks": ["127.0.0.0/8"], "silent_minutes": 0, "silent_hours": 0}
    await hook("execution.finished")
    telling = Telling(settings.model_copy(update=changed), reader, Api())
    working = asyncio.create_task(telling.run())
    try:
        run.finish()
        await until(lambda: receiver.got)
        assert not working.done()
    finally:
        await cancel_all([working])
