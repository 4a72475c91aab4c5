"""Who joins a team is told of what it is asked, once; who leaves it is asked no more."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from kodosumi_prefect.locks.links import find_link, make_link
from kodosumi_prefect.panel.accounts.accounts import Accounts
from kodosumi_prefect.panel.teams.teams import Teams
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from tests.locks.people import fetch, steps
from tests.outbox.conftest import Sending
from tests.outbox.receivers import Receiver, until
from tests.outbox.test_outbox import asked
from tests.panel.panel_runs import Run

Hook = Callable[..., Awaitable[Any]]
PUBLIC = "https://panel.example.org"
LEFT = "SELECT lid, reached FROM kodosumi.lock_step WHERE step = 'left'"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"panel_url": PUBLIC})


@pytest.fixture
def run(database: str) -> Iterator[Run]:
    made = Run(database, owner=str(uuid4())).begin()
    yield made
    made.close()


@pytest.fixture
async def teams(reader: Reader) -> AsyncIterator[Teams]:
    made = Teams(reader)
    await made.add("Legal", [])
    yield made


def questions(receiver: Receiver) -> list[str]:
    return [got.json["data"]["lock"] for got in receiver.got]


@pytest.mark.parametrize("listening", ["when it was asked", "only later"])
async def test_who_joins_is_told_once_of_open_questions(
    database: str,
    receiver: Receiver,
    hook: Hook,
    sending: Sending,
    run: Run,
    teams: Teams,
    ann: str,
    listening: str,
) -> None:
    if listening == "when it was asked":
        await hook("lock.opened")
    run.say("lock", asked("l1", ask=["team:legal"]))
    run.say("lock", asked("l2", ask=["team:lead"]))
    run.say("lock", asked("l3", ask=["team:legal", "ann"]))
    if listening == "only later":
        await hook("lock.opened")
    known = ["l3"] if listening == "when it was asked" else []
    async with sending():
        await until(lambda: questions(receiver) == known)
        for members in (["ann"], [], ["ann"]):
            await teams.change("legal", members=members)
        await until(lambda: "l1" in questions(receiver))
        run.say("lock", asked("l4", ask=["team:legal"]))
        await until(lambda: "l4" in questions(receiver))
    # She is asked the third by her own name, too: joining asks her nothing new.
    assert questions(receiver) == [*known, "l1", "l4"]
    told = [("joined", None, ["ann"]), ("left", None, ["ann"]), ("joined", None, ["ann"])]
    assert [step for step in steps(database) if step[0] != "asked"] == told
    [step] = {
        tuple(row["recipients"]) for row in fetch(database, "SELECT * FROM kodosumi.lock_step")
    }
    assert step == ("team:legal",)


async def test_a_team_that_gets_its_name_is_told(
    receiver: Receiver, hook: Hook, sending: Sending, run: Run, teams: Teams
) -> None:
    await hook("lock.opened")
    run.say("lock", asked("l1", ask=["team:lead"]))
    run.say("lock", asked("l2", ask=["team:board"]))
    async with sending():
        await teams.change("legal", members=["ann"], new_name="lead")
        await until(lambda: questions(receiver) == ["l1"])
        await teams.add("board", ["ann"])
        await until(lambda: questions(receiver) == ["l1", "l2"])


@pytest.mark.parametrize("way", ["leaves", "renamed", "deleted"])
async def test_who_leaves_has_no_links_and_hears_no_more(
    database: str,
    hook: Hook,
    sending: Sending,
    run: Run,
    teams: Teams,
    reader: Reader,
    settings: Settings,
    way: str,
) -> None:
    await Accounts(reader).add("bob")
    await teams.change("legal", members=["ann", "bob"])
    run.say("lock", asked("l1", link=True, ask=["team:legal"]))
    run.say("lock", asked("l2", link=True, ask=["team:legal", "ann"]))
    await hook("lock.opened")
    run.say("lock", asked("l3", link=True, ask=["team:legal"]))
    links = {
        (lid, account): await make_link(reader, settings, run.fid, lid, account=account)
        for lid, account in (("l1", "ann"), ("l2", "ann"), ("l1", "bob"))
    }
    if way == "leaves":
        await teams.change("legal", members=["bob"])
    elif way == "renamed":
        await teams.change("legal", new_name="law")
    else:
        await teams.remove("legal")
    revoked = {
        which: (found := await find_link(reader, link.url.rpartition("/")[2])) and found.revoked
        for which, link in links.items()
    }
    assert revoked == {
        ("l1", "ann"): True,
        ("l2", "ann"): False,
        ("l1", "bob"): way != "leaves",
    }
    left = {row["lid"]: row["reached"] for row in fetch(database, LEFT)}
    if way == "leaves":
        assert left == {"l1": ["ann"], "l3": ["ann"]}
    else:
        assert left == {"l1": ["ann", "bob"], "l2": ["bob"], "l3": ["ann", "bob"]}
    assert fetch(database, "SELECT * FROM kodosumi.webhook_delivery") == []
