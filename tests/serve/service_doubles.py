"""A service to test, and a launch that only says it was called."""

from fastapi import Response

from kodosumi_prefect.vocabulary import INPROCESS_SCOPE


class FakeLaunch(Response):
    """What a ``Launch`` is to ``ServeAPI``; tests of the real one are elsewhere."""

    def __init__(self, request, entry_point="work:run", inputs=None):
        super().__init__()
        self.request = request
        self.inputs = inputs
        self.endpoint = None
        self.wanted = None

    async def go(self, endpoint):
        self.endpoint = endpoint
        return "fid-1"

    async def schedule(self, endpoint, wanted):
        self.endpoint, self.wanted = endpoint, wanted
        return "schedule-1"


class InPanel:
    """ASGI: a service called as the panel calls what is mounted in it."""

    def __init__(self, app, **scope):
        self._app = app
        self._scope = {INPROCESS_SCOPE: True, **scope}

    async def __call__(self, scope, receive, send):
        await self._app({**scope, **self._scope}, receive, send)
