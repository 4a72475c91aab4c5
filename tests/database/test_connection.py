"""One way to a connection, with our bounds and UTF-8."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kodosumi_prefect

PACKAGE = Path(kodosumi_prefect.__file__).parent
# What makes a connection or many, and the modules that may: Alembic's engine gets ours.
WAYS = {
    "connect": {"database/connection.py"},
    "pool": {"database/pool.py"},
    "engine": {"database/migrate.py"},
}
POOLS = {"ConnectionPool", "AsyncConnectionPool", "NullConnectionPool", "AsyncNullConnectionPool"}
CONNECTING = ("psycopg.connect", "Connection.connect", "psycopg.Connection", "AsyncConnection")


def way(call: ast.Call) -> str | None:
    """How a call makes a connection to Postgres by other means than ours; None if it does not."""
    name = ast.unparse(call.func)
    if name.endswith(CONNECTING):
        return "connect"
    if name.startswith("httpcore."):
        return None  # of connections to other services
    name = name.partition("[")[0].rpartition(".")[2]
    if name in POOLS:
        return "pool"
    return "engine" if name in ("create_engine", "create_async_engine") else None


def ways(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (found := way(node)) is not None:
            yield found
        if isinstance(node, ast.ImportFrom) and node.module == "psycopg":
            yield from ("connect" for alias in node.names if alias.name == "connect")


def test_nobody_connects_by_another_way() -> None:
    users: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for found in ways(path.read_text(encoding="utf-8")):
            users.setdefault(found, set()).add(path.relative_to(PACKAGE).as_posix())
    assert users == WAYS


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("psycopg.connect(url)", "connect"),
        ("await psycopg.AsyncConnection.connect(url)", "connect"),
        ("await BoundedAsyncConnection.connect(url)", "connect"),
        ("from psycopg import connect", "connect"),
        ("AsyncConnectionPool[Any](url)", "pool"),
        ("psycopg_pool.ConnectionPool(url)", "pool"),
        ("httpcore.AsyncConnectionPool(ssl_context=context)", None),
        ("sqlalchemy.create_engine(url)", "engine"),
        ("connect(url)", None),
        ("ray_connection.connect()", None),
    ],
)
def test_other_ways_are_recognized(source: str, expected: str | None) -> None:
    assert next(ways(source), None) == expected


def test_one_statement_listens() -> None:
    listening = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if '"LISTEN {}"' in path.read_text(encoding="utf-8")
    }
    assert listening == {"database/connection.py"}
