"""The endpoints that an OpenAPI document lists."""

from collections.abc import Mapping
from typing import Any, TypeGuard
from urllib.parse import urljoin, urlsplit

from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.services.register.address import (
    DEFAULT_PORTS,
    canonical,
    objection,
    of_service,
)
from kodosumi_prefect.panel.services.register.reading import ListedEndpoint, Reading, SourceError
from kodosumi_prefect.vocabulary import OPENAPI_MARK

METHODS = ("get", "post", "put", "patch", "delete")  # the first that is marked counts
MOST = 5000  # endpoints of one document
LONGEST_LINE, LONGEST_TEXT = 500, 20_000  # characters
NAMED = 3  # paths that are named among those refused


def endpoints_of(url: str, document: Any) -> Reading:
    """The marked operations of a document that was read at ``url``.

    The app lives where the document does, unless ``servers`` names another path of the same
    host, as FastAPI does for its ``root_path``. Other hosts named there are not believed: they
    would be sent who calls. Operations with parameters in their path cannot be called by form;
    those at paths that may lead elsewhere are left out, and named in the result's trouble.

    Raises:
        SourceError: it is no OpenAPI document, names too many, or none at a path that is of use.
    """
    base = _base(url, _mapping(document).get("servers"))
    if (why := objection(urlsplit(base).path)) is not None:
        raise SourceError(f"{url[:200]} cannot be registered for its path: {why}")
    marked, trouble = _marked(url, document)
    endpoints = [
        _endpoint(method, operation, path=path, url=of_service(base, path), base=base, target=base)
        for path, method, operation in marked
    ]
    return Reading(endpoints, trouble=trouble)


def endpoints_of_mounted(name: str, base: str, document: Any) -> Reading:
    """Likewise of an app that the panel serves itself, below the path ``base``."""
    marked, trouble = _marked(name, document)
    endpoints = [
        _endpoint(
            method, operation, path=path, url=canonical(f"{base}/-{path}"), base=base, target=""
        )
        for path, method, operation in marked
    ]
    return Reading(endpoints, trouble=trouble)


def _marked(
    name: str, document: Any
) -> tuple[list[tuple[str, str, Mapping[str, Any]]], str | None]:
    """Path, method and operation of each, and why some are left out."""
    known = _mapping(document)
    paths = known.get("paths")
    if not isinstance(known.get("openapi"), str) or not isinstance(paths, dict):
        raise SourceError(f"{name} is not an OpenAPI document: it has no `openapi` and `paths`")
    marked, refused = [], []
    for path, item in paths.items():
        operations = {
            method: operation
            for method in METHODS
            if _mapping(operation := _mapping(item).get(method)).get(OPENAPI_MARK) is True
        }
        if operations and path.startswith("/") and "{" not in path:
            method, operation = next(iter(operations.items()))
            if (why := objection(path)) is not None:
                refused.append(f"{path[:60]!r}: {why}")
            else:
                marked.append((path, method, _mapping(operation)))
    if len(marked) > MOST:
        raise SourceError(f"{name} lists {len(marked)} endpoints; at most {MOST} are accepted")
    trouble = None
    if refused:
        trouble = f"{name} has paths that are not registered: {'; '.join(refused[:NAMED])}"
        trouble += f"; and {len(refused) - NAMED} more" if len(refused) > NAMED else ""
        if not marked:
            raise SourceError(trouble)
    return marked, trouble


def _endpoint(
    method: str, operation: Mapping[str, Any], *, path: str, url: str, base: str, target: str
) -> ListedEndpoint:
    tags = operation.get("tags")
    return ListedEndpoint(
        method=method.upper(),
        url=url,
        base_url=base,
        target=target + path,
        summary=_text(operation.get("summary"), LONGEST_LINE),
        description=_text(operation.get("description"), LONGEST_TEXT),
        deprecated=operation.get("deprecated") is True,
        author=_text(operation.get("x-author"), LONGEST_LINE),
        organization=_text(operation.get("x-organization"), LONGEST_LINE),
        version=_text(operation.get("x-version"), LONGEST_LINE),
        tags=[clean(tag)[:LONGEST_LINE] for tag in tags if isinstance(tag, str)]
        if isinstance(tags, list)
        else [],
    )


def _base(url: str, servers: Any) -> str:
    """The app's base URL, without a slash at the end."""
    for server in servers if isinstance(servers, list) else []:
        named = _mapping(server).get("url")
        if isinstance(named, str) and "{" not in named:
            joined = _joined(url, named)
            if _origin(joined) == _origin(url):
                return joined.partition("?")[0].partition("#")[0].rstrip("/")
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rpartition('/')[0]}"


def _joined(url: str, other: str) -> str:
    try:
        return urljoin(url, other)
    except ValueError:
        return ""


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return "", None, None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


# What services say that have nothing to say: `str()` of nothing, for one.
NO_TEXT = frozenset({"", "None", "null"})


def has_text(text: str | None) -> TypeGuard[str]:
    """Whether there is something to be said."""
    return text is not None and text.strip() not in NO_TEXT


def _text(value: Any, longest: int) -> str | None:
    text = clean(str(value))[:longest] if isinstance(value, str | int | float) else None
    return text if has_text(text) else None
