"""``config``: what is in force, where it came from, and changing it."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import cyclopts
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kodosumi_prefect.cli.options import Output, of_stack
from kodosumi_prefect.cli.output import CommandError, console, errors
from kodosumi_prefect.cli.tables import print_json
from kodosumi_prefect.settings import (
    PREFIX,
    Settings,
    get_settings,
    kodosumi_notes,
    origins,
    read_address,
)
from kodosumi_prefect.settings.sources import SettingInForce

app = cyclopts.App(name="config", help="Show and change settings.")

_TABLE = "[integrations.kodosumi]"


@app.default
@of_stack
def show(*, verbose: bool = False, output: Output = "text") -> None:
    """Print the settings in force and where each came from; secrets are masked.

    Parameters
    ----------
    verbose
        Print what each setting does.
    """
    rows = origins()
    if output == "json":
        print_json([row._asdict() for row in rows])
        return
    if verbose:
        for row in rows:
            head = Text.assemble((row.name, "bold"), f" = {row.value}  ", (row.source, "dim"))
            console.print(head, soft_wrap=True)
            console.print(Padding(Text(row.description), (0, 0, 1, 4)))
    else:
        _print_short(rows)
    settings = get_settings()
    for part in ("postgres", "prefect", "ray", "panel"):
        if record := read_address(settings, part):
            address = record.get("address") or record.get("url") or ""
            where = _without_password(str(address))
            console.print(f"up runs {part} at {where}", markup=False, soft_wrap=True)
    for line in kodosumi_notes():
        errors.print(line, style="yellow", markup=False, soft_wrap=True)
    console.print(f"\nset by environment as {PREFIX}NAME, or `kodosumi-prefect config set`")


def _print_short(rows: Sequence[SettingInForce]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", no_wrap=True)
    for row in rows:
        style = "dim" if row.source == "default" else None
        table.add_row(row.name, row.value, row.source, style=style)
    console.print(table)


@app.command(name="set")
def set_value(name: str, value: str) -> None:
    """Write a setting into prefect.toml of this folder, where Prefect reads its own too.

    Parameters
    ----------
    name
        The setting, as `kodosumi-prefect config` lists it.
    value
        Its new value.
    """
    name = name.lower().removeprefix(PREFIX.lower())
    if name not in Settings.model_fields:
        raise CommandError(f"there is no setting {name!r}; `kodosumi-prefect config` lists them")
    Settings(**{name: value})  # type: ignore[arg-type]  # refuses what does not fit
    path = Path("prefect.toml")
    path.write_text(with_setting(path.read_text() if path.exists() else "", name, value))
    console.print(f"{name} is set in {path.absolute()}", markup=False, soft_wrap=True)


def with_setting(text: str, name: str, value: str) -> str:
    """The text of a prefect.toml with one of our settings changed; the rest stays as it is.

    Raises:
        CommandError: the text is not TOML.
    """
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise CommandError(f"prefect.toml is not valid TOML: {exc}") from exc
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    line = f'{name} = "{quoted}"'
    head, header, rest = text.partition(_TABLE)
    if not header:
        return f"{text.rstrip()}\n\n{_TABLE}\n{line}\n".lstrip("\n")
    end = re.search(r"^\[", rest, re.MULTILINE)
    body, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    changed, count = re.subn(
        rf"^{re.escape(name)}\s*=.*$", lambda _: line, body, flags=re.MULTILINE
    )
    if not count:
        changed = f"{body.rstrip()}\n{line}\n" + ("\n" if tail else "")
    return head + header + changed + tail


def _without_password(address: str) -> str:
    return re.sub(r"(://[^:/@]+):[^@]*@", r"\1:********@", address)
