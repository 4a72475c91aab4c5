"""``files``: what an execution was given and what it made."""

from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import cyclopts
from rich.filesize import decimal

from kodosumi_prefect.cli.options import Output, of_stack
from kodosumi_prefect.cli.output import CommandError, console
from kodosumi_prefect.cli.panel_client import Panel
from kodosumi_prefect.cli.tables import print_json, print_table
from kodosumi_prefect.cli.transfer import bar, local_files, size_of, target_of
from kodosumi_prefect.client import LocalFile, StoredFile
from kodosumi_prefect.files.names import FileNameError, split_folder

SHORT = 12  # characters of a hash in a list

app = cyclopts.App(name="files", help="List, get and put files of executions.")


@app.command
@of_stack
def ls(fid: str, path: str = "", /, *, output: Output = "text") -> None:
    """List an execution's files.

    Parameters
    ----------
    fid
        The execution, or the first digits of its id.
    path
        Only this file or folder, such as in or out/report.
    """
    with Panel() as panel:
        items = panel.client.files(_known(panel, fid), path)
    if output == "json":
        print_json([asdict(one) for one in items])
    elif not items:
        console.print("no files" + (f" in {path}" if path else " yet"), markup=False)
    else:
        rows = [[decimal(one.size), one.sha256[:SHORT], one.path] for one in items]
        print_table(["size", "sha256", "path"], rows, whole=["size", "sha256", "path"])


@app.command
@of_stack
def get(fid: str, path: str = "out", into: Path = Path(), /, *, output: Output = "text") -> None:
    """Download a file, or a folder with all that is in it; what broke off goes on.

    Parameters
    ----------
    fid
        The execution, or the first digits of its id.
    path
        A file or folder, such as out/report.md; all that the run made by default.
    into
        The folder to save it in; the current one by default.
    """
    with Panel() as panel:
        whole = _known(panel, fid)
        items = panel.client.files(whole, path)
        if not items:
            raise CommandError(
                f"{whole} has no {path}; `kodosumi-prefect files ls` lists its files"
            )
        folder = path.rstrip("/").rpartition("/")[0]  # what is got keeps its own name
        targets = [target_of(one.path, folder, into) for one in items]
        with bar("getting", sum(one.size for one in items)) as advance:
            for one, target in zip(items, targets, strict=True):
                panel.client.download(whole, one, target, advance=advance)
    if output == "json":
        told = zip(items, targets, strict=True)
        print_json([asdict(one) | {"saved": str(target)} for one, target in told])
    else:
        for target in targets:
            console.print(str(target), markup=False, soft_wrap=True)


@app.command
@of_stack
def put(fid: str, source: Path, path: str = "in/", /, *, output: Output = "text") -> None:
    """Give an execution a file, or a folder with all that is in it; what broke off goes on.

    Parameters
    ----------
    fid
        The execution, or the first digits of its id.
    source
        The file or folder.
    path
        What it is to be called, such as in/notes.txt; below a folder if it ends with a slash.
    """
    try:
        direction, _ = split_folder(path)
    except FileNameError as exc:
        raise CommandError(str(exc)) from exc
    files = local_files(source, path.partition("/")[2])
    with Panel() as panel:
        whole = _known(panel, fid)
        stored = _put(panel, whole, str(direction), files)
    if output == "json":
        print_json([asdict(one) for one in stored])
    else:
        for one in stored:
            console.print(f"{one.path}  {decimal(one.size)}", markup=False, soft_wrap=True)


def _put(panel: Panel, fid: str, direction: str, files: list[LocalFile]) -> list[StoredFile]:
    notes = panel.settings.data_dir / "sending"
    with bar("sending", size_of(files)) as advance:
        return panel.client.upload(fid, files, direction, notes=notes, advance=advance)


def _known(panel: Panel, typed: str) -> str:
    """The id of an execution that begins as somebody typed it."""
    try:
        return str(UUID(typed))
    except ValueError:
        pass
    items = panel.ask("GET", "/timeline/list", params={"q": typed, "pp": 100})["items"]
    found: set[str] = {one["fid"] for one in items if one["fid"].startswith(typed.lower())}
    if len(found) != 1:
        why = "several executions begin with it" if found else "there is no such execution"
        raise CommandError(f"{typed}: {why}; `kodosumi-prefect runs` lists them")
    return found.pop()
