"""What the ``upload`` event says of files; listings are made of it.

Its payload is Kodosumi's ``{"Upload": {"files": [{path, size, last_modified}, …]}}`` with, beside
``files``, what the listing needs: ``stored``, where each content is and what it is like, and the
paths that are ``removed``.
"""

import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kodosumi_prefect.events import Event, clean
from kodosumi_prefect.files.content_keys import OBJECTS
from kodosumi_prefect.files.names import Direction, FileNameError, comparable, split

LONGEST_MEDIA_TYPE = 200  # characters
_SHA256 = re.compile("[0-9a-f]{64}")
_KEY = re.compile("[0-9A-Za-z._-]{1,100}")


class StoredFile(NamedTuple):
    """A file of an execution.

    Attributes:
        path: begins with ``in/`` or ``out/``.
        key: of its content in the storage.
        size: bytes.
        sha256: of its content, in hexadecimal.
        media_type: such as ``text/plain``.
    """

    path: str
    key: str
    size: int
    sha256: str
    media_type: str

    @property
    def direction(self) -> Direction:
        """Whether it was given to the run, or made by it."""
        return split(self.path)[0]


class FileChanges(NamedTuple):
    """What ``upload`` events change, as rows of the queries ``put_files`` and ``drop_files``."""

    stored: list[dict[str, Any]]
    removed: list[dict[str, Any]]


def payload_of(
    stored: Sequence[StoredFile] = (), removed: Sequence[str] = (), ts: float | None = None
) -> str:
    """The payload of an ``upload`` event.

    Arguments:
        ts: when the files came to be, in epoch seconds; now if not given.
    """
    modified = time.time() if ts is None else ts
    files = [{"path": f.path, "size": f.size, "last_modified": modified} for f in stored]
    body: dict[str, Any] = {"files": files}
    if stored:
        body["stored"] = [file._asdict() for file in stored]
    if removed:
        body["removed"] = list(removed)
    return json.dumps({"Upload": body}, ensure_ascii=False)


def file_changes(uploads: Iterable[Event], fid: str) -> FileChanges:
    """What ``upload`` events change, one after the other; what is not in our format does nothing.

    A run can name no content but its own.

    Arguments:
        fid: of the execution that they are of.
    """
    rows: dict[tuple[str, str], dict[str, Any] | None] = {}
    for event in uploads:
        try:
            body = json.loads(event.payload)["Upload"]
            removed, stored = list(body.get("removed") or ()), list(body.get("stored") or ())
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
        for path in removed:
            if (place := _place(path)) is not None:
                rows[place] = None
        task_run, node = _origin(event.source)
        beside = {"ts": event.ts, "attempt": event.attempt, "task_run": task_run, "node": node}
        for fields in stored:
            if (file := _stored(fields, fid)) is not None:
                direction, path = split(file.path)
                rows[direction, comparable(path)] = file._asdict() | {"path": path} | beside
    placed = [
        (row, {"direction": str(direction), "comparable": path})
        for (direction, path), row in rows.items()
    ]
    return FileChanges(
        [row | place for row, place in placed if row is not None],
        [place for row, place in placed if row is None],
    )


def _place(path: Any) -> tuple[str, str] | None:
    try:
        direction, rest = split(path)
    except (FileNameError, AttributeError):
        return None
    return direction, comparable(rest)


def _origin(source: str | None) -> tuple[str | None, str | None]:
    """The task run and the node that an event's source names."""
    try:
        parts = json.loads(source or "{}")
        task_run = (parts.get("task_run") or {}).get("id")
        return (str(task_run) if task_run else None), str(parts.get("node") or "") or None
    except (ValueError, AttributeError):
        return None, None


def _stored(fields: Any, fid: str) -> StoredFile | None:
    try:
        file = StoredFile(**fields)
        split(file.path)
        root, _, id_ = file.key.rpartition("/")
        fits = (
            root == f"{OBJECTS}/{fid}"
            and _KEY.fullmatch(id_)
            and isinstance(file.size, int)
            and 0 <= file.size < 2**63
            and _SHA256.fullmatch(file.sha256)
            and isinstance(file.media_type, str)
        )
    except (TypeError, AttributeError, FileNameError):
        return None
    return file._replace(media_type=clean(file.media_type)[:LONGEST_MEDIA_TYPE]) if fits else None
