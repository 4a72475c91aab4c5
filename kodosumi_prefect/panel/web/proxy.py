"""Where a request comes from, and what a reverse proxy reports about it."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from kodosumi_prefect.panel.web.networks import Networks, address_of
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import LOCAL_SCOPE, PROXY_USER_SCOPE

# A proxy that forwards a request sets one of these, if any.
FORWARDING = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)

ANSWER_FOLDER = "/answer/"  # what follows is a token, and the right to answer

Headers = list[tuple[bytes, bytes]]


def own_path(scope: Scope) -> str:
    """The path of a request below where the panel is mounted."""
    root = str(scope.get("root_path", "")).rstrip("/")
    path = str(scope["path"])
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def public_path(scope: Scope) -> str:
    """The path of a request as logs may have it: without a token."""
    path = str(scope.get("root_path", "")).rstrip("/") + own_path(scope)
    before, folder, _ = path.partition(ANSWER_FOLDER)
    return f"{before}{folder}…" if folder else path


def is_local(scope: Scope) -> bool:
    """Whether a program on this machine sent this itself, as far as is known."""
    return bool(scope.get(LOCAL_SCOPE))


def proxy_user(scope: Scope) -> str | None:
    """The user whom a reverse proxy of ours names."""
    name = scope.get(PROXY_USER_SCOPE)
    return name if isinstance(name, str) else None


class Forwarded:
    """ASGI middleware, the outermost: ``proxy_header`` and ``X-Forwarded-…`` of our proxies count.

    ``-For`` and ``-Proto`` say who asks and how, ``-Host`` under which name, ``-Prefix`` below
    which path people find the panel. From anywhere else ``proxy_header`` is dropped, and what the
    others say has no effect.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._networks = Networks(settings.proxy_networks)
        self._with_client: ASGIApp = ProxyHeadersMiddleware(app, settings.proxy_networks)  # type: ignore[arg-type, assignment]
        self._header = settings.proxy_header.lower().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = dict(scope)
        headers: Headers = list(scope["headers"])
        peer = (scope.get("client") or ("", 0))[0]
        named = _values(headers, self._header)
        scope["headers"] = [pair for pair in headers if pair[0].lower() != self._header]
        if peer not in self._networks:
            scope[LOCAL_SCOPE] = _from_here(peer, headers)
            await self._app(scope, receive, send)
            return
        # Two of them: a proxy let its client's own pass, and nobody knows which is which.
        scope[PROXY_USER_SCOPE] = named[0] if len(named) == 1 else None
        if (address := address_of(peer)) is not None:
            scope["client"] = (str(address), (scope.get("client") or ("", 0))[1])
        _rename(scope, _first(headers, b"x-forwarded-host"))
        _move_below(scope, _first(headers, b"x-forwarded-prefix"))
        await self._with_client(scope, receive, send)


def _from_here(peer: str, headers: Headers) -> bool:
    address = address_of(peer)
    if address is None or not address.is_loopback:
        return False
    return is_loopback_name(_first(headers, b"host")) and not any(
        name in FORWARDING for name, _ in headers
    )


def is_loopback_name(host: str) -> bool:
    """Whether a Host header names this machine as only programs on it can."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = address_of(name)
    return address is not None and address.is_loopback


def _values(headers: Iterable[tuple[bytes, bytes]], header: bytes) -> list[str]:
    return [_text(value) for name, value in headers if name.lower() == header]


def _first(headers: Headers, header: bytes) -> str:
    """A header's value; of a list the first, which the outermost proxy wrote."""
    values = _values(headers, header)
    return values[0].split(",")[0].strip() if values else ""


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _rename(scope: Scope, host: str) -> None:
    if host:
        others = [pair for pair in scope["headers"] if pair[0] != b"host"]
        scope["headers"] = [(b"host", host.encode("latin-1", "replace")), *others]


def _move_below(scope: Scope, prefix: str) -> None:
    """Have all addresses begin with ``prefix``, whether the proxy took it off the path or not."""
    prefix = "/" + prefix.strip("/")
    if prefix == "/" or not prefix.isprintable() or prefix.startswith("//") or "\\" in prefix:
        return
    scope["root_path"] = prefix
    path = str(scope["path"])
    if path != prefix and not path.startswith(f"{prefix}/"):
        scope["path"] = prefix + path
        raw = scope.get("raw_path")
        if isinstance(raw, bytes):
            scope["raw_path"] = prefix.encode() + raw
