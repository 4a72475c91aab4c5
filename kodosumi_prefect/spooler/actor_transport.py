"""The way of a Ray worker's deliveries: through the Spooler actor of its cluster."""

import asyncio
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from kodosumi_prefect.database.connection import ANSWER_TIMEOUT
from kodosumi_prefect.spooler import actor
from kodosumi_prefect.spooler.batch import Batch, pack
from kodosumi_prefect.spooler.outcome import check
from kodosumi_prefect.spooler.standing import Standing
from kodosumi_prefect.spooler.transport import Backlog, SpoolerAwayError

logger = logging.getLogger(__name__)


class ActorTransport:
    """Calls the Spooler actor of a database; ``find`` looks it up.

    Arguments:
        instance: the id of the database, which names the actor.
        writer: what this client is called in the Spooler's figures.
        backlog: what the client has not delivered yet; sent along with each call.
    """

    def __init__(self, instance: str, writer: str, backlog: Callable[[], Backlog]) -> None:
        self._instance = instance
        self._client = f"{platform.node()}:{os.getpid()}:{writer}"
        self._backlog = backlog
        self._actor: Any = None
        self._lost_at = float("-inf")
        self._unreachable_since: float | None = None

    @property
    def instance(self) -> str:
        """The id of the database."""
        return self._instance

    @property
    def is_there(self) -> bool:
        """Whether the actor was there when it was last looked for or called."""
        return self._actor is not None

    @property
    def lost_for(self) -> float:
        """Seconds since an actor that had been there was gone."""
        return time.monotonic() - self._lost_at

    @property
    def unreachable_for(self) -> float:
        """Seconds since the first of the calls in a row that did not reach the actor."""
        if self._unreachable_since is None:
            return 0.0
        return time.monotonic() - self._unreachable_since

    def find(self) -> bool:
        """Look for the actor; whether it can be called."""
        handle = actor.find(self._instance)
        if handle is None or self._unreachable_since is None:
            self._actor = handle
        elif actor.answers(handle):
            self._actor, self._unreachable_since = handle, None
        return self._actor is not None and self._unreachable_since is None

    def takes(self, fid: str) -> bool:
        """Any execution's."""
        return True

    def append(self, batches: Sequence[Batch]) -> None:
        """Store one delivery; raises what the Spooler raised, or SpoolerAwayError."""
        fids = list(dict.fromkeys(batch.fid for batch in batches))
        self._call("append", fids, pack(list(batches)))

    def send(self, batches: Sequence[Batch]) -> "Future[Any]":
        """As ``append``, without waiting: the Spooler stores it though this process is killed."""
        if self._actor is None:
            raise SpoolerAwayError("the cluster's Spooler was not found")
        fids = list(dict.fromkeys(batch.fid for batch in batches))
        with self._marking(), actor.reaching(0.0):
            call = self._actor.append.remote(self._sender(), fids, pack(list(batches)))
            sent: Future[Any] = call.future()
            return sent

    def settle(self, sent: "Future[Any]") -> None:
        """Wait for the answer to a delivery that was sent; raises its error."""
        with self._marking(), actor.reaching(0.0):
            answer = sent.result(0)
        check(answer)

    def heartbeat(self, fids: Sequence[str]) -> None:
        """Report that the process of these executions is alive; raises as ``append``."""
        self._call("heartbeat", list(fids))

    def standings(self, fids: Sequence[str]) -> dict[str, Standing]:
        """How executions stand against their budgets; raises as ``append``."""
        if self._actor is None:
            raise SpoolerAwayError("the cluster's Spooler was not found")
        if not hasattr(self._actor, "standings"):
            return {}  # an older one, which knows no budgets
        with self._marking():
            answer, rows = actor.ask(
                self._actor, "standings", self._sender(), list(fids), timeout=ANSWER_TIMEOUT
            )
        check(answer)
        return {fid: Standing(*standing) for fid, *standing in rows}

    async def leases(self, waiter: str, locks: Mapping[str, str], hold: float) -> list[Any]:
        """Which of some locks are settled, as ``SpoolerActor.leases``; raises SpoolerAwayError.

        Arguments:
            waiter: names who waits; its next call ends this one.
        """
        if self._actor is None:
            raise SpoolerAwayError("the cluster's Spooler was not found")
        timeout = hold + ANSWER_TIMEOUT
        with self._marking(), actor.reaching(timeout):
            async with asyncio.timeout(timeout):
                call = self._actor.leases.remote(waiter, dict(locks), hold)
                rows: list[Any] = await asyncio.wrap_future(call.future())
                return rows

    def prepare(self) -> None:
        """Make a first call: it takes Ray several times as long as the next."""
        self._call("hello")

    def close(self) -> None:
        """Nothing: a handle holds no connection."""

    def close_if_idle(self, seconds: float) -> None:
        """Nothing: a handle holds no connection."""

    def abandon(self) -> None:
        """Forget the handle."""
        self._actor = None

    def _call(self, method: str, *arguments: Any) -> None:
        if self._actor is None:
            raise SpoolerAwayError("the cluster's Spooler was not found")
        with self._marking():
            answer = actor.ask(
                self._actor, method, self._sender(), *arguments, timeout=ANSWER_TIMEOUT
            )
        check(answer)

    def _sender(self) -> tuple[str, tuple[int, ...]]:
        return self._client, tuple(self._backlog())

    @contextmanager
    def _marking(self) -> Iterator[None]:
        """Note whether a call reached the actor."""
        try:
            yield
        except actor.SpoolerGoneError:
            self._actor, self._unreachable_since = None, None
            self._lost_at = time.monotonic()
            raise
        except actor.SpoolerUnreachableError:
            if self._unreachable_since is None:
                self._unreachable_since = time.monotonic()
            raise
        self._unreachable_since = None
