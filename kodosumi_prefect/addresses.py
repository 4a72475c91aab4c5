"""Which Prefect counts: the address of its API, and what to sign in there with."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    get_current_settings,
    temporary_settings,
)

from kodosumi_prefect.settings import Settings, read_address


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
        ours = {PREFECT_API_URL: self.url, PREFECT_API_AUTH_STRING: self.auth_string}
        with temporary_settings(ours):
            yield


def prefect_access(settings: Settings) -> PrefectAccess | None:
    """The Prefect that environment, files or profile name, else that of ``up``, else None.

    The auth string of our own server goes to the address that ``up`` recorded and to no other.
    """
    recorded = recorded_access(settings)
    configured = get_current_settings().api
    if not configured.url:
        return recorded
    url = configured.url.rstrip("/")
    auth = configured.auth_string.get_secret_value() if configured.auth_string else None
    if recorded is not None and recorded.url == url and auth in (None, recorded.auth_string):
        return recorded
    return PrefectAccess(url, auth)


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
