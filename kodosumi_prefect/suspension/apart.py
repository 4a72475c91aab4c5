"""Tasks in other processes than their flow's, as on Ray, and what Postgres knows of them.

Each says there that it began, that all of its code waits at locks, and that it goes on. Who ends
the leg holds them first: while that is decided none of them begins or goes on.
"""

import logging
import math
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from functools import partial
from typing import Any
from uuid import UUID, uuid5

from prefect.exceptions import Pause
from prefect.states import Paused

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.database import channels
from kodosumi_prefect.locks.waiting import get_waiter
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.stream.settled_locks import OVER, PARKED
from kodosumi_prefect.suspension.calls import Attempt, Call
from kodosumi_prefect.suspension.keeping import KeptAwayError, NeverKeptError, keeper
from kodosumi_prefect.vocabulary import AWAITING_INPUT

BEGIN = 2.0  # seconds that a task waits at most until Postgres knows that it begins
UNDECIDED = 0.2  # seconds between looks whether a leg ended
RETRY_FIRST, RETRY_MOST = 0.2, 5.0  # seconds
THREAD_NAME = "kodosumi-spool-apart"  # what it says is not captured

logger = logging.getLogger(__name__)


def parked_name(call: Call) -> str:
    """What is said of a task in this leg once all of its code waits."""
    return PARKED + _name(call)


def _name(call: Call) -> str:
    attempt = call.attempt
    return str(uuid5(UUID(attempt.fid), f"{attempt.number}/{attempt.leg}/{call.path}"))


