"""Pages from templates: everything is escaped but what ``render`` made."""

import gzip
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from kodosumi_prefect.panel.html.amounts import dollars, tokens
from kodosumi_prefect.panel.html.icons import icon
from kodosumi_prefect.panel.html.words import size_words
from kodosumi_prefect.vocabulary import KEYS_COOKIE, THEME_COOKIE

PANEL = Path(__file__).parents[1]  # each area has its own folder of templates

THEMES = ("light", "dark")
KEYS_OFF = "off"  # of the cookie: keys of one letter do nothing

COMPRESSED = 1000  # bytes from which on compressing a page is worth it
COMPRESSION = 5  # gzip's level: some 2 ms for a page of 150 kB, a tenth of its size


@cache  # read from a file, which takes longer than all else of a status
def package_version() -> str:
    """The version of this package."""
    return installed_version("kodosumi-prefect")


def page(
    request: Request, name: str, context: dict[str, Any], *, status_code: int = 200
) -> HTMLResponse:
    """The template ``name`` filled with ``context``, compressed if the browser accepts that.

    Pages are compressed here and not by a middleware, which would hold back what services behind
    the panel stream.
    """
    root = request.scope.get("root_path", "").rstrip("/") + "/"
    user = getattr(request.state, "user", None)
    theme = request.cookies.get(THEME_COOKIE)
    common = {
        "root": root,
        "user": user,
        "theme": theme if theme in THEMES else None,
        "keys_off": request.cookies.get(KEYS_COOKIE) == KEYS_OFF,
    }
    html = templates().get_template(name).render(common | context)
    body = html.encode()
    headers = {"Vary": "Accept-Encoding"}
    if len(body) >= COMPRESSED and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, COMPRESSION)
        headers["Content-Encoding"] = "gzip"
    return HTMLResponse(body, status_code, headers)


@cache
def templates() -> Jinja2Templates:
    """The panel's own templates."""
    engine = Jinja2Templates(directory=sorted(PANEL.glob("*/templates")))
    engine.env.filters |= {"clock": clock, "moment": moment, "iso": iso, "duration": duration}
    engine.env.filters |= {
        "amount": amount,
        "from_epoch": from_epoch,
        "size": size_words,
        "capitalize_first": capitalised,
        "dollars": dollars,
        "tokens": tokens,
    }
    engine.env.globals |= {"version": package_version(), "picture": icon}
    engine.env.trim_blocks = engine.env.lstrip_blocks = True
    return engine


def iso(value: datetime | float | None) -> str:
    """A point in time in ISO 8601, UTC; a browser shows it in its own zone."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds")
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds")


def clock(value: float) -> str:
    """The time of day of a log line, UTC."""
    return datetime.fromtimestamp(value, UTC).strftime("%H:%M:%S")


def moment(value: datetime | float | None) -> str:
    """Date and time for people, UTC."""
    if isinstance(value, int | float):
        value = datetime.fromtimestamp(value, UTC)
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """A span of time in its two largest units, as ``panel.js`` writes it."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def from_epoch(seconds: float) -> datetime:
    """A point in time from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def capitalised(text: str) -> str:
    """With a capital at its beginning; the rest stays, other than Jinja's own filter has it."""
    return f"{text[:1].upper()}{text[1:]}"


def amount(value: float, resource: str) -> str:
    """How much of a resource there is; bytes in their largest unit."""
    if resource not in ("bytes", "memory", "object_store_memory"):
        return f"{value:g}"
    return size_words(value)
