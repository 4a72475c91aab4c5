"""Saying that a service heeds the ids that the panel has for launches."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kodosumi_prefect.vocabulary import LAUNCH_IDS_HEADER

_HEADER = (LAUNCH_IDS_HEADER.encode(), b"1")


class LaunchIds:
    """ASGI middleware: every answer says so.

    A panel that lost an answer asks such a service once more: it is the same launch. Services of
    releases that lack this would launch twice.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def saying(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), _HEADER]}
            await send(message)

        await self._app(scope, receive, saying)
