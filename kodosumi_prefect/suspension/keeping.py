"""Where results of finished calls are kept: in Postgres, which every node reaches.

They wait in memory until somebody needs them there, which is when a run is suspended, or until
they are many.
"""

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.events import clean
from kodosumi_prefect.settings import DatabaseUrlError, Settings, database_url
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.suspension.calls import Attempt, Call, KeptCall

LARGEST = 32 * 1024**2  # bytes of one result
IN_MEMORY = 8 * 1024**2  # bytes of results that wait in memory
ROWS_IN_MEMORY = 1000  # results that do
MOST_BYTES = 4 * IN_MEMORY  # that wait while the database is away; what comes then is lost
MOST_ROWS = 20 * ROWS_IN_MEMORY
PAUSE = 10.0  # seconds until it is tried again to store what waits
AT_ONCE = 500  # rows of one statement
BYTES_AT_ONCE = 8 * 1024**2  # of one statement
IDLE = 10.0  # seconds after which a connection is given back
PATIENCE = 600.0  # seconds that a finished call waits for the database to give its result
ROW_WAIT = 10.0  # seconds until the execution itself is recorded
RETRY_FIRST, RETRY_MOST = 0.1, 5.0  # seconds
THREAD_NAME = "kodosumi-spool-results"  # what it says is not captured

logger = logging.getLogger(__name__)


class KeptAwayError(KodosumiError):
    """What finished calls returned cannot be had, or not be kept, in one line."""


class NeverKeptError(KeptAwayError):
    """It will not be kept in this process, however long one waits."""


class Row(NamedTuple):
    """What is kept of a call: its outcome, or the obstacle to it; neither if it is not over."""

    call: Call
    outcome: str | None
    content: bytes | None
    obstacle: str | None = None


