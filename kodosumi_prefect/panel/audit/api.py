"""Who did what, when and from where; for operators."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from kodosumi_prefect.panel.accounts.permissions import Operator
from kodosumi_prefect.panel.audit.export import comma_separated, json_lines
from kodosumi_prefect.panel.audit.filter import MAX_ID, FilterOfRequest
from kodosumi_prefect.panel.audit.view import audit_page
from kodosumi_prefect.panel.web.parameters import Panel

MOST = 500  # entries of one answer

router = APIRouter(tags=["Audit"])

Before = Annotated[
    int | None, Query(ge=1, le=MAX_ID, description="The `before` of the previous page.")
]


class AuditEntry(BaseModel):
    """Something that somebody did."""

    id: int
    at: datetime
    action: str
    outcome: str = Field(description="`ok`, `refused` or `failed`.")
    actor_id: UUID | None = Field(description="The account, which may be gone.")
    actor_name: str | None
    means: str | None = Field(description="`session`, `key`, `proxy`, `password`, `cli`, `start`.")
    key_id: UUID | None
    key_name: str | None
    address: str | None
    user_agent: str | None
    target_kind: str | None
    target_id: str | None
    target_name: str | None
    details: dict[str, Any]


class Audit(BaseModel):
    """A page of entries, newest first; `before` leads to the next one, null on the last."""

    items: list[AuditEntry]
    before: int | None


PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Audit,
        "description": "The entries; a page of them where `Accept` names `text/html`.",
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
}


@router.get("/audit", summary="Who did what", response_model=Audit, responses=PAGE)
async def audit(
    request: Request,
    panel: Panel,
    _: Operator,
    filter_: FilterOfRequest,
    before: Before = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Entries per page.")] = 50,
) -> dict[str, Any] | Response:
    """Sign-ins, launches, answers, and changes of schedules, accounts, keys and sources."""
    rows = await filter_.page(panel.reader, before, limit + 1)
    items, more = rows[:limit], len(rows) > limit
    following = items[-1].id if more else None
    if "text/html" in request.headers.get("accept", ""):
        return audit_page(request, filter_, items, following, first=before is None)
    return {"items": items, "before": following}


@router.get(
    "/audit.jsonl",
    summary="All entries, one JSON object per line",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}}},
)
async def audit_lines(panel: Panel, _: Operator, filter_: FilterOfRequest) -> Response:
    """Those that match the filter of `GET /audit`, newest first."""
    return _file(json_lines(filter_.all(panel.reader)), "application/jsonl", "audit.jsonl")


@router.get(
    "/audit.csv",
    summary="All entries for a spreadsheet",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def audit_table(panel: Panel, _: Operator, filter_: FilterOfRequest) -> Response:
    """As `GET /audit.jsonl`. A cell that would be a formula begins with an apostrophe."""
    return _file(comma_separated(filter_.all(panel.reader)), "text/csv", "audit.csv")


def _file(lines: Any, media_type: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(lines, media_type=media_type, headers=headers)
