"""Executions as writers store them, and event streams as readers see them."""

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import psycopg
from psycopg.rows import dict_row

from kodosumi_prefect.events import Event, State, serialize
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.panel.web.app import create_app
from kodosumi_prefect.panel.web.server import serve
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.vocabulary import API_KEY_HEADER

DEADLINE = 20.0  # seconds
QUIET = 0.4  # seconds, so that nobody has to wait for `alive`
STATES = {"starting": "Pending", "running": "Running", "finished": "Completed", "error": "Failed"}


class Run:
    """One execution, written through a Spooler of its own."""

    def __init__(self, url: str, **header: Any) -> None:
        self.fid = str(uuid4())
        self.attempt = 1
        self._header = {"flow_name": "some-flow", **header}
        self._writer = str(uuid4())
        self._number = 0
        self._spooler = Spooler(url, "kodosumi")
        self._clock = time.time()

    def put(self, *events: Event) -> "Run":
        self._number += 1
        self._spooler.append(
            [Batch(self.fid, self._writer, self._number, self._header, list(events), True)]
        )
        return self

    def event(self, kind: str, payload: str, **more: Any) -> Event:
        return Event(time.time(), kind, payload, self.attempt, **more)

    def say(self, kind: str, payload: str) -> "Run":
        return self.put(self.event(kind, payload))

    def lines(self, *texts: str) -> "Run":
        return self.put(*(self.event("stdout", text) for text in texts))

    def status(self, word: str, name: str = "") -> "Run":
        """Enter a state; Prefect's own name of it if it is no usual one."""
        self._clock = max(self._clock + 0.001, time.time())
        name = name or STATES[word]
        state = State(str(uuid4()), name.upper(), name, "", self._clock)
        return self.put(self.event("status", word, state=state))

    def begin(self, **inputs: Any) -> "Run":
        self.put(
            self.event("status", "starting"),
            self.event("inputs", serialize(inputs)),
            self.event("meta", serialize({"fid": self.fid})),
        )
        return self.status("running")

    def finish(self, result: Any = "done") -> "Run":
        text = result if isinstance(result, str) and result.startswith("{") else serialize(result)
        return self.say("final", text).status("finished")

    def fail(self, traceback: str = "Traceback\nValueError: no") -> "Run":
        return self.say("error", traceback).status("error")

    def cancel(self) -> "Run":
        """As a run that is cancelled ends: Kodosumi's word for it is ``error``."""
        self._clock = max(self._clock + 0.001, time.time())
        state = State(str(uuid4()), "CANCELLED", "Cancelled", "", self._clock)
        self.say("error", "Cancelled: by Ann")
        return self.put(self.event("status", "error", state=state))

    def close(self) -> None:
        self._spooler.close()


class Frame(NamedTuple):
    """One server-sent event; ``data`` without its timestamp."""

    event: str
    id: str
    ts: float
    data: str


def frames(response: httpx.Response) -> Iterator[Frame]:
    """Server-sent events as the standard reads them: the last id stays, no data is no event."""
    event, data, last_id, rest = "", [], "", ""
    for text in response.iter_text():
        rest += text
        while "\n" in rest:
            line, rest = rest.split("\n", 1)
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                event = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                last_id = value
            elif not line:
                if data:
                    ts, _, payload = "\n".join(data).partition(":")
                    yield Frame(event, last_id, float(ts), payload)
                event, data = "", []


class Person(NamedTuple):
    """Somebody with an account who is signed in; ``token`` is for the header."""

    id: str
    name: str
    token: str
    client: httpx.Client
    cookie: str