class Apart:
    """The task that this process executes for a run whose flow is in another one.

    Attributes:
        parked: all of its code waits, as far as it said.
        decide: as ``go_on``, for who waits in this process.
        finished: it had ended before, in a process that was lost before its flow heard of it.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        self.parked = False
        self.finished = False
        self.decide: Callable[[], BaseException | None] = self.go_on
        self._settings = get_settings()
        self._over: Future[Any] | None = None
        self._ended = threading.Event()
        self._go = threading.Event()
        self._undecided = False
        self._signal: BaseException | None = None

    def begin(self) -> BaseException | None:
        """Say that it begins, now or, with Postgres away, later; what to raise if its leg is over.

        Blocks while it is being decided whether the leg ends.
        """
        threading.Thread(target=self._begin, name=THREAD_NAME, daemon=True).start()
        while not self._go.wait(BEGIN) and self._undecided:
            pass
        return self._signal

    def _begin(self) -> None:
        call = self.call
        values = self._values | {"place": call.place, "series": call.series, "name": call.name}
        values |= {"ordinal": call.ordinal, "arguments": call.arguments}
        backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        try:
            while not self._ended.is_set():
                pause = UNDECIDED
                try:
                    rows = keeper(self._settings).ask("begin_apart", values)
                except NeverKeptError:
                    return
                except KeptAwayError as exc:
                    logger.debug("that %s began is not known yet: %s", call.name, exc)
                    rows = []
                if rows and self._has_begun(*rows[0]):
                    return
                if not rows:
                    self._go.set()
                    pause = backoff.next()
                self._ended.wait(pause)
        finally:
            self._go.set()

    def _has_begun(self, begun: bool, over: bool, outcome: str | None) -> bool:
        """Whether there is nothing more to say."""
        self.finished = not begun and outcome is not None
        if over and not (begun or self.finished):
            self._signal = _signal()
        self._undecided = not (begun or self.finished or over)
        return not self._undecided

    def park(self, lids: list[str], ended: Callable[[BaseException], None]) -> bool:
        """All of its code waits at these locks: the leg may end.

        Arguments:
            ended: called, from any thread, with what the code has to raise once it has.

        Returns:
            Whether that is known in Postgres.

        Raises:
            NeverKeptError: it never will be.
            KeptAwayError: Postgres is away, and may or may not know.
        """
        waiter, fid = get_waiter(self._settings), self.call.attempt.fid
        if self._over is None:
            self._over = waiter.wait(fid, OVER + _name(self.call))
            self._over.add_done_callback(lambda _: self._hear(ended))
        self.parked = True  # before it is known, or who answers would not ask whether to go on
        said = parked_name(self.call)
        values = self._values | {"lids": lids, "said": said}
        try:
            rows = keeper(self._settings).ask("park_apart", values)
        except NeverKeptError:
            self._forget()
            raise
        if rows:
            self._tell([said])
        return bool(rows)

    def go_on(self) -> BaseException | None:
        """Say that its code goes on; what to raise if the leg is over. Blocks until it is decided.

        However long Postgres is away: only there it is known, and the flow's process ends what it
        left behind.
        """
        while self._signal is None and self.parked:
            try:
                self._go_on()
            except NeverKeptError as exc:
                logger.debug("nothing holds %s: %s", self.call.name, exc)
                self._forget()
        return self._signal

    def _go_on(self) -> None:
        ask = partial(keeper(self._settings).patiently, values=self._values, patience=math.inf)
        if ask("go_on_apart"):
            self._forget()
        elif not (rows := ask("left_apart")) or rows[0][0]:
            self._signal = _signal()
        elif rows[0][1]:
            self._ended.wait(UNDECIDED)
        else:
            self._forget()

    def leave(self) -> None:
        """It is over in this process."""
        self._ended.set()
        self._forget()

    def _forget(self) -> None:
        self.parked = False
        if self._over is not None:
            self._over = None
            get_waiter(self._settings).forget(OVER + _name(self.call))

    def _hear(self, ended: Callable[[BaseException], None]) -> None:
        self._signal = self._signal or _signal()
        self._ended.set()
        ended(self._signal)

    def _tell(self, said: list[str]) -> None:
        try:
            tell(self._settings, said)
        except KeptAwayError as exc:  # it is heard all the same, a little later
            logger.debug("that %s waits is not told: %s", self.call.name, exc)

    @property
    def _values(self) -> dict[str, Any]:
        return _of(self.call.attempt) | {"path": self.call.path, "over": OVER + _name(self.call)}


def tell(settings: Any, said: list[str]) -> None:
    """Have those who wait for it look at what was said."""
    channel = channels.settled_locks(settings.database_schema)
    keeper(settings).ask("notify", {"channel": channel, "fids": said})


def begun(attempt: Attempt) -> list[tuple[str, str, str, list[str] | None]]:
    """What of a leg began in other processes and is not over: path, place, name, and its locks.

    Raises:
        KeptAwayError: Postgres is away.
    """
    rows = keeper(get_settings()).ask("begun_apart", _of(attempt))
    return [(path, place, name, lids) for path, place, name, lids in rows]


def hold(attempt: Attempt, paths: set[str], waiting: Collection[str] = ()) -> list[str]:
    """Have no task of a leg begin or go on in another process.

    Arguments:
        paths: of the tasks that the flow's process submitted and that are not over.
        waiting: of those among them that it knew to wait.

    Returns:
        Names of those that are at work all the same, or have ended meanwhile; ``release`` has to
        follow then.

    Raises:
        KeptAwayError: Postgres is away.
    """
    keeper(get_settings()).ask("hold_apart", _of(attempt))
    rows = begun(attempt)
    places = dict(keeper(get_settings()).ask("places_apart", _of(attempt)))
    at_work = [name for path, _, name, lids in rows if lids is None and _is_of(path, places, paths)]
    return at_work + sorted(set(waiting) - {path for path, *_ in rows})


def release(attempt: Attempt) -> None:
    """The leg did not end after all.

    Raises:
        KeptAwayError: Postgres is away; those tasks stand still until it is told.
    """
    try:
        keeper(get_settings()).ask("release_apart", _of(attempt))
    except NeverKeptError as exc:
        logger.debug("nothing of execution %s is held: %s", attempt.fid, exc)


def end(attempt: Attempt) -> None:
    """The leg has ended: what waits in other processes is told to end, too."""
    settings = get_settings()
    try:
        if said := [name for (name,) in keeper(settings).ask("end_apart", _of(attempt))]:
            tell(settings, said)
    except KeptAwayError as exc:
        logger.warning("tasks of execution %s are ended and not told: %s", attempt.fid, exc)


def _is_of(path: str, places: dict[str, str], paths: set[str]) -> bool:
    """Whether a call is one of those, or was made in one; others are of a process that was lost."""
    seen = set()
    while path not in paths:
        if path in seen or path not in places:
            return False
        seen.add(path)
        path = places[path]
    return True


def _of(attempt: Attempt) -> dict[str, Any]:
    return {"fid": attempt.fid, "attempt": attempt.number, "leg": attempt.leg}


def _signal() -> BaseException:
    return Pause(state=Paused(name=AWAITING_INPUT))


current: Apart | None = None


def arrive(call: Call) -> Apart:
    """This process begins to execute a task of a flow that is in another one."""
    global current
    current = Apart(call)
    return current


def leave() -> None:
    """It ended."""
    global current
    if current is not None:
        current.leave()
        current = None


def go_on_here() -> None:
    """The calling code has waited, for other tasks, and is about to go on.

    Raises:
        Pause: the leg has ended.
    """
    if current is not None and current.parked and (signal := current.decide()) is not None:
        raise signal
