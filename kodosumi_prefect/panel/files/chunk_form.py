"""The form that a part of a file comes in: its content is stored while it arrives."""

from typing import Any
from uuid import UUID

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from kodosumi_prefect.files.incoming import IncomingContent
from kodosumi_prefect.files.storage import PIECE
from kodosumi_prefect.http.multipart import Part, is_multipart, parts
from kodosumi_prefect.panel.files.depot import Depot
from kodosumi_prefect.refusals import InvalidError

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
        InvalidError: it has too many parts, or a field is too long.
        UnavailableError: the storage does not take it.
    """
    fields: dict[str, str] = {}
    has_content, count = False, 0
    if not is_multipart(request.headers.get("content-type", "")):
        return _checked({}, has_content=False)
    async for part in parts(request):
        count += 1
        if count > MOST_PARTS:
            raise InvalidError(f"the form has more than {MOST_PARTS} parts")
        if part.filename is None:
            fields[part.name] = await _text(part)
        elif part.name == CONTENT and not has_content:
            has_content = True
            async for piece in part.pieces:
                content.add(piece)
                if content.waiting >= PIECE:
                    await depot.run(content.flush)
    return _checked(fields, has_content=has_content)


async def _text(part: Part) -> str:
    text = bytearray()
    async for piece in part.pieces:
        text += piece
        if len(text) > LONGEST_FIELD:
            raise InvalidError(f"field {part.name[:40]!r} of the form is too long")
    return text.decode(errors="replace")


def _checked(fields: dict[str, str], *, has_content: bool) -> ChunkFields:
    wrong: list[Any] = []
    checked = None
    try:
        checked = ChunkFields.model_validate(fields)
    except ValidationError as exc:
        wrong += [error | {"loc": ("body", *error["loc"])} for error in exc.errors()]
    if not has_content:
        missing = {"type": "missing", "loc": ("body", CONTENT), "msg": "Field required"}
        wrong.append(missing | {"input": None})
    if checked is None or wrong:
        raise RequestValidationError(wrong)
    return checked
