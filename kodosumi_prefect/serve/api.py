"""``ServeAPI``: the web application of an agentic service."""

import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, HTTPException
from prefect.flows import Flow
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Scope

from kodosumi_prefect.forms import InputsError, Model
from kodosumi_prefect.forms.files import SentFiles
from kodosumi_prefect.http.body import read_body
from kodosumi_prefect.http.errors import error_fields, json_error
from kodosumi_prefect.http.limits import MIB, BodyLimit
from kodosumi_prefect.http.spelling import EitherSpelling
from kodosumi_prefect.launch import sent_files
from kodosumi_prefect.launch.endpoint import Endpoint
from kodosumi_prefect.launch.launch import Launch
from kodosumi_prefect.launch.options import Options
from kodosumi_prefect.launch.parameters import UnheldError
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.serve.entry import EntryRoute, Launching, ServiceEntry
from kodosumi_prefect.serve.flow_form import flow_form
from kodosumi_prefect.serve.handler import Handler
from kodosumi_prefect.serve.launch_ids import LaunchIds
from kodosumi_prefect.serve.locks import PATH as LOCK_PATH
from kodosumi_prefect.serve.locks import LockFunctions
from kodosumi_prefect.serve.starting import telling
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.vocabulary import (
    FILES_SCOPE,
    FLOW_ATTRIBUTE,
    LAUNCH_HEADER,
    LAUNCH_ID_HEADER,
    OPENAPI_MARK,
    RETURNED_SCOPE,
    SCHEDULE_HEADER,
    SCHEDULED_HEADER,
    SECRETS_SCOPE,
)

F = TypeVar("F", bound=Callable[..., Any])
UNTITLED = "FastAPI"  # FastAPI's own title
_ROUTE_OPTIONS = frozenset(inspect.signature(FastAPI.add_api_route).parameters) - {"self"}


