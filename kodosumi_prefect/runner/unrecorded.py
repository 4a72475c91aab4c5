"""What a run's process had said, and did not record any more."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from kodosumi_prefect.adapter import capture
from kodosumi_prefect.adapter.last_words import Said
from kodosumi_prefect.error_line import error_line
from kodosumi_prefect.process.order import Written
from kodosumi_prefect.runner.run_output import RunOutput
from kodosumi_prefect.settings import DatabaseUrlError, database_url, get_settings
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.client import get_client
from kodosumi_prefect.spooler.replay import replay_orphans

DELIVERY_SECONDS = 5.0  # seconds for all of it to be stored, before what follows
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


def record_rest(said: Sequence[Said], written: Sequence[Written], output: RunOutput) -> None:
    """Record what a process left, whose end is recorded next.

    Arguments:
        said: its newest events; most of them are recorded already.
        written: what nobody recorded.
        output: of the run.
    """
    settings = get_settings()
    if not settings.enabled or not settings.capture or not (said or written):
        return
    try:
        rest = _not_stored(said)
    except AWAY as exc:
        # Twice is better than never.
        logger.warning("cannot see which last words are recorded: %s", error_line(exc))
        rest = list(said)
    client = get_client()
    for fid, event in rest:
        client.emit(fid, event)
    for one in written:
        output.take(one)
    output.finish()
    capture.finish(None)
    client.flush(DELIVERY_SECONDS)


def _not_stored(said: Sequence[Said]) -> list[Said]:
    if not said:
        return []
    with own_spooler() as spooler:
        # What waits in its spill file is as good as stored.
        replay_orphans(get_settings(), spooler)
        stored: set[tuple[str, int, str]] = set()
        for fid in {one.fid for one in said}:
            since = min(one.event.ts for one in said if one.fid == fid)
            rows = spooler.query("said_since", {"fid": fid, "since": since})
            stored.update((fid, micros, digest) for micros, digest in rows)
    return [one for one in said if _identity(one) not in stored]


def _identity(said: Said) -> tuple[str, int, str]:
    kind, payload = said.event.kind, said.event.payload
    digest = hashlib.md5(f"{kind}:{payload}".encode(), usedforsecurity=False).hexdigest()
    return said.fid, round(said.event.ts * 1_000_000), digest
