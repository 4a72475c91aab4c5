"""Open locks of a database, and answering them as the panel does."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import dict_row

from kodosumi_prefect.locks.answering import Locks
from kodosumi_prefect.stream.reader import Reader
from tests.waiting import wait_for

SOMEBODY = "11111111-1111-1111-1111-111111111111"


def locks(url: str, fid: str | None = None, state: str | None = "open") -> list[dict[str, Any]]:
    """Locks of an execution, or of all, oldest first."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(
            "SELECT l.*, e.fid::text AS fid FROM kodosumi.lock l"
            " JOIN kodosumi.execution e ON e.id = l.execution_id"
            " WHERE (%(fid)s::uuid IS NULL OR e.fid = %(fid)s)"
            " AND (%(state)s::text IS NULL OR l.state = %(state)s)"
            " ORDER BY l.opened_at, l.lid",
            {"fid": fid, "state": state},
        ).fetchall()


def answer(url: str, fid: str, lid: str, result: Any, by: str = SOMEBODY) -> None:
    """Answer a lock; raises as ``Locks.answer``."""

    async def run() -> None:
        async with Reader(url, "kodosumi", 1) as reader:
            await Locks(reader).answer(fid, lid, result, by=by, name="somebody")

    # In a thread of its own: the caller's may have an event loop already.
    errors: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(run())
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


class Answerer:
    """Answers locks, from a thread, as soon as they are open: while a test runs its flow.

    Arguments:
        reply: what to answer, made of the lock's name and data; None leaves it open.
    """

    def __init__(self, url: str, reply: Callable[[str, Any], Any]) -> None:
        self._url = url
        self._reply = reply
        self._before = {lock["lid"] for lock in locks(url, state=None)}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._error: BaseException | None = None
        self.answered: list[dict[str, Any]] = []

    def __enter__(self) -> "Answerer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            self._answer()
        except BaseException as exc:
            self._error = exc

    def _answer(self) -> None:
        while not self._stop.wait(0.02):
            for lock in locks(self._url):
                if lock["lid"] in self._before:
                    continue
                self._before.add(lock["lid"])
                data = json.loads(lock["data"]) if lock["data"] else None
                reply = self._reply(lock["name"], data)
                if reply is not None:
                    answer(self._url, lock["fid"], lock["lid"], reply)
                    self.answered.append(lock)


def until_open(url: str, count: int = 1, fid: str | None = None) -> list[dict[str, Any]]:
    """Wait until that many locks are open."""
    return wait_for(lambda: found if len(found := locks(url, fid)) >= count else None)
