"""A copy of what a stack remembers, in a folder: the record in Postgres, and `up`'s own Prefect."""

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kodosumi_prefect.addresses import recorded_access
from kodosumi_prefect.database import migrate
from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.settings import Settings, database_url, private_folder
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stack.postgres_cluster import has_cluster
from kodosumi_prefect.stack.postgres_programs import EmbeddedError, installation

RECORD = "record.dump"  # pg_dump's custom format
PREFECT = "prefect.db"  # the file of `up`'s Prefect server, in a backup and in the data dir


class BackupError(RuntimeError):
    """Why nothing was copied, in one line."""


def back_up(settings: Settings, folder: Path) -> list[Path]:
    """Copy the record, and the database of `up`'s own Prefect; beside everything that runs.

    The secret key is not in it.

    Returns:
        The files that were written.

    Raises:
        BackupError: the folder is not empty, there is no database, or no pg_dump for it.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty; choose another folder")
    with _database(settings) as url:
        if migrate.current(url, settings.database_schema) is None:
            raise BackupError(f"there is no schema {settings.database_schema}; nothing to copy")
        program = _program("pg_dump", _major(url))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = folder / RECORD
        record.touch(mode=0o600)
        options = ["--format=custom", f"--schema={settings.database_schema}", f"--file={record}"]
        _run([program, *options, "--no-owner", "--no-privileges"], url)
    written = [record]
    if (own := _own_prefect(settings)).exists():
        copy = folder / PREFECT
        copy.touch(mode=0o600)
        with closing(sqlite3.connect(own)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        written.append(copy)
    return written


def restore(settings: Settings, folder: Path) -> list[str]:
    """Bring back what ``back_up`` copied, where nothing is yet.

    Returns:
        What was restored, one line each.

    Raises:
        BackupError: there is no backup, something is there already, or no pg_restore fits.
    """
    record, prefect = folder / RECORD, folder / PREFECT
    if not record.exists():
        raise BackupError(f"{record} is not there; name the folder that `db backup` wrote")
    own = _own_prefect(settings)
    if settings.database_url is None and recorded_access(settings) is not None:
        raise BackupError(f"a stack runs for {settings.data_dir}; stop it first")
    restored = []
    with _database(settings, make=True) as url:
        schema = settings.database_schema
        if migrate.current(url, schema) is not None:
            raise BackupError(
                f"schema {schema} is there already; restore into an empty database, or rename it: "
                f"ALTER SCHEMA {schema} RENAME TO {schema}_before"
            )
        program = _program("pg_restore", _major(url))
        options = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges"]
        _run([program, *options, str(record)], url)
        migrate.upgrade(url, schema)
        with connect(url) as connection:
            found = connection.execute(f'SELECT count(*) FROM "{schema}".execution').fetchone()
        restored.append(f"schema {schema}: {found[0] if found else 0:,} executions")
    if prefect.exists() and settings.database_url is None:
        if own.exists():
            restored.append(f"{own} is there already and stays")
        else:
            private_folder(own.parent)
            own.touch(mode=0o600)
            shutil.copyfile(prefect, own)
            restored.append(f"Prefect's database: {own}")
    return restored


def _own_prefect(settings: Settings) -> Path:
    return settings.data_dir / "prefect" / PREFECT


@contextmanager
def _database(settings: Settings, *, make: bool = False) -> Iterator[str]:
    """The database; the embedded one is started for a while if it does not run.

    Arguments:
        make: a new embedded one if there is none.
    """
    if (url := database_url(settings)) is not None:
        yield url
        return
    if not make and not has_cluster(settings.data_dir):
        raise BackupError(
            f"no Postgres is configured and {settings.data_dir} has none; set database_url, or "
            "name the stack with --data-dir"
        )
    with EmbeddedPostgres(settings.data_dir) as postgres:
        yield postgres.url


def _major(url: str) -> int:
    with connect(url) as connection:
        return connection.info.server_version // 10_000


def _program(name: str, server: int) -> str:
    """The oldest program of this name that can deal with a server of a major version.

    Those of PATH, and those that come with the embedded Postgres. A newer program writes what an
    older server does not understand.
    """
    known = [Path(folder) / name for folder in os.get_exec_path()]
    with suppress(EmbeddedError):  # which is not installed
        known += sorted(installation().glob(f"pginstall*/bin/{name}"))
    majors = {path: _version(path) for path in known if os.access(path, os.X_OK)}
    fitting = sorted((major, str(path)) for path, major in majors.items() if major >= server)
    if not fitting:
        raise BackupError(
            f"there is no {name} for Postgres {server}; install the client programs of that "
            "version (postgresql-client)"
        )
    return fitting[0][1]


def _version(program: Path) -> int:
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    found = re.search(r"\) (\d+)", done.stdout)
    return int(found[1]) if found else 0


def _run(argv: list[str], url: str) -> None:
    """Run a program of Postgres on a database; its password is in no list of processes."""
    where = conninfo_to_dict(url)
    password = where.pop("password", None)
    environment = os.environ | ({"PGPASSWORD": str(password)} if password else {})
    done = subprocess.run(
        [*argv, f"--dbname={make_conninfo('', **where)}"],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise BackupError(f"{Path(argv[0]).name} failed: {reason}")
