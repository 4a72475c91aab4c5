"""What people uploaded for a launch: whether it can be launched with, and whose it is from then on.

A form's value names a batch and the files of it that were chosen. They belong to who uploaded
them, and can be used once.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from uuid import UUID, uuid5

from kodosumi_prefect.database.rows.files import FileTotals, ListedFile, Upload, UploadBatch
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.files.binding import Binding
from kodosumi_prefect.files.content_keys import upload_key
from kodosumi_prefect.files.limits import FileLimitError, check_execution, check_owner
from kodosumi_prefect.files.names import Direction, comparable
from kodosumi_prefect.files.scan import FileRefusedError
from kodosumi_prefect.files.storage import Storage, StorageError
from kodosumi_prefect.files.uploads import (
    IncompleteUploadError,
    Query,
    UnknownUploadError,
    batch_of,
    uploads_of,
    whole,
)
from kodosumi_prefect.forms import InputsError
from kodosumi_prefect.forms.files import SentFiles
from kodosumi_prefect.launch import database
from kodosumi_prefect.launch.refusal import LaunchError, NotAllowedError, UnavailableLaunchError
from kodosumi_prefect.launch.starting import RunRequest, run_of_launch, start_run
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.run_files.places import PAGE, FilesAwayError
from kodosumi_prefect.run_files.reaching import append_of, query_of, reached_storage
from kodosumi_prefect.settings import Settings

GONE = "has files that are not here (any more): choose them again"
USED = "has files that were launched with before: choose them again"

logger = logging.getLogger(__name__)


async def check(
    sent: Sequence[SentFiles],
    owner: Owner | None,
    settings: Settings,
    *,
    launch_id: str | None = None,
    fid: str | None = None,
) -> None:
    """Check what was chosen in a form's fields, before anybody uses it.

    Arguments:
        owner: who sent the form.
        launch_id: a random id; asked again with the same one, the files may be that launch's.
        fid: an execution that may have them already.

    Raises:
        InputsError: something about the files, at their fields.
        LaunchError: no database is configured, or it or the storage are away.
    """
    if not sent:
        return
    own = {fid} if fid is not None else set()
    try:
        if launch_id is not None:
            ids = {launch_id, second_id(launch_id)}
            own |= ids
            if await asyncio.to_thread(_holders, sent, settings) - own:
                runs = [await run_of_launch(id_, settings) for id_ in sorted(ids)]
                own.update(run for run in runs if run is not None)
        await asyncio.to_thread(_check, sent, owner, settings, own, launch_id is not None)
    except (FilesAwayError, StorageError) as exc:
        raise UnavailableLaunchError(str(exc)) from exc


def second_id(launch_id: str, number: int = 1) -> str:
    """The id of what a handler launches beside what it returns."""
    return str(uuid5(UUID(launch_id), str(number)))


async def claim(
    sent: Sequence[SentFiles],
    owner: Owner | None,
    settings: Settings,
    *,
    fid: str | None = None,
    schedule: str | None = None,
    own: Sequence[str] = (),
) -> None:
    """Have the files be an execution's, a launch's or a schedule's; again is as once.

    Arguments:
        fid: of the execution, or id of the launch until it has one.
        own: executions that may have them already.

    Raises:
        NotAllowedError: somebody was faster, or they are gone.
        LaunchError: the database is away.
    """
    if not sent:
        return
    batches = batches_of(sent)
    rows = await database.query_rows(
        settings,
        "claim_batches",
        batches=batches,
        uploads=sorted({id_ for each in sent for id_ in each.names}),
        owner=owner.user if owner is not None else None,
        fid=fid,
        schedule=schedule,
        own=[*own, *([fid] if fid is not None else [])],
    )
    if len(rows) < len(batches):
        fields = ", ".join(sorted({each.field for each in sent}))
        raise NotAllowedError(f"{fields}: the files were launched with before, or are gone")


async def start_with(
    deployment: UUID, wish: RunRequest, sent: Sequence[SentFiles], settings: Settings
) -> str:
    """Start a run, and have what was sent be its own; its fid. Raises as ``start_run``, or:

    Raises:
        NotAllowedError: the files are another launch's, so nothing starts.
    """
    if not sent:
        return await start_run(deployment, wish, settings)
    try:
        await claim(sent, wish.owner, settings, fid=wish.id)
    except NotAllowedError:  # unless this is the launch that has them
        if (known := await run_of_launch(wish.id, settings)) is None:
            raise
        await claim(sent, wish.owner, settings, fid=wish.id, own=[known])
    try:
        fid = await start_run(deployment, wish, settings)
    except asyncio.CancelledError:
        raise  # the client is gone; the run may exist by now, and needs its files
    except BaseException:
        await database.query_rows(settings, "unclaim_batches", launch=wish.id)
        raise
    try:
        await database.query_rows(settings, "note_run_of_batches", fid=fid, launch=wish.id)
    except LaunchError as exc:  # the run goes on; it knows the id of its launch
        logger.warning("files of %s are not in its in/ yet: %s", fid, exc.detail)
        return fid
    await bind_now(fid, batches_of(sent), settings)
    return fid


async def bind_now(fid: str, batches: Sequence[str], settings: Settings) -> bool:
    """Have an execution's files stand in its ``in/``, if their storage is reached from here.

    Else its own process has to do so before its code begins.
    """
    try:
        return await asyncio.to_thread(_bind, fid, batches, settings)
    except KodosumiError as exc:
        logger.warning("files of %s are not in its in/ yet: %s", fid, exc)
        return False


def batches_of(sent: Sequence[SentFiles]) -> list[str]:
    """The batches that were named, each once."""
    return sorted({each.batch for each in sent if each.batch is not None})


async def copied(
    fid: str, batch: str, owner: Owner, settings: Settings, paths: Sequence[str] | None = None
) -> SentFiles | None:
    """Files of an execution's ``in/`` as if somebody had uploaded them; None if there are none.

    Arguments:
        batch: a new id; again with the same one it is the same batch.
        paths: within ``in/``; all if not given.

    Raises:
        NotAllowedError: the owner may not have so many bytes more.
        LaunchError: the database or the storage are away.
    """
    _require_database(settings)
    try:
        return await asyncio.to_thread(_copy, fid, batch, owner, settings, paths)
    except FileLimitError as exc:
        raise NotAllowedError(str(exc)) from exc
    except (FilesAwayError, StorageError) as exc:
        raise UnavailableLaunchError(str(exc)) from exc


def _holders(sent: Sequence[SentFiles], settings: Settings) -> set[str]:
    """The executions and launches that have what was sent."""
    query = _require_database(settings)
    rows = [row for batch in batches_of(sent) for row in query("upload_batch", {"id": batch})]
    holders = (UploadBatch(*row).fid for row in rows)
    return {holder for holder in holders if holder is not None}


def _check(
    sent: Sequence[SentFiles],
    owner: Owner | None,
    settings: Settings,
    own: set[str],
    asked_again: bool,
) -> None:
    query = _require_database(settings)
    storage = reached_storage(settings, query)
    errors = InputsError()
    taken: dict[str, str] = {}
    total = FileTotals(0, 0)
    for field in sent:
        try:
            for upload in _chosen(field, owner, query, own, asked_again):
                upload = _whole(upload, storage, query, settings)
                size = upload.received_bytes if upload.size is None else upload.size
                if field.max_bytes is not None and size > field.max_bytes:
                    raise FileRefusedError(
                        f"{upload.path} has {size:,} bytes; {field.max_bytes:,} at most"
                    )
                if taken.setdefault(upload.comparable, upload.id) != upload.id:
                    raise FileRefusedError(
                        f"{upload.path} is there twice; give one of them another name"
                    )
                total = FileTotals(total.files + 1, total.bytes + size)
            check_execution(total.files, total.bytes, FileTotals(0, 0), settings)
        except (FileRefusedError, FileLimitError, IncompleteUploadError) as exc:
            errors.add(**{field.field: str(exc)})
        except UnknownUploadError:
            errors.add(**{field.field: GONE})
    if errors:
        raise errors


def _chosen(
    field: SentFiles,
    owner: Owner | None,
    query: Query,
    own: set[str],
    asked_again: bool,
) -> list[Upload]:
    """The files that a field names, as they were uploaded."""
    assert field.batch is not None
    batch = batch_of(field.batch, query)
    if owner is None or batch.owner != owner.user:
        raise UnknownUploadError(GONE)  # nobody learns what others have uploaded
    if batch.fid in own:
        return []  # bound already
    if batch.fid is not None or (batch.schedule is not None and not asked_again):
        raise FileRefusedError(USED)
    uploads = {upload.id: upload for upload in uploads_of(field.batch, query)}
    chosen = []
    for id_, name in field.names.items():
        if (upload := uploads.get(id_)) is None:
            raise UnknownUploadError(GONE)
        if upload.path != name:
            raise FileRefusedError(f"{name[:100]!r} was uploaded as {upload.path[:100]!r}")
        chosen.append(upload)
    return chosen


def _whole(upload: Upload, storage: Storage | None, query: Query, settings: Settings) -> Upload:
    """The upload, which is whole as far as can be seen from here."""
    if storage is not None:
        return whole(upload, storage, query, settings)
    if upload.refused is not None:
        raise FileRefusedError(upload.refused)
    if not upload.is_whole and (upload.received < upload.chunks or upload.key is not None):
        raise IncompleteUploadError(f"{upload.path!r} has not arrived as a whole")
    return upload


def _bind(fid: str, batches: Sequence[str], settings: Settings) -> bool:
    query = _require_database(settings)
    storage = reached_storage(settings, query)
    if storage is None:
        return False
    append = append_of(settings)
    assert append is not None
    binding = Binding(storage, query, append, settings)
    for batch in batches:
        binding.bind(fid, batch)
    return True


def _copy(
    fid: str, batch: str, owner: Owner, settings: Settings, paths: Sequence[str] | None
) -> SentFiles | None:
    query = _require_database(settings)
    wanted = None if paths is None else {comparable(path) for path in paths}
    chosen: list[ListedFile] = []
    after: str | None = None
    while True:
        place = {"fid": fid, "direction": str(Direction.IN), "folder": "", "limit": PAGE}
        rows = [ListedFile(*row) for row in query("files_of", place | {"after": after})]
        for file in rows:
            after = file.path.partition("/")[2]
            if wanted is None or comparable(after) in wanted:
                chosen.append(file)
        if len(rows) < PAGE:
            break
    if not chosen:
        return None
    storage = reached_storage(settings, query)
    if storage is None:
        raise UnavailableLaunchError("the storage of the files is not reached from here")
    known = [UploadBatch(*row) for row in query("upload_batch", {"id": batch})]
    used = any(each.fid is not None for each in known)  # they were copied then
    if settings.owner_file_bytes is not None and not known:
        [[has]] = query("owner_bytes", {"owner": owner.user})
        check_owner(sum(file.size for file in chosen), int(has), settings)
    names: dict[str, str] = {}
    files = []
    for file in chosen:
        path = file.path.partition("/")[2]
        id_ = str(uuid5(UUID(batch), path))
        key = upload_key(batch, id_)
        if not used:
            storage.copy(file.key, key)
        names[id_] = path
        files.append(
            {
                "id": id_,
                "path": path,
                "comparable": comparable(path),
                "media_type": file.media_type,
                "key": key,
                "size": file.size,
                "sha256": file.sha256,
            }
        )
    query("copy_batch", {"id": batch, "owner": owner.user, "files": json.dumps(files)})
    return SentFiles("files", batch, names)


def _require_database(settings: Settings) -> Query:
    query = query_of(settings)
    if query is None:
        raise UnavailableLaunchError(
            "this service has no database_url, where files of launches are noted; set "
            "database_url for it"
        )
    return query
