"""What tests of the outbox share: a database with accounts, and somebody who sends webhooks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.observer.delivering import Delivering
from kodosumi_prefect.observer.outbox_bell import OutboxBell
from kodosumi_prefect.outbox.kinds import TellKind
from kodosumi_prefect.outbox.webhooks import NewWebhook, Webhooks
from kodosumi_prefect.panel.accounts.accounts import Accounts
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from tests.outbox.receivers import Receiver, receiving

Sending = Callable[..., AbstractAsyncContextManager[Delivering]]


@pytest.fixture
async def reader(database: str) -> AsyncIterator[Reader]:
    async with Reader(database, "kodosumi", 3) as made:
        yield made


@pytest.fixture
def webhooks(reader: Reader, settings: Settings) -> Webhooks:
    return Webhooks(reader, panel_keys(settings).webhooks)


@pytest.fixture
async def ann(reader: Reader) -> str:
    """The id of an account."""
    return (await Accounts(reader).add("ann")).id


@pytest.fixture
async def boss(reader: Reader) -> str:
    """The id of an operator's account."""
    return (await Accounts(reader).add("boss", operator=True)).id


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def hook(webhooks: Webhooks, ann: str, receiver: Receiver) -> Callable[..., Any]:
    """Makes a webhook, of Ann's and to ``receiver`` by itself."""

    async def make(*kinds: str, url: str = "", owner: str = "", **more: Any) -> NewWebhook:
        return await webhooks.add(
            owner or ann,
            name="mine",
            url=url or receiver.url,
            kinds=kinds or [kind.value for kind in TellKind],
            **more,
        )

    return make


@pytest.fixture
def sending(reader: Reader, settings: Settings) -> Sending:
    """Sends webhooks within the block, to addresses of this machine, with short pauses."""

    @asynccontextmanager
    async def send(**changed: Any) -> AsyncIterator[Delivering]:
        changed = {"webhook_networks": ["127.0.0.0/8"], "webhook_timeout": 5.0} | changed
        used = settings.model_copy(update=changed)
        bell = OutboxBell(used)
        delivering = Delivering(used, reader, bell, pause=lambda tries: 0.05)
        tasks = [asyncio.create_task(bell.run()), asyncio.create_task(delivering.run())]
        try:
            yield delivering
        finally:
            await cancel_all(tasks)

    return send
