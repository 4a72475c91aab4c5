"""Contracts of import-linter name each module that they are about."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parent.parent
CONTRACTS: dict[str, dict[str, Any]] = {
    contract["name"]: contract
    for contract in tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
}
JSON = "the panel's JSON does not import its pages; both do what actions do"
PAGES = "the panel's pages do not import its JSON"
ACTIONS = "what is done in the panel knows no HTTP"


# A wildcard of import-linter stands for a whole part of a name, so it cannot say ``*_api``.
@pytest.mark.parametrize(
    ("contract", "key", "ending"),
    [
        (JSON, "source_modules", "api"),
        (JSON, "forbidden_modules", "pages"),
        (PAGES, "source_modules", "pages"),
        (PAGES, "forbidden_modules", "api"),
        (ACTIONS, "source_modules", "actions"),
        (ACTIONS, "forbidden_modules", "api"),
        (ACTIONS, "forbidden_modules", "pages"),
    ],
)
def test_every_module_of_a_sort_is_in_its_contract(contract: str, key: str, ending: str) -> None:
    files = [
        path
        for path in (TOP / "kodosumi_prefect" / "panel").rglob("*.py")
        if path.stem == ending or path.stem.endswith(f"_{ending}")
    ]
    modules = {".".join(path.relative_to(TOP).with_suffix("").parts) for path in files}
    patterns = CONTRACTS[contract][key]
    forgotten = {one for one in modules if not any(fnmatch(one, each) for each in patterns)}
    assert modules and not forgotten
