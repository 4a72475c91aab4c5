"""Taking back that a leg is about to end, where Postgres went away before that could be said."""

import logging
import threading
import time
from collections.abc import Callable

import psycopg

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.settings import Settings, database_url
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.suspension import apart
from kodosumi_prefect.suspension.calls import Attempt
from kodosumi_prefect.suspension.keeping import KeptAwayError

RETRY_FIRST = 0.5  # seconds
RETRY_MOST = 5.0  # seconds
THREAD_NAME = "kodosumi-spool-unmarking"

logger = logging.getLogger(__name__)


class Unmarking:
    """Has Postgres forget that a leg may have ended; from a thread that ends with that.

    A run with such a mark would be held for suspended, and its process for none, until it is over;
    and its tasks in other processes would stand still.

    Arguments:
        attempt: and which of its legs.
        deciding: held by whoever ends the leg.
        ended: whether it ended after all; asked while ``deciding`` is held.
    """

    def __init__(
        self,
        attempt: Attempt,
        settings: Settings,
        deciding: threading.Lock,
        ended: Callable[[], bool],
    ) -> None:
        self._attempt = attempt
        self._mark = {"fid": attempt.fid, "leg": attempt.leg}
        self._settings = settings
        self._deciding = deciding
        self._ended = ended
        self._at_work = False

    def begin(self) -> None:
        """Try it, unless that is under way; called while ``deciding`` is held."""
        if not self._at_work:
            self._at_work = True
            threading.Thread(target=self._work, name=THREAD_NAME, daemon=True).start()

    def _work(self) -> None:
        backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        while not self._done():
            time.sleep(backoff.next())

    def _done(self) -> bool:
        with self._deciding:
            self._at_work = not (self._ended() or self._forgotten())
            return not self._at_work

    def _forgotten(self) -> bool:
        url = database_url(self._settings)
        if url is None:
            return False
        spooler = Spooler(url, self._settings.database_schema)
        try:
            spooler.query("not_suspended", self._mark)
            apart.release(self._attempt)
        except (psycopg.Error, ProtocolError, OSError, KeptAwayError) as exc:
            line = " ".join(str(exc).split())
            logger.debug("execution %s counts as suspended for now: %s", self._mark["fid"], line)
            return False
        finally:
            spooler.close()
        return True
