"""Reading one source of endpoints, of each kind."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from kodosumi_prefect.database.rows.services import Source
from kodosumi_prefect.panel.services.mounted import Mounted, MountError
from kodosumi_prefect.panel.services.register import deployments
from kodosumi_prefect.panel.services.register.address import objection, of_mounted
from kodosumi_prefect.panel.services.register.fetching import DOCUMENT_ANSWER_SECONDS, fetch
from kodosumi_prefect.panel.services.register.openapi import endpoints_of, endpoints_of_mounted
from kodosumi_prefect.panel.services.register.reading import Reading, SourceError
from kodosumi_prefect.settings import Settings

ROUTES = "/-/routes"  # where Ray Serve lists its applications
MOST_ROUTES = 500
AT_ONCE = 8  # documents fetched at the same time
LONGEST_URL = 2000  # characters
PREFECT = "prefect"  # the address of the source of Prefect deployments


def kind_of(url: str) -> str:
    """Whether a URL is that of an OpenAPI document or of Ray Serve's routes."""
    return "routes" if urlsplit(url).path.rstrip("/").endswith(ROUTES) else "openapi"


def checked(url: str) -> str:
    """A URL that can be registered, as it is written there.

    Raises:
        SourceError: it cannot.
    """
    url = url.strip()
    try:
        parsed = httpx.URL(url).copy_with(fragment=None)
        port = urlsplit(str(parsed)).port
    except (httpx.InvalidURL, ValueError) as exc:
        raise SourceError(f"{url[:200]!r} is not a URL: {exc}") from exc
    known = parsed.scheme in ("http", "https") and port != 0
    if not known or not parsed.host or "%" in parsed.host:
        raise SourceError(
            f"{url[:200]!r} is not an http URL of an OpenAPI document or of Ray Serve's {ROUTES}; "
            "module:app is mounted by the setting services, or `up --service`"
        )
    if parsed.userinfo:
        raise SourceError("a source's URL must not contain user and password; people can read it")
    written = str(parsed)
    if len(written) > LONGEST_URL:
        raise SourceError(f"a source's URL has at most {LONGEST_URL} characters")
    if (why := objection(urlsplit(written).path)) is not None:
        raise SourceError(f"{written[:200]!r} cannot be registered for its path: {why}")
    return written


async def read(
    source: Source,
    http: httpx.AsyncClient,
    mounted: Mapping[str, Mounted],
    settings: Settings,
) -> Reading:
    """Read a source now.

    Arguments:
        mounted: the services of this process by name.

    Raises:
        SourceError: it cannot be read.
    """
    url = source.url
    match source.kind:
        case "openapi":
            return await _document(http, url)
        case "routes":
            return await _routes(http, url)
        case "mounted":
            return await _mounted(url, mounted)
        case "prefect":
            return Reading(await deployments.find(settings))
        case kind:
            raise SourceError(f"{url} is of kind {kind}, which this version does not know")


async def _document(http: httpx.AsyncClient, url: str) -> Reading:
    fetched = await fetch(http, url)
    return await asyncio.to_thread(endpoints_of, fetched.url, fetched.document)


async def _routes(http: httpx.AsyncClient, url: str) -> Reading:
    fetched = await fetch(http, url)
    routes = fetched.document
    if not isinstance(routes, dict) or not all(route.startswith("/") for route in routes):
        raise SourceError(f"{url} does not list routes as Ray Serve does")
    if len(routes) > MOST_ROUTES:
        raise SourceError(f"{url} lists {len(routes)} routes; at most {MOST_ROUTES} are accepted")
    origin = fetched.url.partition("?")[0].rstrip("/").removesuffix(ROUTES)
    bases = [origin + route.rstrip("/") for route in sorted(routes)]
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(base: str) -> Reading | SourceError:
        try:
            async with turns:
                return await _document(http, f"{base}/openapi.json")
        except SourceError as exc:
            # An application without OpenAPI is not one of ours.
            return Reading([]) if exc.missing else exc

    answers = await asyncio.gather(*(one(base) for base in bases))
    readings = [answer for answer in answers if isinstance(answer, Reading)]
    troubles = [str(answer) for answer in answers if isinstance(answer, SourceError)]
    troubles += [reading.trouble for reading in readings if reading.trouble is not None]
    return Reading(
        [endpoint for reading in readings for endpoint in reading.endpoints],
        failed=[b for b, a in zip(bases, answers, strict=True) if isinstance(a, SourceError)],
        trouble="; ".join(troubles[:3]) or None,
    )


async def _mounted(name: str, mounted: Mapping[str, Mounted]) -> Reading:
    if name not in mounted:
        raise SourceError(f"{name} is not mounted in this panel", away=True)
    try:
        async with asyncio.timeout(DOCUMENT_ANSWER_SECONDS):
            document = await mounted[name].openapi()
    except TimeoutError:
        why = (
            f"{name} did not answer within {DOCUMENT_ANSWER_SECONDS:g} s; does a handler block its "
            "event loop?"
        )
        raise SourceError(why, away=True) from None
    except MountError as exc:
        raise SourceError(str(exc), away=True) from exc
    return endpoints_of_mounted(name, of_mounted(name), document)
