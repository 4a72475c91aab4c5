"""The Flow Register over HTTP: finding endpoints, and where they are found."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field

from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, Operator
from kodosumi_prefect.panel.audit.entry import public_url
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.services import actions
from kodosumi_prefect.panel.services.failures import failed_header
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.errors import error_response
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.stream.reader import ALL
from kodosumi_prefect.vocabulary import FAILED_HEADER

MOST = 500  # endpoints of one answer
MOST_URLS = 100  # sources of one request
NAMED = 3  # sources that a message names
LONGEST = 2000  # characters of a message

router = APIRouter(prefix="/flow", tags=["Flow"])

Url = Annotated[str, Field(min_length=1, max_length=2000)]


class Urls(BaseModel):
    """Sources by their addresses."""

    url: Url | Annotated[list[Url], Field(max_length=MOST_URLS)]

    @property
    def all(self) -> list[str]:
        """Them as a list, storable."""
        urls = [self.url] if isinstance(self.url, str) else self.url
        return [clean(url) for url in urls]


class Endpoint(BaseModel):
    """An endpoint that people can launch; POST to `url` of this panel."""

    uid: str = Field(description="MD5 of `url`.")
    method: str
    url: str = Field(description="Where this panel serves it.")
    source: str = Field(description="Where it was found.")
    summary: str | None
    description: str | None
    deprecated: bool
    author: str | None
    organization: str | None
    version: str | None
    tags: list[str]
    base_url: str = Field(description="Where its service runs.")
    reachable: bool = Field(description="Whether its source could be read the last time.")
    kind: str = Field(description="`openapi`, `routes`, `mounted` or `prefect`.")


class Endpoints(BaseModel):
    """A page of endpoints; `offset` leads to the next one, null on the last."""

    items: list[Endpoint]
    offset: str | None
    failed: dict[str, str] = Field(
        default={},
        description="Services of this panel that do not run, with why; `PUT /flow/register` starts "
        "them again. Left out if all run.",
    )


class Deletes(BaseModel):
    """The sources that were removed."""

    deletes: list[str]


class Source(BaseModel):
    """Where endpoints are found."""

    url: str
    kind: str
    trouble: str | None = Field(description="Why it could not be read the last time.")
    checked_at: float | None = Field(description="Seconds since the epoch.")
    reached_at: float | None
    endpoints: int


class Registers(BaseModel):
    """All endpoints and all sources."""

    routes: list[str]
    registers: list[str]
    sources: list[Source]


class Refresh(BaseModel):
    """The endpoints and sources after all were read."""

    summaries: list[str | None]
    urls: list[str]
    deletes: list[str] = Field(description="Endpoints that are gone by this.")
    sources: list[str]
    connected: list[str] = Field(description="Sources that could be read.")


@router.get("", summary="Endpoints by summary", response_model_exclude_unset=True)
async def endpoints(
    panel: Panel,
    _: CurrentUser,
    q: Annotated[
        str | None,
        Query(
            max_length=1000,
            description="Words that must all occur in summary, description, author, organization, "
            "tags or url.",
        ),
    ] = None,
    pp: Annotated[int, Query(ge=1, le=MOST, description="Endpoints per page.")] = 10,
    offset: Annotated[
        str | None,
        Query(pattern="^[0-9a-f]{32}$", description="The `offset` of the previous page."),
    ] = None,
    tag: Annotated[list[str] | None, Query(description="Tags it must all have.")] = None,
) -> Endpoints:
    """Those whose source cannot be read now stay in the list, with `reachable` false."""
    tags = [clean(each) for each in tag or ()]
    rows = await panel.register.endpoints(
        query=clean(q or ""), tags=tags, after=offset, limit=pp + 1
    )
    page_rows = rows[:pp]
    failed = panel.services.failed
    return Endpoints(
        items=[Endpoint.model_validate(row, from_attributes=True) for row in page_rows],
        offset=page_rows[-1].uid if len(rows) > pp else None,
        **({"failed": failed} if failed else {}),
    )


@router.get("/tags", summary="Tags, and how many endpoints have them")
async def tags(panel: Panel, _: CurrentUser) -> dict[str, int]:
    """The most frequent first."""
    return await panel.register.tags()


@router.post(
    "/register",
    status_code=201,
    response_model=list[Endpoint],
    summary="Add sources",
    responses=problems(400, 413, 422),
)
async def register(
    request: Request, response: Response, panel: Panel, body: Urls, _: Operator
) -> Any:
    """Reads OpenAPI documents, or Ray Serve's `/-/routes`, now and then regularly.

    Answers the endpoints found, and in the header `kodosumi-failed` a JSON object of what is wrong
    by source. 422 if no endpoint was found at all. A source that is away is kept; one that is no
    such document is not.
    """
    added = await actions.register(panel, body.all, journal(request))
    answer: Response = response
    if added.failed and not added.endpoints:
        reasons = [
            f"{why} (it is kept, and read again regularly)" if url in added.kept else why
            for url, why in added.failed.items()
        ]
        answer = error_response(request, 422, "; ".join(reasons)[:LONGEST])
    if added.failed:
        answer.headers[FAILED_HEADER] = failed_header(added.failed)
    if answer is not response:
        return answer
    return [Endpoint.model_validate(row, from_attributes=True) for row in added.endpoints]


@router.post("/unregister", summary="Remove sources", responses=problems(400, 404, 409, 413))
async def unregister(request: Request, panel: Panel, body: Urls, _: Operator) -> Deletes:
    """Their endpoints are removed too, and the schedules of these are paused.

    404 if none of them is known.
    """
    deletes = await actions.unregister(panel, body.all, journal(request))
    if not deletes:
        names = ", ".join(public_url(url)[:200] for url in body.all[:NAMED])
        raise HTTPException(404, f"there is no source {names}; see GET /flow/register")
    return Deletes(deletes=deletes)


@router.get("/register", summary="All sources")
async def registers(panel: Panel, _: CurrentUser) -> Registers:
    """With their troubles."""
    rows = await panel.register.endpoints(limit=ALL)
    known = await panel.register.sources()
    return Registers(
        routes=sorted(row.url for row in rows),
        registers=[source.url for source in known],
        sources=[Source(**asdict(source)) for source in known],
    )


@router.put("/register", summary="Read all sources now")
async def refresh(request: Request, panel: Panel, _: Operator) -> Refresh:
    """Waits for all of them, each at most ten seconds.

    Services that this panel could not import or start are started again before, within 30 seconds.
    """
    refreshed = await actions.refresh(panel, None, journal(request))
    rows = await panel.register.endpoints(limit=ALL)
    known = await panel.register.sources()
    return Refresh(
        summaries=[row.summary for row in rows],
        urls=[row.url for row in rows],
        deletes=refreshed.deletes,
        sources=[source.url for source in known],
        connected=[source.url for source in known if source.trouble is None],
    )
