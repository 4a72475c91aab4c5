"""The queries of the files beside this one by name, for one schema; one file an area."""

import re
from functools import cache
from pathlib import Path

_HEADER = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


class Queries:
    """All SQL of this package, each query under the name it has in its file.

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
    texts: dict[str, str] = {}
    for file in sorted(Path(__file__).parent.glob("*.sql")):
        parts = _HEADER.split(file.read_text(encoding="utf-8"))[1:]
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            if name in texts:
                raise ValueError(f"{file.name} names the query {name} a second time")
            lines = body.strip().rstrip(";").splitlines()
            texts[name] = "\n".join(line for line in lines if not line.startswith("--"))
    return texts
