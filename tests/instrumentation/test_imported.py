"""Doing something when a module is imported."""

import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kodosumi_prefect.instrumentation.imported import when_imported


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"library_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_it_is_called_once_the_module_is_there(library: str) -> None:
    seen: list[int] = []
    when_imported(library, lambda: seen.append(sys.modules[library].value))
    assert seen == [] and library not in sys.modules
    module = importlib.import_module(library)
    assert seen == [1]
    when_imported(library, lambda: seen.append(2))
    assert seen == [1, 2]
    assert module.__spec__ is not None and "exec_module" not in vars(module.__spec__.loader)
    importlib.reload(module)
    assert seen == [1, 2]


def test_what_fails_does_not_reach_who_imports(
    library: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def fails() -> None:
        raise RuntimeError("no")

    when_imported(library, fails)
    when_imported(library, lambda: seen.append(1))
    with caplog.at_level(logging.ERROR):
        importlib.import_module(library)
    assert seen == [1]
    assert library in caplog.text


def test_a_module_that_is_not_there_is_not_found_as_ever() -> None:
    when_imported("no_such_library_at_all", lambda: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_library_at_all")
