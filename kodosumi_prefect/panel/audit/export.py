"""The audit as files, a few entries at a time."""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields

import orjson

from kodosumi_prefect.database.rows.audit import StoredAuditEntry

COLUMNS = tuple(field.name for field in fields(StoredAuditEntry))
# What a spreadsheet reads as the beginning of a formula, also behind spaces.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


async def json_lines(pages: AsyncIterator[list[StoredAuditEntry]]) -> AsyncIterator[bytes]:
    """One entry per line."""
    async for rows in pages:
        yield b"".join(orjson.dumps(row) + b"\n" for row in rows)


async def comma_separated(pages: AsyncIterator[list[StoredAuditEntry]]) -> AsyncIterator[bytes]:
    """One entry per line below a line of names; no cell can be read as a formula."""
    yield _lines([COLUMNS])
    async for rows in pages:
        yield _lines([[_cell(row, name) for name in COLUMNS] for row in rows])


def _cell(entry: StoredAuditEntry, name: str) -> str:
    value = getattr(entry, name)
    if name == "at":
        return str(value.isoformat())
    if name == "details":
        value = orjson.dumps(value).decode() if value else ""
    text = "" if value is None else str(value)
    return f"'{text}" if text.lstrip(" \u00a0\ufeff").startswith(FORMULA) else text


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
