"""The Spooler actor: one per Ray cluster and database, through which its processes write.

However many processes emit, the database sees the few connections of this one. Only
``ensure_spooler`` starts it; writers look it up.
"""

import asyncio
import gc
import hashlib
import logging
import os
import platform
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson
import psycopg
import ray
import ray.exceptions

from kodosumi_prefect.settings import VERSION, Settings, database_url, listen_url
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.batch import PROTOCOL
from kodosumi_prefect.spooler.figures import Figures
from kodosumi_prefect.spooler.outcome import Answer, of_error
from kodosumi_prefect.spooler.pool import CONNECTIONS, Pool
from kodosumi_prefect.spooler.transport import Backlog, NoDatabaseError, SpoolerAwayError
from kodosumi_prefect.stream.settled_locks import Leases, Settled
from kodosumi_prefect.vocabulary import instance_namespace, spooler_name

# Another protocol is another actor: both serve while processes of two versions run.
NAME = spooler_name(PROTOCOL)
REPORT_EVERY = 10.0  # seconds
ENSURE_TIMEOUT = 60.0  # seconds for the actor to start and answer
CALLS = 1000  # that wait in the actor at once
UNREACHED = 0.05  # seconds between checks whether a name is free again

logger = logging.getLogger(__name__)

Answered = tuple[Answer, list[tuple[Any, ...]]]  # whether it could be asked, and rows
Sender = tuple[str, tuple[int, int, int]]  # a client's name, and its backlog


class SpoolerUnreachableError(SpoolerAwayError):
    """The actor exists but the call did not reach it, such as while it is restarted."""


class SpoolerGoneError(SpoolerAwayError):
    """The actor was ended; there may be another one later."""


class RuntimeEnvError(RuntimeError):
    """The Spooler would inherit a flow's ``runtime_env``; make it from a process without one."""


class SpoolerAddress(NamedTuple):
    """Where the Spooler of a database is.

    Attributes:
        instance: the id of the database; hand it to processes on Ray with ``learn_instance``.
        namespace: Ray's namespace.
        name: the actor's name in it.
        created: whether this call made it, or made it anew.
    """

    instance: str
    namespace: str
    name: str
    created: bool


class Target(NamedTuple):
    """Which database an actor writes to, and where that came from.

    Attributes:
        digest: of URL and schema, so that they can be compared without revealing them.
        origin: machine and data dir of the process that made the actor.
    """

    digest: str
    origin: str


