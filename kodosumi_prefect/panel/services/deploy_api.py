"""What Kodosumi's clients ask about Ray Serve; and what is not done here."""

from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from kodosumi_prefect.panel.accounts.permissions import CurrentUser, Operator
from kodosumi_prefect.panel.services.ray_serve import applications
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State

GONE = (
    "the panel does not deploy: use Ray Serve itself, `serve deploy FILE` and `serve shutdown`, "
    "and register its routes with POST /flow/register; or start the panel with --service module:app"
)

router = APIRouter(tags=["Flow"])


class Application(BaseModel):
    """An application of Ray Serve."""

    name: str
    status: str
    message: str
    route_prefix: str | None
    deployments: dict[str, str]


@router.get("/deploy", summary="Ray Serve's applications", responses=problems(502))
async def deployed(panel: Panel, _: Operator) -> dict[str, str]:
    """The status of each, by name.

    From Ray's dashboard at `RAY_DASHBOARD_ADDRESS`; without it those that a registered `/-/routes`
    lists, which run.
    """
    return {name: one["status"] for name, one in (await _known(panel)).items()}


@router.get("/deploy/{name}", summary="An application of Ray Serve", responses=problems(404, 502))
async def deployment(panel: Panel, _: Operator, name: str) -> Application:
    """As in `GET /deploy`."""
    known = await _known(panel)
    if name not in known:
        raise HTTPException(404, f"Ray Serve has no application {name[:80]!r}; see GET /deploy")
    return Application(**known[name])


async def _known(panel: State) -> dict[str, dict[str, Any]]:
    sources = await panel.register.sources()
    return await applications([one.url for one in sources if one.kind == "routes"])


@router.api_route("/deploy", methods=["POST", "DELETE"], include_in_schema=False)
@router.api_route("/deploy/{name}", methods=["POST", "DELETE"], include_in_schema=False)
@router.api_route("/serve", methods=["POST", "DELETE"], include_in_schema=False)
async def gone(_: CurrentUser) -> None:
    """What Kodosumi drops as well."""
    raise HTTPException(410, GONE)
