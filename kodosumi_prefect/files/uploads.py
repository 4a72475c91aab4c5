"""What people sent, made whole: out of its chunks, or read where it was put by a URL.

Several processes may do so at once, for the same file too: each writes content of its own, and that
of the first counts.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

from kodosumi_prefect.database.rows.files import Upload, UploadBatch, UploadChunk
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.files.content_keys import upload_key
from kodosumi_prefect.files.limits import check_size
from kodosumi_prefect.files.scan import FileRefusedError, UploadedFile, scan
from kodosumi_prefect.files.storage import Storage
from kodosumi_prefect.files.writing import WrittenContent
from kodosumi_prefect.settings import Settings

Query = Callable[[str, dict[str, Any]], list[Any]]  # rows of a query of ``database/sql``


class UnknownUploadError(KodosumiError):
    """There is no such upload or batch."""


class IncompleteUploadError(KodosumiError):
    """Not all of a file has arrived."""


def batch_of(id_: str, query: Query) -> UploadBatch:
    """A batch.

    Raises:
        UnknownUploadError: there is none.
    """
    rows = query("upload_batch", {"id": id_})
    if not rows:
        raise UnknownUploadError(f"there is no batch {id_}; it may have expired, send it again")
    return UploadBatch(*rows[0])


def uploads_of(batch: str, query: Query) -> list[Upload]:
    """The files of a batch, by path."""
    return [Upload(*row) for row in query("uploads_of", {"batch": batch})]


def upload_of(id_: str, query: Query) -> Upload:
    """A file that is being sent, or was.

    Raises:
        UnknownUploadError: there is none.
    """
    rows = query("upload", {"id": id_})
    if not rows:
        raise UnknownUploadError(f"there is no upload {id_}; it may have expired, send it again")
    return Upload(*rows[0])


def whole(upload: Upload, storage: Storage, query: Query, settings: Settings) -> Upload:
    """The upload as it is when all of it is in one place, was hashed, and looked at.

    Raises:
        IncompleteUploadError: chunks are missing, or it was not put where it should be.
        FileRefusedError: it is not what was announced, or the scan refuses it.
        FileLimitError: it is too large.
        UnknownUploadError: it was cancelled.
        ScanError, StorageError: not now.
    """
    if upload.refused is not None:
        raise FileRefusedError(upload.refused)
    if upload.is_whole:
        return upload
    own = upload_key(upload.batch, f"{upload.id}.{uuid4().hex}")
    given = [] if upload.key is None else [upload.key]
    try:
        key, written = _stored(upload, own, storage, query, settings)
        _check(upload, key, written, storage, settings)
    except (FileNotFoundError, IncompleteUploadError) as exc:
        current = upload_of(upload.id, query)
        if current.is_whole or current.refused is not None:  # another process was faster
            return whole(current, storage, query, settings)
        if isinstance(exc, IncompleteUploadError):
            raise
        raise IncompleteUploadError(f"{upload.path!r} has to be sent again") from None
    except FileRefusedError as exc:
        for (parts,) in query("refuse_upload", {"id": upload.id, "reason": str(exc)}):
            storage.delete([own, *given, *parts])
        raise
    row = {"id": upload.id, "key": key, "size": written.size, "sha256": written.sha256}
    if not (settled := query("settle_upload", row)):
        storage.delete([own])
        return whole(upload_of(upload.id, query), storage, query, settings)
    storage.delete(each for each in (*settled[0][0], *given) if each != key)
    return replace(upload, key=key, size=written.size, sha256=written.sha256)


def _stored(
    upload: Upload, key: str, storage: Storage, query: Query, settings: Settings
) -> tuple[str, WrittenContent]:
    """Have all of it under one key, the given one if it has to be written."""
    if upload.key is not None:
        return key, _put_by_url(upload, key, storage, settings)
    chunks = [UploadChunk(*row) for row in query("chunks_of", {"upload": upload.id})]
    if [chunk.number for chunk in chunks] != list(range(upload.chunks)):
        missing = sorted(set(range(upload.chunks)) - {chunk.number for chunk in chunks})
        listed = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
        raise IncompleteUploadError(
            f"{upload.path!r} lacks {len(missing)} of {upload.chunks} chunks: {listed}"
        )
    check_size(sum(chunk.size for chunk in chunks), settings)
    if len(chunks) == 1:
        return chunks[0].key, WrittenContent(chunks[0].size, chunks[0].sha256)
    return key, storage.write(key, _joined(upload, chunks, storage, query))


def _put_by_url(upload: Upload, key: str, storage: Storage, settings: Settings) -> WrittenContent:
    """Copy what its sender put there, and read that once.

    Whoever has the URL may write there again; what is looked at is the copy.
    """
    assert upload.key is not None
    if (size := storage.size(upload.key)) is None:
        raise IncompleteUploadError(f"{upload.path!r} was not yet put where its URL leads")
    check_size(size, settings)
    storage.copy(upload.key, key)
    read, digest = 0, hashlib.sha256()
    for piece in storage.read(key):
        read += len(piece)
        digest.update(piece)
    return WrittenContent(read, digest.hexdigest())


def _joined(
    upload: Upload, chunks: list[UploadChunk], storage: Storage, query: Query
) -> Iterator[bytes]:
    """The chunks one after the other, as they were when they arrived."""
    # Beside whoever uses a piece, who hashes it too.
    with ThreadPoolExecutor(1, "kodosumi-files-chunks") as beside:
        for chunk in chunks:
            digest = hashlib.sha256()
            for piece in storage.read(chunk.key):
                hashing = beside.submit(digest.update, piece)
                yield piece
                hashing.result()
            if digest.hexdigest() != chunk.sha256:  # after a power failure
                query("forget_chunk", {"upload": upload.id, "number": chunk.number})
                raise IncompleteUploadError(
                    f"chunk {chunk.number} of {upload.path!r} is damaged; send it again"
                )


def _check(
    upload: Upload, key: str, written: WrittenContent, storage: Storage, settings: Settings
) -> None:
    """Raise FileRefusedError unless it is what was announced, and the scan takes it."""
    if upload.declared_size not in (None, written.size):
        raise FileRefusedError(
            f"{upload.path!r} has {written.size:,} bytes; {upload.declared_size:,} were announced"
        )
    if upload.declared_sha256 not in (None, written.sha256):
        raise FileRefusedError(
            f"{upload.path!r} has the SHA-256 {written.sha256}; another one was announced"
        )
    file = UploadedFile(
        upload.path,
        written.size,
        upload.media_type,
        written.sha256,
        upload.owner,
        lambda: storage.read(key),
    )
    try:
        scan(file, settings)
    except FileRefusedError as exc:
        raise FileRefusedError(f"{upload.path!r} is refused: {exc}") from exc
