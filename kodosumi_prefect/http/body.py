"""Posted bodies: a JSON object or a form, up to a size."""

import json
from hashlib import sha256
from typing import Any, NoReturn

from fastapi import HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as PartsError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from kodosumi_prefect.forms.bounds import DEEPEST, too_deep

LARGEST = 8 * 1024 * 1024  # bytes of a body
SIGNED = 1024 * 1024  # bytes up to which the panel reads a body before it signs who calls
ASIDE = 256 * 1024  # bytes from which on a body is parsed in a thread
MOST_FIELDS = 10_000  # of a form
APART = "files are uploaded by /files before the form, which then names them"
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class TooLargeError(HTTPException):
    """A body that is larger than a service reads."""

    def __init__(self) -> None:
        super().__init__(413, f"the body is larger than {LARGEST // 1024 // 1024} MiB")


def limited(receive: Receive) -> Receive:
    """``receive`` that gives up on bodies which are too large, however they are sent."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > LARGEST:
            raise TooLargeError
        return message

    return counted


class Digest:
    """Size and hash of a body, updated as it is received.

    Arguments:
        receive: of the request, of which nothing was read yet.

    Attributes:
        size: bytes that came so far.
        whole: nothing of it is still to come.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._hash = sha256()
        self.size = 0
        self.whole = False

    async def receive(self) -> Message:
        """As the request's own."""
        message = await self._receive()
        if message["type"] == "http.request":
            body = message.get("body", b"")
            self.size += len(body)
            if self.size <= SIGNED:  # nobody asks for that of a larger one
                self._hash.update(body)
            self.whole = not message.get("more_body", False)
        return message

    def hex(self) -> str | None:
        """SHA-256 of the body; None if it has more than ``SIGNED`` bytes."""
        return self._hash.hexdigest() if self.size <= SIGNED else None


def digest_of(body: bytes | None) -> str | None:
    """SHA-256 of a body, as ``Digest`` computes it; None for one that is not known whole."""
    return None if body is None else sha256(body).hexdigest()


async def read_body(request: Request) -> dict[str, Any]:
    """The fields that were posted, as JSON or as a form without files.

    Raises:
        HTTPException: 413 for too much, 422 for what is nested too deep, 400 for what is neither.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > LARGEST):
        raise TooLargeError
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind in _FORMS:
            return await _form(request)
        body = await request.body()
    except ClientDisconnect as exc:
        raise HTTPException(400, "the body broke off") from exc
    if len(body) > ASIDE:
        return await run_in_threadpool(_object, body)
    return _object(body)


async def _form(request: Request) -> dict[str, Any]:
    try:
        form = await request.form(max_files=0, max_fields=MOST_FIELDS, max_part_size=LARGEST)
    except PartsError as exc:
        if str(exc.detail).startswith("Too many files"):
            raise HTTPException(400, f"the body holds a file; {APART}") from exc
        raise
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            raise HTTPException(400, f"{name}: {APART}")
        fields[name] = value
    return fields


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        data = json.loads(body, parse_constant=_no_number)
    except UnicodeDecodeError as exc:
        raise HTTPException(400, "the body is not UTF-8") from exc
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise HTTPException(400, f"the body is not JSON: {exc.msg} at {where}") from exc
    except RecursionError:  # in one line: its own traceback has a thousand
        raise HTTPException(422, f"body: is nested deeper than {DEEPEST} levels") from None
    except ValueError as exc:  # numbers with too many digits
        raise HTTPException(400, "the body is JSON with a number that is too long") from exc
    if (path := too_deep(data)) is not None:
        raise HTTPException(422, f"{path[0]}: is nested deeper than {DEEPEST} levels")
    if not isinstance(data, dict):
        raise HTTPException(400, f"the body is a JSON {type(data).__name__}, not an object")
    return data


def _no_number(word: str) -> NoReturn:
    raise json.JSONDecodeError(f"{word} is not a JSON number", word, 0)
