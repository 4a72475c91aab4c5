"""Rows of API keys and accounts."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredApiKey:
    """A row of ``api_keys`` or ``add_api_key``; ``prefix`` is what the key begins with."""

    id: str
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class ValidApiKey:
    """A row of ``api_key_by_hash``; ``unnoted``: its use should be noted."""

    id: str
    role_id: str
    unnoted: bool


@dataclass(frozen=True, slots=True)
class NamedApiKey:
    """A row of ``api_key_named``."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class SeenAccount:
    """A row of ``roles_seen``: when an account was last active."""

    id: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class ActiveRole:
    """A row of ``active_role``: an account that may sign in."""

    id: str
    name: str
    operator: bool
