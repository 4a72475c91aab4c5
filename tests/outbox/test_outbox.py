"""What comes into the outbox, and for whom: written by the database along with what it is about."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from kodosumi_prefect.database.resealing import reseal
from kodosumi_prefect.database.retention import Retention
from kodosumi_prefect.events import Event, serialize
from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.locks.answering import Locks
from kodosumi_prefect.outbox.webhooks import Webhooks
from kodosumi_prefect.panel.accounts.accounts import Accounts
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spans.span import Usage
from kodosumi_prefect.stream.reader import Reader
from tests.panel.panel_runs import Run
from tests.spans.test_span_totals import began, ended
from tests.spooler.recording import execute

Hook = Callable[..., Awaitable[Any]]


def outbox(url: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute("SELECT * FROM kodosumi.outbox ORDER BY id").fetchall()


def kinds(url: str) -> list[str]:
    return [row["kind"] for row in outbox(url)]


def listen(url: str) -> None:
    """As an observer does that emits Prefect's events."""
    execute(url, "UPDATE kodosumi.outbox_rules SET prefect_events = true")


def asked(lid: str, name: str = "approve", **more: Any) -> str:
    fields = {"name": name, "lid": lid, "data": {"amount": 5}, "expires": time.time() + 600}
    return serialize(fields | more)


def deliveries(url: str) -> list[tuple[str, str]]:
    """Names of webhooks and what they are to get."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT w.name, o.kind FROM kodosumi.webhook_delivery d"
            " JOIN kodosumi.webhook w ON w.id = d.webhook_id"
            " JOIN kodosumi.outbox o ON o.id = d.outbox_id ORDER BY o.id, w.name"
        ).fetchall()


@pytest.mark.parametrize("end", ["finish", "fail", "cancel"])
def test_an_end_is_told_once_for_an_attempt(database: str, end: str) -> None:
    listen(database)
    run = Run(database).begin()
    getattr(run, end)()
    getattr(run, end)()
    word = {"finish": "finished", "fail": "failed", "cancel": "cancelled"}[end]
    assert kinds(database) == [f"execution.{word}"]
    run.attempt = 2
    run.status("running")
    run.finish()
    assert kinds(database) == [f"execution.{word}", "execution.finished"]
    assert [row["facts"]["attempt"] for row in outbox(database)] == [1, 2]
    run.close()


def test_a_crash_is_told_as_one(database: str) -> None:
    listen(database)
    run = Run(database).begin().status("error", "Crashed")
    assert kinds(database) == ["execution.crashed"]
    run.close()


async def test_a_question_is_told_with_its_answer_or_its_expiry(
    database: str, reader: Reader
) -> None:
    listen(database)
    run = Run(database).begin()
    run.say("lock", asked("l1")).say("lock", asked("l2")).say("lock", asked("l3"))
    await Locks(reader).answer(run.fid, "l1", {"yes": True}, by="ann")
    run.say("lease", serialize({"name": "approve", "lid": "l2", "state": "expired"}))
    run.finish()
    told = [(row["kind"], row["lid"]) for row in outbox(database)]
    assert told == [
        ("lock.opened", "l1"),
        ("lock.opened", "l2"),
        ("lock.opened", "l3"),
        ("lock.answered", "l1"),
        ("lock.expired", "l2"),
        ("execution.finished", None),
    ]
    assert len({row["uid"] for row in outbox(database)}) == 6
    run.close()


def test_a_reminder_is_told_once(database: str) -> None:
    listen(database)
    run = Run(database).begin().say("lock", asked("l1"))
    for step, number in (
        ("asked", 0),
        ("reminded", 0),
        ("reminded", 1),
        ("escalated", 0),
    ):
        execute(
            database,
            "INSERT INTO kodosumi.lock_step (execution_id, lid, step, number)"
            f" SELECT execution_id, lid, '{step}', {number} FROM kodosumi.lock",
        )
    rows = [row for row in outbox(database) if row["kind"] == "lock.reminded"]
    steps = [(row["lid"], row["facts"]["step"], row["facts"]["number"]) for row in rows]
    assert steps == [
        ("l1", "reminded", 0),
        ("l1", "reminded", 1),
        ("l1", "escalated", 0),
    ]
    run.close()


def test_a_spent_budget_is_told(database: str) -> None:
    listen(database)
    execute(database, "INSERT INTO kodosumi.budget (per, tokens) VALUES ('run', 10)")
    run = Run(database).begin()
    run.put(began("a"), ended("a", Usage(input=8, output=1)))
    assert kinds(database) == []
    run.put(began("b"), ended("b", Usage(input=8, output=1)))
    run.put(began("c"), ended("c", Usage(input=8, output=1)))
    [row] = outbox(database)
    assert row["kind"] == "execution.over-budget"
    assert (row["facts"]["per"], row["facts"]["unit"], row["facts"]["spent"]) == (
        *("run", "tokens"),
        18,
    )
    run.close()


async def test_nothing_is_written_where_nobody_listens(
    database: str, hook: Hook, webhooks: Webhooks
) -> None:
    run = Run(database).begin()
    run.finish()
    made = await hook("execution.failed")
    Run(database).begin().finish().close()
    assert outbox(database) == []
    await webhooks.change(made.webhook.id, active=False)
    Run(database).begin().fail().close()
    assert outbox(database) == []
    run.close()


async def test_what_is_rolled_back_is_not_told(database: str) -> None:
    listen(database)
    run = Run(database).begin()
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO kodosumi.lock (execution_id, lid, name, attempt, opened_at, expires_at)"
            " SELECT id, 'l', 'l', 1, now(), now() FROM kodosumi.execution"
        )
        assert connection.execute("SELECT count(*) FROM kodosumi.outbox").fetchone() == (1,)
        connection.rollback()
    assert outbox(database) == []
    run.close()


async def test_an_owner_gets_word_of_their_own_executions_only(
    database: str, hook: Hook, ann: str, boss: str, reader: Reader
) -> None:
    bob = (await Accounts(reader).add("bob")).id
    await hook("execution.finished")
    await hook("execution.finished", owner=boss, everyone=True)
    await hook("execution.finished", owner=bob, everyone=True)  # who is no operator
    for owner in (ann, bob, None):
        Run(database, owner=owner).begin().finish().close()
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT e.owner, r.name FROM kodosumi.webhook_delivery d"
            " JOIN kodosumi.execution e ON e.id = d.execution_id"
            " JOIN kodosumi.webhook w ON w.id = d.webhook_id"
            " JOIN kodosumi.role r ON r.id = w.role_id ORDER BY e.id, r.name"
        ).fetchall()
    assert rows == [(ann, "ann"), (ann, "boss"), (bob, "boss"), (None, "boss")]


async def test_who_is_asked_gets_word_of_the_question_and_of_nothing_else(
    database: str, hook: Hook, ann: str, reader: Reader
) -> None:
    bob = (await Accounts(reader).add("bob")).id
    eve = (await Accounts(reader).add("eve")).id
    for owner in (bob, eve):
        await hook(owner=owner)
    run = Run(database, owner=ann).begin().say("lock", asked("l1"))
    run.say("lock", asked("l2", ask=["bob"]))
    assert told_of_locks(database) == [("bob", "lock.opened", "l2")]
    execute(database, "UPDATE kodosumi.lock SET asked = '{eve}' WHERE lid = 'l1'")  # escalated
    run.finish()
    assert told_of_locks(database) == [("eve", "lock.opened", "l1"), ("bob", "lock.opened", "l2")]
    run.close()


def told_of_locks(url: str) -> list[tuple[str, str, str]]:
    """Names of accounts, and what they are to hear of which question."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT r.name, o.kind, o.lid FROM kodosumi.webhook_delivery d"
            " JOIN kodosumi.outbox o ON o.id = d.outbox_id"
            " JOIN kodosumi.webhook w ON w.id = d.webhook_id"
            " JOIN kodosumi.role r ON r.id = w.role_id ORDER BY o.id, r.name"
        ).fetchall()


