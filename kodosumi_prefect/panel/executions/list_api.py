"""Lists of executions, and what changed in them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query

from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.executions.filter import FilterOfRequest
from kodosumi_prefect.panel.executions.rows import timeline_item
from kodosumi_prefect.panel.web.answers import Changes, Timeline
from kodosumi_prefect.panel.web.error_schemas import answers
from kodosumi_prefect.panel.web.parameters import MAX_CURSOR, Panel
from kodosumi_prefect.stream.listing import CursorError

MOST = 500  # executions of one answer

router = APIRouter(prefix="/timeline", tags=["Timeline"])


@router.get("/list", summary="Executions, newest first", responses=answers(Timeline))
async def executions(
    panel: Panel,
    user: CurrentUser,
    filter_: FilterOfRequest,
    pp: Annotated[int, Query(ge=1, le=MOST, description="Executions per page.")] = 10,
    offset: Annotated[
        UUID | None, Query(description="The `offset` of the previous page; none: from the newest.")
    ] = None,
) -> dict[str, Any]:
    """`offset` of the answer leads to the next page; null on the last one."""
    try:
        rows = await panel.reader.timeline(
            filter_=filter_.criteria,
            before=str(offset) if offset else None,
            limit=pp + 1,
            visible=user.sees(panel.settings),
        )
    except CursorError as exc:
        raise HTTPException(422, f"offset: {exc}") from exc
    page_rows = rows[:pp]
    return {
        "items": [timeline_item(row) for row in page_rows],
        "query": filter_.value("q") or None,
        "offset": page_rows[-1].fid if len(rows) > pp else None,
    }


@router.get("/changes", summary="What changed since a counter", responses=answers(Changes))
async def changes(
    panel: Panel,
    user: CurrentUser,
    filter_: FilterOfRequest,
    since: Annotated[
        int | None,
        Query(ge=0, le=MAX_CURSOR, description="The `timestamp` of the previous answer."),
    ] = None,
) -> dict[str, Any]:
    """`update` holds what is new or changed, `delete` the fids of what no longer belongs here.

    The latter may be archived, not match the filter, or have been deleted by retention within
    7 days.

    `timestamp` is a counter of the database, not a clock: with it nothing is missed, also of
    transactions that commit late; an item can come twice. Without `since` it comes alone.
    """
    visible = user.sees(panel.settings)
    rows, counter = await panel.reader.changes(since, visible=visible)
    deleted = await panel.reader.deleted(since, visible)
    fids = [row.fid for row in rows if row.archived_at is None]
    matching = await panel.reader.matching(fids, filter_.criteria, visible)
    return {
        "update": [timeline_item(row) for row in rows if row.fid in matching.difference(deleted)],
        "delete": sorted({row.fid for row in rows}.difference(matching).union(deleted)),
        "timestamp": counter,
        "query": filter_.value("q") or None,
    }
