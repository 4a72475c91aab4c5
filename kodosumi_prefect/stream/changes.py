"""Changes of executions and locks, for any number of followers, with one query for all of them."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import psycopg

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database.rows.changes import ChangedRow, NamesOfAccount
from kodosumi_prefect.stream.feed import Feed
from kodosumi_prefect.stream.position import START, Position
from kodosumi_prefect.stream.reader import EVERYTHING, Reader, Visible

KINDS = ("execution", "lock", "deletion")
PAGE = 500  # changes read at once
RING = 4000  # changes that are kept for followers who are not quite up to date
SWEEP = 1.0  # seconds between looks without a wake-up, such as for what was archived
GAP = 0.05  # seconds between looks at least
READS = 2  # reads for single followers at the same time; others wait without a connection


class Wanted(NamedTuple):
    """Which changes somebody gets; all conditions must hold.

    Attributes:
        visible: what they may see.
        names: by which locks are asked of them, also of executions that they may not see; read
            anew for followers as they change.
        owner: id of the account whose they are.
        flow: name of the execution's flow.
        service: address of the service that launched the execution.
        statuses: of executions, and states of locks; none means all.
        kinds: of ``KINDS``.
    """

    visible: Visible = EVERYTHING
    names: frozenset[str] = frozenset()
    owner: str | None = None
    flow: str | None = None
    service: str | None = None
    statuses: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset(KINDS)

    def matches(self, change: "Change") -> bool:
        """Whether they get this one; as the query ``changes_behind`` has it."""
        viewer, unowned = self.visible
        sees = viewer in (None, change.owner) or (change.owner is None and unowned)
        if not sees and (viewer in change.handed_on or not self.names & change.asked):
            return False
        if change.kind not in self.kinds or self.owner not in (None, change.owner):
            return False
        if change.kind == "deletion":
            return True
        return (
            self.flow in (None, change.flow)
            and self.service in (None, change.service)
            and (not self.statuses or change.status in self.statuses)
        )

    def parameters(self) -> dict[str, Any]:
        """Values for that query."""
        return {
            "viewer": self.visible.owner,
            "unowned": self.visible.unowned,
            "owner": self.owner,
            "flow": self.flow,
            "service": self.service,
            "statuses": sorted(self.statuses) or None,
            "kinds": sorted(self.kinds),
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What an execution or a lock is like now, or that an execution was deleted.

    Attributes:
        xid: the transaction that changed it.
        key: its place among the changes of that transaction.
        asked: names by which a lock is asked of people.
        handed_on: ids of accounts that it is no longer asked of.
        item: what followers are told, as JSON text.
        behind: the position behind it of whoever was up to date.
    """

    xid: int
    key: str
    kind: str
    owner: str | None
    flow: str | None
    service: str | None
    status: str | None
    asked: frozenset[str]
    handed_on: frozenset[str]
    item: str
    behind: Position


class Step(NamedTuple):
    """Changes in their order, each with the follower's position behind it, and that at the end.

    Attributes:
        more: there are further ones already.
    """

    changes: list[tuple[Change, Position]]
    position: Position
    more: bool = False


@dataclass(frozen=True, slots=True)
class Restarted:
    """The position is of a future that this database does not have: all is told from the start."""


class _Look(NamedTuple):
    """What one read brought: changes between two positions."""

    before: Position
    after: Position
    changes: list[Change]
    more: bool


class _Follower:
    """Somebody who waits for changes.

    Attributes:
        next: number of the look that comes next.
        named: the names of who waits were read.
    """

    def __init__(self, wanted: Wanted, following: int) -> None:
        self.wanted = wanted
        self.named = wanted.visible.owner is None
        self.next = following
        self.wake = asyncio.Event()


