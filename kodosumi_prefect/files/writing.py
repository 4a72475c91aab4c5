"""Writing content whose pieces come one after the other: what was written, and to a bucket."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Full, Queue
from typing import NamedTuple

import obstore
from obstore.store import ObjectStore

PART = 8 * 1024**2  # bytes of a part of an upload to a bucket
PARTS_AT_ONCE = 2
PATIENCE = 1.0  # seconds after which a thread looks whether the upload goes on


class WrittenContent(NamedTuple):
    """What was written.

    Attributes:
        size: bytes.
        sha256: of all of it, in hexadecimal.
    """

    size: int
    sha256: str


class CountedPieces(Iterator[bytes]):
    """Pieces, and what went through of them.

    Attributes:
        failed: the error that ended them, if one did.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._size = 0
        self._digest = hashlib.sha256()
        self.failed: BaseException | None = None

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces)
        except StopIteration:
            raise
        except BaseException as exc:
            self.failed = exc
            raise
        self._size += len(piece)
        self._digest.update(piece)
        return piece

    @property
    def written(self) -> WrittenContent:
        """All of it."""
        return WrittenContent(self._size, self._digest.hexdigest())


def write_object(store: ObjectStore, key: str, pieces: Iterable[bytes]) -> None:
    """Write an object of a bucket; nothing is there if the pieces or the bucket fail.

    The pieces are made in this thread: inside of obstore's own they could not come from a bucket.
    """
    queue: Queue[bytes | Exception | None] = Queue(1)

    def handed_over() -> Iterator[bytes]:
        while (piece := queue.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def hand_over(piece: bytes | Exception | None) -> bool:
        while not put.done():
            try:
                queue.put(piece, timeout=PATIENCE)
            except Full:
                continue
            return True
        return False

    with ThreadPoolExecutor(1, "kodosumi-bucket") as thread:
        put = thread.submit(
            obstore.put,
            store,
            key,
            handed_over(),
            use_multipart=True,
            chunk_size=PART,
            max_concurrency=PARTS_AT_ONCE,
        )
        try:
            for piece in pieces:
                if not hand_over(piece):
                    break
        except BaseException:
            hand_over(InterruptedError("nothing more comes"))
            raise
        hand_over(None)
        put.result()
