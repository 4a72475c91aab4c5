"""``webhooks``: addresses that get word of executions."""

from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from kodosumi_prefect.cli.executions import SHORT
from kodosumi_prefect.cli.options import Output, of_stack
from kodosumi_prefect.cli.output import CommandError, console, errors
from kodosumi_prefect.cli.panel_client import Panel
from kodosumi_prefect.cli.tables import print_json, print_table
from kodosumi_prefect.outbox.kinds import TellKind

app = cyclopts.App(name="webhooks", help="Addresses that get word of executions.")

USUAL = [TellKind.LOCK_OPENED.value, TellKind.FAILED.value, TellKind.CRASHED.value]
EVERY_KIND = "all"
LONGEST = 500  # deliveries of one answer


@app.default
@of_stack
def list_(*, output: Output = "text") -> None:
    """List webhooks, newest first, with what waits to be sent to them."""
    with Panel() as panel:
        items = panel.ask("GET", "/webhooks")
    if output == "json":
        print_json(items)
    elif not items:
        console.print("no webhooks yet")
    else:
        print_table(
            ["id", "name", "address", "gets", "state", "waiting", "set aside"],
            [
                [
                    one["id"][:SHORT],
                    one["name"],
                    one["url"],
                    _gets(one),
                    _state(one),
                    str(one["waiting"]),
                    str(one["set_aside"]),
                ]
                for one in items
            ],
            whole=["id", "state"],
        )


@app.command
@of_stack
def add(
    name: str,
    url: str,
    /,
    *,
    kind: Annotated[list[str] | None, Parameter(negative="")] = None,
    everyone: bool = False,
    with_data: bool = False,
    with_links: bool = False,
) -> None:
    """Make a webhook; the secret that signs what it gets is printed this once.

    Parameters
    ----------
    name
        What it is for.
    url
        Where to post to.
    kind
        What it gets, such as lock.opened; may be given several times, or `all`. Without it,
        lock.opened, execution.failed and execution.crashed.
    everyone
        Of all executions, not only your own; for operators.
    with_data
        With what a question asks. Otherwise a title and a link.
    with_links
        With links that answer in your name, without signing in, where you are asked and the run
        allows links.
    """
    kinds = kind or USUAL
    if EVERY_KIND in kinds:
        kinds = [one.value for one in TellKind]
    body = {"name": name, "url": url, "kinds": kinds, "everyone": everyone}
    body |= {"with_data": with_data, "with_links": with_links}
    with Panel() as panel:
        made = panel.ask("POST", "/webhooks", json=body)
    if made["refused"]:
        errors.print(made["refused"], markup=False, soft_wrap=True)
    console.out(made["secret"], highlight=False)


@app.command
@of_stack
def pause(id: str, /) -> None:
    """Pause a webhook: it gets nothing that occurs until it is resumed.

    Parameters
    ----------
    id
        Its name, its id, or the first digits of that.
    """
    _do(id, "PUT", "", "paused", json={"active": False})


@app.command
@of_stack
def resume(id: str, /) -> None:
    """Resume a paused webhook; what was waiting is sent.

    Parameters
    ----------
    id
        Its name, its id, or the first digits of that.
    """
    _do(id, "PUT", "", "active", json={"active": True})


@app.command
@of_stack
def rotate(id: str, /) -> None:
    """Give a webhook a new secret, printed this once. For a day the one before signs, too.

    Parameters
    ----------
    id
        Its name, its id, or the first digits of that.
    """
    with Panel() as panel:
        made = panel.ask("POST", f"/webhooks/{_found(panel, id)}/rotate")
    console.out(made["secret"], highlight=False)


@app.command
@of_stack
def remove(id: str, /) -> None:
    """Delete a webhook, with what was to be sent to it.

    Parameters
    ----------
    id
        Its name, its id, or the first digits of that.
    """
    _do(id, "DELETE", "", "deleted")


@app.command
@of_stack
def deliveries(id: str, /, *, output: Output = "text") -> None:
    """List what was, or is to be, sent to a webhook, newest first.

    Parameters
    ----------
    id
        Its name, its id, or the first digits of that.
    """
    with Panel() as panel:
        path = f"/webhooks/{_found(panel, id)}/deliveries"
        rows = panel.ask("GET", path, params={"limit": LONGEST})
    if output == "json":
        print_json(rows)
    elif not rows:
        console.print("nothing yet")
    else:
        print_table(
            ["id", "what", "of", "state", "tries", "trouble"],
            [
                [
                    str(row["id"]),
                    row["kind"],
                    row["title"] or row["fid"] or "",
                    row["state"].replace("_", " "),
                    str(row["tries"]),
                    row["trouble"] or "",
                ]
                for row in rows
            ],
            whole=["id", "what", "state"],
        )


@app.command
@of_stack
def send_again(id: str, /, *, delivery: int | None = None) -> None:
    """Send again what was set aside, since it failed for a day.

    Parameters
    ----------
    id
        Of the webhook: its name, its id, or the first digits of that.
    delivery
        Only this one.
    """
    params = {} if delivery is None else {"delivery": delivery}
    with Panel() as panel:
        path = f"/webhooks/{_found(panel, id)}/send-again"
        sent = panel.ask("POST", path, params=params)["sent"]
    console.print(f"{sent} sent again", markup=False)


def _do(typed: str, method: str, path: str, outcome: str, **more: Any) -> None:
    with Panel() as panel:
        id_ = _found(panel, typed)
        panel.ask(method, f"/webhooks/{id_}{path}", **more)
    console.print(f"{id_}: {outcome}", markup=False)


def _found(panel: Panel, typed: str) -> str:
    items = panel.ask("GET", "/webhooks")
    named = [one["id"] for one in items if one["name"] == typed]
    matching = named or [one["id"] for one in items if one["id"].startswith(typed.lower())]
    if len(matching) != 1:
        why = "it stands for several webhooks" if matching else "there is no such webhook"
        raise CommandError(f"{typed}: {why}; `kodosumi-prefect webhooks` lists them")
    return str(matching[0])


def _gets(webhook: dict[str, Any]) -> str:
    every = len(webhook["kinds"]) == len(TellKind)
    kinds = "every kind" if every else ", ".join(webhook["kinds"])
    return kinds + (" of all executions" if webhook["everyone"] else "")


def _state(webhook: dict[str, Any]) -> str:
    if not webhook["active"]:
        return "paused"
    if webhook["idle"]:
        return f"sends nothing: {webhook['idle'].replace('_', ' ')}"
    return "failing" if webhook["failures"] else "active"
