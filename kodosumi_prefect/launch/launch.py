"""``Launch``: what an endpoint's handler returns to have an entrypoint executed."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from kodosumi_prefect.adapter import launched
from kodosumi_prefect.forms import InputsError
from kodosumi_prefect.forms.files import SentFiles
from kodosumi_prefect.http import identity
from kodosumi_prefect.http.errors import error_fields
from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.launch import database, schedules, sent_files
from kodosumi_prefect.launch.deploying import deployment_of, plan, runtime_env_here, slug_of, uid_of
from kodosumi_prefect.launch.endpoint import Endpoint
from kodosumi_prefect.launch.firing import When
from kodosumi_prefect.launch.inputs import Packed, pack_inputs
from kodosumi_prefect.launch.options import Options
from kodosumi_prefect.launch.refusal import (
    FaultyServiceError,
    GoneError,
    UnavailableLaunchError,
    UnsignedLaunchError,
    WrongRequestError,
)
from kodosumi_prefect.launch.starting import RunRequest, new_id
from kodosumi_prefect.launch.target import TargetError, folders_of, load, name_of
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.refusals import RefusedError
from kodosumi_prefect.settings import Settings, get_settings, panel_url
from kodosumi_prefect.vocabulary import (
    ENDPOINT_HEADER,
    ENDPOINT_SCOPE,
    FILES_SCOPE,
    LAUNCH_HEADER,
    LAUNCH_ID_HEADER,
    LAUNCHES_SCOPE,
    RETURNED_SCOPE,
    SECRETS_SCOPE,
)


class Launch(Response):
    """Have an entrypoint executed by a Runner; the answer names the execution.

    Example:
        ```python
        @app.enter("/", model=form, summary="Digest a document")
        async def digest(inputs: dict, request: Request) -> Launch:
            return Launch(request, "my_service.work:digest", inputs=inputs)
        ```

    Nothing happens until it is answered: the service calls ``go`` or ``schedule``, or sends it as
    the response that it is.

    Arguments:
        request: the request that is answered.
        entry_point: ``"module:callable"``, ``"module.callable"``, something that can be imported
            under its own name, a CrewAI crew, or a class marked as CrewAI crew base.
        inputs: what the entrypoint gets: equal values of equal types. JSON, the types of the
            standard library that stand for values (dates, times, UUIDs, decimals, bytes, sets,
            tuples, enums, …), dataclasses and pydantic models, nested and as a whole. Classes
            have to be at the top of a module; what cannot travel is refused, by its name.
        reference: kept for services that give it; the endpoint speaks for itself.
        summary, description: of this execution, in place of the endpoint's.
        retries, retry_delay: how often a failed run is tried again, and seconds in between.
        timeout: seconds it may take.
        num_cpus, num_gpus, memory, resources: what the Runner takes of the cluster; memory in MiB.
        runtime_env: keys of Ray's ``runtime_env`` in place of those of this process.

    Raises:
        TypeError: an option that is not known.
        ValueError: an option has an invalid value.
    """

    def __init__(
        self,
        request: Request,
        entry_point: Any,
        inputs: Any = None,
        reference: Any = None,
        summary: str | None = None,
        description: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.request = request
        self.entry_point = entry_point
        self.inputs = inputs
        self.reference = reference
        self.summary = summary
        self.description = description
        self.options = Options.of(options)
        self._namespace: Mapping[str, Any] = sys._getframe(1).f_globals
        self._fid: str | None = None

    async def go(self, endpoint: Endpoint) -> str:
        """Launch; the fid. A second call answers the first one's.

        Raises:
            LaunchError: it cannot start, in one line.
            UnheldError: an input that Prefect cannot hold.
        """
        if self._fid is None:
            self._fid = await self._go(endpoint)
        return self._fid

    async def schedule(self, endpoint: Endpoint, rule: Any) -> str:
        """Save the launch as a schedule instead; the schedule's id.

        Arguments:
            rule: ``{"cron": …, "timezone": …}`` or ``{"interval": seconds}``, both with an
                optional ``name``; or that as JSON.

        Raises:
            LaunchError: it cannot start, in one line.
            UnheldError: as ``go``.
        """
        when = await When.of(rule)
        ready = await self._ready(endpoint, for_schedule=True)
        payload = await _stored(ready.packed, ready.settings)
        launch_id = _launch_id(self.request)

        async def create(deployment: UUID) -> str:
            return await schedules.create(
                deployment,
                when,
                ready.parameters(payload, scheduled=True),
                ready.owner,
                endpoint_uid=self.request.headers.get(ENDPOINT_HEADER) or uid_of(endpoint),
                summary=when.name or self.summary or endpoint.summary or slug_of(endpoint),
                payload=payload,
                launch_id=launch_id,
                files=ready.files,
                settings=ready.settings,
            )

        try:
            try:
                return await create(await self._deployment(ready, endpoint))
            except GoneError:  # somebody deleted it since this process looked
                return await create(await self._deployment(ready, endpoint, anew=True))
        except BaseException:
            await _forget(payload, ready.settings)
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.request.scope[RETURNED_SCOPE] = True
        try:
            fid = await self.go(scope.get(ENDPOINT_SCOPE) or _endpoint_of(self.request))
        except InputsError as error:  # of another app
            answer = JSONResponse({"errors": error_fields(error), "elements": []})
        except RefusedError as refusal:  # for the other app's own handlers
            raise HTTPException(status_of(refusal), refusal.detail) from refusal
        else:
            answer = JSONResponse({"fid": fid}, headers={LAUNCH_HEADER: fid})
        await answer(scope, receive, send)

    async def _go(self, endpoint: Endpoint) -> str:
        ready = await self._ready(endpoint)
        deployment = await self._deployment(ready, endpoint)
        payload = await _stored(ready.packed, ready.settings)
        job = ready.options.differing(Options.of(endpoint.options)).job_variables()
        if "runtime_env" in job:
            job["runtime_env"] = runtime_env_here() | job["runtime_env"]
        wish = RunRequest(
            parameters=ready.parameters(payload),
            id=_launch_id(self.request) or new_id(),
            owner=ready.owner,
            retries=ready.options.retries,
            retry_delay=ready.options.retry_delay,
            job_variables=job,
            visible_inputs=ready.packed.visible,
            payload=payload,
        )
        try:
            try:
                return await sent_files.start_with(deployment, wish, ready.files, ready.settings)
            except ObjectNotFound:  # somebody deleted it since this process looked
                deployment = await self._deployment(ready, endpoint, anew=True)
                return await sent_files.start_with(deployment, wish, ready.files, ready.settings)
        except asyncio.CancelledError:
            raise  # the client is gone; the run may exist by now, and needs its inputs
        except BaseException:
            await _forget(payload, ready.settings)
            raise

    async def _ready(self, endpoint: Endpoint, *, for_schedule: bool = False) -> "_Ready":
        settings = get_settings()
        try:
            caller = await identity.verify(self.request, settings)
        except identity.NoPanelKeyError as exc:
            raise UnavailableLaunchError(str(exc)) from exc
        except identity.UnsignedError as exc:
            raise UnsignedLaunchError(str(exc)) from exc
        try:
            if isinstance(self.entry_point, str):
                name = self.entry_point
                target = await asyncio.to_thread(load, name)
            else:
                name, target = name_of(self.entry_point, self._namespace), self.entry_point
        except TargetError as exc:
            raise FaultyServiceError(str(exc)) from exc
        options = self.options.over(Options.of(endpoint.options)).over(_options_of(target))
        values = self.request.scope.get(SECRETS_SCOPE) or ()
        return _Ready(
            entry_point=name,
            target=target,
            options=options,
            packed=await asyncio.to_thread(
                pack_inputs,
                self.inputs,
                endpoint.secrets,
                values,
                settings,
                for_schedule=for_schedule,
            ),
            owner=Owner(caller.user_id, caller.username) if caller.user_id else None,
            launch=self._described(endpoint, caller, settings, options, name),
            settings=settings,
            # Of several launches of one form the first one has its files: they are used once.
            files=self.request.scope.pop(FILES_SCOPE, ()),
        )

    def _described(
        self,
        endpoint: Endpoint,
        caller: identity.ServiceCaller,
        settings: Settings,
        options: Options,
        name: str,
    ) -> launched.LaunchParameter:
        return launched.LaunchParameter(
            flow=slug_of(endpoint),
            summary=self.summary or endpoint.summary,
            description=self.description or endpoint.description,
            tags=list(endpoint.tags),
            author=endpoint.author,
            organization=endpoint.organization,
            version=endpoint.version,
            deprecated=endpoint.deprecated,
            app_url=caller.base or str(self.request.base_url).rstrip("/"),
            panel_url=caller.panel_url or panel_url(settings),
            username=caller.username or None,
            timeout=options.timeout,
            retries=options.retries,
            retry_delay=options.retry_delay,
            path=folders_of(name),
        )

    async def _deployment(self, ready: "_Ready", endpoint: Endpoint, *, anew: bool = False) -> UUID:
        planned = plan(endpoint, ready.entry_point, ready.launch.path, ready.settings)
        return await deployment_of(planned, ready.settings, anew=anew)


class _Ready(NamedTuple):
    """A launch that is complete and allowed."""

    entry_point: str
    target: Any
    options: Options
    packed: Packed
    owner: Owner | None
    launch: launched.LaunchParameter
    settings: Settings
    files: Sequence[SentFiles] = ()

    def parameters(self, payload: str | None, *, scheduled: bool = False) -> dict[str, Any]:
        """What Prefect keeps of it."""
        files = sent_files.batches_of(self.files)
        more = {"payload": payload, "scheduled": scheduled, "files": files}
        launch = self.launch.model_copy(update=self.packed.launch | more)
        return {
            "entry_point": self.entry_point,
            "inputs": self.packed.parameters,
            "launch": launch.model_dump(exclude_defaults=True),
        }


def _launch_id(request: Request) -> str | None:
    """The id that the panel has for this launch, if it has one.

    What a handler returns is the launch; what it launches beside that gets ids made of this one,
    the same ones when it is asked again.
    """
    header = request.headers.get(LAUNCH_ID_HEADER)
    if header is None:
        return None
    try:
        id_ = UUID(header)
    except ValueError:
        raise WrongRequestError(f"{LAUNCH_ID_HEADER} is not a UUID") from None
    if request.scope.pop(RETURNED_SCOPE, False):
        return str(id_)
    request.scope[LAUNCHES_SCOPE] = number = request.scope.get(LAUNCHES_SCOPE, 0) + 1
    return sent_files.second_id(str(id_), number)


async def _stored(packed: Packed, settings: Settings) -> str | None:
    """Store what Prefect must not or cannot store; the row's id."""
    if packed.row is None:
        return None
    await database.query_rows(settings, "prune_payloads")
    return str(await database.value(settings, "store_payload", **packed.row))


async def _forget(payload: str | None, settings: Settings) -> None:
    if payload is not None:
        await database.query_rows(settings, "forget_payload", id=payload)


def _options_of(target: Any) -> Options:
    """A flow's own metadata, if the entrypoint is one."""
    if not isinstance(target, Flow):
        return Options()
    delay = target.retry_delay_seconds
    return Options(
        retries=target.retries or None,
        retry_delay=delay if isinstance(delay, int | float) else None,
        timeout=target.timeout_seconds,
    )


def _endpoint_of(request: Request) -> Endpoint:
    """The endpoint of another app, for a Launch that is returned as a response."""
    app = request.scope.get("app")
    route = request.scope.get("route")
    return Endpoint(
        app_name=getattr(app, "title", "service"),
        path=getattr(route, "path", request.url.path),
        summary=getattr(route, "summary", None),
        description=getattr(route, "description", None) or None,
    )
