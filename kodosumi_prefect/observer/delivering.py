"""Sending what is told to webhooks: in order for each execution, each receiver by itself."""

import asyncio
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable

import psycopg
from cryptography.fernet import InvalidToken

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database.rows.locks import AccountName
from kodosumi_prefect.database.rows.outbox import ClaimedDelivery
from kodosumi_prefect.keys import Box, PanelKeys, panel_keys
from kodosumi_prefect.locks.links import sent_link
from kodosumi_prefect.observer.activity import OUTAGES, PAUSE, Activity
from kodosumi_prefect.observer.outbox_bell import OutboxBell
from kodosumi_prefect.outbox.bodies import body_of
from kodosumi_prefect.outbox.outside import Outside
from kodosumi_prefect.outbox.posting import Posted, Poster
from kodosumi_prefect.outbox.signing import signed_headers
from kodosumi_prefect.settings import Settings, panel_url
from kodosumi_prefect.stream.reader import Reader

EACH = 4  # deliveries to one webhook at the same time; one while it fails
MOST = 500  # deliveries at the same time
LEASE = 15.0  # seconds beyond the time-out after which a delivery that was begun is due again
DAY = 86_400.0  # seconds for which a delivery is tried
# Seconds before the next try; the last one from then on.
PAUSES = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0)
LONGEST_ASKED = 3600.0  # seconds that a receiver may ask us to wait
JITTER = 0.2
GONE = 410  # "Gone": the receiver wants nothing any more
STORE_AGAIN = 5  # tries to note what became of a delivery, before its lease has it sent again

logger = logging.getLogger(__name__)


class Delivering:
    """Sends deliveries that are due, until cancelled.

    A delivery is claimed for a while in Postgres before it is sent, and what became of it is noted
    after that. Whatever breaks off in between is sent again, with the same ``webhook-id``: by who
    leads next at once, otherwise after that while.

    Arguments:
        pause: seconds before the next try after so many.
    """

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        bell: OutboxBell,
        pause: Callable[[int], float] | None = None,
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._bell = bell
        self._ear = bell.ear()
        self._pause = pause or pause_after
        self._busy: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._took_over = False
        self._activity = Activity("sending webhooks", "they wait in the outbox")

    async def run(self) -> None:
        """Send what is due, whenever something is."""
        settings = self._settings
        outside = Outside(settings.webhook_networks)
        try:
            async with Poster(outside, settings.webhook_timeout, MOST) as poster:
                while True:
                    if not await self._look(poster):
                        await self._ear.wait()
        finally:
            await cancel_all(self._tasks)

    async def _look(self, poster: Poster) -> bool:
        """Begin deliveries that are due; whether there were any."""
        try:
            claimed = await self.claim()
            self._activity.over()
        except OUTAGES as exc:
            self._activity.met(exc)
            await asyncio.sleep(PAUSE)
            return False
        for delivery in claimed:
            self._busy[delivery.webhook_id] += 1
            task = asyncio.create_task(self._send(poster, delivery), name="webhook")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return bool(claimed)

    async def claim(self) -> list[ClaimedDelivery]:
        """Claim what is due, as much as may be sent now."""
        if not self._took_over:
            await self._reader.execute("take_over_deliveries")
            self._took_over = True
        room = MOST - len(self._tasks)
        if room <= 0:
            return []
        return await self._reader.rows_of(
            ClaimedDelivery,
            "claim_deliveries",
            each=EACH,
            busy=json.dumps(self._busy),
            limit=room,
            lease=self._settings.webhook_timeout + LEASE,
        )

    async def _send(self, poster: Poster, delivery: ClaimedDelivery) -> None:
        more_is_due = True
        try:
            posted = await self.post(poster, delivery)
            more_is_due = await self._note(delivery, posted)
        except psycopg.OperationalError as exc:
            self._activity.met(exc)
        except Exception:
            logger.exception("unexpected error in sending a webhook, it is sent again later")
        finally:
            more_is_due |= self._busy[delivery.webhook_id] >= EACH
            self._busy[delivery.webhook_id] -= 1
            self._busy += Counter()  # without those that have none
            if more_is_due:
                self._bell.ring()

    async def post(self, poster: Poster, delivery: ClaimedDelivery) -> Posted:
        """Send one; whatever goes wrong is in the answer."""
        try:
            # Read anew, since the secret key may be another one by now.
            keys = await asyncio.to_thread(panel_keys, self._settings)
            secrets = _opened(keys.webhooks, delivery)
        except (InvalidToken, OSError):
            return Posted(None, "the observer's secret_key cannot read its secret")
        link = await self._link(delivery, keys)
        body = body_of(
            delivery,
            panel_url(self._settings),
            with_data=delivery.with_data,
            answer_link=link,
        )
        headers = signed_headers(delivery.uid, body, secrets, time.time())
        return await poster.post(delivery.url, headers, body)

    async def _link(self, delivery: ClaimedDelivery, keys: PanelKeys) -> str | None:
        """The link with which whose webhook it is answers, if it is asked and is to get one."""
        if not delivery.with_link or delivery.fid is None or delivery.lid is None:
            return None
        return await sent_link(
            self._reader,
            self._settings,
            keys.links,
            delivery.fid,
            delivery.lid,
            account=AccountName(delivery.account, delivery.account_name),
            message=f"{delivery.webhook_id} {delivery.uid}",
        )

    async def _note(self, delivery: ClaimedDelivery, posted: Posted) -> bool:
        """Note in Postgres what became of it, if that is still asked; whether more may be due."""
        which = {"id": delivery.id, "tries": delivery.tries, "status": posted.status}
        for again in range(STORE_AGAIN):
            try:
                if posted.trouble is None:
                    return any(await self._reader.values("delivered", **which))
                else:
                    await self._reader.execute(
                        "delivery_failed",
                        **which,
                        trouble=posted.trouble,
                        pause=self._next_pause(delivery, posted),
                        gone=posted.status == GONE,
                    )
                    return True
            except psycopg.OperationalError as exc:
                self._activity.met(exc)
                await asyncio.sleep(min(0.2 * 2**again, PAUSE))
        return True

    def _next_pause(self, delivery: ClaimedDelivery, posted: Posted) -> float | None:
        """Seconds before the next try; None if there is none."""
        pause = max(self._pause(delivery.tries), min(posted.retry_after, LONGEST_ASKED))
        if posted.status == GONE or delivery.trying + pause > DAY:
            return None
        return pause


def pause_after(tries: int) -> float:
    """Seconds before the next try after so many."""
    pause = PAUSES[min(tries, len(PAUSES)) - 1]
    return pause * random.uniform(1 - JITTER, 1 + JITTER)


def _opened(box: Box, delivery: ClaimedDelivery) -> list[str]:
    sealed = [delivery.secret] + ([delivery.old_secret] if delivery.old_secret else [])
    return [box.decrypt(secret).decode() for secret in sealed]
