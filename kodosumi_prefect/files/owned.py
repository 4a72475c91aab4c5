"""All that is kept of one owner: written to a folder, or erased."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from psycopg.rows import RowFactory, class_row, scalar_row

from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.files.storage import Storage
from kodosumi_prefect.files.upkeep import FileUpkeep

PORTION = 100  # executions of one transaction
ANSWERS = 300.0  # seconds that one of its statements may take
ERASED = "an erased account"  # in the place of a name

R = TypeVar("R")  # a row


class OwnedExecution(NamedTuple):
    """An execution of an owner's.

    Attributes:
        over: it has ended; one that runs is exported as it is, and not erased.
    """

    id: int
    fid: str
    over: bool
    events: int


class _LockWithAccount(NamedTuple):
    execution_id: int
    lid: str
    open: bool


class _LockEvent(NamedTuple):
    execution_id: int
    seq: int
    payload: str


class _File(NamedTuple):
    direction: str
    path: str
    size: int
    key: str


class Owned:
    """What one owner has; a context manager with one connection.

    Arguments:
        url: libpq URL.
        schema: where our tables are.
        storage: where files are.
        owner: id of the account.
    """

    def __init__(self, url: str, schema: str, storage: Storage, owner: str) -> None:
        self._url = url
        self._schema = schema
        self._queries = Queries(schema)
        self._storage = storage
        self._owner = owner

    def __enter__(self) -> "Owned":
        self._connection = connect(self._url, answer_timeout=ANSWERS)
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def executions(self) -> Iterator[OwnedExecution]:
        """All of them, oldest first."""
        after = 0
        while rows := self._rows(
            class_row(OwnedExecution), "executions_of_owner", after=after, limit=PORTION
        ):
            yield from rows
            after = rows[-1].id

    def export(self, execution: OwnedExecution, folder: Path) -> int:
        """Write one into a folder of its own: its record, its events, its files.

        Returns:
            Bytes of its files.

        Raises:
            StorageError: a file cannot be read.
            OSError: the folder takes nothing.
        """
        own = folder / execution.fid
        own.mkdir(parents=True)
        [record] = self._rows(scalar_row, "execution_record", id=execution.id)
        (own / "execution.json").write_text(record)
        with (
            (own / "events.ndjson").open("w") as lines,
            self._connection.transaction(),
            self._connection.cursor("events", row_factory=scalar_row) as cursor,
        ):
            cursor.execute(self._queries["event_records"], {"id": execution.id})
            lines.writelines(f"{event}\n" for event in cursor)
        size = 0
        for file in self._rows(class_row(_File), "file_records", id=execution.id):
            target = own / file.direction / file.path.removeprefix(f"{file.direction}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copy:
                copy.writelines(self._storage.read(file.key))
            size += file.size
        return size

    def erase(self, executions: list[OwnedExecution]) -> int:
        """Delete some that are over, with events, spans and files; returns how many.

        One that a writer just holds is left, with its files.

        Raises:
            StorageError: contents of files are left; retention deletes them later.
        """
        ids = [execution.id for execution in executions if execution.over]
        files = [
            file.key for id_ in ids for file in self._rows(class_row(_File), "file_records", id=id_)
        ]
        with self._connection.cursor() as cursor:
            cursor.execute(self._queries["delete_executions"], {"ids": ids, "age": 0})
            row = cursor.fetchone()
        assert row is not None
        with self._upkeep() as upkeep:
            if files and upkeep.is_registered:
                # Not all of them: those of an execution that was left are listed still.
                upkeep.delete_dropped(self._rows(scalar_row, "dropped_among", keys=files))
        return int(row[0])

    def erase_rest(self) -> None:
        """Delete what was uploaded, and all else that is kept of the owner.

        Raises:
            StorageError: not all of it; it is tried again.
        """
        batches = self._rows(scalar_row, "batches_of_owner")
        with self._upkeep() as upkeep:
            if batches and upkeep.is_registered:
                upkeep.delete_uploads(batches)
        self._connection.execute(self._queries["forget_owner"], {"owner": self._owner})

    def erase_from_questions(self) -> int:
        """Name the account no more in questions of others' runs; what was answered stays.

        Returns:
            How many of these are open still, and left as they are: who is asked is in them.
        """
        names = self._rows(scalar_row, "names_of_erased")
        known = {"names": names, "references": [f"@{self._owner}", *(n.lower() for n in names)]}
        locks = self._rows(class_row(_LockWithAccount), "locks_with_account", **known)
        over = [lock for lock in locks if not lock.open]
        parameters = known | {
            "owner": self._owner,
            "erased": ERASED,
            "pattern": _any_of(names),
            "executions": [lock.execution_id for lock in over],
            "lids": [lock.lid for lock in over],
        }
        with self._connection.transaction():
            self._erase_whom_asked(parameters)
            for place in ("events", "links", "plan", "steps", "locks") if over else ():
                self._connection.execute(self._queries[f"erase_in_{place}"], parameters)
        return len(locks) - len(over)

    def _erase_whom_asked(self, parameters: dict[str, Any]) -> None:
        """Name the account no more among whom the events of locks ask, now or later."""
        references = frozenset(parameters["references"])
        for event in self._rows(class_row(_LockEvent), "asking_events", **parameters):
            told = json.loads(event.payload)
            fields = told["dict"]
            later = fields.get("escalate", ())
            for place, key in ((fields, "ask"), *((each, "to") for each in later)):
                if key in place:  # the owner is asked where nobody is named
                    place[key] = [
                        ERASED if one.lower() in references else one for one in place[key]
                    ]
            payload = json.dumps(told, ensure_ascii=False)
            changed = {"id": event.execution_id, "seq": event.seq, "payload": payload}
            self._connection.execute(self._queries["erase_in_lock_event"], changed)

    def _upkeep(self) -> FileUpkeep:
        return FileUpkeep(self._url, self._schema, self._storage)

    def _rows(self, row_factory: RowFactory[R], query: str, /, **parameters: Any) -> list[R]:
        with self._connection.cursor(row_factory=row_factory) as cursor:
            return cursor.execute(
                self._queries[query], {"owner": self._owner, **parameters}
            ).fetchall()


def _any_of(names: list[str]) -> str:
    """A regular expression of Postgres for these names as whole words; for nothing without any."""
    words = "|".join(re.sub(r"([^\w\s])", r"\\\1", name) for name in names)
    return rf"(?<!\w)(?:{words})(?!\w)" if words else "$^"


def new_folder(path: Path) -> Path:
    """A folder that nothing is in yet, for its owner alone.

    Raises:
        FileExistsError: something is in it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(os.scandir(path)):
        raise FileExistsError(f"{path} is not empty")
    return path
