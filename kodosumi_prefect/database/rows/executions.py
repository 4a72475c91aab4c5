"""Rows of queries of ``database/sql/executions.sql`` for the panel's list."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class OrderPosition:
    """A row of ``order_position``."""

    began: datetime
    id: int


@dataclass(frozen=True, slots=True)
class RunsOverTime:
    """A row of ``runs_over_time``: how many runs of a status began in a stretch of time.

    Attributes:
        since, until: the whole span, epoch seconds.
        step: seconds of a stretch.
        status: as people read it; None, as ``bar``, if there are no runs at all.
        bar: the stretch begins at ``bar * step``.
        more: there are older ones that are not counted.
    """

    since: float
    until: float
    step: float
    status: str | None
    bar: int | None
    executions: int
    more: bool


@dataclass(frozen=True, slots=True)
class SavedView:
    """A row of ``saved_views``; ``query`` is that of the list's address."""

    id: str
    name: str
    query: str
    shared: bool
    owner: str
    username: str
