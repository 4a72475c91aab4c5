"""Rows of what was done in the panel."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAuditEntry:
    """A row of ``audit``; exports have its fields in this order.

    Attributes:
        outcome: ``ok``, ``refused`` or ``failed``.
        actor_id: id of the account, which may be gone.
        means: how the actor was known, such as ``session`` or ``key``.
        target_kind, target_id, target_name: what it was done to.
    """

    id: int
    at: datetime
    action: str
    outcome: str
    actor_id: str | None
    actor_name: str | None
    means: str | None
    key_id: str | None
    key_name: str | None
    address: str | None
    user_agent: str | None
    target_kind: str | None
    target_id: str | None
    target_name: str | None
    details: dict[str, Any]
