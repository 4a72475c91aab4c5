"""Rows of the queries behind Kodosumi's analytics page."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardExecution:
    """A row of ``dashboard_executions`` or ``dashboard_execution``.

    Attributes:
        owner: id of an account; None if nobody owns it.
        username: the owner's name, or ``owner`` if there is no such account.
        name: what its launch calls it, else its flow's name.
        meta: envelope as JSON text; None if it was not recorded.
        started, ended: epoch seconds; of a run that is not over ``ended`` is its last event's.
        uploads, downloads: how many files it has in ``in`` and ``out``.
        error: traceback of a run that failed, of a very long one the end; ``failed`` is when.
        total: how many executions match.
    """

    fid: str
    owner: str | None
    username: str | None
    name: str | None
    status: str
    meta: str | None
    started: float
    ended: float
    uploads: int
    downloads: int
    error: str | None
    failed: float | None
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardFailure:
    """A row of ``dashboard_errors``: a failure, as in ``DashboardExecution``; and how many match.

    If none was asked for, one row has the number and nothing else.
    """

    total: int
    fid: str | None
    owner: str | None
    error: str | None
    failed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardFigure:
    """A row of ``dashboard_figures``; ``seconds`` that these executions took together.

    Attributes:
        cancelled: how many of them were.
    """

    owner: str | None
    status: str
    executions: int
    seconds: float
    cancelled: int
