"""What people sent becomes an execution's: all of a batch at once, and once."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from kodosumi_prefect.files.binding import Binding, OtherExecutionError, SameNameError
from kodosumi_prefect.files.content_keys import upload_key
from kodosumi_prefect.files.limits import FileLimitError
from kodosumi_prefect.files.names import Direction, comparable
from kodosumi_prefect.files.scan import FileRefusedError, UploadedFile
from kodosumi_prefect.files.storage import Storage
from kodosumi_prefect.files.uploads import IncompleteUploadError, UnknownUploadError, uploads_of
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.one_event import append_events
from tests.files.test_file_projection import files
from tests.spooler.recording import fresh, row, stored


class Sender:
    """Somebody who sends files, straight to storage and database."""

    def __init__(self, database: str, storage: Storage, settings: Settings) -> None:
        self.spooler = Spooler(database, "kodosumi")
        self.storage = storage
        self.settings = settings
        self.fid = fresh()
        self.batch = str(uuid4())
        self.spooler.query("add_upload_batch", {"id": self.batch, "owner": "mira"})

    def send(self, path: str, *chunks: bytes, announced: int | None = None, **more: Any) -> str:
        """Announce a file of so many chunks, and send those that are not empty."""
        id_ = str(uuid4())
        values = {
            "id": id_,
            "batch": self.batch,
            "path": path,
            "comparable": comparable(path),
            "chunks": len(chunks),
            "media_type": "text/plain",
            "size": announced,
            "sha256": None,
        }
        assert self.spooler.query("add_upload", values | more)
        for number, chunk in enumerate(chunks):
            if chunk:
                self.send_chunk(id_, number, chunk)
        return id_

    def send_chunk(self, id_: str, number: int, chunk: bytes) -> None:
        key = upload_key(self.batch, f"{id_}.{number}")
        written = self.storage.write_whole(key, chunk)
        values = {"upload": id_, "number": number, "key": key, **written._asdict()}
        assert self.spooler.query("add_chunk", values)

    def bind(self, fid: str | None = None, **options: Any) -> list[Any]:
        return self.bind_with(self.spooler, fid, **options)

    def bind_with(self, spooler: Spooler, fid: str | None = None, **options: Any) -> list[Any]:
        binding = Binding(
            self.storage,
            spooler.query,
            lambda fid, event: append_events(spooler, fid, event),
            options.pop("settings", self.settings),
        )
        return binding.bind(fid or self.fid, self.batch, **options)

    def content(self, database: str, path: str) -> bytes:
        return b"".join(self.storage.read(files(database, self.fid)[path]["key"]))

    def left(self) -> list[str]:
        """What is in the storage of uploads."""
        return [each.key for each in self.storage.contents("uploads")]


@pytest.fixture
def sender(database: str, storage: Storage, settings: Settings) -> Iterator[Sender]:
    made = Sender(database, storage, settings)
    yield made
    made.spooler.close()


def test_a_batch_becomes_an_executions_files_by_one_event(sender: Sender, database: str) -> None:
    sender.send("b/one.txt", b"abc", b"def")
    sender.send("empty.txt")
    sender.send("a.txt", b"x")
    bound = sender.bind()
    assert [(file.path, file.size) for file in bound] == [
        *(("in/a.txt", 1), ("in/b/one.txt", 6), ("in/empty.txt", 0)),
    ]
    assert bound[1].sha256 == hashlib.sha256(b"abcdef").hexdigest()
    assert sender.content(database, "in/b/one.txt") == b"abcdef"
    assert [event["kind"] for event in stored(database, sender.fid)] == ["upload"]
    assert (row(database, sender.fid)["files"], row(database, sender.fid)["file_bytes"]) == (3, 7)
    assert sender.left() == []
    assert sender.bind() == bound
    assert len(stored(database, sender.fid)) == 1
    with pytest.raises(OtherExecutionError, match=sender.fid):
        sender.bind(fresh())


def test_bound_in_many_processes_at_once_it_is_bound_once(sender: Sender, database: str) -> None:
    for number in range(5):
        sender.send(f"{number}.txt", b"abc" * 1000, b"def")
    start = Barrier(4)

    def one(_: int) -> list[Any]:
        spooler = Spooler(database, "kodosumi")
        try:
            spooler.connect()
            start.wait(30)
            return sender.bind_with(spooler)
        finally:
            spooler.close()

    with ThreadPoolExecutor(4) as threads:
        first, *others = threads.map(one, range(4))
    assert len(first) == 5
    assert others == [first] * 3
    assert len(stored(database, sender.fid)) == 1
    objects = sorted(each.key for each in sender.storage.contents(f"objects/{sender.fid}"))
    assert objects == sorted(file["key"] for file in files(database, sender.fid).values())
    for path in files(database, sender.fid):
        assert sender.content(database, path) == b"abc" * 1000 + b"def"


def test_a_part_of_a_batch_gets_the_names_that_are_given(sender: Sender, database: str) -> None:
    one, two = sender.send("one.txt", b"1"), sender.send("two.txt", b"2")
    with pytest.raises(SameNameError):
        sender.bind(direction=Direction.OUT, names={one: "x.txt", two: "X.TXT"})
    with pytest.raises(UnknownUploadError):
        sender.bind(names={str(uuid4()): "x.txt"})
    assert files(database, sender.fid) == {}
    names = {two: "other.txt"}
    bound = sender.bind(direction=Direction.OUT, names=names)
    assert list(files(database, sender.fid)) == ["out/other.txt"]
    assert sender.bind(direction=Direction.OUT, names=names) == bound
    sender.bind(names={one: "one.txt"})
    assert sorted(files(database, sender.fid)) == ["in/one.txt", "out/other.txt"]


def test_what_is_not_whole_binds_nothing(sender: Sender, database: str) -> None:
    sender.send("a.txt", b"whole")
    lacking = sender.send("b.txt", b"1", b"", b"3")
    with pytest.raises(IncompleteUploadError, match=r"'b.txt' lacks 1 of 3 chunks: 1"):
        sender.bind()
    assert stored(database, sender.fid) == []
    sender.send_chunk(lacking, 1, b"2")
    assert len(sender.bind()) == 2
    assert sender.content(database, "in/b.txt") == b"123"


def test_a_damaged_chunk_is_sent_again(sender: Sender, database: str) -> None:
    id_ = sender.send("b.txt", b"one", b"two")
    sender.storage.write_whole(upload_key(sender.batch, f"{id_}.1"), b"tvo")
    with pytest.raises(IncompleteUploadError, match=r"chunk 1 of 'b.txt' is damaged"):
        sender.bind()
    sender.send_chunk(id_, 1, b"two")
    sender.bind()
    assert sender.content(database, "in/b.txt") == b"onetwo"


def test_a_batch_is_touched_once_a_minute_by_its_chunks(sender: Sender, database: str) -> None:
    id_ = sender.send("b.txt", b"one", b"", b"")

    def touched(set_back: str = "0 s") -> Any:
        with psycopg.connect(database) as connection:
            return connection.execute(
                "UPDATE kodosumi.upload_batch SET touched_at = touched_at - %s::interval"
                " WHERE id = %s RETURNING touched_at",
                (set_back, sender.batch),
            ).fetchone()

    begun = touched()
    sender.send_chunk(id_, 1, b"two")
    assert touched() == begun
    old = touched("61 s")
    sender.send_chunk(id_, 2, b"three")
    assert touched() > old


def test_a_batch_of_a_schedule_is_for_each_of_its_runs(sender: Sender, database: str) -> None:
    sender.send("a.txt", b"for all")
    query = sender.spooler.connect()
    query.execute("UPDATE kodosumi.upload_batch SET schedule = 's1'")
    first, second = fresh(), fresh()
    assert sender.bind(first) == sender.bind(second) == sender.bind(first)
    keys = [files(database, fid)["in/a.txt"]["key"] for fid in (first, second)]
    assert keys[0] != keys[1]
    assert [b"".join(sender.storage.read(key)) for key in keys] == [b"for all"] * 2
    assert len(stored(database, first)) == 1


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"execution_files": 1}, "2 more files are too many"),
        ({"execution_file_bytes": 5}, "6 more bytes are too many"),
        ({"file_bytes": 4}, "the file has 5 bytes; 4 at most"),
    ],
)
def test_limits_hold_for_all_of_it(
    sender: Sender, database: str, settings: Settings, limit: dict[str, int], message: str
) -> None:
    sender.send("a.txt", b"12", b"345")
    sender.send("b.txt", b"1")
    with pytest.raises(FileLimitError, match=message):
        sender.bind(settings=settings.model_copy(update=limit))
    assert stored(database, sender.fid) == []


def no_programs(file: UploadedFile) -> None:
    assert (file.size, file.owner, file.media_type) == (4, "mira", "text/plain")
    if b"".join(file.open()).startswith(b"MZ"):
        raise FileRefusedError("programs are not taken")


def test_what_the_scan_refuses_is_deleted_and_never_listed(
    sender: Sender, database: str, settings: Settings
) -> None:
    sender.send("a.txt", b"good")
    sender.send("b.txt", b"MZ", b"..")
    scanned = settings.model_copy(update={"file_scan": f"{__name__}:no_programs"})
    for _ in range(2):
        with pytest.raises(FileRefusedError, match=r"'b.txt' is refused: programs are not taken"):
            sender.bind(settings=scanned)
    assert stored(database, sender.fid) == []
    assert len(sender.left()) == 1
    [good, bad] = uploads_of(sender.batch, sender.spooler.query)
    assert good.is_whole
    assert bad.refused is not None


@pytest.mark.parametrize(
    "announced", [{"size": 4}, {"sha256": "0" * 64}], ids=["another size", "another hash"]
)
def test_what_is_not_as_announced_is_refused(
    sender: Sender, database: str, announced: dict[str, Any]
) -> None:
    sender.send("a.txt", b"12", b"3", **announced)
    with pytest.raises(FileRefusedError, match="announced"):
        sender.bind()
    assert sender.left() == []


def test_what_is_put_by_a_url_is_looked_at_once_and_cannot_be_changed_after(
    sender: Sender, database: str
) -> None:
    id_ = sender.send("a.txt")
    place = upload_key(sender.batch, f"{id_}.put")
    sender.spooler.query("expect_content", {"id": id_, "key": place})
    with pytest.raises(IncompleteUploadError, match="not yet put"):
        sender.bind()
    put: Callable[[bytes], Any] = lambda content: sender.storage.write_whole(place, content)  # noqa: E731
    put(b"first")
    [bound] = sender.bind()
    put(b"other")
    assert bound.sha256 == hashlib.sha256(b"first").hexdigest()
    assert sender.content(database, "in/a.txt") == b"first"
