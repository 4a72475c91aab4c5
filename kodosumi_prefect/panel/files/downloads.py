"""A file as an answer: in pieces, in parts, and never as something that a browser runs."""

import logging
from collections.abc import AsyncIterator
from email.utils import formatdate
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from kodosumi_prefect.database.rows.files import ListedFile
from kodosumi_prefect.files.storage import Storage, StorageError
from kodosumi_prefect.panel.files.depot import refusal
from kodosumi_prefect.panel.files.ranges import etag_of, names, span_of
from kodosumi_prefect.refusals import NotFoundError

# Whatever the file is, it has no origin, and may do nothing.
POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"

logger = logging.getLogger(__name__)


def disposition(name: str) -> str:
    """The header that has a file saved under its name (RFC 6266)."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    plain = plain.replace("\\", "_").replace('"', "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


class ContentResponse(StreamingResponse):
    """A stream of contents; where their storage fails it is broken off, and not ended."""

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except (StorageError, FileNotFoundError) as exc:
            logger.warning("a download broke off: %s", exc)


async def answer(
    storage: Storage,
    file: ListedFile,
    *,
    range_: str | None = None,
    if_range: str | None = None,
    if_none_match: str | None = None,
    head: bool = False,
) -> Response:
    """The file, or the part of it that is wanted.

    Arguments:
        range_, if_range, if_none_match: as the headers of these names.
        head: without the content.

    Raises:
        NotFoundError: its content is gone.
        UnavailableError: the storage does not answer.
        UnsatisfiableError: the range begins behind its end.
    """
    etag = etag_of(file.sha256)
    headers = {
        "ETag": etag,
        "Last-Modified": formatdate(file.created, usegmt=True),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": disposition(file.path.rpartition("/")[2]),
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Content-Type": "application/octet-stream",
    }
    if names(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    span = span_of(None if head else range_, if_range, etag, file.size)
    start, end = span or (0, file.size)
    status = 200
    if span is not None:
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    headers["Content-Length"] = str(end - start)
    if head or start == end:
        return Response(status_code=status, headers=headers)
    pieces = storage.stream(file.key, start, end)
    try:
        first = await anext(pieces)
    except FileNotFoundError as exc:
        raise NotFoundError(f"the content of {file.path!r} is no longer there") from exc
    except StopAsyncIteration:
        raise NotFoundError(f"the content of {file.path!r} is shorter than it was") from None
    except StorageError as exc:
        raise refusal(exc) from exc
    return ContentResponse(_from(first, pieces), status, headers)


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
