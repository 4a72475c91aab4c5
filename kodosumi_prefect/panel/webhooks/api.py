"""Webhooks: who gets word of executions, and what became of it."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.parameters import Cursor, Panel
from kodosumi_prefect.panel.webhooks import actions
from kodosumi_prefect.panel.webhooks.actions import WebhookChanges, WebhookToAdd

router = APIRouter(prefix="/webhooks", tags=["Webhooks"])


class WebhookInfo(BaseModel):
    """A webhook as lists show it; its secret is not in here."""

    id: UUID
    username: str = Field(description="whose it is")
    name: str
    url: str
    kinds: list[str]
    everyone: bool = Field(description="of all executions, not only its account's own")
    with_data: bool = Field(description="with what a question asks")
    with_links: bool = Field(description="with links that answer as its account")
    active: bool
    idle: Literal["account_disabled", "no_operator"] | None = Field(
        description="why nothing is sent though it is active: its account is disabled, or it is of "
        "all executions and its account no operator's"
    )
    paused_because: str | None = Field(description="why it is not active, if nobody paused it")
    failures: int = Field(description="deliveries in a row that failed")
    created_at: datetime
    old_until: datetime | None = Field(description="until when the secret before signs, too")
    waiting: int = Field(description="deliveries that are to be sent")
    set_aside: int = Field(description="deliveries that failed for a day")
    refused: str | None = Field(
        None, description="why nothing will be sent to the address that was just given, if so"
    )


class WebhookWithSecret(WebhookInfo):
    """A webhook that was just made, or has a new secret; `secret` is never shown again."""

    secret: str


class DeliveryInfo(BaseModel):
    """Something that was, or is to be, sent to a webhook."""

    id: int
    state: Literal["waiting", "delivered", "set_aside"]
    kind: str
    occurred_at: datetime
    fid: UUID | None = Field(description="the execution; null for a schedule")
    title: str | None
    tries: int
    began_at: datetime | None = Field(description="when it was tried first")
    ended_at: datetime | None
    next_at: datetime | None = Field(description="when it is tried next")
    status: int | None = Field(description="HTTP status of the last answer")
    trouble: str | None = Field(description="why the last try failed")


class SentAgain(BaseModel):
    """How many deliveries are sent again."""

    sent: int


@router.get("", summary="Webhooks, newest first")
async def listed(panel: Panel, user: CurrentUser) -> list[WebhookInfo]:
    """One's own; operators get all."""
    return [WebhookInfo(**asdict(row)) for row in await actions.listed(panel, user)]


@router.post(
    "",
    status_code=201,
    summary="Make a webhook",
    responses=problems(400, 403, 409, 413),
)
async def add(
    request: Request, panel: Panel, user: CurrentUser, new: WebhookToAdd
) -> WebhookWithSecret:
    """It gets what occurs from now on, signed by Standard Webhooks. `secret` is shown this once."""
    made = await actions.add(panel, user, new, journal(request))
    refused = await actions.refusal(panel, made.webhook.url)
    return WebhookWithSecret(**asdict(made.webhook), secret=made.secret, refused=refused)


@router.put(
    "/{webhook_id}",
    summary="Change a webhook",
    responses=problems(400, 403, 404, 413),
)
async def change(
    request: Request, panel: Panel, user: CurrentUser, webhook_id: UUID, changes: WebhookChanges
) -> WebhookInfo:
    """Pauses it, too, and resumes it: what was waiting then is sent."""
    changed = await actions.change(panel, user, str(webhook_id), changes, journal(request))
    refused = await actions.refusal(panel, changes.url and changed.url)
    return WebhookInfo(**asdict(changed), refused=refused)


@router.post("/{webhook_id}/rotate", summary="Give a webhook a new secret", responses=problems(404))
async def rotate(
    request: Request, panel: Panel, user: CurrentUser, webhook_id: UUID
) -> WebhookWithSecret:
    """For a day what is sent has two signatures: by the new one, and by the one before."""
    made = await actions.rotate(panel, user, str(webhook_id), journal(request))
    return WebhookWithSecret(**asdict(made.webhook), secret=made.secret)


@router.delete(
    "/{webhook_id}", status_code=204, summary="Delete a webhook", responses=problems(404)
)
async def remove(request: Request, panel: Panel, user: CurrentUser, webhook_id: UUID) -> None:
    """With what was to be sent to it."""
    await actions.remove(panel, user, str(webhook_id), journal(request))


@router.get(
    "/{webhook_id}/deliveries", summary="What was sent to a webhook", responses=problems(404)
)
async def deliveries(
    panel: Panel,
    user: CurrentUser,
    webhook_id: UUID,
    state: Annotated[
        Literal["waiting", "delivered", "set_aside"] | None, Query(description="Only these.")
    ] = None,
    before: Annotated[Cursor | None, Query(description="The last `id` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = actions.SHOWN,
) -> list[DeliveryInfo]:
    """The newest first; also what waits to be sent, and what was set aside."""
    rows = await actions.deliveries(
        panel, user, str(webhook_id), state=state, before=before, limit=limit
    )
    return [DeliveryInfo(**asdict(row)) for row in rows]


@router.post(
    "/{webhook_id}/send-again",
    summary="Send again what was set aside",
    responses=problems(404),
)
async def send_again(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    webhook_id: UUID,
    delivery: Annotated[Cursor | None, Query(description="Only this one; else all.")] = None,
) -> SentAgain:
    """With the same `webhook-id` as before, so that receivers drop what they did take."""
    sent = await actions.send_again(panel, user, str(webhook_id), delivery, journal(request))
    return SentAgain(sent=sent)
