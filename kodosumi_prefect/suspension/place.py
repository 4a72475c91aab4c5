"""Places in a flow's code where it waits for people, which the next leg finds again."""

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import UUID, uuid4, uuid5

import psycopg
from prefect.context import FlowRunContext, TaskRunContext

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.locks.place import Earlier
from kodosumi_prefect.settings import database_url
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.client import SpoolClient
from kodosumi_prefect.suspension.ending import (
    Ending,
    NeverError,
    NotNowError,
    be_running,
    end_leg,
    stays,
)
from kodosumi_prefect.suspension.leg import leg_of, root_run
from kodosumi_prefect.vocabulary import FLOW_ATTRIBUTE

AGAIN = 15.0  # seconds until a leg that could not end tries once more
LEGS = 10_000  # that a process remembers

logger = logging.getLogger(__name__)


def place_of(
    name: str, suspend: float | bool | None, fid: str, client: SpoolClient
) -> "FlowPlace | None":
    """Where the calling code asks; None if it has to wait in this process, whatever comes.

    Arguments:
        name: of the lock.
        suspend: as in ``Tracer.lock``.
        fid: the execution.
        client: records its events.

    Raises:
        TypeError: ``suspend`` is something else.
        KodosumiError: code that is no flow's cannot be suspended.
    """
    if suspend is not None and (not isinstance(suspend, int | float) or not suspend >= 0):
        raise TypeError(
            f"tracer.lock({name!r}): suspend is {suspend!r}; give seconds, True or False"
        )
    run, context = root_run(), FlowRunContext.get()
    if run is None or context is None or (str(run.id) != fid and not context.detached):
        if suspend is not None and suspend is not False:
            raise KodosumiError(
                f"tracer.lock({name!r}): a native Ray function or a thread of one's own cannot be "
                "suspended; leave suspend out, or ask in the flow"
            )
        return None
    after = client.settings.lock_suspend_after if suspend is None else suspend
    off = after is False or (suspend is None and after == 0)
    wait = math.inf if off else 0.0 if after is True else float(after)
    leg = _leg(fid, max(run.run_count, 1), leg_of(run), client)
    assert context.flow_run is not None
    source: str | None = "" if context.flow_run.id == run.id else str(context.flow_run.id)
    if context.detached or TaskRunContext.get() is not None:
        source = None
    # Our own flows see to it where they fail.
    ours = hasattr(getattr(context.flow, "fn", None), FLOW_ATTRIBUTE)
    retried = bool(run.empirical_policy.retries) and not ours
    return FlowPlace(leg, source, name, wait, run.id if retried else None)


class Leg:
    """The leg of a run that this process executes, as far as it waits for people.

    Arguments:
        number: from 0.
        client: records the run's events.
    """

    def __init__(self, fid: str, attempt: int, number: int, client: SpoolClient) -> None:
        self.fid = fid
        self.attempt = attempt
        self.number = number
        self.client = client
        self.ending: Ending | None = None
        self.undecided = False
        self._lock = threading.Lock()
        self._end_lock = threading.Lock()
        self._calls: dict[tuple[str, str], int] = {}
        self._waits: dict[str, tuple[FlowPlace, float]] = {}
        self._not_before = 0.0

    def call(self, source: str, name: str) -> int:
        """The number of the next call of a lock at a source."""
        with self._lock:
            number = self._calls.get((source, name), 0)
            self._calls[source, name] = number + 1
            return number

    @contextmanager
    def waiting(self, place: "FlowPlace", lid: str, wait: float) -> Iterator[None]:
        """Inside the block the run waits for this lock.

        Arguments:
            wait: seconds until the leg may end at it.
        """
        with self._lock:
            self._waits[lid] = place, time.monotonic() + wait
        try:
            yield
        finally:
            with self._lock:
                del self._waits[lid]

    def patience(self) -> float:
        """Seconds until all that is asked here may be waited for without a process."""
        with self._lock:
            if not self._waits:
                return math.inf
            until = max(self._not_before, *(until for _, until in self._waits.values()))
        return until - time.monotonic()

    def end(self) -> BaseException | None:
        """End this leg, unless that is impossible now; what waiting code has to raise then."""
        with self._end_lock:
            if self.ending is None and self.patience() <= 0:
                self.undecided = True
                try:
                    self._end()
                finally:
                    self.undecided = self.ending is not None
            return None if self.ending is None else self.ending.signal

    def decision(self) -> BaseException | None:
        """What code whose question is settled has to raise: nothing, unless the leg ended."""
        with self._end_lock:
            return None if self.ending is None else self.ending.signal

    def _end(self) -> None:
        with self._lock:
            waits = dict(self._waits)
        self._not_before = time.monotonic() + AGAIN
        try:
            if any(place.source is None for place, _ in waits.values()):
                raise NeverError("a question is asked in a task")
            self.ending = end_leg(self.fid, list(waits), self.client)
        except NotNowError as exc:
            logger.debug("execution %s is not suspended now: %s", self.fid, exc)
        except NeverError as exc:
            self._not_before = math.inf
            stays(exc)
        except Exception:  # whoever is asked, and the answer, are not to suffer from it
            logger.exception("execution %s cannot be suspended, it waits in its process", self.fid)


