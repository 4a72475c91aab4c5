"""Schedules: ordinary ones of Prefect deployments, and who made them."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectNotFound

from kodosumi_prefect.database.rows.schedules import LastOfSchedule, NotedSchedule
from kodosumi_prefect.forms.files import SentFiles
from kodosumi_prefect.launch import database
from kodosumi_prefect.launch.firing import When, upcoming
from kodosumi_prefect.launch.parameters import held
from kodosumi_prefect.launch.prefect_api import prefect_api
from kodosumi_prefect.launch.refusal import GoneError
from kodosumi_prefect.launch.sent_files import claim
from kodosumi_prefect.launch.starting import new_id
from kodosumi_prefect.listings import deployments_by_id
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.settings import Settings, get_settings

SHOWN_TIMES = 5
PAUSED_DEPLOYMENT = "its deployment is paused in Prefect"

Row = dict[str, Any]


async def create(
    deployment: UUID | str,
    when: When,
    parameters: dict[str, Any],
    owner: Owner | None,
    *,
    endpoint_uid: str | None = None,
    summary: str | None = None,
    payload: str | None = None,
    launch_id: str | None = None,
    files: Sequence[SentFiles] = (),
    settings: Settings | None = None,
) -> str:
    """Have Prefect run a deployment on a schedule; the schedule's id.

    Its runs belong to ``owner``: Prefect's server notes on each which schedule it is of.

    Arguments:
        deployment: id of any Prefect deployment.
        parameters: of each run, beside the deployment's own.
        endpoint_uid: the endpoint it was made from; it is paused when that vanishes.
        summary: one line that lists show.
        payload: row of inputs that are kept for it.
        launch_id: a random id; asked again with the same one, it is the same schedule.
        files: what each run gets a copy of; they are kept for it.

    Raises:
        LaunchError: the deployment is gone, or Prefect or Postgres are away or refuse it.
        UnheldError: a parameter that Prefect cannot hold.
    """
    used = settings or get_settings()
    slug = f"kodosumi-{launch_id or new_id()}"
    async with prefect_api(used) as client:
        parameters = await held(client, deployment, parameters)
        body = DeploymentScheduleCreate(
            schedule=when.schedule(),
            # Begun once it is known whose it is.
            active=False,
            parameters=parameters,
            slug=slug,
        )
        schedule = await _of_slug(client, deployment, slug) if launch_id is not None else None
        if schedule is not None and await _noted(used, id_=str(schedule.id)):
            await claim(files, owner, used, schedule=str(schedule.id))
            if not schedule.active:  # it ended before it was begun
                await _patch(client, str(deployment), schedule, True, parameters)
            if payload is not None:  # it has one of its own
                await database.query_rows(used, "forget_payload", id=payload)
            return str(schedule.id)
        try:
            if schedule is None:
                [schedule] = await client.create_deployment_schedules(UUID(str(deployment)), [body])
        except httpx.HTTPStatusError as exc:
            if exc.response.status_code != 404:
                raise
            raise GoneError(f"deployment {deployment} is no longer in Prefect") from None
        schedule = schedule.model_copy(update={"parameters": parameters})
        try:
            await database.query_rows(
                used,
                "note_schedule",
                id=str(schedule.id),
                deployment_id=str(deployment),
                endpoint_uid=endpoint_uid,
                owner=owner.user if owner is not None else None,
                summary=summary,
                parameters=json.dumps(parameters),
                payload_id=payload,
            )
            await claim(files, owner, used, schedule=str(schedule.id))
            await _patch(client, str(deployment), schedule, True, parameters)
        except BaseException:
            if files:
                await database.query_rows(used, "free_batches", schedule=str(schedule.id))
            await client.delete_deployment_schedule(UUID(str(deployment)), schedule.id)
            raise
    return str(schedule.id)


async def schedules_of(owner: str | None, settings: Settings) -> list[Row]:
    """Schedules as Prefect has them, newest first; rows of those it no longer has are deleted.

    Arguments:
        owner: id of the account they belong to; None for all.

    Raises:
        LaunchError: Prefect or Postgres are away.
    """
    noted = await _noted(settings, owner=owner)
    if not noted:
        return []
    async with prefect_api(settings) as client:
        ids = sorted({UUID(row.deployment_id) for row in noted})
        deployments = await deployments_by_id(client, ids)
        known = {
            str(schedule.id): (deployment, schedule)
            for deployment in deployments.rows.values()
            for schedule in deployment.schedules
        }
        for row in noted:
            if row.id in known and not known[row.id][1].parameters:
                schedule = known[row.id][1]
                await _patch(
                    client, row.deployment_id, schedule, schedule.active, _parameters_of(row)
                )
    lost = [
        row.id
        for row in noted
        if row.id not in known and UUID(row.deployment_id) not in deployments.unreadable
    ]
    await _forget(lost, settings)
    runs = await last_runs([row.id for row in noted], settings)
    return [
        await _described(row, *known[row.id], runs.get(row.id)) for row in noted if row.id in known
    ]


async def remembered(owner: str | None, settings: Settings) -> list[Row]:
    """The schedules in our database, newest first: for while Prefect is away.

    Arguments:
        owner: as in ``schedules_of``.

    Raises:
        LaunchError: Postgres is away.
    """
    noted = await _noted(settings, owner=owner)
    runs = await last_runs([row.id for row in noted], settings)
    return [
        {
            "id": row.id,
            "summary": row.summary,
            "deployment": {"id": row.deployment_id, "name": None},
            "endpoint": row.endpoint_uid,
            "paused_because": row.paused_because,
            "last_run": runs.get(row.id),
            "owner": row.owner,
            "username": row.username,
            "created_at": row.created_at,
        }
        for row in noted
    ]


async def last_runs(ids: Sequence[str], settings: Settings) -> dict[str, Row]:
    """The newest execution of each of these schedules, by the schedule's id.

    Raises:
        LaunchError: Postgres is away.
    """
    rows = await database.rows_of(settings, LastOfSchedule, "last_of_schedules", ids=list(ids))
    return {
        row.schedule_id: {
            "fid": row.fid,
            "status": row.status,
            "started_at": row.started_at,
            "cancelled": row.cancelled,
            "cost": row.cost,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "unpriced_calls": row.unpriced_calls,
        }
        for row in rows
    }


async def pause(id_: str, owner: str | None, settings: Settings) -> Row:
    """Pause a schedule: no more runs until it is resumed; those made ahead are deleted.

    Arguments:
        owner: id of the account it has to belong to; None for whomever.

    Raises:
        LaunchError: there is none (any more), or Prefect or Postgres are away.
    """
    return await _set_active(id_, owner, False, settings)


async def resume(id_: str, owner: str | None, settings: Settings) -> Row:
    """Resume a paused schedule; raises as ``pause``."""
    return await _set_active(id_, owner, True, settings)


async def delete(id_: str, owner: str | None, settings: Settings) -> None:
    """Delete a schedule, with the inputs that were kept for it; raises as ``pause``."""
    row = await _one(id_, owner, settings)
    async with prefect_api(settings) as client:
        with contextlib.suppress(ObjectNotFound):  # somebody deleted it in Prefect
            await client.delete_deployment_schedule(UUID(row.deployment_id), UUID(row.id))
    await _forget([row.id], settings)


async def pause_endpoints(uids: Sequence[str], why: str, settings: Settings) -> list[str]:
    """Pause the schedules of endpoints that vanished; the ids of those that were active.

    Arguments:
        why: one line that lists show.

    Raises:
        LaunchError: Prefect or Postgres are away.
    """
    changed = []
    for row in await _noted(settings, uids=uids):
        if row.paused_because is None and await _switch(row, False, settings):
            await database.query_rows(settings, "explain_schedule", id=row.id, why=why)
            changed.append(row.id)
    return changed


async def resume_endpoints(uids: Sequence[str], settings: Settings) -> list[str]:
    """Resume schedules whose endpoints are back, if ``pause_endpoints`` paused them."""
    changed = []
    for row in await _noted(settings, uids=uids):
        if row.paused_because is not None:
            await _switch(row, True, settings)
            await database.query_rows(settings, "explain_schedule", id=row.id, why=None)
            changed.append(row.id)
    return changed


async def _set_active(id_: str, owner: str | None, active: bool, settings: Settings) -> Row:
    row = await _one(id_, owner, settings)
    async with prefect_api(settings) as client:
        try:
            deployment = await client.read_deployment(UUID(row.deployment_id))
            schedule = _of(deployment, row.id)
            if schedule is not None:
                await _patch(client, row.deployment_id, schedule, active, _parameters_of(row))
        except ObjectNotFound:
            schedule = None
    if schedule is None:
        await _forget([row.id], settings)
        raise GoneError(f"schedule {id_} was deleted in Prefect")
    await database.query_rows(settings, "explain_schedule", id=row.id, why=None)
    row, schedule = (
        replace(row, paused_because=None),
        schedule.model_copy(update={"active": active}),
    )
    return await _described(row, deployment, schedule, None)


async def _switch(row: NotedSchedule, active: bool, settings: Settings) -> bool:
    """Set a schedule active or not; whether that changed anything."""
    async with prefect_api(settings) as client:
        try:
            schedule = _of(await client.read_deployment(UUID(row.deployment_id)), row.id)
            if schedule is None or schedule.active == active:
                return False
            await _patch(client, row.deployment_id, schedule, active, _parameters_of(row))
        except ObjectNotFound:
            return False
    return True


async def _of_slug(
    client: PrefectClient, deployment: UUID | str, slug: str
) -> DeploymentSchedule | None:
    """The schedule of a deployment with a slug; begun, but perhaps not noted and not active."""
    try:
        schedules = (await client.read_deployment(UUID(str(deployment)))).schedules
    except ObjectNotFound:
        raise GoneError(f"deployment {deployment} is no longer in Prefect") from None
    return next((one for one in schedules if one.slug == slug), None)


async def _patch(
    client: PrefectClient,
    deployment: str,
    schedule: DeploymentSchedule,
    active: bool,
    parameters: dict[str, Any],
) -> None:
    """Switch a schedule on or off.

    Its parameters have to be sent each time: Prefect 3.8's server empties them otherwise. It does
    so, too, when people use the switch in its pages; then those that it was made with come back.
    """
    await client.update_deployment_schedule(
        UUID(deployment),
        schedule.id,
        active=active,
        parameters=schedule.parameters or parameters,
    )


def _parameters_of(row: NotedSchedule) -> dict[str, Any]:
    parameters: dict[str, Any] = json.loads(row.parameters) if row.parameters else {}
    return parameters


async def _noted(
    settings: Settings,
    *,
    owner: str | None = None,
    id_: str | None = None,
    uids: Sequence[str] | None = None,
) -> list[NotedSchedule]:
    return await database.rows_of(
        settings,
        NotedSchedule,
        "noted_schedules",
        owner=owner,
        id=id_,
        uids=list(uids) if uids is not None else None,
    )


async def _one(id_: str, owner: str | None, settings: Settings) -> NotedSchedule:
    noted = await _noted(settings, owner=owner, id_=id_)
    if not noted:
        raise GoneError(f"there is no schedule {id_}")
    return noted[0]


async def _forget(ids: list[str], settings: Settings) -> None:
    if ids:
        await database.query_rows(settings, "forget_schedules", ids=ids)
        await database.query_rows(settings, "release_batches", schedules=ids)


def _of(deployment: DeploymentResponse | None, id_: str) -> DeploymentSchedule | None:
    schedules = deployment.schedules if deployment is not None else []
    return next((one for one in schedules if str(one.id) == id_), None)


async def _described(
    row: NotedSchedule,
    deployment: DeploymentResponse,
    schedule: DeploymentSchedule,
    last_run: Row | None,
) -> Row:
    """A schedule as the panel answers it: as Prefect has it, and who made it."""
    return {
        "id": row.id,
        "summary": row.summary,
        "endpoint": row.endpoint_uid,
        "last_run": last_run,
        "owner": row.owner,
        "username": row.username,
        "created_at": row.created_at,
    } | await in_prefect(deployment, schedule, row.paused_because)


async def in_prefect(
    deployment: DeploymentResponse, schedule: DeploymentSchedule, because: str | None = None
) -> Row:
    """A schedule as Prefect has it, as the panel answers it.

    Arguments:
        because: why it is paused, unless its whole deployment is.
    """
    rule = schedule.schedule
    active = schedule.active and not deployment.paused
    times = await upcoming(rule, SHOWN_TIMES) if active else []
    if deployment.paused:
        because = PAUSED_DEPLOYMENT
    return {
        "deployment": {"id": str(deployment.id), "name": deployment.name},
        "tags": sorted(deployment.tags),
        "cron": rule.cron if isinstance(rule, CronSchedule) else None,
        "interval": (rule.interval.total_seconds() if isinstance(rule, IntervalSchedule) else None),
        "rrule": getattr(rule, "rrule", None),
        "timezone": getattr(rule, "timezone", None) or "UTC",
        "active": active,
        "paused_because": None if active else because,
        "next": [moment.astimezone(UTC).timestamp() for moment in times],
    }
