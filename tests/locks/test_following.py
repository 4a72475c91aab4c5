"""What follows questions by themselves, and who may answer: by Postgres and its clock alone."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from kodosumi_prefect.database.rows.locks import LockId
from kodosumi_prefect.locks import following
from kodosumi_prefect.locks.answering import AnsweredError, Locks, NotAskedError
from kodosumi_prefect.locks.delegating import RecipientError, delegate
from kodosumi_prefect.observer import asking
from kodosumi_prefect.observer.asking import Asking
from kodosumi_prefect.stream.reader import Reader
from tests.answering import locks
from tests.locks.people import Asked, asked, fetch, person, steps, team
from tests.spooler.recording import execute, payloads, row, stored


@pytest.fixture
async def reader(database: str) -> AsyncIterator[Reader]:
    async with Reader(database, "kodosumi", 6) as reader:
        yield reader


def told(run: Asked) -> list[str]:
    return [text for text in payloads(run.url, run.fid) if text.startswith("Question ")]


async def may_answer(reader: Reader, run: Asked, account: str) -> bool:
    lock = await Locks(reader).read(run.fid, run.lid, account)
    listed = await Locks(reader).open(account=account)
    assert lock.is_asked == (run.lid in [each.lid for each in listed])
    assert await Locks(reader).count(account) == len(listed)
    return lock.is_asked


async def test_an_older_account_with_a_name_that_means_others_is_not_asked_by_it(
    database: str, reader: Reader
) -> None:
    ann, lee = person(database, "Ann"), person(database, "lee")
    team(database, "Legal", lee)
    named_so = [person(database, name) for name in ("Owner", "team:legal", f"@{lee}")]
    with asked(database, ann, ask=["owner", "team:legal", f"@{lee}"]) as run:
        answers = [await may_answer(reader, run, account) for account in (ann, lee, *named_so)]
    assert answers == [True, True, False, False, False]


async def test_reminders_and_escalations_come_when_they_are_due_each_once(
    database: str, reader: Reader
) -> None:
    ann, lee = person(database, "Ann"), person(database, "lee")
    team(database, "Lead", lee)
    more: dict[str, Any] = {"ask": ["owner"], "remind": [3600.0, 7200.0]}
    more |= {"escalate": [{"after": 9000.0, "to": ["team:lead"]}]}
    with asked(database, ann, seconds=10_000, **more) as run:
        observer = Asking(reader)
        await observer.look()
        assert steps(database) == [("asked", None, ["Ann"])]
        assert not await may_answer(reader, run, lee)
        run.pass_time(3601)
        for _ in range(2):  # a leader that was killed behind the commit does nothing again
            await observer.look()
        assert steps(database)[1:] == [("reminded", None, ["Ann"])]
        run.pass_time(5400)
        await observer.look()
        assert steps(database)[2:] == [
            ("reminded", None, ["Ann"]),
            ("escalated", None, ["lee"]),
        ]
        assert await may_answer(reader, run, lee) and await may_answer(reader, run, ann)
        assert told(run) == [
            "Question “approve”: asked Ann",
            "Question “approve”: reminded Ann",
            "Question “approve”: reminded Ann",
            "Question “approve”: asked now too: lee",
        ]
        assert row(database, run.fid)["status"] == "awaiting"
        run.pass_time(2000)
        await observer.look()
        assert locks(database, run.fid, None)[0]["state"] == "expired"
        assert row(database, run.fid)["status"] == "running"


async def test_of_two_observers_at_once_one_does_a_step(database: str, reader: Reader) -> None:
    with asked(database, person(database, "ann"), remind=[1.0], ask=["owner"]) as run:
        run.pass_time(2)
        due = await following.due(reader, 10)
        assert [step.step for step in due] == ["asked", "reminded"]
        done = await asyncio.gather(*(following.take(reader, due[1]) for _ in range(4)))
        assert sorted(done) == [False, False, False, True]
        assert steps(database) == [("reminded", None, ["ann"])]
        assert len(told(run)) == 1


async def test_what_cannot_be_done_holds_up_nothing_else(
    database: str, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = person(database, "ann")
    monkeypatch.setattr(asking, "PORTION", 1)
    with asked(database, ann, remind=[1]) as stuck, asked(database, ann, remind=[2]) as other:
        stuck.pass_time(30)
        execute(
            database,
            "CREATE FUNCTION kodosumi.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF NEW.lid = '{stuck.lid}' THEN RAISE 'no'; END IF; RETURN NEW; END $$;"
            " CREATE TRIGGER refuse BEFORE INSERT ON kodosumi.lock_step"
            " FOR EACH ROW EXECUTE FUNCTION kodosumi.refuse()",
        )
        looking = Asking(reader)
        for _ in range(2):
            with pytest.raises(psycopg.errors.RaiseException):
                await looking.look()
        assert fetch(database, "SELECT lid, step FROM kodosumi.lock_step") == [
            {"lid": other.lid, "step": "reminded"}
        ]
        fetch(database, "DROP TRIGGER refuse ON kodosumi.lock_step")
        await looking.look()
        assert len(steps(database)) == 2


async def test_a_step_that_breaks_off_before_its_commit_is_done_later(
    database: str, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asked(database, person(database, "ann"), remind=[1.0]) as run:
        run.pass_time(2)
        [due] = await following.due(reader, 10)
        with monkeypatch.context() as broken:
            broken.setattr(following, "_WORDS", {})  # fails behind the step's own statements
            with pytest.raises(KeyError):
                await following.take(reader, due)
        assert (steps(database), told(run)) == ([], [])
        assert await following.take(reader, due)
        assert steps(database) == [("reminded", None, ["ann"])]


async def test_nothing_follows_a_question_that_is_answered(database: str, reader: Reader) -> None:
    ann = person(database, "ann")
    with asked(database, ann, remind=[1.0], escalate=[{"after": 2.0, "to": ["lee"]}]) as run:
        run.pass_time(5)
        await Locks(reader).answer(run.fid, run.lid, 1, by=ann, name="ann")
        await Asking(reader).look()
        assert [step[0] for step in steps(database)] == ["answered"]
        assert fetch(database, "SELECT * FROM kodosumi.lock_plan") == []


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
async def test_the_clock_of_the_run_s_machine_changes_no_deadline(
    database: str, reader: Reader, skew: float
) -> None:
    ann = person(database, "ann")
    opened = time.time() + skew
    with asked(database, ann, seconds=600, opened=opened, remind=[60.0]) as run:
        await Asking(reader).look()
        assert steps(database) == []
        assert locks(database, run.fid)[0]["state"] == "open"
        assert await may_answer(reader, run, ann)
        run.pass_time(61)
        await Asking(reader).look()
        assert [step[0] for step in steps(database)] == ["reminded"]
        run.pass_time(600)
        await Asking(reader).look()
        assert locks(database, run.fid, None)[0]["state"] == "expired"


async def test_at_the_deadline_the_row_s_value_is_what_the_run_gets(
    database: str, reader: Reader
) -> None:
    with asked(database, on_expiry={"approved": False}) as run:
        run.pass_time(3600)
        [late] = await following.overdue(reader, 10)
        done = await asyncio.gather(*(following.expire(reader, late) for _ in range(3)))
        assert sorted(done) == [False, False, True]
        [lease] = [event for event in stored(database, run.fid) if event["kind"] == "lease"]
        fields = json.loads(lease["payload"])["dict"]
        assert (fields["state"], fields["result"]) == ("expired", {"approved": False})
        [lock] = locks(database, run.fid, None)
        assert (lock["state"], json.loads(lock["on_expiry"])) == ("expired", {"approved": False})


async def test_of_answer_and_deadline_at_once_one_counts(database: str, reader: Reader) -> None:
    ann = person(database, "ann")
    for turn in range(4):
        with asked(database, ann) as run:
            run.pass_time(60)
            if turn % 2:  # by a clock that was just before it
                fetch(database, "UPDATE kodosumi.lock SET deadline = now() + interval '1 hour'")
            answer = Locks(reader).answer(run.fid, run.lid, 1, by=ann, name="ann")
            due = LockId(run.lid, run.fid)
            given, expired = await asyncio.gather(
                answer, following.expire(reader, due), return_exceptions=True
            )
            won = not isinstance(given, BaseException)
            assert won != expired
            assert won or isinstance(given, AnsweredError)
            leases = [event for event in stored(database, run.fid) if event["kind"] == "lease"]
            assert len(leases) == 1


async def test_those_who_are_asked_may_answer_and_nobody_else(
    database: str, reader: Reader
) -> None:
    ann, bob, lee = (person(database, name) for name in ("ann", "Bob", "lee"))
    team(database, "Legal", lee)
    with asked(database, ann, ask=["bob", "team:legal"]) as run:
        asked_ = [await may_answer(reader, run, each) for each in (ann, bob, lee)]
        assert asked_ == [False, True, True]
        with pytest.raises(NotAskedError, match="asks others; only they and operators may"):
            await Locks(reader).answer(run.fid, run.lid, 1, by=ann, asked_only=True)
        await Locks(reader).answer(run.fid, run.lid, 1, by=lee, asked_only=True)
    with asked(database, ann) as run:
        asked_ = [await may_answer(reader, run, each) for each in (ann, bob, lee)]
        assert asked_ == [True, False, False]


async def test_a_question_to_nobody_goes_to_the_owner_and_the_stream_says_so(
    database: str, reader: Reader
) -> None:
    ann, gone = person(database, "ann"), person(database, "gone", active=False)
    team(database, "empty", gone)
    with asked(database, ann, ask=["team:empty", "team:none", "nobody"]) as run:
        assert await may_answer(reader, run, ann)
        assert not await may_answer(reader, run, gone)
        await Asking(reader).look()
        assert steps(database) == [("asked", None, ["ann"])]
        instead = "; the owner and operators may answer in its place"
        assert told(run)[1:] == [
            f"Question “approve”: there is no team “empty” with an active account{instead}",
            f"Question “approve”: there is no team “none” with an active account{instead}",
            f"Question “approve”: there is no active account “nobody”{instead}",
        ]
    bob = person(database, "bob")
    with asked(database, ann, ask=["bob"]) as run:
        assert not await may_answer(reader, run, ann)
        fetch(database, "UPDATE kodosumi.role SET active = false WHERE id = %s", bob)
        assert await may_answer(reader, run, ann)  # whom it was to is disabled meanwhile


async def test_two_of_three_are_needed_and_each_counts_once(database: str, reader: Reader) -> None:
    people = [person(database, name) for name in ("ann", "bob", "lee")]
    team(database, "legal", *people)
    with asked(database, None, ask=["team:legal"], quorum=2) as run:
        desk = Locks(reader)
        first = await desk.answer(run.fid, run.lid, {"ok": 1}, by=people[0], name="ann")
        assert (first.answers, first.quorum, first.complete) == (1, 2, False)
        assert row(database, run.fid)["status"] == "awaiting"
        assert run.lid not in [lock.lid for lock in await desk.open(account=people[0])]
        with pytest.raises(AnsweredError, match="has your answer already"):
            await desk.answer(run.fid, run.lid, {"ok": 2}, by=people[0], name="ann")
        given = await asyncio.gather(
            *(desk.answer(run.fid, run.lid, {"ok": n}, by=by) for n, by in enumerate(people[1:])),
            return_exceptions=True,
        )
        assert sum(isinstance(each, AnsweredError) for each in given) == 1
        [lock] = locks(database, run.fid, None)
        assert lock["state"] == "leased"
        result = json.loads(lock["result"])
        assert result[0] == {"ok": 1}
        assert len(result) == 2
        [lease] = [event for event in stored(database, run.fid) if event["kind"] == "lease"]
        assert json.loads(lease["payload"])["dict"]["result"] == result
        assert [step[0] for step in steps(database)] == ["answered", "answered"]


async def test_who_is_asked_hands_on_and_is_not_asked_any_more(
    database: str, reader: Reader
) -> None:
    ann, bob, lee = (person(database, name) for name in ("ann", "bob", "lee"))
    team(database, "legal", bob, lee)
    with asked(database, ann, ask=["team:legal"]) as run:
        handed = {"by": bob, "name": "bob", "means": "session"}
        with pytest.raises(NotAskedError):
            await delegate(reader, run.fid, run.lid, "lee", by=ann, name="ann")
        with pytest.raises(RecipientError, match="no active account 'zoe'"):
            await delegate(reader, run.fid, run.lid, "zoe", **handed)
        assert await delegate(reader, run.fid, run.lid, " ANN", **handed) == "ann"
        asked_ = [await may_answer(reader, run, each) for each in (ann, bob, lee)]
        assert asked_ == [True, False, True]
        await delegate(reader, run.fid, run.lid, "bob", by=ann, name="ann")
        asked_ = [await may_answer(reader, run, each) for each in (ann, bob, lee)]
        assert asked_ == [False, True, True]
        assert steps(database) == [
            ("delegated", "bob", ["ann"]),
            ("delegated", "ann", ["bob"]),
        ]
        admin = person(database, "root", operator=True)
        await delegate(reader, run.fid, run.lid, "ann", by=admin, name="root", operator=True)
        asked_ = [await may_answer(reader, run, each) for each in (ann, bob, lee)]
        assert asked_ == [True, False, False]


async def test_an_owner_who_is_asked_in_place_of_nobody_hands_that_on_too(
    database: str, reader: Reader
) -> None:
    ann, bob, lee = (person(database, name) for name in ("ann", "bob", "lee"))
    with asked(database, ann, ask=["team:none", "lee"]) as run:
        await delegate(reader, run.fid, run.lid, "bob", by=ann, name="ann")
        asked_ = [await may_answer(reader, run, each) for each in (ann, bob, lee)]
        assert asked_ == [False, True, True]
        fetch(database, "UPDATE kodosumi.role SET active = false WHERE id = %s", bob)
        assert await may_answer(reader, run, ann)


async def test_of_handing_on_and_answering_at_once_both_or_one_happen(
    database: str, reader: Reader
) -> None:
    ann, _ = person(database, "ann"), person(database, "bob")
    for _turn in range(4):
        with asked(database, ann) as run:
            given, handed = await asyncio.gather(
                Locks(reader).answer(run.fid, run.lid, 1, by=ann, name="ann", asked_only=True),
                delegate(reader, run.fid, run.lid, "bob", by=ann, name="ann"),
                return_exceptions=True,
            )
            if isinstance(handed, BaseException):
                assert isinstance(handed, AnsweredError)
                assert not isinstance(given, BaseException)
            else:
                assert isinstance(given, NotAskedError)
            assert [step[0] for step in steps(database)][-1] in ("answered", "delegated")
