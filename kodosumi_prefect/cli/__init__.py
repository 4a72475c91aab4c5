"""``kodosumi-prefect``: run the stack, follow executions, manage the database."""

import logging
import sys

import cyclopts
import httpx
import psycopg
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from kodosumi_prefect import settings
from kodosumi_prefect.cli import (
    api_keys,
    automations,
    budgets,
    clean,
    config,
    db,
    demo,
    drain,
    env,
    files,
    init,
    runs,
    schedules,
    services,
    spool,
    team,
    token,
    up,
    user,
    webhooks,
)
from kodosumi_prefect.cli.doctor import doctor
from kodosumi_prefect.cli.options import of_stack
from kodosumi_prefect.cli.output import CommandError, errors
from kodosumi_prefect.refusals import RefusedError
from kodosumi_prefect.settings import PREFIX, VERSION, DatabaseUrlError, Settings
from kodosumi_prefect.settings.sources import labels_by_name

# What goes wrong outside of us: settings, databases, servers, what is not installed.
MENDABLE = (
    CommandError,
    RefusedError,
    ValueError,
    DBAPIError,
    psycopg.Error,
    httpx.HTTPError,
    RuntimeError,
)

app = cyclopts.App(
    name="kodosumi-prefect",
    help="Kodosumi's agentic flows as Prefect flows on Ray, with a durable event stream.",
    version=VERSION,
    result_action="return_value",
)
app.command(up.up)
app.command(up.panel)
app.command(of_stack(up.observer))
app.command(env.env)
app.command(of_stack(runs.runs))
app.command(of_stack(runs.tail))
app.command(of_stack(runs.cancel))
app.command(of_stack(runs.retry))
app.command(of_stack(token.token))
app.command(of_stack(services.services))
app.command(of_stack(services.launch))
app.command(of_stack(services.answer))
app.command(budgets.app)
app.command(files.app)
app.command(schedules.app)
app.command(webhooks.app)
app.command(automations.app)
app.command(api_keys.app)
app.command(of_stack(drain.drain))
app.command(init.init)
app.command(demo.demo)
app.command(of_stack(doctor))
app.command(of_stack(clean.clean))
app.command(config.app)
app.command(db.app)
app.command(spool.app)
app.command(user.app)
app.command(team.app)
app.register_install_completion_command()


def main() -> None:
    """The console script. Trouble that a user can mend is one line on stderr and exit code 1."""
    # The pool tells of every connection it drops when a command ends in the middle of a query.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    # What is wrong with them is the error of whichever command needs them.
    logging.getLogger(settings.__name__).setLevel(logging.CRITICAL)
    try:
        code = app()
    except MENDABLE as exc:
        errors.print(_one_line(exc), style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _origin(name: str) -> str:
    """Where a setting that is wrong comes from, for the end of a line."""
    label = labels_by_name().get(name)
    if label == "environment":
        label = f"{PREFIX}{name.upper()} in the environment"
    return f" (set by {label})" if label else ""


def _one_line(exc: Exception) -> str:
    if isinstance(exc, ValidationError):
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        text = message if message.startswith(where) else f"{where}: {message}"
        return f"{text}{_origin(where)}" if exc.title == Settings.__name__ else text
    if isinstance(exc, DatabaseUrlError):
        return f"{exc}{_origin(str(exc).partition(' ')[0])}"
    text = str(exc.orig) if isinstance(exc, DBAPIError) else str(exc)
    return " ".join(text.split()) or type(exc).__name__