class Stand:
    """A running panel: its address, its app, and the database behind it.

    Attributes:
        client: signed in as an operator.
        token: what it is signed in with, for the header.
        cookie: likewise, for the cookie.
    """

    def __init__(self, url: str, app: Any, settings: Settings, token: str) -> None:
        self.url = url
        self.app = app
        assert settings.database_url is not None
        self.database = settings.database_url.get_secret_value()
        self.settings = settings
        self.token = token
        self.cookie = local_token(settings, use="cookie") if token else ""
        self.client = self.connect(self.token)
        self.runs: list[Run] = []
        self._named = Counter[str]()

    def connect(self, token: str | None = None) -> httpx.Client:
        """A further client; without a token it is signed in as nobody."""
        headers = {API_KEY_HEADER: token} if token else {}
        # Shorter than what the panel keeps idle connections for, so that none is used as it is
        # closed.
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=DEADLINE,
            trust_env=False,
            limits=httpx.Limits(keepalive_expiry=2.0),
        )

    def person(self, name: str, *, operator: bool = False) -> "Person":
        """A client that is signed in to a new account of this name, with a number if it is taken.

        One panel serves the tests of many files.
        """
        self._named[name] += 1
        if self._named[name] > 1:
            name = f"{name} {self._named[name]}"
        made = self.client.post(
            "/role", json={"name": name, "email": None, "password": None, "operator": operator}
        )
        assert made.status_code == 201, made.text
        sessions = self.app.state.panel.identification.sessions
        id = made.json()["id"]
        session = str(uuid4())
        token, cookie = (sessions.begin(id, 0, use, session) for use in ("header", "cookie"))
        return Person(id, name, token, self.connect(token), cookie)

    def run(self, **header: Any) -> Run:
        self.runs.append(Run(self.database, **header))
        return self.runs[-1]

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def json(self, path: str, **options: Any) -> Any:
        answer = self.get(path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextmanager
    def stream(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        with self.client.stream("GET", path, **options) as response:
            yield response

    def whole(self, path: str, **options: Any) -> list[Frame]:
        """All frames of a stream that ends."""
        with self.stream(path, **options) as response:
            assert response.status_code == 200
            return list(frames(response))

    def close(self) -> None:
        self.client.close()
        self.close_runs()

    def close_runs(self) -> None:
        """Let the connections of all writers go; what they wrote stays."""
        while self.runs:
            self.runs.pop().close()


@contextmanager
def serving(
    settings: Settings,
    quiet: float = QUIET,
    say: Callable[[str], None] = lambda _: None,
    *,
    signed_in: bool = True,
) -> Iterator[Stand]:
    """The panel of ``settings`` on a free port; its client is an operator's if ``signed_in``."""
    free = settings.model_copy(update={"port": 0})
    app = create_app(free, quiet=quiet, say=say)
    ready = threading.Event()
    addresses: list[str] = []
    problems: list[BaseException] = []
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def work() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        await serve(free, stop=stop, app=app, on_ready=lambda u: (addresses.append(u), ready.set()))

    def body() -> None:
        try:
            asyncio.run(work())
        except BaseException as exc:
            problems.append(exc)
            ready.set()

    thread = threading.Thread(target=body, name="panel")
    thread.start()
    assert ready.wait(DEADLINE)
    if problems:
        raise problems[0]
    try:
        token = local_token(settings) if signed_in else ""
        stand = Stand(addresses[0], app, free, token)
        try:
            yield stand
        finally:
            stand.close()
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(DEADLINE)
        assert not thread.is_alive(), "the panel does not stop"
    if problems:
        raise problems[0]


class Gate:
    """A TCP door to Postgres that can be shut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._changing = threading.Lock()
        self._ends: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.open()

    def open(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Shut it for good."""
        if self._listener is not None:
            self.shut()

    def shut(self) -> None:
        assert self._listener is not None
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changing:
            self._listener = None
            ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                inner, _ = listener.accept()
                outer = socket.create_connection(self._target)
                with self._changing:
                    if self._listener is not listener:  # shut while this one came through
                        inner.close()
                        outer.close()
                        return
                    self._ends += [inner, outer]
                for source, sink in ((inner, outer), (outer, inner)):
                    threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def until(condition: Callable[[], Any], deadline: float = DEADLINE) -> Any:
    """The first true value of ``condition``; fails after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        assert time.monotonic() < end, f"still not: {condition}"
        time.sleep(0.02)
    return value


def markdown(text: str) -> str:
    return json.dumps({"Markdown": {"body": text}})


def fetch(url: str, query: str) -> list[dict[str, Any]]:
    """The rows of a query."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()
