"""Passwords: hashed with argon2, a few at a time and never on the event loop."""

import asyncio
import secrets
from functools import cache

from pwdlib import PasswordHash

from kodosumi_prefect.settings.areas.access import SHORTEST_PASSWORD

SHORTEST, LONGEST = SHORTEST_PASSWORD, 1024  # characters
AT_ONCE = 2  # hashes; each takes 64 MB and a core for a tenth of a second


class WeakPasswordError(ValueError):
    """A password that is refused."""


def checked_password(text: str) -> str:
    """The password, if it may be one.

    Raises:
        WeakPasswordError: it is too short or too long.
    """
    if not SHORTEST <= len(text) <= LONGEST:
        raise WeakPasswordError(f"a password has {SHORTEST} to {LONGEST} characters")
    return text


def random_password() -> str:
    """A password that nobody guesses, short enough to be typed."""
    return secrets.token_urlsafe(15)


@cache
def _hasher() -> PasswordHash:
    return PasswordHash.recommended()


@cache
def _nobodys() -> str:
    """What passwords of unknown names are compared with, so that they take as long."""
    return _hasher().hash(secrets.token_hex(16))


def hash_password(password: str) -> str:
    """The argon2 hash; blocks for a tenth of a second."""
    return _hasher().hash(password)


class Passwords:
    """Hashes and verifies in threads, ``AT_ONCE`` of them."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)

    async def hash(self, password: str) -> str:
        """The hash to store."""
        async with self._free:
            return await asyncio.to_thread(hash_password, password)

    async def fits(self, password: str, stored: str | None) -> bool:
        """Whether this is the password; takes as long where there is none to compare with."""
        async with self._free:
            return await asyncio.to_thread(_fits, password, stored)


def _fits(password: str, stored: str | None) -> bool:
    # Encoded here: a lone surrogate would be an error where a wrong password is none.
    encoded = password.encode(errors="replace")
    nobodys = _nobodys()  # made now, also where it is not needed: it takes time
    fits = _hasher().verify(encoded, stored or nobodys)
    return fits and stored is not None
