"""Server-sent events: what the feed brings, as frames, to any number of slow or quick readers."""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from html import escape
from typing import NamedTuple

import psycopg
from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Send

from kodosumi_prefect.error_line import line_of
from kodosumi_prefect.events import MAIN_KINDS, STDIO_KINDS, Kind
from kodosumi_prefect.panel.accounts.identification import Caller, Identification
from kodosumi_prefect.panel.executions.log_lines import level
from kodosumi_prefect.panel.html.questions import asked_html, lease_html
from kodosumi_prefect.panel.html.render import origin, render
from kodosumi_prefect.panel.html.uploads import upload_html
from kodosumi_prefect.refusals import TooManyError
from kodosumi_prefect.stream.feed import End, Feed, Item, Quiet, Reset
from kodosumi_prefect.stream.reader import StoredEvent, said_again
from kodosumi_prefect.vocabulary import API_KEY_HEADER

QUIET = 15.0  # seconds of silence before an `alive` event
REVIEW = 15.0  # seconds between checks whether readers still may read
OUTBOX_BYTES = 128 * 1024  # held for one reader before the stream waits for it
CHUNK = 64 * 1024  # bytes handed to the server at once
RENDERED_BYTES = 8 * 1024 * 1024  # of frames with HTML, kept for the other readers of a run
COME_BACK = 5  # seconds after which somebody with too many streams may try again
SLOW_RENDER = 20_000  # characters from which on rendering leaves the event loop

logger = logging.getLogger(__name__)


class View(NamedTuple):
    """Which events a stream brings, and whether their payloads are rendered to HTML.

    Attributes:
        named: before the HTML of what a task prints or logs stands the task's name, before what
            is logged its level, and before an error what it says in one line; questions and
            answers are in words; of spans there is only that something happened.
    """

    kinds: frozenset[str] | None
    html: bool
    named: bool = False


_QUESTIONS = (Kind.LOCK, Kind.LEASE)
STREAM = View(frozenset(Kind) - {Kind.SPAN}, html=False)  # what Kodosumi's clients know
TRACED = View(None, html=False)
MAIN = View(frozenset(MAIN_KINDS), html=True)
STDIO = View(frozenset(STDIO_KINDS), html=True)


def frame(event: str, number: int, ts: float, payload: str) -> bytes:
    """One event on the wire; a payload of several lines takes several ``data:`` lines."""
    return format_sse_event(event=event, id=str(number), data_str=f"{ts}:{payload}")


def _drawn(event: StoredEvent) -> str:
    return render(event.kind, event.payload)


def _linked(fid: str, event: StoredEvent) -> str:
    return upload_html(event.payload, fid)


def _in_words(event: StoredEvent) -> str:
    if event.kind == Kind.LEASE:
        return lease_html(event.payload, event.ts, event.source)
    return asked_html(event.payload)


class TooManyStreamsError(TooManyError):
    """An account has as many streams open as it may."""

    def __init__(self, most: int) -> None:
        detail = f"{most} streams of this account are open already; close some, or read by the page"
        super().__init__(detail, retry_after=COME_BACK)


class EventStream(StreamingResponse):
    """A response whose pump ends with it, also when the reader just goes away.

    FastAPI's own EventSourceResponse takes one pydantic model an event, and a task and a timer a
    reader; its wire format is used, the rest would cost too much here.
    """

    media_type = "text/event-stream"

    def __init__(
        self, content: AsyncIterator[bytes], end: Callable[[], object], status_code: int = 200
    ) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(content, status_code, headers)
        self._end = end

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            self._end()


