"""What the spooler's tests share: batches, what is stored of them, and a line that can be cut."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from pydantic import SecretStr

from kodosumi_prefect.events import Event, Kind, State
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch, Header, unpack
from kodosumi_prefect.spooler.panel_transport import PanelTransport


def fresh() -> str:
    """A UUID nobody has used: an execution's, a writer's, a state's."""
    return str(uuid4())


def said(text: str, kind: str = Kind.STDOUT, **rest: Any) -> Event:
    return Event(time.time(), kind, text, **rest)


def entered(status: str, name: str, ts: float, attempt: int = 1, message: str = "") -> Event:
    """The event of a Prefect state; ``ts`` is the state's own time."""
    state = State(fresh(), name.upper(), name, message, ts)
    return Event(ts, Kind.STATUS, status, attempt, dedupe=f"state:{state.id}", state=state)


def batch(
    fid: str,
    *events: Event,
    writer: str | None = None,
    number: int = 1,
    header: Header | None = None,
    alive: bool | None = None,
) -> Batch:
    return Batch(fid, writer or fresh(), number, header or Header(), list(events), alive)


def stored(url: str, fid: str, schema: str = "kodosumi") -> list[dict[str, Any]]:
    """The events of an execution as they stand in the database, in order."""
    query = f"""SELECT seq, kind, payload, v.attempt, source, extract(epoch FROM ts)::float8 AS ts
        FROM {schema}.event v JOIN {schema}.execution x ON x.id = v.execution_id
        WHERE x.fid = %s ORDER BY seq"""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query, (fid,)).fetchall()


def payloads(url: str, fid: str) -> list[str]:
    return [event["payload"] for event in stored(url, fid)]


def row(url: str, fid: str, schema: str = "kodosumi") -> dict[str, Any]:
    """The row of an execution, which must be there."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        found = connection.execute(
            f"SELECT * FROM {schema}.execution WHERE fid = %s", (fid,)
        ).fetchone()
    assert found is not None
    return found


def execute(url: str, query: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(query)


def words_on_disk(settings: Settings) -> list[str]:
    """What the spill files hold, in order."""
    return [
        Event._make(event).payload
        for file in sorted(spill.folder(settings).glob(f"*{spill.SUFFIX}"))
        for line in file.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
        for one in unpack(line)
        for event in one.events
    ]


@contextmanager
def slow_table(database: str) -> Iterator[None]:
    """No event is stored inside the block: a transaction holds their table."""
    with psycopg.connect(database) as holding:
        holding.execute("LOCK TABLE kodosumi.event IN ACCESS EXCLUSIVE MODE")
        yield
        holding.rollback()


class Line:
    """A TCP line to a Postgres, or to a panel, which can be cut, restored, and made to hang.

    Attributes:
        url: the database, or the panel, by way of the line.
        round_trips: how often the far end answered what the near one said.
        token_of: makes tokens of executions, if it is a panel.
    """

    def __init__(self, url: str, token_of: Callable[[str], str] | None = None) -> None:
        self.token_of = token_of
        if token_of is None:
            given = conninfo_to_dict(url)
            self._target = (str(given["host"]), int(str(given["port"])))
        else:
            panel = httpx.URL(url)
            self._target = (panel.host, int(panel.port or 0))
        self._listener: socket.socket | None = None
        self._ends: set[socket.socket] = set()
        self._hangs = False
        self._asked = False
        self.round_trips = 0
        self._valves: set[threading.Event] = set()
        self._forgotten: set[threading.Event] = set()
        self._port = 0
        self.restore()
        near = {"host": "127.0.0.1", "port": str(self._port)}
        self.url = (
            make_conninfo(url, **near) if token_of is None else f"http://127.0.0.1:{self._port}"
        )

    def settings(self, data_dir: Path, fid: str, **changes: Any) -> Settings:
        """Of a process that records an execution over the line, and knows nothing else."""
        if self.token_of is None:
            way: dict[str, Any] = {"database_url": SecretStr(self.url)}
        else:
            way = {
                "database_url": None,
                "panel_url": self.url,
                "run_token": SecretStr(self.token_of(fid)),
            }
        return Settings(**(way | {"data_dir": data_dir} | changes))

    def transport(self, settings: Settings) -> Spooler | PanelTransport:
        """The way over the line, of a process with these settings."""
        if self.token_of is None:
            return Spooler(self.url, "kodosumi")
        return PanelTransport(settings)

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._ends) // 2

    def restore(self) -> None:
        """Accept connections again, on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Break all connections and refuse new ones."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for end in list(self._ends):
            self._close(end)
        self.resume()
        for valve in self._forgotten:
            valve.set()

    def hang(self) -> None:
        """Keep connections open and accept new ones, but carry nothing."""
        self._hangs = True
        for valve in list(self._valves):
            valve.clear()

    def resume(self) -> None:
        """Carry on after ``hang``."""
        self._hangs = False
        for valve in list(self._valves):
            valve.set()

    def forget(self) -> None:
        """Keep the connections open and swallow what they say, for ever; new ones work."""
        forgotten, self._valves = self._valves, set()
        for valve in forgotten:
            valve.clear()
        self._forgotten |= forgotten

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self._ends |= {near, far}
            valve = threading.Event()
            self._valves.add(valve)
            if not self._hangs:
                valve.set()
            if self._listener is not listener:  # cut while this one came through
                self._close(near)
                self._close(far)
                return
            for source, sink, asks in ((near, far, True), (far, near, False)):
                carry = (source, sink, valve, asks)
                threading.Thread(target=self._carry, args=carry, daemon=True).start()

    def _carry(
        self, source: socket.socket, sink: socket.socket, valve: threading.Event, asks: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                valve.wait()
                if self._asked and not asks:
                    self.round_trips += 1
                self._asked = asks
                sink.sendall(data)
        self._close(source)
        self._close(sink)

    def _close(self, end: socket.socket) -> None:
        self._ends.discard(end)
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def line_to(url: str, token_of: Callable[[str], str] | None = None) -> Iterator[Line]:
    line = Line(url, token_of)
    try:
        yield line
    finally:
        line.cut()
