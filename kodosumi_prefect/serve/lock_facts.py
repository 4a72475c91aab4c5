"""What a service needs to know about a lock to make its form; fetched from the panel."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import HTTPException
from starlette.requests import Request

from kodosumi_prefect.settings import get_settings, panel_url
from kodosumi_prefect.vocabulary import LOCK_FACTS_SCOPE, SIGNATURE_HEADER

TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class LockFacts:
    """An open lock.

    Attributes:
        name: selects the function that makes its form.
        data: what the run gave to ``tracer.lock``.
        expires: when it does, in seconds since 1970.
    """

    name: str
    data: Any = None
    expires: float | None = None


Ask = Callable[[str, str], Awaitable[LockFacts]]


async def lock_facts(request: Request, fid: str, lid: str) -> LockFacts:
    """The lock that a request is about.

    In the panel's own process the scope brings the answer; elsewhere the panel that is configured
    here is asked, with the signature of the request, which speaks for this lock only.

    Raises:
        HTTPException: 404 there is none, 409 and 410 it is closed, 502 and 503 the panel does not
            answer.
    """
    ask: Ask | None = request.scope.get(LOCK_FACTS_SCOPE)
    if ask is not None:
        return await ask(fid, lid)
    url = f"{panel_url(get_settings())}/lock/{quote(fid, safe='')}/{quote(lid, safe='')}/facts"
    signature = request.headers.get(SIGNATURE_HEADER)
    headers = {SIGNATURE_HEADER: signature} if signature else {}
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            answer = await client.get(url, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        reason = str(exc) or type(exc).__name__
        raise HTTPException(503, f"the panel does not answer at {url}: {reason}") from exc
    return _read(answer, url)


def _read(answer: httpx.Response, url: str) -> LockFacts:
    try:
        body = answer.json()
        if answer.status_code in (401, 403, 404, 409, 410):
            raise HTTPException(answer.status_code, str(body["detail"]))
        answer.raise_for_status()
        return LockFacts(str(body["name"]), body.get("data"), body.get("expires"))
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError, AttributeError) as exc:
        status = answer.status_code
        raise HTTPException(502, f"the panel answered {status} at {url}, without a lock") from exc
