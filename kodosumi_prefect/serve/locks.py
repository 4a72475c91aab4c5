"""The functions with which a service asks people: its forms, and the results of answers."""

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import HTTPException
from fastapi.encoders import jsonable_encoder
from pydantic_core import PydanticSerializationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from kodosumi_prefect.forms import InputsError, Model
from kodosumi_prefect.http.body import read_body
from kodosumi_prefect.http.errors import error_fields
from kodosumi_prefect.serve.handler import Handler
from kodosumi_prefect.serve.lock_facts import lock_facts
from kodosumi_prefect.vocabulary import SECRETS_SCOPE

F = TypeVar("F", bound=Callable[..., Any])
NAMES = ("data", "request", "inputs")  # arguments that lock and lease functions may have
PATH = "/_lock_/{fid}/{lid}"


class LockFunctions:
    """The lock and lease functions of one service, by name."""

    def __init__(self) -> None:
        self._locks: dict[str, Handler] = {}
        self._leases: dict[str, Handler] = {}

    def lock(self, name: str) -> Callable[[F], F]:
        """Register the function that makes the form of the locks of a name."""
        return self._registering(self._locks, name, "lock")

    def lease(self, name: str) -> Callable[[F], F]:
        """Register the function that makes a result of what was filled in."""
        return self._registering(self._leases, name, "lease")

    def _registering(self, known: dict[str, Handler], name: str, kind: str) -> Callable[[F], F]:
        def register(function: F) -> F:
            if name in known:
                raise ValueError(f"there are two {kind} functions named {name!r}")
            handler = Handler(function, NAMES)
            if needed := [each.name for each in handler.others if each.default is each.empty]:
                raise TypeError(
                    f"{kind} function {handler.name} takes {', '.join(needed)}; it can only take "
                    f"{', '.join(NAMES)}"
                )
            known[name] = handler
            return function

        return register

    async def get(self, request: Request, fid: str, lid: str) -> list[dict[str, Any]]:
        """The elements of a lock's form."""
        lock = await lock_facts(request, fid, lid)
        model = await self._form(lock.name, data=lock.data, request=request, inputs={})
        return model.get_model()

    async def post(self, request: Request, fid: str, lid: str) -> dict[str, Any]:
        """The result of what was filled in, or what is wrong with it."""
        posted = await read_body(request)
        lock = await lock_facts(request, fid, lid)
        model = await self._form(lock.name, data=lock.data, request=request, inputs=posted)
        request.scope[SECRETS_SCOPE] = model.secret_values(posted)
        try:
            inputs = await run_in_threadpool(model.inputs, posted)
            lease = self._leases.get(lock.name)
            result = inputs
            if lease is not None:
                result = await lease(inputs=inputs, data=lock.data, request=request)
        except InputsError as error:
            return {"errors": error_fields(error), "elements": model.get_model()}
        try:
            return {"result": jsonable_encoder(result), "elements": model.get_model()}
        except (PydanticSerializationError, ValueError, TypeError, RecursionError) as exc:
            kind = type(result).__name__
            detail = f"the lease function of {lock.name!r} returned {kind}, which is not JSON"
            raise HTTPException(500, detail) from exc

    async def _form(self, name: str, **available: Any) -> Model:
        lock = self._locks.get(name)
        if lock is None:
            raise HTTPException(404, f"the service has no @app.lock({name!r})")
        model = await lock(**available)
        if not isinstance(model, Model):
            detail = f"the lock function {lock.name} returned {type(model).__name__}, not a Model"
            raise HTTPException(500, detail)
        return model
