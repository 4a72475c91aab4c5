"""A reverse proxy in front of Prefect: under a path, with a password, and with limits."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from kodosumi_prefect.stack.ports import free_port
from tests.waiting import wait_for

PREFIX = "/under/here"


class Front:
    """Serves ``{url}``, which ends with Prefect's own ``/api``, to who has the auth string.

    Attributes:
        refusals: requests that are answered 429 yet.
        refused: when requests were answered 429, and when one came next, on the loop's clock.
        sockets: event streams that were opened.
    """

    def __init__(self, api_url: str, auth_string: str) -> None:
        self._target = api_url.removesuffix("/api")
        self._auth = auth_string
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{PREFIX}/api"
        self.refusals = 0
        self.retry_after = 1
        self.refused: list[float] = []
        self.answered: list[float] = []
        self.sockets = 0
        self.unauthorized = 0
        self._client = httpx.AsyncClient(timeout=60)
        methods = ["GET", "POST", "PATCH", "DELETE", "PUT"]
        self.app = Starlette(
            routes=[
                Route(PREFIX + "/{path:path}", self._pass, methods=methods),
                WebSocketRoute(PREFIX + "/{path:path}", self._socket),
            ]
        )

    async def _pass(self, request: Request) -> Response:
        given = request.headers.get("authorization", "")
        wanted = f"Basic {base64.b64encode(self._auth.encode()).decode()}"
        if given != wanted:
            self.unauthorized += 1
            return Response("who are you", 401)
        now = asyncio.get_running_loop().time()
        if self.refusals:
            self.refusals -= 1
            self.refused.append(now)
            return Response("slowly", 429, {"Retry-After": str(self.retry_after)})
        self.answered.append(now)
        answer = await self._client.request(
            request.method,
            f"{self._target}/{request.path_params['path']}",
            params=dict(request.query_params),
            content=await request.body(),
            headers={
                "authorization": given,
                "content-type": request.headers.get("content-type", "application/json"),
            },
        )
        return Response(answer.content, answer.status_code, media_type="application/json")

    async def _socket(self, near: WebSocket) -> None:
        await near.accept(subprotocol="prefect")
        first = await near.receive_text()
        if json.loads(first).get("token") != self._auth:
            self.unauthorized += 1
            await near.close(1008, "who are you")
            return
        self.sockets += 1
        target = self._target.replace("http", "ws", 1)
        async with connect(
            f"{target}/{near.path_params['path']}", subprotocols=[Subprotocol("prefect")]
        ) as far:
            await far.send(first)

            async def forth() -> None:
                while True:
                    await far.send(await near.receive_text())

            async def back() -> None:
                async for message in far:
                    await near.send_text(str(message))

            tasks = [asyncio.create_task(forth()), asyncio.create_task(back())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                expected = (asyncio.CancelledError, WebSocketDisconnect, ConnectionClosed)
                if result is not None and not isinstance(result, expected):
                    raise result


@contextmanager
def fronted(api_url: str, auth_string: str) -> Iterator[Front]:
    """A front that serves, in a thread."""
    front = Front(api_url, auth_string)
    server = uvicorn.Server(
        uvicorn.Config(
            front.app,
            port=front.port,
            log_level="error",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, name="front", daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started, 20, "the front to serve")
        yield front
    finally:
        server.should_exit = True
        thread.join(10)
