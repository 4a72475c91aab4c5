"""Sessions: signed tokens that say who signed in, and until when that counts."""

import time
from typing import NamedTuple
from uuid import UUID

import jwt

ALGORITHM = "HS256"  # the only one that is read, whatever a token says of itself
SESSION, DEVICE = "session", "device"  # what a token is for
DEVICE_DAYS = 365


class Session(NamedTuple):
    """What a valid token says: whose it is, and under which epoch it was begun."""

    role_id: str
    epoch: int


class Sessions:
    """Makes and reads tokens.

    Arguments:
        key: of the HMAC.
        seconds: for which a session counts.
    """

    def __init__(self, key: bytes, seconds: float) -> None:
        self._key = key
        self.seconds = seconds

    def begin(self, role_id: str, epoch: int, seconds: float | None = None) -> str:
        """The token of a new session."""
        now = time.time()
        claims = {
            "sub": role_id,
            "aud": SESSION,
            "epoch": epoch,
            "iat": int(now),
            "exp": int(now + (self.seconds if seconds is None else seconds)),
        }
        return jwt.encode(claims, self._key, ALGORITHM)

    def read(self, token: str) -> Session | None:
        """What a token says, or None if it is expired, forged or none at all."""
        claims = self._claims(token, SESSION, ("epoch",))
        if claims is None or not isinstance(claims["epoch"], int):
            return None
        return Session(str(claims["sub"]), claims["epoch"])

    def know_device(self, role_id: str, device: str) -> str:
        """A token that tells a browser in which this account was signed in before."""
        expires = int(time.time() + DEVICE_DAYS * 86_400)
        claims = {"sub": role_id, "aud": DEVICE, "device": device, "exp": expires}
        return jwt.encode(claims, self._key, ALGORITHM)

    def device(self, token: str, role_id: str) -> str | None:
        """Which browser this is, if the account was signed in there before."""
        claims = self._claims(token, DEVICE, ("device",))
        return str(claims["device"]) if claims and claims["sub"] == role_id else None

    def _claims(
        self, token: str, purpose: str, needed: tuple[str, ...]
    ) -> dict[str, object] | None:
        try:
            claims: dict[str, object] = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=purpose,
                options={"require": ["exp", "sub", "aud", *needed]},
            )
            UUID(str(claims["sub"]))
        except (jwt.InvalidTokenError, ValueError):
            return None
        return claims
