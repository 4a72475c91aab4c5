"""The commands of README, docs and deployments, and which of them the tests do not run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).parents[1]
PAGES = sorted(
    [
        *(TOP / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *(TOP / "docs").rglob("*.md"),
        *(TOP / "deployments").rglob("*.md"),
    ]
)
_BLOCK = re.compile(r"^( *)(?:[-*\d.]+ +)?```(?:bash|console|sh)\n(.*?)^ *```$", re.M | re.S)
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.S)

# What begins so is checked in form, and not run by test_documented_commands.py.
NOT_RUN = {
    # Programs that are not here, or that would change this machine.
    "docker": "there is no daemon",
    "helm": "there is no cluster",
    "kubectl": "there is no cluster",
    "ray start": "the head of the stack runs already",
    "pip": "the wheel is built and installed by test_wheel.py",
    "python3 -m venv": "by test_wheel.py",
    ". .venv/bin/activate": "the tests run in it",
    "make": "sets everything up, this environment included",
    # What moves keys and databases: test_backup.py and test_resealing.py do the same.
    "psql": "renames the schema of the shared stack",
    "mv": "takes its key away",
    "cat": "prints its key",
    "install": "puts a key in place",
    "kodosumi-prefect db restore": "by test_backup.py",
    # What runs until it is stopped: the stack of the tests is one.
    "kodosumi-prefect up": "runs until Ctrl-C",
    "kodosumi-prefect panel": "runs until Ctrl-C",
    "kodosumi-prefect observer": "runs until Ctrl-C",
    "prefect worker start": "runs until Ctrl-C",
    "kodosumi-prefect demo": "by test_wheel.py",
    "kodosumi-prefect drain": "ends the worker of the shared stack; by test_up.py and others",
    "kodosumi-prefect webhooks add": "by test_panel_webhooks.py",
    "kodosumi-prefect automations install": "by test_prefect_events.py",
    "kodosumi-prefect automations remove": "by test_prefect_events.py",
    "kodosumi-prefect user export": "by test_user_command.py",
    "kodosumi-prefect user erase": "by test_user_command.py",
    "kodosumi-prefect user passwd": "ends sessions of the tests; by test_user_command.py",
    # What only has a meaning in the terminal that it is typed into.
    "export": "points at somebody's own servers",
    "read": "asks for a password",
    "grep": "changes somebody's service; test_peer_services_runs.py and others run such ones",
    "PREFECT_INTEGRATIONS_KODOSUMI_PANEL_URL=http://127.0.0.1:3370 uvicorn": "runs until Ctrl-C",
    "curl -s -H KODOSUMI_API_KEY: $KEY $PANEL/flow/register": "its service is not there",
    "cp": "copies an example to be filled in",
}
# By which the shared stack was made.
DONE_BEFORE = [["prefect", "--no-prompt", "deploy", "--all"]]


class Line(NamedTuple):
    """One line of a block, as it is typed; what is continued below is one with it."""

    page: Path
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(TOP)}: {self.text}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command in it, those between parentheses included."""
        return list(_commands(self.text))

    @property
    def reason(self) -> str | None:
        """Why it is not run; None if it is."""
        if self.commands == DONE_BEFORE:
            return "the stack of the tests was made by it"
        for words in self.commands:
            typed = " ".join(words)
            for begin, why in NOT_RUN.items():
                if typed == begin or typed.startswith(f"{begin} "):
                    return why
        return None


def lines(page: Path) -> list[Line]:
    """The commands of a page, in its order."""
    text = page.read_text()
    return [Line(page, line) for match in _BLOCK.finditer(text) for line in _whole_lines(match[2])]


def _whole_lines(block: str) -> Iterator[str]:
    line = ""
    for part in block.splitlines():
        line = f"{line}\n{part}" if line else part.strip()
        if not _is_whole(line):
            continue
        if words := line.strip():
            yield words
        line = ""
    assert not line.strip(), line


def _is_whole(line: str) -> bool:
    if line.endswith(("\\", "|", "&&")):
        return False
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return False
    return line.count("(") == line.count(")")


def _commands(text: str) -> Iterator[list[str]]:
    while "$(" in text:
        before, _, rest = text.partition("$(")
        end = _closing(rest)
        yield from _commands(rest[:end])
        text = f"{before}__{rest[end + 1 :]}"
    text = text.replace("\\\n", " ")
    reader = shlex.shlex(text, posix=True, punctuation_chars="|&;")
    reader.whitespace_split = True
    words: list[str] = []
    for word in reader:
        if word in ("|", "&&", "||", ";"):
            yield from [words] if words else []
            words = []
        else:
            words.append(word)
    yield from [words] if words else []


def _closing(text: str) -> int:
    """Where the parenthesis that is open at the beginning ends."""
    depth = 1
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if not depth:
            return place
    raise AssertionError(text)


def assigned(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """The variables that a command sets for itself or, alone, for its shell; and its own words."""
    values: dict[str, str] = {}
    while words and (match := _ASSIGNED.fullmatch(words[0])):
        values[match[1]] = match[2]
        words = words[1:]
    return values, words
