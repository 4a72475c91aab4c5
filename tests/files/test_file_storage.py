"""Storages: content is there whole or not at all, in a folder as in a bucket."""

import asyncio
import errno
import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from kodosumi_prefect.files.content_keys import object_key
from kodosumi_prefect.files.storage import (
    Storage,
    StorageError,
    storage_of,
)
from kodosumi_prefect.files.write_ahead import write_stream
from kodosumi_prefect.settings import Settings
from tests.files.s3_server import S3Server

MEBIBYTE = 1024**2


def key() -> str:
    return object_key(str(uuid4()))


@pytest.mark.parametrize("size", [0, 1, 9 * MEBIBYTE + 7])
def test_what_is_written_is_read_whole_and_in_parts(storage: Storage, size: int) -> None:
    content, where = os.urandom(size), key()
    pieces = [content[at : at + MEBIBYTE] for at in range(0, size, MEBIBYTE)]
    written = storage.write(where, iter(pieces))
    assert written == (size, hashlib.sha256(content).hexdigest())
    assert b"".join(storage.read(where)) == content
    assert storage.size(where) == size
    if size > 100:
        assert b"".join(storage.read(where, 17, 99)) == content[17:99]
        assert b"".join(storage.read(where, size - 5)) == content[-5:]
    assert b"".join(storage.read(where, 3, 3)) == b""

    async def streamed() -> bytes:
        return b"".join([piece async for piece in storage.stream(where)])

    assert asyncio.run(streamed()) == content


def test_what_breaks_off_leaves_nothing(storage: Storage) -> None:
    where = key()

    def broken() -> Iterator[bytes]:
        yield os.urandom(20 * MEBIBYTE)
        raise KeyError("the sender is gone")

    with pytest.raises(KeyError, match="the sender is gone"):
        storage.write(where, broken())
    assert storage.size(where) is None
    assert not list(storage.contents("objects"))
    with pytest.raises(FileNotFoundError):
        list(storage.read(where))


def test_content_is_copied_listed_and_deleted(storage: Storage) -> None:
    one, two = key(), key()
    storage.write_whole(one, b"seven")
    storage.copy(one, two)
    assert b"".join(storage.read(two)) == b"seven"
    assert sorted(each.key for each in storage.contents("objects")) == sorted([one, two])
    assert all(each.size == 5 for each in storage.contents("objects"))
    storage.delete([one, key()])
    assert [each.key for each in storage.contents("objects")] == [two]
    with pytest.raises(FileNotFoundError):
        storage.copy(one, key())
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert storage.delete_below("objects", hour_ago) == 0
    assert storage.delete_below("objects") == 1
    assert not list(storage.contents("objects"))


def test_what_is_copied_again_leaves_nothing_beside_it(storage: Storage, tmp_path: Path) -> None:
    one, two = key(), key()
    storage.write_whole(one, b"seven")
    old = datetime.now(UTC) - timedelta(days=2)
    if storage.is_local:
        os.utime(tmp_path / "files" / one, (old.timestamp(), old.timestamp()))
    for _ in range(2):
        storage.copy(one, two)
    [copied] = [each for each in storage.contents("objects") if each.key == two]
    assert copied.modified > old + timedelta(days=1)  # what is old may be an orphan
    assert not [path for path in tmp_path.rglob("*") if "#" in path.name]
    assert not list(tmp_path.glob("files/partial/*"))


def test_a_storage_has_one_identity_whoever_asks_first(storage: Storage) -> None:
    assert (storage.known_identity() is None) is storage.is_local
    with ThreadPoolExecutor(8) as threads:
        named = set(threads.map(lambda _: storage.identity(), range(8)))
    assert named == {storage.known_identity()}


def test_an_asynchronous_stream_is_written_in_bounded_memory(storage: Storage) -> None:
    piece = os.urandom(MEBIBYTE)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield piece

    where = key()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    written = asyncio.run(write_stream(storage, where, pieces()))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert written.size == storage.size(where) == 200 * MEBIBYTE
    assert written.sha256 == hashlib.sha256(piece * 200).hexdigest()
    assert grown < 64 * 1024  # KiB


def test_a_stream_that_breaks_off_raises_what_it_raised(storage: Storage) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"
        raise ConnectionResetError("gone")

    where = key()
    with pytest.raises(ConnectionResetError, match="gone"):
        asyncio.run(write_stream(storage, where, pieces()))
    assert storage.size(where) is None