class ServeAPI(FastAPI):
    """A FastAPI application with endpoints that launch something.

    Example:
        ```python
        from kodosumi_prefect.core import Launch, ServeAPI, forms as F

        app = ServeAPI(title="Greeter")
        form = F.Model(F.InputText("name", "Name", required=True), F.Submit("Greet"))

        @app.enter("/", model=form, summary="Say hello", tags=["demo"])
        async def greet(inputs: dict, request: Request) -> Launch:
            return Launch(request, "greeter.work:greet", inputs=inputs)
        ```

    Serve it with uvicorn or Ray Serve, or in the panel: ``kodosumi-prefect up --service
    greeter.app:app``. Endpoints answer the panel only, whose signature they check, and only what it
    signed for this service; see the settings ``trusted_networks`` and ``service_url``.

    Arguments:
        args, kwargs: what ``FastAPI`` takes. The title, and the module for lack of one, is a part
            of each endpoint's identity: under another one, schedules are not found again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("redirect_slashes", False)  # see EitherSpelling
        super().__init__(*args, **kwargs)
        self.add_middleware(EitherSpelling, routes=lambda: self.routes)
        # The panel passes on bodies of 16 MiB, and has to be able to read why they are refused.
        self.add_middleware(BodyLimit, largest=_largest_body, refuse=json_error, linger=16 * MIB)
        self.add_middleware(LaunchIds)
        module = str(sys._getframe(1).f_globals.get("__name__", "service"))
        self.service_name = module if self.title == UNTITLED else self.title
        self._locks = LockFunctions()
        self.router.lifespan_context = telling(self.router.lifespan_context, self.service_name)
        described: dict[str, Any] = {
            "include_in_schema": False,
            "dependencies": [Depends(ServiceEntry(None))],
            "route_class_override": EntryRoute,
            "response_model": None,
        }
        self.router.add_api_route(LOCK_PATH, self._locks.get, methods=["GET"], **described)
        self.router.add_api_route(LOCK_PATH, self._locks.post, methods=["POST"], **described)

    def enter(
        self,
        path: str,
        model: Model,
        *,
        summary: str | None = None,
        description: str | None = None,
        tags: list[str] | None = None,
        version: str | None = None,
        author: str | None = None,
        organization: str | None = None,
        deprecated: bool | None = None,
        openapi_extra: dict[str, Any] | None = None,
        **options: Any,
    ) -> Callable[[F], F]:
        """Make a function an endpoint: ``GET`` answers its form, ``POST`` calls the function.

        The function takes ``inputs`` and ``request``, both or neither, in any order, and whatever
        else FastAPI can inject. It is sync or async, and returns a ``Launch`` or raises
        ``InputsError``.

        Inputs are what was posted, once the form has checked it: of browsers text, also for
        numbers and dates, and fields that the form does not have; of programs what they sent.
        Checkboxes are True or False. A form made of a pydantic model gives its typed values.

        Arguments:
            model: the form.
            summary, description: the function's name and docstring if not given.
            tags: words to find it by.
            version, author, organization: who is responsible, and for which edition.
            deprecated: people should use another endpoint.
            openapi_extra: further keys for its place in the OpenAPI document.
            options: of each launch, such as ``retries`` and ``timeout``; or what FastAPI's own
                decorators take.

        Raises:
            TypeError: ``model`` is no form, or an option is not known.
            ValueError: an option has an invalid value.
        """
        if not isinstance(model, Model):
            raise TypeError(f"enter({path!r}) takes a form Model, not {model!r}")

        route = {name: options[name] for name in options.keys() & _ROUTE_OPTIONS}
        of_launch = {name: value for name, value in options.items() if name not in route}
        Options.of(of_launch)  # fail here, not at the first launch

        def decorate(function: F) -> F:
            handler = Handler(function, ("inputs", "request"))
            extra = _extra(openapi_extra, version, author, organization)
            endpoint = Endpoint(
                app_name=self.service_name,
                path=path,
                summary=summary or handler.name.replace("_", " ").title(),
                description=description or inspect.getdoc(function) or None,
                tags=tuple(tags or ()),
                author=author,
                organization=organization,
                version=version,
                deprecated=bool(deprecated),
                secrets=model.secrets,
                options=of_launch,
            )
            self._add(endpoint, model, handler, extra, route)
            return function

        return decorate

    def _add(
        self,
        endpoint: Endpoint,
        model: Model,
        handler: Handler,
        extra: dict[str, Any],
        route: dict[str, Any],
    ) -> None:
        async def form() -> dict[str, Any]:
            return _described(endpoint, extra) | {"elements": model.get_model()}

        async def post(request: Request, **injected: Any) -> JSONResponse:
            return await _answer(endpoint, model, handler, request, injected)

        post.__signature__ = _signature(handler)  # type: ignore[attr-defined]
        described: dict[str, Any] = {
            "summary": endpoint.summary,
            "description": endpoint.description,
            "tags": list(endpoint.tags) or None,
            "deprecated": endpoint.deprecated or None,
            "response_model": None,
            "route_class_override": EntryRoute,
        }
        described |= route
        described["dependencies"] = [
            Depends(ServiceEntry(endpoint)),
            *(route.get("dependencies") or ()),
        ]
        name = described.pop("name", handler.name)
        for function, method, is_form in ((form, "GET", True), (post, "POST", False)):
            self.router.add_api_route(
                endpoint.path,
                function,
                methods=[method],
                name=name if is_form else f"{name}_launch",
                openapi_extra=extra | {OPENAPI_MARK: is_form},
                **described,
            )

    def add_flow(
        self,
        flow: "Flow[..., Any]",
        path: str = "/",
        *,
        summary: str | None = None,
        description: str | None = None,
        tags: list[str] | None = None,
        **options: Any,
    ) -> None:
        """Make a flow an endpoint, its form made from its typed parameters.

        Example:
            ```python
            @kodosumi_prefect.flow(summary="Greet")
            def greet(name: str, times: int = 1, tracer: Tracer = None) -> str: ...

            app.add_flow(greet, "/greet")
            ```

        Arguments:
            flow: made by ``@kodosumi_prefect.flow``, importable under its own name.
            summary, description, tags: the flow's own if not given.
            options: what ``enter`` takes beside them.

        Raises:
            TypeError: it is not a flow, or no form can be made of its parameters.
        """
        if not isinstance(flow, Flow):
            raise TypeError(f"add_flow takes a flow, not {flow!r}")
        model = flow_form(flow)
        metadata = getattr(flow.fn, FLOW_ATTRIBUTE, None)
        own = "inputs" in model.places

        def launch(inputs: dict[str, Any], request: Request) -> Launch:
            return Launch(request, flow, inputs=inputs.get("inputs") if own else inputs)

        for name in ("author", "organization", "version", "deprecated"):
            options.setdefault(name, getattr(metadata, name, None))
        self.enter(
            path,
            model,
            summary=summary or getattr(metadata, "summary", None) or flow.name,
            description=description or flow.description,
            tags=tags or list(getattr(metadata, "tags", ())),
            name=flow.name,
            **options,
        )(launch)

    def lock(self, name: str) -> Callable[[F], F]:
        """Register the function that makes the form of the locks of a name.

        It takes any of ``data`` (what the run gave to ``tracer.lock``), ``request`` and ``inputs``
        (what was posted, raw), and returns a form ``Model``.
        """
        return self._locks.lock(name)

    def lease(self, name: str) -> Callable[[F], F]:
        """Register the function that makes the result of the locks of a name.

        It takes any of ``inputs`` (as those of ``enter``), ``data`` and ``request``, and returns a
        JSON value, which ``tracer.lock`` answers, or raises ``InputsError``, which keeps the lock
        open. Without it, the inputs are the result.
        """
        return self._locks.lease(name)

    def get(self, path: str, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """As FastAPI's; with ``entry=True`` an endpoint, as ``version, author, organization``."""
        return self._entering("get", path, *args, **kwargs)

    def post(self, path: str, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """As ``get``."""
        return self._entering("post", path, *args, **kwargs)

    def put(self, path: str, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """As ``get``."""
        return self._entering("put", path, *args, **kwargs)

    def delete(self, path: str, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """As ``get``."""
        return self._entering("delete", path, *args, **kwargs)

    def patch(self, path: str, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """As ``get``."""
        return self._entering("patch", path, *args, **kwargs)

    def options(self, path: str, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """As ``get``."""
        return self._entering("options", path, *args, **kwargs)

    def head(self, path: str, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """As ``get``."""
        return self._entering("head", path, *args, **kwargs)

    def _entering(
        self,
        method: str,
        path: str,
        *args: Any,
        entry: bool = False,
        version: str | None = None,
        author: str | None = None,
        organization: str | None = None,
        openapi_extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Callable[[F], F]:
        if not entry:
            plain = getattr(super(), method)
            return plain(path, *args, openapi_extra=openapi_extra, **kwargs)  # type: ignore[no-any-return]

        of_launch = {name: kwargs.pop(name) for name in kwargs.keys() - _ROUTE_OPTIONS}
        Options.of(of_launch)

        def decorate(function: F) -> F:
            extra = _extra(openapi_extra, version, author, organization) | {OPENAPI_MARK: True}
            name = str(getattr(function, "__name__", "endpoint"))
            endpoint = Endpoint(
                app_name=self.service_name,
                path=path,
                method=method.upper(),
                summary=kwargs.get("summary") or name.replace("_", " ").title(),
                description=kwargs.get("description") or inspect.getdoc(function) or None,
                tags=tuple(kwargs.get("tags") or ()),
                author=author,
                organization=organization,
                version=version,
                deprecated=bool(kwargs.get("deprecated")),
                options=of_launch,
            )
            before = [Depends(ServiceEntry(endpoint)), *(kwargs.pop("dependencies", None) or ())]
            self.router.add_api_route(
                path,
                function,
                methods=[method.upper()],
                openapi_extra=extra,
                dependencies=before,
                route_class_override=EntryRoute,
                **kwargs,
            )
            return function

        return decorate


def _largest_body(scope: Scope) -> int:
    return get_settings().service_body_bytes


async def _answer(
    endpoint: Endpoint, model: Model, handler: Handler, request: Request, injected: dict[str, Any]
) -> JSONResponse:
    """Read the form, call the handler, launch."""
    posted = await read_body(request)
    request.scope[SECRETS_SCOPE] = model.secret_values(posted)
    elements = {"elements": model.get_model()}
    try:
        inputs = await run_in_threadpool(model.inputs, posted)
        if chosen := model.sent_files(posted):
            await _check_files(chosen, request)
        answer = await handler(inputs=inputs, request=request, **injected)
        if not isinstance(answer, Launching):
            raise HTTPException(
                400,
                f"{handler.name}, the handler of {endpoint.path}, returned "
                f"{type(answer).__name__}; it has to return a Launch or raise InputsError",
            )
        rule = request.headers.get(SCHEDULE_HEADER)
        request.scope[RETURNED_SCOPE] = True
        if rule is not None:
            schedule = await answer.schedule(endpoint, rule)
            return JSONResponse(
                {"schedule": schedule} | elements, headers={SCHEDULED_HEADER: schedule}
            )
        fid = await answer.go(endpoint)
    except UnheldError as error:
        return JSONResponse({"errors": error_fields(error.at_fields(model))} | elements)
    except InputsError as error:
        return JSONResponse({"errors": error_fields(error)} | elements)
    return JSONResponse({"result": fid} | elements, headers={LAUNCH_HEADER: fid})


async def _check_files(chosen: list[SentFiles], request: Request) -> None:
    """Check files before the handler learns their names; its launch has them."""
    caller = request.state.caller
    await sent_files.check(
        chosen,
        Owner(caller.user_id, caller.username) if caller.user_id else None,
        get_settings(),
        launch_id=request.headers.get(LAUNCH_ID_HEADER),
    )
    request.scope[FILES_SCOPE] = chosen


def _signature(handler: Handler) -> inspect.Signature:
    """What FastAPI has to inject: the request, and the handler's other dependencies."""
    request = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    others = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in handler.others]
    return inspect.Signature([request, *others])


def _extra(
    own: dict[str, Any] | None, version: str | None, author: str | None, organization: str | None
) -> dict[str, Any]:
    """What an endpoint's place in the OpenAPI document holds beside FastAPI's keys."""
    extensions = {"x-author": author, "x-organization": organization, "x-version": version}
    present = {name: value for name, value in extensions.items() if value is not None}
    return {OPENAPI_MARK: True} | present | (own or {})


def _described(endpoint: Endpoint, extra: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": list(endpoint.tags),
        "openapi_extra": extra,
    }
    return described | ({"deprecated": True} if endpoint.deprecated else {})
