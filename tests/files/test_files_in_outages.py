"""Files that a run leaves while Postgres or the storage is away, hangs or comes back."""

import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from kodosumi_prefect.events import Kind
from kodosumi_prefect.files import storage as storage_module
from kodosumi_prefect.files.storage import StorageError, storage_of
from kodosumi_prefect.files.upkeep import FileUpkeep
from kodosumi_prefect.run_files import reaching
from kodosumi_prefect.run_files.file_system import FileSystem
from kodosumi_prefect.run_files.places import FilesAwayError
from kodosumi_prefect.run_files.reaching import place_of
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.client import SpoolClient
from tests.files.faulty_bucket import faulty, of
from tests.files.run_storage import register
from tests.files.s3_server import S3Server
from tests.files.test_file_projection import files
from tests.files.test_files_in_a_bucket import in_bucket
from tests.spooler.recording import Line, fresh, line_to, said, stored
from tests.waiting import wait_for

MIB = 1024**2
CONTENT = os.urandom(20 * MIB)
PIECES = [CONTENT[at : at + MIB] for at in range(0, len(CONTENT), MIB)]


@pytest.fixture
def line(database: str) -> Iterator[Line]:
    """The way to Postgres, which can be cut."""
    with line_to(database) as made:
        yield made


class Process:
    """A process of a run that records and leaves files."""

    def __init__(self, settings: Settings) -> None:
        self.fid = fresh()
        self.settings = settings
        self.client = SpoolClient(settings)
        self.client.emit(self.fid, said("begun"))
        assert self.client.flush(10)

    def files(self) -> FileSystem:
        """As ``tracer.fs_sync()`` has it."""
        return FileSystem(
            place_of(self.fid, self.settings),
            lambda payload: self.client.emit(self.fid, said(payload, Kind.UPLOAD)),
            self.client.flush,
            self.settings,
        )

    def check(self, database: str, *names: str) -> None:
        """Just these are listed once all is delivered, and each is whole; nothing is left over."""
        wait_for(lambda: self.client.connected)
        assert self.client.flush(20)
        storage, listed = storage_of(self.settings), files(database, self.fid)
        assert sorted(listed) == sorted(names)
        for file in listed.values():
            content = b"".join(storage.read(file["key"]))
            assert hashlib.sha256(content).hexdigest() == hashlib.sha256(CONTENT).hexdigest()
        kept = {each.key for each in storage.contents("objects")}
        assert kept == {file["key"] for file in listed.values()}
        events = [e for e in stored(database, self.fid) if e["kind"] == Kind.UPLOAD]
        assert len(events) == len(names)
        with FileUpkeep(database, "kodosumi", storage) as upkeep:
            assert list(upkeep.discrepancies()) == []


@pytest.fixture
def process(database: str, line: Line, tmp_path: Path) -> Iterator[Process]:
    url = {"database_url": SecretStr(line.url), "flush_timeout": 0.5}
    settings = Settings(data_dir=tmp_path, **url)  # type: ignore[arg-type]
    register(settings, database)
    made = Process(settings)
    yield made
    made.client.close()


def test_files_are_left_while_postgres_is_away_and_listed_later(
    process: Process, line: Line, database: str
) -> None:
    """Whoever records stops nobody: a run that has a storage goes on leaving files in it."""

    def breaking() -> Iterator[bytes]:
        yield from PIECES[:5]
        line.cut()
        yield from PIECES[5:]

    with process.files() as fs:
        fs.put("in the middle.bin", breaking())
        fs.put("then.bin", CONTENT)
        with pytest.raises(FilesAwayError, match="Postgres does not list the files"):
            fs.ls("out")
    with process.files() as fs:
        assert fs.put("anew.bin", iter(PIECES)) == "out/anew.bin"
    line.restore()
    process.check(database, "out/in the middle.bin", "out/then.bin", "out/anew.bin")
    with process.files() as fs:
        assert len(fs.ls("out")) == 3


def test_a_process_that_never_saw_postgres_says_so(
    process: Process, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaching, "_reached", {})
    line.cut()
    with pytest.raises(FilesAwayError, match="Postgres does not list the files"):
        process.files()
    line.restore()
    process.files().close()


def test_what_breaks_off_as_the_bucket_does_is_not_listed_and_is_left_again(
    settings: Settings, database: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "RETRY", timedelta(seconds=0.5))
    with faulty(s3_server) as bucket:
        own = in_bucket(settings, bucket.options)
        register(own, database)
        process = Process(own)
        with process.files() as fs:
            for status in (403, 507, 503):
                with (
                    bucket.fault(of("PUT", "partNumber=2", status)),
                    pytest.raises(StorageError, match=f"storage s3://files/.*{status}"),
                ):
                    fs.put("a.bin", iter(PIECES))
                assert fs.ls("out") == []
            fs.put("a.bin", iter(PIECES))
            with bucket.fault(of("GET", "objects/", 503)):
                with pytest.raises(StorageError, match=r"storage s3://files/.*503"):
                    fs.open("out/a.bin").read_all()
                with pytest.raises(StorageError, match=r"storage s3://files/.*503"):
                    list(fs.download("out"))
            assert fs.open("out/a.bin").read_all() == CONTENT
        process.check(database, "out/a.bin")
        process.client.close()
