"""Storages that are full, away, forbidden or silent in the middle of something."""

import asyncio
import hashlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from kodosumi_prefect.events import Kind
from kodosumi_prefect.files import storage as storage_module
from kodosumi_prefect.files.content_keys import object_key
from kodosumi_prefect.files.names import Direction
from kodosumi_prefect.files.record import StoredFile, payload_of
from kodosumi_prefect.files.storage import Storage, StorageError, storage_of
from kodosumi_prefect.files.tokens import token_for
from kodosumi_prefect.run_files.panel_place import PanelPlace
from kodosumi_prefect.run_files.places import FilesAwayError
from kodosumi_prefect.settings import Settings
from tests.files.faulty_bucket import BROKEN_OFF, SILENT, Fault, FaultyBucket, faulty, of
from tests.files.s3_server import S3Server
from tests.files.test_files_in_a_bucket import in_bucket
from tests.panel.panel_runs import Run, Stand, serving
from tests.panel.test_panel_files import Files, uploads

MIB = 1024**2
CONTENT = os.urandom(20 * MIB)
PIECES = [CONTENT[at : at + MIB] for at in range(0, len(CONTENT), MIB)]
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyBucket]:
    """A bucket that can be made to fail; those who use it give up soon."""
    monkeypatch.setattr(storage_module, "RETRY", timedelta(seconds=0.5))
    monkeypatch.setattr(storage_module, "ANSWER", "1s")
    storage_module._storage.cache_clear()
    with faulty(s3_server) as made:
        yield made
    storage_module._storage.cache_clear()


@pytest.fixture
def stand(settings: Settings, bucket: FaultyBucket) -> Iterator[Stand]:
    with serving(in_bucket(settings, bucket.options)) as made:
        yield made


@pytest.fixture
def run(stand: Stand) -> Run:
    return stand.run().begin()


@pytest.fixture
def sender(stand: Stand) -> Files:
    return Files(stand.client)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As if a disk were full: no file of this process gets larger inside the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


