"""Spill files: first in, first out, owned by the living and replayed for the dead."""

import os
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.spooler.spill import Spill
from tests.spooler.recording import batch, fresh, said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / f"{fresh()}{spill.SUFFIX}"


def delivery(text: str) -> list[Batch]:
    return [batch(fresh(), said(text))]


def test_what_goes_in_first_comes_out_first(path: Path) -> None:
    file = Spill(path)
    written = [delivery(str(i)) for i in range(5)]
    for one in written[:3]:
        file.append(one)
    assert (len(file), file.oldest(), file.oldest()) == (3, written[:3], written[:3])
    file.drop(1)
    for one in written[3:]:
        file.append(one)
    assert file.oldest() == written[1:3]
    file.drop(2)
    assert file.oldest() == written[3:]
    file.drop(2)
    assert (len(file), file.size) == (0, 0)
    assert not path.exists()
    file.append(written[0])
    assert file.oldest() == [written[0]]


def test_many_small_deliveries_go_together(path: Path) -> None:
    file, written = Spill(path), [delivery(str(i)) for i in range(1000)]
    for one in written:
        file.append(one)
    found, sizes = [], []
    while file:
        oldest = file.oldest()
        found += oldest
        sizes.append(len(oldest))
        file.drop(len(oldest))
    assert found == written
    assert set(sizes[:-1]) == {spill.TOGETHER}
    for one in written:
        file.append(one)
    file.abandon()
    portions: list[list[Batch]] = []
    assert list(spill.replay(path, portions.append))[-1] == 1000
    assert [len(portion) for portion in portions] == sizes
    assert [batch for portion in portions for batch in portion] == [one for [one] in written]


def test_a_delivery_of_many_megabytes_goes_through(path: Path) -> None:
    file, large = Spill(path), delivery("ü" * 5_000_000)
    file.append(delivery("before"))
    file.append(large)
    file.append(delivery("small"))
    file.drop(len(file.oldest()))
    assert file.oldest() == [large]
    file.drop(1)
    assert file.oldest()[0][0].events[0].payload == "small"


def test_a_file_is_private_to_its_user(path: Path) -> None:
    Spill(path).append(delivery("1"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_files_of_the_living_are_no_orphans(path: Path) -> None:
    file = Spill(path)
    file.append(delivery("1"))
    assert list(spill.orphans(path.parent)) == []
    assert list(spill.replay(path, lambda batches: pytest.fail("it was delivered"))) == []
    file.abandon()
    assert list(spill.orphans(path.parent)) == [path]


def test_orphans_come_oldest_first(path: Path) -> None:
    for age, name in enumerate(("c", "a", "b")):
        one = path.with_name(f"{name}{spill.SUFFIX}")
        file = Spill(one)
        file.append(delivery(name))
        file.abandon()
        os.utime(one, (1000.0 - age, 1000.0 - age))
    assert [found.stem for found in spill.orphans(path.parent)] == ["b", "a", "c"]


def test_no_folder_has_no_orphans(tmp_path: Path) -> None:
    assert list(spill.orphans(tmp_path / "nowhere")) == []


def test_an_empty_file_may_be_one_that_is_just_being_made(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert list(spill.orphans(path.parent)) == []
    old = time.time() - spill.NEWBORN - 1
    os.utime(path, (old, old))
    assert list(spill.orphans(path.parent)) == [path]


def left_behind(path: Path, *texts: str) -> bytes:
    file = Spill(path)
    for text in texts:
        file.append(delivery(text))
    file.abandon()
    return path.read_bytes()


def said_in(batches: list[Batch]) -> list[str]:
    return [event.payload for batch in batches for event in batch.events]


def replayed(path: Path) -> list[str]:
    texts: list[str] = []
    list(spill.replay(path, lambda batches: texts.extend(said_in(batches))))
    return texts


def test_a_replayed_file_is_removed(path: Path) -> None:
    left_behind(path, "1", "2")
    assert replayed(path) == ["1", "2"]
    assert not path.exists()


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_last_line_that_a_kill_cut_off_is_dropped(path: Path, kept: float) -> None:
    whole = left_behind(path, "1", "2", "3")
    start = whole[:-1].rindex(b"\n") + 1
    path.write_bytes(whole[: start + int((len(whole) - start) * kept)])
    assert replayed(path) == ["1", "2"]
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "garbage", [b"\x00\x00\x00", b'{"half": ', b"[[1, 2]]", b'["abcdef"]', b"5", b"\xff"]
)
def test_a_damaged_line_costs_itself_only_and_the_file_is_kept(path: Path, garbage: bytes) -> None:
    lines = left_behind(path, "1", "2", "3").splitlines(keepends=True)
    lines[1] = garbage + b"\n"
    path.write_bytes(b"".join(lines))
    assert replayed(path) == ["1", "3"]
    assert not path.exists()
    assert path.with_suffix(spill.DAMAGED).read_bytes() == b"".join(lines)
    assert list(spill.orphans(path.parent)) == []


def test_a_file_stays_as_it_was_when_the_database_goes_away_meanwhile(path: Path) -> None:
    whole = left_behind(path, "1", "2", "3")

    def deliver(batches: list[Batch]) -> None:
        if "2" in said_in(batches):
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        list(spill.replay(path, deliver))
    assert path.read_bytes() == whole
    assert replayed(path) == ["1", "2", "3"]


def test_a_file_is_replayed_by_one_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "TOGETHER", 1)
    left_behind(path, "1", "2")
    first = spill.replay(path, lambda _: None)
    assert next(first) == 1
    assert replayed(path) == []
    assert list(spill.orphans(path.parent)) == []
    assert list(first) == [2]


def test_folders_differ_by_database_and_schema_and_not_by_password(tmp_path: Path) -> None:
    def folder(url: str | None, **rest: str) -> Path:
        secret = SecretStr(url) if url else None
        return spill.folder(Settings(database_url=secret, data_dir=tmp_path, **rest))

    mine = folder("postgresql://app:old@db/app")
    assert mine == folder("postgresql://app:new@db/app")
    others = [
        folder("postgresql://app:old@db/other"),
        folder("postgresql://app:old@elsewhere/app"),
        folder("postgresql://app:old@db/app", database_schema="other"),
        folder(None),
    ]
    assert len({mine, *others}) == 5
