"""Deliveries of many clients, appended over a few connections."""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any

import psycopg

from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.batch import Batch, unpack

CONNECTIONS = 4
BUNDLE = 64  # deliveries that share a transaction at most
BUNDLE_BYTES = 4_000_000
IDLE = 10.0  # seconds after which an unused connection is given back
THREAD_NAME = "kodosumi-spool-pool"


class _Delivery:
    """A delivery that waits to be stored, packed or not; so many bytes when it is packed."""

    def __init__(self, fids: Collection[str], content: bytes | list[Batch], size: int) -> None:
        self.fids = frozenset(fids)
        self.content = content
        self.size = size
        self.stored: Future[int] = Future()
        # Whoever waits may give up; what was taken in is stored all the same.
        self.stored.set_running_or_notify_cancel()


class _Errand:
    """Anything else that needs a connection."""

    def __init__(self, run: Callable[[Spooler], Any]) -> None:
        self.run = run
        self.done: Future[Any] = Future()

    def settle(self, spooler: Spooler) -> None:
        """Run it, unless nobody waits for it any more; from here on it cannot be given up."""
        if not self.done.set_running_or_notify_cancel():
            return
        try:
            result = self.run(spooler)
        except Exception as exc:
            self.done.set_exception(exc)
        else:
            self.done.set_result(result)


class Pool:
    """Appends deliveries over at most ``connections`` connections, each used by one thread.

    The connection used last is used next, so that few suffice where few events come; it is kept,
    the others are given back when they were idle.

    Two deliveries to one execution are never stored at the same time: they would only wait for
    each other with two connections. What arrived meanwhile shares a transaction. Deliveries to an
    execution keep the order of their arrival.

    Arguments:
        url: libpq URL.
        schema: where our tables are.
    """

    def __init__(self, url: str, schema: str, connections: int = CONNECTIONS) -> None:
        self._waiting: deque[_Delivery] = deque()
        self._errands: deque[_Errand] = deque()
        self._busy: set[str] = set()  # executions that a thread is storing something of
        self._changed = threading.Condition()
        self._closed = False
        self._spoolers = [Spooler(url, schema) for _ in range(connections)]
        self._free = list(self._spoolers)  # the one used last at the end
        self._threads = [
            threading.Thread(target=self._serve, name=THREAD_NAME, daemon=True)
            for _ in self._spoolers
        ]
        for thread in self._threads:
            thread.start()

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return sum(spooler.connected for spooler in self._spoolers)

    def append(self, fids: Collection[str], packed: bytes) -> "Future[int]":
        """Store a delivery that ``pack`` made, all of it or nothing.

        Arguments:
            fids: the executions it is about.

        Returns:
            How many events it holds, once they are stored; or the error of ``Spooler.append``.
        """
        return self._add(_Delivery(fids, packed, len(packed)))

    def append_batches(self, batches: list[Batch], size: int) -> "Future[int]":
        """As ``append``, for a delivery that takes ``size`` bytes when it is packed."""
        return self._add(_Delivery([batch.fid for batch in batches], batches, size))

    def _add(self, delivery: _Delivery) -> "Future[int]":
        with self._changed:
            self._waiting.append(delivery)
            self._changed.notify()
        return delivery.stored

    def do(self, run: Callable[[Spooler], Any]) -> "Future[Any]":
        """Have a thread call ``run`` with its Spooler, as soon as one is free.

        Cancelled before that, it is not called.
        """
        errand = _Errand(run)
        with self._changed:
            self._errands.append(errand)
            self._changed.notify()
        return errand.done

    def close(self, timeout: float) -> None:
        """Store what waits, within ``timeout`` seconds, and give the connections back."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        for spooler in self._free:
            spooler.close()

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            with self._changed:
                spooler = self._free.pop()
            try:
                if isinstance(work, _Errand):
                    work.settle(spooler)
                else:
                    _store(spooler, work)
            finally:
                with self._changed:
                    self._free.append(spooler)
                    if not isinstance(work, _Errand):
                        self._busy.difference_update(*(delivery.fids for delivery in work))
                    self._changed.notify_all()

    def _next(self) -> "list[_Delivery] | _Errand | None":
        """What to do next; None when there is nothing more, ever."""
        with self._changed:
            while True:
                if self._errands:
                    return self._errands.popleft()
                if bundle := self._bundle():
                    return bundle
                if self._closed and not self._waiting:
                    return None
                self._changed.wait(IDLE / 2)
                for spooler in self._free[:-1]:
                    spooler.close_if_idle(IDLE)

    def _bundle(self) -> list[_Delivery]:
        """Take the oldest deliveries that no other thread is in the way of."""
        bundle: list[_Delivery] = []
        left: deque[_Delivery] = deque()
        taken = set(self._busy)
        size = 0
        while self._waiting:
            if len(bundle) == BUNDLE or size > BUNDLE_BYTES:
                break
            delivery = self._waiting.popleft()
            if taken.isdisjoint(delivery.fids):
                bundle.append(delivery)
                size += delivery.size
            else:
                taken |= delivery.fids  # nothing that comes later may overtake it
                left.append(delivery)
        left.extend(self._waiting)
        self._waiting = left
        for delivery in bundle:
            self._busy |= delivery.fids
        return bundle


def _store(spooler: Spooler, bundle: list[_Delivery]) -> None:
    """Store a bundle in one transaction; if it is refused, each delivery in its own."""
    unpacked: list[tuple[_Delivery, list[Batch]]] = []
    for delivery in bundle:
        try:
            content = delivery.content
            batches = unpack(content) if isinstance(content, bytes) else content
            unpacked.append((delivery, batches))
        except ValueError as exc:
            delivery.stored.set_exception(exc)
    if not unpacked:
        return
    try:
        spooler.append([batch for _, batches in unpacked for batch in batches])
    except (psycopg.OperationalError, ProtocolError) as exc:
        for delivery, _ in unpacked:
            delivery.stored.set_exception(exc)
    except Exception as exc:
        if len(unpacked) == 1:
            unpacked[0][0].stored.set_exception(exc)
            return
        for delivery, _ in unpacked:  # only the delivery at fault gets the error
            _store(spooler, [delivery])
    else:
        for delivery, batches in unpacked:
            delivery.stored.set_result(sum(len(batch.events) for batch in batches))
