"""What pages and files for maintainers say of the code, compared with it."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from kodosumi_prefect.cli import app
from kodosumi_prefect.events import MAIN_KINDS, STDIO_KINDS, Kind
from kodosumi_prefect.settings import VERSION

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LINKING = [*sorted(TOP.glob("*.md")), *PAGES]
RECORDS = sorted((DOCS / "decisions").glob("0*.md"))
MAKEFILE = (TOP / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
FORMS = sorted((TOP / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def without_code(path: Path) -> str:
    return re.sub(r"```.*?```|`[^`]*`", "", path.read_text(), flags=re.DOTALL)


def named(navigation: Any) -> set[str]:
    """The pages in the navigation of mkdocs.yml."""
    if isinstance(navigation, str):
        return {navigation}
    parts = navigation.values() if isinstance(navigation, dict) else navigation
    return set().union(*map(named, parts))


@pytest.mark.parametrize("path", LINKING, ids=lambda path: str(path.relative_to(TOP)))
def test_links_lead_to_files_and_headings_that_there_are(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", without_code(path)):
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)", there.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, target


def test_every_page_is_in_the_navigation() -> None:
    config = yaml.safe_load((TOP / "mkdocs.yml").read_text())
    assert {str(page.relative_to(DOCS)) for page in PAGES} <= named(config["nav"])


def test_every_command_is_described() -> None:
    text = (DOCS / "cli.md").read_text()
    commands = {name for name in app if not name.startswith("-")}
    table = "".join(re.findall(r"^\| (`.+?) \|", text, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", table)) == commands


def test_every_kind_is_described_with_its_streams() -> None:
    text = (DOCS / "events.md").read_text()
    table = re.findall(r"^\| `(\w+)` \| (none|(?:main|stdio)(?:, stdio)?) \|", text, re.MULTILINE)
    streams = {
        str(kind): ", ".join(
            name for name, kinds in (("main", MAIN_KINDS), ("stdio", STDIO_KINDS)) if kind in kinds
        )
        or "none"
        for kind in Kind
    }
    assert dict(table) == streams


@pytest.fixture(scope="module")
def reference() -> Any:
    """The hook of mkdocs that makes pages of the reference."""
    spec = importlib.util.spec_from_file_location(
        "reference", DOCS / "hooks" / "reference_lists.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_routes_has_each_with_its_parameters_and_answers(reference: Any) -> None:
    page = reference.routes()
    parts = dict(re.findall(r"^### ([A-Z]+ /\S*)\n(.*?)(?=^##)", page, re.MULTILINE | re.DOTALL))
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in reference.openapi()["paths"].items()
        for method, operation in methods.items()
    }
    assert parts.keys() == operations.keys()
    for name, operation in operations.items():
        for parameter in operation.get("parameters", ()):
            assert f"| `{parameter['name']}`" in parts[name], name
        for code in operation["responses"]:
            assert re.search(rf"(^\| |Refusals: .*\b){code}\b", parts[name], re.MULTILINE), name
    headings = set(re.findall(r"^### (.+)", page, re.MULTILINE))
    assert {name for name, _ in re.findall(r"\[(\w+)\]\(#(\w+)\)", page)} <= headings


def test_the_page_of_commands_has_each_with_its_options(reference: Any) -> None:
    page = reference.commands()
    for name in app:
        if not name.startswith("-"):
            assert f"## kodosumi-prefect {name}\n" in page, name
    assert "## kodosumi-prefect db restore\n" in page
    assert "* `--since STR`: Recorded then or later" in page
    assert "Table of Contents" not in page


def test_the_page_of_job_variables_has_each(reference: Any) -> None:
    names = re.findall(r"^\| `(\w+)` \|", reference.job_variables(), re.MULTILINE)
    template = (TOP / "deployments" / "base-job-template.json").read_text()
    assert names == list(json.loads(template)["variables"]["properties"])


def test_decisions_are_numbered_listed_and_complete() -> None:
    numbers = [int(path.name[:4]) for path in RECORDS]
    assert numbers == list(range(1, len(RECORDS) + 1))
    index = (DOCS / "decisions" / "index.md").read_text()
    for path in RECORDS:
        text = path.read_text()
        headings = re.findall(r"^#+ (.+)", text, re.MULTILINE)
        title = headings[0].removeprefix(f"{path.name[:4]} ")
        assert f"| {path.name[:4]} | [{title}]({path.name}) |" in index
        assert headings[1:] == ["Context", "Decision", "Consequences"]
        assert re.search(r"^Status: (accepted|superseded by \d{4})$", text, re.MULTILINE)


def test_contributing_names_files_and_make_targets_that_there_are() -> None:
    text = (TOP / "CONTRIBUTING.md").read_text()
    for name in re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:md|toml|yml|yaml))`", text):
        assert (TOP / name).exists(), name
    assert set(re.findall(r"(?:^|`)make (?:PYTHON=\S+ )?([a-z]+)", text, re.MULTILINE)) <= TARGETS


def test_the_tests_that_pages_name_are_there() -> None:
    code = "\n".join(path.read_text() for path in (TOP / "tests").rglob("test_*.py"))
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)`", page.read_text()):
            assert f"def {name}(" in code, f"{page.name} names {name}"


def test_the_changelog_has_this_version() -> None:
    versions = re.findall(r"^## (.+)", (TOP / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(VERSION)} - \d{{4}}-\d\d-\d\d", versions[1])


def test_ci_runs_targets_that_there_are_on_versions_that_are_allowed() -> None:
    workflow = yaml.safe_load((TOP / ".github" / "workflows" / "ci.yml").read_text())
    jobs = workflow["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    for command in commands:
        target = re.fullmatch(r"make (?:PYTHON=python )?([a-z]+)( PREFECT='.*')?", command)
        assert target and target[1] in TARGETS, command
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    (prefect,) = (d for d in project["dependencies"] if d.startswith("prefect>"))
    lowest, below = re.fullmatch(r"prefect>=([\d.]+),<([\d.]+)", prefect).groups()
    oldest, newest = jobs["test"]["strategy"]["matrix"]["prefect"]
    assert oldest == f"=={lowest}"
    assert newest.endswith(f",<{below}")
    pythons = {c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c}
    assert set(jobs["check"]["strategy"]["matrix"]["python"]) == pythons


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms_have_what_github_asks_for(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    if path.name == "config.yml":
        return
    assert form["name"] and form["description"]
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 0
    for part in form["body"]:
        assert "label" in part["attributes"] or part["type"] == "markdown"


def test_hooks_run_what_is_in_the_virtual_environment() -> None:
    config = yaml.safe_load((TOP / ".pre-commit-config.yaml").read_text())
    for repository in config["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            assert hook["entry"].startswith(".venv/bin/")