class Changes:
    """Follows changes; an async context manager, used from one event loop.

    While there are followers, one query after a wake-up, and one a second, serves all who are up
    to date. Followers have a position, not a queue: a slow one reads its own pages, in which every
    execution and lock stands once, however often it changed meanwhile.

    Arguments:
        reader: reads for all.
        feed: hears when something was stored.
    """

    def __init__(self, reader: Reader, feed: Feed) -> None:
        self._reader = reader
        self._feed = feed
        self._followers: set[_Follower] = set()
        self._looks: deque[_Look] = deque()
        self._kept = 0  # changes in them
        self._count = 0  # looks that there were
        self._position: Position | None = None  # up to which was looked
        self._starting = asyncio.Lock()
        self._turns = asyncio.Semaphore(READS)
        self._asking: asyncio.Task[Position] | None = None
        self._followed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="kodosumi-changes")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await cancel_all([task for task in (self._task, self._asking) if task is not None])

    def __len__(self) -> int:
        return len(self._followers)

    async def page(
        self, since: Position | None, wanted: Wanted, limit: int = PAGE
    ) -> Step | Restarted:
        """Changes behind a position, at most ``limit``; without one, none.

        Raises:
            psycopg.OperationalError: the database is away.
        """
        if since is None:
            return Step([], await self._now())
        async with self._turns:
            look = await self._look(since, wanted, limit)
        if look is None:
            return Restarted()
        return Step([(each, each.behind) for each in look.changes], look.after, look.more)

    async def follow(
        self, since: Position | None, wanted: Wanted, quiet: float
    ) -> AsyncGenerator[Step | Restarted]:
        """Changes behind a position, then live, without end.

        Arguments:
            since: without one, only what changes from now on.
            quiet: seconds of silence after which a step without changes comes.

        Raises:
            psycopg.OperationalError: the database is away; ask again with the last position.
        """
        with self._follower(wanted) as follower:
            position, up_to_date, silent = since, False, False
            await self._name([follower], again=False)
            heard = time.monotonic()
            while True:
                if position is None:
                    await self._ready()
                    follower.next = self._count
                    position, up_to_date = await self._now(), True
                    yield Step([], position)
                    heard = time.monotonic()
                elif not up_to_date:
                    await self._ready()
                    follower.next = self._count
                    found = await self.page(position, follower.wanted)
                    if isinstance(found, Restarted):
                        position = START
                        yield found
                        continue
                    position, up_to_date = found.position, not found.more
                    yield found
                    heard = time.monotonic()
                    continue
                follower.wake.clear()
                steps = self._steps(follower, position)
                if steps is None:
                    up_to_date = False
                    continue
                for step in steps:
                    position = step.position
                    if step.changes:
                        heard = time.monotonic()
                        yield step
                if silent:
                    heard = time.monotonic()
                    yield Step([], position)
                silent = not await _within(heard + quiet - time.monotonic(), follower.wake)

    def _steps(self, follower: _Follower, position: Position) -> Sequence[Step] | None:
        """What the looks since the last time bring; None if they are not kept any more."""
        missing = self._count - follower.next
        if missing > len(self._looks):
            return None
        steps = []
        for number in range(len(self._looks) - missing, len(self._looks)):
            look = self._looks[number]
            follower.next += 1
            exactly = position is look.before
            changes = [
                (each, each.behind if exactly else position.at(look.after, each.xid, each.key))
                for each in look.changes
                if follower.wanted.matches(each)
                and (exactly or not position.has(each.xid, each.key))
            ]
            position = look.after if exactly else position.joined(look.after)
            steps.append(Step(changes, position))
        if self._position is not None and position.joined(self._position) == self._position:
            steps.append(Step([], self._position))
        return steps

    @contextmanager
    def _follower(self, wanted: Wanted) -> Iterator[_Follower]:
        follower = _Follower(wanted, self._count)
        self._followers.add(follower)
        self._followed.set()
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            if not self._followers:  # what comes until somebody follows again is nobody's
                self._followed.clear()
                self._forget()

    async def _now(self) -> Position:
        """What is visible now; who asks at the same time shares one query."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_now())
        return await asyncio.shield(self._asking)

    async def _ask_now(self) -> Position:
        async with self._turns:
            self._asking = None  # who comes from here on needs a later one
            [text] = await self._reader.values("snapshot")
        return Position.of_snapshot(text)

    async def _ready(self) -> None:
        """Know a position that is older than what a follower reads next."""
        async with self._starting:
            if self._position is None:
                self._position = await self._now()

    async def _look(self, since: Position, wanted: Wanted, limit: int) -> _Look | None:
        """Read what is behind a position; None if that lies in the future."""
        rows = await self._reader.rows_of(
            ChangedRow,
            "changes_behind",
            xmin=since.xmin,
            seen=since.snapshot,
            xids=list(since.partial),
            keys=list(since.partial.values()),
            limit=limit,
            **wanted.parameters(),
        )
        now = Position.of_snapshot(rows[0].snapshot)
        if now.xmax < since.xmax:
            return None
        changes = []
        behind = since
        for row in rows:
            if row.changed is None or row.key is None or row.kind is None or row.item is None:
                continue  # there is nothing but the snapshot
            behind = since.at(now, row.changed, row.key)
            whose = (row.owner, row.flow_name, row.app_url, row.status)
            people = frozenset(row.asked or ()), frozenset(row.handed_on or ())
            told = (row.changed, row.key, row.kind)
            changes.append(Change(*told, *whose, *people, row.item, behind))
        if len(changes) < limit:
            return _Look(since, since.joined(now), changes, False)
        return _Look(since, behind, changes, True)

    async def _run(self) -> None:
        while True:
            await self._followed.wait()
            self._feed.noted.clear()
            try:
                more = await self._look_for_all()
            except psycopg.Error:
                more = False  # the feed reports it; what is missed now is read later
            await asyncio.sleep(GAP)
            if not more:
                await _within(SWEEP, self._feed.noted)

    async def _look_for_all(self) -> bool:
        """Read once for all followers; whether there is more."""
        before = self._position
        if before is None:
            return False  # the first follower is just about to begin
        look = await self._look(before, Wanted(), PAGE)
        if look is not None and any(change.asked for change in look.changes):
            await self._name(list(self._followers), again=True)
        if self._position is not before:
            return False  # all have gone meanwhile
        if look is None:  # the database was restored: everybody looks for themselves
            self._count += 1
            self._forget()
        else:
            self._position = look.after
            if look.changes:
                self._keep(look)
        for follower in self._followers:
            if look is None or any(map(follower.wanted.matches, look.changes)):
                follower.wake.set()
        return look is not None and look.more

    async def _name(self, followers: Sequence[_Follower], *, again: bool) -> None:
        """Have followers know by which names they are asked, as it is now.

        Done once changes were read, it keeps them from whom they are not asked of any more.
        """
        accounts = {each.wanted.visible.owner for each in followers if again or not each.named}
        accounts.discard(None)
        if not accounts:
            return
        rows = await self._reader.rows_of(
            NamesOfAccount, "references_to_accounts", accounts=sorted(map(str, accounts))
        )
        names = {row.account: frozenset(row.names) for row in rows}
        for each in followers:
            if (account := each.wanted.visible.owner) in names and (again or not each.named):
                each.wanted = each.wanted._replace(names=names[account])
                each.named = True

    def _keep(self, look: _Look) -> None:
        self._looks.append(look)
        self._count += 1
        self._kept += len(look.changes)
        while len(self._looks) > 1 and self._kept > RING:
            self._kept -= len(self._looks.popleft().changes)

    def _forget(self) -> None:
        self._position = None
        self._looks.clear()
        self._kept = 0


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for an event; whether it came in time."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await event.wait()
    except TimeoutError:
        return False
    return True