async def test_who_turns_out_to_be_the_owner_gets_what_was_told_before(
    database: str, hook: Hook, ann: str
) -> None:
    await hook()
    run = Run(database).begin().say("lock", asked("l1"))
    run.finish()
    assert deliveries(database) == []
    execute(database, f"UPDATE kodosumi.execution SET owner = '{ann}'")
    assert [kind for _, kind in deliveries(database)] == ["lock.opened", "execution.finished"]
    run.close()


async def test_a_deleted_execution_takes_its_words_along(
    database: str, hook: Hook, ann: str
) -> None:
    await hook()
    run = Run(database, owner=ann).begin()
    run.finish().close()
    execute(database, "DELETE FROM kodosumi.execution")
    assert outbox(database) == []
    assert deliveries(database) == []


async def test_a_webhook_that_is_being_deleted_holds_up_no_run(
    database: str, hook: Hook, ann: str
) -> None:
    made = await hook()
    run = Run(database, owner=ann).begin()
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM kodosumi.webhook WHERE id = %s", (made.webhook.id,))
        run.finish()
    assert run.put(Event(time.time(), "debug", "goes on"))
    run.close()


async def test_what_was_told_is_forgotten_after_a_while_and_what_waits_is_not(
    database: str, hook: Hook, ann: str
) -> None:
    listen(database)
    await hook("execution.finished")
    for owner in (ann, None):
        Run(database, owner=owner).begin().finish().close()
        Run(database, owner=owner).begin().fail().close()
    execute(database, "UPDATE kodosumi.outbox SET emitted_at = now() WHERE kind LIKE '%failed'")
    with Retention(database, "kodosumi") as retention:
        assert list(retention.words(30)) == []
        execute(database, "UPDATE kodosumi.outbox SET occurred_at = now() - interval '31 days'")
        assert list(retention.words(30)) == [2]  # the others wait for Prefect
        execute(database, "UPDATE kodosumi.outbox SET emitted_at = now()")
        assert list(retention.words(30)) == [1]  # the other one waits for a webhook
        execute(database, "UPDATE kodosumi.webhook_delivery SET state = 'set_aside'")
        assert list(retention.words(30)) == [1]
    assert deliveries(database) == []


async def test_secrets_of_webhooks_outlive_a_change_of_the_secret_key(
    database: str, hook: Hook, webhooks: Webhooks, settings: Settings
) -> None:
    made = await hook()
    new = await webhooks.rotate(made.webhook.id)
    old_key = (settings.data_dir / "secret.key").read_text()
    changed = settings.model_copy(
        update={
            "secret_key": SecretStr("another secret key of some length"),
            "secret_keys_accepted": SecretStr(old_key),
        }
    )
    assert reseal(database, changed).changed == 2
    box = panel_keys(changed.model_copy(update={"secret_keys_accepted": None})).webhooks
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT secret, old_secret FROM kodosumi.webhook").fetchone()
    assert row is not None
    assert [box.decrypt(token).decode() for token in row] == [new.secret, made.secret]
