"""Upgrade the schema, read its revision, and grant rights in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict

from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.database.sql import Queries

STATEMENT_TIMEOUT = 3600.0  # seconds; a migration may rewrite a large table
ENCODING_REMEDY = "make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
MIGRATIONS = Path(__file__).with_name("migrations")


class SchemaTooOldError(RuntimeError):
    """The database's schema lacks what this version needs."""


class EncodingError(RuntimeError):
    """The database's encoding cannot hold every text; says how to create one that can."""


def encoding_fault(encoding: str) -> str | None:
    """Why a database of this encoding is refused, or None if it is not."""
    if encoding == "UTF8":
        return None
    return f"has encoding {encoding}, and events are UTF-8"


def _encoding(connection: sqlalchemy.Connection) -> str:
    return str(connection.exec_driver_sql("SHOW server_encoding").scalar_one())


def upgrade(url: str, schema: str) -> str:
    """Apply all pending migrations, one process at a time, and return the revision reached.

    Raises:
        psycopg.OperationalError: the database cannot be reached.
        EncodingError: the database cannot hold every text.
        sqlalchemy.exc.ProgrammingError: the role may not create tables in ``schema``.
    """
    with _connection(url, STATEMENT_TIMEOUT) as connection, connection.begin():
        if (fault := encoding_fault(_encoding(connection))) is not None:
            where = conninfo_to_dict(url)
            raise EncodingError(f"database {where.get('dbname', '')} {fault}; {ENCODING_REMEDY}")
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 0))",
            {"key": f"{schema}.migrate"},
        )
        known = connection.exec_driver_sql(
            "SELECT 1 FROM pg_namespace WHERE nspname = %(schema)s", {"schema": schema}
        ).first()
        if known is None:
            connection.execute(sqlalchemy.schema.CreateSchema(schema))
        config = _config()
        config.attributes["connection"] = connection
        config.attributes["schema"] = schema
        command.upgrade(config, "head")
        queries = Queries(schema)
        for name in ("settle_changes", "settle_deletions", "settle_locks"):
            connection.exec_driver_sql(queries[name].decode())
        return newest()


def current(url: str, schema: str) -> str | None:
    """The revision the database is at, or None when our schema is not there."""
    with _connection(url) as connection:
        migration = MigrationContext.configure(
            connection,
            opts={"version_table": "schema_version", "version_table_schema": schema},
        )
        return migration.get_current_revision()


def newest() -> str:
    """The revision that this version of the package brings."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def require(url: str, schema: str) -> None:
    """Refuse a schema older than this version needs; a newer one is fine.

    Raises:
        SchemaTooOldError: with the command that upgrades it.
    """
    revision = current(url, schema)
    if revision is None or revision < newest():
        where = conninfo_to_dict(url)
        raise SchemaTooOldError(
            f"schema {schema} of database {where.get('dbname', '')} at {where.get('host', '')} is "
            f"at revision {revision or 'none'}, this version needs {newest()}; "
            "run `kodosumi-prefect db upgrade`"
        )


def grants(schema: str) -> str:
    """SQL that makes the roles owner, writer and reader of ``schema``, to be read and run by hand.

    The owner runs ``db upgrade``; the writer is what flows, workers and the panel connect as;
    the reader suits dashboards.
    """
    owner, writer, reader = (f"{schema}_{role}" for role in ("owner", "writer", "reader"))
    schema = f'"{schema}"'
    return f"""\
-- {owner} runs `kodosumi-prefect db upgrade`; only this role needs to create tables.
CREATE ROLE {owner} LOGIN;
CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner};
-- {writer} is what flows, workers, observer and panel connect as.
CREATE ROLE {writer} LOGIN;
GRANT USAGE ON SCHEMA {schema} TO {writer};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {writer};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {writer};
-- {reader} may look at everything but what signs people in.
CREATE ROLE {reader} LOGIN;
GRANT USAGE ON SCHEMA {schema} TO {reader};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader};
DO $$ BEGIN
    IF to_regclass('{schema}.role') IS NOT NULL THEN
        REVOKE ALL ON {schema}.role, {schema}.api_key, {schema}.login_failure, {schema}.payload
            FROM {reader};
        GRANT SELECT (id, name) ON {schema}.role TO {reader};
    END IF;
    IF to_regclass('{schema}.launch_key') IS NOT NULL THEN
        REVOKE ALL ON {schema}.launch_key FROM {reader};
    END IF;
    IF to_regclass('{schema}.webhook') IS NOT NULL THEN
        REVOKE ALL ON {schema}.webhook FROM {reader};
    END IF;
    IF to_regclass('{schema}.lock_link') IS NOT NULL THEN
        REVOKE ALL ON {schema}.lock_link FROM {reader};
    END IF;
    -- Functions that queries of lists consist of; they read what {reader} may read.
    IF to_regproc('{schema}.filtered_listing') IS NOT NULL THEN
        GRANT EXECUTE ON FUNCTION {schema}.visible, {schema}.filtered_listing TO {reader};
    END IF;
    IF to_regproc('{schema}.ordered_listing') IS NOT NULL THEN
        GRANT EXECUTE ON FUNCTION {schema}.ordered_listing TO {reader};
    END IF;
    -- To what was done in the panel {writer} adds; only {owner} may change or delete it.
    IF to_regclass('{schema}.audit') IS NOT NULL THEN
        REVOKE ALL ON {schema}.audit FROM {writer}, {reader};
        GRANT SELECT, INSERT ON {schema}.audit TO {writer};
    END IF;
END $$;
-- What {owner} makes later (partitions, new tables) is granted likewise.
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema}
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {writer};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema}
    GRANT SELECT ON TABLES TO {reader};
"""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _connection(url: str, answer_timeout: float | None = None) -> Iterator[sqlalchemy.Connection]:
    """A SQLAlchemy connection to a libpq URL; libpq itself parses it, passfile and all."""

    def creator() -> psycopg.Connection[Any]:
        connection = connect(url, answer_timeout=answer_timeout)
        connection.autocommit = False
        return connection

    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=creator, poolclass=sqlalchemy.NullPool
    )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