class _Outbox:
    """Bytes on their way to one reader: a writer that runs ahead waits until it has caught up."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False

    async def put(self, part: bytes) -> None:
        while self._size >= OUTBOX_BYTES:
            self._room.clear()
            await self._room.wait()
        self._parts.append(part)
        self._size += len(part)
        self._filled.set()

    def close(self) -> None:
        self._closed = True
        self._filled.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Everything that is put, many frames at a time if they came at once."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            data = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._room.set()
            for start in range(0, len(data), CHUNK):
                yield data[start : start + CHUNK]
            if self._closed and not self._parts:
                return


class _Open(NamedTuple):
    """A stream that is being read, and the request for it."""

    outbox: _Outbox
    request: Request


class Streams:
    """The open event streams of one panel.

    A frame with HTML is made once for all readers of a run. Each reader holds at most about
    ``OUTBOX_BYTES`` and one event; a slow one makes its own cursor wait, nobody else's.

    Arguments:
        feed: brings the events.
        quiet: seconds of silence before an ``alive`` event.
        most: streams of one account.
    """

    def __init__(self, feed: Feed, quiet: float = QUIET, most: int = 256) -> None:
        self._feed = feed
        self.quiet = quiet
        self._most = most
        self.seats: Counter[str] = Counter()  # taken ones by account
        self._open: dict[asyncio.Task[None], _Open] = {}
        self._rendered: OrderedDict[tuple[str, int, float, bool], bytes] = OrderedDict()
        self._rendered_bytes = 0
        self.closing = asyncio.Event()

    @contextmanager
    def seat(self, account: str) -> Iterator[None]:
        """A place for a stream, or for something else that goes on for long, while inside.

        Arguments:
            account: id of whose it is.

        Raises:
            TooManyStreamsError: they have no place left.
        """
        if self.seats[account] >= self._most:
            raise TooManyStreamsError(self._most)
        self.seats[account] += 1
        try:
            yield
        finally:
            self.seats[account] -= 1
            if not self.seats[account]:
                del self.seats[account]

    def open(self, request: Request, fid: str, after: int, view: View) -> EventStream:
        """The events of an execution behind ``after``, then live, until ``eof``.

        Arguments:
            request: of somebody who may see the execution.
        """
        return self.send(request, self._frames(fid, after, view), f"stream-{fid}")

    def send(self, request: Request, parts: AsyncGenerator[bytes], name: str) -> EventStream:
        """Parts of a stream as they come, for as long as whoever sent the request may read it.

        Arguments:
            name: of the stream, for the log.
        """
        outbox = _Outbox()
        pump = asyncio.create_task(_pump(parts, outbox), name=name)
        self._open[pump] = _Open(outbox, request)
        pump.add_done_callback(self._ended)
        return EventStream(outbox.chunks(), end=pump.cancel)

    async def review(self, identification: Identification) -> None:
        """End, for as long as this runs, streams whose readers may not read them any more.

        Somebody who was disabled, signed out everywhere or is another than before comes back with
        their cursor, and is told so then.
        """
        while True:
            await asyncio.sleep(REVIEW)
            known: dict[str | None, Caller | None] = {}  # a program has many streams by one key
            for pump, (_, request) in list(self._open.items()):
                key = request.headers.get(API_KEY_HEADER)
                try:
                    if key is None or key not in known:
                        known[key] = await identification.caller(request)
                except psycopg.OperationalError:
                    break  # nobody is turned out because the database is away
                except Exception:
                    logger.exception("cannot check whether an account may still read a stream")
                    continue
                caller = known[key]
                if caller is None or caller.user != request.state.user:
                    pump.cancel()
                await asyncio.sleep(0)  # a thousand readers hold nobody up

    def close(self) -> None:
        """End all streams now: the panel is going down, readers come back with their cursor."""
        self.closing.set()
        for pump in list(self._open):
            pump.cancel()

    def __len__(self) -> int:
        return len(self._open)

    def _ended(self, pump: asyncio.Task[None]) -> None:
        self._open.pop(pump).outbox.close()
        if not pump.cancelled() and (error := pump.exception()) is not None:
            name = pump.get_name()
            about = {"fid": name.removeprefix("stream-")} if name.startswith("stream-") else {}
            logger.error("%s broke off", name, exc_info=error, extra=about)

    async def _frames(self, fid: str, after: int, view: View) -> AsyncGenerator[bytes]:
        cursor = after
        items = self._feed.subscribe(fid, after, kinds=view.kinds, quiet=self.quiet)
        async with aclosing(items):  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, StoredEvent):
                    cursor = item.seq
                    if said_again(item):
                        continue
                elif isinstance(item, Reset):
                    cursor = 0
                yield await self._frame(fid, item, cursor, view)

    async def _frame(self, fid: str, item: Item, cursor: int, view: View) -> bytes:
        match item:
            case StoredEvent():
                if view.html:
                    return await self._html(fid, item, view.named)
                return frame(item.kind, item.seq, item.ts, item.payload)
            case Reset():
                note = f"the stream ends at {item.last_seq}, it is replayed from 1"
                return frame("reset", 0, time.time(), note)
            case Quiet():
                # `alive` has id 0, which an EventSource would come back with. A block of an id
                # alone is no event: it only makes the reader remember its cursor again.
                return frame("alive", 0, time.time(), "service alive") + b"id: %d\n\n" % cursor
            case End():
                return frame("eof", item.seq, time.time(), "end of stream")

    async def _html(self, fid: str, event: StoredEvent, named: bool) -> bytes:
        if named and event.kind == Kind.SPAN:
            return frame(event.kind, event.seq, event.ts, "")  # pages ask for what it says
        name = origin(event.source) if named and event.kind in STDIO_KINDS else ""
        key = (fid, event.seq, event.ts, named)
        if (known := self._rendered.get(key)) is not None:
            return known
        draw = _in_words if named and event.kind in _QUESTIONS else _drawn
        if named and event.kind == Kind.UPLOAD:
            draw = partial(_linked, fid)
        if len(event.payload) > SLOW_RENDER:
            html = await asyncio.to_thread(draw, event)
        else:
            html = draw(event)
        if named and event.kind == Kind.ERROR:
            html = f'<span class="said" hidden>{escape(line_of(event.payload))}</span>{html}'
        logged = (event.source or {}).get("level") if named and event.kind in STDIO_KINDS else None
        if logged:
            html = f'<span class="level">{escape(level(event.kind, event.source))}</span>{html}'
        if name:
            html = f'<span class="from">{escape(name)}</span>{html}'
        rendered = frame(event.kind, event.seq, event.ts, html)
        if key not in self._rendered:
            self._rendered[key] = rendered
            self._rendered_bytes += len(rendered)
        while self._rendered_bytes > RENDERED_BYTES:
            self._rendered_bytes -= len(self._rendered.popitem(last=False)[1])
        return rendered


async def _pump(parts: AsyncGenerator[bytes], outbox: _Outbox) -> None:
    # A database that is away ends the stream; the reader comes back with its cursor.
    with suppress(psycopg.OperationalError):
        async with aclosing(parts):
            async for part in parts:
                await outbox.put(part)