class SpoolerActor:
    """Appends what clients deliver, over a few connections, and reports itself.

    An error is returned as an answer, not raised: Ray would turn an exception into another one.

    Arguments:
        url: libpq URL. Not in the environment, which Ray shows to everybody.
        schema: where our tables are.
        target: what ``ensure_spooler`` compares.
        direct_url: for LISTEN, if it is another one.
    """

    def __init__(
        self, url: str, schema: str, target: Target, direct_url: str | None = None
    ) -> None:
        self._url = url
        self._schema = schema
        self._target = target
        self._pool = Pool(url, schema, CONNECTIONS - 1)
        self._leases = Leases(direct_url or url, schema)  # the last one of the connections
        self._waits: dict[str, asyncio.Future[list[Settled]]] = {}
        self._figures = Figures()
        self._name = f"{NAME}@{_head_host()}"
        # Imported modules stay; the garbage collector need not look through them each time.
        gc.collect()
        gc.freeze()
        threading.Thread(target=self._report, name="kodosumi-spool-report", daemon=True).start()

    async def hello(self, sender: Sender) -> Answer:
        """A client will call soon: have a connection."""
        self._hear(sender)
        try:
            await asyncio.wrap_future(self._pool.do(lambda spooler: spooler.prepare()))
        except Exception as exc:
            return self._answer(exc)
        return None

    async def append(self, sender: Sender, fids: list[str], packed: bytes) -> Answer:
        """Store one packed delivery about the executions ``fids``."""
        began = time.perf_counter()
        self._hear(sender)
        try:
            events = await asyncio.wrap_future(self._pool.append(fids, packed))
        except Exception as exc:
            self._figures.failed()
            return self._answer(exc)
        self._figures.appended(events, time.perf_counter() - began)
        return None

    async def heartbeat(self, sender: Sender, fids: list[str]) -> Answer:
        """The process of these executions is alive."""
        self._hear(sender)
        try:
            await asyncio.wrap_future(self._pool.do(lambda spooler: spooler.heartbeat(fids)))
        except Exception as exc:
            return self._answer(exc)
        return None

    async def standings(self, sender: Sender, fids: list[str]) -> Answered:
        """How executions stand against their budgets."""
        self._hear(sender)
        try:
            asked = self._pool.do(lambda spooler: spooler.standings(fids))
            found = await asyncio.wrap_future(asked)
        except Exception as exc:
            return self._answer(exc), []
        return None, [(fid, *standing) for fid, standing in found.items()]

    async def leases(
        self, waiter: str, locks: Mapping[str, str], hold: float
    ) -> list[tuple[Any, ...]]:
        """Which of a process's locks are settled; waits for any of them, at most ``hold`` seconds.

        A process waits with one call: the next one, about other locks, ends the one before.
        """
        if (earlier := self._waits.get(waiter)) is not None:
            earlier.cancel()
        wait = self._waits[waiter] = asyncio.ensure_future(self._leases.settled(locks, hold))
        try:
            await asyncio.wait([wait])
            return [] if wait.cancelled() else [tuple(settled) for settled in wait.result()]
        finally:
            wait.cancel()
            if self._waits.get(waiter) is wait:
                del self._waits[waiter]

    async def about(self) -> dict[str, Any]:
        """Who this is, and its figures."""
        return {
            "version": VERSION,
            "protocol": PROTOCOL,
            "host": platform.node(),
            "pid": os.getpid(),
            "target": tuple(self._target),
            "runtime_env": dict(ray.get_runtime_context().runtime_env),
            **self._info(),
        }

    async def reaches_database(self) -> bool:
        """Whether a new connection can be made; those that are open may outlive a password."""

        def connect() -> bool:
            spooler = Spooler(self._url, self._schema)
            try:
                spooler.connect()
            except (psycopg.Error, ProtocolError):
                return False
            finally:
                spooler.close()
            return True

        return await asyncio.to_thread(connect)

    def _hear(self, sender: Sender) -> None:
        client, backlog = sender
        self._figures.hear(client, Backlog(*backlog))

    def _answer(self, error: Exception) -> Answer:
        answer = of_error(error)
        if answer is not None and answer[0] == "fault":
            logger.error("unexpected error in a call to the Spooler", exc_info=error)
        return answer

    def _info(self) -> dict[str, Any]:
        connections = self._pool.connections + self._leases.connected
        return self._figures.values() | {"connections": connections}

    def _report(self) -> None:
        """Report every 10 seconds to the database that this Spooler runs, and its figures."""
        while True:
            row = {
                "kind": "spooler",
                "name": self._name,
                "host": platform.node(),
                "pid": os.getpid(),
                "version": VERSION,
                "info": orjson.dumps(self._info() | {"protocol": PROTOCOL}).decode(),
            }
            try:
                self._pool.do(_telling("report_service", row)).result()
            except (psycopg.Error, ProtocolError) as exc:
                logger.warning(
                    "the Spooler cannot report its state: %s", " ".join(str(exc).split())
                )
            time.sleep(REPORT_EVERY)


def _telling(query: str, row: dict[str, Any]) -> Callable[[Spooler], None]:
    return lambda spooler: spooler.tell(query, row)


def find(instance: str) -> Any:
    """A handle of the database's Spooler in this cluster, or None if there is none.

    Raises:
        SpoolerUnreachableError: the cluster does not answer.
    """
    try:
        return ray.get_actor(NAME, namespace=instance_namespace(instance))
    except ValueError:
        return None
    except ray.exceptions.RayError as exc:
        raise SpoolerUnreachableError(f"the Ray cluster does not answer: {exc}") from exc


def answers(actor: Any, timeout: float = 2.0) -> bool:
    """Whether calls reach the actor now."""
    try:
        ask(actor, "about", timeout=timeout)
    except SpoolerAwayError:
        return False
    return True


def ask(actor: Any, method: str, *arguments: Any, timeout: float) -> Any:
    """Call a method of the actor and wait, at most ``timeout`` seconds, for its answer.

    Raises:
        SpoolerGoneError: the actor was ended for good.
        SpoolerUnreachableError: the call did not get there, or got lost there.
        SpoolerAwayError: no answer came in time.
    """
    with reaching(timeout):
        # Not ray.get: Ray would count the task in this process as waiting, and lend out its CPUs.
        return getattr(actor, method).remote(*arguments).future().result(timeout)


