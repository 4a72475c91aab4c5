"""Reading a content of a storage: all of it or a range, and on where an answer breaks off."""

from typing import Any

from obstore.exceptions import BaseError


class Reading:
    """How far content was read.

    A bucket's answer is bounded in time, so that one that falls silent is noticed. Whoever takes
    longer over it than that, such as a browser on a slow line, is read the rest by another one:
    contents never change.

    Arguments:
        start: the first byte that is wanted.
        end: the one behind the last; None for all.
    """

    def __init__(self, start: int, end: int | None) -> None:
        self._at = start
        self._end = end
        self._asked_at = start
        self._skip = 0

    def goes_on(self) -> bool:
        """Whether more is wanted."""
        return self._end is None or self._at < self._end

    @property
    def options(self) -> Any:
        """What asks for all that is wanted still."""
        self._asked_at, self._skip = self._at, 0
        if self._end is not None:
            return {"range": (self._at, self._end)}
        return {"range": {"offset": self._at}} if self._at else {}

    def by_hand(self, refusal: BaseError) -> Any:
        """What asks for all of it, where a server sent the range and did not say so.

        Raises:
            BaseError: the refusal, if it was another one.
        """
        if "non-partial response" not in str(refusal):
            raise refusal
        self._skip = self._at
        return {}

    def of(self, piece: bytes) -> bytes:
        """What of the next piece is wanted."""
        skipped = min(self._skip, len(piece))
        self._skip -= skipped
        wanted = piece[skipped:] if skipped else piece
        if self._end is not None:
            wanted = wanted[: self._end - self._at]
        self._at += len(wanted)
        return wanted

    def broke_off(self, error: BaseError) -> None:
        """An answer ended too early; raises the error if nothing came of it."""
        if self._at == self._asked_at:
            raise error
