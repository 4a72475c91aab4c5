"""The form that a part of a file comes in: its content is stored while it arrives."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from kodosumi_prefect.files.incoming import IncomingContent
from kodosumi_prefect.files.storage import PIECE
from kodosumi_prefect.panel.files.depot import Depot

MOST_PARTS = 100
LONGEST_FIELD = 1000  # bytes
CONTENT = "chunk"  # name of the part that is the file's


class ChunkFields(BaseModel):
    """What part of which file it is."""

    upload_id: UUID
    chunk_number: int = Field(ge=-(2**31) + 1, le=2**31 - 1, description="From 0.")


_SCHEMA = ChunkFields.model_json_schema()
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    **_SCHEMA,
                    "properties": {
                        **_SCHEMA["properties"],
                        CONTENT: {
                            "type": "string",
                            "format": "binary",
                            "description": "Up to 10 MiB.",
                        },
                    },
                    "required": [*_SCHEMA["required"], CONTENT],
                }
            }
        },
    }
}


async def read_chunk(request: Request, content: IncomingContent, depot: Depot) -> ChunkFields:
    """Read a form; the part of the file goes into ``content``.

    Raises:
        RequestValidationError: a field is missing or wrong.
        HTTPException: the form is damaged, or broke off.
        UnavailableError: the storage does not take it.
    """
    form = _Form(content)
    try:
        if (parser := form.parser(request.headers.get("content-type", ""))) is not None:
            async for received in request.stream():
                parser.write(received)
                if content.waiting >= PIECE:
                    await depot.run(content.flush)
            parser.finalize()
    except FormParserError as exc:
        raise HTTPException(400, f"the form is damaged: {exc}") from exc
    except ClientDisconnect as exc:
        raise HTTPException(400, "the form broke off; nothing of it is stored") from exc
    return form.checked()


class _Form:
    """Takes a form's parts from the parser: short fields, and the content."""

    def __init__(self, content: IncomingContent) -> None:
        self._content = content
        self._fields: dict[str, bytearray] = {}
        self._has_content = False
        self._parts = 0
        self._header = self._value = b""
        self._disposition = b""
        self._take: Callable[[memoryview], None] = _ignore

    def parser(self, content_type: str) -> MultipartParser | None:
        """What to write the body to; None if it is no form with parts."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            return None
        return MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
            },
        )

    def checked(self) -> ChunkFields:
        """The fields, if all is there.

        Raises:
            RequestValidationError: a field is missing or wrong.
        """
        wrong: list[Any] = []
        fields = {name: value.decode("utf-8", "replace") for name, value in self._fields.items()}
        try:
            checked = ChunkFields.model_validate(fields)
        except ValidationError as exc:
            wrong += [error | {"loc": ("body", *error["loc"])} for error in exc.errors()]
        if not self._has_content:
            missing = {"type": "missing", "loc": ("body", CONTENT), "msg": "Field required"}
            wrong.append(missing | {"input": None})
        if wrong:
            raise RequestValidationError(wrong)
        return checked

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise FormParserError(f"it has more than {MOST_PARTS} parts")
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            self._take = self._field(name)
        elif name == CONTENT and not self._has_content:
            self._has_content = True
            self._take = self._content.add
        else:
            self._take = _ignore

    def _field(self, name: str) -> Callable[[memoryview], None]:
        value = self._fields[name] = bytearray()

        def take(piece: memoryview) -> None:
            if len(value) + len(piece) > LONGEST_FIELD:
                raise FormParserError(f"field {name[:40]!r} is too long")
            value.extend(piece)

        return take

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._take(memoryview(data)[start:end])


def _ignore(piece: memoryview) -> None:
    """A part that nobody asked for."""
