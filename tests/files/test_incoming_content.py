"""Content that arrives in pieces: under its key whole, or nowhere."""

import asyncio
import hashlib
import os
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from kodosumi_prefect.files.content_keys import upload_key
from kodosumi_prefect.files.folder import PARTIAL
from kodosumi_prefect.files.incoming import IncomingContent
from kodosumi_prefect.files.read_ahead import read_ahead
from kodosumi_prefect.files.storage import Storage, StorageError
from tests.waiting import wait_for

MEBIBYTE = 1024**2
KEY = upload_key("batch", "one")


@pytest.mark.parametrize("settled", [True, False])
def test_pieces_are_kept_as_one_content(storage: Storage, settled: bool) -> None:
    pieces = [os.urandom(size) for size in (7, MEBIBYTE, 0, 100)]
    whole = b"".join(pieces)
    with closing(IncomingContent(storage)) as content:
        for piece in pieces[:2]:
            content.add(piece)
        assert content.waiting == MEBIBYTE + 7
        content.flush()
        for piece in pieces[2:]:
            content.add(piece)
        assert (content.waiting, content.size) == (100, len(whole))
        written = content.keep(KEY, settled=settled)
    assert written == (len(whole), hashlib.sha256(whole).hexdigest())
    assert b"".join(storage.read(KEY)) == whole


def test_what_nobody_keeps_is_gone(storage: Storage) -> None:
    with closing(IncomingContent(storage)) as content:
        content.add(b"some of it")
        assert content.written() == (10, hashlib.sha256(b"some of it").hexdigest())
        content.add(b", and more")
    assert list(storage.contents("")) == []
    assert storage.folder is None or list((storage.folder / PARTIAL).iterdir()) == []


def test_in_a_folder_it_is_written_where_it_stays(tmp_path: Path) -> None:
    storage = Storage((tmp_path / "files").as_uri())
    with closing(IncomingContent(storage)) as content:
        content.add(b"x")
        content.flush()
        [partial] = (tmp_path / "files" / PARTIAL).iterdir()
        inode = partial.stat().st_ino
        content.keep(KEY)
    assert (tmp_path / "files" / KEY).stat().st_ino == inode


def test_a_folder_that_takes_nothing_is_named(tmp_path: Path) -> None:
    storage = Storage((tmp_path / "files").as_uri())
    (tmp_path / "files" / PARTIAL).write_text("in the way")
    with closing(IncomingContent(storage)) as content:
        content.add(b"x")
        with pytest.raises(StorageError, match=r"storage file:///"):
            content.flush()


async def test_what_is_read_ahead_comes_in_order_and_is_closed() -> None:
    closed = []

    def pieces() -> Generator[bytes, None, None]:
        try:
            yield from (b"1", b"2", b"3")
        finally:
            closed.append(True)

    assert [piece async for piece in read_ahead(pieces())] == [b"1", b"2", b"3"]
    reading = read_ahead(pieces())
    assert await anext(reading) == b"1"
    await reading.aclose()
    await asyncio.to_thread(wait_for, lambda: len(closed) == 2, 5, "the end of reading")


async def test_an_error_of_reading_comes_after_what_was_read() -> None:
    def pieces() -> Generator[bytes, None, None]:
        yield b"1"
        raise StorageError("away")

    reading = read_ahead(pieces())
    assert await anext(reading) == b"1"
    with pytest.raises(StorageError, match="away"):
        await anext(reading)
