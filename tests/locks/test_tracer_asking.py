"""What a run gets of a question that is put to particular people."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from kodosumi_prefect import Tracer, TracerMock, flow
from kodosumi_prefect.database.rows.locks import LockId
from kodosumi_prefect.locks import following
from kodosumi_prefect.stream.reader import Reader
from tests.answering import Answerer, answer, locks
from tests.locks.people import fetch
from tests.services import Place

pytestmark = pytest.mark.timeout(120)

OTHER = "22222222-2222-2222-2222-222222222222"


class Approval(BaseModel):
    approved: bool = False


def test_a_run_gets_a_list_of_answers_or_what_is_agreed_for_the_deadline(place: Place) -> None:
    @flow
    def asks(tracer: Tracer) -> Any:
        both = tracer.lock_sync("both", form=Approval, quorum=2, ask=["ann", "team:legal"])
        late = tracer.lock_sync("late", timeout=0.2, on_expiry=Approval(approved=True))
        ended = tracer.lock_sync("ended", remind="4h", on_expiry={"by": "the leader"})
        try:
            tracer.lock_sync("wrong", remind="4h", timeout=60)
        except ValueError as exc:
            wrong = {"wrong": str(exc)}
        assert all(isinstance(each, Approval) for each in [*both, late])
        return {"both": [each.approved for each in both], "late": late.approved} | ended | wrong

    def reply(name: str, data: Any) -> Any:
        [lock] = locks(place.database)
        if name == "both":
            answer(place.database, lock["fid"], lock["lid"], {"approved": "on"}, by=OTHER)
            return {"approved": False}
        if name == "ended":
            asyncio.run(expire(place.database, lock["fid"], lock["lid"]))
        return None

    with Answerer(place.database, reply):
        recorded = place.run(asks)
    final = recorded.final["dict"]
    assert "give a longer timeout" in final.pop("wrong")
    assert final == {"both": [True, False], "late": True, "by": "the leader"}
    both, late, ended = locks(place.database, recorded.fid, None)
    assert (both["asked"], both["quorum"], both["state"]) == (["ann", "team:legal"], 2, "leased")
    assert (late["state"], late["on_expiry"]) == ("expired", '{"approved": true}')
    open_for = (ended["expires_at"] - ended["opened_at"]).total_seconds()
    assert (ended["state"], round(open_for / 3600)) == ("expired", 7)


async def expire(url: str, fid: str, lid: str) -> None:
    """As the observer's leader ends a lock whose run does not."""
    fetch(url, "UPDATE kodosumi.lock SET deadline = now() WHERE lid = %s", lid)
    async with Reader(url, "kodosumi", 1) as reader:
        assert await following.expire(reader, LockId(lid, fid))


async def test_a_mock_asks_as_often_as_answers_are_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["1", "two"])
    monkeypatch.setattr("builtins.input", lambda _: next(typed))
    assert await TracerMock().lock("plain", quorum=2) == [1, "two"]
    with pytest.raises(ValueError, match="quorum is 0"):
        await TracerMock().lock("plain", quorum=0)
