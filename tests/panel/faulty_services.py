"""Services that say what a test wants, rightly and wrongly."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

MEBIBYTE = b"x" * 1024 * 1024
LARGE = 200  # MiB
LEFT: list[int] = []  # ports of services whose `hanging` was left


def operation(summary: str | None = None, **more: Any) -> dict[str, Any]:
    """A marked operation of an OpenAPI document."""
    said = {"x-kodosumi": True, "responses": {}} | more
    return said | ({"summary": summary} if summary is not None else {})


def document(paths: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An OpenAPI document; the default names one endpoint, ``/go``."""
    named = {"/go": {"get": operation("Go")}} if paths is None else paths
    return {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": named} | more


class Faulty:
    """An app whose ``answers`` say what is served at which path; anything else is 404.

    An answer is a JSON value, a Response, or a function of the request.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {f"/{path}": value for path, value in answers.items()}
        self.asked: list[str] = []
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append(path)
        answer = self.answers.get(path, PlainTextResponse("nothing here", 404))
        if isinstance(answer, Response):
            return answer
        if callable(answer):
            made: Response = await answer(request)
            return made
        return Response(json.dumps(answer), media_type="application/json")


def page(_: Request | None = None) -> Response:
    return HTMLResponse("<html>hello</html>")


def redirect(*targets: str) -> Callable[[Request], Any]:
    """Redirects to the first target, then to the next, and round again."""
    turn = iter(range(10**6))

    async def answer(_: Request) -> Response:
        return RedirectResponse(targets[next(turn) % len(targets)])

    return answer


async def hanging(request: Request) -> Response:
    """Answers nobody, and ends when its caller has gone."""
    await request.body()
    while (await request.receive())["type"] != "http.disconnect":
        pass
    LEFT.append(request.url.port or 0)
    return PlainTextResponse("too late")


async def dripping(_: Request) -> Response:
    """Begins at once, and never comes to an end."""

    async def drops() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    return StreamingResponse(drops(), media_type="application/json")


async def large(_: Request) -> Response:
    """200 MB, without saying so before."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"openapi": "3.1.0", "paths": {}, "x": "'
        for _ in range(LARGE):
            yield MEBIBYTE
        yield b'"}'

    return StreamingResponse(pieces(), media_type="application/json")


async def large_and_honest(_: Request) -> Response:
    """200 MB, announced."""
    answer = await large(_)
    answer.headers["content-length"] = str(LARGE * len(MEBIBYTE) + 42)
    return answer


def compressed(value: Any) -> Response:
    import gzip

    body = gzip.compress(json.dumps(value).encode())
    return Response(body, headers={"content-encoding": "gzip"}, media_type="application/json")
