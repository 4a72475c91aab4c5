"""From an end of a run to its receiver, beside a slow and a dead one, and beside a bare POST.

`python -m tests.benchmarks webhooks`
"""

import asyncio
import contextlib
import socket
import time
import uuid
from collections.abc import Iterator

import httpcore
from pydantic import SecretStr

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.events import Event, State
from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.observer.delivering import Delivering
from kodosumi_prefect.observer.outbox_bell import OutboxBell
from kodosumi_prefect.outbox.webhooks import Webhooks
from kodosumi_prefect.panel.accounts.accounts import Accounts
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch, Header
from kodosumi_prefect.stream.reader import Reader
from tests.benchmarks.harness import connect, quantile, report

RUNS = 300
RATE = 20  # ends a second
SLOW = 5.0  # seconds that the slow receiver takes
KINDS = ["execution.finished"]
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Receiver:
    """Takes what is posted; when each came in, in order."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.at: list[float] = []
        self._seconds = seconds
        self._came = asyncio.Event()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def until(self, count: int) -> None:
        while len(self.at) < count:
            self._came.clear()
            await self._came.wait()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
        ):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                await reader.readexactly(int(fields[b"content-length"]))
                self.at.append(time.perf_counter())
                self._came.set()
                await asyncio.sleep(self._seconds)
                writer.write(ANSWER)
        writer.close()


def _end(spooler: Spooler, owner: str) -> None:
    state = State(str(uuid.uuid4()), "COMPLETED", "Completed", "", time.time())
    events = [Event(time.time(), "status", "finished", 1, state=state)]
    header = Header(owner=owner, flow_name="told")
    fid, writer = str(uuid.uuid4()), str(uuid.uuid4())
    spooler.append([Batch(fid, writer, 1, header, events, None)])


async def _bare(url: str) -> list[float]:
    """Seconds of a POST on a connection that is there."""
    took = []
    async with httpcore.AsyncConnectionPool() as pool:
        for _ in range(RUNS):
            began = time.perf_counter()
            await pool.request("POST", url, content=b"x" * 400)
            took.append(time.perf_counter() - began)
    return took[10:]


async def _told(
    webhooks: Webhooks, owner: str, url: str, spooler: Spooler, receiver: Receiver
) -> list[float]:
    """Seconds from before each end is stored to its arrival."""
    receiver.at.clear()
    began = []
    for _ in range(RUNS):
        began.append(time.perf_counter())
        await asyncio.to_thread(_end, spooler, owner)
        await asyncio.sleep(max(began[0] + len(began) / RATE - time.perf_counter(), 0))
    await receiver.until(RUNS)
    return [at - start for start, at in zip(began, sorted(receiver.at), strict=True)]


@contextlib.contextmanager
def _dead() -> Iterator[str]:
    """An address that connects and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as nobody:
        yield f"http://127.0.0.1:{nobody.getsockname()[1]}/"


async def _run(settings: Settings, url: str) -> None:
    used = settings.model_copy(
        update={"database_url": SecretStr(url), "webhook_networks": ["127.0.0.1"]}
    )
    async with Reader(url, used.database_schema, 3) as reader:
        webhooks = Webhooks(reader, panel_keys(used).webhooks)
        owner = (await Accounts(reader).add(f"told-{uuid.uuid4().hex[:8]}")).id
        fast, slow = Receiver(), Receiver(SLOW)
        fast_url, slow_url = await fast.start(), await slow.start()
        bare = await _bare(fast_url)
        bell = OutboxBell(used)
        tasks = [
            asyncio.create_task(bell.run()),
            asyncio.create_task(Delivering(used, reader, bell).run()),
        ]
        spooler = Spooler(url, used.database_schema)
        try:
            made = await webhooks.add(owner, name="fast", url=fast_url, kinds=KINDS)
            alone = await _told(webhooks, owner, fast_url, spooler, fast)
            with _dead() as dead_url:
                await webhooks.add(owner, name="slow", url=slow_url, kinds=KINDS)
                await webhooks.add(owner, name="dead", url=dead_url, kinds=KINDS)
                beside = await _told(webhooks, owner, fast_url, spooler, fast)
            rows = await webhooks.deliveries(made.webhook.id, state="delivered", limit=2 * RUNS)
            assert {row.tries for row in rows} == {1}
        finally:
            await cancel_all(tasks)
            spooler.close()

    def line(took: list[float], share: float) -> str:
        value = quantile(took, share)
        return f"{value * 1e3:8.1f} ms   ({value / quantile(bare, share):.0f} times a bare POST)"

    report(
        f"end of a run to its webhook's receiver, {RATE} a second",
        {
            "a bare POST, p50 and p95": f"{quantile(bare, 0.5) * 1e3:8.2f} ms"
            f"   {quantile(bare, 0.95) * 1e3:.2f} ms",
            "p50 (at most 100 ms)": line(alone, 0.5),
            "p95": line(alone, 0.95),
            f"p50 beside one that takes {SLOW:g} s and a dead one": line(beside, 0.5),
            "p95 beside them": line(beside, 0.95),
        },
    )


# Triggers off and on, in turns; on with somebody who listens and with nobody.
WAYS = {
    "without": ("DISABLE", False),
    "nobody listens": ("ENABLE", False),
    "Prefect's events are on": ("ENABLE", True),
}
TRIGGERS = (("execution", "tell_of_end"), ("execution", "tell_owner"))
STORED = 200  # runs, which begin and end at once: nothing but what is told of
LINES = 2000  # of one batch, in a run of which nothing is told
ROUNDS = 5


def _cost(url: str) -> None:
    spooler = Spooler(url, "kodosumi")
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    fid, writer = str(uuid.uuid4()), str(uuid.uuid4())
    number = 0
    with connect(url) as connection:
        for _ in range(ROUNDS):
            for name, (switch, listening) in WAYS.items():
                for table, trigger in TRIGGERS:
                    connection.execute(f"ALTER TABLE kodosumi.{table} {switch} TRIGGER {trigger}")
                connection.execute(
                    "UPDATE kodosumi.outbox_rules SET prefect_events = %s", (listening,)
                )
                began = time.perf_counter()
                for _ in range(STORED):
                    _end(spooler, "somebody")
                ends = time.perf_counter() - began
                began = time.perf_counter()
                for _ in range(5):
                    number += 1
                    lines = [Event(time.time(), "stdout", "x" * 100, 1) for _ in range(LINES)]
                    spooler.append([Batch(fid, writer, number, Header(), lines, None)])
                took[name].append((ends, time.perf_counter() - began))
        connection.execute("UPDATE kodosumi.outbox_rules SET prefect_events = false")
    spooler.close()
    medians = {
        name: [sorted(column)[ROUNDS // 2] for column in zip(*each, strict=True)]
        for name, each in took.items()
    }
    plain = medians["without"]
    report(
        f"storing beside telling (median of {ROUNDS})",
        {
            f"{name}: run stored at its end, and 10,000 lines": (
                f"{ends / STORED * 1e3:6.2f} ms ({ends / plain[0]:.0%})"
                f"   {lines * 1e3:6.0f} ms ({lines / plain[1]:.0%})"
            )
            for name, (ends, lines) in medians.items()
        },
    )


def run(settings: Settings, url: str) -> None:
    asyncio.run(_run(settings, url))
    _cost(url)
