"""Automations in Prefect that tell people what happens here, from templates that come with us."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from prefect.blocks.core import Block
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient
from prefect.events.actions import CallWebhook, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

CALLED = "webhook"  # type of block that gets JSON; any other one notifies people
BLOCK = "kodosumi"  # name of blocks that are made here
TAG = "kodosumi"


@dataclass(frozen=True, slots=True)
class Template:
    """An automation to be made.

    Attributes:
        name: of its file, without its ending.
        title: of the automation in Prefect, by which it is found again.
        expect: events that it follows.
        subject, body: what it says, in Jinja, with ``event`` in it.
    """

    name: str
    title: str
    description: str
    expect: tuple[str, ...]
    subject: str
    body: str


class Installed(NamedTuple):
    """A template and its automation in Prefect; None if it is not there."""

    template: Template
    id: UUID | None
    enabled: bool


class UnknownTemplateError(LookupError):
    """There is no template of that name."""


class UnknownBlockError(LookupError):
    """There is no such block in Prefect."""


def templates() -> list[Template]:
    """All of them: of the wheel, or of a clone."""
    package = Path(__file__).parent
    installed = package / "automation_templates"
    folder = installed if installed.is_dir() else package.parent / "deployments" / "automations"
    return [_read(path) for path in sorted(folder.glob("*.toml"))]


def chosen(names: list[str]) -> list[Template]:
    """Those of these names, or all; raises UnknownTemplateError."""
    known = {template.name: template for template in templates()}
    if unknown := [name for name in names if name not in known]:
        raise UnknownTemplateError(f"there is no automation {unknown[0]!r}; use {', '.join(known)}")
    return [known[name] for name in names or known]


async def install(client: PrefectClient, names: list[str], block: str) -> list[Installed]:
    """Make automations, or bring those that are there up to date.

    Arguments:
        names: of templates; none for all.
        block: of Prefect, as type/name: what sends it. One of type ``webhook`` gets JSON, any
            other is a notification block.

    Raises:
        UnknownTemplateError, UnknownBlockError: as they say.
    """
    wanted = chosen(names)
    slug, _, name = block.partition("/")
    try:
        document = await client.read_block_document_by_name(name, slug, include_secrets=False)
    except ObjectNotFound:
        raise UnknownBlockError(
            f"Prefect has no block {block}; `prefect block ls` shows them, as type/name"
        ) from None
    done = []
    for template in wanted:
        automation = _automation(template, slug, document.id)
        before = await client.read_automations_by_name(template.title)
        if before:
            id_ = before[0].id
            await client.update_automation(
                id_, automation.model_copy(update={"enabled": before[0].enabled})
            )
        else:
            id_ = await client.create_automation(automation)
        done.append(Installed(template, id_, before[0].enabled if before else True))
    return done


async def listed(client: PrefectClient) -> list[Installed]:
    """All templates, and which of them are in Prefect."""
    found = []
    for template in templates():
        there = await client.read_automations_by_name(template.title)
        one = there[0] if there else None
        found.append(Installed(template, one.id if one else None, bool(one and one.enabled)))
    return found


async def remove(client: PrefectClient, names: list[str]) -> list[Template]:
    """Delete automations of templates, or all; those that were there. Blocks stay.

    Raises:
        UnknownTemplateError: as it says.
    """
    removed = []
    for template in chosen(names):
        there = await client.read_automations_by_name(template.title)
        for one in there:
            await client.delete_automation(one.id)
        removed += [template] if there else []
    return removed


async def slack_block(url: str) -> str:
    """A block that posts to an incoming webhook of Slack; its type/name."""
    return await _saved(SlackWebhook(url=SecretStr(url)))


async def webhook_block(url: str) -> str:
    """A block that posts JSON; its type/name."""
    return await _saved(Webhook(url=SecretStr(url), method="POST"))


async def _saved(block: Block) -> str:
    await block.save(BLOCK, overwrite=True)
    return f"{block.get_block_type_slug()}/{BLOCK}"


def _automation(template: Template, slug: str, block: UUID) -> AutomationCore:
    action: CallWebhook | SendNotification
    if slug == CALLED:
        action = CallWebhook(block_document_id=block, payload=_payload(template))
    else:
        action = SendNotification(
            block_document_id=block, subject=template.subject, body=template.body
        )
    return AutomationCore(
        name=template.title,
        description=template.description,
        tags=[TAG],
        trigger=EventTrigger(
            posture=Posture.Reactive,
            match={"prefect.resource.id": "kodosumi.*"},
            expect=set(template.expect),
            threshold=1,
        ),
        actions=[action],
    )


def _payload(template: Template) -> str:
    """JSON with what the event holds and what people would read."""
    return (
        '{"type": {{ event.event | tojson }}, "timestamp": {{ event.occurred | string | tojson }},'
        ' "data": {{ event.payload | tojson }},'
        f' "text": {json.dumps(template.title)}'
        "}"
    )


def _read(path: Path) -> Template:
    values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return Template(
        path.stem,
        values["name"],
        values["description"],
        tuple(values["expect"]),
        values["subject"],
        values["body"],
    )
