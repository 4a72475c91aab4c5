"""What the leader tells: by itself, and after one that was killed."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from psycopg import connect

from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.outbox.signing import new_secret
from kodosumi_prefect.settings import PREFIX
from tests.observer.watching import Watch, commanded, observing
from tests.outbox.receivers import Receiver, receiving
from tests.outbox.test_outbox import outbox
from tests.panel.panel_runs import Run
from tests.waiting import wait_for


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def hooked(watch: Watch, url: str) -> str:
    """A webhook of an account, whose id is returned."""
    sealed = panel_keys(watch.settings).webhooks.encrypt(new_secret().encode())
    with connect(watch.database, autocommit=True) as connection:
        row = connection.execute(
            "WITH who AS (INSERT INTO kodosumi.role (name) VALUES (%s) RETURNING id)"
            " INSERT INTO kodosumi.webhook (role_id, name, url, kinds, secret)"
            " SELECT id, 'hook', %s, %s, %s FROM who RETURNING role_id::text",
            (uuid4().hex, url, ["execution.finished", "execution.failed"], sealed),
        ).fetchone()
    assert row is not None
    return str(row[0])


def states(watch: Watch) -> list[Any]:
    return [row["state"] for row in watch.rows("SELECT state FROM kodosumi.webhook_delivery")]


def test_the_leader_tells_prefect_and_webhooks(watch: Watch, receiver: Receiver) -> None:
    owner = hooked(watch, receiver.url)
    with observing(watch, webhook_networks=["127.0.0.1"]):
        wait_for(
            lambda: watch.rows("SELECT FROM kodosumi.outbox_rules WHERE prefect_events"),
            10,
            "the leader to say what is told",
        )
        run = Run(watch.database, owner=owner).begin()
        run.finish().close()
        wait_for(lambda: states(watch) == ["delivered"], 10, "a webhook")
        wait_for(lambda: outbox(watch.database)[0]["emitted_at"], 10, "an event in Prefect")
    assert receiver.kinds() == ["execution.finished"]


def test_an_observer_that_is_killed_while_it_sends_loses_nothing(
    watch: Watch, receiver: Receiver
) -> None:
    owner = hooked(watch, receiver.url)
    may_answer = threading.Event()

    def answer(got: Any) -> tuple[int, dict[str, str]]:
        may_answer.wait(30)
        return 200, {}

    receiver.answer = answer
    settings = {f"{PREFIX}WEBHOOK_NETWORKS": "127.0.0.1"}
    settings[f"{PREFIX}SECRET_KEY"] = _secret(watch)
    run = Run(watch.database, owner=owner).begin()
    run.finish()
    run.attempt = 2
    run.status("running").fail().close()
    with commanded(watch, **settings) as killed:
        wait_for(lambda: receiver.got, 20, "the first try")
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    assert states(watch) == ["waiting"] * 2
    may_answer.set()
    with commanded(watch, **settings):
        wait_for(lambda: states(watch) == ["delivered"] * 2, 20, "what was left")
    assert receiver.kinds() == ["execution.finished", "execution.finished", "execution.failed"]
    assert receiver.got[0].id == receiver.got[1].id != receiver.got[2].id


def _secret(watch: Watch) -> str:
    return (watch.settings.data_dir / "secret.key").read_text()
