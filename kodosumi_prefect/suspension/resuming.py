"""Having suspended runs go on: at the answer, at the deadline, once, whoever sees to it."""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from kodosumi_prefect.database import channels
from kodosumi_prefect.database.worker_messages import Message
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.suspension import awaiting
from kodosumi_prefect.suspension.leg import leg_of
from kodosumi_prefect.suspension.stranded import crash_stranded

CLAIM = 30.0  # seconds in which whoever resumes a run does so alone
NOT_YET = 1.0  # seconds until a run is looked at again that Prefect does not hold for suspended
AWAY = 2.0  # seconds until a run is looked at again whose Prefect is away

Api = Callable[[], AbstractAsyncContextManager[PrefectClient]]

logger = logging.getLogger(__name__)


async def resume(fid: str, reader: Reader, api: Api) -> bool:
    """Have a suspended run go on, if it is due; whether this call did.

    A claim in Postgres keeps others from doing the same now; it lapses, so that what is cut off
    here is done by somebody else. Prefect resumes nothing that is not suspended.

    Arguments:
        api: Prefect's.

    Raises:
        psycopg.Error: Postgres is away.
        Exception: Prefect is away; the run is due again soon.
    """
    legs = await reader.values("claim_resuming", fid=fid, claim=CLAIM)
    if not legs:
        return False
    mark: dict[str, Any] = {"fid": fid, "leg": int(legs[0])}
    try:
        async with api() as client:
            return await _resume(mark, reader, client)
    except Exception:
        await reader.execute("resume_again", **mark, wait=AWAY)
        raise


async def _resume(mark: dict[str, Any], reader: Reader, client: PrefectClient) -> bool:
    try:
        run = await client.read_flow_run(UUID(mark["fid"]))
    except ObjectNotFound:
        await reader.execute("not_suspended", **mark)
        return False
    if not awaiting.is_suspended(run.state):
        # Its process may be about to suspend it.
        over = run.state is None or run.state.is_final() or leg_of(run) > mark["leg"]
        query, more = ("not_suspended", {}) if over else ("resume_again", {"wait": NOT_YET})
        await reader.execute(query, **mark, **more)
        return False
    await reader.execute("leg_ended", **mark)
    if await crash_stranded(client, [run]):
        logger.warning("execution %s cannot go on: deployment or work pool deleted", mark["fid"])
        await reader.execute("not_suspended", **mark)
        return False
    answer = await client.resume_flow_run(run.id)
    if answer.status not in awaiting.RESUMED:
        logger.warning("execution %s is not resumed: %s", mark["fid"], _reason(answer.details))
        await reader.execute("resume_again", **mark, wait=AWAY)
        return False
    await reader.execute("not_suspended", **mark)
    if run.work_pool_name is not None:
        message = Message("wake", run.work_pool_name).payload()
        channel = channels.workers(reader.queries.schema)
        await reader.execute("wake_workers", channel=channel, message=message)
    logger.info("execution %s goes on with leg %d", mark["fid"], mark["leg"] + 1)
    return True


def _reason(details: object) -> str:
    """Why Prefect refuses, in its words."""
    return " ".join(str(getattr(details, "reason", None) or "Prefect refuses").split())
