"""``services``, ``launch`` and ``answer``: what can be launched, and what waits for somebody."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from kodosumi_prefect.cli.fields import filled_in
from kodosumi_prefect.cli.options import Output
from kodosumi_prefect.cli.output import CommandError, console, words
from kodosumi_prefect.cli.panel_client import Panel
from kodosumi_prefect.cli.runs import tail
from kodosumi_prefect.cli.tables import print_json, print_table
from kodosumi_prefect.cli.transfer import bar, local_files, size_of
from kodosumi_prefect.client import LocalFile
from kodosumi_prefect.client.values import shown

Field = Annotated[
    str,
    Parameter(help="Fields of the form, as name=value; name=@file reads a file."),
]
FileField = Annotated[
    tuple[str, ...],
    Parameter(
        name="--file",
        negative=(),
        help="A file or folder for a field for files, as name=path; repeatable.",
    ),
]
JsonFile = Annotated[
    Path | None,
    Parameter(name="--json", help="A file with the fields as a JSON object; - reads stdin."),
]


def services(query: str = "", /, *, output: Output = "text") -> None:
    """List what can be launched.

    Parameters
    ----------
    query
        Words that its summary, tags or address contain.
    """
    with Panel() as panel:
        items = panel.pages("/flow", **({"q": query} if query else {}))
    if output == "json":
        print_json(items)
    elif not items:
        console.print("no services" + (f" with {query!r}" if query else " yet"), markup=False)
    else:
        rows = [
            [str(item["summary"] or ""), " ".join(item["tags"] or []), item["url"]]
            for item in items
        ]
        print_table(["what", "tags", "address"], rows, whole=["address"])


def launch(
    service: str,
    /,
    *fields: Field,
    file: FileField = (),
    json_file: JsonFile = None,
    follow: bool = False,
    output: Output = "text",
) -> int:
    """Launch a service or deployment; prints the id of the execution.

    Fields that are not given are as the form shows them.

    Parameters
    ----------
    service
        Its address as `services` lists it, or words that only its summary or address contains.
    follow
        Follow its events until it is over, as `tail` does.
    """
    typed = _typed(fields)
    posted = _posted(json_file)
    with Panel() as panel:
        address = _address(panel, service)
        elements = panel.client.form(address)
        posted = shown(elements) | posted | filled_in(typed, elements) | _sent(panel, file)
        fid = panel.client.launch(address, posted)
        if output == "json":
            print_json({"fid": fid, "url": f"{panel.url}/executions/{fid}"})
        else:
            console.print(f"{fid}  {panel.url}/executions/{fid}", markup=False, soft_wrap=True)
    return tail(fid) if follow else 0


def answer(
    fid: str | None = None,
    /,
    *fields: Field,
    lid: str | None = None,
    json_file: JsonFile = None,
    output: Output = "text",
) -> None:
    """Answer an execution that waits for somebody; without an id, list all that wait.

    Parameters
    ----------
    fid
        The execution, or the first digits of its id.
    lid
        Which of its questions, if there are several.
    """
    with Panel() as panel:
        waiting = panel.pages("/locks")
        if fid is None:
            _list_waiting(waiting, output)
            return
        lock = _chosen(waiting, fid, lid)
        elements = panel.client.elements(lock["fid"], lock["lid"])
        posted = _posted(json_file) | filled_in(_typed(fields), elements)
        result = panel.client.answer(lock["fid"], lock["lid"], posted)
    if output == "json":
        print_json({"result": result})
    else:
        text = f"{_heading(lock)} of {lock['fid']} is answered: {words(result)}"
        console.print(text, markup=False, soft_wrap=True)


def _list_waiting(waiting: list[dict[str, Any]], output: str) -> None:
    if output == "json":
        print_json(waiting)
    elif not waiting:
        console.print("nothing waits for you")
    else:
        rows = [[lock["fid"], _heading(lock), _until(lock), lock["lid"]] for lock in waiting]
        print_table(
            ["execution", "question", "until", "lid"], rows, whole=["execution", "until", "lid"]
        )


def _until(lock: dict[str, Any]) -> str:
    return f"{datetime.fromtimestamp(lock['expires']).astimezone():%m-%d %H:%M}"


def _chosen(waiting: list[dict[str, Any]], fid: str, lid: str | None) -> dict[str, Any]:
    digits = fid.lower()
    open_ = [
        lock
        for lock in waiting
        if lock["fid"].startswith(digits) and (lid is None or lock["lid"] == lid)
    ]
    if not open_:
        raise CommandError(f"{fid} has no open question that you may answer")
    if len(open_) > 1:
        names = ", ".join(f"--lid {lock['lid']} ({_heading(lock)})" for lock in open_)
        raise CommandError(f"{fid} has several open questions: {names}")
    return open_[0]


def _address(panel: Panel, service: str) -> str:
    if service.startswith("/-/"):
        return service
    items = panel.pages("/flow", q=service)
    exact = [one for one in items if service in (one["summary"], one["url"])] or items
    if not exact:
        raise CommandError(
            f"there is no service {service!r}; `kodosumi-prefect services` lists them"
        )
    if len(exact) > 1:
        addresses = ", ".join(one["url"] for one in exact[:5])
        raise CommandError(f"{len(exact)} services match {service!r}: {addresses}")
    return str(exact[0]["url"])


def _sent(panel: Panel, given: tuple[str, ...]) -> dict[str, str]:
    """Send files; the values of the fields that they are for."""
    chosen: dict[str, list[LocalFile]] = {}
    for each in given:
        name, equals, path = each.partition("=")
        if not equals or not name or not path:
            raise CommandError(f"--file {each!r} is not name=path")
        chosen.setdefault(name, []).extend(local_files(Path(path), ""))
    values = {}
    for name, files in chosen.items():
        with bar("sending", size_of(files)) as advance:
            values[name] = panel.client.sent(files, advance=advance)
    return values


def _posted(json_file: Path | None) -> dict[str, Any]:
    posted: dict[str, Any] = {}
    if json_file is not None:
        text = sys.stdin.read() if str(json_file) == "-" else json_file.read_text("utf-8")
        try:
            posted = json.loads(text)
        except ValueError as exc:
            raise CommandError(f"{json_file} is not JSON: {exc}") from exc
        if not isinstance(posted, dict):
            raise CommandError(f"{json_file} holds no JSON object")
    return posted


def _typed(fields: tuple[str, ...]) -> dict[str, str]:
    typed = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or not name:
            raise CommandError(f"{field!r} is not name=value")
        typed[name] = Path(value[1:]).read_text("utf-8") if value.startswith("@") else value
    return typed


def _heading(lock: dict[str, Any]) -> str:
    """What people call a lock."""
    return str(lock.get("title") or lock["name"])
