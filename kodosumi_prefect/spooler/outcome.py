"""What became of a delivery, as plain values between processes.

Psycopg's errors hold results and connections, which do not travel, and Ray wraps what is raised in
an actor in types of its own; the client must see the error that the database gave.
"""

from typing import Any

import psycopg

from kodosumi_prefect.spooler.append import ProtocolError
from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.spooler.refused import RefusedError
from kodosumi_prefect.spooler.storing import GapError

# None: stored. Otherwise which error, and what it takes to rebuild it.
Answer = tuple[str, tuple[Any, ...]] | None


class SpoolerFaultError(Exception):
    """The Spooler failed unexpectedly; its log has the details."""


def of_error(error: BaseException) -> Answer:
    """The answer that raises an error like this one at the other side."""
    if isinstance(error, GapError):
        return "gap", (error.fid, error.writer, error.number, error.last_batch)
    if isinstance(error, RefusedError):
        return "refused", (list(error.names), error.reason)
    if isinstance(error, ProtocolError):
        return "protocol", (str(error),)
    if isinstance(error, psycopg.Error):
        known = [cls.__name__ for cls in type(error).__mro__ if _psycopg_class(cls.__name__) is cls]
        return "psycopg", (known[0], str(error))
    return "fault", (f"{type(error).__name__}: {error}",)


def check(answer: Answer) -> None:
    """Raise what the answer says, if it is not that all is stored."""
    if answer is None:
        return
    which, values = answer
    if which == "gap":
        fid, writer, number, last_batch = values
        raise GapError(Batch(fid, writer, number, {}, []), last_batch)
    if which == "refused":
        raise RefusedError(*values)
    if which == "protocol":
        raise ProtocolError(*values)
    if which == "psycopg":
        name, text = values
        raise (_psycopg_class(name) or psycopg.OperationalError)(text)
    raise SpoolerFaultError(*values)


def _psycopg_class(name: str) -> type[psycopg.Error] | None:
    """The class of psycopg's errors of this name; a class for each SQLSTATE is in ``errors``."""
    error_class = getattr(psycopg.errors, name, None)
    return (
        error_class
        if isinstance(error_class, type) and issubclass(error_class, psycopg.Error)
        else None
    )