@contextmanager
def reaching(timeout: float) -> Iterator[None]:
    """Ray's errors about a call of the actor, as ``ask`` raises them."""
    try:
        yield
    except TimeoutError as exc:
        raise SpoolerAwayError(f"the Spooler did not answer within {timeout:g} s") from exc
    except ray.exceptions.ActorDiedError as exc:
        raise SpoolerGoneError("the Spooler was ended") from exc
    except ray.exceptions.RayTaskError:
        raise  # a fault of the actor's own code
    except ray.exceptions.RayError as exc:
        reason = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise SpoolerUnreachableError(f"the Spooler cannot be reached: {reason}") from exc


def ensure_spooler(settings: Settings) -> SpoolerAddress:
    """Have the Spooler of the configured database in the Ray cluster this process is connected to.

    Cheap while it exists: one call to the actor. Several processes may call it at once.
    Blocks for seconds where it has to start one; call it from a thread of its own.

    An actor that was made with another database URL is replaced if the URL was changed where it
    came from, or if it does not reach its database any more. One of another protocol stays.

    Raises:
        NoDatabaseError: no database is configured or recorded.
        psycopg.Error: the database is away, and its id is not known yet.
        ProtocolError: this version is too old for the database.
        SpoolerAwayError: it does not start or answer within ``ENSURE_TIMEOUT``.
        RuntimeEnvError: this process has a ``runtime_env``, which the actor would inherit.
    """
    url = database_url(settings)
    if url is None:
        raise NoDatabaseError(
            f"no Postgres is configured and none runs for {settings.data_dir}; set database_url"
        )
    schema = settings.database_schema
    instance = _instance_of(url, schema)
    direct = listen_url(settings)
    direct = direct if direct != url else None
    digest = hashlib.sha256(f"{url} {schema} {direct or ''}".encode()).hexdigest()
    target = Target(digest, f"{platform.node()}:{settings.data_dir}")
    deadline = time.monotonic() + ENSURE_TIMEOUT
    created = False
    while True:
        actor = find(instance)
        if actor is None:
            actor = _make(instance, url, schema, target, direct)
            created = True
        try:
            about = ask(actor, "about", timeout=max(deadline - time.monotonic(), 1.0))
            if _serves(actor, Target(*about["target"]), target):
                return SpoolerAddress(instance, instance_namespace(instance), NAME, created)
            logger.info("the Spooler writes to another database URL; replacing it")
            ray.kill(actor, no_restart=True)
        except (SpoolerGoneError, SpoolerUnreachableError):
            if time.monotonic() > deadline:
                raise
        time.sleep(UNREACHED)


def _serves(actor: Any, target: Target, requested: Target) -> bool:
    """Whether an actor may stay. Two that spell a URL differently must not replace each other's."""
    if target.digest == requested.digest:
        return True
    if target.origin == requested.origin:
        return False
    return bool(ask(actor, "reaches_database", timeout=ENSURE_TIMEOUT))


def _make(instance: str, url: str, schema: str, target: Target, direct: str | None) -> Any:
    # An empty runtime_env among the options does not keep Ray (2.60) from handing down this one's.
    inherited = dict(ray.get_runtime_context().runtime_env)
    inherited.pop("config", None)
    if inherited:
        raise RuntimeEnvError(
            f"the Spooler would inherit this process's runtime_env ({', '.join(inherited)}); call "
            "ensure_spooler from a process without one, such as the worker"
        )
    remote_class: Any = ray.remote(SpoolerActor)
    return remote_class.options(
        name=NAME,
        namespace=instance_namespace(instance),
        get_if_exists=True,
        lifetime="detached",
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=CALLS,
        runtime_env={},
    ).remote(url, schema, target, direct)


_instances: dict[tuple[str, str], str] = {}


def _instance_of(url: str, schema: str) -> str:
    """The id of a database, read once per process."""
    if (known := _instances.get((url, schema))) is None:
        spooler = Spooler(url, schema)
        try:
            spooler.connect()
        finally:
            spooler.close()
        known = spooler.instance
        assert known is not None
        _instances[(url, schema)] = known
    return known


def _head_host() -> str:
    """The machine of the cluster's head, which outlives the actor's place in the cluster."""
    host = ray.get_runtime_context().gcs_address.rpartition(":")[0]
    return platform.node() if host in ("127.0.0.1", "localhost", "::1") else _resolved(host)


def _resolved(host: str) -> str:
    try:
        return socket.gethostbyaddr(host)[0]
    except OSError:
        return host
