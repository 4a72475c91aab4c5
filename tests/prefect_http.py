"""Requests to Prefect's API that its own client does not make."""

from typing import Any

import httpx

from tests.waiting import wait_for

AUTH_STRING = "admin:of the session's Prefect"
AUTH = httpx.BasicAuth(*AUTH_STRING.split(":"))


def ask_prefect(
    method: str,
    url: str,
    *,
    auth: httpx.Auth = AUTH,
    seconds: float = 60,
    again: bool | None = None,
    **more: Any,
) -> httpx.Response:
    """What Prefect answers, whatever it is, once it does.

    Its SQLite is locked at times (503, and nothing was stored then), and a busy server may drop a
    connection; it is asked again then, too, if that does no harm.

    Arguments:
        seconds: how long it may take until an answer comes.
        again: whether it may be said twice; by default what only reads or is no POST or PATCH.
        more: as for ``httpx.request``.
    """
    if again is None:
        again = method in {"GET", "PUT", "DELETE"} or url.rstrip("/").endswith("/filter")

    def answered() -> httpx.Response | None:
        try:
            answer = httpx.request(method, url, auth=auth, timeout=30, **more)
        except httpx.TransportError:
            if again:
                return None
            raise
        return answer if answer.status_code != 503 else None

    return wait_for(answered, seconds, f"an answer to {method} {url}")
