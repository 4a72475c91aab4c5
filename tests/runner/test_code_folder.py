"""What of a flow's folder its Ray tasks get."""

from pathlib import Path

import pytest

from kodosumi_prefect.runner import code_folder
from kodosumi_prefect.runner.code_folder import TooLargeError, copied


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "flow.py": "import helper",
        "parts/helper.py": "",
        "prompts/first.txt": "be kind",
        ".git/config": "",
        ".venv/lib/module.py": "",
        "parts/__pycache__/helper.pyc": "",
        ".gitignore": "parts/",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def files_of(folder: Path | None) -> set[str]:
    assert folder is not None
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_small_project_is_copied_whole_without_what_is_not_its_own(folder: Path) -> None:
    with copied(folder) as code:
        assert files_of(code) == {"flow.py", "parts/helper.py", "prompts/first.txt"}
        assert code is not None and (code / "flow.py").read_text() == "import helper"
    assert not code.exists()


@pytest.mark.parametrize("bound", ["MOST_BYTES", "MOST_FILES"])
def test_of_a_large_project_only_python_files_are_copied(
    folder: Path, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "prompts" / "data.bin").write_bytes(bytes(5_000))
    monkeypatch.setattr(code_folder, bound, {"MOST_BYTES": 4_000, "MOST_FILES": 2}[bound])
    with copied(folder) as code:
        assert files_of(code) == {"flow.py", "parts/helper.py"}


def test_a_project_with_too_much_code_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_folder, "MOST_FILES", 1)
    with pytest.raises(TooLargeError, match="more than 1 Python files"), copied(folder):
        pass


def test_a_folder_without_code_and_an_endless_one_are_left_alone(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with copied(folder / "prompts") as code:
        assert code is None
    monkeypatch.setattr(code_folder, "LOOKED_AT", 2)
    with pytest.raises(TooLargeError, match="more than 2 files"), copied(folder):
        pass
