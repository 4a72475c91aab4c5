"""What carries a client's deliveries to the database: a connection, a Spooler, or the panel."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.spooler.standing import Standing


class SpoolerAwayError(ConnectionError):
    """The cluster's Spooler is not there, or does not answer; what was sent can be sent again."""


class NoDatabaseError(Exception):
    """There is no database to deliver to, and none is expected soon."""


class Backlog(NamedTuple):
    """What a client has not delivered yet.

    Attributes:
        events: waiting in memory, about.
        bytes: that they take, about.
        spilled: bytes in the spill file.
    """

    events: int = 0
    bytes: int = 0
    spilled: int = 0


class Transport(Protocol):
    """Stores batches, here or elsewhere. Used by one thread at a time.

    Attributes:
        instance: the id of the database, once it is known.
    """

    @property
    def instance(self) -> str | None: ...

    def takes(self, fid: str) -> bool:
        """Whether events of this execution may be delivered from here; asked before a replay."""

    def append(self, batches: Sequence[Batch]) -> None:
        """Store one delivery in one transaction, or nothing of it.

        Raises:
            psycopg.Error: the database did not take it.
            SpoolerAwayError: it may be stored or not; sending it again stores nothing twice.
            RefusedError: all is stored but for these batches, which are refused for good.
            GapError: the writer has to continue under another id.
            ProtocolError: this version is too old for the database.
        """

    def heartbeat(self, fids: Sequence[str]) -> None:
        """Say that the process of these executions is alive; raises as ``append``."""

    def standings(self, fids: Sequence[str]) -> dict[str, Standing]:
        """How executions stand against their budgets; raises as ``append``.

        Those that are not known, and all where the other side knows no budgets, are left out.
        """

    def prepare(self) -> None:
        """Have what the next ``append`` needs, such as a connection; raises as ``append``."""

    def close(self) -> None:
        """Give back what is held; the next call takes it again."""

    def close_if_idle(self, seconds: float) -> None:
        """Give back what was not used for ``seconds``."""

    def abandon(self) -> None:
        """Forget the connection without writing to it: after a fork it is the parent's."""
