"""Runs whose code changes while they are suspended: they go on with it, or refuse, and say so."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import prefect
import pytest
from prefect import task

from kodosumi_prefect import flow, tracer
from kodosumi_prefect.adapter.hooks import attach
from kodosumi_prefect.settings import get_settings, use_settings
from kodosumi_prefect.suspension import code
from kodosumi_prefect.suspension.code import code_now
from kodosumi_prefect.suspension.keeping import Keeper, KeptAwayError
from kodosumi_prefect.suspension.plain_flows import keeping
from tests.suspension.conftest import Legs

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Legs]
SAID = "The code changed while the run was suspended"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the user's that was imported, beside which there is another one."""
    name = f"helper_{uuid4().hex}"
    file = tmp_path / f"{name}.py"
    file.write_text("PRICE = 1\n")
    os.utime(file, (1e9, 1e9))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module(name)
    yield file
    del sys.modules[name]


def asking(calls: list[str], kind: str = "ours") -> Any:
    @task
    def book() -> str:
        calls.append("booked")
        return "booking"

    def asks() -> str:
        booking = book()
        return f"{booking} {tracer.lock_sync('approve', suspend=True)}"

    if kind == "ours":
        return flow(retries=2)(asks)
    plain = prefect.flow(retries=2)(asks)
    attach(plain)
    return keeping(plain)


def warnings(run: Legs) -> list[str]:
    return [each.payload for each in run.recorded.events if SAID in each.payload]


@pytest.mark.parametrize("change", ["edited", "gone", "untouched"])
def test_a_run_goes_on_with_the_code_that_is_there_and_says_so(
    legs: Make, helper: Path, change: str
) -> None:
    calls: list[str] = []
    run = legs(asking(calls))
    assert run.leg()
    if change == "edited":
        helper.write_text("PRICE = 2\n")
    elif change == "gone":
        helper.unlink()
    else:
        helper.touch()
    run.answer("yes")
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "booking yes"}
    assert calls == ["booked"]
    if change == "untouched":
        assert warnings(run) == []
    else:
        [said] = warnings(run)
        assert f"({helper.stem})" in said


@pytest.mark.parametrize("kind", ["ours", "plain"])
def test_a_run_refuses_other_code_if_so_set_and_is_not_retried(
    legs: Make, helper: Path, kind: str
) -> None:
    calls: list[str] = []
    run = legs(asking(calls, kind))
    assert run.leg()
    helper.write_text("PRICE = 2\n")
    run.answer("yes")
    assert run.resume()
    with use_settings(get_settings().model_copy(update={"suspended_code": "refuse"})):
        assert not run.leg()
    state = run.run.state
    assert state is not None
    assert (state.type.value, run.run.run_count) == ("FAILED", 1)
    row = run.row
    assert row["status"] == "error"
    line = f"the code changed while the run was suspended ({helper.stem}), and suspended_code is"
    assert line in row["error"]
    assert line in str(state.message)
    assert calls == ["booked"]


@pytest.mark.parametrize("set_to", ["run", "refuse"])
def test_what_is_not_known_is_not_run_where_other_code_is_refused(
    legs: Make, helper: Path, monkeypatch: pytest.MonkeyPatch, set_to: str
) -> None:
    def away(*_: Any) -> Any:
        raise KeptAwayError("the database is away")

    run = legs(asking([]))
    assert run.leg()
    helper.write_text("PRICE = 2\n")
    run.answer("yes")
    assert run.resume()
    monkeypatch.setattr(Keeper, "code_before", away)
    with use_settings(get_settings().model_copy(update={"suspended_code": set_to})):
        assert not run.leg()
    state = run.run.state
    assert state is not None
    assert state.type.value == ("COMPLETED" if set_to == "run" else "FAILED")
    assert ("the database is away" in str(state.message)) == (set_to == "refuse")


def test_code_that_is_edited_while_it_runs_is_not_what_ran(helper: Path, legs: Make) -> None:
    found: list[str] = []

    @flow
    def looks() -> None:
        found.append(code_now()[helper.stem])
        helper.write_text("PRICE = 2\n")
        os.utime(helper, (4e9, 4e9))
        found.append(code_now()[helper.stem])

    assert not legs(looks).leg()
    assert found[0] != found[1] == "edited while it ran"


def test_installed_packages_are_not_looked_at() -> None:
    names = {name.partition(".")[0] for name in code_now()}
    assert names.isdisjoint({"prefect", "json", "pytest", "kodosumi_prefect"})
    assert "tests" in names


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("answer = tracer.lock_sync('approve', suspend=60)\n", True),
        ("options = {'suspend': True}\n", True),
        ("suspend_flow_run()\nsuspended = 1\n", False),
    ],
)
def test_whether_code_means_to_suspend_is_read_in_its_files(
    helper: Path, monkeypatch: pytest.MonkeyPatch, source: str, named: bool
) -> None:
    helper.write_text(source)
    monkeypatch.setattr(code, "_files", lambda: {"flows": helper})
    assert code.names_suspending() is named


def test_files_that_are_gone_may_mean_to(helper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "_files", lambda: {"flows": helper})
    helper.unlink()
    assert code.names_suspending()