WRONG: dict[str, tuple[Callable[[], Fault], str]] = {
    "forbidden in the middle": (lambda: of("PUT", "partNumber=2", 403), "403"),
    "full in the middle": (lambda: of("PUT", "partNumber=2", 507), "507"),
    "silent in the middle": (lambda: of("PUT", "partNumber=2", SILENT), "did not answer in time"),
    "away at the end": (lambda: of("POST", "uploadId=", 503), "503"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_bucket_that_fails_has_nothing_of_it(bucket: FaultyBucket, wrong: str) -> None:
    fault, said = WRONG[wrong]
    storage, key = bucket.storage(uuid4().hex), object_key(str(uuid4()))
    with bucket.fault(fault()):
        with pytest.raises(StorageError, match=rf"^storage s3://files/.*{said}") as told:
            storage.write(key, iter(PIECES))
        assert "\n" not in str(told.value) and "test-secret-key" not in str(told.value)
        assert storage.size(key) is None
        assert not list(storage.contents("objects"))
    begun = [q for method, q in bucket.requests if method == "POST" and q.endswith("uploads=")]
    ended = [q for method, q in bucket.requests if method == "DELETE" and "uploadId=" in q]
    assert len(begun) == len(ended) == 1  # no parts are left either
    assert storage.write(key, iter(PIECES)) == (len(CONTENT), SHA256)
    assert b"".join(storage.read(key)) == CONTENT


def test_what_fails_for_a_moment_is_tried_again(bucket: FaultyBucket) -> None:
    storage, key = bucket.storage(uuid4().hex), object_key(str(uuid4()))
    with bucket.fault(of("PUT", "partNumber=2", 503, times=1)):
        assert storage.write(key, iter(PIECES)).sha256 == SHA256
    with bucket.fault(of("GET", key, BROKEN_OFF, times=1)):
        assert b"".join(storage.read(key)) == CONTENT


@pytest.mark.parametrize("status", [403, 503, SILENT, BROKEN_OFF])
def test_a_bucket_that_cannot_be_read_is_an_error(bucket: FaultyBucket, status: int) -> None:
    storage, key = bucket.storage(uuid4().hex), object_key(str(uuid4()))
    storage.write(key, iter(PIECES))
    with bucket.fault(of("GET", key, status)):
        with pytest.raises(StorageError, match="storage s3://files/"):
            list(storage.read(key))
        with pytest.raises(StorageError, match="storage s3://files/"):
            asyncio.run(read_slowly(storage, key, 0))


async def read_slowly(storage: Storage, key: str, pause: float, start: int = 0) -> bytes:
    pieces = []
    async for piece in storage.stream(key, start, len(CONTENT) - 5):
        assert piece
        pieces.append(piece)
        await asyncio.sleep(pause)
    return b"".join(pieces)


def test_who_reads_slowly_is_read_all_of_it(bucket: FaultyBucket) -> None:
    """Longer than one answer of a bucket may take."""
    storage, key = bucket.storage(uuid4().hex), object_key(str(uuid4()))
    storage.write(key, iter(PIECES))
    assert asyncio.run(read_slowly(storage, key, 0.15, start=7)) == CONTENT[7:-5]
    slow = []
    for piece in storage.read(key):
        slow.append(piece)
        time.sleep(0.15)
    assert b"".join(slow) == CONTENT
    asked = [q for method, q in bucket.requests if method == "GET" and key in q]
    assert len(asked) > 2


def test_a_full_folder_has_nothing_of_it(tmp_path: Path) -> None:
    storage, key = Storage(tmp_path.as_uri()), object_key(str(uuid4()))
    with largest_file(3 * MIB):
        for write in (
            lambda: storage.write(key, iter(PIECES)),
            lambda: storage.write_whole(key, CONTENT),
        ):
            with pytest.raises(StorageError, match=r"storage file:///.*too large"):
                write()
            assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert storage.write(key, iter(PIECES)).sha256 == SHA256


@pytest.mark.parametrize("status", [507, SILENT])
def test_chunks_go_on_once_the_bucket_is_well_again(
    stand: Stand, sender: Files, run: Run, bucket: FaultyBucket, status: int
) -> None:
    parts = [b"a" * MIB, b"b" * MIB, b"c" * (2 * MIB)]
    batch = sender.batch()
    upload = sender.begin("a.bin", 3, batch_id=batch)
    assert sender.chunk(upload, 0, parts[0]).status_code == 201
    with bucket.fault(of("PUT", status=status)):
        for number in (1, 2):
            refused = sender.chunk(upload, number, parts[number])
            assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
            assert "storage s3://files/" in refused.json()["detail"]
    assert sender.client.get(f"/files/upload/{upload}").json()["chunks"] == [0]
    for number in (1, 2):
        assert sender.chunk(upload, number, parts[number]).status_code == 201
    items = {upload: {"filename": "a.bin", "totalChunks": 3}}
    with bucket.fault(of("PUT", "objects/", 503)):
        assert sender.complete(run.fid, batch, items).status_code == 503
    assert sender.names(run.fid) == [] and uploads(stand, run.fid) == []
    assert sender.complete(run.fid, batch, items).status_code == 201
    assert sender.client.get(f"/files/{run.fid}/in/a.bin").content == b"".join(parts)
    assert len(uploads(stand, run.fid)) == 1
    left = [each.key for each in storage_of(stand.settings).contents("")]
    assert [key for key in left if not key.startswith("objects/")] == []


def test_a_run_elsewhere_is_told_what_the_bucket_says(
    stand: Stand, run: Run, bucket: FaultyBucket
) -> None:
    place = PanelPlace(run.fid, stand.url, token_for(run.fid, stand.settings))
    with (
        bucket.fault(of("PUT", "partNumber=2", 507)),
        pytest.raises(FilesAwayError, match=r"refuses it: storage s3://files/.*507"),
    ):
        place.write(iter(PIECES))
    content = place.write(iter(PIECES))
    assert content.sha256 == SHA256
    run.put(run.event(Kind.UPLOAD, payload_of([StoredFile("out/a", *content, "text/plain")])))
    [file] = place.listed(Direction.OUT)
    with bucket.fault(of("GET", content.key, BROKEN_OFF)), pytest.raises(FilesAwayError):
        list(place.read(file))
    assert b"".join(place.read(file)) == CONTENT
    place.close()


def test_a_download_that_breaks_off_is_never_taken_for_whole(
    stand: Stand, sender: Files, run: Run, bucket: FaultyBucket, caplog: pytest.LogCaptureFixture
) -> None:
    sender.put(run.fid, "out/a", CONTENT[: 8 * MIB])
    address = f"/files/{run.fid}/out/a"
    with bucket.fault(of("GET", "objects/", BROKEN_OFF)):
        with pytest.raises(httpx.RemoteProtocolError):
            sender.client.get(address)
        with bucket.fault(of("GET", "objects/", 503)):
            assert sender.client.get(address).status_code == 503
    assert sender.client.get(address).content == CONTENT[: 8 * MIB]
    [told] = [record for record in caplog.records if "broke off" in record.getMessage()]
    assert "storage s3://files/" in told.getMessage() and told.exc_info is None


def test_a_full_disk_of_the_panel_is_told_and_costs_nothing(
    settings: Settings,
) -> None:
    with serving(settings) as stand:
        sender, run = Files(stand.client), stand.run().begin()
        batch = sender.batch()
        item = sender.send(batch, "joined", *PIECES[:4])
        upload = sender.begin("large", 2, batch_id=batch)
        place = PanelPlace(run.fid, stand.url, token_for(run.fid, stand.settings))
        with largest_file(2 * MIB):
            refused = [
                sender.complete(run.fid, batch, dict([item])),
                sender.chunk(upload, 0, CONTENT[: 5 * MIB]),
            ]
            with pytest.raises(FilesAwayError, match="too large"):
                place.write(iter(PIECES))
        place.close()
        for answer in refused:
            assert answer.status_code == 503, answer.text
            assert "too large" in answer.json()["detail"] and "Retry-After" in answer.headers
        assert sender.names(run.fid) == []
        assert sender.client.get(f"/files/upload/{upload}").json()["chunks"] == []
        assert sender.complete(run.fid, batch, dict([item])).status_code == 201
        assert sender.client.get(f"/files/{run.fid}/in/joined").content == b"".join(PIECES[:4])
        folder = settings.data_dir / "files"
        assert not list((folder / "partial").iterdir())
