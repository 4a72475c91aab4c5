"""Fetching URLs that operators name, with bounds on time, size and redirects."""

import asyncio
import json
from typing import Any, NamedTuple

import httpx

from kodosumi_prefect.panel.services.forwarded_headers import no_cookies
from kodosumi_prefect.panel.services.register.reading import SourceError

DOCUMENT_ANSWER_SECONDS = 10.0  # seconds for all of it, redirects included
CONNECT = 5.0  # seconds for a connection
LARGEST = 10 * 1024 * 1024  # bytes
REDIRECTS = 5
DEEPEST = 200  # redirect texts and such in messages: characters


class Fetched(NamedTuple):
    """A JSON document and the final URL, after redirects."""

    url: str
    document: Any


def client() -> httpx.AsyncClient:
    """A client for ``fetch``; it follows nothing by itself and asks for no compression."""
    return httpx.AsyncClient(
        cookies=no_cookies(),
        follow_redirects=False,
        trust_env=False,
        timeout=httpx.Timeout(DOCUMENT_ANSWER_SECONDS, connect=CONNECT),
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        limits=httpx.Limits(max_keepalive_connections=0),
    )


async def fetch(http: httpx.AsyncClient, url: str) -> Fetched:
    """A JSON document.

    Raises:
        SourceError: it does not answer, or with an error, something else than JSON, or more than
            10 MB, redirects more than 5 times or in a circle, or takes more than 10 seconds.
    """
    try:
        async with asyncio.timeout(DOCUMENT_ANSWER_SECONDS):
            return await _fetch(http, url)
    except TimeoutError:
        raise SourceError(
            f"{url} did not answer within {DOCUMENT_ANSWER_SECONDS:g} s", away=True
        ) from None
    except httpx.TimeoutException as exc:
        raise SourceError(f"{url} did not answer in time", away=True) from exc
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as exc:
        raise SourceError(f"{url} leads to an address that cannot be requested: {exc}") from exc
    except (httpx.HTTPError, OSError) as exc:
        reason = str(exc) or type(exc).__name__
        raise SourceError(f"{url} cannot be reached: {reason[:DEEPEST]}", away=True) from exc


async def _fetch(http: httpx.AsyncClient, url: str) -> Fetched:
    visited = [url]
    while True:
        async with http.stream("GET", visited[-1]) as answer:
            if not answer.has_redirect_location:
                return Fetched(visited[-1], await _json(url, answer))
            following = _redirect(visited[-1], answer)
        if following in visited:
            raise SourceError(f"{url} redirects in a circle, by way of {following[:DEEPEST]}")
        if len(visited) > REDIRECTS:
            raise SourceError(f"{url} redirects more than {REDIRECTS} times")
        visited.append(following)


def _redirect(url: str, answer: httpx.Response) -> str:
    following = httpx.URL(url).join(answer.headers["location"]).copy_with(fragment=None)
    if following.scheme not in ("http", "https") or not following.host:
        raise SourceError(f"{url} redirects to {str(following)[:DEEPEST]}, which is not http")
    return str(following)


async def _json(url: str, answer: httpx.Response) -> Any:
    if answer.status_code != 200:
        away = answer.status_code >= 500 or answer.status_code == 429
        missing = answer.status_code == 404
        raise SourceError(f"{url} answered {answer.status_code}", away=away, missing=missing)
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise SourceError(
            f"{url} is a web page; give the address of its OpenAPI document, such as …/openapi.json"
        )
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise SourceError(f"{url} is compressed, which was not asked for")
    length = answer.headers.get("content-length", "0")
    body = bytearray()
    if not length.isdecimal() or int(length) <= LARGEST:
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > LARGEST:
                break
        else:
            return await asyncio.to_thread(_parsed, url, bytes(body))
    raise SourceError(f"{url} is larger than {LARGEST // 1024**2} MB")


def _parsed(url: str, body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise SourceError(f"{url} is not JSON: {exc}") from exc
