"""Webhooks of an account: making, changing, deleting them, and sending again what was set aside."""

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from kodosumi_prefect.database.rows.outbox import Delivery, Webhook
from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.outbox.address_check import refusal_of
from kodosumi_prefect.outbox.kinds import TellKind
from kodosumi_prefect.outbox.webhooks import (
    LONGEST_NAME,
    LONGEST_URL,
    NewWebhook,
    Webhooks,
)
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.audit.entry import Target, public_url
from kodosumi_prefect.panel.audit.journal import Journal
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import ForbiddenError, InvalidError

SHOWN = 50  # deliveries of a page

Name = Annotated[str, StringConstraints(max_length=LONGEST_NAME)]
Url = Annotated[str, StringConstraints(max_length=LONGEST_URL)]
Kinds = Annotated[list[Annotated[str, StringConstraints(max_length=100)]], Field(max_length=50)]


class NotOfOperatorError(InvalidError):
    """A webhook of an account that is no operator's is to be of all executions."""


class WebhookToAdd(BaseModel):
    """A webhook to be made."""

    name: Name
    url: Url
    kinds: Kinds = Field(description=f"what it gets: {', '.join(TellKind)}")
    everyone: bool = Field(
        False, description="of all executions, for operators; otherwise of your own"
    )
    with_data: bool = Field(False, description="with what a question asks")
    with_links: bool = Field(
        False,
        description="with a link that answers as you, if you are asked and links are allowed",
    )


class WebhookChanges(BaseModel):
    """What to change; what is left out, or null, stays as it is."""

    name: Name | None = None
    url: Url | None = None
    kinds: Kinds | None = None
    everyone: bool | None = None
    with_data: bool | None = None
    with_links: bool | None = None
    active: bool | None = Field(None, description="false: it gets nothing that occurs from now on")


async def listed(panel: State, user: User) -> list[Webhook]:
    """One's own; all of them for operators."""
    return await _webhooks(panel).of(user.limited_to)


async def one(panel: State, user: User, id_: str) -> Webhook:
    """One of them.

    Raises:
        NotFoundError: there is none, or it is not theirs.
    """
    return await _webhooks(panel).one(id_, user.limited_to)


async def add(panel: State, user: User, new: WebhookToAdd, journal: Journal) -> NewWebhook:
    """Make one.

    Raises:
        ForbiddenError: they may not get word of all executions.
        InvalidError, ConflictError: as ``Webhooks.add``.
    """
    if new.everyone:
        _require_operator(user)
    made = await _webhooks(panel).add(user.id, **new.model_dump())
    journal.record(
        Action.WEBHOOK_CREATE,
        _target(made.webhook),
        url=public_url(made.webhook.url),
        kinds=made.webhook.kinds,
        everyone=made.webhook.everyone,
        with_data=made.webhook.with_data,
        with_links=made.webhook.with_links,
    )
    return made


async def change(
    panel: State, user: User, id_: str, changes: WebhookChanges, journal: Journal
) -> Webhook:
    """Change one.

    Links that answer as its account go nowhere but where that account said: it gets none any more
    once somebody else changed its address.

    Raises:
        ForbiddenError: they may not get word of all executions, or links of somebody else.
        NotOfOperatorError: its account is not an operator's, and it is to be of all executions.
        NotFoundError: there is none, or it is not theirs.
        InvalidError: it cannot be like that.
    """
    before = await one(panel, user, id_)
    fields = changes.model_dump(exclude_none=True)
    if user.id != before.owner and changes.url not in (None, before.url) and before.with_links:
        fields["with_links"] = False
    journal.record(Action.WEBHOOK_CHANGE, _target(before), fields=sorted(fields))
    if changes.everyone:
        _require_operator(user)
        await _require_of_operator(panel, before)
    if fields.get("with_links") and not before.with_links and user.id != before.owner:
        raise ForbiddenError(
            f"only {before.username} may have such links sent: they answer as that account"
        )
    return await _webhooks(panel).change(id_, **fields)


async def refusal(panel: State, url: str | None) -> str | None:
    """Why deliveries to an address that was just typed would be refused, if they would."""
    return url and await refusal_of(url, panel.settings.webhook_networks)


async def rotate(panel: State, user: User, id_: str, journal: Journal) -> NewWebhook:
    """Give one a new secret; raises NotFoundError."""
    journal.record(Action.WEBHOOK_ROTATE, _target(await one(panel, user, id_)))
    return await _webhooks(panel).rotate(id_)


async def remove(panel: State, user: User, id_: str, journal: Journal) -> None:
    """Delete one, with what was to be sent to it; raises NotFoundError."""
    journal.record(Action.WEBHOOK_DELETE, _target(await one(panel, user, id_)))
    await _webhooks(panel).remove(id_)


async def deliveries(
    panel: State,
    user: User,
    id_: str,
    *,
    state: str | None = None,
    before: int | None = None,
    limit: int = SHOWN,
) -> list[Delivery]:
    """What was, or is to be, sent to one, the newest first; raises NotFoundError."""
    await one(panel, user, id_)
    return await _webhooks(panel).deliveries(id_, state=state, before=before, limit=limit)


async def send_again(
    panel: State, user: User, id_: str, delivery: int | None, journal: Journal
) -> int:
    """Send what was set aside, one or all; how many those are. Raises NotFoundError."""
    webhook = await one(panel, user, id_)
    sent = await _webhooks(panel).send_again(id_, delivery)
    journal.record(Action.WEBHOOK_SEND_AGAIN, _target(webhook), deliveries=sent)
    return sent


def _webhooks(panel: State) -> Webhooks:
    return Webhooks(panel.reader, panel_keys(panel.settings).webhooks)


def _require_operator(user: User) -> None:
    if not user.operator:
        raise ForbiddenError("only operators get word of all executions; leave out everyone")


async def _require_of_operator(panel: State, webhook: Webhook) -> None:
    account = await panel.identification.accounts.by_id(webhook.owner)
    if account is None or not account.operator:
        raise NotOfOperatorError(
            f"everyone: {webhook.username} is no operator, so this webhook gets word of their own "
            "executions only; make a webhook of your own, or make them an operator"
        )


def _target(webhook: Webhook) -> Target:
    return Target("webhook", webhook.id, webhook.name)
