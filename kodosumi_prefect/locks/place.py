"""Where a question is asked in a run that may end there and go on later, in another process."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol


class Earlier(NamedTuple):
    """What became of a question that an earlier leg of the run asked.

    Attributes:
        state: ``open``, ``leased``, ``expired`` or ``void``.
        result: what was answered, as it is stored.
        left: seconds until its deadline, by the clock of the database.
    """

    state: str
    result: str | None
    left: float


class Place(Protocol):
    """One call of ``tracer.lock`` in the code of a flow or a task."""

    @property
    def later(self) -> bool:
        """Whether an earlier leg may have asked this."""

    def next_lid(self) -> str:
        """The id of the next lock that this call opens, the same in each leg."""

    def asked_before(self, lid: str) -> Earlier | None:
        """The lock as an earlier leg left it; None if none asked, or that cannot be read here."""

    def waiting(self, lid: str, changed: Callable[[], None]) -> AbstractContextManager[object]:
        """Inside the block the run waits for this lock.

        Arguments:
            changed: called, from any thread, when ``patience`` may be less than it was.
        """

    def patience(self) -> float:
        """Seconds until the leg may end, as far as is known now; infinite if it may not."""

    def end_leg(self) -> BaseException | None:
        """End the leg, unless that is impossible now.

        Returns:
            What the calling code has to raise; None if it goes on waiting.
        """

    @property
    def deciding(self) -> bool:
        """Whether it is being decided if the leg ends, or another process may decide so."""

    @property
    def undecided(self) -> bool:
        """Whether ``decision`` has to be asked before the code goes on."""

    def decision(self) -> BaseException | None:
        """As ``end_leg``, once it is decided whether the leg ends."""

    @property
    def left(self) -> bool:
        """Whether the leg has ended: the lock stays open although nobody waits here any more."""
