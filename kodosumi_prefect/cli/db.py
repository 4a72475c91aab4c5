"""``db``: the schema in Postgres."""

from pathlib import Path

import cyclopts

from kodosumi_prefect.cli.options import of_stack
from kodosumi_prefect.cli.output import CommandError, console, require_database
from kodosumi_prefect.database import migrate, resealing
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.stack.backup import back_up
from kodosumi_prefect.stack.backup import restore as restore_backup

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


@app.command
@of_stack
def backup(folder: Path, /) -> None:
    """Copy the record, and the database of the Prefect that `up` runs, into a new folder.

    Everything may go on meanwhile. The secret key is not in it: keep a copy of that elsewhere.

    Parameters
    ----------
    folder
        Made for the copy; nobody else can read it.
    """
    for path in back_up(get_settings(), folder):
        size = f"{path.stat().st_size:,} bytes"
        console.print(f"wrote {path} ({size})", markup=False, soft_wrap=True)


@app.command
@of_stack
def restore(folder: Path, /) -> None:
    """Bring back what `db backup` copied: into an empty database, or a data dir that has none.

    Parameters
    ----------
    folder
        What `db backup` wrote.
    """
    for line in restore_backup(get_settings(), folder):
        console.print(f"restored {line}", markup=False, soft_wrap=True)


@app.command
@of_stack
def reseal() -> None:
    """Encrypt with secret_key what was encrypted with one of secret_keys_accepted.

    Exits with 1 if something can be read with none of them.
    """
    settings = get_settings()
    done = resealing.reseal(require_database(settings), settings)
    console.print(
        f"{done.changed} encrypted values changed to the secret key in force, "
        f"{done.current} had it already"
    )
    if done.unreadable:
        raise CommandError(
            f"{done.unreadable} encrypted values can be read with no secret key that is known here;"
            " add the one of their time to secret_keys_accepted"
        )
