"""The queries of the files beside this one by name, for one schema; one file an area.

What several queries have in common is a function of the schema where Postgres plans it as if it
stood in the query, and otherwise a fragment, which queries include by its name in braces.
"""

import re
from functools import cache
from pathlib import Path

_HEADER = re.compile(r"^-- (name|fragment): (\w+)$", re.MULTILINE)


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
    fragments: dict[str, str] = {}
    for file in sorted(Path(__file__).parent.glob("*.sql")):
        parts = _HEADER.split(file.read_text(encoding="utf-8"))[1:]
        for sort, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            if name in texts or name in fragments:
                raise ValueError(f"{file.name} names the {sort} {name} a second time")
            lines = body.strip().rstrip(";").splitlines()
            statement = "\n".join(line for line in lines if not line.startswith("--"))
            (texts if sort == "name" else fragments)[name] = statement
    return {name: _with_fragments(text, fragments) for name, text in texts.items()}


def _with_fragments(text: str, fragments: dict[str, str]) -> str:
    """The text with its fragments in place, also those within fragments."""
    before = ""
    while text != before:
        before = text
        for name, fragment in fragments.items():
            text = text.replace(f"{{{name}}}", fragment)
    return text
