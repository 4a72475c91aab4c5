"""``automations``: Prefect's own, which tell people what happens here."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import cyclopts
from prefect.client.orchestration import PrefectClient, get_client

from kodosumi_prefect import automations
from kodosumi_prefect.addresses import NoPrefectError, require_prefect_access
from kodosumi_prefect.automations import UnknownBlockError, UnknownTemplateError
from kodosumi_prefect.cli.options import Output, of_stack
from kodosumi_prefect.cli.output import CommandError, console
from kodosumi_prefect.cli.tables import print_json, print_table
from kodosumi_prefect.settings import get_settings

app = cyclopts.App(name="automations", help="Automations in Prefect that tell people.")

T = TypeVar("T")


@app.command(name="list")
@of_stack
def list_(*, output: Output = "text") -> None:
    """List the automations that can be installed, and whether they are."""
    rows = _do(automations.listed)
    if output == "json":
        print_json(
            [
                {
                    "name": row.template.name,
                    "description": row.template.description,
                    "events": list(row.template.expect),
                    "automation": str(row.id) if row.id else None,
                    "enabled": row.enabled,
                }
                for row in rows
            ]
        )
        return
    print_table(
        ["name", "what", "installed"],
        [
            [
                row.template.name,
                row.template.description,
                "no" if row.id is None else "yes" if row.enabled else "yes, switched off",
            ]
            for row in rows
        ],
        whole=["name"],
    )


@app.command
@of_stack
def install(
    *names: str,
    block: str | None = None,
    slack: str | None = None,
    webhook: str | None = None,
) -> None:
    """Install automations in Prefect, or bring them up to date. One of the options says by what.

    Parameters
    ----------
    names
        Of `automations list`; all, if none is given.
    block
        A block of Prefect, as type/name, such as sendgrid-email/team: any that notifies, or one
        of type webhook, which gets JSON.
    slack
        The URL of an incoming webhook of Slack; it is kept in the block slack-webhook/kodosumi.
    webhook
        A URL that gets JSON; it is kept in the block webhook/kodosumi.
    """
    if sum(way is not None for way in (block, slack, webhook)) != 1:
        raise CommandError("give one of --block, --slack and --webhook")

    async def work(client: PrefectClient) -> list[automations.Installed]:
        automations.chosen(list(names))  # before a block is made for nothing
        way = block
        if slack is not None:
            way = await automations.slack_block(slack)
        elif webhook is not None:
            way = await automations.webhook_block(webhook)
        assert way is not None
        return await automations.install(client, list(names), way)

    for row in _do(work):
        console.print(f"{row.template.name}: installed as “{row.template.title}”", markup=False)


@app.command
@of_stack
def remove(*names: str) -> None:
    """Remove automations from Prefect; blocks stay.

    Parameters
    ----------
    names
        Of `automations list`; all, if none is given.
    """
    removed = _do(lambda client: automations.remove(client, list(names)))
    if not removed:
        console.print("none of them is installed", markup=False)
    for template in removed:
        console.print(f"{template.name}: removed", markup=False)


def _do(work: Callable[[PrefectClient], Awaitable[T]]) -> T:
    try:
        access = require_prefect_access(get_settings())
    except NoPrefectError as exc:
        raise CommandError(str(exc)) from exc

    async def main() -> T:
        async with get_client() as client:
            return await work(client)

    with access.in_force():
        try:
            return asyncio.run(main())
        except (UnknownBlockError, UnknownTemplateError) as exc:
            raise CommandError(str(exc)) from exc
