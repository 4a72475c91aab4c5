"""Which Prefect counts: the address of its API, and what to sign in there with.

The order, everywhere in this package:

1. what environment, files or profile name (``PREFECT_API_URL``), as Prefect itself reads it;
2. the server that ``up`` recorded in the data dir;
3. none.

A running stack is fixed to the server that it was started on: what speaks for the stack
(``Stack.prefect``, ``env``) names its own server first. Code of a run asks none of this: it uses
Prefect's settings as its engine does, which the worker passed on.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import prefect.settings
from prefect.context import SettingsContext, get_settings_context
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, get_current_settings

from kodosumi_prefect.settings import Settings, read_address

KEPT = 16  # settings of Prefect that point elsewhere
_pointed: dict[Any, tuple[prefect.settings.Settings, prefect.settings.Settings]] = {}


@dataclass(frozen=True)
class PrefectAccess:
    """How to reach a Prefect API.

    Attributes:
        url: of the API, without a slash at its end.
        auth_string: for Prefect's basic authentication, as in PREFECT_API_AUTH_STRING; None if
            the server wants none or is asked with a key.
        auth_path: the file with the auth string, if ``up`` runs this server for the data dir.
    """

    url: str
    auth_string: str | None = field(default=None, repr=False)
    auth_path: Path | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What a request needs that Prefect's own client does not make."""
        if self.auth_string is None:
            return {}
        token = base64.b64encode(self.auth_string.encode()).decode()
        return {"Authorization": f"Basic {token}"}

    def recorded(self, pid: int) -> dict[str, Any]:
        """What other processes of this user need to know about a server with an ``auth_path``."""
        pages = self.url.removesuffix("/api")
        return {"url": self.url, "ui_url": pages, "auth_path": str(self.auth_path), "pid": pid}

    def environment(self) -> dict[str, str]:
        """The same for another process."""
        known = {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": self.auth_string}
        return {name: value for name, value in known.items() if value is not None}

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Point Prefect's clients that are made inside the block, in this context, at it."""
        known = get_settings_context()
        with SettingsContext(profile=known.profile, settings=self._pointing_here(known.settings)):
            yield

    def _pointing_here(self, known: prefect.settings.Settings) -> prefect.settings.Settings:
        """Prefect's settings with this address, kept: to make them reads all of their sources."""
        key = id(known), self.url, self.auth_string
        pair = _pointed.get(key)
        if pair is None:
            pointing = known.copy_with_update(
                updates={PREFECT_API_URL: self.url, PREFECT_API_AUTH_STRING: self.auth_string}
            )
            pair = known, pointing  # with `known`, so that its id stays
            if len(_pointed) >= KEPT:
                _pointed.clear()
            _pointed[key] = pair
        return pair[1]


class NoPrefectError(LookupError):
    """No Prefect is configured, and ``up`` runs none for the data dir."""


def prefect_access(settings: Settings, *, own_first: bool = False) -> PrefectAccess | None:
    """The Prefect that counts, by the order in this module's docstring; None if there is none.

    The auth string of our own server goes to the address that ``up`` recorded and to no other.
    An address is used as it was configured, without a slash at its end: one that lacks ``/api``
    is not completed, as Prefect's own clients do not.

    Arguments:
        own_first: for what speaks for a running stack: the server that ``up`` recorded, whatever
            this process is configured for.
    """
    if own_first and (own := recorded_access(settings)) is not None:
        return own
    configured = configured_access()
    recorded = recorded_access(settings)
    if configured is None or (
        recorded is not None
        and recorded.url == configured.url
        and configured.auth_string in (None, recorded.auth_string)
    ):
        return recorded
    return configured


def require_prefect_access(settings: Settings) -> PrefectAccess:
    """The Prefect that counts.

    Raises:
        NoPrefectError: there is none.
    """
    access = prefect_access(settings)
    if access is None:
        raise NoPrefectError(
            "PREFECT_API_URL is not set and no Prefect server runs for "
            f"{settings.data_dir}; set it or start `kodosumi-prefect up`"
        )
    return access


def no_answer(access: PrefectAccess | None, why: BaseException | float) -> str:
    """What is said of a Prefect that does not answer: one line without a full stop.

    Arguments:
        why: what a request raised; or the seconds after which it was given up.
    """
    name = "Prefect" if access is None else f"Prefect at {access.url}"
    if isinstance(why, float):
        return f"{name} did not answer within {why:g} s"
    reason = " ".join(str(why).split()) or type(why).__name__
    return f"{name} did not answer: {reason[:200]}"


def configured_access() -> PrefectAccess | None:
    """The Prefect that environment, files or profile name, or None."""
    configured = get_current_settings().api
    if not configured.url:
        return None
    auth = configured.auth_string.get_secret_value() if configured.auth_string else None
    return PrefectAccess(configured.url.rstrip("/"), auth)


def recorded_access(settings: Settings) -> PrefectAccess | None:
    """The server that ``up`` runs for the data dir, or None."""
    recorded = read_address(settings, "prefect") or {}
    url = recorded.get("api_url") or recorded.get("url")
    if not url:
        return None
    if (path := recorded.get("auth_path")) is None:
        return PrefectAccess(str(url).rstrip("/"))
    return PrefectAccess(str(url).rstrip("/"), _auth_string(Path(path)), Path(path))


def _auth_string(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
