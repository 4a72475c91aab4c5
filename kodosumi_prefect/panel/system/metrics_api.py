"""Numbers for Prometheus."""

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from kodosumi_prefect.panel.web.parameters import Panel

router = APIRouter(tags=["Health"])


@router.get("/metrics", response_class=Response, summary="Numbers for Prometheus")
async def metrics(panel: Panel) -> Response:
    """Answers within about a second, also while Postgres is away."""
    return Response(await panel.metrics.text(), media_type=CONTENT_TYPE_LATEST)
