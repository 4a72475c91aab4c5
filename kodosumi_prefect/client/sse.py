"""Server-sent events, read from pieces of a stream that are cut anywhere."""

from collections.abc import Iterator
from typing import NamedTuple


class ServerSent(NamedTuple):
    """An event; ``id`` is the last one that the stream has named."""

    event: str
    id: str
    data: str


class Reader:
    """Reads one stream; an event that is not whole at its end is none, nor is its id.

    Attributes:
        id: the last one that was named.
    """

    def __init__(self, last_id: str = "") -> None:
        self.id = self._named = last_id
        self._rest = bytearray()
        self._event = ""
        self._data: list[str] = []

    def read(self, piece: bytes) -> Iterator[ServerSent]:
        """The events that end within a piece."""
        searched = len(self._rest)
        self._rest += piece
        start = 0
        while (end := self._rest.find(b"\n", max(start, searched))) >= 0:
            line = self._rest[start:end].decode("utf-8", "replace")
            start = end + 1
            if (found := self._line(line)) is not None:
                yield found
        del self._rest[:start]

    def _line(self, line: str) -> ServerSent | None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._event = value
        elif field == "id":
            self._named = value
        elif not line:
            self.id = self._named
            event, data = self._event, self._data
            self._event, self._data = "", []
            if data:
                return ServerSent(event, self.id, "\n".join(data))
        return None
