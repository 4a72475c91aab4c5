"""One span of an execution, with what went in and came out."""

from dataclasses import asdict
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import Response

from kodosumi_prefect.panel.executions.span_contents import contents
from kodosumi_prefect.panel.web.answers import Span
from kodosumi_prefect.panel.web.error_schemas import answers, problems
from kodosumi_prefect.panel.web.parameters import Execution, Panel, ReadsContents
from kodosumi_prefect.spans.span import LONGEST_ID

router = APIRouter(prefix="/outputs", tags=["Executions"])

SpanId = Annotated[str, Path(max_length=LONGEST_ID, description="The span.")]


class Json(Response):
    """JSON written at once: contents can be long."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


@router.get(
    "/trace/{fid}/{span}",
    response_class=Json,
    summary="A span with its input and output",
    responses=answers(Span) | problems(404),
    dependencies=[ReadsContents],
)
async def span(panel: Panel, execution: Execution, span: SpanId) -> Response:
    """`input` and `output` are null where nothing was kept, or nothing is there yet.

    Raises:
        HTTPException: 404, the execution has no such span.
    """
    row = await panel.reader.span(execution.fid, span)
    if row is None:
        raise HTTPException(404, f"there is no span {span} in this execution")
    kept = await contents(panel.reader, execution.fid, row)
    return Json(
        {"fid": execution.fid, "span": asdict(row), "input": kept.input, "output": kept.output}
    )
