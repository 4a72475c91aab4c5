"""Checks of the database: reachable, revision, rights, notifications, clock. Changes nothing."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

import psycopg
import sqlalchemy.exc
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import RowFactory, class_row, scalar_row

from kodosumi_prefect.cli.doctor.finding import Finding, fail, ok, one_line, skew, warn
from kodosumi_prefect.database import channels, migrate
from kodosumi_prefect.database.connection import connect, listening_to
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.settings import (
    DatabaseUrlError,
    Settings,
    check_database_urls,
    database_url,
    listen_url,
)
from kodosumi_prefect.spooler.batch import PROTOCOL

OLDEST_POSTGRES = 140000  # as server_version_num
NOTIFY_TIMEOUT = 2.0  # seconds
CLOCK = 2.0  # seconds of skew that do no harm

Connection = psycopg.Connection[Any]
R = TypeVar("R")  # a row


@dataclass(frozen=True, slots=True)
class _Instance:
    """A row of ``read_instance``."""

    id: str
    oldest_writer: int


@dataclass(frozen=True, slots=True)
class _Rights:
    """A row of ``rights``: what the role in use lacks of what writers, and retention, need."""

    role: str
    missing: list[str]
    missing_to_clean: list[str]


def check_postgres(settings: Settings) -> list[Finding]:
    """All findings about the database; one that is not there has only one."""
    try:
        check_database_urls(settings)
        url = database_url(settings)
    except DatabaseUrlError as exc:
        return [fail("database", str(exc), "correct it")]
    if url is None:
        text = f"none is configured and none runs for {settings.data_dir}"
        return [fail("database", text, "set database_url or start `kodosumi-prefect up`")]
    try:
        with connect(url) as connection:
            return list(_checks(settings, url, connection))
    except psycopg.Error as exc:
        text = f"{_where(url)} refused the connection: {one_line(exc)}"
        return [fail("database", text, "start it or correct database_url")]


def _checks(settings: Settings, url: str, connection: Connection) -> Iterator[Finding]:
    schema = settings.database_schema
    number = connection.info.server_version
    version = f"Postgres {number // 10000}.{number % 10000} at {_where(url)}"
    if number < OLDEST_POSTGRES:
        yield fail("database", f"{version} is too old", "use Postgres 14 or newer")
    else:
        yield ok("database", version)
    encoding = connection.info.parameter_status("server_encoding") or "unknown"
    if (fault := migrate.encoding_fault(encoding)) is not None:
        yield fail(
            "encoding", f"database {connection.info.dbname} {fault}", migrate.ENCODING_REMEDY
        )
    revision = _revision(settings, url)
    yield revision
    if revision.verdict == "ok":
        yield _protocol(schema, connection)
        yield _rights(schema, connection)
    yield _notifications(settings, url, connection)
    yield _clock(connection)


def _revision(settings: Settings, url: str) -> Finding:
    schema = settings.database_schema
    try:
        revision = migrate.current(url, schema)
    except sqlalchemy.exc.DBAPIError as exc:
        text = f"{schema} cannot be read: {one_line(exc.orig or exc)}"
        return fail("schema", text, "grant what `kodosumi-prefect db grants` prints")
    if revision is None or revision < migrate.newest():
        text = f"{schema} is at revision {revision or 'none'}, {migrate.newest()} is needed"
        return fail("schema", text, "run `kodosumi-prefect db upgrade`")
    return ok("schema", f"{schema} is at revision {revision}")


def _protocol(schema: str, connection: Connection) -> Finding:
    query = Queries(schema)["read_instance"]
    try:
        row = _first(connection, class_row(_Instance), query)
    except psycopg.errors.InsufficientPrivilege:
        return fail(
            "protocol",
            f"{schema}.instance cannot be read",
            "grant what `kodosumi-prefect db grants` prints",
        )
    if row is None or row.oldest_writer > PROTOCOL:
        oldest = row.oldest_writer if row else "unknown"
        text = f"writer protocol {oldest} and newer is accepted, this version writes {PROTOCOL}"
        return fail("protocol", text, "upgrade kodosumi-prefect; events wait in spill files")
    return ok("protocol", f"the database accepts this version's events ({PROTOCOL})")


def _rights(schema: str, connection: Connection) -> Finding:
    row = _first(connection, class_row(_Rights), Queries(schema)["rights"], {"schema": schema})
    assert row is not None
    if row.missing:
        text = f"{row.role} lacks {', '.join(row.missing)}"
        return fail("grants", text, "grant what `kodosumi-prefect db grants` prints for a writer")
    if row.missing_to_clean:
        text = f"{row.role} may write, but lacks {', '.join(row.missing_to_clean)}"
        return warn("grants", text, "`kodosumi-prefect clean` needs it; see `db grants`")
    return ok("grants", f"{row.role} has all rights of a writer")


def _notifications(settings: Settings, url: str, connection: Connection) -> Finding:
    """A notification from the connection that writes to the one that listens."""
    listen = listen_url(settings) or url
    payload = f"doctor:{uuid4()}"
    try:
        with connect(listen) as listening:
            channel = channels.events(settings.database_schema)
            listening.execute(listening_to(channel))
            began = time.monotonic()
            connection.execute("SELECT pg_notify(%s, %s)", (channel, payload))
            left = NOTIFY_TIMEOUT
            while left > 0:
                for note in listening.notifies(timeout=left, stop_after=1):
                    if note.payload == payload:
                        took = (time.monotonic() - began) * 1000
                        return ok("notify", f"a notification arrived after {took:.1f} ms")
                left = began + NOTIFY_TIMEOUT - time.monotonic()
    except psycopg.Error as exc:
        text = f"cannot listen at {_where(listen)}: {one_line(exc)}"
        return fail("notify", text, "correct database_listen_url, or unset it")
    text = f"notifications do not arrive at {_where(listen)}; the panel polls twice a second"
    return warn("notify", text, "set database_listen_url to a connection without a pooler")


def _clock(connection: Connection) -> Finding:
    before = time.time()
    there = _first(connection, scalar_row, b"SELECT extract(epoch FROM clock_timestamp())::float8")
    assert there is not None
    return skew("clock", (before + time.time()) / 2 - there, "Postgres", CLOCK)


def _first(
    connection: Connection,
    row_factory: RowFactory[R],
    query: bytes,
    parameters: dict[str, Any] | None = None,
) -> R | None:
    with connection.cursor(row_factory=row_factory) as cursor:
        return cursor.execute(query, parameters).fetchone()


def _where(url: str) -> str:
    parts = conninfo_to_dict(url)
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
