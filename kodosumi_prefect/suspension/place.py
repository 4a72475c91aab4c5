"""Places in a flow's code where it waits for people, which the next leg finds again."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple
from uuid import UUID, uuid4, uuid5

import psycopg
from prefect.context import FlowRunContext

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.locks.place import Earlier
from kodosumi_prefect.settings import database_url, get_settings
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.client import SpoolClient, get_client
from kodosumi_prefect.suspension import apart
from kodosumi_prefect.suspension.calls import Attempt
from kodosumi_prefect.suspension.ending import (
    Ending,
    MarkedError,
    NeverError,
    NotNowError,
    UnderWayError,
    be_running,
    end_leg,
    leave_kept,
    stays,
    why_nothing_is_kept,
)
from kodosumi_prefect.suspension.keeping import KeptAwayError, NeverKeptError
from kodosumi_prefect.suspension.leg import flow_is_elsewhere, leg_of, root_run
from kodosumi_prefect.suspension.numbering import place_here
from kodosumi_prefect.suspension.records import record_of
from kodosumi_prefect.suspension.reuse import NOT_FORESEEN, foresee, unforeseen
from kodosumi_prefect.suspension.under_way import UnderWay, doing
from kodosumi_prefect.suspension.unmarking import Unmarking
from kodosumi_prefect.vocabulary import FLOW_ATTRIBUTE

AGAIN = 15.0  # seconds until a leg that could not end tries once more
LOOK = 1.0  # seconds until it is looked again whether something is under way, at the latest
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
    if run is None or context is None or (str(run.id) != fid and not flow_is_elsewhere()):
        if suspend is not None and suspend is not False:
            raise KodosumiError(
                f"tracer.lock({name!r}): a native Ray function or a thread of one's own cannot be "
                "suspended; leave suspend out, or ask in the flow"
            )
        return None
    after = client.settings.lock_suspend_after if suspend is None else suspend
    off = after is False or (suspend is None and after == 0)
    wait = math.inf if off else 0.0 if after is True else float(after)
    if not off:
        foresee()
    elsewhere = flow_is_elsewhere()
    here = apart.current if elsewhere else None
    attempt = Attempt(fid, max(run.run_count, 1), leg_of(run))
    leg = _leg(attempt if here is None else here.call.attempt, client, here)
    lost = elsewhere and here is None
    source = None if lost else place_here()
    # Our own flows see to it where they fail.
    ours = hasattr(getattr(context.flow, "fn", None), FLOW_ATTRIBUTE)
    retried = bool(run.empirical_policy.retries) and not ours
    return FlowPlace(leg, source, name, wait, lost, run.id if retried else None)


class Waiting(NamedTuple):
    """A lock that is waited for.

    Attributes:
        until: when the leg may end at it, of the monotonic clock.
        changed: called when its patience may have changed.
    """

    place: "FlowPlace"
    until: float
    changed: Callable[[], None]


class Leg:
    """The leg of a run that this process executes, as far as it waits for people.

    Arguments:
        client: records the run's events.
        under_way: what of the run is not over; None if that is not known.
        here: the task that this process executes, if its flow is in another one.

    Attributes:
        here: as given.
        elsewhere: all that is not over waits, and some of it at locks in other processes.
        watched: called when something changed.
    """

    def __init__(
        self,
        attempt: Attempt,
        client: SpoolClient,
        under_way: UnderWay | None = None,
        here: apart.Apart | None = None,
    ) -> None:
        self.whole = attempt
        self.fid, self.attempt, self.number = attempt
        self.client = client
        self.elsewhere = False
        self.watched: Callable[[], None] = _nobody
        self.here = here
        if here is not None:
            here.decide = self.decision
        self.ending: Ending | None = None
        self.undecided = False
        self._lock = threading.Lock()
        self._end_lock = threading.Lock()
        self._unmarking = Unmarking(
            attempt,
            client.settings,
            self._end_lock,
            lambda: self.ending is not None,
        )
        self._calls: dict[tuple[str, str], int] = {}
        self._waits: dict[str, Waiting] = {}
        self._not_before = 0.0
        self._at_change = False  # it is tried again when something changes
        self.under_way = under_way
        if under_way is not None:
            under_way.changed = self._over

    def call(self, source: str, name: str) -> int:
        """The number of the next call of a lock at a source."""
        with self._lock:
            number = self._calls.get((source, name), 0)
            self._calls[source, name] = number + 1
            return number

    @contextmanager
    def waiting(
        self, place: "FlowPlace", lid: str, wait: float, changed: Callable[[], None]
    ) -> Iterator[None]:
        """Inside the block the run waits for this lock.

        Arguments:
            wait: seconds until the leg may end at it.
            changed: called, from any thread, when ``patience`` may be less than it was.
        """
        with self._lock:
            self._waits[lid] = Waiting(place, time.monotonic() + wait, changed)
        try:
            yield
        finally:
            with self._lock:
                del self._waits[lid]
            self._over()

    def _over(self) -> None:
        """Something is over here, so that code goes on, with an answer or without."""
        if self.is_parked and self.ending is None:
            threading.Thread(target=self.decision, name=apart.THREAD_NAME, daemon=True).start()
        self.look_again()

    def look_again(self) -> None:
        """Something changed: whoever waits looks whether the leg may end."""
        with self._lock:
            if self._at_change:
                self._at_change, self._not_before = False, 0.0
            waits = list(self._waits.values())
        for waiting in waits:
            waiting.changed()
        self.watched()

    @property
    def is_parked(self) -> bool:
        """Whether all that this process executes of another one's run waits, as it said."""
        return self.here is not None and self.here.parked

    def patience(self) -> float:
        """Seconds until all that is asked here may be waited for without a process."""
        if self.ending is not None:
            return 0.0
        with self._lock:
            if not self._waits and not self.elsewhere:
                return math.inf
            until = max([self._not_before, *(one.until for one in self._waits.values())])
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
        goes_on = False
        with self._end_lock:
            if self.here is not None and self.is_parked and self.ending is None:
                if (signal := self.here.go_on()) is not None:
                    self.ending = Ending(signal)
                else:
                    self._not_before, goes_on = 0.0, True
        if goes_on:  # until it waits again
            self.look_again()
        return None if self.ending is None else self.ending.signal

    def ended(self, signal: BaseException) -> None:
        """The leg has ended in the process of the flow."""
        self.ending = self.ending or Ending(signal)
        if self.under_way is not None:
            self.under_way.signal = signal
            leave = self.under_way.leave
            threading.Thread(
                target=leave, args=[signal], name=apart.THREAD_NAME, daemon=True
            ).start()
        self.look_again()

    def _end(self) -> None:
        with self._lock:
            waits = dict(self._waits)
            self._not_before, self._at_change = time.monotonic() + AGAIN, False
        try:
            if any(waiting.place.detached for waiting in waits.values()):
                raise NeverError(why_nothing_is_kept())
            if unforeseen():
                raise NeverError(NOT_FORESEEN)
            if self.under_way and any(waiting.place.source is None for waiting in waits.values()):
                raise NeverError("a question is asked in code whose tasks are not kept")
            lids = [*waits, *(self.under_way.parked() if self.under_way is not None else ())]
            with nullcontext() if self.under_way is None else self.under_way.held():
                if self.here is not None:
                    self._park(self.here, lids)
                else:
                    self.ending = end_leg(self.fid, lids, self.client)
            if self.ending is not None:
                if self.under_way is not None:
                    self.under_way.leave(self.ending.signal)
                self.look_again()
        except UnderWayError as exc:
            logger.debug("execution %s is not suspended now: %s", self.fid, exc)
            with self._lock:
                self._not_before, self._at_change = time.monotonic() + LOOK, True
        except NotNowError as exc:
            logger.debug("execution %s is not suspended now: %s", self.fid, exc)
            if isinstance(exc, MarkedError):
                self._unmarking.begin()
        except NeverError as exc:
            self._not_before = math.inf
            stays(exc)
        except Exception:  # whoever is asked, and the answer, are not to suffer from it
            logger.exception("execution %s cannot be suspended, it waits in its process", self.fid)

    def _park(self, here: apart.Apart, lids: list[str]) -> None:
        """Say that all that this process executes waits; the leg is the flow's process's to end."""
        leave_kept(here.call.attempt, self.client)
        try:
            known = here.park(lids, self.ended)
        except NeverKeptError as exc:
            raise NeverError(f"that the task waits cannot be told: {exc}") from exc
        except KeptAwayError as exc:
            raise NotNowError(str(exc)) from exc
        if not known:
            raise UnderWayError("it is not known yet that the task began")
        with self._lock:
            self._not_before, self._at_change = math.inf, True


