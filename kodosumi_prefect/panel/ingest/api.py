"""``POST /ingest`` and ``/v1/traces``: what processes elsewhere send; and the tokens for it."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from kodosumi_prefect.files.tokens import MOST_MINUTES, TOKEN_HEADER
from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, current_user
from kodosumi_prefect.panel.ingest import actions, otlp, traces
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.refusals import RefusedError
from kodosumi_prefect.spooler.outcome import Answer
from kodosumi_prefect.spooler.panel_transport import PATH

router = APIRouter()


class Lifetime(BaseModel):
    """How long a token is to be good for."""

    minutes: float = Field(
        1440.0, gt=0, le=MOST_MINUTES, description="It ends an hour after its execution anyway."
    )


class RunTokenAnswer(BaseModel):
    """A token, and what it opens."""

    fid: UUID
    token: str = Field(description="Sent in the header `kodosumi-run-token`. Shown once.")
    until: float = Field(description="Epoch seconds.")
    panel_url: str


# What our own client sends, of another version each; not for anybody else.


@router.post(PATH, include_in_schema=False)
async def append(request: Request, panel: Panel) -> JSONResponse:
    """Store a delivery of events."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    token = request.headers.get(TOKEN_HEADER)
    return await _answer(panel, await panel.ingest.append(token, request.stream(), encoding))


@router.post(f"{PATH}/heartbeat", include_in_schema=False)
async def heartbeat(request: Request, panel: Panel) -> JSONResponse:
    """The process of the token's execution is alive."""
    return await _answer(panel, await panel.ingest.heartbeat(request.headers.get(TOKEN_HEADER)))


@router.post(f"{PATH}/hello", include_in_schema=False)
async def hello(request: Request, panel: Panel) -> JSONResponse:
    """A process will send something soon."""
    await panel.ingest.admit(request.headers.get(TOKEN_HEADER))
    return await _answer(panel, None)


@router.post(f"{PATH}/standing", include_in_schema=False)
async def standing(request: Request, panel: Panel) -> JSONResponse:
    """How the token's execution stands against its budgets."""
    outcome, found = await panel.ingest.standing(request.headers.get(TOKEN_HEADER))
    return await _answer(panel, outcome, standing=found)


@router.post(
    "/outputs/{fid}/token",
    tags=["Executions"],
    summary="Make a token of an execution",
    status_code=201,
    responses=problems(404, 503),
)
async def make_token(
    panel: Panel, user: CurrentUser, fid: UUID, lifetime: Annotated[Lifetime | None, Body()] = None
) -> RunTokenAnswer:
    """For a process elsewhere that is to record into this execution, and to use its files.

    It opens this execution only. 403 if the execution is not yours or takes no more events.
    """
    minutes = (lifetime or Lifetime.model_construct(minutes=1440.0)).minutes
    made = await actions.token(panel.ingest, panel.settings, user, panel.reader, fid, minutes)
    return RunTokenAnswer(**made)


# OpenTelemetry's protocol, which has a description of its own.


@router.post("/v1/traces", include_in_schema=False)
async def take_spans(request: Request, panel: Panel) -> Response:
    """Store spans, by an account or by a token of their execution."""
    media_type = otlp.media_type_of(request.headers.get("content-type", ""))
    encoding = request.headers.get("content-encoding", "").strip().lower()
    try:
        if (token := request.headers.get(TOKEN_HEADER)) is not None:
            read, _ = await panel.ingest.admit(token)
            sender = traces.Sender(read.fid, None)
        else:
            sender = traces.Sender(None, await current_user(request))
        stored = await traces.store(
            panel.ingest,
            panel.settings,
            panel.reader,
            sender,
            request.stream(),
            media_type,
            encoding,
        )
    except RefusedError as refusal:
        response = Response(
            otlp.refusal(media_type, refusal.detail), status_of(refusal), media_type=media_type
        )
        if refusal.retry_after is not None:
            response.headers["Retry-After"] = str(round(refusal.retry_after))
        return response
    return Response(otlp.answer(media_type, *stored), media_type=media_type)


async def _answer(panel: Any, outcome: Answer, **more: Any) -> JSONResponse:
    status = 200 if outcome is None else 503 if outcome[0] in ("psycopg", "fault") else 409
    instance = await panel.ingest.instance()
    return JSONResponse({"outcome": outcome, "instance": instance, **more}, status)
