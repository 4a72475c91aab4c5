"""What an ``upload`` event says of files, in one line and as links."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any, NamedTuple
from urllib.parse import quote

from kodosumi_prefect.panel.html.words import size_words

MOST_NAMED = 20  # files that one event names


class _File(NamedTuple):
    path: str
    size: int | None

    @property
    def words(self) -> str:
        return self.path if self.size is None else f"{self.path} ({size_words(self.size)})"


def upload_line(stored: Any) -> str:
    """An upload's envelope as one line."""
    changes = _changes(stored)
    if changes is None:
        return json.dumps(stored, ensure_ascii=False)
    files, removed = changes
    parts = [f"uploaded {_listed([file.words for file in files])}"] if files else []
    parts += [f"removed {_listed(removed)}"] if removed else []
    return "; ".join(parts) or "uploaded nothing"


def upload_html(payload: str, fid: str) -> str:
    """An upload with links to its files, for the page of the execution ``fid``, or beside it."""
    try:
        stored = json.loads(payload)
    except ValueError:
        return f"<p>{escape(payload[:1000])}</p>"
    changes = _changes(stored)
    if changes is None:
        return f"<p>{escape(upload_line(stored)[:1000])}</p>"
    files, removed = changes
    items = [_item(file, fid) for file in files[:MOST_NAMED]]
    items += [f'<li class="gone">{escape(path)} <span>removed</span></li>' for path in removed[:5]]
    more = max(len(files) - MOST_NAMED, 0) + max(len(removed) - 5, 0)
    if more:
        items.append(f'<li><a href="{fid}?tab=files">and {more:,} more</a></li>')
    return f'<ul class="made">{"".join(items)}</ul>'


def _item(file: _File, fid: str) -> str:
    size = "" if file.size is None else f" <span>{size_words(file.size)}</span>"
    direction, _, rest = file.path.partition("/")
    if direction not in ("in", "out") or not rest:
        return f"<li>{escape(file.path)}{size}</li>"
    address = f"{fid}/files/{quote(file.path)}"
    return f'<li><a href="{escape(address)}">{escape(file.path)}</a>{size}</li>'


def _changes(stored: Any) -> tuple[list[_File], list[str]] | None:
    """Files that came to be, and paths of those that went; None for what is in no known format."""
    body = stored.get("Upload") if isinstance(stored, Mapping) else None
    files = body.get("files") if isinstance(body, Mapping) else None
    if not isinstance(body, Mapping) or not isinstance(files, list):
        return None
    removed = body.get("removed")
    gone = [str(path) for path in removed] if isinstance(removed, list) else []
    return [_file(each) for each in files], gone


def _file(each: Any) -> _File:
    if not isinstance(each, Mapping):
        return _File(str(each), None)
    size = each.get("size")
    known = isinstance(size, int) and not isinstance(size, bool)
    return _File(str(each.get("path")), size if known else None)


def _listed(words: list[str]) -> str:
    more = len(words) - MOST_NAMED
    return ", ".join(words[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
