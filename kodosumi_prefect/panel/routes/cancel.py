"""Cancelling an execution."""

from typing import Any
from uuid import UUID

import httpx
from fastapi import APIRouter, HTTPException
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL, temporary_settings

from kodosumi_prefect.panel.cancellation import NotCancelledError, cancel
from kodosumi_prefect.panel.prefect_api import api_url
from kodosumi_prefect.panel.state import Panel

router = APIRouter(prefix="/outputs", tags=["Executions"])


@router.post("/{fid}/cancel", summary="Cancel an execution, keep its record", status_code=202)
async def cancel_execution(panel: Panel, fid: UUID) -> dict[str, Any]:
    """Ask Prefect to cancel the flow run; its hooks get their chance, then it is killed.

    Answers at once with the state that Prefect gave the run; the stream tells the rest. 409 if
    the run is over, 404 if nobody knows it, 502 if Prefect does not answer.
    """
    url = api_url(panel.settings)
    if url is None:
        raise HTTPException(502, "no Prefect is configured; set PREFECT_API_URL")
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            state = await cancel(fid, "Cancelled in the panel.")
    except LookupError as exc:
        raise HTTPException(404, str(exc)) from exc
    except NotCancelledError as exc:
        raise HTTPException(409, str(exc)) from exc
    except (httpx.HTTPError, PrefectException) as exc:
        said = " ".join(str(exc).split()) or type(exc).__name__
        raise HTTPException(502, f"Prefect at {url} did not answer: {said[:200]}") from exc
    return {"fid": str(fid), "state": state}
