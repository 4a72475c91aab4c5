"""Sessions that ended with a logout."""

import time

from kodosumi_prefect.panel.accounts.sessions import Session
from kodosumi_prefect.stream.reader import Reader

FRESH = 2.0  # seconds that other panels may still accept an ended session
REMEMBERED = 10_000  # sessions


class EndedSessions:
    """The table ``ended_session``; raises ``psycopg.OperationalError`` if Postgres is away."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[str, tuple[float, bool]] = {}

    async def end(self, session: Session) -> None:
        """End a session: here at once, in other panels within ``FRESH``."""
        await self._reader.execute("end_session", id=session.id, expires=session.expires)
        self._known[session.id] = (time.monotonic(), True)

    async def has(self, session: Session) -> bool:
        """Whether a session has ended."""
        now = time.monotonic()
        known = self._known.get(session.id)
        if known is not None and (known[1] or now - known[0] < FRESH):
            return known[1]
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        ended = bool(await self._reader.execute("session_ended", id=session.id))
        # It may have ended here while Postgres was asked.
        self._known[session.id] = (
            now,
            ended or self._known.get(session.id, known or (0, False))[1],
        )
        return self._known[session.id][1]
