"""Every command of README, docs and deployments is one that its program understands."""

import re
import tomllib
from collections.abc import Callable

import click
import prefect.settings
import pytest
import uvicorn
import yaml
from cyclopts import CycloptsError
from prefect.cli._app import _app as prefect_cli
from prefect.settings.legacy import _get_valid_setting_names
from ray.scripts.scripts import cli as ray_cli

from kodosumi_prefect import forms
from kodosumi_prefect.cli import app as our_cli
from kodosumi_prefect.settings import PREFIX, Settings
from tests.documented import NOT_RUN, PAGES, TOP, Line, assigned, lines

LINES = [line for page in PAGES for line in lines(page)]
DOCS = TOP / "docs"
# Programs of others that are not installed, or have no parser to ask, and subcommands of theirs.
FOREIGN = {
    "docker": {"build", "push", "compose"},
    "helm": {"repo", "install"},
    "kubectl": {"apply", "--namespace", "wait"},
    "psql": None,
    "openssl": {"rand"},
    "grep": None,
    "xargs": {"sed"},
    "python3": {"-m", "-c"},
    "cp": None,
    "mv": None,
    "cat": None,
    "install": None,
    "read": None,
    ".": None,
    "cd": None,
    "eval": None,
}
CURL = {"-s", "-N", "-H", "-d", "-X", "--data-urlencode"}
# Of Ray and of programs that read them before Prefect does.
VARIABLES = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}


def check(words: list[str]) -> None:
    """Whether a command is understood; raises AssertionError if not."""
    values, words = assigned(words)
    check_variables(values)
    if not words:
        return
    program, *rest = words
    if program in PARSERS:
        PARSERS[program](rest)
    else:
        assert program in FOREIGN, f"no test knows the program {program}"
        subcommands = FOREIGN[program]
        assert subcommands is None or rest[0] in subcommands, f"{program} {rest[0]}"


def check_variables(values: dict[str, str]) -> None:
    """Settings have to be there, and take the value."""
    for name, value in values.items():
        if name.startswith(PREFIX):
            assert name.removeprefix(PREFIX).lower() in Settings.model_fields, name
            Settings(**{name.removeprefix(PREFIX).lower(): value})  # type: ignore[arg-type]
        elif name.startswith("PREFECT_"):
            assert name in prefect_variables(), name
        else:
            assert name in VARIABLES or not name.startswith("RAY_"), name


def prefect_variables() -> set[str]:
    return set(_get_valid_setting_names(prefect.settings.Settings))


def ours(words: list[str]) -> None:
    our_cli.parse_args(words, exit_on_error=False, print_error=False)


def of_prefect(words: list[str]) -> None:
    if words[0] == "--no-prompt":
        words = words[1:]
    prefect_cli.parse_args(words, exit_on_error=False, print_error=False)


def of_ray(words: list[str]) -> None:
    command = ray_cli.commands[words[0]]
    assert isinstance(command, click.Command)
    command.make_context(words[0], words[1:], resilient_parsing=False)


def of_uvicorn(words: list[str]) -> None:
    uvicorn.main.make_context("uvicorn", words)


def export(words: list[str]) -> None:
    values, rest = assigned(words)
    assert not rest
    check_variables(values)


def make(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in words if "=" not in word} <= targets


def pip(words: list[str]) -> None:
    assert words[0] == "install"
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"kodosumi-prefect\[(.*?)\]", " ".join(words)):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


def curl(words: list[str]) -> None:
    assert {word for word in words if word.startswith("-")} <= CURL


PARSERS: dict[str, Callable[[list[str]], None]] = {
    "kodosumi-prefect": ours,
    "prefect": of_prefect,
    "ray": of_ray,
    "uvicorn": of_uvicorn,
    "export": export,
    "make": make,
    "pip": pip,
    "curl": curl,
}


@pytest.mark.parametrize("line", LINES, ids=str)
def test_a_command_is_understood_by_its_program(line: Line) -> None:
    assert line.commands or line.text.startswith("#"), line
    for words in line.commands:
        check(words)


@pytest.mark.parametrize(
    "words",
    [
        ["kodosumi-prefect", "runs", "--state", "error"],
        ["kodosumi-prefect", "forget"],
        ["prefect", "worker", "start", "--kind", "kodosumi-ray"],
        ["ray", "start", "--heads"],
        ["export", f"{PREFIX}NO_SUCH_SETTING=1"],
        ["export", f"{PREFIX}PROXY_NETWORKS=everywhere"],
        ["export", "PREFECT_NO_SUCH_SETTING=1"],
        ["make", "everything"],
        ["pip", "install", "kodosumi-prefect[nothing]"],
        ["rsync", "-a", "here", "there"],
    ],
    ids=" ".join,
)
def test_one_that_is_not_understood_is_noticed(words: list[str]) -> None:
    with pytest.raises((AssertionError, CycloptsError, click.ClickException, ValueError)):
        check(words)


def test_the_list_of_commands_that_are_not_run_has_no_more_than_the_pages() -> None:
    typed = [" ".join(words) + " " for line in LINES for words in line.commands]
    unused = [
        begin for begin in NOT_RUN if not any(one.startswith(begin.rstrip()) for one in typed)
    ]
    assert unused == []


def fenced(kind: str) -> list[tuple[str, str]]:
    return [
        (str(page.relative_to(TOP)), block)
        for page in PAGES
        for block in re.findall(rf"^ *```{kind}\n(.*?)^ *```$", page.read_text(), re.M | re.S)
    ]


@pytest.mark.parametrize(("page", "block"), fenced("yaml"))
def test_yaml_on_pages_is_valid(page: str, block: str) -> None:
    assert yaml.safe_load(block), page


@pytest.mark.parametrize(("page", "block"), fenced("python"))
def test_python_on_pages_compiles(page: str, block: str) -> None:
    compile(block, page, "exec")


def test_alerts_name_metrics_that_the_reference_has() -> None:
    known = set(re.findall(r"^\| `(kodosumi_\w+)`", read("reference/metrics.md"), re.MULTILINE))
    for _, block in fenced("yaml"):
        for group in (yaml.safe_load(block) or {}).get("groups", []):
            for rule in group["rules"]:
                assert set(re.findall(r"kodosumi_\w+", rule["expr"])) <= known, rule
                assert f"| {rule['alert'].removeprefix('Kodosumi')} |" in read("how-to/operate.md")


def test_every_form_element_is_on_the_page_of_forms() -> None:
    pages = read("reference/forms.md") + read("reference/results.md")
    described = re.findall(r"^::: kodosumi_prefect\.(?:\w+\.)*(\w+)$", pages, re.MULTILINE)
    assert set(forms.__all__) <= set(described)


def test_settings_that_pages_name_are_there() -> None:
    """In capitals, as people write them: ``DATABASE_URL``."""
    names = {name.upper() for name in Settings.model_fields}
    for page in (DOCS / "how-to").glob("*.md"):
        for name in re.findall(r"`([A-Z]+_[A-Z_]+)(?:=[^`]*)?`", page.read_text()):
            known = name in names | VARIABLES | {"DATA_DIR", "KODOSUMI_API_KEY"}
            assert known or name in prefect_variables(), f"{page.name} names {name}"


def read(name: str) -> str:
    return (DOCS / name).read_text()
