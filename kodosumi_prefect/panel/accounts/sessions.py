"""Sessions: signed tokens of who signed in, and until when that is valid.

A session has two tokens, one for the cookie and one for the header, and neither counts in the
other's place: a browser sends cookies to whatever listens on the same machine, on any port.
"""

import hmac
import time
from hashlib import sha256
from typing import Literal, NamedTuple
from uuid import UUID, uuid4

import jwt

ALGORITHM = "HS256"  # the only one that is accepted, whatever a token's header claims
SESSION, DEVICE = "session", "device"  # what a token is for
DEVICE_DAYS = 365
REMEMBERED = 2000  # tokens that were read, of which only the time is looked at again


Use = Literal["cookie", "header"]  # where a token may be sent


class Session(NamedTuple):
    """The contents of a valid token.

    Attributes:
        role_id: whose it is.
        epoch: of the account when it was begun.
        id: of the session, the same in both of its tokens.
        expires: when, in seconds since 1970.
    """

    role_id: str
    epoch: int
    id: str
    expires: int


class Sessions:
    """Makes and reads tokens.

    Arguments:
        key: of the HMAC.
        seconds: for which a session is valid.
    """

    def __init__(self, key: bytes, seconds: float) -> None:
        self._key = key
        self.seconds = seconds
        self._read: dict[tuple[str, Use], Session] = {}
        self._panel = hmac.new(key, b"panel", sha256).hexdigest()[:8]

    def own_cookie(self, name: str) -> str:
        """The name under which this panel, and those that share its key, keep a cookie.

        Several panels on one machine would overwrite each other's.
        """
        return f"{name}_{self._panel}"

    def begin(self, role_id: str, epoch: int, use: Use = "header", id: str | None = None) -> str:
        """A token of a session.

        Arguments:
            id: of the session; None begins one.
        """
        now = time.time()
        claims = {
            "sub": role_id,
            "aud": SESSION,
            "use": use,
            "sid": id or new_session(),
            "epoch": epoch,
            "iat": int(now),
            "exp": int(now + self.seconds),
        }
        return jwt.encode(claims, self._key, ALGORITHM)

    def read(self, token: str, use: Use) -> Session | None:
        """The contents of a token, or None if it is expired, forged, for another use or no token.

        Those that earlier versions made are for either use.
        """
        known = self._read.get((token, use))
        if known is not None:  # its signature does not change
            return known if known.expires > time.time() else None
        claims = self._claims(token, SESSION, ("epoch",))
        if claims is None or claims.get("use", use) != use:
            return None
        epoch, expires = claims["epoch"], claims["exp"]
        if not isinstance(epoch, int) or not isinstance(expires, int):
            return None
        # Of older tokens, what is signed: the signature itself can be written in several ways.
        id = str(claims.get("sid") or sha256(token.rpartition(".")[0].encode()).hexdigest())
        session = Session(str(claims["sub"]), epoch, id, expires)
        if len(self._read) >= REMEMBERED:
            self._read.clear()
        self._read[token, use] = session
        return session

    def know_device(self, role_id: str, device: str) -> str:
        """A token that marks a browser in which this account was signed in before."""
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


def new_session() -> str:
    """The id of a session that begins."""
    return uuid4().hex