class FlowPlace:
    """One call of ``tracer.lock`` in a flow's code.

    Arguments:
        source: the subflow that asks, empty for the root; None in a task, whose calls no later
            leg knows again.
        name: of the lock.
        wait: seconds until the leg may end at it.
        retried: the flow run, if it has to be Running in Prefect before its code goes on.
    """

    def __init__(
        self,
        leg: Leg,
        source: str | None,
        name: str,
        wait: float,
        retried: UUID | None = None,
    ) -> None:
        self.source = source
        self._retried = retried
        self._leg = leg
        self._wait = wait
        self._tries = 0
        self._key = ""
        if source is not None:
            self._key = f"{leg.attempt}/{source}/{name}/{leg.call(source, name)}"

    @property
    def later(self) -> bool:
        return self.source is not None and self._leg.number > 0

    @property
    def left(self) -> bool:
        return self._leg.ending is not None

    def next_lid(self) -> str:
        if self.source is None:
            return str(uuid4())
        self._tries += 1
        return str(uuid5(UUID(self._leg.fid), f"{self._key}/{self._tries}"))

    def asked_before(self, lid: str) -> Earlier | None:
        url = database_url(self._leg.client.settings)
        if url is None:
            return None
        spooler = Spooler(url, self._leg.client.settings.database_schema)
        try:
            rows = spooler.query("asked_before", {"fid": self._leg.fid, "lid": lid})
        except (psycopg.Error, ProtocolError, OSError) as exc:
            # The question is asked again under the same id, so that its answer is heard.
            logger.warning("whether lock %s is answered is not known yet: %s", lid, _line(exc))
            return None
        finally:
            spooler.close()
        return Earlier(*rows[0]) if rows else None

    def waiting(self, lid: str) -> AbstractContextManager[None]:
        return self._leg.waiting(self, lid, self._wait)

    def patience(self) -> float:
        return self._leg.patience()

    def end_leg(self) -> BaseException | None:
        return self._leg.end()

    @property
    def undecided(self) -> bool:
        return self._leg.undecided or self._retried is not None

    def decision(self) -> BaseException | None:
        signal = self._leg.decision()
        if signal is None and self._retried is not None:
            be_running(self._retried)
        return signal


_legs: dict[tuple[str, int, int], Leg] = {}
_legs_lock = threading.Lock()


def _leg(fid: str, attempt: int, number: int, client: SpoolClient) -> Leg:
    with _legs_lock:
        if len(_legs) > LEGS:
            del _legs[next(iter(_legs))]
        return _legs.setdefault((fid, attempt, number), Leg(fid, attempt, number, client))


def _line(exc: BaseException) -> str:
    return " ".join(str(exc).split()) or type(exc).__name__