def test_a_signed_url_reads_and_writes_one_key_of_a_bucket(s3_server: S3Server) -> None:
    storage, where = s3_server.storage(uuid4().hex), key()
    put = storage.signed_url("PUT", where, 60)
    assert put is not None
    assert httpx.put(put, content=b"by anybody").is_success
    got = storage.signed_url("GET", where, 60)
    assert got is not None
    assert httpx.get(got).content == b"by anybody"
    assert not httpx.put(got, content=b"more").is_success


def test_a_folder_signs_nothing(tmp_path: Path) -> None:
    assert Storage(tmp_path.as_uri()).signed_url("GET", key(), 60) is None


def test_a_wrong_key_is_told_without_the_key(s3_server: S3Server) -> None:
    storage = s3_server.storage("x", secret_access_key="a-wrong-secret")
    with pytest.raises(StorageError, match=r"storage s3://files/x: ") as told:
        storage.write_whole(key(), b"x")
    assert "\n" not in str(told.value)
    assert "a-wrong-secret" not in str(told.value)


@pytest.mark.parametrize("url", ["relative", "ftp://host/x", "file://host/x", "file:relative", ""])
def test_a_url_that_names_no_storage_is_refused(url: str) -> None:
    with pytest.raises(StorageError, match="file_storage_url"):
        Storage(url)


def test_a_full_or_forbidden_folder_is_told_in_one_line(tmp_path: Path) -> None:
    storage = Storage((tmp_path / "files").as_uri())
    (tmp_path / "files" / "objects").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match=r"storage file:///.*/files: ") as told:
        storage.write(key(), iter([b"x"]))
    assert "\n" not in str(told.value) and "Debug source" not in str(told.value)


def test_what_the_disk_does_not_confirm_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage((tmp_path / "files").as_uri())
    kept, new = key(), key()
    storage.write(kept, iter([b"as it was"]))

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr("kodosumi_prefect.files.folder.os.fsync", fails)
    for one in (kept, new):
        with pytest.raises(StorageError, match="the disk is broken"):
            storage.write(one, iter([b"another"]))
    assert storage.size(new) is None
    assert b"".join(storage.read(kept)) == b"as it was"
    assert list((tmp_path / "files" / "partial").iterdir()) == []


def test_the_setting_is_the_data_dir_or_a_url_with_secret_options(
    tmp_path: Path, s3_server: S3Server
) -> None:
    own = storage_of(Settings(data_dir=tmp_path))
    own.write_whole("objects/a/b", b"x")
    assert (tmp_path / "files" / "objects" / "a" / "b").read_bytes() == b"x"
    options = {name: SecretStr(value) for name, value in s3_server.options.items()}
    settings = Settings(file_storage_url=f"s3://files/{uuid4().hex}", file_storage_options=options)
    bucket = storage_of(settings)
    bucket.write_whole("objects/a/b", b"y")
    assert bucket.size("objects/a/b") == 1
    assert storage_of(settings) is bucket
    assert "test-secret-key" not in repr(settings)


WRITER = """
import sys, time
from kodosumi_prefect.files.storage import Storage
url, key, *options = sys.argv[1:]

def pieces():
    yield bytes(20 * 1024**2)
    print("in the middle", flush=True)
    time.sleep(600)

Storage(url, dict(zip(options[::2], options[1::2]))).write(key, pieces())
"""


def test_a_killed_writer_leaves_nothing_that_is_listed_and_nothing_for_long(
    storage: Storage, s3_server: S3Server
) -> None:
    where = key()
    options = (
        () if storage.is_local else [each for one in s3_server.options.items() for each in one]
    )
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, storage.url, where, *options], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"in the middle\n"
        writer.kill()
    assert storage.size(where) is None
    assert not list(storage.contents("objects"))
    now = datetime.now(UTC)
    assert storage.broken_off(now - timedelta(days=1)) == []
    left = storage.broken_off(now + timedelta(minutes=1))
    assert [each.size for each in left] == ([20 * MEBIBYTE] if storage.is_local else [])
    storage.delete(each.key for each in left)
    assert storage.broken_off(now + timedelta(minutes=1)) == []
    storage.write_whole(where, b"once more")
    assert b"".join(storage.read(where)) == b"once more"
