"""The memory of what a process said last: the newest events, whole, wherever it was killed."""

import os
from collections.abc import Iterator

import pytest

from kodosumi_prefect.adapter.last_words import ENTRY_MOST, LastWords
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.process.memory import SIZE, in_memory

FID = "00000000-0000-4000-8000-000000000001"


def said(number: int, size: int = 10) -> Event:
    return Event(float(number), Kind.STDOUT, f"{number} ".ljust(size, "x"), 1)


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = in_memory()
    yield descriptor
    os.close(descriptor)


def test_another_process_reads_all_of_it_once(memory: int) -> None:
    words = LastWords(memory)
    for number in range(3):
        assert words.add(FID, said(number))
    after = LastWords(memory)
    assert after.take() == [(FID, said(number)) for number in range(3)]
    assert after.entries() == []
    assert LastWords(memory).entries() == []


def test_the_oldest_give_way_and_the_newest_are_whole(memory: int) -> None:
    words, size = LastWords(memory), 9_973
    count = 3 * SIZE // size
    for number in range(count):
        assert words.add(FID, said(number, size))
    left = LastWords(memory).entries()
    assert [one.event for one in left] == [said(n, size) for n in range(count - len(left), count)]
    assert len(left) > SIZE // size - 10


def test_one_too_large_is_refused_and_leaves_the_others(memory: int) -> None:
    words = LastWords(memory)
    assert words.add(FID, said(1))
    assert not words.add(FID, said(2, ENTRY_MOST))
    assert [one.event for one in words.entries()] == [said(1)]


def test_a_kill_in_the_middle_of_an_entry_leaves_those_before(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    words = LastWords(memory)
    assert words.add(FID, said(1))
    write = words._write

    def half(position: int, data: bytes) -> None:
        write(position, data[: len(data) // 2])
        raise KilledError

    monkeypatch.setattr(words, "_write", half)
    with pytest.raises(KilledError):
        words.add(FID, said(2))
    assert [one.event for one in LastWords(memory).entries()] == [said(1)]
