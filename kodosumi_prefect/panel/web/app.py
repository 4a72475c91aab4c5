"""The panel's FastAPI app."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psycopg
import sqlalchemy.exc
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from psycopg.conninfo import conninfo_to_dict
from starlette.concurrency import run_in_threadpool
from starlette.types import Scope

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database import migrate
from kodosumi_prefect.http.limits import BodyLimit
from kodosumi_prefect.http.spelling import EitherSpelling
from kodosumi_prefect.http.untyped_json import UntypedJson
from kodosumi_prefect.panel.accounts import api as accounts_api
from kodosumi_prefect.panel.accounts import pages as account_pages
from kodosumi_prefect.panel.accounts import role_api, user_pages
from kodosumi_prefect.panel.accounts.first_operator import first_operator
from kodosumi_prefect.panel.accounts.gate import SPANS, Gate
from kodosumi_prefect.panel.accounts.identification import Identification
from kodosumi_prefect.panel.accounts.passwords import WeakPasswordError
from kodosumi_prefect.panel.audit import api as audit_api
from kodosumi_prefect.panel.audit.entry import Actor
from kodosumi_prefect.panel.audit.recording import Recording
from kodosumi_prefect.panel.audit.trail import Trail
from kodosumi_prefect.panel.budgets import pages as budget_pages
from kodosumi_prefect.panel.executions import api as executions_api
from kodosumi_prefect.panel.executions import (
    cancel_api,
    changes_api,
    dashboard_api,
    list_api,
    saved_views,
    span_api,
    task_api,
    task_pages,
    trace_pages,
)
from kodosumi_prefect.panel.executions import list_pages as execution_list_pages
from kodosumi_prefect.panel.executions import pages as execution_pages
from kodosumi_prefect.panel.executions.streams import QUIET, Streams
from kodosumi_prefect.panel.files import api as files_api
from kodosumi_prefect.panel.files import pages as file_pages
from kodosumi_prefect.panel.files import run_api as run_files_api
from kodosumi_prefect.panel.files.depot import Depot
from kodosumi_prefect.panel.ingest import api as ingest_api
from kodosumi_prefect.panel.ingest.actions import Ingest
from kodosumi_prefect.panel.locks import answer_pages
from kodosumi_prefect.panel.locks import api as locks_api
from kodosumi_prefect.panel.locks import pages as lock_pages
from kodosumi_prefect.panel.schedules import api as schedules_api
from kodosumi_prefect.panel.schedules import pages as schedule_pages
from kodosumi_prefect.panel.services import api as services_api
from kodosumi_prefect.panel.services import deploy_api, proxy_api
from kodosumi_prefect.panel.services import list_pages as service_list_pages
from kodosumi_prefect.panel.services import pages as service_pages
from kodosumi_prefect.panel.services.calls import Services
from kodosumi_prefect.panel.services.launch_keys import LaunchKeys
from kodosumi_prefect.panel.services.register.register import Register
from kodosumi_prefect.panel.system import health_api, metrics_api
from kodosumi_prefect.panel.system import pages as system_pages
from kodosumi_prefect.panel.system.metrics import Metrics
from kodosumi_prefect.panel.system.utilisation import Sampler
from kodosumi_prefect.panel.teams import api as teams_api
from kodosumi_prefect.panel.teams import pages as team_pages
from kodosumi_prefect.panel.web import error_schemas, errors, kodosumi_pages, limits
from kodosumi_prefect.panel.web.csrf import OwnPagesOnly
from kodosumi_prefect.panel.web.headers import Shield
from kodosumi_prefect.panel.web.proxy import Forwarded, own_path
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import COMPRESSED, PANEL, package_version, page
from kodosumi_prefect.panel.webhooks import api as webhooks_api
from kodosumi_prefect.panel.webhooks import pages as webhook_pages
from kodosumi_prefect.settings import (
    DatabaseUrlError,
    Settings,
    check_database_urls,
    database_url,
    get_settings,
    listen_url,
)
from kodosumi_prefect.stream.changes import Changes
from kodosumi_prefect.stream.feed import Feed
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.vocabulary import (
    API_KEY_HEADER,
    FAILED_HEADER,
    IDEMPOTENCY_HEADER,
    LAUNCH_HEADER,
    REPEATED_HEADER,
    SCHEDULE_HEADER,
)

# In the order of the panel's OpenAPI document.
AREAS: tuple[Any, ...] = (
    executions_api,
    span_api,
    cancel_api,
    ingest_api,
    task_api,
    list_api,
    changes_api,
    dashboard_api,
    files_api,
    run_files_api,
    locks_api,
    services_api,
    deploy_api,
    proxy_api,
    schedules_api,
    webhooks_api,
    accounts_api,
    role_api,
    teams_api,
    audit_api,
    health_api,
    metrics_api,
    execution_list_pages,
    saved_views,
    task_pages,
    trace_pages,
    file_pages,
    execution_pages,
    service_list_pages,
    service_pages,
    lock_pages,
    answer_pages,
    schedule_pages,
    account_pages,
    webhook_pages,
    user_pages,
    budget_pages,
    team_pages,
    system_pages,
    kodosumi_pages,
)
CONNECTIONS = 8  # to Postgres, for all requests; the feed's LISTEN is one more


class PanelError(RuntimeError):
    """Why the panel does not start, in one line."""


def create_app(
    settings: Settings | None = None,
    *,
    quiet: float = QUIET,
    say: Callable[[str], None] | None = None,
) -> FastAPI:
    """The panel: an ASGI app that opens its connections when it is started.

    Arguments:
        settings: where Postgres is; default the settings in force.
        quiet: seconds of silence before a stream says `alive`.
        say: called with what whoever starts the panel has to know, such as the first operator's
            password; default stderr.

    Raises (at start):
        PanelError: no database is known, it does not answer, or its schema is too old; or the
            secret key or ``admin_password`` is not usable.
    """
    used = settings or get_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        url = await run_in_threadpool(_checked_database, used)
        async with (
            Reader(url, used.database_schema, CONNECTIONS) as reader,
            Feed(reader, listen_url(used) or url) as feed,
            Changes(reader, feed) as changes,
        ):
            streams = Streams(feed, quiet, used.streams_per_user)
            identification = await _identification(used, reader, say or _to_stderr)
            async with (
                Trail(reader, partial(_actor, identification)) as trail,
                Services(used) as services,
                Depot(used, url) as depot,
                Register(reader, used, services) as register,
            ):
                numbers = Metrics(reader, feed, streams, trail)
                ingest = Ingest(used, reader, url)
                app.state.panel = state = State(
                    used,
                    reader,
                    feed,
                    changes,
                    streams,
                    numbers,
                    identification,
                    services,
                    register,
                    trail,
                    LaunchKeys(used, reader),
                    depot,
                    ingest,
                )
                reviewing = asyncio.create_task(streams.review(identification), name="review")
                sampling = asyncio.create_task(Sampler(reader).run(), name="utilisation")
                try:
                    yield
                finally:
                    streams.close()
                    await cancel_all([reviewing, sampling])
                    await ingest.close()
                    await numbers.close()
                    await state.task_trees.close()

    app = FastAPI(
        title="Kodosumi on Prefect",
        summary="Executions of agentic flows and their event streams.",
        version=package_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # see EitherSpelling
    )
    errors.install(app)
    app.add_middleware(UntypedJson, spared=_is_for_others)
    app.add_middleware(Recording)
    app.add_middleware(Gate)
    app.add_middleware(BodyLimit, largest=limits.largest, refuse=errors.error_response)
    app.add_middleware(OwnPagesOnly, cors_origins=used.cors_origins, panel_url=used.panel_url or "")
    app.add_middleware(Shield)
    if used.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=used.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=[
                API_KEY_HEADER,
                "Content-Type",
                "Last-Event-ID",
                SCHEDULE_HEADER,
                IDEMPOTENCY_HEADER,
            ],
            expose_headers=[LAUNCH_HEADER, REPEATED_HEADER, FAILED_HEADER, "Retry-After"],
            allow_credentials=False,
        )
    app.add_middleware(EitherSpelling, routes=lambda: app.routes)
    app.add_middleware(Forwarded, settings=used)
    for area in AREAS:
        app.include_router(area.router)
    error_schemas.install(app, (area.router for area in AREAS))
    static = StaticFiles(directory=PANEL / "static")
    app.mount("/static", GZipMiddleware(static, minimum_size=COMPRESSED), name="static")

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        return page(request, "docs.html", {})

    return app


def _is_for_others(scope: Scope) -> bool:
    """Whether a body is not looked into here: a service's, a file of a run, spans in protobuf."""
    path = own_path(scope)
    return proxy_api.is_forwarded(scope) or path.startswith("/run-files/") or path == SPANS


