"""``schedules``: what runs regularly."""

from datetime import datetime
from typing import Any

import cyclopts

from kodosumi_prefect.cli.executions import SHORT
from kodosumi_prefect.cli.options import Output, of_stack
from kodosumi_prefect.cli.output import CommandError, console
from kodosumi_prefect.cli.panel_client import Panel
from kodosumi_prefect.cli.tables import print_json, print_table

app = cyclopts.App(name="schedules", help="List, pause, resume and delete schedules.")


@app.default
@of_stack
def list_(*, output: Output = "text") -> None:
    """List schedules, newest first, with when each is due next."""
    with Panel() as panel:
        items = panel.ask("GET", "/schedules")["items"]
    if output == "json":
        print_json(items)
    elif not items:
        console.print("no schedules yet")
    else:
        print_table(
            ["id", "rule", "next", "what"],
            [
                [one["id"][:SHORT], _rule(one), _next(one), str(one["summary"] or "")]
                for one in items
            ],
            whole=["id", "rule", "next"],
        )


@app.command
@of_stack
def pause(id: str, /) -> None:
    """Pause a schedule: it starts no runs until it is resumed.

    Parameters
    ----------
    id
        Its id, or its first digits.
    """
    _change("POST", id, "/pause", "paused")


@app.command
@of_stack
def resume(id: str, /) -> None:
    """Resume a paused schedule.

    Parameters
    ----------
    id
        Its id, or its first digits.
    """
    _change("POST", id, "/resume", "active")


@app.command
@of_stack
def delete(id: str, /) -> None:
    """Delete a schedule; executions that it started are kept.

    Parameters
    ----------
    id
        Its id, or its first digits.
    """
    _change("DELETE", id, "", "deleted")


def _change(method: str, typed: str, path: str, outcome: str) -> None:
    with Panel() as panel:
        items = panel.ask("GET", "/schedules")["items"]
        matching = [one for one in items if one["id"].startswith(typed.lower())]
        if len(matching) != 1:
            why = "several schedules begin with it" if matching else "there is no such schedule"
            raise CommandError(f"{typed}: {why}; `kodosumi-prefect schedules` lists them")
        panel.ask(method, f"/schedules/{matching[0]['id']}{path}")
    console.print(f"{matching[0]['id']}: {outcome}", markup=False)


def _rule(schedule: dict[str, Any]) -> str:
    if schedule["cron"]:
        return f"{schedule['cron']} {schedule['timezone']}"
    if schedule["interval"]:
        return f"every {schedule['interval']:g} s"
    return str(schedule["rrule"] or "")


def _next(schedule: dict[str, Any]) -> str:
    if not schedule["active"]:
        return "paused"
    times = schedule["next"]
    return f"{datetime.fromtimestamp(times[0]).astimezone():%m-%d %H:%M}" if times else ""
