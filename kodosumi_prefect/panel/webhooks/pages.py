"""Webhooks: the list, making one, and what became of what was sent to it."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from kodosumi_prefect.outbox.kinds import TellKind
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, User
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.html.parts import complaints, part_or_page, sentence
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.webhooks import actions
from kodosumi_prefect.panel.webhooks.actions import WebhookChanges, WebhookToAdd
from kodosumi_prefect.refusals import InvalidError, RefusedError

router = APIRouter(prefix="/account/webhooks", include_in_schema=False)

Text = Annotated[str, Form(max_length=3000)]
Kinds = Annotated[list[str], Form()]
Ticked = Annotated[bool, Form()]
STATES = {"waiting": "waiting", "delivered": "delivered", "set_aside": "set aside"}
USUAL = (TellKind.LOCK_OPENED, TellKind.FAILED, TellKind.CRASHED)  # ticked in an empty form


@router.get("")
async def whole(request: Request, panel: Panel, user: CurrentUser) -> Response:
    """The page."""
    return await _page(request, panel, user)


@router.post("")
async def add(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    kinds: Kinds = [],  # noqa: B006  (FastAPI copies it)
    name: Text = "",
    url: Text = "",
    everyone: Ticked = False,
    with_data: Ticked = False,
    with_links: Ticked = False,
) -> Response:
    """Make one and show its secret this once."""
    typed = {"name": name, "url": url, "kinds": kinds, "everyone": everyone}
    typed |= {"with_data": with_data, "with_links": with_links}
    try:
        new = WebhookToAdd.model_validate(typed)
        made = await actions.add(panel, user, new, journal(request))
    except ValidationError as exc:
        return await _page(request, panel, user, wrong=complaints(exc, {}), typed=typed)
    except RefusedError as exc:
        return await _page(request, panel, user, wrong=_by_field(exc), typed=typed)
    refused = await actions.refusal(panel, made.webhook.url)
    return await _page(request, panel, user, new=made, refused=refused)


@router.get("/{webhook_id}")
async def one(
    request: Request, panel: Panel, user: CurrentUser, webhook_id: UUID, state: str = ""
) -> Response:
    """The page of one."""
    return await _one(request, panel, user, str(webhook_id), state=state)


@router.get("/{webhook_id}/deliveries")
async def deliveries(
    request: Request, panel: Panel, user: CurrentUser, webhook_id: UUID, state: str = ""
) -> Response:
    """What was sent to it, without a page around it."""
    return await _one(request, panel, user, str(webhook_id), "_deliveries.html", state=state)


@router.post("/{webhook_id}")
async def change(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    webhook_id: UUID,
    kinds: Kinds = [],  # noqa: B006  (FastAPI copies it)
    name: Text = "",
    url: Text = "",
    everyone: Ticked = False,
    with_data: Ticked = False,
    with_links: Ticked = False,
) -> Response:
    """Change one: all of its form."""
    typed: dict[str, Any] = {"name": name, "url": url, "kinds": kinds, "everyone": everyone}
    typed |= {"with_data": with_data, "with_links": with_links}
    try:
        changes = WebhookChanges.model_validate(typed)
        changed = await actions.change(panel, user, str(webhook_id), changes, journal(request))
    except ValidationError as exc:
        wrong = complaints(exc, {})
    except InvalidError as exc:
        wrong = _by_field(exc)
    else:
        refused = await actions.refusal(panel, changed.url)
        return await _one(request, panel, user, str(webhook_id), done="Saved.", refused=refused)
    return await _one(request, panel, user, str(webhook_id), wrong=wrong, typed=typed)


@router.post("/{webhook_id}/active")
async def switch(
    request: Request, panel: Panel, user: CurrentUser, webhook_id: UUID, active: Ticked = False
) -> Response:
    """Pause or resume one."""
    changes = WebhookChanges(active=active)
    await actions.change(panel, user, str(webhook_id), changes, journal(request))
    done = "It is resumed." if active else "It is paused."
    return await _one(request, panel, user, str(webhook_id), done=done)


@router.post("/{webhook_id}/rotate")
async def rotate(request: Request, panel: Panel, user: CurrentUser, webhook_id: UUID) -> Response:
    """Give one a new secret and show it this once."""
    made = await actions.rotate(panel, user, str(webhook_id), journal(request))
    return await _one(request, panel, user, str(webhook_id), new=made)


@router.post("/{webhook_id}/delete")
async def remove(request: Request, panel: Panel, user: CurrentUser, webhook_id: UUID) -> Response:
    """Delete one; leads to the list."""
    await actions.remove(panel, user, str(webhook_id), journal(request))
    address = f"{str(request.scope.get('root_path', '')).rstrip('/')}/account/webhooks"
    if "hx-request" in request.headers:
        return Response(headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)


@router.post("/{webhook_id}/send-again")
async def send_again(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    webhook_id: UUID,
    delivery: Annotated[int | None, Form(ge=0)] = None,
) -> Response:
    """Send what was set aside, one or all."""
    sent = await actions.send_again(panel, user, str(webhook_id), delivery, journal(request))
    done = f"{sent} {'is' if sent == 1 else 'are'} sent again."
    return await _one(request, panel, user, str(webhook_id), "_deliveries.html", done=done)


async def _page(
    request: Request,
    panel: State,
    user: User,
    *,
    new: Any = None,
    refused: str | None = None,
    wrong: dict[str, str] | None = None,
    typed: dict[str, Any] | None = None,
) -> Response:
    context = {
        "webhooks": await actions.listed(panel, user),
        "kinds": list(TellKind),
        "new": new,
        "refused": refused,
        "wrong": wrong or {},
        "typed": typed or {"kinds": USUAL},
    }
    return part_or_page(request, "webhooks.html", "_webhooks.html", context, wrong=bool(wrong))


async def _one(
    request: Request,
    panel: State,
    user: User,
    id_: str,
    part: str = "_webhook.html",
    *,
    state: str = "",
    wrong: dict[str, str] | None = None,
    typed: dict[str, Any] | None = None,
    **more: Any,
) -> Response:
    webhook = await actions.one(panel, user, id_)
    chosen = state if state in STATES else None
    context = {
        "webhook": webhook,
        "deliveries": await actions.deliveries(panel, user, id_, state=chosen),
        "state": chosen or "",
        "states": STATES,
        "words": {kind.value: kind.words for kind in TellKind},
        "kinds": list(TellKind),
        "wrong": wrong or {},
        "typed": typed or {},
        "most": actions.SHOWN,
    }
    return part_or_page(request, "webhook.html", part, context | more, wrong=bool(wrong))


def _by_field(refusal: RefusedError) -> dict[str, str]:
    """What is wrong with the field that a refusal begins with; else with all of it."""
    word = refusal.detail.partition(" ")[0].rstrip(":")
    return {word if word in ("name", "url", "kinds", "everyone") else "": sentence(refusal.detail)}
