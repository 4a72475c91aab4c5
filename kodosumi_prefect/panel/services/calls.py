"""The services that the panel may call, and for whom it calls them."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import httpx
from fastapi import Request, Response
from starlette.types import Message, Send

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database.rows.services import RegisteredEndpoint
from kodosumi_prefect.http import identity
from kodosumi_prefect.http.identity import Purpose, ServiceCaller
from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.services.forwarded_headers import Headers, no_cookies, request_headers
from kodosumi_prefect.panel.services.forwarding import (
    BrokenServiceError,
    Forwarded,
    Late,
    TooManyCallsError,
    Way,
    in_process,
    over_http,
)
from kodosumi_prefect.panel.services.mounted import Mounted
from kodosumi_prefect.panel.services.register.address import MOUNTED, of_mounted
from kodosumi_prefect.panel.services.request_body import LARGEST, Incoming
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import (
    ENDPOINT_HEADER,
    LAUNCH_ID_HEADER,
    LAUNCH_IDS_HEADER,
    OPERATOR_SCOPE,
    SCHEDULE_HEADER,
)

# Seconds after which the next mounted service is imported beside one that still is, and for which
# the panel's own start waits for all of them; they go on after.
START_TIMEOUT = 60.0
RETRY_TIMEOUT = 30.0  # seconds that a refresh waits for services that are started again
CONNECT = 5.0  # seconds for a connection to a service
CONNECTIONS = 200  # to all services
OF_ONE = 100  # requests of one account that are under way at once, so that others find room
COME_BACK = 2  # seconds after which such an account may try again
# Shorter than what servers keep idle connections for, so that none is used as it is closed.
KEPT_IDLE = 2.0  # seconds


class Services:
    """Calls services; an async context manager.

    Arguments:
        settings: ``services`` are mounted, ``service_timeout`` holds for all.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.key = panel_keys(settings).identity
        self.mounted = {name: Mounted(name) for name in dict.fromkeys(settings.services)}
        self._bases = {of_mounted(name): service for name, service in self.mounted.items()}
        patience = settings.service_timeout
        self._http = httpx.AsyncClient(
            cookies=no_cookies(),
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(patience, connect=min(CONNECT, patience)),
            limits=httpx.Limits(
                max_connections=CONNECTIONS,
                max_keepalive_connections=CONNECTIONS,
                keepalive_expiry=KEPT_IDLE,
            ),
        )
        self._turn = asyncio.Lock()
        self._starts: set[asyncio.Task[None]] = set()
        self.on_started: Callable[[], None] = lambda: None  # one more runs, or was found not to
        self.under_way: Counter[str] = Counter()  # by account
        self._http.headers.clear()  # what people send is what services get

    async def __aenter__(self) -> "Services":
        await self._start(list(self.mounted), START_TIMEOUT)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await cancel_all(self._starts)
        await asyncio.gather(*(one.stop() for one in self.mounted.values()))
        await self._http.aclose()

    @property
    def failed(self) -> dict[str, str]:
        """Why a mounted service does not run, by its name, in the order of the setting."""
        return {name: one.trouble for name, one in self.mounted.items() if one.trouble is not None}

    async def start_again(self, names: Collection[str] | None = None) -> None:
        """Import and start those that failed; return after ``RETRY_TIMEOUT`` seconds at most.

        Arguments:
            names: only of these; None for all.
        """
        again = [
            name
            for name, one in self.mounted.items()
            if not one.runs and not one.is_starting and (names is None or name in names)
        ]
        if again:
            await self._start(again, RETRY_TIMEOUT)

    async def _start(self, names: Sequence[str], patience: float) -> None:
        starting = asyncio.create_task(self._one_by_one(names), name="services")
        self._starts.add(starting)
        starting.add_done_callback(self._starts.discard)
        done, _ = await asyncio.wait([starting], timeout=patience)
        for each in done:
            each.result()

    async def _one_by_one(self, names: Sequence[str]) -> None:
        """Start services in turn: modules that two threads import at once can be seen half done."""
        async with self._turn:
            for name in names:
                await self.mounted[name].start(START_TIMEOUT)
                self.mounted[name].once_settled(lambda: self.on_started())

    def forward(
        self,
        request: Request,
        user: User,
        endpoint: RegisteredEndpoint,
        launch_id: str | None = None,
        late: Late | None = None,
    ) -> Response:
        """The answer of an endpoint's service to a request of somebody.

        Arguments:
            endpoint: of a service, not a Prefect deployment.
            launch_id: of what it launches.
            late: answers where the service does not in time.
        """
        headers = request_headers(request.headers.raw, [self.settings.proxy_header])
        if launch_id is not None:
            headers = [*headers, (LAUNCH_ID_HEADER.encode(), launch_id.encode())]
        return self._forwarded(request, user, endpoint, headers, late)

    async def collect(
        self,
        request: Request,
        user: User,
        endpoint: RegisteredEndpoint,
        body: bytes,
        launch_id: str,
    ) -> "Answered":
        """As ``forward``, to the end, whether or not somebody still waits for it.

        Arguments:
            body: of the request, which was read.
            launch_id: asked again with the same one, the service launches nothing more.

        Raises:
            RefusedError: as an answer would say; or a ServiceError.
        """
        dropped = (b"content-length", b"accept-encoding")
        headers = [
            *(
                (name, value)
                for name, value in request_headers(
                    request.headers.raw, [self.settings.proxy_header]
                )
                if name not in dropped
            ),
            (b"content-length", str(len(body)).encode()),
            (LAUNCH_ID_HEADER.encode(), launch_id.encode()),
        ]
        scope = {"type": "http", "headers": headers}
        return await _collected(self._forwarded(request, user, endpoint, headers), scope, body)

    def _forwarded(
        self,
        request: Request,
        user: User,
        endpoint: RegisteredEndpoint,
        headers: Headers,
        late: Late | None = None,
    ) -> Forwarded:
        assert endpoint.target is not None
        caller = ServiceCaller(
            user.id, user.name, endpoint.base_url, own_url(request, self.settings)
        )
        headers = [*headers, (ENDPOINT_HEADER.encode(), endpoint.uid.encode())]
        way = self._way(
            request.method,
            endpoint.base_url,
            endpoint.target,
            request.scope["query_string"],
            headers,
            caller,
            user.operator,
            "endpoint",
        )
        return Forwarded(endpoint.base_url, way, late)

    async def heeds_launch_ids(
        self, endpoint: RegisteredEndpoint, user: User, panel_url: str
    ) -> bool:
        """Whether a service, asked again with the same ``launch_id``, launches nothing more.

        Raises:
            ServiceError: it does not answer.
        """
        answer = await self.ask_endpoint(endpoint, "OPTIONS", None, user, panel_url)
        return any(name == LAUNCH_IDS_HEADER.encode() for name, _ in answer.headers)

    async def ask(
        self,
        base: str,
        method: str,
        path: str,
        body: Any,
        user: User,
        panel_url: str,
        beside: dict[str, Any] | None = None,
    ) -> "Answered":
        """Call a service for somebody, outside its endpoints; for its locks.

        Arguments:
            base: where it runs; the caller has made sure that a registered endpoint does.
            path: below it, with a slash before.
            body: sent as JSON, unless it is None.
            beside: what a service in this process finds in its ASGI scope.

        Raises:
            ServiceError: naming the service.
        """
        target = path if base in self._bases else base + path
        return await self._request(base, method, target, body, user, panel_url, [], "lock", beside)

    async def ask_endpoint(
        self,
        endpoint: RegisteredEndpoint,
        method: str,
        body: Any,
        user: User,
        panel_url: str,
        schedule: str | None = None,
        launch_id: str | None = None,
    ) -> "Answered":
        """Have an endpoint's service answer somebody's page.

        Arguments:
            endpoint: of a service, not a Prefect deployment.
            body: sent as JSON, unless it is None.
            schedule: asks for a schedule instead of a run; JSON, see ``serve.when``.
            launch_id: as in ``collect``.

        Raises:
            ServiceError: naming the service.
        """
        headers: Headers = [(ENDPOINT_HEADER.encode(), endpoint.uid.encode())]
        if schedule is not None:
            headers.append((SCHEDULE_HEADER.encode(), schedule.encode()))
        if launch_id is not None:
            headers.append((LAUNCH_ID_HEADER.encode(), launch_id.encode()))
        base, target = endpoint.base_url, endpoint.target
        assert target is not None
        return await self._request(base, method, target, body, user, panel_url, headers, "endpoint")

    async def _request(
        self,
        base: str,
        method: str,
        target: str,
        body: Any,
        user: User,
        panel_url: str,
        more: Headers,
        purpose: Purpose,
        beside: dict[str, Any] | None = None,
    ) -> "Answered":
        headers: Headers = [(b"accept", b"application/json"), *more]
        sent = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            headers += [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(sent)).encode()),
            ]
        caller = ServiceCaller(user.id, user.name, base, panel_url)
        way = self._way(
            method, base, target, b"", headers, caller, user.operator, purpose, beside or {}
        )
        scope = {"type": "http", "headers": headers}
        return await _collected(Forwarded(base, way), scope, sent)

    def _way(
        self,
        method: str,
        base: str,
        target: str,
        query: bytes,
        headers: Headers,
        caller: ServiceCaller,
        operator: bool,
        purpose: Purpose,
        beside: dict[str, Any] | None = None,
    ) -> Way:
        if base.startswith(f"{MOUNTED}/"):
            service = self._bases.get(base)
            if service is None:
                name = base.removeprefix(f"{MOUNTED}/")
                raise BrokenServiceError(
                    f"service {name} is not run by this panel; start the panel with it"
                )
            scope = {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "method": method,
                "scheme": "http",
                "path": unquote(target),
                "raw_path": target.encode(),
                "query_string": query,
                "root_path": "",
                "headers": [
                    *headers,
                    (b"host", b"panel"),
                    *_raw(identity.unsigned_headers(caller)),
                ],
                "server": None,
                "client": None,
                OPERATOR_SCOPE: operator,
                **(beside or {}),
            }
            return in_process(service, scope, self.settings.service_timeout)
        url = httpx.URL(target)
        if query:
            url = url.copy_with(query=query)

        def signed(body: bytes | None) -> Headers:
            return _raw(
                identity.sign(
                    self.key,
                    caller,
                    method,
                    url.path,
                    query=url.query.decode("ascii"),
                    body=body,
                    purpose=purpose,
                    operator=operator,
                )
            )

        return self._counted(caller, over_http(self._http, method, url, headers, signed))

    def _counted(self, caller: ServiceCaller, way: Way) -> Way:
        """A way that an account may use only so often at once."""

        async def counted(incoming: Incoming, send: Send) -> None:
            if self.under_way[caller.user_id] >= OF_ONE:
                detail = (
                    f"{OF_ONE} requests of this account to services are under way; wait for them"
                )
                raise TooManyCallsError(detail, retry_after=COME_BACK)
            self.under_way[caller.user_id] += 1
            try:
                await way(incoming, send)
            finally:
                self.under_way[caller.user_id] -= 1
                if not self.under_way[caller.user_id]:
                    del self.under_way[caller.user_id]

        return counted


class Answered(NamedTuple):
    """What a service answered."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()


def own_url(request: Request, settings: Settings) -> str:
    """Where the one who asks reaches the panel: as configured, else as they did."""
    return (settings.panel_url or str(request.base_url)).rstrip("/")


def _raw(headers: dict[str, str]) -> Headers:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


async def _collected(response: Forwarded, scope: dict[str, Any], body: bytes) -> Answered:
    """Collect a response instead of sending it."""
    status, pieces, whole, body_sent = 502, bytearray(), False, False
    headers: Headers = []

    async def receive() -> Message:
        nonlocal body_sent
        if body_sent:
            await asyncio.Future()
        body_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, headers, whole
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message["headers"])
            return
        pieces.extend(message.get("body", b""))
        if len(pieces) > LARGEST:
            raise BrokenServiceError("the service's answer is too large")
        whole = not message.get("more_body", False)

    await response.relay(Incoming(scope, receive), send)
    if not whole:
        raise BrokenServiceError("the service's answer broke off")
    return Answered(status, bytes(pieces), headers)
