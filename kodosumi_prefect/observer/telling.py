"""What the leader tells: Prefect's events, webhooks, and schedules that fell silent."""

import asyncio

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.observer import silences
from kodosumi_prefect.observer.activity import PAUSE, Activity, again_and_again
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.delivering import Delivering
from kodosumi_prefect.observer.outbox_bell import OutboxBell
from kodosumi_prefect.observer.prefect_events import PrefectEvents
from kodosumi_prefect.observer.silences import Silences
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader

CONNECTIONS = 3  # to Postgres, so that nobody is told late because others read

RULES_EVERY = 3600.0  # seconds


class Telling:
    """Empties the outbox, until cancelled.

    Arguments:
        reader: of its own, since what is told must not wait for what is recorded.
    """

    def __init__(self, settings: Settings, reader: Reader, api: Api) -> None:
        self._settings = settings
        self._reader = reader
        self._bell = OutboxBell(settings)
        self._delivering = Delivering(settings, reader, self._bell)
        self._events = PrefectEvents(settings, reader, api, self._bell)
        self._silences = Silences(settings, reader, api)

    async def run(self) -> None:
        """Tell until cancelled."""
        rounds = [
            (self._bell.run, PAUSE, "hearing of what is to be told"),
            (self._delivering.run, PAUSE, "sending webhooks"),
            (self._set_rules, RULES_EVERY, "setting what is told"),
        ]
        if self._settings.prefect_events:
            rounds.append((self._events.run, PAUSE, "emitting events in Prefect"))
        if self._settings.silent_minutes or self._settings.silent_hours:
            rounds.append((self._silences.look, silences.EVERY, "looking for silent schedules"))
        work = [again_and_again(look, every, Activity(what)) for look, every, what in rounds]
        tasks = [asyncio.create_task(one) for one in work]
        try:
            await asyncio.gather(*tasks)
        finally:
            await cancel_all(tasks)

    async def _set_rules(self) -> None:
        """Have Postgres know what is told at all, whoever writes."""
        await self._reader.execute("set_outbox_rules", prefect_events=self._settings.prefect_events)
