"""Telling Prefect, by events that its automations can follow."""

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from kodosumi_prefect.database.rows.outbox import WordForPrefect
from kodosumi_prefect.observer.activity import OUTAGES, PAUSE, Activity, asked_to_wait
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.outbox_bell import OutboxBell
from kodosumi_prefect.outbox.bodies import execution_title, facts_of, title_of
from kodosumi_prefect.outbox.kinds import PREFIX
from kodosumi_prefect.settings import Settings, panel_url
from kodosumi_prefect.stream.reader import Reader

PORTION = 50  # events of one request
REMEMBERED = 1000  # names of flows and deployments
GATHERED = 0.1  # seconds: what an answer wakes up comes before what Prefect does about it

logger = logging.getLogger(__name__)

REFUSED = (400, 413, 422)  # what is sent is at fault

Labels = dict[str, str]
Event = dict[str, Any]


class PrefectEvents:
    """Emits what is in the outbox as events, in its order, until cancelled.

    Prefect drops an event whose id it has seen, so one that is sent again, since what became of
    it was not noted, counts once.
    """

    def __init__(self, settings: Settings, reader: Reader, api: Api, bell: OutboxBell) -> None:
        self._settings = settings
        self._reader = reader
        self._api = api
        self._ear = bell.ear()
        self._names: dict[UUID, str] = {}
        self._activity = Activity("emitting events in Prefect", "they wait in the outbox")

    async def run(self) -> None:
        """Emit what is there, whenever something is."""
        while True:
            try:
                emitted = await self.look()
                self._activity.over()
            except OUTAGES as exc:
                self._activity.met(exc)
                await asyncio.sleep(max(PAUSE, asked_to_wait(exc)))
                continue
            if not emitted:
                await self._ear.wait()
                await asyncio.sleep(GATHERED)

    async def look(self) -> int:
        """Emit a portion of what is there; how many that were."""
        words = await self._reader.rows_of(WordForPrefect, "words_for_prefect", limit=PORTION)
        if not words:
            return 0
        client = await self._api.client()
        fids = sorted({word.fid for word in words if word.fid is not None})
        runs = (await self._api.flow_runs(fids)).rows if fids else {}
        events = [(word.id, await self._event(client, word, runs)) for word in words]
        try:
            await self._emit(client, events)
        except httpx.HTTPStatusError as exc:
            if exc.response.status_code not in REFUSED:
                raise
            for one in events:
                await self._emit_if_taken(client, one)
        return len(words)

    async def _emit(self, client: PrefectClient, events: list[tuple[int, Event]]) -> None:
        await client.request("POST", "/events", json=[event for _, event in events])
        await self._reader.execute("told_prefect", ids=[id_ for id_, _ in events])

    async def _emit_if_taken(self, client: PrefectClient, event: tuple[int, Event]) -> None:
        """Emit one that may be at fault; that must not hold up all others for ever."""
        try:
            await self._emit(client, [event])
        except httpx.HTTPStatusError as exc:
            if exc.response.status_code not in REFUSED:
                raise
            logger.error(
                "Prefect refuses the event %s of %s, it is left out: %s",
                event[1]["event"],
                event[1]["resource"].get("prefect.resource.id"),
                exc.response.text[:300],
            )
            await self._reader.execute("told_prefect", ids=[event[0]])

    async def _event(
        self, client: PrefectClient, word: WordForPrefect, runs: dict[UUID, FlowRun]
    ) -> Event:
        run = runs.get(UUID(word.fid)) if word.fid is not None else None
        return {
            "id": word.uid,
            "event": PREFIX + word.kind,
            "occurred": datetime.fromtimestamp(word.occurred, UTC).isoformat(),
            "resource": _resource(word),
            "related": list(await self._related(client, word, run)),
            "payload": facts_of(word, panel_url(self._settings)),
        }

    async def _related(
        self, client: PrefectClient, word: WordForPrefect, run: FlowRun | None
    ) -> Iterable[Labels]:
        """What Prefect's own events of a run are related to, and the execution of a question."""
        related: list[Labels] = []
        if word.fid is not None:
            related.append(_related("flow-run", word.fid, run.name if run else word.run_name))
            if word.lid is not None:
                related.append(
                    {
                        "prefect.resource.id": f"kodosumi.execution.{word.fid}",
                        "prefect.resource.role": "execution",
                        "prefect.resource.name": execution_title(word),
                    }
                )
        if run is not None:
            name = await self._name(run.flow_id, client.read_flow)
            related.append(_related("flow", run.flow_id, name))
            if run.work_pool_name is not None and run.work_pool_id is not None:
                related.append(_related("work-pool", run.work_pool_id, run.work_pool_name))
            if run.work_queue_name is not None and run.work_queue_id is not None:
                related.append(_related("work-queue", run.work_queue_id, run.work_queue_name))
        deployment = word.deployment_id or word.facts.get("deployment")
        if deployment is not None:
            id_ = UUID(str(deployment))
            name = await self._name(id_, client.read_deployment)
            related.append(_related("deployment", id_, name))
        if run is not None:
            related += [_related("tag", tag, None) for tag in sorted(run.tags)]
        # Prefect refuses an event with more.
        return related[: get_current_settings().server.events.maximum_related_resources]

    async def _name(self, id_: UUID, read: Any) -> str | None:
        """Of a flow or deployment; None if it was deleted."""
        if id_ not in self._names:
            try:
                found = await read(id_)
            except ObjectNotFound:
                return None
            if len(self._names) >= REMEMBERED:
                self._names.clear()
            self._names[id_] = found.name
        return self._names[id_]


def _resource(word: WordForPrefect) -> Labels:
    if word.fid is None:
        id_ = f"kodosumi.schedule.{word.facts.get('schedule')}"
    elif word.lid is not None:
        id_ = f"kodosumi.lock.{word.fid}.{word.lid}"
    else:
        id_ = f"kodosumi.execution.{word.fid}"
    return {"prefect.resource.id": id_, "prefect.resource.name": title_of(word)}


def _related(kind: str, id_: object, name: str | None) -> Labels:
    labels = {"prefect.resource.id": f"prefect.{kind}.{id_}", "prefect.resource.role": kind}
    return labels | ({"prefect.resource.name": name} if name else {})
