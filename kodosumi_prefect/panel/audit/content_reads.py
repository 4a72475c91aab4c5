"""Which reads of an execution's contents are recorded: the first within an hour."""

import time
from collections import OrderedDict

WINDOW = 3600.0  # seconds
MOST = 10_000  # remembered reads; without its memory a read is recorded once more


class ContentReads:
    """Who read what lately, in this panel: pages ask again and again, and stand for one read."""

    def __init__(self) -> None:
        self._at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_first(self, user: str, fid: str) -> bool:
        """Whether an account has not read this execution within the hour; it has now."""
        now, key = time.monotonic(), (user, fid)
        last = self._at.get(key)
        if last is not None and now - last < WINDOW:
            return False
        self._at[key] = now
        self._at.move_to_end(key)
        if len(self._at) > MOST:
            self._at.popitem(last=False)
        return True
