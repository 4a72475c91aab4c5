"""Paths answer with and without a slash at their end, without a redirect."""

from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute, Host, Match, Mount
from starlette.types import ASGIApp, Receive, Scope, Send


class EitherSpelling:
    """ASGI middleware: a path that no route has is served with its last slash off, or one more.

    A route of exactly that path goes first, so two routes that differ in the slash alone stay two,
    and a route that takes any path gets it as it came. Redirects would lose what was posted, and
    clients do not follow them.

    It belongs outside everything else that looks at paths, so that those see the one spelling.

    Arguments:
        routes: of the app; asked at each request, since apps get further ones.
    """

    def __init__(self, app: ASGIApp, routes: Callable[[], Sequence[BaseRoute]]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = self._served(scope)
        await self._app(scope, receive, send)

    def _served(self, scope: Scope) -> Scope:
        routes = self._routes()
        exact = _match(routes, scope)
        if exact is Match.FULL:
            return scope
        other = _respelled(scope)
        match = _match(routes, other)
        # At a route of the method first; of another one, at least 405 says what there is.
        better = match is Match.FULL or (exact is Match.NONE and match is not Match.NONE)
        return other if better else scope


def _match(routes: Sequence[BaseRoute], scope: Scope) -> Match:
    """How well the best of these routes fits, where Starlette would look for it."""
    best = Match.NONE
    for route in routes:
        match, below = route.matches(scope)
        if match is Match.FULL:
            inner = route.routes if isinstance(route, Mount | Host) else None
            # Of an app that is mounted; one without routes takes any path, as static files do.
            return _match(inner, {**scope, **below}) if inner else match
        if match is Match.PARTIAL:
            best = match
    return best


def _respelled(scope: Scope) -> Scope:
    path = str(scope["path"])
    raw = scope.get("raw_path")
    other = {**scope, "path": path[:-1] if path.endswith("/") else f"{path}/"}
    if isinstance(raw, bytes):
        other["raw_path"] = raw[:-1] if raw.endswith(b"/") else raw + b"/"
    return other
