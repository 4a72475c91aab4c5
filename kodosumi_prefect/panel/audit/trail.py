"""Writing entries, none of which may delay or fail the request it records."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.panel.audit.entry import Actor, Entry
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.web.networks import address_of
from kodosumi_prefect.stream.reader import Reader

ENTRY_STORED_SECONDS = 3.0  # seconds that an answer waits for its entry to be stored
WINDOW = 60.0  # seconds in which repeated refusals share an entry
BURST = 20  # refusals of one account and action that have entries of their own, a window
FAILED_SIGN_INS = 60  # failed sign-ins that have entries of their own, a window
CLOSING = 5.0  # seconds that the panel's end waits for failed sign-ins to be stored
QUEUED = 1000  # failed sign-ins that wait to be looked at

logger = logging.getLogger(__name__)

Known = Callable[[str], Awaitable[Actor | None]]


async def write(reader: Reader, entries: Sequence[Entry]) -> int:
    """Store entries; how many could not be, each of which is then in the log, on one line."""
    rows = [entry.stored() for entry in entries]
    try:
        async with asyncio.timeout(ENTRY_STORED_SECONDS):
            await reader.execute("add_audit", entries=json.dumps(rows))
    except (TimeoutError, psycopg.Error) as exc:
        why = " ".join(str(exc).split()) or type(exc).__name__
        for row in rows:
            logger.error("an audit entry is not stored (%s): %s", why, json.dumps(row))
        return len(rows)
    return 0


@dataclass(slots=True)
class _Repeated:
    """What one account was refused in this window.

    Attributes:
        stored: entries of their own.
        times: what came after these.
    """

    last: Entry
    stored: int = 0
    times: int = 0


class Trail:
    """Records entries in table ``audit``; an async context manager.

    Refusals and failures are bounded: past a number within a window they are only counted, and the
    count is stored at the window's end, so that nobody can fill the table. Failed sign-ins are
    stored behind the answer: whether there is such an account must not show in how long it takes.

    Arguments:
        reader: whose connections are used.
        known: finds the account of a name; raises ``psycopg.Error`` if Postgres is away.

    Attributes:
        lost: entries that could not be stored, since the start.
    """

    def __init__(self, reader: Reader, known: Known) -> None:
        self.lost = 0
        self._reader = reader
        self._known = known
        self._repeated: dict[tuple[str | None, ...], _Repeated] = {}
        self._signing_in: asyncio.Queue[tuple[str, Entry]] = asyncio.Queue(QUEUED)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Trail":
        self._tasks = [asyncio.create_task(self._look_at_sign_ins(), name="audit sign-ins")]
        self._tasks.append(asyncio.create_task(self._end_windows(), name="audit windows"))
        return self

    async def __aexit__(self, *exc: object) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                await self._signing_in.join()
        await cancel_all(self._tasks)
        await self.end_window()

    async def add(self, entries: Sequence[Entry]) -> None:
        """Store entries before the answer that they belong to is sent; never raises for Postgres.

        Those that are not ok are bounded by account and action.
        """
        admitted = [
            entry
            for entry in entries
            if entry.outcome is Outcome.OK
            or self._admits((entry.actor.id if entry.actor else None, entry.action), entry, BURST)
        ]
        if admitted:
            lost = await write(self._reader, admitted)
            self.lost += lost

    def sign_in_failed(self, name: str, entry: Entry) -> None:
        """Record a failed sign-in, soon. The name is kept only if an account has it.

        People type passwords where the name belongs.
        """
        try:
            self._signing_in.put_nowait((name, entry))
        except asyncio.QueueFull:
            self._admits(("sign-ins",), _anybodys(entry), 0)

    async def end_window(self) -> None:
        """Store the counts of what was refused too often for entries of its own."""
        repeated, self._repeated = self._repeated, {}
        counted = [
            replace(one.last, details=one.last.details | {"times": one.times})
            for one in repeated.values()
            if one.times
        ]
        if counted:
            lost = await write(self._reader, counted)
            self.lost += lost

    def _admits(self, what: tuple[str | None, ...], entry: Entry, most: int) -> bool:
        """Whether this gets its own entry; else it is counted."""
        one = self._repeated.setdefault(what, _Repeated(entry))
        if one.stored < most:
            one.stored += 1
            return True
        one.last = entry
        one.times += 1
        return False

    async def _look_at_sign_ins(self) -> None:
        while True:
            name, entry = await self._signing_in.get()
            try:
                await self._sign_in_failed(name, entry)
            except Exception:  # a bug of ours, which must not end this task
                self.lost += 1
                logger.exception("a failed sign-in is not recorded")
            finally:
                self._signing_in.task_done()

    async def _sign_in_failed(self, name: str, entry: Entry) -> None:
        try:
            actor = await self._known(name)
        except psycopg.Error:
            actor = None
        entry = replace(entry, actor=actor)
        if actor is None:
            entry.details = entry.details | {"account": "unknown"}
        what = ("sign-in", actor.id if actor else None, _network(entry.address))
        if what not in self._repeated and self._sign_ins() >= FAILED_SIGN_INS:
            self._admits(("sign-ins",), _anybodys(entry), 0)
        elif self._admits(what, entry, 1):
            lost = await write(self._reader, [entry])
            self.lost += lost

    def _sign_ins(self) -> int:
        return sum(what[0] == "sign-in" for what in self._repeated)

    async def _end_windows(self) -> None:
        while True:
            await asyncio.sleep(WINDOW)
            await self.end_window()


def failed_sign_in(**where: Any) -> Entry:
    """The entry of a sign-in that went wrong."""
    return Entry(Action.SIGN_IN, outcome=Outcome.REFUSED, means="password", **where)


def _anybodys(entry: Entry) -> Entry:
    """What stands for many failed sign-ins of many names from many addresses."""
    return replace(entry, actor=None, address=None, user_agent=None, details={"account": "many"})


def _network(address: str | None) -> str | None:
    """What one customer has all of: an address, or of IPv6 a /64."""
    known = address_of(address or "")
    return known.exploded[:19] if known is not None and known.version == 6 else address
