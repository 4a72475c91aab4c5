"""The result of an execution as a file of its own kind."""

import json
import re
from typing import Any, NamedTuple

from kodosumi_prefect.panel.executions.rows import final_envelope, title
from kodosumi_prefect.stream.rows import StoredExecution

MAX_NAME = 60  # characters of the title that a file's name holds

_TEXTS = {
    "Markdown": ("md", "text/markdown"),
    "HTML": ("html", "text/html"),
    "Text": ("txt", "text/plain"),
    "str": ("txt", "text/plain"),
}
_NO_WORD = re.compile(r"[^a-z0-9]+")


class ResultFile(NamedTuple):
    """A file: its name, its media type, and what is in it."""

    name: str
    media_type: str
    content: bytes


def result_file(row: StoredExecution) -> ResultFile | None:
    """The result that an execution has now: markdown, HTML and text as such, all else as JSON.

    None while there is no result. A failed run's is the message of its error.
    """
    envelope = final_envelope(row)
    if envelope is None:
        return None
    kind, value = _opened(envelope)
    if kind in _TEXTS and isinstance(value, str):
        ending, media_type = _TEXTS[kind]
        content = value if value.endswith("\n") else value + "\n"
    else:
        ending, media_type = "json", "application/json"
        content = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    return ResultFile(_name(row, ending), media_type, content.encode())


def kind_words(name: str) -> str:
    """What people call a file of that name."""
    kinds = {"md": "Markdown", "html": "HTML", "txt": "text", "json": "JSON"}
    return kinds[name.rpartition(".")[2]]


def _opened(envelope: str) -> tuple[str, Any]:
    """The type that an envelope names, and what is in it."""
    stored = json.loads(envelope)
    if not isinstance(stored, dict) or len(stored) != 1:
        return "", stored
    kind, value = next(iter(stored.items()))
    if kind in _TEXTS and isinstance(value, dict):
        return kind, value.get("body")
    return kind, value


def _name(row: StoredExecution, ending: str) -> str:
    """ASCII only, so that every browser keeps it."""
    words = _NO_WORD.sub("-", title(row).lower())[:MAX_NAME].strip("-") or "result"
    day = (row.ended_at or row.created_at).strftime("%Y-%m-%d")
    return f"{words}-{day}-{row.fid[:8]}.{ending}"