async def _identification(
    settings: Settings, reader: Reader, say: Callable[[str], None]
) -> Identification:
    try:
        identification = Identification(settings, reader)
        notice = await first_operator(identification)
    except OSError as exc:
        raise PanelError(
            f"the secret behind sessions cannot be stored in {settings.data_dir} ({exc.strerror}); "
            "make it writable or set secret_key"
        ) from exc
    except WeakPasswordError as exc:
        raise PanelError(f"admin_password: {exc}") from exc
    if notice is not None:
        say(notice)
    return identification


async def _actor(identification: Identification, name: str) -> Actor | None:
    account = await identification.accounts.by_name(name)
    return None if account is None else Actor(account.id, account.name)


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _checked_database(settings: Settings) -> str:
    try:
        check_database_urls(settings)
        url = database_url(settings)
    except DatabaseUrlError as exc:
        raise PanelError(str(exc)) from exc
    if url is None:
        raise PanelError(
            f"no database: database_url is not set and no `kodosumi-prefect up` runs for "
            f"{settings.data_dir}; set one or start the other"
        )
    try:
        migrate.require(url, settings.database_schema)
    except migrate.SchemaTooOldError as exc:
        raise PanelError(str(exc)) from exc
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as exc:
        raise PanelError(_unreachable(url, getattr(exc, "orig", None) or exc)) from exc
    return url


def _unreachable(url: str, exc: BaseException) -> str:
    where = conninfo_to_dict(url)
    lines = str(exc).strip().splitlines()
    return (
        f"database_url points at {where.get('host', 'localhost')}:{where.get('port', 5432)}, "
        f"which refused the connection: {lines[0] if lines else type(exc).__name__}; start it or "
        "correct database_url"
    )