class FlowPlace:
    """One call of ``tracer.lock`` in the code of a flow or a task.

    Arguments:
        source: the place in the code that asks, empty for the flow itself; None where no later leg
            knows it again.
        name: of the lock.
        wait: seconds until the leg may end at it.
        detached: the code is in a task of another process that keeps nothing of its run.
        retried: the flow run, if it has to be Running in Prefect before its code goes on.
    """

    def __init__(
        self,
        leg: Leg,
        source: str | None,
        name: str,
        wait: float,
        detached: bool = False,
        retried: UUID | None = None,
    ) -> None:
        self.source = source
        self.detached = detached
        self._retried = retried
        self._leg = leg
        self._wait = wait
        self._work = doing.get()
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

    @contextmanager
    def waiting(self, lid: str, changed: Callable[[], None]) -> Iterator[None]:
        under_way = self._leg.under_way
        with (
            nullcontext() if under_way is None else under_way.waiting(self._work),
            self._leg.waiting(self, lid, self._wait, changed),
        ):
            yield

    def patience(self) -> float:
        return self._leg.patience()

    def end_leg(self) -> BaseException | None:
        return self._leg.end()

    @property
    def undecided(self) -> bool:
        return self.deciding or self._retried is not None

    @property
    def deciding(self) -> bool:
        return self._leg.undecided or self._leg.is_parked

    def decision(self) -> BaseException | None:
        signal = self._leg.decision()
        if signal is None and self._retried is not None:
            be_running(self._retried)
        return signal


_legs: dict[tuple[Attempt, str], Leg] = {}
_legs_lock = threading.Lock()


def _leg(attempt: Attempt, client: SpoolClient, here: apart.Apart | None = None) -> Leg:
    with _legs_lock:
        if len(_legs) > LEGS:
            del _legs[next(iter(_legs))]
        key = (attempt, "" if here is None else here.call.path)
        leg = _legs.get(key)
        if leg is None or leg.here is not here:
            record = record_of(attempt)
            under_way = None if record is None else record.under_way
            leg = _legs[key] = Leg(attempt, client, under_way, here)
        return leg


def leg_here(attempt: Attempt) -> Leg:
    """The leg of an attempt that this process executes a flow or a task of."""
    here = apart.current
    if here is not None and here.call.attempt != attempt:
        here = None
    return _leg(attempt, get_client(get_settings()), here)


def _nobody() -> None:
    """Nobody watches tasks in other processes."""


def _line(exc: BaseException) -> str:
    return " ".join(str(exc).split()) or type(exc).__name__
