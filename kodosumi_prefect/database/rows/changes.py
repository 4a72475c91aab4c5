"""Rows of queries of ``database/sql/changes.sql``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A row of ``changes_behind``; all but ``snapshot`` are None if nothing changed.

    Attributes:
        snapshot: of Postgres, in which all rows were read.
        changed: the transaction.
        key: the row's place among those of its transaction.
        kind: ``execution``, ``lock`` or ``deletion``.
        owner: id of the execution's account.
        status: the execution's, or the lock's state.
        asked: of a lock, names of those who are asked; None for the owner.
        handed_on: ids of accounts that had others asked in their place.
        item: what clients are told, as JSON text.
    """

    snapshot: str
    changed: int | None
    key: str | None
    kind: str | None
    owner: str | None
    flow_name: str | None
    app_url: str | None
    status: str | None
    asked: list[str] | None
    handed_on: list[str] | None
    item: str | None


@dataclass(frozen=True, slots=True)
class NamesOfAccount:
    """A row of ``references_to_accounts``."""

    account: str
    names: list[str]