class Keeper:
    """Keeps results for one database; may be used by many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: list[Row] = []
        self._bytes = 0
        self._lock = threading.Lock()
        self._using = threading.Lock()
        self._spooler: Spooler | None = None
        self._url: str | None = None
        self._timer: threading.Timer | None = None
        self._settling: threading.Thread | None = None
        self._not_before = 0.0
        self._lost: set[str] = set()  # executions of which memory could not hold all

    def keep(self, row: Row) -> None:
        """Take what a call returned; never waits for the database."""
        if row.content is not None and len(row.content) > LARGEST:
            row = Row(row.call, None, None, _too_large(len(row.content)))
        if row.obstacle is not None:  # in words of the author's classes, maybe
            row = row._replace(obstacle=clean(row.obstacle))
        with self._lock:
            if self._bytes > MOST_BYTES or len(self._waiting) > MOST_ROWS:
                self._lost.add(row.call.attempt.fid)
                return
            self._waiting.append(row)
            self._bytes += len(row.content or b"")
            full = self._bytes > IN_MEMORY or len(self._waiting) > ROWS_IN_MEMORY
            if not full or self._settling is not None or time.monotonic() < self._not_before:
                return
            self._settling = threading.Thread(
                target=self._settle_by_itself, name=THREAD_NAME, daemon=True
            )
        self._settling.start()

    def _settle_by_itself(self) -> None:
        try:
            self.settle()
        except KeptAwayError as exc:
            logger.warning("what tasks returned is kept in memory for now: %s", exc)
            self._not_before = time.monotonic() + PAUSE
        finally:
            self._settling = None

    def settle(self) -> None:
        """Have all of it in the database.

        Raises:
            KeptAwayError: it is not; what waits goes on waiting.
        """
        with self._using:
            while rows := self._some():
                self._store(rows)
                with self._lock:
                    del self._waiting[: len(rows)]
                    self._bytes -= sum(len(row.content or b"") for row in rows)

    def calls(self, attempt: Attempt, place: str | None = None) -> dict[Any, list[KeptCall]]:
        """Which calls earlier legs made, by place and series; of one place, or of all.

        Raises:
            KeptAwayError: the database was not there for ``PATIENCE`` seconds.
        """
        values = {"fid": attempt.fid, "attempt": attempt.number, "place": place}
        kept: dict[Any, list[KeptCall]] = {}
        for at, series, *call in self.patiently("kept_calls", values):
            kept.setdefault((at, series), []).append(KeptCall(*call))
        return kept

    def code_before(self, fid: str) -> str | None:
        """The code of an execution's last leg, as it was kept; None if it was not.

        Raises:
            KeptAwayError: the database was not there for ``PATIENCE`` seconds.
        """
        rows = self.patiently("suspended_code", {"fid": fid})
        return rows[0][0] if rows else None

    def result(self, call: Call) -> tuple[str, bytes]:
        """The outcome of a call that an earlier leg finished, and its content.

        Raises:
            KeptAwayError: the database was not there for ``PATIENCE`` seconds, or lacks it.
        """
        rows = self.patiently("kept_result", _key(call))
        if not rows or rows[0][0] is None:
            raise KeptAwayError(
                f"{call.name} finished before this run was suspended, and what it returned is "
                "gone; run it again from the beginning"
            )
        return rows[0][0], bytes(rows[0][1])

    def obstacles(self, attempt: Attempt) -> list[tuple[str, str, int]]:
        """What finished calls of this attempt cannot be returned: name, why, how many.

        Calls within one that can be do not matter.

        Raises:
            NeverKeptError: the database was away for so long that results are lost.
            KeptAwayError: the database is away.
        """
        if attempt.fid in self._lost:
            raise NeverKeptError("Postgres was away, and memory could not hold all of them")
        values = {"fid": attempt.fid, "attempt": attempt.number}
        with self._using:
            return [(name, why, n) for name, why, n in self._query("obstacles_to_reuse", values)]

    def kept(self, attempt: Attempt, calls: Sequence[Call]) -> set[str]:
        """The paths of those calls that are kept, or whose obstacle is.

        Raises:
            KeptAwayError: the database is away.
        """
        values = {"fid": attempt.fid, "attempt": attempt.number, "paths": [c.path for c in calls]}
        with self._using:
            return {path for (path,) in self._query("which_are_kept", values)}

    def ask(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a query.

        Raises:
            KeptAwayError: the database is away.
        """
        with self._using:
            return self._query(query, values)

    def patiently(
        self, query: str, values: dict[str, Any], patience: float | None = None
    ) -> list[tuple[Any, ...]]:
        """As ``ask``, and tried again while the database is away.

        Arguments:
            patience: seconds; ``PATIENCE`` if not given.

        Raises:
            KeptAwayError: it was not there for so long.
        """
        backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        deadline = time.monotonic() + (PATIENCE if patience is None else patience)
        while True:
            try:
                with self._using:
                    return self._query(query, values)
            except KeptAwayError as exc:
                if isinstance(exc, NeverKeptError) or time.monotonic() > deadline:
                    raise
                if not backoff.failures:
                    logger.warning("results of finished tasks cannot be read, waiting: %s", exc)
                time.sleep(backoff.next())

    def _some(self) -> list[Row]:
        """What waits longest and goes into one statement: of one attempt."""
        with self._lock:
            rows: list[Row] = []
            size = 0
            for row in self._waiting[:AT_ONCE]:
                size += len(row.content or b"")
                if rows and (row.call.attempt[:2] != rows[0].call.attempt[:2]):
                    break
                if rows and size > BYTES_AT_ONCE:
                    break
                rows.append(row)
            return rows

    def _store(self, rows: list[Row]) -> None:
        # What is not over by one who knows less does not replace how it ended.
        last = {_key_here(row): row for row in sorted(rows, key=_is_over)}
        once = list(last.values())
        calls = [row.call for row in once]
        values = {
            "fid": calls[0].attempt.fid,
            "attempt": calls[0].attempt.number,
            **{
                name: [getattr(call, name) for call in calls]
                for name in ("place", "series", "ordinal", "path", "name", "arguments")
            },
            **{
                name: [getattr(row, name) for row in once]
                for name in ("outcome", "content", "obstacle")
            },
        }
        deadline = time.monotonic() + ROW_WAIT
        while not self._query("keep_results", values):  # the events of the run are on their way
            if time.monotonic() > deadline:
                raise KeptAwayError("the execution is not recorded yet")
            time.sleep(RETRY_FIRST)

    def _query(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        try:
            url = database_url(self._settings)
        except DatabaseUrlError as exc:
            raise KeptAwayError(str(exc)) from exc
        if url is None:
            raise NeverKeptError("this process does not know the database; set database_url")
        if self._spooler is None or url != self._url:
            if self._spooler is not None:
                self._spooler.close()
            self._spooler = Spooler(url, self._settings.database_schema)
            self._url = url
        try:
            return self._spooler.query(query, values)
        except _NEVER as exc:
            raise NeverKeptError(
                "the database has no place for results; run `kodosumi-prefect db upgrade`"
            ) from exc
        except (psycopg.Error, ProtocolError) as exc:
            raise KeptAwayError(f"Postgres is away: {' '.join(str(exc).split())[:300]}") from exc
        finally:
            self._give_back_later()

    def _give_back_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(IDLE, self._give_back)
            self._timer.daemon = True
            self._timer.start()

    def _give_back(self) -> None:
        with self._using:
            self._timer = None
            if self._spooler is not None:
                self._spooler.close()

    def abandon(self) -> None:
        """Forget what is the parent's process after a fork."""
        if self._spooler is not None:
            self._spooler.abandon()


def _key(call: Call) -> dict[str, Any]:
    return {
        "fid": call.attempt.fid,
        "attempt": call.attempt.number,
        "place": call.place,
        "series": call.series,
        "ordinal": call.ordinal,
    }


def _key_here(row: Row) -> tuple[str, str, int]:
    return row.call.place, row.call.series, row.call.ordinal


def _is_over(row: Row) -> bool:
    return row.outcome is not None or row.obstacle is not None


def _too_large(size: int) -> str:
    return (
        f"its result of {size / 1024**2:.0f} MiB is more than Postgres keeps of one "
        f"({LARGEST // 1024**2} MiB): leave it in a file or a bucket, and return where it is"
    )


_NEVER = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InsufficientPrivilege,
)

_keepers: dict[tuple[Any, ...], Keeper] = {}
_making = threading.Lock()


def keeper(settings: Settings) -> Keeper:
    """This process's keeper for the configured database; made at first use, connects to nothing."""
    secret = settings.database_url.get_secret_value() if settings.database_url else None
    key = (secret, settings.database_schema, settings.data_dir)
    with _making:
        if key not in _keepers:
            _keepers[key] = Keeper(settings)
        return _keepers[key]


def _after_fork() -> None:
    global _making
    _making = threading.Lock()
    for each in _keepers.values():
        each.abandon()
    _keepers.clear()


os.register_at_fork(after_in_child=_after_fork)
