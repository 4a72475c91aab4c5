"""Files are listed by upload events, in the transaction that stores these, and by nothing else."""

import json
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.files.content_keys import object_key
from kodosumi_prefect.files.record import StoredFile, payload_of
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import pack, unpack
from tests.spooler.recording import batch, execute, fresh, row, said, stored

SHA = "0" * 64
Append = Callable[..., dict[str, Any]]


@pytest.fixture
def fid() -> str:
    return fresh()


@pytest.fixture(params=["one batch", "a batch an event"])
def append(request: pytest.FixtureRequest, database: str, fid: str) -> Iterator[Append]:
    """Append events to the execution and return its row: the rules hold however batches are cut."""
    spooler, writer, number = Spooler(database, "kodosumi"), fresh(), 0

    def run(*events: Event) -> dict[str, Any]:
        nonlocal number
        for part in [events] if request.param == "one batch" else [[event] for event in events]:
            number += 1
            one = batch(fid, *part, writer=writer, number=number)
            spooler.append([one])
            spooler.append([unpack(pack([one]))[0]])  # as a retry or a spill file brings it again
        return row(database, fid)

    yield run
    spooler.close()


def a_file(fid: str, path: str, size: int = 5, **more: Any) -> StoredFile:
    return StoredFile(path, object_key(fid), size, SHA, "text/plain")._replace(**more)


def upload(*files: StoredFile, removed: tuple[str, ...] = (), **more: Any) -> Event:
    return said(payload_of(files, removed), Kind.UPLOAD, **more)


def files(database: str, fid: str) -> dict[str, dict[str, Any]]:
    """The files of an execution by their paths."""
    query = """SELECT f.direction || '/' || f.path AS path, f.key, f.size, f.attempt, f.task_run,
        f.node, f.media_type FROM kodosumi.file f JOIN kodosumi.execution e
        ON e.id = f.execution_id WHERE e.fid = %s"""
    with psycopg.connect(database, row_factory=dict_row) as connection:
        return {found["path"]: found for found in connection.execute(query, (fid,)).fetchall()}


def dropped(database: str) -> list[str]:
    with psycopg.connect(database) as connection:
        query = "SELECT key FROM kodosumi.dropped_content ORDER BY key"
        return [key for (key,) in connection.execute(query).fetchall()]


def test_an_upload_event_lists_its_files_and_counts_them(
    append: Append, database: str, fid: str
) -> None:
    source = json.dumps({"task_run": {"id": "t1", "name": "make"}, "node": "n1", "pid": 7})
    one, two = a_file(fid, "out/a/report.pdf", 7), a_file(fid, "in/data.csv", 11)
    found = append(upload(one, two, attempt=2, source=source), said("a word"))
    assert (found["files"], found["file_bytes"]) == (2, 18)
    listed = files(database, fid)
    assert listed.keys() == {"out/a/report.pdf", "in/data.csv"}
    made = listed["out/a/report.pdf"]
    assert (made["key"], made["attempt"], made["task_run"], made["node"]) == (
        one.key,
        2,
        "t1",
        "n1",
    )
    kinds = [event["kind"] for event in stored(database, fid)]
    assert kinds == ["upload", "stdout"]
    told = json.loads(stored(database, fid)[0]["payload"])["Upload"]["files"]
    assert [(each["path"], each["size"]) for each in told] == [
        ("out/a/report.pdf", 7),
        ("in/data.csv", 11),
    ]


def test_a_path_that_comes_again_replaces_and_its_old_content_is_dropped(
    append: Append, database: str, fid: str
) -> None:
    first, second = a_file(fid, "out/a.txt", 5), a_file(fid, "out/a.txt", 9)
    append(upload(first))
    found = append(upload(second))
    assert (found["files"], found["file_bytes"]) == (1, 9)
    assert files(database, fid)["out/a.txt"]["key"] == second.key
    assert dropped(database) == [first.key]
    append(upload(a_file(fid, "out/A.TXT", 3)))
    assert list(files(database, fid)) == ["out/A.TXT"]


def test_a_removed_file_is_gone_and_a_later_one_of_its_path_is_there(
    append: Append, database: str, fid: str
) -> None:
    first, again = a_file(fid, "out/a.txt"), a_file(fid, "out/a.txt", 2)
    found = append(upload(first), upload(removed=("out/a.txt",)))
    assert (found["files"], found["file_bytes"]) == (0, 0)
    found = append(upload(removed=("out/never.txt",)), upload(again))
    assert (found["files"], files(database, fid)["out/a.txt"]["key"]) == (1, again.key)


def test_a_deleted_execution_drops_its_contents(append: Append, database: str, fid: str) -> None:
    file = a_file(fid, "out/a.txt")
    append(upload(file))
    execute(database, f"DELETE FROM kodosumi.execution WHERE fid = '{fid}'")
    assert dropped(database) == [file.key]


WRONG: dict[str, Callable[[StoredFile], Any]] = {
    "another's content": lambda file: file._asdict() | {"key": object_key(fresh())},
    "a key elsewhere": lambda file: file._asdict() | {"key": "../../etc/passwd"},
    "a key below": lambda file: file._asdict() | {"key": f"{file.key}/../x"},
    "a path out of it": lambda file: file._asdict() | {"path": "out/../../x"},
    "no direction": lambda file: file._asdict() | {"path": "a.txt"},
    "no size": lambda file: file._asdict() | {"size": "large"},
    "a negative size": lambda file: file._asdict() | {"size": -1},
    "too large a size": lambda file: file._asdict() | {"size": 2**70},
    "no hash": lambda file: file._asdict() | {"sha256": "x"},
    "more fields": lambda file: file._asdict() | {"more": 1},
    "a field less": lambda file: {"path": file.path},
    "no object": lambda file: file.path,
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_file_is_only_an_event(
    append: Append, database: str, fid: str, wrong: str
) -> None:
    good, bad = a_file(fid, "out/good.txt"), WRONG[wrong](a_file(fid, "out/bad.txt"))
    body = {"files": ["out/bad.txt"], "stored": [bad, good._asdict()]}
    found = append(said(json.dumps({"Upload": body}), Kind.UPLOAD))
    assert list(files(database, fid)) == ["out/good.txt"]
    assert found["files"] == 1
    assert len(stored(database, fid)) == 1


@pytest.mark.parametrize(
    "payload", ["", "[]", "null", '{"Upload": 3}', '{"Upload": {"stored": 3}}', "{"]
)
def test_an_upload_event_of_another_format_is_only_an_event(
    append: Append, database: str, fid: str, payload: str
) -> None:
    found = append(said(payload, Kind.UPLOAD))
    assert found["files"] == 0
    assert len(stored(database, fid)) == 1


def test_unicode_forms_of_a_path_are_one_file(append: Append, database: str, fid: str) -> None:
    for form in ("NFC", "NFD", "NFKC"):
        append(upload(a_file(fid, f"out/{unicodedata.normalize(form, 'Café.txt')}")))
    assert len(files(database, fid)) == 1
