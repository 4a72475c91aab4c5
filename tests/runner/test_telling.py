"""What a supervisor reads of its process's output, and what it keeps until that is recorded."""

import os
import threading

import pytest

from kodosumi_prefect.process import telling as telling_module
from kodosumi_prefect.process.channel import Channel
from kodosumi_prefect.process.order import Drain, Written
from kodosumi_prefect.process.output import Output
from kodosumi_prefect.process.telling import Telling


def test_what_is_not_confirmed_is_left_when_a_process_is_gone() -> None:
    ours, theirs = Channel.pair()
    telling = Telling(ours)
    telling.written("stdout", b"before its order")
    telling.begin()
    telling.written("stderr", b"second")
    first, second = theirs.receive(), theirs.receive()
    assert [(one.kind, one.data) for one in (first, second)] == [
        ("stdout", b"before its order"),
        ("stderr", b"second"),
    ]
    telling.confirmed(1)
    theirs.close()
    telling.written("stdout", b"third")
    assert [one.data for one in telling.finish()] == [b"second", b"third"]


def test_what_a_busy_process_does_not_take_is_bounded_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling_module, "MOST", 10)
    ours, theirs = Channel.pair()
    telling = Telling(ours)
    for data in (b"12345", b"67890", b"too much", b"and more"):
        telling.written("stdout", data)
    telling.begin()
    for _ in range(2):
        theirs.receive()
    telling.confirmed(2)
    telling.written("stdout", b"again")
    gap, again = theirs.receive(), theirs.receive()
    assert b"[16 bytes are missing here" in gap.data
    assert again.data == b"again"
    telling.finish()


def test_an_answer_comes_behind_all_that_was_written_before_it() -> None:
    ours, theirs = Channel.pair()
    telling = Telling(ours)
    telling.begin()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    output = Output(nowhere, lambda data: telling.written("stdout", data))
    write = os.dup(output.inlet)
    output.begin()
    size = 10 << 20

    def flood() -> None:
        data = b"x" * size
        while data:
            data = data[os.write(write, data) :]
        output.drain(60)
        telling.drained(Drain(7))

    flooding = threading.Thread(target=flood)
    flooding.start()
    received = 0
    while isinstance(message := theirs.receive(), Written):
        received += len(message.data)
    assert (message, received) == (Drain(7), size)
    flooding.join()
    os.close(write)
    output.finish(10)
    os.close(nowhere)


def test_output_that_cannot_be_passed_on_is_heard_all_the_same() -> None:
    heard: list[bytes] = []
    read, write = os.pipe()
    os.close(read)
    output = Output(write, heard.append)
    end = os.dup(output.inlet)
    output.begin()
    os.write(end, b"nobody reads this")
    os.close(end)
    output.finish(10)
    os.close(write)
    assert heard == [b"nobody reads this"]
