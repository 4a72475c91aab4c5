"""A multipart form as it comes in: part by part, each in pieces, so that no file is held whole."""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import HTTPException
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

KIND = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a form.

    Attributes:
        name: of the field.
        filename: of a file; empty if none was chosen, None for a field that is no file.
        pieces: its content, to be read before the next part is asked for; what is not read is
            skipped.
    """

    name: str
    filename: str | None
    pieces: AsyncIterator[bytes]


def is_multipart(content_type: str) -> bool:
    """Whether a header says so."""
    return content_type.partition(";")[0].strip().lower() == KIND


async def parts(request: Request) -> AsyncIterator[Part]:
    """The parts of a form, in its order.

    Raises:
        HTTPException: 400 for what is no such form, or breaks off.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    if not (boundary := options.get(b"boundary")):
        raise HTTPException(400, "the form has no boundary")
    incoming = _Incoming(request, boundary)
    while (head := await incoming.next_head()) is not None:
        yield Part(*head, incoming.pieces())
        async for _ in incoming.pieces():
            pass


class _Incoming:
    """What the parser found and nobody has asked for yet: at most what came in at once."""

    def __init__(self, request: Request, boundary: bytes) -> None:
        self._source = request.stream()
        self._found: deque[bytes | tuple[str, str | None] | None] = deque()
        self._within = False  # a part
        self._ended = False
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
                    "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
                    "on_header_end": self._end_of_header,
                    "on_headers_finished": self._end_of_headers,
                    "on_part_data": lambda data, start, end: self._found.append(data[start:end]),
                    "on_part_end": lambda: self._found.append(None),
                    "on_end": self._end,
                },
            )
        except FormParserError as exc:
            raise HTTPException(400, "the form has a boundary that is none") from exc

    async def next_head(self) -> tuple[str, str | None] | None:
        """Name and file name of the next part; None after the last one."""
        found = await self._next()
        if found is None:
            return None
        assert isinstance(found, tuple)
        self._within = True
        return found

    async def pieces(self) -> AsyncIterator[bytes]:
        """What is left of the part."""
        while self._within:
            found = await self._next()
            if found is None:
                self._within = False
                return
            assert isinstance(found, bytes)
            yield found

    async def _next(self) -> bytes | tuple[str, str | None] | None:
        while not self._found:
            if self._ended:
                return None
            try:
                came = await anext(self._source, b"")
                self._parser.write(came)
            except ClientDisconnect as exc:
                raise HTTPException(400, "the form broke off") from exc
            except FormParserError as exc:
                raise HTTPException(400, "the body is no multipart form") from exc
            if not (came or self._found or self._ended):
                raise HTTPException(400, "the form broke off")
        return self._found.popleft()

    def _begin(self) -> None:
        self._header, self._disposition = (bytearray(), bytearray()), b""

    def _add(self, which: int, data: bytes) -> None:
        self._header[which].extend(data)

    def _end_of_header(self) -> None:
        if bytes(self._header[0]).lower() == b"content-disposition":
            self._disposition = bytes(self._header[1])
        self._header = (bytearray(), bytearray())

    def _end_of_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise HTTPException(400, "a part of the form has no name")
        filename = options.get(b"filename")
        self._found.append(
            (
                options[b"name"].decode(errors="replace"),
                None if filename is None else filename.decode(errors="replace"),
            )
        )

    def _end(self) -> None:
        self._ended = True
