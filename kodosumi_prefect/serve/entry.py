"""What happens before and after the handler of an endpoint."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, runtime_checkable

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kodosumi_prefect.forms import InputsError
from kodosumi_prefect.http import identity
from kodosumi_prefect.http.body import Digest, limited
from kodosumi_prefect.http.errors import error_fields, json_error, unforeseen_json_error
from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.http.untyped_json import typed
from kodosumi_prefect.launch.endpoint import Endpoint
from kodosumi_prefect.refusals import RefusedError
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.vocabulary import DIGEST_SCOPE, ENDPOINT_SCOPE, RETURNED_SCOPE


@runtime_checkable
class Launching(Protocol):
    """What a handler returns to have something executed: a ``Launch``."""

    async def go(self, endpoint: Endpoint) -> str:
        """Launch; the fid."""

    async def schedule(self, endpoint: Endpoint, rule: Any) -> str:
        """Save as a schedule; its id."""


class ServiceEntry:
    """A dependency: accepts what the panel signed, and notes which endpoint is being served.

    The handler finds the caller in ``request.state.caller``.

    Arguments:
        endpoint: None for the service's locks.
    """

    def __init__(self, endpoint: Endpoint | None) -> None:
        self._endpoint = endpoint
        self._purpose: identity.Purpose = "lock" if endpoint is None else "endpoint"

    async def __call__(self, request: Request) -> None:
        try:
            request.state.caller = await identity.verify(request, get_settings(), self._purpose)
        except identity.NoPanelKeyError as exc:
            raise HTTPException(503, str(exc)) from exc
        except identity.UnsignedError as exc:
            raise HTTPException(401, str(exc)) from exc
        request.scope[ENDPOINT_SCOPE] = self._endpoint


class EntryRoute(APIRoute):
    """A route whose errors are JSON of one shape, and whose bodies have a limit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            digest = Digest(limited(request.receive))
            request.scope[DIGEST_SCOPE] = digest
            receive = await typed(request.scope, digest.receive)
            request = Request(request.scope, receive)
            try:
                response = await handle(request)
                if isinstance(response, Launching):
                    # Launched here, where what goes wrong can still be answered.
                    request.scope[RETURNED_SCOPE] = True
                    await response.go(request.scope[ENDPOINT_SCOPE])
                return response
            except InputsError as error:
                return JSONResponse({"errors": error_fields(error), "elements": []})
            except RefusedError as refusal:
                return json_error(request, status_of(refusal), refusal.detail)
            except HTTPException as exc:
                return json_error(request, exc.status_code, exc.detail, exc.headers)
            except RequestValidationError as exc:
                return json_error(request, 422, _wrong(exc))
            except Exception as exc:
                if _is_foreseen(request, exc):
                    raise
                return unforeseen_json_error(request, exc)

        return guarded


def _wrong(exc: RequestValidationError) -> str:
    """What is wrong with the parameters beside the form, in one line."""
    return "; ".join(
        f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in exc.errors()
    )


def _is_foreseen(request: Request, exc: Exception) -> bool:
    """Whether the service's author wrote a handler for this kind of exception."""
    handlers = request.app.exception_handlers
    return any(kind in handlers for kind in type(exc).__mro__)
