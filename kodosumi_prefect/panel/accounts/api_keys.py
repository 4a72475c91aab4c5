"""API keys: named, revocable, expiring; only their hashes are stored."""

import hashlib
import secrets
import time
from datetime import datetime
from typing import NamedTuple

from kodosumi_prefect.database.rows.accounts import NamedApiKey, StoredApiKey, ValidApiKey
from kodosumi_prefect.stream.reader import Reader

MARK = "kp_"  # prefix of every key, by which people and scanners recognise one
PREFIX_LENGTH = 11  # characters of a key that lists show
FRESH = 2.0  # seconds that a key is cached; a revoked one works that long
REMEMBERED = 10_000  # keys


class NewKey(NamedTuple):
    """A key that was just created; ``secret`` cannot be read again."""

    secret: str
    row: StoredApiKey


class ApiKeys:
    """The table ``api_key``; methods raise ``psycopg.OperationalError`` if Postgres is away."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[bytes, tuple[float, str | None]] = {}

    async def make(self, role_id: str, name: str, expires_at: datetime | None) -> NewKey:
        """A new key of an account."""
        secret = MARK + secrets.token_urlsafe(32)
        [row] = await self._reader.rows_of(
            StoredApiKey,
            "add_api_key",
            role=role_id,
            name=name,
            prefix=secret[:PREFIX_LENGTH],
            hash=_hash(secret),
            expires_at=expires_at,
        )
        return NewKey(secret, row)

    async def of(self, role_id: str) -> list[StoredApiKey]:
        """The keys of an account that were not revoked, newest first."""
        return await self._reader.rows_of(StoredApiKey, "api_keys", role=role_id)

    async def revoke(self, key_id: str, role_id: str | None) -> bool:
        """Revoke a key; False if there is none.

        Arguments:
            role_id: whose it must be; None for anybody's.
        """
        revoked = await self._reader.execute("revoke_api_key", id=key_id, role=role_id)
        self._known.clear()
        return bool(revoked)

    async def owner(self, secret: str) -> str | None:
        """The id of the account whose key this is, or was at most ``FRESH`` seconds ago."""
        if not secret.startswith(MARK):
            return None
        hashed = _hash(secret)
        now = time.monotonic()
        remembered = self._known.get(hashed)
        if remembered is not None and now - remembered[0] < FRESH:
            return remembered[1]
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        keys = await self._reader.rows_of(ValidApiKey, "api_key_by_hash", hash=hashed)
        owner = keys[0].role_id if keys else None
        if keys and keys[0].unnoted:
            await self._reader.execute("note_api_key", id=keys[0].id)
        self._known[hashed] = (now, owner)
        return owner

    async def named(self, secret: str) -> tuple[str, str] | None:
        """The id and name of a key, whether it counts or not."""
        keys = await self._reader.rows_of(NamedApiKey, "api_key_named", hash=_hash(secret))
        return (keys[0].id, keys[0].name) if keys else None


def _hash(secret: str) -> bytes:
    # A key is random enough that guessing its hash is no easier than guessing the key.
    return hashlib.sha256(secret.encode(errors="replace")).digest()
