"""``db``: the schema in Postgres."""

import cyclopts

from kodosumi_prefect.cli.options import of_stack
from kodosumi_prefect.cli.output import CommandError, console, require_database
from kodosumi_prefect.database import migrate
from kodosumi_prefect.settings import get_settings

app = cyclopts.App(name="db", help="Create, upgrade and check the schema in Postgres.")


@app.command
@of_stack
def upgrade() -> None:
    """Bring the schema up to date; the only command that needs rights to create tables."""
    settings = get_settings()
    url = require_database(settings)
    before = migrate.current(url, settings.database_schema)
    after = migrate.upgrade(url, settings.database_schema)
    if before == after:
        console.print(f"schema {settings.database_schema} is at revision {after} already")
    else:
        console.print(f"schema {settings.database_schema} is at revision {after} now")


@app.command
@of_stack
def current() -> None:
    """Print the revision the database is at."""
    settings = get_settings()
    revision = migrate.current(require_database(settings), settings.database_schema)
    console.print(revision or "none")


@app.command
@of_stack
def check() -> None:
    """Exit with 1 if the schema is older than this version needs."""
    settings = get_settings()
    try:
        migrate.require(require_database(settings), settings.database_schema)
    except migrate.SchemaTooOldError as exc:
        raise CommandError(str(exc)) from exc
    console.print(f"schema {settings.database_schema} is new enough")


@app.command
@of_stack
def grants() -> None:
    """Print SQL that makes the roles owner, writer and reader."""
    console.print(migrate.grants(get_settings().database_schema), markup=False, soft_wrap=True)
