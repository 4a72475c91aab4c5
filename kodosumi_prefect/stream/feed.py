"""The Feed: follows event streams live, for any number of subscribers, with one LISTEN."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import psycopg

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database import channels
from kodosumi_prefect.database.connection import BoundedAsyncConnection
from kodosumi_prefect.database.listen import Listener
from kodosumi_prefect.stream.reader import Reader, StoredEvent, Tail

SWEEP = 1.0  # seconds between checks for a lost wake-up
POLL = 0.5  # seconds between polls when notifications do not arrive
RING_EVENTS = 2000  # events a topic keeps for its subscribers
RING_CHARS = 2_000_000  # characters of payload a topic keeps
READS = 3  # reads for subscribers at the same time; the others wait without a connection
RETRY_FIRST = 0.2  # seconds
RETRY_MOST = 5.0  # seconds

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reset:
    """The subscriber's cursor lay beyond the stream's end (``last_seq``); it replays from 1."""

    last_seq: int


@dataclass(frozen=True, slots=True)
class End:
    """The execution is over; ``seq`` is the terminal status."""

    seq: int


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing happened for a while; the connection is alive."""


Item = StoredEvent | Reset | End | Quiet
NOWHERE = Tail(0, None)  # of an execution that is not there


class _Topic:
    """What the feed knows of one execution that has subscribers."""

    def __init__(self, fid: str, tail: Tail) -> None:
        self.fid = fid
        self.seq = tail.last_seq
        self.ended_seq = tail.ended_seq
        self.subscribers = 0
        self.dirty = False
        self.pump: asyncio.Task[None] | None = None
        self._ring: deque[StoredEvent] = deque()
        self._chars = 0
        self._pulse = asyncio.Event()

    @property
    def end(self) -> int:
        """The last seq that subscribers get now."""
        return self.seq if self.ended_seq is None else min(self.seq, self.ended_seq)

    def extend(self, events: list[StoredEvent]) -> None:
        for event in events:
            self._ring.append(event)
            self._chars += len(event.payload)
        self.seq = events[-1].seq
        while len(self._ring) > 1 and (len(self._ring) > RING_EVENTS or self._chars > RING_CHARS):
            self._chars -= len(self._ring.popleft().payload)

    def restart(self) -> None:
        """Forget what was read: the stream is shorter than it was."""
        self._ring.clear()
        self._chars = 0
        self.seq = 0

    def behind(self, cursor: int) -> list[StoredEvent] | None:
        """The events after ``cursor``, or None if the ring no longer reaches back so far."""
        missing = self.seq - cursor
        if missing > len(self._ring):
            return None
        return list(self._ring)[len(self._ring) - missing :] if missing > 0 else []

    def announce(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()

    @property
    def pulse(self) -> asyncio.Event:
        """Set at the next change; take it before looking, wait on it after."""
        return self._pulse


class Feed:
    """Live event streams; an async context manager, used from one event loop.

    A wake-up leads to one read, which all subscribers of that execution share. Once a second
    one query looks for lost wake-ups. Subscribers hold a cursor, not a queue: a slow one reads
    its own pages and costs no memory.

    Arguments:
        reader: reads for all subscribers.
        listen_url: a direct connection, for LISTEN.

    Attributes:
        noted: set when something of any execution was stored, or may have been while there was no
            connection; whoever waits for it clears it.
    """

    def __init__(self, reader: Reader, listen_url: str) -> None:
        self._reader = reader
        self._channel = channels.events(reader.queries.schema)
        self.noted = asyncio.Event()
        self._topics: dict[str, _Topic] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._turns = asyncio.Semaphore(READS)
        self._listener = Listener(
            self._channel,
            lambda: listen_url,
            what="events",
            meanwhile=f"polling every {POLL} s",
            backoff=Backoff(RETRY_FIRST, RETRY_MOST),
            poll=POLL,
            send=self._notify_ourselves,
            logger=logger,
        )

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._listener.run(self._follow), name="kodosumi-feed-listen"),
            asyncio.create_task(self._sweep(), name="kodosumi-feed-sweep"),
        ]
        return self

    async def __aexit__(self, *exc: object) -> None:
        pumps = [topic.pump for topic in self._topics.values() if topic.pump]
        await cancel_all([*self._tasks, *pumps])

    @property
    def connected(self) -> bool:
        """Whether there is a connection for LISTEN."""
        return self._listener.connected

    @property
    def polling(self) -> bool:
        """Whether notifications do not arrive on it, as far as is known."""
        return self._listener.polling

    @property
    def losses(self) -> int:
        """Connections for LISTEN that were lost, or closed since they did not answer."""
        return self._listener.losses

    @property
    def state(self) -> str:
        """``listening``, ``polling`` where notifications do not arrive, or ``reconnecting``."""
        if not self.connected:
            return "reconnecting"
        return "polling" if self.polling else "listening"

    @property
    def round_trip_age(self) -> float | None:
        """Seconds since a notification of our own arrived; None if none has."""
        proven_at = self._listener.proven_at
        return None if proven_at is None else time.monotonic() - proven_at

    @property
    def subscribers(self) -> int:
        """How many streams are being followed."""
        return sum(topic.subscribers for topic in self._topics.values())

    @property
    def topics(self) -> int:
        """How many executions are being followed."""
        return len(self._topics)

    async def subscribe(
        self,
        fid: str,
        after: int = 0,
        *,
        kinds: Collection[str] | None = None,
        quiet: float = 15.0,
    ) -> AsyncIterator[Item]:
        """The events of an execution behind ``after``, then live, ending with ``End``.

        Arguments:
            fid: an execution; one that is not there is waited for.
            after: the last seq the subscriber has.
            kinds: only these; None means all.
            quiet: seconds of silence after which a ``Quiet`` comes.
        """
        async with self._topic(fid) as topic:
            cursor = after
            heard = time.monotonic()
            while True:
                pulse = topic.pulse
                if cursor > topic.seq and await self._is_beyond(topic, cursor):
                    yield Reset(topic.seq)
                    cursor = 0
                while cursor < topic.end:
                    events, cursor = await self._next(topic, cursor, kinds)
                    for event in events:
                        heard = time.monotonic()
                        yield event
                if topic.ended_seq is not None and cursor >= topic.ended_seq:
                    yield End(topic.ended_seq)
                    return
                wait = heard + quiet - time.monotonic()
                try:
                    async with asyncio.timeout(max(wait, 0)):
                        await pulse.wait()
                except TimeoutError:
                    heard = time.monotonic()
                    yield Quiet()

    async def _is_beyond(self, topic: _Topic, cursor: int) -> bool:
        """Whether the stream really is shorter than a cursor, and not only our view of it."""
        try:
            tail = await self._tail(topic.fid)
        except psycopg.Error:
            return False
        return cursor > max(tail.last_seq, topic.seq)

    async def _next(
        self, topic: _Topic, cursor: int, kinds: Collection[str] | None
    ) -> tuple[list[StoredEvent], int]:
        """The next events a subscriber gets, and its cursor behind them."""
        end = topic.end
        ready = topic.behind(cursor)
        if ready is not None:
            # Retention may have left gaps, so that the ring reaches back further than it seems.
            chosen = [
                e for e in ready if cursor < e.seq <= end and (kinds is None or e.kind in kinds)
            ]
            return chosen, end
        try:
            async with self._turns:
                page = await self._reader.page(
                    topic.fid, cursor, until=end, kinds=sorted(kinds) if kinds is not None else None
                )
        except psycopg.Error:
            # The listener reports it; this subscriber's cursor stays where it is.
            await asyncio.sleep(SWEEP)
            return [], cursor
        if page.more and page.events:
            return page.events, page.events[-1].seq
        return page.events, end

    @asynccontextmanager
    async def _topic(self, fid: str) -> AsyncIterator[_Topic]:
        topic = self._topics.get(fid)
        if topic is None:
            async with self._turns:
                topic = self._topics.get(fid)  # by now another may have looked
                if topic is None:
                    tails = await self._reader.tails([fid])
                    topic = self._topics.setdefault(fid, _Topic(fid, tails.get(fid, NOWHERE)))
        topic.subscribers += 1
        # What was committed between the read above and now had nobody to wake.
        self._wake(topic)
        try:
            yield topic
        finally:
            topic.subscribers -= 1
            if not topic.subscribers:
                self._topics.pop(fid, None)
                if topic.pump is not None:
                    topic.pump.cancel()

    def _wake(self, topic: _Topic) -> None:
        topic.dirty = True
        if topic.pump is None or topic.pump.done():
            topic.pump = asyncio.create_task(self._pump(topic))

    async def _pump(self, topic: _Topic) -> None:
        """Read what is new of a topic, until no wake-up came meanwhile."""
        while topic.dirty:
            topic.dirty = False
            try:
                await self._read(topic)
            except psycopg.Error:
                return  # the listener reports it; the sweep comes back to this topic

    async def _read(self, topic: _Topic) -> None:
        tail = await self._tail(topic.fid)
        if tail.last_seq < topic.seq:
            topic.restart()
            topic.seq = tail.last_seq
            topic.ended_seq = tail.ended_seq
            topic.announce()
        while topic.seq < tail.last_seq:
            async with self._turns:
                page = await self._reader.page(topic.fid, topic.seq, until=tail.last_seq)
            if not page.events:
                return  # its partition was dropped; there are no more events
            topic.extend(page.events)
            if not page.more:
                topic.ended_seq = tail.ended_seq
            topic.announce()
        if topic.ended_seq != tail.ended_seq:
            topic.ended_seq = tail.ended_seq
            topic.announce()

    async def _tail(self, fid: str) -> Tail:
        async with self._turns:
            return (await self._reader.tails([fid])).get(fid, NOWHERE)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(POLL if self.polling else SWEEP)
            if not self._topics:
                continue
            try:
                tails = await self._reader.tails(list(self._topics))
            except psycopg.Error:  # such as a table that is away while a backup is restored
                continue
            for fid, topic in list(self._topics.items()):
                tail = tails.get(fid, NOWHERE)
                if (topic.seq, topic.ended_seq) != tail:
                    self._wake(topic)

    async def _follow(self, connection: BoundedAsyncConnection) -> None:
        """Read again what may have been missed, then whatever is notified of."""
        self.noted.set()
        for topic in list(self._topics.values()):
            self._wake(topic)
        async for fid in self._listener.notes(connection):
            self.noted.set()
            if (followed := self._topics.get(fid)) is not None:
                self._wake(followed)

    async def _notify_ourselves(self, _: BoundedAsyncConnection, payload: str) -> None:
        """By a connection that reads, as writers do by theirs."""
        await self._reader.execute("notify", channel=self._channel, fids=[payload])
