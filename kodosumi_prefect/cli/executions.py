"""Executions by what people type: an id, or the beginning of one."""

import re

from kodosumi_prefect.cli.output import CommandError
from kodosumi_prefect.stream.reader import Reader

SHORT = 8  # characters of an id that lists show
_BEGINNING = re.compile(r"[0-9a-f]{4,32}")


async def whole_id(reader: Reader, typed: str) -> str:
    """The id of an execution that begins as somebody typed it; a whole id is taken as it is.

    Raises:
        CommandError: it is no beginning of an id, or of none or several that are recorded.
    """
    digits = typed.strip().lower().replace("-", "")
    if not _BEGINNING.fullmatch(digits):
        raise CommandError(f"{typed!r} is no id of an execution, nor four or more digits of one")
    if len(digits) == 32:
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    rows = await reader.values(
        "fids_between", first=digits.ljust(32, "0"), last=digits.ljust(32, "f")
    )
    if len(rows) != 1:
        several = f"several executions begin with it: {', '.join(rows)}"
        raise CommandError(f"{typed}: {several if rows else 'there is no such execution'}")
    return str(rows[0])
