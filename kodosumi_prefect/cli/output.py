"""Output of the command line: consoles, and events as lines of a terminal."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from kodosumi_prefect.addresses import (
    NoPrefectError,
    PrefectAccess,
    require_prefect_access,
)
from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.settings import Settings, database_url, get_settings
from kodosumi_prefect.stream.reader import StoredEvent

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

_COLOURS = {
    "status": "bold cyan",
    "error": "bold red",
    "stderr": "red",
    "stdout": "default",
    "debug": "dim",
    "final": "bold green",
    "result": "green",
    "action": "magenta",
    "progress": "blue",
}
_BAR = 24  # characters


class CommandError(Exception):
    """Why a command fails, in one line."""


def require_database(settings: Settings) -> str:
    """The URL of the database, which answers.

    Raises:
        CommandError: none is configured and none runs.
        psycopg.OperationalError: it refused the connection, with the reason.
    """
    url = database_url(settings)
    if url is None:
        raise CommandError(
            f"no Postgres is configured and none runs for {settings.data_dir}; "
            "set database_url or start `kodosumi-prefect up`"
        )
    connect(url).close()
    return url


def require_prefect(settings: Settings) -> PrefectAccess:
    """The Prefect that counts (``kodosumi_prefect.addresses``).

    Raises:
        CommandError: there is none.
    """
    try:
        return require_prefect_access(settings)
    except NoPrefectError as exc:
        raise CommandError(str(exc)) from None


async def with_prefect(do: Callable[[], Awaitable[Any]]) -> Any:
    """Await ``do()`` with Prefect's client pointed at the API that ``require_prefect`` finds."""
    with require_prefect(get_settings()).in_force():
        return await do()


def print_event(event: StoredEvent) -> None:
    """One event: time, seq, kind, and its payload as a person reads it."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.ts))
    head = Text.assemble(
        (f"{clock} ", "dim"), (f"{event.seq:>5} ", "dim"), (f"{event.kind:<9}", _colour(event.kind))
    )
    body = _readable(event)
    if isinstance(body, Text):
        head.append(" ")
        head.append_text(body)
        console.print(head, soft_wrap=True)
    else:
        console.print(head)
        console.print(Padding(body, (0, 0, 0, 4)))


def _colour(kind: str) -> str:
    return _COLOURS.get(kind, "yellow")


def _readable(event: StoredEvent) -> Text | Markdown:
    try:
        value = json.loads(event.payload)
    except ValueError:
        return Text(event.payload, style=_colour(event.kind))
    if not isinstance(value, dict) or len(value) != 1:
        return Text(event.payload)
    name, inner = next(iter(value.items()))
    if event.kind == "progress" and isinstance(inner, dict):
        return _progress(inner)
    if name == "Markdown" and isinstance(inner, dict):
        return Markdown(str(inner.get("body", "")))
    if name in ("Text", "HTML") and isinstance(inner, dict):
        return Text(str(inner.get("body", "")))
    return Text(inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False))


def _progress(value: dict[str, Any]) -> Text:
    done, total = value.get("done") or 0, value.get("total")
    text = str(value.get("text") or "")
    if not total:
        return Text(f"{done} {text}")
    filled = min(max(round(_BAR * float(done) / float(total)), 0), _BAR)
    return Text(f"{'█' * filled}{'░' * (_BAR - filled)} {done}/{total} {text}", style="blue")
