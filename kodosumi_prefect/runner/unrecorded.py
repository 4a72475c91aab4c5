"""What a run's process had said, and did not record any more."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from kodosumi_prefect.adapter import capture
from kodosumi_prefect.adapter.last_words import Said
from kodosumi_prefect.error_line import error_line
from kodosumi_prefect.events import Event
from kodosumi_prefect.process.order import Written
from kodosumi_prefect.runner.run_output import RunOutput
from kodosumi_prefect.settings import DatabaseUrlError, database_url, get_settings
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.client import get_client
from kodosumi_prefect.spooler.replay import replay_orphans

DELIVERY_SECONDS = 5.0  # seconds for all of it to be stored, before what follows
Identity = tuple[str, int, str]  # of an event: its execution, its microsecond, a digest of it
AWAY = (psycopg.Error, DatabaseUrlError, ProtocolError, OSError)

logger = logging.getLogger(__name__)


@contextmanager
def own_spooler() -> Iterator[Spooler]:
    """A connection to the configured database, for one thing.

    Raises:
        DatabaseUrlError: no database is configured.
    """
    settings = get_settings()
    url = database_url(settings)
    if url is None:
        raise DatabaseUrlError("no database_url is set")
    spooler = Spooler(url, settings.database_schema)
    try:
        yield spooler
    finally:
        spooler.close()


def record_rest(
    fid: str, said: Sequence[Said], written: Sequence[Written], output: RunOutput
) -> None:
    """Record what a process left, whose end is recorded next.

    Arguments:
        fid: its run.
        said: its newest events; most of them are recorded already.
        written: what it did not confirm to have recorded; some of it may be.
        output: of the run.
    """
    settings = get_settings()
    if not settings.enabled or not settings.capture or not (said or written):
        return
    noted = Counter(_identity(one.fid, one.event) for one in said)
    try:
        stored = _stored(fid, said, written)
    except AWAY as exc:
        # Twice is better than never.
        logger.warning("cannot see which last words are recorded: %s", error_line(exc))
        stored = Counter()
    client = get_client()
    for one in said:
        if _identity(one.fid, one.event) not in stored:
            client.emit(one.fid, one.event)
    # What it recorded of this it may not have confirmed any more.
    output.record_but(_identity, noted | stored)
    for piece in written:
        output.take(piece)
    output.finish()
    capture.finish(None)
    client.flush(DELIVERY_SECONDS)


def _stored(fid: str, said: Sequence[Said], written: Sequence[Written]) -> Counter[Identity]:
    """How often the database has events like these, from the first of them on."""
    since: dict[str, float] = {}
    moments = [(one.fid, one.event.ts) for one in said] + [(fid, one.ts) for one in written]
    for of, ts in moments:
        since[of] = min(ts, since.get(of, ts))
    stored: Counter[Identity] = Counter()
    with own_spooler() as spooler:
        # What waits in its spill file is as good as stored.
        replay_orphans(get_settings(), spooler)
        for of, ts in since.items():
            rows = spooler.query("said_since", {"fid": of, "since": ts})
            stored.update((of, micros, digest) for micros, digest in rows)
    return stored


def _identity(fid: str, event: Event) -> Identity:
    digest = hashlib.md5(f"{event.kind}:{event.payload}".encode(), usedforsecurity=False)
    return fid, round(event.ts * 1_000_000), digest.hexdigest()
