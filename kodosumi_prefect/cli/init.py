"""``init``: a small project to begin with."""

import shlex
from importlib.resources import files
from pathlib import Path

from kodosumi_prefect.cli.output import CommandError, console

# The file's name in the package, and in the project.
FILES = {
    "word_report.py": "word_report.py",
    "test_word_report.py": "test_word_report.py",
    "prefect.yaml": "prefect.yaml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
}


def init(directory: Path = Path(), /) -> None:
    """Make a small project: a flow, a form that starts it, a schedule, a test.

    Nothing that is there already is changed. The commands that it prints run it.

    Parameters
    ----------
    directory
        Folder of the project; made if it is not there.
    """
    there = [name for name in FILES.values() if (directory / name).exists()]
    if there:
        raise CommandError(f"{directory / there[0]} is there already; choose another folder")
    directory.mkdir(parents=True, exist_ok=True)
    starter = files("kodosumi_prefect") / "starter"
    for source, name in FILES.items():
        (directory / name).write_text((starter / source).read_text(encoding="utf-8"), "utf-8")
        console.print(f"wrote {directory / name}", markup=False, soft_wrap=True)
    into = "" if directory.resolve() == Path.cwd() else f"cd {shlex.quote(str(directory))} && "
    commands = [
        f"{into}kodosumi-prefect up --service word_report:app",
        f'{into}eval "$(kodosumi-prefect env)" && prefect --no-prompt deploy --all',
        "prefect deployment run word-report/weekdays",
    ]
    console.print("\nStart everything, and open the address that it prints last:\n")
    console.print(f"  {commands[0]}\n", markup=False, soft_wrap=True)
    console.print("In a second terminal, deploy the flow and run it:\n")
    for command in commands[1:]:
        console.print(f"  {command}", markup=False, soft_wrap=True)
