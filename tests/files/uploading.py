"""What people have uploaded, as the panel leaves it in storage and database."""

import json
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

from kodosumi_prefect.files.content_keys import upload_key
from kodosumi_prefect.files.names import comparable
from kodosumi_prefect.files.storage import storage_of
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler


class Uploads:
    """Uploads to the storage and database of some settings."""

    def __init__(self, settings: Settings, database: str) -> None:
        self.settings = settings
        self.database = database
        self.storage = storage_of(settings)
        self.spooler = Spooler(database, settings.database_schema)

    def batch(self, owner: str, **files: bytes | None) -> dict[str, Any]:
        """What a form posts for files that ``owner`` uploaded; of None a chunk is missing.

        Names are given with ``_`` for a dot, as arguments can be.
        """
        named = {name.replace("_", "."): content for name, content in files.items()}
        return self.named(owner, named)

    def named(self, owner: str, files: dict[str, bytes | None]) -> dict[str, Any]:
        batch = str(uuid4())
        self.spooler.query("add_upload_batch", {"id": batch, "owner": owner})
        items = {}
        for name, content in files.items():
            id_ = str(uuid4())
            half = len(content or b"") // 2
            chunks = [b"lost", None] if content is None else [content[:half], content[half:]]
            values = {"path": name, "comparable": comparable(name), "media_type": "text/plain"}
            values |= {"id": id_, "batch": batch, "chunks": 2, "size": None, "sha256": None}
            assert self.spooler.query("add_upload", values)
            for number, chunk in enumerate(chunks):
                if chunk is not None:
                    key = upload_key(batch, f"{id_}.{number}")
                    written = self.storage.write(key, [chunk])
                    row = {"upload": id_, "number": number, "key": key, **written._asdict()}
                    assert self.spooler.query("add_chunk", row)
            items[id_] = {"filename": name, "totalChunks": 2}
        return {"batchId": batch, "items": items}

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.database, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()

    def noted(self, posted: dict[str, Any] | str) -> dict[str, Any] | None:
        """The row of a batch that was posted."""
        batch = (json.loads(posted) if isinstance(posted, str) else posted)["batchId"]
        rows = self.rows(
            "SELECT fid::text, schedule, owner FROM kodosumi.upload_batch WHERE id = %s", batch
        )
        return rows[0] if rows else None

    def files(self, fid: str) -> dict[str, bytes]:
        """The files of an execution, by path."""
        rows = self.rows(
            "SELECT f.direction || '/' || f.path AS path, f.key FROM kodosumi.file f"
            " JOIN kodosumi.execution e ON e.id = f.execution_id WHERE e.fid = %s",
            fid,
        )
        return {row["path"]: b"".join(self.storage.read(row["key"])) for row in rows}

    def close(self) -> None:
        self.spooler.close()
