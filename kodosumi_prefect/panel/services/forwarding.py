"""Answering a request with a service's answer, streaming both ways."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import uuid4

import httpx
from fastapi import Request, Response
from starlette.types import Message, Receive, Scope, Send

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.http.body import SIGNED
from kodosumi_prefect.panel.services.forwarded_headers import Headers, response_headers
from kodosumi_prefect.panel.services.mounted import Mounted, MountError
from kodosumi_prefect.panel.services.request_body import LARGEST, Incoming
from kodosumi_prefect.panel.web.errors import refusal_response
from kodosumi_prefect.refusals import (
    LateError,
    OversizedError,
    RefusedError,
    TooManyError,
    UnavailableError,
    UpstreamError,
)
from kodosumi_prefect.vocabulary import INPROCESS_SCOPE

logger = logging.getLogger(__name__)

# Sends a request to a service and hands on what it answers.
Way = Callable[[Incoming, Send], Awaitable[None]]


class ServiceError(RefusedError):
    """A service that does not answer as it should; raised as one of the kinds below."""


class BrokenServiceError(ServiceError, UpstreamError):
    """It does not answer, or not what was to be expected."""


class UnreachedServiceError(BrokenServiceError):
    """It was not reached: it did nothing."""


class CrashedServiceError(BrokenServiceError):
    """It raised instead of answering: it does nothing any more."""


class BusyServicesError(ServiceError, UnavailableError):
    """Too many requests to services are under way."""


class LateServiceError(ServiceError, LateError):
    """It takes too long."""


# What to answer instead.
Late = Callable[[LateServiceError], Awaitable[Response]]


class TooManyCallsError(ServiceError, TooManyError):
    """An account has as many requests to services under way as it may."""


class Forwarded(Response):
    """What a service answers.

    Arguments:
        service: names it where something is wrong.
        way: to it.
        late: the answer where the service gives none in time; by default that it does not.
    """

    def __init__(self, service: str, way: Way, late: Late | None = None) -> None:
        super().__init__()
        self._service = service
        self._way = way
        self._late = late

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.relay(Incoming(scope, receive), send)
        except LateServiceError as exc:
            if self._late is None:
                response: Response = refusal_response(Request(scope), exc)
            else:
                response = await self._late(exc)
            await response(scope, receive, send)
        except RefusedError as exc:
            await refusal_response(Request(scope), exc)(scope, receive, send)

    async def relay(self, incoming: Incoming, send: Send) -> None:
        """Pass on the service's answer; nothing if the client is gone.

        Raises:
            OversizedError: of the body; or a ServiceError. Nothing was sent then.
        """
        answer = _Answer(self._service, send)
        work = asyncio.create_task(self._call(incoming, answer))
        gone = asyncio.create_task(incoming.until_gone())
        too_large = asyncio.create_task(incoming.until_too_large())
        tasks: list[asyncio.Task[None]] = [work, gone, too_large]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if answer.complete:
                await asyncio.wait([work])  # a service may do something after its answer
            if too_large.done():
                limit = f"{LARGEST // 1024**2} MB"
                raise OversizedError(f"the body is larger than {limit}; send files as files")
            if work.done():
                work.result()
        except RefusedError as exc:
            if not answer.started:
                raise
            # A broken-off answer must not look complete: left like this, the server hangs up.
            logger.warning("an answer broke off: %s", exc.detail)
        finally:
            await cancel_all(tasks)

    async def _call(self, incoming: Incoming, answer: "_Answer") -> None:
        try:
            await self._way(incoming, answer.send)
        except RefusedError:
            raise
        except MountError as exc:
            raise UnreachedServiceError(str(exc)) from exc
        except httpx.PoolTimeout as exc:
            raise BusyServicesError("too many requests to services are under way") from exc
        except httpx.ConnectError as exc:
            reason = str(exc) or type(exc).__name__
            detail = f"service {self._service} does not answer: {reason}"
            raise UnreachedServiceError(detail) from exc
        except (httpx.TimeoutException, TimeoutError) as exc:
            raise LateServiceError(f"service {self._service} does not answer in time") from exc
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as exc:
            reason = str(exc) or type(exc).__name__
            raise BrokenServiceError(f"service {self._service} does not answer: {reason}") from exc
        except Exception as exc:
            number = uuid4().hex[:12]
            logger.exception("error %s in service %s", number, self._service)
            raise CrashedServiceError(
                f"service {self._service} failed; error {number} in the panel's log"
            ) from exc


class _Answer:
    """Hands on what a service sends, made harmless."""

    def __init__(self, service: str, send: Send) -> None:
        self._service = service
        self._send = send
        self.started = False
        self.complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            if 300 <= status < 400 and status != 304:
                # It may lead anywhere, and the caller's identity must not be sent there.
                raise BrokenServiceError(f"service {self._service} answered {status}, a redirect")
            message = {**message, "headers": response_headers(message.get("headers", ()))}
            self.started = True
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True
        await self._send(message)


def over_http(
    http: httpx.AsyncClient,
    method: str,
    url: httpx.URL,
    headers: Headers,
    signed: Callable[[bytes | None], Headers],
) -> Way:
    """The way to a service that listens somewhere.

    Arguments:
        signed: the headers that identify the caller, for a body of up to ``SIGNED`` bytes, or for a
            larger one, None.
    """

    async def way(incoming: Incoming, send: Send) -> None:
        who = signed(await incoming.beginning(SIGNED))
        content = incoming.body() if incoming.has_body else None
        request = http.build_request(method, url, headers=[*headers, *who], content=content)
        answer = await http.send(request, stream=True)
        try:
            start = {"status": answer.status_code, "headers": answer.headers.raw}
            await send({"type": "http.response.start", **start})
            async for piece in answer.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await answer.aclose()

    return way


def in_process(service: Mounted, scope: Scope, patience: float) -> Way:
    """The way to a service of the panel's own.

    Arguments:
        scope: of the request that the service shall see.
        patience: seconds it may do nothing.
    """

    async def way(incoming: Incoming, send: Send) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(patience) as limit:

            async def receiving() -> Message:
                # Only the service's own time counts.
                limit.reschedule(None)
                try:
                    return await incoming.receive()
                finally:
                    limit.reschedule(loop.time() + patience)

            async def sending(message: Message) -> None:
                limit.reschedule(None)
                more = message["type"] != "http.response.body" or message.get("more_body", False)
                try:
                    await send(message)
                finally:
                    # After its answer it may take its time.
                    limit.reschedule(loop.time() + patience if more else None)

            await service({**scope, INPROCESS_SCOPE: True}, receiving, sending)

    return way
