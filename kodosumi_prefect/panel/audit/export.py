"""The audit as files, a few entries at a time."""

import csv
import io
from collections.abc import AsyncIterator, Sequence

import orjson

from kodosumi_prefect.panel.audit.filter import Row

COLUMNS = (
    *("id", "at", "action", "outcome", "actor_id", "actor_name", "means", "key_id", "key_name"),
    *("address", "user_agent", "target_kind", "target_id", "target_name", "details"),
)
# What a spreadsheet reads as the beginning of a formula, also behind spaces.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


async def json_lines(pages: AsyncIterator[list[Row]]) -> AsyncIterator[bytes]:
    """One entry per line."""
    async for rows in pages:
        yield b"".join(orjson.dumps(row) + b"\n" for row in rows)


async def comma_separated(pages: AsyncIterator[list[Row]]) -> AsyncIterator[bytes]:
    """One entry per line below a line of names; no cell can be read as a formula."""
    yield _lines([COLUMNS])
    async for rows in pages:
        yield _lines([[_cell(row, name) for name in COLUMNS] for row in rows])


def _cell(row: Row, name: str) -> str:
    value = row[name]
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
