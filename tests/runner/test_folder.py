"""The folders that runs work in, also those of processes that were killed."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kodosumi_prefect.process import folder
from kodosumi_prefect.process.folder import remove_left, working_folder

WORKS = """
import sys, tempfile
from kodosumi_prefect.process.folder import working_folder
tempfile.tempdir = sys.argv[1]
with working_folder() as found:
    print(found, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_empty_and_goes_with_its_run(temporary: Path) -> None:
    with working_folder() as found:
        assert list(found.iterdir()) == []
        (found / "written.txt").write_text("by the flow")
    assert list(temporary.iterdir()) == []


def test_folders_of_killed_processes_are_removed_and_others_stay(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, living = (
        subprocess.Popen(
            [sys.executable, "-c", WORKS, str(temporary)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    )
    try:
        folders = []
        for process in (killed, living):
            assert process.stdout is not None
            folders.append(Path(process.stdout.readline().strip()))
        (folders[0] / "left.txt").write_text("half")
        killed.kill()
        killed.wait()
        (temporary / "something-else").mkdir()
        remove_left()
        assert folders[0].exists(), "a new folder may be one that is not locked yet"
        monkeypatch.setattr(folder, "MADE", 0.0)
        remove_left()
        assert sorted(temporary.iterdir()) == sorted([folders[1], temporary / "something-else"])
    finally:
        for process in (killed, living):
            process.kill()
            process.communicate()
    with working_folder():
        assert not folders[1].exists()
