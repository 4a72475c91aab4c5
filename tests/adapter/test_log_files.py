"""Which bytes of a file others wrote, and which this package."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kodosumi_prefect.adapter import log_files
from kodosumi_prefect.adapter.log_files import Ours, _File
from kodosumi_prefect.events import Kind


class Written:
    """A file that both write to."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.ours = Ours(log_files._memory())
        self.file = _File(Kind.STDOUT, self.descriptor)

    def by_us(self, text: str) -> None:
        self.ours.write(0, self.descriptor, text.encode())

    def by_others(self, data: bytes) -> None:
        os.write(self.descriptor, data)

    def read(self) -> list[str]:
        with self.ours.locked():
            texts, _ = self.file.read(self.ours.take()[0])
        return texts


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    both = Written(tmp_path / "worker.out")
    yield both
    os.close(both.descriptor)


def test_what_others_wrote_is_what_is_left_without_ours(written: Written) -> None:
    written.by_others(b"from C\n")
    written.by_us("from C\n")
    written.by_others(b"half a")
    written.by_us("ours in between\n")
    written.by_others(b" line\n")
    assert written.read() == ["from C\nhalf a line"]
    written.by_us("ours alone\n")
    assert written.read() == []


def test_a_character_and_a_line_may_come_in_pieces(written: Written) -> None:
    snow = "\N{SNOWMAN}".encode()
    written.by_others(b"a" + snow[:1])
    written.by_us("ours")
    assert written.read() == []
    written.by_others(snow[1:] + b"\nno end")
    assert written.read() == ["a\N{SNOWMAN}"]
    assert written.file.finish() == ["no end"]


def test_marks_of_ray_are_left_out(written: Written) -> None:
    written.by_others(b":job_id:01000000\n:task_name:work\nof C\n")
    assert written.read() == ["of C"]


def test_more_ranges_than_there_is_room_for_are_recorded_twice_and_never_lost(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "OURS_SIZE", 100)
    for number in range(10):
        written.by_us(f"ours {number}\n")
        written.by_others(f"theirs {number}\n".encode())
    (text,) = written.read()
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("theirs")] == [
        f"theirs {n}" for n in range(10)
    ]
    assert "ours 0" not in lines


def test_a_large_file_is_read_in_parts(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "CHUNK", 10)
    written.by_others(b"0123456\n")
    written.by_us("ours, which is longer than a part\n")
    written.by_others(b"789\n")
    texts = [text for _ in range(10) for text in written.read()]
    assert texts == ["0123456", "789"]


def test_a_file_that_was_cut_off_is_read_on(written: Written) -> None:
    written.by_others(b"before\n")
    assert written.read() == ["before"]
    os.ftruncate(written.descriptor, 0)
    assert written.read() == []
    written.by_us("ours\n")
    written.by_others(b"after\n")
    assert written.read() == ["after"]
