"""Rows of queries: the class of each has the columns that Postgres returns."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import ExecStatus

import kodosumi_prefect
from kodosumi_prefect.database.sql import Queries

PACKAGE = Path(kodosumi_prefect.__file__).parent


def test_every_row_class_has_the_columns_of_its_query(database: str) -> None:
    queries = Queries("kodosumi")
    pairs = set(_pairs())
    assert len(pairs) > 30
    with psycopg.connect(database) as connection:
        for row_type, query in sorted(pairs, key=lambda pair: pair[1]):
            assert _columns(connection, queries[query]) == _fields(row_type), query


def _pairs() -> Iterator[tuple[Any, str]]:
    """Classes of rows that calls name together with a query, and the queries."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        if not re.search(r"rows_of\(|class_row\(", text):
            continue
        module = import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
        calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
        for call in calls:
            for row_type, query in pairwise(call.args):
                if ast.unparse(row_type).startswith("class_row("):
                    [row_type] = row_type.args  # type: ignore[attr-defined]
                elif not ast.unparse(call.func).endswith("rows_of"):
                    continue
                if isinstance(row_type, ast.Name) and isinstance(query, ast.Constant):
                    yield getattr(module, row_type.id), query.value


def _fields(row_type: Any) -> set[str]:
    if dataclasses.is_dataclass(row_type):
        return {field.name for field in dataclasses.fields(row_type)}
    return set(row_type._fields)


def _columns(connection: psycopg.Connection, query: bytes) -> set[str]:
    """The names of a query's columns, which is parsed and not executed."""
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = re.sub(r"%\((\w+)\)s", numbered, query.decode()).replace("%%", "%")
    prepared = connection.pgconn.prepare(b"", text.encode())
    assert prepared.status == ExecStatus.COMMAND_OK, prepared.error_message.decode()
    described = connection.pgconn.describe_prepared(b"")
    return {(described.fname(n) or b"").decode() for n in range(described.nfields)}
