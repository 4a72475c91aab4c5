"""The queries of ``queries.sql`` by name, for one schema."""

import re
from functools import cache
from pathlib import Path

_HEADER = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


class Queries:
    """All SQL of the spooler and its readers, each query under the name it has in the file.

    Arguments:
        schema: Postgres schema put in place of ``{schema}``; a plain identifier.
    """

    def __init__(self, schema: str) -> None:
        if not schema.isidentifier():
            raise ValueError(f"schema {schema!r} is not a plain identifier")
        self.schema = schema
        self._texts = {
            name: text.replace("{schema}", f'"{schema}"').encode()
            for name, text in _texts().items()
        }

    def __getitem__(self, name: str) -> bytes:
        return self._texts[name]


@cache
def _texts() -> dict[str, str]:
    parts = _HEADER.split(Path(__file__).with_name("queries.sql").read_text())[1:]
    return {
        name: "\n".join(
            line for line in body.strip().rstrip(";").splitlines() if not line.startswith("--")
        )
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }
