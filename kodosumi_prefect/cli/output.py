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
from kodosumi_prefect.cli.running import hint
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
_TASK = 16  # characters of the column that names the task


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
            f"set database_url or start `kodosumi-prefect up`{hint(settings)}"
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
    """One event: time, seq, kind, task, and its payload as a person reads it."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.ts))
    task = _task(event)
    head = Text.assemble(
        (f"{clock} ", "dim"),
        (f"{event.seq:>5} ", "dim"),
        (f"{event.kind:<9}", _colour(event.kind)),
        (f" {task:<{_TASK}}", "dim"),
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


def _task(event: StoredEvent) -> str:
    """The name of the task that it comes from, its end cut off if it is long."""
    source = event.source or {}
    name = str((source.get("task_run") or source.get("subflow") or {}).get("name") or "")
    return name if len(name) <= _TASK else f"{name[: _TASK - 1]}…"


def _readable(event: StoredEvent) -> Text | Markdown:
    try:
        value = json.loads(event.payload)
    except ValueError:
        return Text(event.payload, style=_colour(event.kind))
    if not isinstance(value, dict) or len(value) != 1:
        return Text(event.payload)
    name, inner = next(iter(value.items()))
    if isinstance(inner, dict):
        if event.kind == "progress":
            return _progress(inner)
        if name == "Markdown":
            return Markdown(str(inner.get("body", "")))
        if name in ("Text", "HTML"):
            return Text(str(inner.get("body", "")))
        if (sentence := _SENTENCES.get(event.kind)) is not None:
            return Text(sentence(inner))
    return Text(words(value if name == "__list__" else inner))


def words(value: Any) -> str:
    """A JSON value in words: ``name: Ada, tags: a b`` instead of braces and quotes."""
    if isinstance(value, dict):
        if [*value] == ["__list__"]:
            return words([next(iter(item.values()), None) for item in value["__list__"]])
        return ", ".join(f"{key}: {_part(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_part, value))
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "yes", False: "no"}[value]
    return str(value)


def _part(value: Any) -> str:
    text = " ↵ ".join(words(value).splitlines())
    return f"({text})" if isinstance(value, dict | list) and len(value) > 1 else text


def _of_meta(meta: dict[str, Any]) -> str:
    who = f" by {meta['username']}" if meta.get("username") else ""
    return f"{meta.get('summary') or meta.get('entry_point') or ''}{who}"


def _of_lock(lock: dict[str, Any]) -> str:
    about = f" ({words(lock['data'])})" if lock.get("data") else ""
    return f"asks: {lock.get('title') or lock.get('name')}{about}"


def _of_lease(lease: dict[str, Any]) -> str:
    return f"{lease.get('name')} is answered: {words(lease.get('result'))}"


_SENTENCES: dict[str, Callable[[dict[str, Any]], str]] = {
    "meta": _of_meta,
    "lock": _of_lock,
    "lease": _of_lease,
}


def _progress(value: dict[str, Any]) -> Text:
    done, total = value.get("done") or 0, value.get("total")
    text = str(value.get("text") or "")
    if not total:
        return Text(f"{done} {text}")
    filled = min(max(round(_BAR * float(done) / float(total)), 0), _BAR)
    return Text(f"{'█' * filled}{'░' * (_BAR - filled)} {done}/{total} {text}", style="blue")
