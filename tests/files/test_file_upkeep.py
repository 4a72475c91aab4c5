"""What nobody has any more is deleted, and storage and table are compared."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from kodosumi_prefect.cli.doctor.files import check_files, compare
from kodosumi_prefect.cli.doctor.finding import Verdict
from kodosumi_prefect.database.retention import Retention
from kodosumi_prefect.files.content_keys import object_key, upload_key
from kodosumi_prefect.files.record import StoredFile
from kodosumi_prefect.files.storage import Storage, storage_of
from kodosumi_prefect.files.upkeep import Discrepancy, FileUpkeep
from kodosumi_prefect.observer.cleaning import Cleaning
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from tests.files.run_storage import register
from tests.files.test_file_projection import files, upload
from tests.spooler.recording import batch, entered, execute, fresh, said

OLD = "now() - interval '2 days'"


@pytest.fixture
def upkeep(database: str, storage: Storage) -> Iterator[FileUpkeep]:
    with FileUpkeep(database, "kodosumi", storage) as upkeep:
        yield upkeep


@pytest.fixture
def local(settings: Settings, database: str) -> Settings:
    """Settings of a storage in a folder that holds the contents."""
    register(settings, database)
    return settings


class Run:
    """An execution with files."""

    def __init__(self, database: str, storage: Storage) -> None:
        self.fid, self._writer, self._number = fresh(), fresh(), 0
        self._database = database
        self._storage = storage

    def append(self, *events: Any) -> None:
        self._number += 1
        with closing(Spooler(self._database, "kodosumi")) as spooler:
            one = batch(self.fid, *events, writer=self._writer, number=self._number)
            spooler.append([one])

    def leave(self, path: str, content: bytes = b"seven") -> StoredFile:
        key = object_key(self.fid)
        written = self._storage.write_whole(key, content)
        file = StoredFile(path, key, *written, "text/plain")
        self.append(upload(file))
        return file

    def end(self, days_ago: float = 0.0) -> None:
        self.append(entered("finished", "Completed", 1.0))
        moved = f"SET ended_at = now() - interval '{days_ago} days' WHERE fid = '{self.fid}'"
        execute(self._database, f"UPDATE kodosumi.execution {moved}")


def keys(storage: Storage) -> set[str]:
    return {each.key for root in ("objects", "uploads") for each in storage.contents(root)}


def a_batch(database: str, storage: Storage, age: str = "0 s", **more: Any) -> str:
    """An upload of one whole file and a part of another; its id."""
    id_ = str(uuid4())
    columns = {"id": id_, "owner": "somebody"} | more
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            f"INSERT INTO kodosumi.upload_batch ({', '.join(columns)}, touched_at)"
            f" VALUES ({', '.join(['%s'] * len(columns))}, now() - %s::interval)",
            (*columns.values(), age),
        )
        for name, key in (("whole", upload_key(id_, "whole")), ("part", None)):
            upload_id = uuid4()
            connection.execute(
                "INSERT INTO kodosumi.upload (id, batch, path, comparable, chunks, media_type, key)"
                " VALUES (%s, %s, %s, %s, 2, 'text/plain', %s)",
                (upload_id, id_, name, name, key),
            )
            chunk = upload_key(id_, f"{name}.0")
            connection.execute(
                "INSERT INTO kodosumi.upload_chunk VALUES (%s, 0, %s, 1, 'x')", (upload_id, chunk)
            )
            storage.write_whole(chunk, b"x")
            if key is not None:
                storage.write_whole(key, b"x")
    return id_


def test_replaced_and_deleted_contents_go_once_nobody_reads_them(
    upkeep: FileUpkeep, storage: Storage, database: str
) -> None:
    run = Run(database, storage)
    first = run.leave("out/a.txt")
    second = run.leave("out/a.txt", b"eight")
    assert list(upkeep.dropped()) == []
    assert list(upkeep.dropped(linger=0)) == [1]
    assert keys(storage) == {second.key}
    run.end(days_ago=3)
    with Retention(database, "kodosumi") as retention:
        assert sum(part.executions for part in retention.executions(2)) == 1
    assert list(upkeep.dropped(linger=0)) == [1]
    assert keys(storage) == set()
    assert first.key != second.key


def test_files_have_days_of_their_own(upkeep: FileUpkeep, storage: Storage, database: str) -> None:
    old, recent, live = (Run(database, storage) for _ in range(3))
    old.leave("out/a.txt")
    old.leave("out/b.txt")
    recent.leave("out/a.txt")
    live.leave("out/a.txt")
    old.end(days_ago=3)
    recent.end(days_ago=1)
    with FileUpkeep(database, "kodosumi", storage, dry_run=True) as dry:
        assert [(each.files, each.bytes) for each in dry.files(2)] == [(2, 10)]
    assert [(each.files, each.bytes) for each in upkeep.files(2)] == [(2, 10)]
    assert files(database, old.fid) == {}
    assert len(files(database, recent.fid)) == len(files(database, live.fid)) == 1
    assert list(upkeep.dropped(linger=0)) == [2]
    assert list(upkeep.files(2)) == []


def test_uploads_that_came_to_nothing_go_and_others_stay(
    upkeep: FileUpkeep, storage: Storage, database: str
) -> None:
    over, live = Run(database, storage), Run(database, storage)
    over.end()
    live.append(entered("running", "Running", 1.0))
    gone = {
        a_batch(database, storage, "25 h"),
        a_batch(database, storage, "25 h", fid=live.fid, answer="[]"),
        a_batch(database, storage, "25 h", fid=over.fid),
        a_batch(database, storage, "25 h", fid=fresh()),
    }
    kept = {
        a_batch(database, storage, "23 h"),
        a_batch(database, storage, "25 h", fid=live.fid),
        a_batch(database, storage, "25 h", schedule="nightly"),
    }
    assert list(upkeep.uploads(24)) == [4]
    assert {key.split("/")[1] for key in keys(storage)} == kept
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT id::text FROM kodosumi.upload_batch").fetchall()
    assert {id_ for (id_,) in rows} == kept
    assert not gone & kept


def test_orphans_lost_and_unlisted_files_are_named_and_mended(
    upkeep: FileUpkeep,
    storage: Storage,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("kodosumi_prefect.files.upkeep.ORPHAN_AGE", -60.0)
    execute(database, "INSERT INTO kodosumi.file_storage (identity, url) VALUES ('x', 'y')")
    run = Run(database, storage)
    fine, lost = run.leave("out/fine.txt"), run.leave("out/lost.txt")
    storage.delete([lost.key])
    unlisted = run.leave("out/unlisted.txt")
    execute(database, f"DELETE FROM kodosumi.file WHERE key = '{unlisted.key}'")
    execute(database, "DELETE FROM kodosumi.dropped_content")
    replaced = run.leave("out/replaced.txt")
    run.leave("out/replaced.txt", b"by this")
    orphan = object_key(run.fid)
    storage.write_whole(orphan, b"orphan")
    a_batch(database, storage)
    found = set(upkeep.discrepancies())
    assert found == {
        Discrepancy("orphan", orphan, 6, False),
        Discrepancy("orphan", unlisted.key, 5, False),
        Discrepancy("lost", f"{run.fid} out/lost.txt", 5, False),
        Discrepancy("unlisted", f"{run.fid} out/unlisted.txt", 5, False),
    }
    mended = set(upkeep.discrepancies(fix=True))
    assert {each.sort for each in mended if each.fixed} == {"orphan", "unlisted"}
    assert "out/unlisted.txt" in files(database, run.fid)
    assert storage.size(unlisted.key) == 5
    assert {fine.key, unlisted.key, replaced.key} <= keys(storage)
    assert orphan not in keys(storage)
    assert [each.sort for each in upkeep.discrepancies()] == ["lost"]


def test_contents_that_were_never_listed_go_a_week_after_the_end(
    upkeep: FileUpkeep, storage: Storage, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, recent, live = (Run(database, storage) for _ in range(3))
    listed, removed = over.leave("out/a.txt"), over.leave("out/b.txt")
    over.append(upload(removed=("out/b.txt",)))  # it lingers for who reads it
    over.end(days_ago=8)
    recent.append(said("x"))
    recent.end(days_ago=6)
    live.append(said("x"))
    orphans = {run: object_key(run.fid) for run in (over, recent, live)}
    for kept in (*orphans.values(), object_key(fresh()), "objects/odd"):
        storage.write_whole(kept, b"whole")
    before = keys(storage)
    assert list(upkeep.orphans()) == []  # they may be about to be listed
    monkeypatch.setattr("kodosumi_prefect.files.upkeep.ORPHAN_AGE", -60.0)
    with FileUpkeep(database, "kodosumi", storage, dry_run=True) as dry:
        assert list(dry.orphans()) == [1]
    assert list(upkeep.orphans()) == [1]
    assert before - keys(storage) == {orphans[over]}
    assert {listed.key, removed.key} <= keys(storage)
    assert list(upkeep.orphans()) == []


def test_what_a_killed_process_was_writing_goes_after_a_day(
    local: Settings, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_of(local)
    storage.write_whole("partial/left", b"half")
    with FileUpkeep(database, "kodosumi", storage) as upkeep:
        assert list(upkeep.broken_off()) == []
        monkeypatch.setattr("kodosumi_prefect.files.upkeep.ORPHAN_AGE", -60.0)
        assert list(upkeep.discrepancies()) == [Discrepancy("orphan", "partial/left", 4, False)]
        with FileUpkeep(database, "kodosumi", storage, dry_run=True) as dry:
            assert list(dry.broken_off()) == [1]
        assert list(upkeep.broken_off()) == [1]
        assert list(upkeep.broken_off()) == []
    assert storage.size("partial/left") is None
    storage.write("objects/a/b", [b"there is still room"])


async def test_the_leader_cleans_up_once_an_hour(
    local: Settings, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kodosumi_prefect.files.upkeep.LINGER", 0.0)
    monkeypatch.setattr("kodosumi_prefect.files.upkeep.ORPHAN_AGE", -60.0)
    monkeypatch.setattr("kodosumi_prefect.files.upkeep.LATEST_EVENT", 0.0)
    storage, used = storage_of(local), local.model_copy(update={"file_retention_days": 2.0})
    run = Run(database, storage)
    run.leave("out/a.txt")
    run.end(days_ago=3)
    a_batch(database, storage, "25 h")
    storage.write_whole(object_key(run.fid), b"orphan")
    storage.write_whole("partial/left", b"half")
    cleaning = Cleaning(used)
    await cleaning.look()
    assert files(database, run.fid) == {}
    assert keys(storage) == set()
    assert storage.size("partial/left") is None
    late = object_key(run.fid)
    storage.write_whole(late, b"orphan")
    await cleaning.look()
    assert keys(storage) == {late}  # all of it is listed once a day


async def test_a_storage_of_another_machine_is_left_alone(
    settings: Settings, database: str
) -> None:
    storage = storage_of(settings)
    storage.identity()
    execute(database, "INSERT INTO kodosumi.file_storage (identity, url) VALUES ('x', 'y')")
    batch_id = a_batch(database, storage, "25 h")
    await Cleaning(settings).look()
    assert any(batch_id in key for key in keys(storage))


def test_doctor_says_what_the_storage_is_like(
    local: Settings, database: str, tmp_path: Path
) -> None:
    assert check_files(local).verdict is Verdict.OK
    elsewhere = local.model_copy(update={"file_storage_url": (tmp_path / "x").as_uri()})
    assert "another storage" in check_files(elsewhere).text
    nowhere = local.model_copy(
        update={"file_storage_url": "s3://files/x", "file_storage_options": {}}
    )
    assert check_files(nowhere).verdict is Verdict.FAIL
    assert [finding.text for finding in compare(local, fix=False)] == ["storage and table agree"]
    execute(database, "DELETE FROM kodosumi.file_storage")
    assert "none were stored yet" in check_files(local).text
